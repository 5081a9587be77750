//! Ten thousand deliveries while a hundred thousand reads are made: no reader sees
//! two generations at once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dlconf::access::Released;
use dlconf::delivery::directory::Directory;
use dlconf::delivery::env_file::EnvFile;
use dlconf::delivery::{Delivery as _, Outcome};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::released::{directory, env_file, released, scratch};

const DELIVERIES: usize = 10_000;
const READS: usize = 100_000;
/// How often each reader sees the set change, at least.
const EXCHANGES: usize = 1_000;
const KEYS: [&str; 4] = ["A", "B", "C", "D"];

#[test]
fn a_hundred_thousand_reads_during_ten_thousand_deliveries_see_no_mixed_set() {
    let folder = scratch();
    let (file, files) = (folder.path().join("app.env"), folder.path().join("secrets"));
    let mut to_file = EnvFile::new(&env_file(&file));
    let mut to_files = Directory::new(&directory(&files));
    let sets = [set(0), set(1)];
    let mut both = |turn: usize| {
        assert_eq!(to_file.deliver(&sets[turn % 2]).unwrap(), Outcome::Changed);
        assert_eq!(to_files.deliver(&sets[turn % 2]).unwrap(), Outcome::Changed);
    };
    both(1);

    let (finished, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let reading = |read: &dyn Fn() -> Option<u8>| {
        let (mut seen, mut exchanges, mut last) = (0, 0, None);
        // Enough of them while deliveries were made, however threads are scheduled.
        while (seen < READS / 2 || exchanges < EXCHANGES) && !stopped.load(Ordering::Acquire) {
            // None: what was opened is gone by now; that is neither old nor new.
            if let Some(set) = read() {
                seen += 1;
                exchanges += usize::from(last.replace(set) != Some(set));
            }
        }
        finished.fetch_add(1, Ordering::Release);
        (seen, exchanges)
    };
    std::thread::scope(|scope| {
        let _stop = Stop(&stopped);
        let of_file = scope.spawn(|| reading(&|| Some(read_file(&file))));
        let of_files = scope.spawn(|| reading(&|| read_files(&files)));
        let mut turn = 0;
        // Until both are done, so that every read is made during deliveries.
        while turn < DELIVERIES / 2 || finished.load(Ordering::Acquire) < 2 {
            // A reader that panicked never finishes; it is joined below.
            if of_file.is_finished() && of_files.is_finished() && turn >= DELIVERIES / 2 {
                break;
            }
            both(turn);
            turn += 1;
        }
        for (what, reader) in [("the file", of_file), ("the directory", of_files)] {
            let (seen, exchanges) = reader.join().unwrap();
            assert!(
                seen >= READS / 2 && exchanges >= EXCHANGES,
                "{what}: {seen} reads, {exchanges} exchanges"
            );
        }
    });
}

/// Lets the readers go when deliveries end, by a failure too.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn set(number: u8) -> Released {
    let values = KEYS.map(|key| (key, value(number, key)));
    released(&values.each_ref().map(|(key, value)| (*key, value.as_str())))
}

/// Longer in one set than in the other, so that a torn file shows.
fn value(number: u8, key: &str) -> String {
    format!("set-{number}-{key}-{}", "x".repeat(100 + 400 * usize::from(number)))
}

fn read_file(path: &Path) -> u8 {
    let read: BTreeMap<String, String> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    whole(|key| read[key].clone())
}

/// Opens `..data` once and reads below it.
fn read_files(path: &Path) -> Option<u8> {
    let data = File::open(path.join("..data")).ok()?;
    let mut values = BTreeMap::new();
    for key in KEYS {
        let file = match openat(&data, key, OFlag::O_RDONLY, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return None,
            Err(error) => panic!("{error}"),
        };
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).unwrap();
        values.insert(key, text);
    }
    Some(whole(|key| values[key].clone()))
}

/// Which set it is; panics where it is not one of them whole.
fn whole(read: impl Fn(&str) -> String) -> u8 {
    let is = |number| KEYS.iter().all(|key| read(key) == value(number, key));
    assert!(is(0) != is(1), "a mixed set");
    u8::from(is(1))
}
