//! The reference in Markdown (GitHub's flavour).

use std::fmt::Write as _;

use super::words::{one_line, rotation_sentence, sentence, type_phrase};
use crate::model::key::Key;
use crate::model::schema::{Group, Presence, Schema, Var};

/// A reference of the schema for people: a table a group, then the rules and
/// the names that nothing reads any more.
pub fn docs(schema: &Schema) -> String {
    let mut out = String::new();
    heading(&mut out, 1, &format!("Configuration of {}", schema.name));
    introduction(&mut out, schema);
    for (group, vars) in super::sections(schema) {
        let title = group.map_or("Others", |group| &group.name);
        heading(&mut out, 2, title);
        if let Some(group) = group {
            about_group(&mut out, group);
        }
        table(&mut out, &["Variable", "Type", "Required", "Default", "Read by", "Meaning"]);
        for var in vars {
            row(
                &mut out,
                &[
                    code(var.key.as_str()),
                    kind(var),
                    presence(&var.presence),
                    var.default.as_deref().map_or_else(String::new, code),
                    escape(&var.services.join(", ")),
                    meaning(schema, var),
                ],
            );
        }
        out.push('\n');
    }
    rules(&mut out, schema);
    old_names(&mut out, schema);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn introduction(out: &mut String, schema: &Schema) {
    let names: Vec<String> = schema.environments.names.iter().map(|name| code(name)).collect();
    paragraph(
        out,
        &format!(
            "Made from the schema by `dlconf schema docs`: do not edit. {} runs in one of the environments {}, named by {}.",
            escape(&capitalised(&schema.program)),
            names.join(", "),
            code(schema.environments.variable.as_str()),
        ),
    );
    if !schema.services.is_empty() {
        let services: Vec<String> = schema.services.iter().map(|name| code(name)).collect();
        paragraph(
            out,
            &format!("Services: {}. A variable that names none is read by all.", services.join(", ")),
        );
    }
}

fn about_group(out: &mut String, group: &Group) {
    let mut text = group.description.as_deref().map(|text| escape(&sentence(text))).unwrap_or_default();
    let mut add = |more: &str| {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(more);
    };
    if !group.all_or_none.is_empty() {
        add(&format!("Set all of {} or none.", keys(&group.all_or_none)));
    }
    if group.atomic {
        add("What one source gives of it comes from one revision.");
    }
    if !text.is_empty() {
        paragraph(out, &text);
    }
}

fn kind(var: &Var) -> String {
    let phrase = escape(&type_phrase(var));
    if var.secret { format!("{phrase}, **secret**") } else { phrase }
}

fn presence(presence: &Presence) -> String {
    match presence {
        Presence::Always => "yes".to_owned(),
        Presence::In(names) => escape(&names.join(", ")),
        Presence::Never => "no".to_owned(),
    }
}

fn meaning(schema: &Schema, var: &Var) -> String {
    let mut sentences = Vec::new();
    if let Some(description) = &var.description {
        sentences.push(escape(&sentence(description)));
    }
    if let Some(fallback) = &var.fallback {
        sentences.push(escape(&sentence(&format!("Unset: {} uses {fallback}", schema.program))));
    }
    if let Some(example) = &var.example {
        sentences.push(format!("Example: {}.", code(example)));
    }
    if !var.replaces.is_empty() {
        sentences.push(format!("Replaces {}.", keys(&var.replaces)));
    }
    if let Some(rotation) = &var.rotation {
        sentences.push(escape(&one_line(&rotation_sentence(rotation))));
    }
    let implied: Vec<Key> = schema
        .vars
        .iter()
        .filter(|other| other.implied_by.as_ref() == Some(&var.key))
        .map(|other| other.key.clone())
        .collect();
    if !implied.is_empty() {
        sentences.push(format!("Rotation adds {}.", keys(&implied)));
    }
    sentences.join(" ")
}

fn rules(out: &mut String, schema: &Schema) {
    if schema.rules.is_empty() {
        return;
    }
    heading(out, 2, "Rules");
    table(out, &["Rule", "Severity", "Environments", "Services", "What it says", "What to do"]);
    for rule in &schema.rules {
        let scope =
            |names: &[Box<str>]| if names.is_empty() { "all".into() } else { escape(&names.join(", ")) };
        row(
            out,
            &[
                code(&rule.id),
                rule.severity.as_str().to_owned(),
                scope(&rule.environments),
                scope(&rule.services),
                escape(&capitalised(&sentence(&rule.message))),
                rule.help.as_deref().map(|help| escape(&capitalised(&sentence(help)))).unwrap_or_default(),
            ],
        );
    }
    out.push('\n');
}

fn old_names(out: &mut String, schema: &Schema) {
    if schema.vars.iter().any(|var| !var.replaces.is_empty()) {
        heading(out, 2, "Replaced names");
        paragraph(out, "Reported wherever they are found, and never delivered.");
        table(out, &["Old name", "New name"]);
        for var in &schema.vars {
            for old in &var.replaces {
                row(out, &[code(old.as_str()), code(var.key.as_str())]);
            }
        }
        out.push('\n');
    }
    if !schema.retired.is_empty() {
        heading(out, 2, "Retired names");
        paragraph(out, "Reported wherever they are found, and never delivered.");
        table(out, &["Name", "Why"]);
        for retired in &schema.retired {
            row(out, &[code(retired.key.as_str()), escape(&capitalised(&sentence(&retired.reason)))]);
        }
        out.push('\n');
    }
}

fn heading(out: &mut String, level: usize, text: &str) {
    let _ = writeln!(out, "{} {}\n", "#".repeat(level), escape(text));
}

fn paragraph(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}\n");
}

fn table(out: &mut String, columns: &[&str]) {
    let _ = writeln!(out, "| {} |", columns.join(" | "));
    let _ = writeln!(out, "|{}", "---|".repeat(columns.len()));
}

fn row(out: &mut String, cells: &[String]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn keys(keys: &[Key]) -> String {
    keys.iter().map(|key| code(key.as_str())).collect::<Vec<_>>().join(", ")
}

/// Plain text as Markdown that shows exactly that text, on one line.
fn escape(text: &str) -> String {
    let line = one_line(text);
    let mut out = String::with_capacity(line.len());
    let mut previous = ' ';
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Inside a word an underscore is only an underscore.
            '_' if previous.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric()) => {
                out.push('_');
            }
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
        previous = c;
    }
    out
}

/// A code span that holds any text, in a table too: there a bar ends the cell
/// even inside a span, and is the one character that a backslash escapes.
fn code(text: &str) -> String {
    let line = one_line(text).replace('|', "\\|");
    let longest = line.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    if line.is_empty() {
        String::new()
    } else if line.starts_with('`') || line.ends_with('`') {
        format!("{fence} {line} {fence}")
    } else {
        format!("{fence}{line}{fence}")
    }
}

fn capitalised(text: &str) -> String {
    // A name is written as it is: DB_MAX… needs no capital, and db_host none.
    let first_word = text.split(' ').next().unwrap_or("");
    if first_word.contains('_') {
        return text.to_owned();
    }
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
