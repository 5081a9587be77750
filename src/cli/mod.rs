//! The command line: clap's types here, one file a command beside it.
//!
//! A command goes from the settings through the core to words; it names no
//! backend. Invariants: stdout carries the payload and nothing else; an exit
//! code means what `failure::exit` says.

mod access;
mod ask;
mod assemble;
mod audit;
mod check;
mod daemon;
mod dev;
mod doctor;
mod edit;
mod explain;
mod fix;
mod forget;
mod get;
mod health;
mod init;
mod install;
mod output;
mod portability;
mod prompt;
mod rbac;
mod rekey;
mod render;
mod rights;
mod rotate;
mod run;
mod schema;
mod seal;
mod sealed;
mod shell;
mod status;
mod unseal;
mod variable;
mod vault_policy;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::assemble::Request;
use crate::failure::{Failure, Fault, exit};
use crate::process::{Hardened, Helper};
use output::Terminal;

/// A path that may be empty: an empty variable is an unset one.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Resolves a program's configuration from layered sources, checks it against a
/// typed schema, and hands it over.
#[derive(Debug, Parser)]
#[command(name = "dlconf", version, about, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
struct Global {
    /// Settings file; by default ./dlconf.toml, then /etc/dlconf/dlconf.toml
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DLCONF_CONFIG",
        value_parser = path(),
        hide_env_values = true,
        help_heading = "Global options"
    )]
    config: Option<PathBuf>,
    /// Schema file; by default as settings say, ./dlconf.schema.toml, the built-in DataLens schema
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DLCONF_SCHEMA",
        value_parser = path(),
        hide_env_values = true,
        help_heading = "Global options"
    )]
    schema: Option<PathBuf>,
    /// Environment to judge: one of the schema's
    #[arg(
        long = "env",
        global = true,
        value_name = "NAME",
        env = "DLCONF_ENV",
        help_heading = "Global options"
    )]
    environment: Option<String>,
    /// Service whose variables are judged and delivered; without it, the union of all
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "DLCONF_SERVICE",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    service: Option<String>,
    /// Read these env files, lowest first, instead of .env and its companions
    #[arg(long = "env-file", global = true, value_name = "FILE", help_heading = "Global options")]
    env_files: Vec<PathBuf>,
    /// Touch no network; variables that cannot be judged without it are listed
    #[arg(long, global = true, help_heading = "Global options")]
    offline: bool,
    /// How messages on stderr are written
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    log_format: LogFormat,
    /// Say less on stderr
    #[arg(short, long, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Say more on stderr
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// When to colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Global options"
    )]
    color: Color,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Color {
    /// Where the output is a terminal that has colours.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Draft a schema (and settings) for this project
    Init(init::Init),
    /// Resolve and validate; print findings (the CI command)
    Check(check::Check),
    /// Print the configuration in a reader's format
    Render(render::Render),
    /// Resolve, validate, become CMD; with --watch, supervise it
    Run(run::Run),
    /// Run CMD on a laptop: .env files, generated development secrets, restarts on save
    Dev(dev::Dev),
    /// Watch the sources, publish what is valid, feed the deliveries
    Daemon(daemon::Daemon),
    /// Print one value
    Get(get::Get),
    /// Say where a variable's value comes from, or what a finding means
    Explain(explain::Explain),
    /// Print what the daemon tells of itself: sources, variables, deliveries
    Status(status::Status),
    /// Say by the exit code whether the daemon is ready, or alive
    Health(health::Health),
    /// Give up a held value whose source deleted it
    Forget(forget::Forget),
    /// Change a secret without an outage, as the schema declares
    Rotate(rotate::Rotate),
    /// Say what the access policy of the socket permits, and why not
    Access(access::Access),
    /// Check the record of who got what
    Audit(audit::AuditCommand),
    /// Seal an env file, so that it may be committed
    Seal(seal::Seal),
    /// Print the env file that was sealed
    Unseal(unseal::Unseal),
    /// Change a sealed file in an editor; plaintext stays in memory
    Edit(edit::Edit),
    /// Seal a sealed file for other keys
    Rekey(rekey::Rekey),
    /// Judge or print the schema
    Schema(schema::SchemaCommand),
    /// Print the policy that the settings need of Vault or OpenBao (HCL)
    VaultPolicy(vault_policy::VaultPolicy),
    /// Print the Role that the settings need of Kubernetes (YAML)
    Rbac(rbac::Rbac),
    /// Say what is reachable, permitted and protected, and what is not
    Doctor(doctor::Doctor),
    /// Copy this program to PATH, as `cp` would where an image has none
    Install(install::Install),
    /// Print a completion script for a shell
    Completions(shell::Completions),
    /// Print the manual page (roff)
    Man,
}

/// Parses the arguments, runs the command, gives the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>, hardened: Hardened, helper: Option<Helper>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version go to stdout and are fine; the rest is wrong usage.
            let _closed = error.print();
            return match (error.use_stderr(), becomes_a_child(&arguments)) {
                (false, _) => exit::FINE,
                (true, false) => exit::USAGE,
                (true, true) => exit::RUN_FAILED,
            };
        }
    };
    let global = cli.global.normalised();
    let terminal = Terminal::new(&global);
    // Only one command needs it; for the others it is gone before anything else,
    // above all before we become another program.
    let helper = helper.filter(|_| matches!(cli.command, Command::Daemon(_)));
    let done = match cli.command {
        Command::Daemon(daemon::Daemon {}) => daemon::Daemon::run(&global, &terminal, helper),
        Command::Forget(forget) => forget.run(&global, &terminal),
        Command::Rotate(rotate) => rotate.run(&global, &terminal),
        Command::Init(init) => init.run(&global, &terminal),
        Command::Check(check) => check.run(&global, &terminal),
        Command::Render(render) => render.run(&global, &terminal),
        Command::Run(run) => run.run(&global, &terminal, hardened),
        Command::Dev(dev) => dev.run(&global, &terminal, hardened),
        Command::Get(get) => get.run(&global, &terminal),
        Command::Explain(explain) => explain.run(&global, &terminal),
        Command::Status(status) => status.run(&global, &terminal),
        Command::Health(health) => health.run(&global, &terminal),
        Command::Access(access) => access.run(&global, &terminal),
        Command::Audit(command) => command.run(&global, &terminal),
        Command::Seal(seal) => seal.run(&global, &terminal),
        Command::Unseal(unseal) => unseal.run(&global, &terminal),
        Command::Edit(edit) => edit.run(&global, &terminal, hardened),
        Command::Rekey(rekey) => rekey.run(&global, &terminal),
        Command::Schema(command) => command.run(&global, &terminal),
        Command::VaultPolicy(policy) => policy.run(&global, &terminal),
        Command::Rbac(rbac) => rbac.run(&global, &terminal),
        Command::Doctor(doctor) => doctor.run(&global, &terminal),
        Command::Install(install) => install.run(&terminal),
        Command::Completions(completions) => completions.run(),
        Command::Man => shell::man(),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            terminal.failure(&failure);
            failure.exit
        }
    }
}

/// Whether the command is one whose exit codes below 125 are its child's.
fn becomes_a_child(arguments: &[OsString]) -> bool {
    let ours = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    ours.into_iter().any(|argument| argument == "run" || argument == "dev")
}

impl Global {
    /// What was asked for, without how it is told.
    fn request(&self) -> Request {
        Request {
            config: self.config.clone(),
            schema: self.schema.clone(),
            environment: self.environment.clone(),
            service: self.service.clone(),
            env_files: self.env_files.clone(),
            offline: self.offline,
            folder: std::env::current_dir().ok(),
        }
    }

    /// An empty variable is an unset one: `DLCONF_ENV=` chooses nothing.
    fn normalised(mut self) -> Self {
        self.config = self.config.filter(|path| !path.as_os_str().is_empty());
        self.schema = self.schema.filter(|path| !path.as_os_str().is_empty());
        self.environment = self.environment.filter(|name| !name.is_empty());
        self.service = self.service.filter(|name| !name.is_empty());
        self
    }
}
