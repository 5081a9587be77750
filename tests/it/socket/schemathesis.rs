//! The API against its own description: requests that schemathesis makes of it,
//! good and bad ones, and what it makes of the answers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::*;

/// What cannot hold, and why.
const CONFIG: &str = r#"
# A tag of no answer: `*` holds for every one, and with `wait` nothing comes then.
[[operations]]
include-path-regex = "^/v1/(config|keys)"
parameters = { "header.If-None-Match" = "W/\"0\"" }

# 400, for `name` belongs to one `format`, which OpenAPI cannot say; 431, for more
# parts of `vars` than are taken may be longer than any head may be.
[[operations]]
include-path = "/v1/config"
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", "400", "403", "404", "5xx"]
checks.negative_data_rejection.expected-statuses = ["400", "403", "404", "406", "431"]
"#;

/// The variables that its requests meet.
pub(super) const ENV: &str = "DB_HOST=db.internal\nDB_USER=datalens\nDB_PASSWORD=p4-Rq8Zt2LxV5nBt7Kj\n\
    JWT_SECRET=q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6TeUw1Rk\n\
    JWT_SECRET_PREVIOUS=m4Wz8KqN2vXr7TbL5cYj9GdPsF3hQa6UeUw1Rk\n";

/// TCP on loopback in front of a Unix socket: what schemathesis can speak.
struct Proxy {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::<AtomicBool>::default();
        let thread = std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                while let Ok((outside, _)) = listener.accept() {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    // A daemon that is gone is a connection that ends.
                    let Ok(inside) = UnixStream::connect(&socket) else { continue };
                    between(outside, inside);
                }
            }
        });
        Self { address, ended, thread: Some(thread) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        self.thread.take().map(JoinHandle::join);
    }
}

/// Copies both ways, each until its end.
fn between(outside: TcpStream, inside: UnixStream) {
    let (mut from_outside, mut to_inside) = (outside.try_clone().unwrap(), inside.try_clone().unwrap());
    std::thread::spawn(move || {
        copy(&mut from_outside, &mut to_inside);
        let _gone = to_inside.shutdown(Shutdown::Write);
    });
    let (mut from_inside, mut to_outside) = (inside, outside);
    std::thread::spawn(move || {
        copy(&mut from_inside, &mut to_outside);
        let _gone = to_outside.shutdown(Shutdown::Both);
    });
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let _broken = std::io::copy(from, to);
}

#[test]
fn it_answers_as_it_says() {
    let tools = std::env::var_os("DLCONF_TEST_TOOLS").expect("run tests/run, which installs the tools");
    let folder = Folder::with_env(ENV);
    let settings = SETTINGS.replace("staging", "development").replace("\"web\"", "\"cc\"");
    let schema = include_str!("../../../policies/datalens.schema.toml");
    folder.file("dlconf.schema.toml", schema).file("dlconf.toml", &settings);
    folder.file("schemathesis.toml", CONFIG);
    let daemon = Daemon::ready(&folder);
    let proxy = Proxy::start(daemon.socket.clone());
    let ran = Command::new(Path::new(&tools).join("venv/bin/st"))
        .args(["--config-file", "schemathesis.toml", "--no-color", "run"])
        .arg(format!("http://{}/v1/openapi.json", proxy.address))
        // It never ends; `watch` has tests of its own.
        .args(["--exclude-path", "/v1/watch"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "1"])
        .args(["--continue-on-failure", "--workers", "1", "--generation-database", "none"])
        // A machine with other work is no defect.
        .args(["--suppress-health-check", "all", "--request-timeout", "15"])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder.path())
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{}", daemon.lines().join("\n"));
    // All but `watch`, and but where the description comes from.
    assert!(said.contains("9 selected / 10 total") && said.contains("Tested: 9"), "{said}");
    // It lives, and none of what it was sent has become a line of its own.
    assert_eq!(get(&daemon.socket, "/v1/status").is(200).json()["generation"], 1);
    assert_eq!(daemon.count("panicked"), 0);
}
