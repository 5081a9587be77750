//! The proof of a rotation: three API processes that issue tokens, each behind a daemon
//! of its own with a lag of its own, while their key is rotated over OpenBao by a fourth
//! daemon, which hears by Leases what they run. Tokens of one are verified by another
//! all the time: none is refused whose time is not over, and none is accepted whose key
//! is retired.
//!
//! `DLCONF_TEST_ROTATIONS` says how often: `DLCONF_TEST_ROTATIONS=100 tests/run rotation_proof::`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bao::{Bao, poll};
use crate::daemon::Daemon;
use crate::kubernetes::cluster::Cluster;
use crate::memory_scan::scan;
use crate::program::Folder;

/// How often, unless somebody says otherwise: some 7 s each.
const ROTATIONS: usize = 6;

/// How long one rotation may take, on a machine with other work.
const PATIENCE: Duration = Duration::from_mins(2);

/// From one look at OpenBao to the next: the lag of each daemon.
const LAGS: [&str; 3] = ["1s", "1200ms", "1500ms"];

/// The life of a token; the overlap is 2 s.
const LIFE: &str = "1500ms";

const SCHEMA: &str = r#"
schema_version = 1
name = "datalens"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
services = ["cc"]
[defaults]
dialect = "go"
on_invalid = "fail"
[var.APP_ENV]
type = "string"
required = false
[var.TOKEN_EXPIRY]
type = "duration"
[var.JWT_SECRET]
type = "hmac-key"
min_bytes = 32
generate = "base64url:48"
rotation = { strategy = "overlap", every = "30d", overlap = "2s", tokens = ["TOKEN_EXPIRY"] }
"#;

/// A daemon's settings, but for what it rotates.
fn settings(bao: &Bao, poll: &str, rest: &str) -> String {
    format!(
        "environment = \"production\"\nservice = \"cc\"\norder = [\"vault\"]\n[source.vault]\ntype = \"vault\"\n\
         address = \"{}\"\nnamespace = \"{}\"\nauth = {{ method = \"token\" }}\npoll = \"{poll}\"\n\
         paths = [{{ mount = \"secret\", path = \"app\" }}]\n[socket]\npath = \"dlconf.sock\"\n\
         [ops]\nlisten = \"unix:ops.sock\"\n[debounce]\nmin = \"0ms\"\n\
         [rotation]\nacknowledgements = \"leases/proof\"\n{rest}",
        bao.address(),
        bao.namespace(),
    )
}

/// A daemon with what its environment has to name.
fn daemon(folder: &Folder, bao: &Bao, cluster: &Cluster, name: &str) -> Daemon {
    let mut command = folder.command(&["--config", "dlconf.toml", "-v", "daemon"]);
    command
        .env("VAULT_TOKEN", bao.root_token())
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("HOSTNAME", name);
    let daemon = Daemon::of(folder, &mut command);
    daemon.until("readiness", |status| status["ready"] == true);
    daemon
}

/// A child that is killed when it is dropped.
struct Process {
    child: Child,
    /// What it says first: `listening 127.0.0.1:4711`.
    address: String,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening ").expect("it says where it listens").to_owned();
        Self { child, address: format!("http://{address}") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Go program, built.
fn program(folder: &Folder) -> PathBuf {
    let tools = PathBuf::from(std::env::var_os("DLCONF_TEST_TOOLS").expect("run tests/run"));
    let libraries = std::fs::read_dir(tools.join("venv/lib")).unwrap();
    let mut go = libraries.map(|entry| entry.unwrap().path().join("site-packages/go/bin/go"));
    let go = go.find(|go| go.is_file()).expect("tests/run installs Go");
    let binary = folder.join("rotation");
    let built = Command::new(go)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/go"))
        .args(["build", "-o"])
        .arg(&binary)
        .arg("./examples/rotation")
        .env("GOPATH", tools.join("go"))
        .env("GOCACHE", tools.join("go/cache"))
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .env("GOFLAGS", "-mod=mod")
        .env_remove("GOROOT")
        .env_remove("GO111MODULE")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    binary
}

/// What the driver saw.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    issued: u64,
    verified: u64,
    refused_valid: u64,
    refused: Vec<String>,
    accepted_again: u64,
    unreachable: u64,
    kids: BTreeMap<String, Life>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Life {
    last_accepted: f64,
    refused_by_all: bool,
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn rotation(status: &Value) -> Value {
    let all = status["rotations"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["key"] == "JWT_SECRET").unwrap_or_default()
}

#[test]
fn nobody_is_logged_out_and_nobody_stays() {
    let rotations = std::env::var("DLCONF_TEST_ROTATIONS").map_or(ROTATIONS, |text| text.parse().unwrap());
    let (bao, cluster) = (Bao::shared(), Cluster::fake());
    cluster.grant_leases();
    bao.write("secret/metadata/app", &json!({ "max_versions": 5 * rotations + 10, "cas_required": true }));
    let first = "first-Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE81";
    bao.write(
        "secret/data/app",
        &json!({
            "options": { "cas": 0 }, "data": { "JWT_SECRET": first, "TOKEN_EXPIRY": LIFE, "beside": 1.50 },
        }),
    );

    let home = |rest: &str, poll: &str| {
        let folder = Folder::new();
        folder.file("dlconf.schema.toml", SCHEMA);
        folder.file("dlconf.toml", &settings(&bao, poll, rest));
        folder
    };
    let rest =
        "enabled = true\nleader = \"lease/rotator\"\n[consumer.cc]\ninstances = 3\nverifies = \"ring\"\n";
    let homes: Vec<Folder> = LAGS.iter().map(|poll| home("", poll)).collect();
    let rotator_home = home(rest, "1h");
    let daemons: Vec<Daemon> =
        homes.iter().enumerate().map(|(n, home)| daemon(home, &bao, &cluster, &format!("api-{n}"))).collect();
    let rotator = daemon(&rotator_home, &bao, &cluster, "rotator");

    let built = Folder::new();
    let binary = program(&built);
    let api = |(n, home): (usize, &Folder)| {
        let mut command = Command::new(&binary);
        command.arg("-socket").arg(home.join("dlconf.sock"));
        command.args(["-instance", &format!("api-{n}"), "-life", LIFE]);
        Process::start(command)
    };
    let apis: Vec<Process> = homes.iter().enumerate().map(api).collect();
    let addresses: Vec<&str> = apis.iter().map(|api| &*api.address).collect();
    let mut driver = Command::new(&binary)
        .args(["-drive", &addresses.join(","), "-rate", "200"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    // Kid by kid, when the rotator said that it was retired.
    let mut retired: Vec<(String, f64)> = Vec::new();
    let mut took: Vec<Duration> = Vec::new();
    for number in 1..=rotations {
        let begun = Instant::now();
        // The Lease of the leader, and the words of all, may be a moment away.
        let ran = loop {
            let ran =
                rotator_home.run(&["--config", "dlconf.toml", "rotate", "JWT_SECRET", "--reason", "proof"]);
            if ran.code == 0 || begun.elapsed() > PATIENCE {
                break ran;
            }
        };
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let old = rotation(&rotator.status())["kids"]["current"].as_str().unwrap().to_owned();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = rotator.status();
            let one = rotation(&status);
            if one["phase"] == "steady" && one["number"] == number {
                break;
            }
            assert!(Instant::now() < deadline, "rotation {number}: {one:#}\n{}", rotator.lines().join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
        retired.push((old, seconds()));
        took.push(begun.elapsed());
    }
    kill(Pid::from_raw(driver.id().cast_signed()), Signal::SIGTERM).unwrap();
    let mut text = String::new();
    driver.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(driver.wait().unwrap().success());
    let report: Report = serde_json::from_str(&text).unwrap();

    took.sort_unstable();
    let _ = writeln!(
        std::io::stderr(),
        "{rotations} rotations, the middle one in {:?}; {} tokens issued, {} judged, {} refused, {} unreachable",
        took[took.len() / 2],
        report.issued,
        report.verified,
        report.refused_valid,
        report.unreachable,
    );
    assert_eq!(report.refused_valid, 0, "{:#?}", report.refused);
    assert_eq!((report.accepted_again, report.unreachable), (0, 0));
    assert!(report.verified > 100 * rotations as u64, "{report:?}");
    for (kid, at) in &retired {
        let life = report.kids.get(kid).unwrap_or_else(|| panic!("nobody signed with {kid}"));
        assert!(life.refused_by_all, "{kid} is retired, and somebody accepts it");
        assert!(life.last_accepted <= *at, "{kid} was accepted {} s after its end", life.last_accepted - at);
    }

    // What stands beside the key is as it was, and no process of ours holds an old key.
    let present = bao.read("secret/data/app")["data"]["data"].clone();
    assert_eq!(present["beside"].to_string(), "1.5", "as OpenBao gives a number back");
    assert_eq!(present.as_object().unwrap().len(), 4, "{:?}", present.as_object().unwrap().keys());
    let versions = bao.read("secret/metadata/app")["data"]["current_version"].as_u64().unwrap();
    let live = present["JWT_SECRET"].as_str().unwrap().to_owned();
    let mut olds = std::collections::BTreeSet::new();
    for version in (1..versions).step_by(usize::try_from(versions / 40).unwrap().max(1)) {
        let data = bao.read(&format!("secret/data/app?version={version}"))["data"]["data"].clone();
        olds.extend(
            ["JWT_SECRET", "JWT_SECRET_PREVIOUS"]
                .iter()
                .filter_map(|name| data[*name].as_str().map(str::to_owned)),
        );
    }
    olds.remove(&live);
    assert!(olds.contains(first) && olds.len() > 1);
    for daemon in daemons.iter().chain([&rotator]) {
        assert!(scan(daemon.pid(), live.as_bytes()).unwrap().total() > 0, "the scan finds what is there");
        for old in &olds {
            // The slowest has yet to look at OpenBao.
            let found = poll(|| {
                let found = scan(daemon.pid(), old.as_bytes()).unwrap();
                (found.total() == 0).then_some(())
            });
            assert!(found.is_some(), "a retired key is in the memory of {}", daemon.pid());
        }
    }
}
