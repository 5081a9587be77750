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
    has_few_copies(&daemon, TOKEN);

    put(&folder, ".env", &shop("two").replace(TOKEN, NEXT));
    daemon.says_for(2, "on_change of delivery app: exit code 0");
    is_gone_in_time(&daemon, TOKEN);
    // The output went through the process that runs programs.
    assert_eq!(copies(daemon.children()[0], TOKEN), 0);
    has_few_copies(&daemon, NEXT);

    // What is refused is not kept beside what is in force any longer than it stands.
    put(&folder, ".env", &shop("two").replace("9000", "x"));
    daemon.says("is not published");
    put(&folder, ".env", &shop("three").replace(TOKEN, NEXT));
    daemon.holds(&folder, "out/app.env", "three");
    is_gone_in_time(&daemon, TOKEN);
}

#[track_caller]
fn has_few_copies(daemon: &Daemon, secret: &str) {
    let found = copies(daemon.pid(), secret);
    assert!((1..=3).contains(&found), "{found} copies");
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
    }
}
