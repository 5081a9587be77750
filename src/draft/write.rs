//! The draft as TOML. Every text goes through [`text`] or [`comment`], so no
//! name, value or comment of the example can become TOML of its own.

use std::fmt::Write as _;

use super::guess::Guess;
use super::hints::Hints;
use super::{Declaration, Group, Presence, Repeated};
use crate::model::schema::export::comment;
use crate::model::schema::kind::Kind;

/// `dlconf.schema.toml`.
pub(super) fn schema(
    project: &str,
    hints: &Hints,
    groups: &[Group],
    declarations: &[Declaration<'_>],
) -> String {
    let mut out = String::new();
    comment(
        &mut out,
        &format!(
            "Which variables {project} reads, drafted by `dlconf init` from an example of {}.",
            count(declarations.len())
        ),
    );
    comment(
        &mut out,
        "Every line that begins with \"guess\" is one: correct what is wrong, then delete the line. `dlconf schema lint` finds mistakes, `dlconf check` judges a configuration.",
    );
    out.push_str("\nschema_version = 1\n");
    field(&mut out, "name", &text(project));
    out.push('\n');
    comment(
        &mut out,
        if hints.has_variable {
            "guess: the names are the usual ones; `dlconf dev` works in the laptop's."
        } else {
            "guess: the example names no environment; this is the usual variable."
        },
    );
    let laptop = match hints.laptop.as_str() {
        "development" => String::new(),
        laptop => format!(", development = {}", text(laptop)),
    };
    field(
        &mut out,
        "environments",
        &format!(
            "{{ variable = {}, names = {}{laptop} }}",
            text(hints.variable),
            texts(hints.names.iter().map(String::as_str))
        ),
    );
    out.push_str("\n[defaults]\n");
    comment(
        &mut out,
        &match hints.language {
            Some((start, language)) => format!(
                "guess: {start}… is read by {language} programs, so spans of time are taken as texts. Where they are seconds or ISO 8601, say dialect = \"seconds\" or \"iso8601\" and type = \"duration\"."
            ),
            None => "guess: spans of time as Go reads them (15m, 168h).".to_owned(),
        },
    );
    field(&mut out, "dialect", "\"go\"");
    comment(
        &mut out,
        "guess: a value that does not parse stops the program. Say \"default\" where it silently uses its default instead.",
    );
    field(&mut out, "on_invalid", "\"fail\"");
    for group in groups {
        let _ = writeln!(out, "\n[group.{}]", group.name);
        field(&mut out, "vars", &texts([group.pattern.as_str()]));
        if let Some((id, secret)) = &group.pair {
            comment(&mut out, "guess: one is useless without the other.");
            field(&mut out, "all_or_none", &texts([id.as_str(), secret.as_str()]));
        }
    }
    for declaration in declarations {
        out.push('\n');
        variable(&mut out, hints, declaration);
    }
    out.push('\n');
    comment(&mut out, "Rules say what must hold between variables, in CEL:");
    out.push_str(RULE);
    out
}

/// `dlconf.toml`.
pub(super) fn settings(laptop: &str) -> String {
    let mut out = String::new();
    comment(&mut out, "Where the configuration comes from, drafted by `dlconf init`.");
    out.push('\n');
    field(&mut out, "schema", "\"dlconf.schema.toml\"");
    out.push('\n');
    comment(
        &mut out,
        "guess: this file stays on laptops. --env and DLCONF_ENV win over it; where it is deployed, name that environment instead.",
    );
    field(&mut out, "environment", &text(laptop));
    out.push('\n');
    comment(&mut out, "The last one wins.");
    out.push_str(SOURCES);
    out
}

const RULE: &str = "\
# [[rule]]
# id = \"public-url-https\"
# environments = [\"production\"]
# assert = \"vars.PUBLIC_URL.startsWith('https://')\"
# message = \"the public address must be https in production\"
";

const SOURCES: &str = "\
order = [\"local\", \"env\"]

[source.local]
type = \"dotenv\"
optional = true

[source.env]
type = \"env\"
";

fn variable(out: &mut String, hints: &Hints, declaration: &Declaration<'_>) {
    let Declaration { variable, guess, presence, repeated, description } = declaration;
    let _ = writeln!(out, "[var.{}]", variable.name);
    comment(out, &format!("guess: {}: {}.", guess.kind.name(), guess.reason));
    kind(out, &guess.kind);
    if guess.secret && !guess.kind.is_secret() {
        field(out, "secret", "true");
    }
    match repeated {
        Repeated::Default(value) => {
            comment(out, "guess: the example's value is the program's default.");
            field(out, "default", &text(value));
        }
        Repeated::Example(value) => {
            comment(out, "guess: right on a laptop only, so no default.");
            field(out, "example", &text(value));
        }
        Repeated::Dormant(value) => {
            comment(out, "guess: commented out in the example, so nothing needs it.");
            field(out, "example", &text(value));
        }
        Repeated::Forbidden { start, whole } => {
            comment(out, "guess: the example's value waits to be replaced.");
            let pattern = if *whole { (*start).to_owned() } else { format!("{start}*") };
            field(out, "forbid", &texts([pattern.as_str()]));
        }
        Repeated::Suspect => {
            comment(
                out,
                &format!(
                    "The example's value (line {}) reads like a real secret and is not repeated here. If it is one, replace it everywhere: whoever has the file has it.",
                    variable.line
                ),
            );
        }
        Repeated::Nothing => {}
    }
    required(out, hints, *presence);
    if guess.generated {
        generated(out, guess);
    }
    if let Some(description) = description {
        field(out, "description", &text(description));
    }
}

fn generated(out: &mut String, guess: &Guess) {
    comment(out, "guess: only the program itself knows it, so `dlconf dev` may invent one.");
    if matches!(guess.kind, Kind::HmacKey) {
        field(out, "min_bytes", "32");
    }
    field(out, "generate", "\"base64url:48\"");
}

fn required(out: &mut String, hints: &Hints, presence: Presence) {
    match presence {
        Presence::Defaulted => {}
        Presence::Optional => field(out, "required", "false"),
        Presence::Always => field(out, "required", "true"),
        Presence::Deployed => {
            let deployed = hints.deployed();
            if deployed.is_empty() {
                field(out, "required", "true");
            } else {
                comment(out, "guess: a laptop does without it.");
                field(out, "required", &texts(deployed));
            }
        }
    }
}

fn kind(out: &mut String, kind: &Kind) {
    field(out, "type", &text(kind.name()));
    match kind {
        Kind::Enum { values } => field(out, "values", &texts(values.iter().map(|value| &**value))),
        Kind::Url { schemes } if !schemes.is_empty() => {
            field(out, "schemes", &texts(schemes.iter().map(|scheme| &**scheme)));
        }
        Kind::List { of, separator } => {
            field(out, "of", &text(of.name()));
            field(out, "separator", &text(separator));
        }
        Kind::Dsn { driver } => field(out, "driver", &text(driver.name())),
        Kind::Int { min: Some(min), .. } => field(out, "min", &min.to_string()),
        _ => {}
    }
}

fn field(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{name} = {value}");
}

/// A basic string.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let items: Vec<String> = texts.into_iter().map(text).collect();
    format!("[{}]", items.join(", "))
}

fn count(number: usize) -> String {
    if number == 1 { "1 variable".to_owned() } else { format!("{number} variables") }
}
