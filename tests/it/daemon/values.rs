//! Values stand in the outputs and nowhere else; what was rotated out is gone.

use super::*;
use crate::memory_scan::scan;

const PLAIN: &str = "a-plain-name-7Hq2";
const NEXT: &str = "m4Wz8KqN2vXr7TbL5cYj9GdPsF3hQa6Ue";

#[test]
fn values_stand_in_the_outputs_and_nowhere_else() {
    let folder = usual();
    folder.file(".env", &shop(PLAIN));
    let daemon = Daemon::ready(&folder);
    assert!(folder.read("out/app.env").contains(PLAIN) && folder.read("out/app.env").contains(TOKEN));
    // Good, refused, unreadable, undeliverable.
    put(&folder, ".env", &shop(PLAIN).replace(TOKEN, &TOKEN[..20]).replace("9000", "many-7Hq2"));
    daemon.says("is not published");
    let mut shown = vec![daemon.status().to_string(), daemon.page("/").1];
    put(&folder, ".env", &format!("{}X='{PLAIN}{TOKEN}\n", shop(PLAIN)));
    daemon.says("source local cannot be read");
    shown.push(daemon.status().to_string());
    put(&folder, ".env", &shop(&format!("{PLAIN}-two")));
    daemon.holds(&folder, "out/app.env", "-two");
    let path = folder.join("out/app.env");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    put(&folder, ".env", &shop(PLAIN));
    daemon.says("delivery app failed");
    put(&folder, "dlconf.schema.toml", &SCHEMA.replace("hmac-key", "port"));
    daemon.says("are refused");

    for page in ["/", "/metrics", "/readyz", "/healthz", &format!("/{TOKEN}")] {
        shown.push(daemon.page(page).1);
    }
    for key in ["NAME", "TOKEN", "PORT", "NOTE", TOKEN] {
        shown.push(ask(&daemon.socket, "GET", &format!("/v1/explain/{key}")).unwrap().1);
        shown.push(ask(&daemon.socket, "POST", &format!("/v1/forget/{key}")).unwrap().1);
    }
    shown.push(daemon.status().to_string());
    shown.extend(daemon.end(Signal::SIGTERM).exits(0).lines);
    for text in shown {
        for value in [PLAIN, TOKEN, &TOKEN[..20], "many-7Hq2"] {
            assert!(!text.contains(value), "{value:?} in {text}");
        }
    }
}

/// How often a text stands in a process.
fn copies(pid: u32, text: &str) -> usize {
    scan(pid, text.as_bytes()).unwrap().total()
}

#[test]
fn what_was_rotated_out_leaves_the_memory_within_a_second() {
    let folder = usual();
    // With an on_change a delivery keeps what it gave, to mask what is printed. The
    // first run prints all of it, the second nothing that could lie over that.
    folder.file("hook.sh", "if grep -q NAME=one \"$DLCONF_PATH\"; then cat \"$DLCONF_PATH\"; fi\n");
    let on_change = format!(
        "[delivery.app.on_change]\nexec = [\"/bin/sh\", \"{}\"]\nmin_interval = \"0s\"\n",
        folder.join("hook.sh").display()
    );
    folder.file("dlconf.toml", &[SOURCES, DELIVERIES, AT_ONCE, &on_change].concat());
    let daemon = Daemon::ready(&folder);
    daemon.says_for(1, "on_change of delivery app: exit code 0");
    if fs::File::open(format!("/proc/{}/mem", daemon.pid())).is_err() {
        // Needs root: it lets nobody else look.
        return;
    }
    // The value, and the line it stands in. What was read, written and printed is gone.
    few(&daemon, TOKEN, 3);

    put(&folder, ".env", &shop("two").replace(TOKEN, NEXT));
    daemon.says_for(2, "on_change of delivery app: exit code 0");
    is_gone_in_time(&daemon, TOKEN);
    // The output went through the process that runs programs.
    assert_eq!(copies(daemon.children()[0], TOKEN), 0);
    few(&daemon, NEXT, 3);

    // What is refused is not kept beside what is in force any longer than it stands.
    put(&folder, ".env", &shop("two").replace("9000", "x"));
    daemon.says("is not published");
    put(&folder, ".env", &shop("three").replace(TOKEN, NEXT));
    daemon.holds(&folder, "out/app.env", "three");
    is_gone_in_time(&daemon, TOKEN);
}

#[track_caller]
fn is_gone_in_time(daemon: &Daemon, secret: &str) {
    let since = Instant::now();
    loop {
        // As it was when the time was over: a scan takes its own.
        let in_time = since.elapsed() <= Duration::from_secs(1);
        let left = copies(daemon.pid(), secret);
        if left == 0 {
            return;
        }
        assert!(in_time, "{left} copies are left");
        // It stood still while it was looked at, and has something to do.
        std::thread::sleep(10 * LOOK);
    }
}

/// A connection that stays open.
struct Kept(BufReader<UnixStream>);

impl Kept {
    fn new(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(&daemon.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, target: &str) {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// The status, and the body.
    fn read(&mut self) -> (u16, Vec<u8>) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some(("content-length", text)) => length = text.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, body)
    }

    /// Reads lines until one holds this.
    fn reads_until(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "{text} did not come");
            assert!(!line.contains("alive"), "{text} did not come");
        }
    }

    fn gets(&mut self, target: &str) -> Vec<u8> {
        self.send(target);
        let (status, body) = self.read();
        assert_eq!(status, 200, "{target}");
        body
    }
}

/// Whether nobody but root may look at this process, and we are not root.
fn cannot_look(daemon: &Daemon) -> bool {
    fs::File::open(format!("/proc/{}/mem", daemon.pid())).is_err()
}

const WAYS: [&str; 6] = [
    "/v1/config",
    "/v1/config/TOKEN",
    "/v1/keys/TOKEN",
    "/v1/config?vars=TOKEN,NAME",
    "/v1/config?format=shell",
    "/v1/config?format=json",
];

#[test]
fn a_thousand_answers_leave_no_copy_behind() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    if cannot_look(&daemon) {
        return;
    }
    let before = settled(&daemon, TOKEN);
    let mut kept: Vec<Kept> = (0..8).map(|_| Kept::new(&daemon)).collect();
    for at in 0..1000 {
        let body = kept[at % 8].gets(WAYS[at % WAYS.len()]);
        assert!(body.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()));
    }
    // Connections that stay open and have been answered hold nothing.
    few(&daemon, TOKEN, before);
    put(&folder, ".env", &shop("two").replace(TOKEN, NEXT));
    daemon.holds(&folder, "out/app.env", NEXT);
    is_gone_in_time(&daemon, TOKEN);
    for one in &mut kept {
        one.gets("/v1/config");
    }
    few(&daemon, NEXT, before);
    drop(kept);
    few(&daemon, NEXT, before);
}

/// How many copies there are when nothing moves any more.
#[track_caller]
fn settled(daemon: &Daemon, secret: &str) -> usize {
    let mut seen = vec![few(daemon, secret, 3)];
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < 5 || seen[seen.len() - 5..].iter().any(|other| other != &seen[seen.len() - 1]) {
        assert!(Instant::now() < deadline, "{seen:?}");
        std::thread::sleep(10 * LOOK);
        seen.push(copies(daemon.pid(), secret));
    }
    seen[seen.len() - 1]
}

/// How many copies there are when a moment has passed: what is being delivered, or
/// was just answered, has some more.
#[track_caller]
fn few(daemon: &Daemon, secret: &str, most: usize) -> usize {
    let since = Instant::now();
    loop {
        let in_time = since.elapsed() <= Duration::from_secs(1);
        let found = copies(daemon.pid(), secret);
        if (1..=most).contains(&found) {
            return found;
        }
        assert!(in_time, "{found} copies, and {most} are fine");
        std::thread::sleep(10 * LOOK);
    }
}

#[test]
fn who_does_not_read_does_not_keep_an_old_value() {
    // JSON carries long values, as other formats do not.
    let deliveries = DELIVERIES.replace("type = \"env-file\"", "type = \"env-file\"\nformat = \"json\"");
    let folder = home(&[SOURCES, &deliveries, AT_ONCE]);
    let long = |name: &str| shop(&format!("{name}{}", "x".repeat(400_000)));
    put(&folder, ".env", &long("MARK-of-the-first-7Hq2"));
    let daemon = Daemon::ready(&folder);
    if cannot_look(&daemon) {
        return;
    }
    let first = "MARK-of-the-first-7Hq2";
    let before = settled(&daemon, first);
    let mut slow = Kept::new(&daemon);
    // One answer is more than the socket takes, and so are those behind it.
    slow.send("/v1/config/NAME");
    slow.send("/v1/config");
    let deadline = Instant::now() + PATIENCE;
    while copies(daemon.pid(), first) <= before {
        assert!(Instant::now() < deadline, "nothing waits to be read");
        std::thread::sleep(10 * LOOK);
    }
    let mut watcher = Kept::new(&daemon);
    watcher.send("/v1/watch");
    watcher.reads_until("resync");
    put(&folder, ".env", &long("MARK-of-the-next-8Jr3"));
    daemon.holds(&folder, "out/app.env", "MARK-of-the-next-8Jr3");
    is_gone_in_time(&daemon, first);
    // It was cut off, and others were not.
    let mut rest = Vec::new();
    let _cut = slow.0.read_to_end(&mut rest);
    assert!(rest.len() < 400_000, "{} bytes came", rest.len());
    watcher.reads_until("\"changed\":[\"NAME\"]");
}
