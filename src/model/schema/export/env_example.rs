//! The example env file.
//!
//! What is live and what is commented out: a default stands live, so that the
//! file shows the whole configuration and a check of it judges something; a
//! secret is always empty, and empty is unset; an example is a made-up value,
//! so it only ever stands in a comment. Nothing in the file is a placeholder
//! that could be deployed, and where development requires nothing, a check of
//! the file in development is clean.

use super::words::{how_to_get, one_line, presence_phrase, required_somewhere, type_phrase};
use crate::model::schema::{Schema, Var};

/// Columns of a comment before it is wrapped.
const WIDTH: usize = 80;

/// An example env file of the schema, for people to copy to `.env`, in
/// compose's dialect.
pub fn env_example(schema: &Schema) -> String {
    let mut out = String::new();
    comment(&mut out, &format!("The configuration of {}.", schema.name));
    comment(&mut out, "Made from the schema by `dlconf schema env-example`: do not edit.");
    comment(&mut out, "Copy it to .env and fill in what you need; never commit a .env.");
    comment(&mut out, "A line that begins with #NAME= is optional; an empty value is unset.");
    for (group, vars) in super::sections(schema) {
        let title = match group {
            Some(group) => match &group.description {
                Some(description) => format!("{}: {}", group.name, description),
                None => group.name.to_string(),
            },
            None if schema.groups.is_empty() => String::new(),
            None => "others".to_owned(),
        };
        if !title.is_empty() {
            out.push('\n');
            comment(&mut out, &format!("--- {title} ---"));
        }
        for var in vars {
            out.push('\n');
            variable(&mut out, schema, var);
        }
    }
    out
}

fn variable(out: &mut String, schema: &Schema, var: &Var) {
    if let Some(description) = &var.description {
        comment(out, description);
    }
    let mut facts = Vec::new();
    facts.push(if var.secret { format!("secret {}", type_phrase(var)) } else { type_phrase(var) });
    facts.push(presence_phrase(&var.presence));
    if !var.services.is_empty() {
        facts.push(format!("read by {}", var.services.join(", ")));
    }
    comment(out, &facts.join("; "));
    if let Some(fallback) = &var.fallback {
        comment(out, &format!("unset: {} uses {fallback}", schema.program));
    }
    if var.secret {
        comment(out, &how_to_get(var));
        line(out, var, required_somewhere(&var.presence), "");
        return;
    }
    if let Some(default) = live_value(schema, var) {
        if let Some(text) = value(default) {
            line(out, var, true, &text);
        } else {
            comment(out, "the default has several lines: see the schema");
            line(out, var, false, "");
        }
        return;
    }
    let example = var.example.as_deref().and_then(value);
    if var.required_in(first_environment(schema)) {
        if let Some(example) = example {
            comment(out, &format!("example: {example}"));
        }
        line(out, var, true, "");
    } else {
        line(out, var, false, example.as_deref().unwrap_or(""));
    }
}

/// What stands live: the default, or for the environment's own variable the
/// environment that the file is for.
fn live_value<'s>(schema: &'s Schema, var: &'s Var) -> Option<&'s str> {
    let own = (var.key == schema.environments.variable).then(|| first_environment(schema));
    var.default.as_deref().or(own).filter(|text| !text.is_empty())
}

/// The environment of a laptop.
fn first_environment(schema: &Schema) -> &str {
    let environments = &schema.environments;
    environments.laptop().or(environments.names.first().map(|name| &**name)).unwrap_or_default()
}

fn line(out: &mut String, var: &Var, live: bool, value: &str) {
    if !live {
        out.push('#');
    }
    out.push_str(var.key.as_str());
    out.push('=');
    out.push_str(value);
    out.push('\n');
}

/// A value as compose's dialect writes it, on one line: bare where every reader
/// agrees on it, else in double quotes. None for what has control characters.
fn value(text: &str) -> Option<String> {
    let bare = |c: char| {
        c.is_ascii_alphanumeric()
            || "_!%*+,./:=?@^{}[]-".contains(c)
            || (!c.is_ascii() && !c.is_whitespace() && !c.is_control())
    };
    if text.chars().all(bare) {
        return Some(text.to_owned());
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return None;
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '\\' | '"' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    Some(quoted)
}

/// Adds a text as `#` comment lines, wrapped between words and without control
/// characters, which neither env files nor TOML allow in a comment.
pub fn comment(out: &mut String, text: &str) {
    let mut width = 0;
    for word in one_line(text).split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDTH {
            out.push('\n');
            width = 0;
        }
        if width == 0 {
            out.push('#');
            width = 1;
        }
        out.push(' ');
        out.push_str(word);
        width += 1 + length;
    }
    if width > 0 {
        out.push('\n');
    }
}
