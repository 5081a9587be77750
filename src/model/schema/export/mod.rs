//! What a schema says, printed for others: an example env file, a reference
//! for people, a JSON Schema for programs.
//!
//! Invariants: the output depends on the schema's content alone, not on where
//! it was read, so a test can keep a committed copy in step; no text of the
//! schema, whatever it holds, can end a comment, break out of a table cell or
//! become an assignment. A schema holds no secret values, so neither does this.
//! Must not know: sources, values in force, files.

mod docs;
mod env_example;
mod json_schema;
mod words;

#[cfg(test)]
mod tests;

/// The JSON Schema of the schema language, for editors.
pub const LANGUAGE: &str = include_str!("../../../../schemas/dlconf.schema.json");

pub use docs::docs;
pub use env_example::{comment, env_example};
pub use json_schema::json_schema;

use super::{Group, Schema, Var};

/// The variables as readers look for them: each under the first group that has
/// it, in the schema's order, and what no group has at the end. Names that a
/// rotation implies are left out: nobody sets them by hand.
fn sections(schema: &Schema) -> Vec<(Option<&Group>, Vec<&Var>)> {
    let mut sections: Vec<(Option<&Group>, Vec<&Var>)> =
        schema.groups.iter().map(Some).chain([None]).map(|group| (group, Vec::new())).collect();
    for var in schema.vars.iter().filter(|var| var.implied_by.is_none()) {
        let home =
            sections.iter_mut().find(|(group, _)| group.is_none_or(|group| group.vars.contains(&var.key)));
        if let Some((_, vars)) = home {
            vars.push(var);
        }
    }
    sections.retain(|(_, vars)| !vars.is_empty());
    sections
}
