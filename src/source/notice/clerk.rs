//! Who asks `notify`, and may be kept waiting by it.
//!
//! `notify` looks at what it is asked only when there is nothing to read from the kernel
//! for a moment. Where programs write as fast as they can, that may never be, and who
//! asks would wait for as long as they write.
//!
//! Owns: the one watcher, the thread that asks it. Invariants: neither is there before
//! the first order; orders are carried out one after the other, as they were given; the
//! end of the process waits for none.
//! Must not know: who watches, and why.

use std::io::ErrorKind as IoKind;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use notify::event::Event;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::hub::{Orders, Table};
use super::lock;

/// Why not all that was ordered is watched: a clause; none where it is.
type Trouble = Option<String>;

/// Who asks.
#[derive(Default)]
pub(super) struct Clerk {
    /// None before the first order.
    desk: Option<Sender<(Orders, SyncSender<Trouble>)>>,
    /// None before the first watch.
    watcher: Arc<Mutex<Option<RecommendedWatcher>>>,
}

impl Clerk {
    /// Gives orders: who waits for the answer. None if nobody can carry them out.
    pub(super) fn give(&mut self, orders: Orders, table: &Arc<Mutex<Table>>) -> Option<Receiver<Trouble>> {
        if self.desk.is_none() {
            let (desk, given) = channel::<(Orders, SyncSender<Trouble>)>();
            let (watcher, table) = (Arc::clone(&self.watcher), Arc::clone(table));
            let work = move || {
                for (orders, answer) in given {
                    let trouble = carry_out(&orders, &watcher, &table);
                    // In one piece: who gives up waiting looks for an answer in between.
                    let mut table = lock(&table);
                    let _nobody_waits = answer.try_send(trouble);
                    table.done();
                }
            };
            thread::Builder::new().name("watches".into()).spawn(work).ok()?;
            self.desk = Some(desk);
        }
        let (answer, answered) = sync_channel(1);
        lock(table).ordered();
        let given = self.desk.as_ref().map(|desk| desk.send((orders, answer)));
        if !matches!(given, Some(Ok(()))) {
            // The thread is gone: there is another one next time.
            self.desk = None;
            lock(table).done();
            return None;
        }
        Some(answered)
    }

    #[cfg(test)]
    pub(super) fn lose(&self, paths: &[std::path::PathBuf]) {
        if let Some(watcher) = lock(&self.watcher).as_mut() {
            for path in paths {
                watcher.unwatch(path).unwrap();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn watcher(&self) -> Arc<Mutex<Option<RecommendedWatcher>>> {
        Arc::clone(&self.watcher)
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        lock(&self.watcher).is_some()
    }
}

fn carry_out(
    orders: &Orders,
    watcher: &Mutex<Option<RecommendedWatcher>>,
    table: &Arc<Mutex<Table>>,
) -> Trouble {
    let mut watcher = lock(watcher);
    let mut trouble = None;
    if !orders.watch.is_empty() && watcher.is_none() {
        match open(table) {
            Ok(opened) => *watcher = Some(opened),
            Err(error) => trouble = Some(no_instance(&error)),
        }
    }
    if let Some(watcher) = watcher.as_mut() {
        for path in &orders.drop {
            let _forgotten_already = watcher.unwatch(path);
        }
    }
    for (folder, path) in &orders.watch {
        let answer = watcher.as_mut().map(|watcher| watcher.watch(path, RecursiveMode::NonRecursive));
        if matches!(answer, Some(Ok(()))) {
            continue;
        }
        lock(table).miss(folder);
        if let Some(Err(error)) = answer {
            trouble = trouble.or(not_watched(&error, path));
        }
    }
    trouble
}

fn open(table: &Arc<Mutex<Table>>) -> notify::Result<RecommendedWatcher> {
    let table = Arc::clone(table);
    let told = move |event: notify::Result<Event>| lock(&table).take(event);
    RecommendedWatcher::new(told, notify::Config::default())
}

/// Why there is no inotify.
fn no_instance(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(nix::libc::EMFILE) => {
            "this user has as many inotify instances as it may (fs.inotify.max_user_instances), or this \
             process as many files open"
                .into()
        }
        notify::ErrorKind::Io(error) => format!("inotify cannot be had: {}", error.kind()),
        _ => "inotify cannot be had".into(),
    }
}

/// Why a folder is not watched; none where it has just gone.
fn not_watched(error: &notify::Error, path: &Path) -> Option<String> {
    Some(match &error.kind {
        notify::ErrorKind::PathNotFound => return None,
        notify::ErrorKind::MaxFilesWatch => {
            "this user watches as many files as it may (fs.inotify.max_user_watches)".into()
        }
        notify::ErrorKind::Io(error) if error.kind() == IoKind::NotFound => return None,
        notify::ErrorKind::Io(error) if error.kind() == IoKind::PermissionDenied => {
            format!("this user may not list the folder {}", path.display())
        }
        notify::ErrorKind::Io(error) => {
            format!("the folder {} cannot be watched: {}", path.display(), error.kind())
        }
        _ => format!("the folder {} cannot be watched", path.display()),
    })
}
