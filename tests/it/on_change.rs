//! The process that is set aside for `on_change`, as other commands meet it: an
//! argument of theirs only looks like the command that needs it.
//!
//! What programs get from it is tested beside it (`src/process/helper/tests.rs`),
//! where it can be forked while there is one thread.

use crate::program::{Folder, SMALL_SCHEMA};

#[test]
fn a_program_that_we_become_finds_no_child() {
    let folder = Folder::new();
    folder.file("daemon", "PORT=9090\n").file("dlconf.schema.toml", SMALL_SCHEMA);
    // A process of ours that had ended unreaped would stand here beside `cat`.
    let script = "echo start; cat /proc/$$/task/$$/children; echo; echo $PORT";
    let ran = folder.run(&["run", "--env-file", "daemon", "--", "/bin/sh", "-c", script]).exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let ["start", children, "9090"] = lines[..] else { panic!("{lines:?}") };
    assert_eq!(children.split_whitespace().count(), 1, "{children}");
}

#[test]
fn commands_end_as_ever() {
    let folder = Folder::new();
    folder.file("daemon", "PORT=9090\n").file("dlconf.schema.toml", SMALL_SCHEMA);
    // Their output ends: nobody is left who holds it open.
    folder.run(&["check", "--env-file", "daemon"]).exits(0);
    folder.run(&["no-such-command", "daemon"]).exits(2);
}
