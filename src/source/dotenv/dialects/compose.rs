//! Docker compose (compose-go): the dialect of dlconf's own reader, which is
//! therefore the scanner here too. Differs in what a bare `$NAME` that is set
//! nowhere gives: nothing.

use crate::model::layer::{Operator, Part, Template, Value};

use super::super::parse;
use super::super::scan::{Scanner, Statement};
use super::{Host, Notes, Vars};

pub(super) fn read(text: &str, host: Host<'_>) -> Notes {
    let mut notes = Notes::default();
    let mut vars = Vars::new(host);
    for statement in Scanner::new(text) {
        match statement {
            Statement::Malformed { at, problem } => return Notes::refused(at.line, problem.words().0),
            Statement::Bare { at, name, .. } => {
                let key = text.get(name).unwrap_or_default();
                match host(key) {
                    Some(value) => {
                        notes.value(at.line, key, &value);
                        vars.set(key, value);
                    }
                    None => notes.absent(at.line, key),
                }
            }
            Statement::Assignment(assignment) => {
                let key = text.get(assignment.key.clone()).unwrap_or_default();
                let line = assignment.key_at.line;
                let value = match parse::value(text, &assignment) {
                    Err((at, words)) => return Notes::refused(at.line, words.0),
                    Ok(Value::Literal(value)) => value.expose().to_owned(),
                    Ok(Value::Template(template)) => {
                        let mut value = String::new();
                        if evaluate(&template, line, &mut vars, &mut value).is_err() {
                            return Notes::refused(line, "a required variable is not set");
                        }
                        value
                    }
                };
                // It reads such a name and then drops it.
                if key.starts_with(|c: char| c.is_ascii_digit()) {
                    notes.absent(line, key);
                } else {
                    notes.value(line, key, &value);
                }
                vars.set(key, value);
            }
        }
    }
    notes.bounded(&vars)
}

/// A variable that `${NAME:?}` asks for is not set.
struct Unset;

fn evaluate(template: &Template, line: u32, vars: &mut Vars<'_>, out: &mut String) -> Result<(), Unset> {
    for part in &template.0 {
        let (name, operator) = match part {
            Part::Text(text) => {
                out.push_str(text.expose());
                continue;
            }
            Part::Reference { name, operator } => (name, operator),
        };
        let found = vars.host_first(name.as_str());
        let counts = |or_empty: bool| found.as_ref().is_some_and(|value| !(or_empty && value.is_empty()));
        match operator {
            Operator::Default { or_empty, word } if !counts(*or_empty) => evaluate(word, line, vars, out)?,
            Operator::Alternative { or_empty, word } if counts(*or_empty) => evaluate(word, line, vars, out)?,
            Operator::Required { or_empty, .. } if !counts(*or_empty) => return Err(Unset),
            Operator::Alternative { .. } => {}
            Operator::Bare | Operator::Braced | Operator::Default { .. } | Operator::Required { .. } => {
                vars.append(line, out, &found.unwrap_or_default());
            }
        }
    }
    Ok(())
}
