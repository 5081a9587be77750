//! Secrets that are tried on the other side, through `check --probe`.

mod bearer;
mod command;
mod mistakes;
mod oauth;
mod postgres;
mod s3;
mod smtp;
mod tls;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::program::{Folder, Ran};

/// What every schema here begins with.
const HEAD: &str = "schema_version = 1\nname = \"probes\"\n\
    environments = { variable = \"APP_ENV\", names = [\"development\", \"production\"] }\n";

/// A variable; `kind` is its type.
fn var(name: &str, kind: &str) -> String {
    format!("[var.{name}]\ntype = \"{kind}\"\nrequired = false\ndescription = \"x\"\n")
}

/// A folder with a schema and an env file.
fn folder(schema: &str, env: &str) -> Folder {
    let folder = Folder::with_env(env);
    folder.file("schema.toml", &format!("{HEAD}{schema}"));
    folder
}

/// Runs the probes, and gives what each says: `NAME OUTCOME MESSAGE`.
fn probes(schema: &str, env: &str) -> Vec<String> {
    said(&folder(schema, env).run(&["--schema", "schema.toml", "check", "--probe", "--format", "json"]))
}

/// The same, of a run.
fn said(ran: &Ran) -> Vec<String> {
    let document: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", ran.stdout, ran.stderr));
    let probes = document["probes"].as_array().unwrap_or_else(|| panic!("no probes: {document:#}"));
    let text = |probe: &Value, name: &str| probe[name].as_str().unwrap().to_owned();
    let line = |probe: &Value| ["probe", "outcome", "message"].map(|name| text(probe, name)).join(" ");
    probes.iter().map(line).collect()
}

/// Asserts what the only probe says: its outcome, and a part of its message.
#[track_caller]
fn assert_said(said: &[String], outcome: &str, part: &str) {
    let [only] = said else { panic!("not one probe: {said:#?}") };
    let (_, rest) = only.split_once(' ').unwrap();
    assert!(rest.starts_with(outcome) && rest.contains(part), "not {outcome} … {part}: {only}");
}

/// A server in Python; it ends when this is dropped.
struct Script {
    child: Child,
    /// What it said when it was ready.
    told: Value,
}

impl Script {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let tools = std::env::var_os("DLCONF_TEST_TOOLS").expect("run tests/run, which installs the tools");
        let python = std::path::Path::new(&tools).join("venv/bin/python3");
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/probe").join(name);
        let mut command = Command::new(python);
        command.arg(script).args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let told = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
        Self { child, told }
    }

    fn port(&self, name: &str) -> u64 {
        self.told[name].as_u64().unwrap()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _ = self.child.wait();
    }
}
