//! `dlconf doctor`: what it says of sources, settings and this process.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{Folder, Ran, SMALL_SCHEMA};

const SETTINGS: &str = r#"
environment = "staging"
service = "web"
order = ["config", "secrets", "local", "env"]
[source.config]
type = "file"
path = "config.yaml"
[source.secrets]
type = "directory"
path = "secrets"
[source.local]
type = "dotenv"
path = "app.env"
[source.env]
type = "env"
"#;

fn shop() -> Folder {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("dlconf.toml", SETTINGS);
    folder.file("config.yaml", "port: 1\nttl: 3s\n").file("secrets/mode", "fast");
    folder.file("app.env", "TOKEN=canary-canary-canary-canary-canary\n");
    folder
}

fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

/// `state what` of a source's observations.
fn states(document: &Value, source: &str) -> Vec<String> {
    let sources = document["sources"].as_array().unwrap();
    let source = sources.iter().find(|s| s["name"] == source).unwrap();
    let all = source["observations"].as_array().unwrap();
    all.iter().map(|o| format!("{} {}", text(&o["state"]), text(&o["what"]))).collect()
}

fn protection(document: &Value, name: &str) -> Value {
    let all = document["protections"].as_array().unwrap();
    all.iter().find(|p| p["name"] == name).unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn runs_as_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

#[test]
fn sources_are_named_in_order_with_what_they_hold() {
    let ran = shop().run_with(&["doctor"], &[("PORT", "2")]).exits(0).never_says("canary");
    let at = |text: &str| ran.stdout.find(text).unwrap_or_else(|| panic!("{text}: {}", ran.stdout));
    let order = ["source config", "source secrets", "source local", "source env"].map(at);
    assert!(order.is_sorted(), "{}", ran.stdout);
    let ran = ran.says("config.yaml  2 names; mode 0600").says("app.env  1 name; mode 0600");
    let ran = ran.says("secrets  1 name").says("environment  1 name\n");
    ran.says("dlconf.toml, found in the working directory").says("dlconf.schema.toml, 5 variables");
}

#[test]
fn settings_say_what_was_chosen() {
    let ran = shop().run(&["--config", "dlconf.toml", "doctor", "--format", "json"]).exits(0);
    let document = document(&ran);
    let detail = |what: &str| {
        let all = document["settings"].as_array().unwrap();
        text(&all.iter().find(|o| o["what"] == what).unwrap()["detail"]).to_owned()
    };
    assert_eq!(detail("file"), "dlconf.toml, named and so trusted");
    assert_eq!((detail("environment"), detail("service")), ("staging".into(), "web".into()));
    assert_eq!(document["ok"], true);
}

#[test]
fn a_source_that_cannot_be_read_is_exit_3_and_the_others_are_told() {
    let folder = shop();
    folder.file("app.env", "TOKEN=canary\nthis is no line canary\n");
    std::fs::remove_file(folder.join("config.yaml")).unwrap();
    let ran = folder.run(&["doctor", "--format", "json"]).exits(3).never_says("canary");
    let document = document(&ran);
    assert_eq!(states(&document, "config"), ["unreadable config.yaml"]);
    assert_eq!(states(&document, "local"), ["unreadable app.env:2:1"]);
    assert_eq!(states(&document, "secrets"), ["fine secrets"]);
    assert_eq!(document["ok"], false);
    folder.run(&["doctor"]).exits(3).says("fix: ").says("2 unreadable");
}

#[test]
fn a_file_that_others_may_read_is_degraded() {
    let folder = shop();
    folder.bytes("app.env", b"TOKEN=canary-canary-canary-canary-canary\n", 0o644);
    folder.bytes("config.yaml", b"port: 1\n", 0o644);
    let ran = folder.run(&["doctor", "--format", "json"]).exits(0);
    let document = document(&ran);
    assert_eq!(states(&document, "local"), ["degraded app.env"]);
    assert_eq!(states(&document, "config"), ["fine config.yaml"], "it holds no secret");
    folder.run(&["doctor"]).says("mode 0644").says("chmod 600 app.env");
}

#[test]
fn nothing_to_read_is_no_fault() {
    let ran = Folder::new().run(&["doctor", "--format", "json"]).exits(0);
    assert_eq!(states(&document(&ran), "dotenv"), ["fine files"]);
}

#[test]
fn broken_settings_keep_their_exit_code_and_the_protections_are_told() {
    let folder = shop();
    folder.file("dlconf.toml", "environment = \"staging\"\norder = [\"nobody\"]\n");
    let ran = folder.run(&["doctor"]).exits(2).says("core-dumps").says("wrong").says("dlconf.toml:2:1");
    assert_eq!(ran.stderr, "");
    folder.file("dlconf.toml", &SETTINGS.replace("app.env", "/etc/hostname"));
    folder.run(&["doctor"]).exits(4).says("if you trust it, say so");
}

#[test]
fn the_program_protects_itself() {
    let ran = Folder::new().run(&["doctor", "--format", "json", "--require", "wiped-memory"]);
    let document = document(&ran.exits(0));
    let state = |name| text(&protection(&document, name)["state"]).to_owned();
    assert_eq!((state("core-dumps"), state("wiped-memory")), ("in force".into(), "in force".into()));
    let (ptrace, user) = if runs_as_root() { ("degraded", "off") } else { ("in force", "in force") };
    assert_eq!((state("ptrace"), state("unprivileged")), (ptrace.into(), user.into()));
    assert_eq!(protection(&document, "wiped-memory")["required"], true);
    assert_eq!(protection(&document, "ptrace")["required"], false);
    let ran = Folder::new().run(&["doctor", "--require", "core-dump"]).exits(2);
    ran.warns("core-dumps").warns("no-new-privileges");
}

#[test]
fn a_protection_that_the_caller_gives_is_seen_and_its_lack_too() {
    let folder = Folder::new();
    let required = ["doctor", "--require", "no-new-privileges"];
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    if status.lines().any(|line| line.starts_with("NoNewPrivs:") && line.ends_with('0')) {
        folder.run(&["doctor"]).exits(0);
        folder.run(&required).exits(4).says("required but not in force: no-new-privileges");
    }
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--no-new-privs", env!("CARGO_BIN_EXE_dlconf")]).args(required);
    let ran = Ran::of(&setpriv.current_dir(folder.path()).output().unwrap()).exits(0);
    ran.never_says("required but not in force");
}

/// Forbids prctl(PR_SET_DUMPABLE, …) as a sandbox may, then becomes the program.
const SANDBOX: &str = r#"
import ctypes, os, struct, sys
PRCTL = {"x86_64": 157, "aarch64": 167}[os.uname().machine]
def op(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
program = (
    op(0x20, 0, 0, 0) + op(0x15, 0, 3, PRCTL)          # the call is prctl, and
    + op(0x20, 0, 0, 16) + op(0x15, 0, 1, 4)           # its first argument is PR_SET_DUMPABLE
    + op(0x06, 0, 0, 0x00050001) + op(0x06, 0, 0, 0x7fff0000)
)
code = ctypes.create_string_buffer(program, len(program))
filter = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
zero = ctypes.c_ulong(0)
assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
assert libc.prctl(22, ctypes.c_ulong(2), ctypes.create_string_buffer(filter), zero, zero) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn a_sandbox_that_forbids_hardening_is_told_on() {
    let tools = std::env::var_os("DLCONF_TEST_TOOLS").expect("run tests/run, which installs the tools");
    let folder = Folder::new();
    let run = |arguments: &[&str]| {
        let mut python = Command::new(Path::new(&tools).join("venv/bin/python3"));
        python.args(["-c", SANDBOX, env!("CARGO_BIN_EXE_dlconf"), "doctor"]).args(arguments);
        Ran::of(&python.current_dir(folder.path()).output().unwrap())
    };
    let ran = run(&["--format", "json"]);
    let document = document(&ran);
    let own = ["core-dumps", "ptrace"].map(|name| protection(&document, name));
    for protection in &own {
        assert_ne!(protection["state"], "in force", "{protection}");
        assert!(text(&protection["detail"]).contains("dumpable"), "{protection}");
        assert!(text(&protection["help"]).contains("PR_SET_DUMPABLE"), "{protection}");
    }
    // What is left depends on the machine: a limit of 0, Yama.
    let off = own.iter().any(|protection| protection["state"] == "off");
    assert_eq!((ran.code, &document["ok"]), (i32::from(off), &Value::Bool(!off)));
    run(&["--require", "core-dumps"]).exits(4).says("required but not in force: core-dumps");
}

#[test]
fn offline_a_remote_source_is_told_but_not_asked() {
    let folder = shop();
    let vault = "[source.vault]\ntype = \"vault\"\naddress = \"https://vault.invalid:8200\"\n\
                 auth = { method = \"kubernetes\", role = \"shop\" }\npaths = [{ mount = \"secret\", path = \"shop\" }]\n";
    let settings = SETTINGS.replace("\"env\"]", "\"env\", \"vault\"]") + vault;
    folder.file("dlconf.toml", &settings);
    let ran = folder.run(&["--config", "dlconf.toml", "--offline", "doctor", "--format", "json"]).exits(0);
    assert_eq!(states(&document(&ran), "vault"), ["degraded --offline"]);
}
