//! Which names in which folders decide what a path leads to.
//!
//! Owns: walking a path as the kernel does, one name at a time, and noting what
//! an exchange of would lead it elsewhere: each symbolic link in its folder, the
//! last name in its folder, and the first name that is not there in the nearest
//! folder that is. A plain folder on the way is not noted: what is in it says when
//! it goes, and its parent may be busy.
//! Must not know: how folders are watched.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// As many entries of a directory as its source reads.
const MOST_ENTRIES: usize = 20_000;

/// What is to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// One file, which may not be there yet.
    File(PathBuf),
    /// A directory with a file a variable, which may have a `..data` link.
    Directory(PathBuf),
}

/// The names of a folder that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Every name that does not begin with a dot.
    visible: bool,
    exact: BTreeSet<OsString>,
}

impl Names {
    pub(super) fn has(&self, name: &OsStr) -> bool {
        (self.visible && !is_hidden(name)) || self.exact.contains(name)
    }

    /// These and those.
    pub(super) fn extend(&mut self, other: &Self) {
        self.visible |= other.visible;
        self.exact.extend(other.exact.iter().cloned());
    }
}

/// Device and inode: a folder may have two paths, and a path may get another folder.
pub(super) type FolderId = (u64, u64);

/// Folders by their paths without links, and what matters in each.
pub(super) type Wanted = BTreeMap<PathBuf, (FolderId, Names)>;

/// What matters for these targets at this moment.
pub(super) fn wanted(targets: &[Target]) -> Wanted {
    let mut wanted = Wanted::new();
    for target in targets {
        match target {
            Target::File(path) => {
                follow(path, &mut wanted);
            }
            Target::Directory(path) => {
                let Some(folder) = follow(path, &mut wanted) else { continue };
                let data = follow(&folder.join("..data"), &mut wanted);
                entries(&data.unwrap_or(folder), &mut wanted);
            }
        }
    }
    wanted
}

/// Every file of a directory, and what the links among them lead through.
fn entries(folder: &Path, wanted: &mut Wanted) {
    if let Some(names) = names(folder, wanted) {
        names.visible = true;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.take(MOST_ENTRIES).flatten() {
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_link && !is_hidden(&entry.file_name()) {
            follow(&folder.join(entry.file_name()), wanted);
        }
    }
}

/// Notes what decides where a path leads. The folder that it leads to, if that is
/// what it leads to.
fn follow(path: &Path, wanted: &mut Wanted) -> Option<PathBuf> {
    let mut here = PathBuf::from("/");
    // The next name is the last one.
    let mut ahead = Vec::new();
    put(&mut ahead, path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let full = here.join(&name);
        match fs::symlink_metadata(&full) {
            Ok(found) if found.is_symlink() => {
                note(&here, &name, wanted);
                links += 1;
                let target = fs::read_link(&full).ok().filter(|_| links <= MOST_LINKS)?;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                put(&mut ahead, &target);
            }
            Ok(found) if found.is_dir() => {
                if ahead.is_empty() {
                    note(&here, &name, wanted);
                }
                here = full;
            }
            Ok(_) | Err(_) => {
                note(&here, &name, wanted);
                return None;
            }
        }
    }
    Some(here)
}

/// Puts a path's names before those that are ahead.
fn put(ahead: &mut Vec<OsString>, path: &Path) {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    ahead.extend(names);
}

fn note(folder: &Path, name: &OsStr, wanted: &mut Wanted) {
    if let Some(names) = names(folder, wanted) {
        names.exact.insert(name.to_owned());
    }
}

/// The names of a folder that is there.
fn names<'a>(folder: &Path, wanted: &'a mut Wanted) -> Option<&'a mut Names> {
    if !wanted.contains_key(folder) {
        let found = fs::symlink_metadata(folder).ok()?;
        wanted.insert(folder.to_owned(), ((found.dev(), found.ino()), Names::default()));
    }
    wanted.get_mut(folder).map(|(_, names)| names)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}
