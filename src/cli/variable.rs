//! A variable that a command line names.

use super::Failure;
use crate::model::key::Key;
use crate::model::schema::Schema;
use crate::model::schema::toml_reader::nearest;

/// The name of a variable.
pub(super) fn name(text: &str) -> Result<Key, Failure> {
    // What is no name is not repeated: it may be a whole assignment.
    Key::new(text).map_err(|error| {
        Failure::usage(format!("this is no name of a variable: {error}"), "give the name alone")
    })
}

/// A name that the schema declares, or a suggestion.
pub(super) fn declared(schema: &Schema, text: &str) -> Result<Key, Failure> {
    let key = name(text)?;
    if schema.var(&key).is_some() {
        return Ok(key);
    }
    let old = schema.replacement(&key).map(|var| var.key.clone());
    let near = nearest(text, schema.vars.iter().map(|var| var.key.as_str()));
    let help = match (old, near) {
        (Some(new), _) => format!("its name is {new}"),
        (None, Some(near)) => format!("did you mean {near}?"),
        (None, None) => "`dlconf schema docs` lists the names".into(),
    };
    Err(Failure::usage(format!("the schema does not declare {text}"), help))
}
