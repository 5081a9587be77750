//! Files that say that their passphrase takes more than a machine has: whole, with a
//! right checksum, and made by somebody else.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dlconf::sealed::{Container, Stretch};

use super::{ENV, value_free};
use crate::program::{Folder, Ran};

/// All that a command may hold in memory of its own: far less than the 64 MiB that a
/// passphrase takes, and than anything that is refused.
const MEMORY: &str = "--data=41943040";

/// Runs it with little memory; ended by force, were it to work on.
fn with_little_memory(folder: &Folder, arguments: &[&str]) -> Ran {
    let mut command = Command::new("prlimit");
    command.args([MEMORY, "timeout", "--signal=KILL", "20", env!("CARGO_BIN_EXE_dlconf")]).args(arguments);
    command.current_dir(folder.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    value_free(Ran::of(&command.stdin(Stdio::null()).output().unwrap()))
}

/// A sealed file for the passphrase in `phrase`.
fn sealed() -> Folder {
    let folder = Folder::with_env(ENV);
    folder.file("phrase", "correct horse battery staple\n");
    folder.run(&["seal", ".env", "--passphrase-file", "phrase"]).exits(0);
    folder
}

#[test]
fn a_file_takes_no_more_memory_or_time_than_dlconf_would_ever_write() {
    let folder = sealed();
    let whole = folder.read(".env.sealed");
    let most = u32::MAX;
    for ((memory_kib, passes, lanes), what) in [
        ((most, 3, 4), "4294967295 KiB of memory"),
        ((262_145, 3, 4), "262145 KiB of memory"),
        ((65_536, most, 4), "4294967295 passes"),
        ((65_536, 11, 4), "11 passes"),
        ((65_536, 3, most), "4294967295 lanes"),
        ((65_536, 3, 9), "9 lanes"),
        // Within the memory that there is: nothing but the bound keeps it from working on.
        ((64, most, 1), "4294967295 passes"),
    ] {
        let mut bomb = Container::from_text(&whole).unwrap();
        bomb.header.slots[0].stretch = Some(Stretch { memory_kib, passes, lanes, salt: [5; 16] });
        folder.bytes("bomb", bomb.to_text().as_bytes(), 0o600);
        for command in
            [&["unseal"][..], &["edit"], &["rekey", "--to-new-key-file", "new"], &["unseal", "--names"]]
        {
            let arguments = [command, &["bomb", "--passphrase-file", "phrase"]].concat();
            let started = Instant::now();
            let ran = with_little_memory(&folder, &arguments).exits(4);
            assert!(started.elapsed() < Duration::from_secs(5), "{what}: {arguments:?}");
            ran.warns(&format!("its passphrase would take {what}")).warns("do not trust this file");
        }
    }
    assert!(!folder.join("new").exists());
}

/// The limit of the test above bites: what is allowed needs more, and that is told.
#[test]
fn without_the_memory_for_it_no_passphrase_is_stretched() {
    let folder = sealed();
    let arguments = ["unseal", ".env.sealed", "--passphrase-file", "phrase"];
    with_little_memory(&folder, &arguments).exits(4).warns("not enough memory to stretch its passphrase");
}
