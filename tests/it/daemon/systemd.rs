//! What a service manager is told.

use std::os::unix::net::UnixDatagram;

use super::*;

/// A service manager's socket, and what came.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn new(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, heard: Vec::new() }
    }

    fn start(folder: &Folder, watchdog: &str) -> Daemon {
        let mut command = Daemon::command(folder);
        command.env("NOTIFY_SOCKET", folder.join("notify")).env("WATCHDOG_USEC", watchdog);
        Daemon::of(folder, &mut command)
    }

    #[track_caller]
    fn any(&mut self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{error}: {:?}", self.heard));
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        self.heard.push(text.clone());
        text
    }

    /// Waits for a line that says how it is.
    #[track_caller]
    fn hears(&mut self, words: &str) {
        while !self.any().contains(words) {}
    }

    /// The next message but for those that say how it is.
    #[track_caller]
    fn next(&mut self) -> String {
        loop {
            let text = self.any();
            if !text.starts_with("STATUS=") {
                return text.trim_end().to_owned();
            }
        }
    }
}

/// Not in a test's time.
const NEVER: &str = "3600000000";

/// Since the machine started, in microseconds.
fn now() -> f64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    uptime.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e6
}

/// The time of a message that it reloads.
#[track_caller]
fn reloading(message: &str) -> f64 {
    let (word, time) = message.split_once('\n').unwrap();
    assert_eq!(word, "RELOADING=1");
    time.strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap()
}

#[test]
fn it_tells_ready_reloading_and_stopping() {
    let folder = usual();
    fs::remove_file(folder.join(".env")).unwrap();
    let mut manager = Manager::new(&folder);
    let daemon = Manager::start(&folder, NEVER);
    daemon.says("source local cannot be read");
    daemon.reread("local", || put(&folder, ".env", &shop("one").replace("9000", "x")));
    daemon.says(" published yet");
    manager.hears("waiting for a first valid configuration");
    // The first sign of life comes at once; of the rest nothing before it is so.
    assert!(manager.heard.iter().all(|text| text.starts_with("STATUS=") || text.starts_with("WATCHDOG=")));
    put(&folder, ".env", &shop("one"));
    assert_eq!(manager.next(), "READY=1");
    assert!(folder.read("out/app.env").contains("NAME=one"));

    daemon.signal(Signal::SIGHUP);
    let first = reloading(&manager.next());
    // (A machine that has slept has a longer uptime.)
    assert!(first > 0.0 && first <= now() + 20_000.0, "{first}");
    assert_eq!(manager.next(), "READY=1");
    // A reload that is refused is over too.
    put(&folder, "dlconf.schema.toml", "x");
    assert!(reloading(&manager.next()) > first);
    assert_eq!(manager.next(), "READY=1");

    daemon.end(Signal::SIGTERM).exits(0);
    assert_eq!(manager.next(), "STOPPING=1");
    assert!(!manager.heard.iter().any(|text| text.contains(TOKEN)), "{:?}", manager.heard);
}

#[test]
fn it_gives_a_sign_of_life_twice_in_the_watchdogs_time() {
    let folder = usual();
    let mut manager = Manager::new(&folder);
    let daemon = Manager::start(&folder, "400000");
    let mut times = Vec::new();
    while times.len() < 5 {
        if manager.next() == "WATCHDOG=1" {
            times.push(Instant::now());
        }
    }
    let took = times[4] - times[0];
    // Four halves; a busy machine only makes it longer, and never as long as that.
    assert!((Duration::from_millis(700)..Duration::from_millis(1600)).contains(&took), "{took:?}");
    drop(daemon);
}

#[test]
fn a_watchdog_of_another_process_is_not_ours() {
    let folder = usual();
    let mut manager = Manager::new(&folder);
    let mut command = Daemon::command(&folder);
    command
        .env("NOTIFY_SOCKET", folder.join("notify"))
        .env("WATCHDOG_USEC", "20000")
        .env("WATCHDOG_PID", "1");
    let daemon = Daemon::of(&folder, &mut command);
    assert_eq!(manager.next(), "READY=1");
    daemon.fence(&folder);
    daemon.end(Signal::SIGTERM).exits(0);
    assert_eq!(manager.next(), "STOPPING=1");
}
