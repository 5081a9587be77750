//! How often a secret stands in another process's memory, in any form that a
//! reader of its answers, logs or variables would give it.
//!
//! Every readable mapping is read, what is mapped from files included. What was
//! not read is in the result, with the reason: nothing is left out in silence.
//! The process stands still meanwhile.
//!
//! It needs root for a process that is not dumpable, as dlconf's is not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Copies by form: `as it is`, `JSON`, `base64 at 0`, …; a form that was not
    /// found has 0, one that is the same text as another is not listed.
    pub(crate) copies: BTreeMap<&'static str, usize>,
    /// Bytes that were read.
    pub(crate) bytes: u64,
    /// Mappings, or parts of them, that were not read: the maps line and why.
    pub(crate) unread: Vec<String>,
}

impl Scan {
    /// Copies in all forms.
    pub(crate) fn total(&self) -> usize {
        self.copies.values().sum()
    }
}

/// How much is read at a time.
const STEP: usize = 1 << 20;

/// Looks for `needle`, of at least 8 bytes, in all that the process can read.
pub(crate) fn scan(pid: u32, needle: &[u8]) -> Result<Scan> {
    assert!(needle.len() >= 8, "a short needle is found everywhere");
    let forms = forms(needle);
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let _still = Still::hold(pid)?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut found = Scan { copies: forms.keys().map(|&f| (f, 0)).collect(), bytes: 0, unread: Vec::new() };
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (start, end) = words.next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        if !words.next().unwrap().starts_with('r') {
            // Guard pages and address space held in reserve: the process itself cannot read them.
            found.unread.push(format!("{line}: not readable"));
            continue;
        }
        if line.ends_with("[vvar]") || line.ends_with("[vvar_vclock]") || line.ends_with("[vsyscall]") {
            found.unread.push(format!("{line}: the kernel's"));
            continue;
        }
        let mut piece = vec![0; STEP];
        let mut run = Run::of(&forms);
        let mut at = start;
        while at < end {
            let size = usize::try_from(end - at).unwrap().min(STEP);
            match memory.read_at(&mut piece[..size], at) {
                Ok(count @ 1..) => {
                    run.take(&piece[..count], &mut found.copies);
                    found.bytes += count as u64;
                    at += count as u64;
                }
                other => {
                    let why = other.map_or_else(|e| e.to_string(), |_| "no byte came".to_owned());
                    found.unread.push(format!("{line}: from {at:x}: {why}"));
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// Bytes that follow each other, piece by piece.
struct Run<'a> {
    forms: &'a Forms,
    /// The end of what came, short of the longest form: no copy falls between two pieces.
    kept: Vec<u8>,
}

impl<'a> Run<'a> {
    fn of(forms: &'a Forms) -> Self {
        Self { forms, kept: Vec::new() }
    }

    fn take(&mut self, piece: &[u8], copies: &mut BTreeMap<&'static str, usize>) {
        let old = self.kept.len();
        self.kept.extend_from_slice(piece);
        for (form, text) in self.forms {
            // One that ends within the old bytes was counted with them.
            let new = |place: &usize| place + text.len() > old;
            *copies.entry(form).or_default() +=
                memchr::memmem::find_iter(&self.kept, text).filter(new).count();
        }
        let longest = self.forms.values().map(Vec::len).max().unwrap_or(1);
        self.kept.drain(..self.kept.len().saturating_sub(longest - 1));
    }
}

type Forms = BTreeMap<&'static str, Vec<u8>>;

/// The forms of a needle that differ, by name.
fn forms(needle: &[u8]) -> Forms {
    let mut forms = vec![("as it is", needle.to_vec())];
    if let Ok(text) = std::str::from_utf8(needle) {
        let quoted = serde_json::to_string(text).unwrap();
        let inner = &quoted[1..quoted.len() - 1];
        forms.push(("JSON", inner.as_bytes().to_vec()));
        // As Go writes it, and so Vault.
        let for_html = inner.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        forms.push(("JSON for HTML", for_html.into_bytes()));
    }
    // Within a longer text, base64 depends on the needle's place modulo 3. Of each, only
    // the digits that hold nothing but the needle's bits.
    let names = [
        ("base64 at 0", "base64url at 0"),
        ("base64 at 1", "base64url at 1"),
        ("base64 at 2", "base64url at 2"),
    ];
    for (shift, (standard, url)) in names.into_iter().enumerate() {
        let shifted = [&vec![0; shift], needle].concat();
        let digits = (8 * shift).div_ceil(6)..8 * shifted.len() / 6;
        forms.push((standard, STANDARD_NO_PAD.encode(&shifted).as_bytes()[digits.clone()].to_vec()));
        forms.push((url, URL_SAFE_NO_PAD.encode(&shifted).as_bytes()[digits].to_vec()));
    }
    let mut different = Forms::new();
    for (name, text) in forms {
        if !different.values().any(|t| *t == text) {
            different.insert(name, text);
        }
    }
    different
}

/// A process that is stopped, until this is dropped.
struct Still(Pid);

impl Still {
    fn hold(pid: u32) -> Result<Self> {
        let process = Pid::from_raw(i32::try_from(pid).unwrap());
        kill(process, Signal::SIGSTOP)?;
        let still = Self(process);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // PID (NAME) STATE …, and a name may hold anything.
            match stat.rsplit_once(") ").unwrap().1.as_bytes()[0] {
                b'T' | b't' => return Ok(still),
                b'Z' | b'X' => return Err(Error::new(ErrorKind::NotFound, "the process has ended")),
                _ if Instant::now() > deadline => {
                    return Err(Error::new(ErrorKind::TimedOut, "it does not stop"));
                }
                _ => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, ChildStdout, Command, Stdio};

    use super::*;

    /// A process that has read a line and waits for the next.
    struct Reader {
        child: Child,
        stdout: BufReader<ChildStdout>,
    }

    impl Reader {
        fn with(line: &str, variable: &str) -> Self {
            // The shell holds the line in a variable, and answers when it has it.
            let mut command = Command::new("sh");
            command.args(["-c", "read -r line; echo got; read -r end; echo \"$line\""]);
            command.env("PLANTED", variable).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            writeln!(child.stdin.as_mut().unwrap(), "{line}").unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            stdout.read_line(&mut String::new()).unwrap();
            Self { child, stdout }
        }

        fn finish(mut self) -> String {
            writeln!(self.child.stdin.as_mut().unwrap(), "end").unwrap();
            let mut line = String::new();
            self.stdout.read_line(&mut line).unwrap();
            assert!(self.child.wait().unwrap().success());
            line
        }
    }

    #[test]
    fn it_finds_what_is_there_and_nothing_else() {
        let reader = Reader::with("in-the-heap-0Q4b7w", "in-the-environment-9Zt1x");
        let pid = reader.child.id();
        let heap = scan(pid, b"in-the-heap-0Q4b7w").unwrap();
        assert!(heap.copies["as it is"] >= 1, "{heap:?}");
        let environment = scan(pid, b"in-the-environment-9Zt1x").unwrap();
        assert!(environment.copies["as it is"] >= 1, "{environment:?}");
        let absent = scan(pid, b"nowhere-at-all-5Hj2k").unwrap();
        assert_eq!(absent.total(), 0, "{absent:?}");
        assert!(absent.bytes > 500_000, "{absent:?}");
        let unexplained = |line: &&String| !line.contains("not readable") && !line.contains("the kernel's");
        assert_eq!(absent.unread.iter().find(unexplained), None);
        assert_eq!(reader.finish(), "in-the-heap-0Q4b7w\n", "it goes on after the scans");
    }

    #[test]
    fn it_finds_the_encoded_forms() {
        let secret = "p\"<ä>?\u{fb}-secret-77";
        for (shift, form) in [(0, "base64 at 0"), (1, "base64 at 1"), (2, "base64 at 2")] {
            let text = STANDARD_NO_PAD.encode(format!("{}{secret}tail", "x".repeat(shift)));
            let reader = Reader::with(&text, "");
            assert!(scan(reader.child.id(), secret.as_bytes()).unwrap().copies[form] >= 1, "{form}");
            reader.finish();
        }
        let reader = Reader::with("p\\\"\\u003cä\\u003e?\u{fb}-secret-77", "p\\\"<ä>?\u{fb}-secret-77");
        let found = scan(reader.child.id(), secret.as_bytes()).unwrap();
        assert!(found.copies["JSON"] >= 1 && found.copies["JSON for HTML"] >= 1, "{found:?}");
        assert_eq!(found.copies["as it is"], 0, "{found:?}");
        reader.finish();
    }

    #[test]
    fn a_copy_between_two_pieces_counts_once() {
        let forms = forms(b"a-needle\"of-19-bytes");
        let text = "..a-needle\"of-19-bytes..a-needle\\\"of-19-bytes;".repeat(20);
        for size in [1, 7, 19, 64, text.len()] {
            let (mut run, mut copies) = (Run::of(&forms), BTreeMap::new());
            for piece in text.as_bytes().chunks(size) {
                run.take(piece, &mut copies);
            }
            assert_eq!((copies["as it is"], copies["JSON"]), (20, 20), "pieces of {size}");
        }
    }
}
