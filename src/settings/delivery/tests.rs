//! What follows from what is written: no process is needed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::*;
use crate::delivery::config::{Action, OnChange};
use crate::settings::{FILE_NAME, Network, SettingsFile, Trust};

/// The deliveries that follow in an environment.
fn read(text: &str, environment: &str, trust: Trust) -> Result<Vec<DeliveryConfig>, SettingsError> {
    let file = SettingsFile { label: FILE_NAME.into(), folder: "/nowhere".into(), text: text.into() };
    let opened = Opened::new(Some(file), Path::new("/nowhere"), trust)?;
    let known = ["staging", "production"].map(Box::from);
    opened.in_environment(environment, &known, Network::Online(&[])).map(|settings| settings.deliveries)
}

/// One delivery, of which a type and a path are written already.
fn one(fields: &str) -> Result<DeliveryConfig, SettingsError> {
    let text = format!("[delivery.a]\ntype = \"env-file\"\npath = \"out/a.env\"\n{fields}");
    read(&text, "staging", Trust::Full).map(|mut all| all.remove(0))
}

fn on_change(fields: &str) -> Result<OnChange, SettingsError> {
    one(&format!("on_change = {{ {fields} }}")).map(|delivery| delivery.on_change.unwrap())
}

#[test]
fn what_is_not_written_has_a_default() {
    let expected = DeliveryConfig {
        name: "a".into(),
        kind: DeliveryKind::EnvFile { format: Format::Dotenv },
        path: "/nowhere/out/a.env".into(),
        label: "out/a.env".into(),
        access: FileAccess { mode: 0o600, owner: None, group: None },
        create_dirs: true,
        vars: Selection::everything(),
        on_change: None,
    };
    assert_eq!(one("").unwrap(), expected);
    let bare = OnChange {
        action: Action::Exec { argv: vec!["/bin/true".into()], timeout: Duration::from_secs(30) },
        min_interval: Duration::from_secs(1),
    };
    assert_eq!(on_change("exec = [\"/bin/true\"]").unwrap(), bare);
    assert!(read("", "staging", Trust::Full).unwrap().is_empty());
}

#[test]
fn what_is_written_holds() {
    let text = r#"
        [delivery.secrets]
        type = "directory"
        path = "/run/app/secrets"
        [delivery.file]
        type = "env-file"
        path = "/run/app/app.env"
        format = "godotenv"
        mode = "0440"
        owner = "app"
        group = "1000"
        create_dirs = false
        vars = ["group:jwt", "DB_*"]
        on_change = { exec = ["bin/reload", "", "now"], timeout = "1m30s", min_interval = "0s" }
    "#;
    let [file, secrets] = <[_; 2]>::try_from(read(text, "staging", Trust::Full).unwrap()).unwrap();
    assert_eq!((&*file.name, file.kind), ("file", DeliveryKind::EnvFile { format: Format::Godotenv }));
    let access = FileAccess { mode: 0o440, owner: Some("app".into()), group: Some("1000".into()) };
    assert_eq!((file.access, file.create_dirs), (access, false));
    assert_eq!(file.vars, Selection::new(["group:jwt", "DB_*"]));
    let argv = ["/nowhere/bin/reload", "", "now"].map(str::to_owned).to_vec();
    let action = Action::Exec { argv, timeout: Duration::from_secs(90) };
    assert_eq!(file.on_change, Some(OnChange { action, min_interval: Duration::ZERO }));
    assert_eq!((secrets.kind, secrets.path), (DeliveryKind::Directory, PathBuf::from("/run/app/secrets")));
}

#[test]
fn every_format_of_a_file_can_be_delivered() {
    for format in Format::ALL {
        let kind = one(&format!("format = \"{}\"", format.as_str())).map(|delivery| delivery.kind);
        match format {
            Format::K8sSecret => assert!(kind.unwrap_err().message.contains("manifest")),
            format => assert_eq!(kind.unwrap(), DeliveryKind::EnvFile { format: *format }),
        }
    }
}

#[test]
fn a_mode_is_octal_text() {
    for (text, mode) in [("0600", 0o600), ("640", 0o640), ("0666", 0o666), ("000", 0), ("0444", 0o444)] {
        assert_eq!(one(&format!("mode = \"{text}\"")).unwrap().access.mode, mode, "{text}");
    }
    for bad in ["", "60", "00600", "0o600", "0680", "+600", "rw-r-----", " 600"] {
        let error = one(&format!("mode = \"{bad}\"")).unwrap_err();
        assert!(error.message.contains("3 or 4 octal digits"), "{bad:?}: {error}");
    }
    for bad in ["0700", "0601", "755", "4600", "1666"] {
        let error = one(&format!("mode = \"{bad}\"")).unwrap_err();
        assert!(error.message.contains("beyond 0666"), "{bad:?}: {error}");
    }
}

#[test]
fn a_signal_has_many_spellings() {
    for (name, signal) in [
        ("HUP", Signal::SIGHUP),
        ("sigterm", Signal::SIGTERM),
        ("SIGUSR1", Signal::SIGUSR1),
        ("Usr2", Signal::SIGUSR2),
    ] {
        let read = on_change(&format!("signal = \"{name}\", pid_file = \"app.pid\"")).unwrap();
        let pid_file = PathBuf::from("/nowhere/app.pid");
        assert_eq!(read.action, Action::Signal { signal, pid_file, label: "app.pid".into() });
    }
    for bad in ["", "SIG", "15", "RTMIN", "kill", "SIGKILL", "stop", "SIGSIGHUP"] {
        let error = on_change(&format!("signal = \"{bad}\", pid_file = \"app.pid\"")).unwrap_err();
        assert!(error.message.starts_with("`on_change.signal` of delivery `a` is "), "{bad:?}: {error}");
    }
}

#[test]
fn durations_are_bounded_below_where_nothing_would_happen() {
    assert_eq!(on_change("exec = [\"/x\"], min_interval = \"0s\"").unwrap().min_interval, Duration::ZERO);
    for bad in ["timeout = \"0s\"", "timeout = \"-1s\"", "min_interval = \"-1s\"", "min_interval = \"1\""] {
        let error = on_change(&format!("exec = [\"/x\"], {bad}")).unwrap_err();
        assert!(error.message.contains("must be a duration"), "{bad}: {error}");
    }
}

const LAYERED: &str = r#"
    [delivery.app]
    type = "env-file"
    path = "app.env"
    vars = ["A", "B"]
    on_change = { exec = ["/bin/a", "b"], timeout = "5s", min_interval = "3s" }
    [env.staging.delivery.app]
    mode = "0640"
    vars = ["C"]
    on_change.exec = ["/bin/c"]
    [env.production.delivery.app]
    on_change = { signal = "HUP", pid_file = "/run/app.pid" }
    [env.production.delivery.more]
    type = "directory"
    path = "more"
"#;

#[test]
fn an_overlay_merges_fields_and_replaces_lists_and_other_actions_whole() {
    let [staging] = <[_; 1]>::try_from(read(LAYERED, "staging", Trust::Full).unwrap()).unwrap();
    assert_eq!((staging.label.as_str(), staging.access.mode), ("app.env", 0o640));
    assert_eq!(staging.vars, Selection::new(["C"]));
    let action = Action::Exec { argv: vec!["/bin/c".into()], timeout: Duration::from_secs(5) };
    let min_interval = Duration::from_secs(3);
    assert_eq!(staging.on_change, Some(OnChange { action, min_interval }), "the same action is merged");

    let [app, more] = <[_; 2]>::try_from(read(LAYERED, "production", Trust::Full).unwrap()).unwrap();
    let label = "/run/app.pid".to_owned();
    let action = Action::Signal { signal: Signal::SIGHUP, pid_file: "/run/app.pid".into(), label };
    let min_interval = Duration::from_secs(1);
    assert_eq!(app.on_change, Some(OnChange { action, min_interval }), "nothing of the other is left");
    assert_eq!(more.name, "more");

    let back =
        LAYERED.replace("signal = \"HUP\", pid_file = \"/run/app.pid\"", "exec = [\"/x\"], signal = \"HUP\"");
    let error = read(&back, "production", Trust::Full).unwrap_err();
    assert!(error.message.contains("stands beside `exec`"), "{error}");
}
