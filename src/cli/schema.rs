//! `dlconf schema …`: judge the schema, or print what follows from it.

use clap::{Args, Subcommand};

use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::assemble::{LoadedSchema, load_schema, mistake_fault, open_settings};
use crate::model::schema::export;
use crate::report::plural;

#[derive(Debug, Args)]
pub(super) struct SchemaCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Find mistakes, each with its place
    Lint,
    /// Markdown reference of the variables
    Docs,
    /// A .env.example with comments and no secrets
    EnvExample,
    /// JSON Schema of the configuration
    JsonSchema {
        /// The JSON Schema of the schema language instead, for editors
        #[arg(long)]
        language: bool,
    },
}

impl SchemaCommand {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let opened = open_settings(&global.request())?;
        let LoadedSchema { parsed, text, .. } =
            load_schema(&global.request(), &opened, terminal.stderr_style())?;
        let schema = &parsed.schema;
        let payload = match &self.what {
            What::Lint => {
                let mut out = String::new();
                for warning in &parsed.warnings {
                    let style = terminal.stdout_style();
                    let fault = mistake_fault(&schema.path, &text, warning.clone(), style);
                    out.push_str(&fault.drawn.unwrap_or(fault.message));
                    out.push('\n');
                }
                let declared = schema.vars.iter().filter(|var| var.implied_by.is_none()).count();
                out.push_str(&format!(
                    "{}: {}, {}, {}; {}\n",
                    schema.path,
                    plural(declared, "variable"),
                    plural(schema.groups.len(), "group"),
                    plural(schema.rules.len(), "rule"),
                    plural(parsed.warnings.len(), "warning")
                ));
                out
            }
            What::Docs => export::docs(schema),
            What::EnvExample => export::env_example(schema),
            What::JsonSchema { language: true } => export::LANGUAGE.to_owned(),
            What::JsonSchema { language: false } => format!("{:#}\n", export::json_schema(schema)),
        };
        Terminal::payload(&payload)?;
        Ok(exit::FINE)
    }
}
