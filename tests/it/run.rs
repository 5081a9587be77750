//! `dlconf run`: becomes the command, with the environment that the contract
//! promises and nothing else changed.

use crate::program::{Folder, SMALL_SCHEMA};

fn folder(env: &str) -> Folder {
    let folder = Folder::with_env(env);
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    folder
}

#[test]
fn the_child_gets_declared_variables_defaults_and_the_environments_name() {
    let folder = folder("PORT=9090\nUNDECLARED=x\n");
    let ran = folder.run_with(&["run", "--", "env"], &[("HOME", "/home/x")]).exits(0);
    let mut lines: Vec<&str> = ran.stdout.lines().filter(|l| !l.starts_with("PATH=")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["APP_ENV=development", "HOME=/home/x", "PORT=9090", "TTL=300s"]);
}

#[test]
fn dlconfs_own_names_and_backend_credentials_are_stripped() {
    let own = [
        ("DLCONF_ENV", "development"),
        ("DLCONF_SOCKET", "/run/x.sock"),
        ("VAULT_TOKEN", "hvs.canary"),
        ("BAO_ADDR", "https://canary"),
        ("OLD_TTL", "5m"),
        ("DEAD", "canary"),
        ("MODE", "fast"),
    ];
    let ran = folder("").run_with(&["run", "--service", "web", "-q", "--", "env"], &own).exits(0);
    let ran = ran.says("DLCONF_SOCKET=/run/x.sock").never_says("canary").never_says("OLD_TTL");
    ran.never_says("DLCONF_ENV").never_says("MODE=");
}

#[test]
fn pristine_gives_declared_variables_only() {
    let own = [("HOME", "/home/x"), ("LANG", "C"), ("VAULT_TOKEN", "hvs.canary")];
    let run = |arguments: &[&str]| {
        let all = [&["run", "--pristine"], arguments, &["--", "env"]].concat();
        let ran = folder("").run_with(&all, &own).exits(0);
        let mut names: Vec<String> =
            ran.stdout.lines().map(|l| l.split('=').next().unwrap().into()).collect();
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(run(&[]), "APP_ENV PORT TTL");
    assert_eq!(run(&["--allow", "HOME"]), "APP_ENV HOME PORT TTL");
    assert_eq!(run(&["--allow", "VAULT_TOKEN"]), "APP_ENV PORT TTL", "never a backend's credential");
}

#[test]
fn the_childs_own_code_comes_through() {
    for code in [0, 5, 77] {
        folder("").run(&["run", "--", "sh", "-c", &format!("exit {code}")]).exits(code);
    }
}

#[test]
fn what_cannot_be_run_has_the_shells_codes() {
    let folder = folder("");
    folder.run(&["run", "--", "no-such-program"]).exits(127).warns("no-such-program: command not found");
    folder.run(&["run", "--", "./missing"]).exits(127);
    folder.file("plain", "not a program");
    folder.run(&["run", "--", "./plain"]).exits(126).warns("./plain: Permission denied");
    folder.run(&["run", "--", "./"]).exits(126);
    folder.bytes("script", b"#!/no/such/interpreter\n", 0o755);
    folder.run(&["run", "--", "./script"]).exits(126).warns("interpreter");
    folder.bytes("noise", b"\x00\x01", 0o755);
    folder.run(&["run", "--", "./noise"]).exits(126).warns("#!/bin/sh");
}

#[test]
fn errors_stop_it_before_the_child_starts() {
    let folder = folder("PORT=abc\n");
    let ran = folder.run(&["run", "--", "touch", "started"]).exits(125);
    ran.warns("the shop silently ignores PORT=abc");
    assert!(!folder.join("started").exists());
}

#[test]
fn wrong_usage_and_unreadable_sources_are_125_too() {
    folder("").run(&["run", "--env", "prod", "--", "true"]).exits(125).warns("did you mean production?");
    folder("A='\n").run(&["run", "--", "true"]).exits(125);
}

#[test]
fn stdout_is_the_childs() {
    let folder = folder("TOKEN=changeme\n");
    let ran = folder.run(&["run", "--", "printf", "payload"]).exits(0);
    assert_eq!(ran.stdout, "payload");
}

/// What a bare exec and `dlconf run` leave the child with must be the same.
#[test]
fn limits_signal_mask_and_dispositions_are_as_a_bare_exec_leaves_them() {
    let folder = folder("");
    let probe = "ulimit -Sc; ulimit -Hc; grep -E '^Sig(Blk|Ign|Cgt)|^NoNewPrivs' /proc/self/status";
    // The setting that is inherited: a raised core limit, SIGPIPE ignored or not,
    // SIGUSR1 blocked.
    for trap in ["true", "trap '' PIPE", "trap '' PIPE USR2"] {
        let shell = |command: &str| {
            let script = format!("ulimit -Sc unlimited 2>/dev/null; {trap}; exec {command}");
            let mut run = folder.command(&[]);
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &script, "sh", probe]).current_dir(folder.path()).env_clear();
            shell.env("PATH", std::env::var_os("PATH").unwrap());
            let _unused = run.env_clear();
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let bare = shell("sh -c \"$1\"");
        let through = shell(&format!("{} run -q -- sh -c \"$1\"", env!("CARGO_BIN_EXE_dlconf")));
        assert_eq!(bare, through, "after {trap:?}");
    }
}

#[test]
fn a_blocked_signal_stays_blocked() {
    // Python sets the mask; a shell cannot.
    let folder = folder("");
    let script = "import os,signal,sys\nsignal.pthread_sigmask(signal.SIG_BLOCK,{signal.SIGUSR1})\nos.execvp(sys.argv[1],sys.argv[1:])";
    let run = |command: &[&str]| {
        let mut python = std::process::Command::new("python3");
        python.args(["-c", script]).args(command).current_dir(folder.path());
        python.args(["grep", "SigBlk", "/proc/self/status"]);
        String::from_utf8(python.output().unwrap().stdout).unwrap()
    };
    let bare = run(&[]);
    assert!(bare.contains("0200"), "SIGUSR1 is blocked: {bare}");
    assert_eq!(bare, run(&[env!("CARGO_BIN_EXE_dlconf"), "run", "-q", "--"]));
}

#[test]
fn wrong_usage_of_run_is_not_taken_for_the_childs_code() {
    folder("").run(&["run", "--bogus", "--", "true"]).exits(125);
    folder("").run(&["run"]).exits(125);
    folder("").run(&["dev", "--bogus", "--", "true"]).exits(125);
    folder("").run(&["check", "--bogus"]).exits(2);
    folder("").run_with(&["check"], &[("DLCONF_SCHEMA", ""), ("DLCONF_CONFIG", "")]).exits(0);
}
