//! What is left of a value that was rotated out: nothing, after a second.

use std::time::{Duration, Instant};

use super::cluster::{Cluster, Of, everywhere};
use super::shop::{Running, Shop};
use crate::memory_scan::scan;

/// A value that is nowhere else, not in this program either.
fn value(name: &str, serial: u32) -> String {
    format!("{name}-{:016x}-{serial:04}", getrandom::u64().unwrap())
}

/// Waits until a text is as often in the daemon's memory.
#[track_caller]
fn stands(running: &Running, what: &str, text: &str, times: impl Fn(usize) -> bool) {
    // A second, by the laws; more of ours, since the process stands still while it is
    // looked at, and shares the machine.
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let found = scan(running.daemon.pid(), text.as_bytes()).unwrap();
        let read = |line: &String| line.contains("not readable") || line.contains("the kernel's");
        assert!(found.unread.iter().all(read), "{:?}", found.unread);
        if times(found.total()) {
            return;
        }
        assert!(Instant::now() < end, "{what}: {found:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A Secret as `kubectl apply` leaves it: its values stand in an annotation too, and
/// annotations are metadata, which every watch gets.
fn applied(cluster: &Cluster, value: &str) {
    cluster.apply(Of::Secret, "app", &[("TOKEN", value)]);
}

#[test]
fn a_value_that_was_rotated_out_is_nowhere_in_memory() {
    everywhere(|cluster| {
        let mut current = value("canary", 0);
        applied(cluster, &current);
        cluster.grant(&[(Of::Secret, "app")]);
        let running = Shop::new(cluster, "secrets = [\"app\"]").ready();
        running.delivers("TOKEN", &current);
        stands(&running, "it is there", &current, |times| times > 0);
        for serial in 1..=4 {
            let old = std::mem::replace(&mut current, value("canary", serial));
            applied(cluster, &current);
            running.delivers("TOKEN", &current);
            stands(&running, "what was rotated out", &old, |times| times == 0);
        }
        // What is held is not read once more from any buffer.
        stands(&running, "what is held, by the source and what was published", &current, |times| {
            (1..=3).contains(&times)
        });
        // Metadata that holds the value comes and goes without leaving it anywhere.
        cluster.label(Of::Secret, "app", "gold");
        let next = value("canary", 99);
        applied(cluster, &next);
        running.delivers("TOKEN", &next);
        stands(&running, "what a label's event carried", &current, |times| times == 0);
    });
}

#[test]
fn what_is_not_taken_is_nowhere_in_memory() {
    everywhere(|cluster| {
        let (taken, other) = (value("taken", 0), value("other", 0));
        cluster.apply(Of::Secret, "app", &[("TOKEN", &taken), ("OPT", &other)]);
        cluster.grant(&[(Of::Secret, "app")]);
        let running = Shop::new(cluster, "secrets = [{ name = \"app\", only = [\"TOKEN\", \"A\"] }]").ready();
        running.delivers("TOKEN", &taken);
        stands(&running, "what the settings do not take", &other, |times| times == 0);
        cluster.apply(Of::Secret, "app", &[("TOKEN", &taken), ("OPT", &other), ("A", "fence")]);
        running.delivers("A", "fence");
        stands(&running, "what the settings do not take, read again", &other, |times| times == 0);
    });
}
