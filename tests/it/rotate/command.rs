//! What is asked of the command itself, before any daemon is.

use std::io::Write as _;
use std::process::Stdio;

use super::{SETTINGS_FILE, daemon, home, rotate};
use crate::program::{Folder, Ran};

/// `dlconf rotate` with a value on its stdin.
fn given(folder: &Folder, arguments: &[&str], value: &[u8]) -> Ran {
    let mut command = folder.command(&[&SETTINGS_FILE[..], &["rotate"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who refuses early reads nothing.
    let _closed = child.stdin.take().unwrap().write_all(value);
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn options_that_fight_are_wrong_usage() {
    let folder = home("");
    for arguments in [
        &[][..],
        &["SIGNING_KEY", "--undo", "--compromised"],
        &["SIGNING_KEY", "--undo", "--from-stdin"],
        &["SIGNING_KEY", "--yes"],
        &["SIGNING_KEY", "--timeout", "1m"],
        &["SIGNING_KEY", "--wait", "--timeout", "10"],
        &["SIGNING_KEY", "--wait", "--dry-run"],
        &["SIGNING_KEY", "--compromised", "--accept-logout"],
        &["SIGNING_KEY", "--reason", ""],
    ] {
        rotate(&folder, arguments).exits(2).never_says("panicked");
    }
}

#[test]
fn without_a_daemon_nothing_is_done() {
    let folder = home("");
    rotate(&folder, &["SIGNING_KEY"]).exits(3).warns("no daemon answers at");
    let other = Folder::with_env("");
    other.run(&["rotate", "SIGNING_KEY"]).exits(2).warns("no daemon's socket is configured");
}

#[test]
fn a_value_that_is_none_is_not_sent() {
    let (folder, daemon) = daemon("");
    let long = vec![b'x'; 8 * 1024 + 1];
    for (value, clause) in [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (b"\r\n", "is empty"),
        (b"canary\0canary", "holds a NUL byte"),
        (b"canary\xff", "is not UTF-8"),
        (&long, "is longer than 8192 bytes"),
    ] {
        let ran = given(&folder, &["MAIL_PASSWORD", "--from-stdin"], value).exits(2);
        ran.warns(clause).never_says("canary");
    }
    assert_eq!(daemon.count("/v1/rotate"), 0);
    // What is fine is sent, and told nowhere.
    let ran = given(&folder, &["MAIL_PASSWORD", "--from-stdin"], b"canary-5uPpL13d\n").exits(4);
    ran.warns("rotates nothing").never_says("canary");
    assert_eq!(daemon.count("canary-5uPpL13d"), 0);
}
