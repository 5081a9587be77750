//! Noticing that files changed.
//!
//! Owns: what of the file system is watched for whom. Folders are watched, never
//! files: a file that is replaced takes its watch with it. `trail` says which
//! names in which folders matter, `hub` knows who is told what, `clerk` asks the one
//! inotify instance, and a [`FileWatch`] is what somebody waits on.
//! Invariants: what happens between two calls of [`FileWatch::changed`] wakes the
//! second; what nobody reads (other names, reading itself, a file that is still
//! being written) wakes nobody; where the kernel tells nothing (network file
//! systems, its limits), a slow look takes its place.
//! Must not know: what the files mean.

mod clerk;
mod hub;
mod trail;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub use hub::Notices;
use trail::Target;

/// How often files are read again although nothing was told.
pub const SLOW_LOOK: Duration = Duration::from_secs(30);

/// The same, where nothing can be told.
pub const LOOK_WHEN_BLIND: Duration = Duration::from_secs(2);

/// How soon it is looked again where the links would not stand still.
const RESTLESS: Duration = Duration::from_millis(100);

/// How often in a row what is watched is compared with what is to be.
const TRIES: usize = 4;

/// Files that are watched until this is dropped.
pub struct FileWatch {
    hub: Arc<Notices>,
    id: u64,
    targets: Vec<Target>,
    /// How many events there were that matter.
    noticed: watch::Sender<u64>,
    pace: Mutex<Pace>,
}

struct Pace {
    /// How many of the events somebody was woken for.
    taken: u64,
    /// When the next slow look is due, whoever waits.
    look_at: Instant,
}

impl fmt::Debug for FileWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWatch").field("targets", &self.targets).finish_non_exhaustive()
    }
}

impl Notices {
    /// Watches files, which need not be there yet. What happens from now on is
    /// noticed.
    pub fn watch(self: &Arc<Self>, paths: Vec<PathBuf>) -> FileWatch {
        FileWatch::new(self, paths.into_iter().map(|path| Target::File(absolute(&path))).collect())
    }

    /// Watches a directory with a file a variable: all its files, or those that its
    /// `..data` leads to.
    pub fn watch_directory(self: &Arc<Self>, path: &Path) -> FileWatch {
        FileWatch::new(self, vec![Target::Directory(absolute(path))])
    }
}

impl FileWatch {
    fn new(hub: &Arc<Notices>, targets: Vec<Target>) -> Self {
        let noticed = watch::Sender::new(0);
        let id = hub.enter(noticed.clone());
        let pace = Mutex::new(Pace { taken: 0, look_at: Instant::now() });
        let watch = Self { hub: Arc::clone(hub), id, targets, noticed, pace };
        watch.arm();
        watch
    }

    /// Waits until the files may have changed since the last call, or it is time to
    /// read them again anyway. It may be dropped at any time; one waits at a time.
    pub async fn changed(&self) {
        let (taken, look_at) = {
            let pace = lock(&self.pace);
            (pace.taken, pace.look_at)
        };
        let mut noticed = self.noticed.subscribe();
        tokio::select! {
            _ = noticed.wait_for(|noticed| *noticed != taken) => {}
            () = sleep_until(look_at) => {}
        }
        self.arm();
    }

    /// Why the kernel does not tell all changes, where it does not: a clause.
    pub fn degraded(&self) -> Option<String> {
        self.hub.degraded(self.id)
    }

    /// Watches what the files lead through now. What happened before is taken as
    /// told: whoever called reads after this.
    fn arm(&self) {
        let mut taken = 0;
        let mut watched = None;
        let mut settled = false;
        for _ in 0..TRIES {
            taken = *self.noticed.borrow();
            let wanted = trail::wanted(&self.targets);
            // Looked at once more: links may have moved before they were watched.
            settled = watched.as_ref() == Some(&wanted);
            if settled {
                break;
            }
            self.hub.hold(self.id, &wanted);
            watched = Some(wanted);
        }
        let wait = match (settled, self.degraded()) {
            (false, _) => RESTLESS,
            (true, Some(_)) => LOOK_WHEN_BLIND,
            (true, None) => SLOW_LOOK,
        };
        *lock(&self.pace) = Pace { taken, look_at: Instant::now() + wait };
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.hub.leave(self.id);
    }
}

/// As the path was meant when it was given; unchanged where there is no current
/// folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What is behind a lock: no holder panics halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
