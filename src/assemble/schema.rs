//! Which schema, and reading it.

use std::borrow::Cow;
use std::path::Path;

use super::{Request, settings_failure};
use crate::disk::stamp::Stamp;
use crate::failure::{Failure, Fault, exit};
use crate::model::finding::Severity;
use crate::model::schema::parse::{Parsed, parse};
use crate::model::schema::toml_reader::{Lines, Mistake};
use crate::report::{self, BUILT_IN_SCHEMA, Style};
use crate::settings::{self, ShownPath};
use crate::source::file::{FileFault, TEXT_LIMIT};

/// The DataLens schema, compiled in.
const DATALENS: &str = include_str!("../../policies/datalens.schema.toml");

/// The schema file that is looked for in the working directory.
pub const SCHEMA_FILE: &str = "dlconf.schema.toml";

/// A schema and its text, with the warnings about it.
pub struct LoadedSchema {
    /// The schema.
    pub parsed: Parsed,
    /// Its file; of the built-in one, the file that would take its place.
    pub file: ShownPath,
    /// What that file was when it was read; none of the built-in one.
    pub stamp: Option<Stamp>,
    /// Its text.
    pub text: Cow<'static, str>,
}

/// The schema that the options, the settings or the working directory name.
pub fn load_schema(
    request: &Request,
    opened: &settings::Opened,
    style: Style,
) -> Result<LoadedSchema, Failure> {
    let named = match &request.schema {
        Some(path) => Some(ShownPath::named(path)),
        None => opened.schema().map_err(settings_failure)?,
    };
    let here = Path::new(SCHEMA_FILE);
    let file = match named {
        Some(named) => Some(named),
        // Merely found: a stranger's link must not lead dlconf elsewhere.
        None => settings::present(here, "--schema")
            .map_err(settings_failure)?
            .then(|| ShownPath { beneath: Some(".".into()), ..ShownPath::named(here) }),
    };
    let watched = file.clone().unwrap_or_else(|| ShownPath::named(here));
    let (label, text, stamp) = match file {
        None => (BUILT_IN_SCHEMA.to_owned(), Cow::Borrowed(DATALENS), None),
        Some(file) => {
            let read = file.read(TEXT_LIMIT).map_err(|fault| unread_schema(&file.label, fault))?;
            (file.label, Cow::Owned(read.text), Some(read.stamp))
        }
    };
    match parse(&label, &text) {
        Ok(parsed) => Ok(LoadedSchema { parsed, file: watched, stamp, text }),
        Err(mistakes) => {
            let errors = mistakes.into_iter().filter(|m| m.severity == Severity::Error);
            let faults = errors.map(|mistake| mistake_fault(&label, &text, mistake, style)).collect();
            Err(Failure { exit: exit::USAGE, faults })
        }
    }
}

fn unread_schema(label: &str, fault: FileFault) -> Failure {
    let outside = fault == FileFault::Outside;
    let fault = fault.at(&label.into());
    let (message, help) = if outside {
        (
            format!("{label} was found, not named, so it may not lead outside its folder"),
            format!("if you trust it, say so: --schema {label}"),
        )
    } else {
        (format!("the schema could not be read: {}", fault.message), fault.help)
    };
    Failure {
        exit: if outside { exit::REFUSED } else { exit::USAGE },
        faults: vec![Fault {
            code: None,
            message,
            place: Some(fault.location.to_string()),
            help: Some(help),
            drawn: None,
        }],
    }
}

/// A mistake in the schema, drawn with its line.
pub fn mistake_fault(label: &str, text: &str, mistake: Mistake, style: Style) -> Fault {
    let at = Lines::new(text).span(mistake.at.start);
    Fault {
        code: None,
        drawn: Some(report::mistake::draw(label, text, &mistake, style)),
        message: mistake.message,
        place: Some(format!("{label}:{}:{}", at.line, at.column)),
        help: mistake.help,
    }
}
