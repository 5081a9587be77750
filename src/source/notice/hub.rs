//! The one inotify instance of the process, and who is told what.
//!
//! Invariants: nothing is opened before the first watch; each folder is watched
//! once, by its inode, whatever paths lead to it (the kernel has one watch for an
//! inode, and `notify` would mix its paths up); the table is never locked while
//! `notify` is asked, whose thread wants the table; nobody waits for `notify` for
//! longer than [`PATIENCE`].
//! Source: `notify` 8.2 has no choice of events: it also tells of every file that
//! is opened, by ourselves too. It gives a watch up when it hears that the folder
//! left its path, even late and of a new folder of that path; so whatever it hears
//! of that sort makes us watch the folder anew. And it answers nothing as long as it is
//! told of events faster than it reads them, so a thread of ours asks it (`clerk`).

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind, RenameMode};
use tokio::sync::watch;

use super::clerk::Clerk;
use super::lock;
use super::trail::{FolderId, Names, Wanted};

/// How long `notify` is waited for. Whoever waits may have a program to stop.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why changes are not told although they are watched, or about to be.
const TOO_MUCH: &str = "more happens in the folders that are watched than can be followed";

/// Where changes of files are noticed, for the whole process.
#[derive(Default)]
pub struct Notices {
    clerk: Mutex<Clerk>,
    table: Arc<Mutex<Table>>,
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}

/// Who is told what.
#[derive(Default)]
pub(super) struct Table {
    folders: HashMap<FolderId, Folder>,
    by_path: HashMap<PathBuf, FolderId>,
    watches: HashMap<u64, Entry>,
    last: u64,
    /// How many orders are given and not carried out.
    open_orders: usize,
    /// Whether `notify` took longer than we could wait.
    late: bool,
}

/// A folder that is watched.
struct Folder {
    /// As `notify` knows it.
    path: PathBuf,
    /// Whether it is sure to be watched.
    sure: bool,
    users: HashMap<u64, Names>,
}

/// Somebody who watches.
struct Entry {
    noticed: watch::Sender<u64>,
    /// Why it is not told everything.
    trouble: Option<String>,
}

/// What `notify` is asked for, in this order.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) drop: Vec<PathBuf>,
    pub(super) watch: Vec<(FolderId, PathBuf)>,
}

impl Notices {
    /// Watches nothing yet, and opens nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Why not all changes are told at once, where that is so: a clause.
    pub fn any_degraded(&self) -> Option<String> {
        lock(&self.table).watches.values().find_map(|entry| entry.trouble.clone())
    }

    pub(super) fn degraded(&self, id: u64) -> Option<String> {
        lock(&self.table).watches.get(&id)?.trouble.clone()
    }

    /// Takes in somebody who is told by counting up.
    pub(super) fn enter(&self, noticed: watch::Sender<u64>) -> u64 {
        let mut table = lock(&self.table);
        table.last += 1;
        let id = table.last;
        table.watches.insert(id, Entry { noticed, trouble: None });
        id
    }

    pub(super) fn leave(&self, id: u64) {
        let mut clerk = lock(&self.clerk);
        let orders = lock(&self.table).plan(id, &Wanted::new());
        if !orders.drop.is_empty() {
            // Nobody is told any more, whenever that is done.
            let _unwaited = clerk.give(orders, &self.table);
        }
        lock(&self.table).watches.remove(&id);
    }

    /// Watches these folders for somebody, and no others.
    pub(super) fn hold(&self, id: u64, wanted: &Wanted) {
        // Locked while we wait: the next one finds it done, or late.
        let mut clerk = lock(&self.clerk);
        let trouble = if lock(&self.table).late {
            // When it is done, everybody is told, and comes here again.
            Some(TOO_MUCH.to_owned())
        } else {
            self.order(id, wanted, &mut clerk)
        };
        if let Some(entry) = lock(&self.table).watches.get_mut(&id) {
            entry.trouble = trouble;
        }
    }

    /// The same; why it is not so, where it is not.
    fn order(&self, id: u64, wanted: &Wanted, clerk: &mut Clerk) -> Option<String> {
        let orders = lock(&self.table).plan(id, wanted);
        if orders.drop.is_empty() && orders.watch.is_empty() {
            return None;
        }
        let Some(answer) = clerk.give(orders, &self.table) else {
            lock(&self.table).doubt();
            return Some("the system has no thread for it".to_owned());
        };
        if let Ok(trouble) = answer.recv_timeout(PATIENCE) {
            return trouble;
        }
        let mut table = lock(&self.table);
        // It may have come between the two.
        answer.try_recv().unwrap_or_else(|_| {
            table.late = true;
            Some(TOO_MUCH.to_owned())
        })
    }

    /// As when the kernel dropped every watch and could not tell.
    #[cfg(test)]
    pub(super) fn lose_all(&self) {
        let paths: Vec<PathBuf> = lock(&self.table).by_path.keys().cloned().collect();
        lock(&self.clerk).lose(&paths);
        lock(&self.table).take(Ok(Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)));
    }

    #[cfg(test)]
    pub(super) fn watcher(&self) -> Arc<Mutex<Option<notify::RecommendedWatcher>>> {
        lock(&self.clerk).watcher()
    }

    #[cfg(test)]
    pub(super) fn folders(&self) -> usize {
        lock(&self.table).folders.len()
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        lock(&self.clerk).is_open()
    }
}

impl Table {
    /// Notes what somebody wants, and says what is to be asked for. A folder that
    /// is to be watched is noted before it is, so that its first event finds it.
    fn plan(&mut self, id: u64, wanted: &Wanted) -> Orders {
        let mut orders = Orders::default();
        for folder in self.folders.values_mut() {
            folder.users.remove(&id);
        }
        for (path, (folder_id, names)) in wanted {
            if self.by_path.get(path).is_some_and(|before| before != folder_id)
                && let Some(before) = self.by_path.remove(path)
            {
                // Another folder has its path now.
                orders.drop.push(path.clone());
                if let Some(before) = self.folders.remove(&before) {
                    self.tell(before.users.keys());
                }
            }
            let folder = self.folders.entry(*folder_id).or_insert_with(|| Folder {
                path: path.clone(),
                sure: false,
                users: HashMap::new(),
            });
            folder.users.entry(id).or_default().extend(names);
            if !folder.sure {
                orders.drop.push(folder.path.clone());
                self.by_path.remove(&folder.path);
                folder.path.clone_from(path);
                self.by_path.insert(path.clone(), *folder_id);
                orders.watch.push((*folder_id, path.clone()));
                // Until it is known otherwise: two paths of one folder are one watch.
                folder.sure = true;
            }
        }
        let by_path = &mut self.by_path;
        self.folders.retain(|_, folder| {
            if folder.users.is_empty() {
                by_path.remove(&folder.path);
                orders.drop.push(folder.path.clone());
            }
            !folder.users.is_empty()
        });
        orders
    }

    /// Notes that this folder is not watched.
    pub(super) fn miss(&mut self, folder: &FolderId) {
        if let Some(folder) = self.folders.get_mut(folder) {
            folder.sure = false;
        }
    }

    /// Notes that perhaps none is.
    fn doubt(&mut self) {
        self.folders.values_mut().for_each(|folder| folder.sure = false);
    }

    /// Notes that an order was given.
    pub(super) fn ordered(&mut self) {
        self.open_orders += 1;
    }

    /// Notes that one was carried out. Whoever could not wait for that has missed what
    /// happened meanwhile.
    pub(super) fn done(&mut self) {
        self.open_orders = self.open_orders.saturating_sub(1);
        if self.open_orders == 0 && std::mem::take(&mut self.late) {
            self.tell(self.watches.keys());
        }
    }

    /// Tells an event to those whom it concerns.
    pub(super) fn take(&mut self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // Events were lost, among them perhaps that a folder left.
            Ok(_) | Err(_) => {
                self.doubt();
                return self.tell(self.watches.keys());
            }
        };
        if !tells(event.kind) {
            return;
        }
        for path in &event.paths {
            // The folder itself.
            if let Some(folder) = self.by_path.get(path).and_then(|id| self.folders.get_mut(id)) {
                folder.sure &= !leaves(event.kind);
                let users: Vec<u64> = folder.users.keys().copied().collect();
                self.tell(users.iter());
            }
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let Some(folder) = self.by_path.get(parent).and_then(|id| self.folders.get(id)) else { continue };
            let mut users = folder.users.iter().filter(|(_, names)| names.has(name)).peekable();
            if users.peek().is_some() && !(event.kind == CREATED && is_empty(path)) {
                self.tell(users.map(|(id, _)| id));
            }
        }
    }

    fn tell<'a>(&self, users: impl Iterator<Item = &'a u64>) {
        for entry in users.filter_map(|id| self.watches.get(id)) {
            entry.noticed.send_modify(|noticed| *noticed += 1);
        }
    }
}

/// A new file, or a link.
const CREATED: EventKind = EventKind::Create(CreateKind::File);

/// Whether something is another than before, and is so whole. A write that is
/// under way is not: when it ends, the file is closed.
fn tells(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        // Of a renaming, both ends were told.
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Name(RenameMode::Both)) => false,
        EventKind::Modify(_)
        | EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Any
        | EventKind::Other => true,
    }
}

/// Whether `notify` gives up the watch of a folder to which this happens.
fn leaves(kind: EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)))
}

/// Whether a new file is empty: whoever made it is about to write, and will close
/// it. One that was linked is whole.
fn is_empty(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0)
}
