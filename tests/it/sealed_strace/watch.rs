//! The watch itself: strace, what it is asked for, and what is looked for in what it saw.
//!
//! A value is looked for as it is, in hexadecimal and in base64, in everything that
//! hands bytes or names to the kernel. What moves bytes that strace does not show must
//! not be called at all, and no file on a disk may be mapped to be written.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{CHANGED, COMMENT, PLAIN, SECRET, TOKEN};
use crate::program::Folder;

/// What hands bytes to the kernel.
const WRITES: &str = "write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg";
/// What leaves names or attributes behind.
const NAMES: &str = "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat,\
                     rename,renameat,renameat2,setxattr,lsetxattr,fsetxattr";
/// What moves bytes that strace does not see.
const UNSEEN: &str = "sendfile,copy_file_range,splice,vmsplice,tee,process_vm_writev,io_setup,io_submit,\
                      io_uring_setup,io_uring_enter";
/// A write that is no call.
const MAPS: &str = "mmap";

/// A canary, and where it was written: `3</path>`, or the whole call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) place: String,
    pub(super) what: &'static str,
}

impl Sight {
    pub(super) fn is_stdout_pipe(&self) -> bool {
        self.place.starts_with("1<pipe:")
    }

    /// Whether it was written to what is in no file: a pipe or a socket.
    pub(super) fn is_in_transit(&self) -> bool {
        ["<pipe:", "<UNIX", "<TCP", "<socket:"].iter().any(|kind| self.place.contains(kind))
    }
}

/// strace with these options, about to write to this file, behind a guard that bounds
/// what is left of it: `timeout …`, `setpriv …`.
pub(super) fn strace(guard: &[&str], trace: &Path, options: &[&str]) -> Command {
    let calls = format!("trace={WRITES},{NAMES},{UNSEEN},{MAPS}");
    let mut command = Command::new("prlimit");
    command
        .arg("--fsize=268435456")
        .args(guard)
        .arg("strace")
        .args(options)
        .args(["-f", "-yy", "-s", "1048576", "-e", &calls, "-o"])
        .arg(trace);
    command
}

/// Runs a command under strace, and gives where canaries were written.
#[track_caller]
pub(super) fn watched(
    folder: &Folder,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (Output, Vec<Sight>) {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let trace = memory.path().join("trace");
    let mut command = strace(&["timeout", "--kill-after=2", "20"], &trace, &[]);
    command.arg(program).args(arguments).current_dir(folder.path()).stdin(Stdio::null()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.contains("mmap("), "strace saw nothing: {}", String::from_utf8_lossy(&output.stderr));
    (output, seen(&trace))
}

/// What of a trace is a canary on its way.
#[track_caller]
pub(super) fn seen(trace: &str) -> Vec<Sight> {
    let looked_for: Vec<(&'static str, Vec<String>)> =
        [SECRET, CHANGED, TOKEN, COMMENT, PLAIN].map(|what| (what, forms(what))).into();
    let is = |list: &str, call: &str| list.split(',').any(|one| one == call);
    let mut sights = Vec::new();
    for line in trace.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let call = call.rsplit(' ').next().unwrap();
        assert!(!is(UNSEEN, call), "nobody sees what this moves: {line}");
        assert!(
            call != MAPS || !is_disk_mapped_to_be_written(rest),
            "what is written there is not seen: {line}"
        );
        // Pieces of one write that stand in several buffers.
        let rest = joined(rest);
        let place = if is(WRITES, call) { rest.split_once(", ").unwrap().0 } else { line };
        for (what, forms) in &looked_for {
            if forms.iter().any(|form| rest.contains(form.as_str())) {
                sights.push(Sight { place: place.to_owned(), what });
            }
        }
    }
    sights
}

/// `NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3</path>, 0) = …`
fn is_disk_mapped_to_be_written(arguments: &str) -> bool {
    let mut words = arguments.splitn(6, ", ").skip(2);
    let (Some(protection), Some(flags), Some(file)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let is_in_memory = ["</dev/shm/", "</memfd:", "</dev/zero"].iter().any(|place| file.contains(place));
    protection.contains("PROT_WRITE") && flags.contains("MAP_SHARED") && file.contains('<') && !is_in_memory
}

/// The buffers of a `writev` one after another.
fn joined(arguments: &str) -> String {
    let mut pieces = arguments.split("\", iov_len=");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out += piece.split_once("{iov_base=\"").map_or(piece, |(_, next)| next);
    }
    out
}

/// How a text may be written: as it is, in hexadecimal, in base64 of both alphabets
/// wherever in it the text begins.
fn forms(text: &str) -> Vec<String> {
    let digits = text.bytes().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
    let mut all = vec![text.to_owned(), hex.to_uppercase(), hex];
    for before in 0..3 {
        let shifted = [&b"\0\0"[..before], text.as_bytes()].concat();
        let encoded = BASE64.encode(&shifted);
        // The digits that are made of nothing but the text.
        let (from, to) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        let inner = &encoded[from..to];
        all.extend([inner.to_owned(), inner.replace('+', "-").replace('/', "_")]);
    }
    all
}

/// The watch itself: what does write to a disk is caught, however it is written.
#[test]
fn the_watch_sees_a_write_to_a_disk() {
    let folder = Folder::new();
    let hex = forms(SECRET)[1].clone();
    let base64 = BASE64.encode(format!("x{PLAIN}y"));
    let script = format!(
        "printf {SECRET} > raw; printf {hex} > hex; printf {base64} > base64; ln -s {COMMENT} link; printf {CHANGED}"
    );
    let (_, sights) = watched(&folder, "sh", &["-c", &script], &[]);
    let root = folder.path().canonicalize().unwrap();
    let at = |name: &str| format!("1<{}>", root.join(name).display());
    let found: Vec<_> = sights.iter().map(|sight| (sight.what, sight.place.as_str())).collect();
    assert_eq!(found[..3], [(SECRET, &*at("raw")), (SECRET, &*at("hex")), (PLAIN, &*at("base64"))]);
    assert!(found.iter().any(|(what, place)| *what == COMMENT && place.contains("symlink")), "{found:?}");
    assert!(found.iter().any(|(what, place)| *what == CHANGED && place.starts_with("1<pipe:")), "{found:?}");
    assert!(!sights.iter().take(3).any(|sight| sight.is_stdout_pipe() || sight.is_in_transit()));
}

/// Those of what the kernel does not show: as strace writes them.
#[test]
fn the_watch_refuses_what_it_cannot_see() {
    for line in [
        "7 sendfile(1</home/x>, 3</home/y>, NULL, 4096) = 4096",
        "7 copy_file_range(3</home/x>, NULL, 1</home/y>, NULL, 4096, 0) = 4096",
        "7 io_uring_setup(8, {flags=0}) = 3<anon_inode:[io_uring]>",
        "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3</home/x>, 0) = 0x7f0000000000",
    ] {
        let refused = std::panic::catch_unwind(|| seen(line));
        assert!(refused.is_err(), "{line}");
    }
    for line in [
        "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_FIXED, 3</lib/x.so>, 0) = 0x7f0000000000",
        "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000",
        "7 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3</usr/lib/gconv.cache>, 0) = 0x7f0000000000",
        "7 <... write resumed>) = 3",
    ] {
        assert_eq!(seen(line), []);
    }
    let torn = format!(
        "7 writev(3</home/x>, [{{iov_base=\"a{}\", iov_len=9}}, {{iov_base=\"{}b\", iov_len=12}}], 2) = 21",
        &SECRET[..8],
        &SECRET[8..]
    );
    assert_eq!(seen(&torn), [Sight { place: "3</home/x>".to_owned(), what: SECRET }]);
}
