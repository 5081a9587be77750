//! A delivery into a directory: one file a variable, exchanged together.
//!
//! As the kubelet lays volumes out: the files lie in a folder of their own, named
//! after the time; `..data` is a link to it, and exchanging that link exchanges
//! all files at once. `KEY` is a link to `..data/KEY` and never changes.
//! Who opens `..data` once and reads below it sees one generation; who goes
//! through `KEY` sees one for each file.
//! Invariants: files are complete before `..data` leads to them; a new visible
//! link is made after that, and an old one is removed after it; what we did not
//! make is never removed, and refused where a name of ours must be.
//! Must not know: dialects. A value is written as it is, without a line end.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::sys::stat::SFlag;
use nix::unistd::symlinkat;

use super::config::DeliveryConfig;
use super::{Delivery, DeliveryError, Outcome};
use crate::access::Released;
use crate::disk::file::{Target, create, split};
use crate::disk::folder::{Folder, called, kind};
use crate::disk::leftovers::{generation, is_generation};
use crate::disk::rights::Rights;
use crate::disk::write_error::WriteError;
use crate::model::validate::Delivered;

/// The link that readers follow.
const DATA: &str = "..data";

/// Its next one, for a moment.
const NEXT: &str = "..data_tmp";

/// `type = "directory"`.
#[derive(Debug)]
pub struct Directory {
    config: DeliveryConfig,
    /// Whether the disk has kept what is there, and nothing older is left.
    settled: bool,
    /// Whether other bytes are there without anybody having been told.
    untold: bool,
}

impl Directory {
    /// For these settings.
    pub fn new(config: &DeliveryConfig) -> Self {
        Self { config: config.clone(), settled: false, untold: false }
    }

    fn write(&mut self, variables: &[Arc<Delivered>]) -> Result<Outcome, WriteError> {
        let rights = Rights::resolve(&self.config.access)?;
        let folder = self.open_or_make(rights)?;
        let shown = Shown { folder: &folder, label: &self.config.label };
        let visible = shown.links(variables)?;
        let current = shown.current()?;
        let found = match &current {
            Some(name) => shown.compare(name, variables, rights)?,
            None => Found::Other,
        };
        if found != Found::Same {
            // From here on until the end, what is there may be more than it should.
            self.settled = false;
            shown.exchange(variables, rights)?;
            self.untold |= found == Found::Other;
        }
        if !visible.are_right() {
            self.settled = false;
            shown.mend(&visible)?;
            self.untold = true;
        }
        if !self.settled {
            folder.sync().map_err(|reason| shown.failed("syncing the directory", reason))?;
            shown.remove_others(rights)?;
            self.settled = true;
        }
        Ok(if std::mem::take(&mut self.untold) { Outcome::Changed } else { Outcome::Unchanged })
    }

    fn open_or_make(&self, rights: Rights) -> Result<Folder, WriteError> {
        let path = &self.config.path;
        match Folder::strict(path, rights) {
            Err(WriteError::NoFolder { .. }) => {
                let (above, name) = split(path)?;
                let above = if self.config.create_dirs {
                    Folder::strict_or_made(above, rights)?
                } else {
                    Folder::strict(above, rights)?
                };
                above.make(name, rights.of_folder())?;
                Folder::strict(path, rights)
            }
            other => other,
        }
    }
}

impl Delivery for Directory {
    fn deliver(&mut self, released: &Released) -> Result<Outcome, DeliveryError> {
        Ok(self.write(released.variables())?)
    }

    fn clean(&mut self) -> Result<(), DeliveryError> {
        let rights = Rights::resolve(&self.config.access)?;
        match Folder::strict(&self.config.path, rights) {
            Ok(folder) => Shown { folder: &folder, label: &self.config.label }.remove_others(rights)?,
            Err(WriteError::NoFolder { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// How what is there compares with what must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Names, bytes, modes and owners.
    Same,
    /// Names and bytes only.
    SameBytes,
    /// Something is different.
    Other,
}

/// The visible links that are to be made and to be removed.
struct Links {
    missing: Vec<OsString>,
    stale: Vec<OsString>,
}

impl Links {
    fn are_right(&self) -> bool {
        self.missing.is_empty() && self.stale.is_empty()
    }
}

/// The open directory, and the path to print.
struct Shown<'a> {
    folder: &'a Folder,
    label: &'a str,
}

impl Shown<'_> {
    fn path(&self, name: &OsStr) -> PathBuf {
        Path::new(self.label).join(name)
    }

    fn failed(&self, step: &'static str, reason: Errno) -> WriteError {
        WriteError::Step { path: self.label.into(), step, reason }
    }

    /// Where a link of ours points; none where there is nothing. What is no link is
    /// not ours and is refused.
    fn link(&self, name: &OsStr) -> Result<Option<OsString>, WriteError> {
        let failed = |reason| self.failed("looking at the old links", reason);
        match self.folder.look(name).map_err(failed)? {
            None => Ok(None),
            Some(stat) if kind(&stat) == SFlag::S_IFLNK => self.folder.link(name).map(Some).map_err(failed),
            Some(stat) => {
                let what = called(kind(&stat)).unwrap_or("a file that this delivery did not make");
                Err(WriteError::NotAFile { path: self.path(name), what })
            }
        }
    }

    /// What must happen to the visible links, if nothing foreign is in the way.
    fn links(&self, variables: &[Arc<Delivered>]) -> Result<Links, WriteError> {
        let mut missing = Vec::new();
        for variable in variables {
            let name = OsStr::new(variable.key.as_str());
            match self.link(name)? {
                None => missing.push(name.to_owned()),
                Some(to) if is_visible(&to, name) => {}
                Some(_) => return Err(self.foreign_link(name)),
            }
        }
        let wanted: BTreeSet<&[u8]> = variables.iter().map(|v| v.key.as_str().as_bytes()).collect();
        let names = self.folder.names().map_err(|reason| self.failed("listing the directory", reason))?;
        let stale = names
            .into_iter()
            .filter(|name| !wanted.contains(name.as_bytes()))
            .filter(|name| self.folder.link(name).is_ok_and(|to| is_visible(&to, name)))
            .collect();
        Ok(Links { missing, stale })
    }

    /// The folder that readers are led to, if it is one of ours.
    fn current(&self) -> Result<Option<OsString>, WriteError> {
        let data = OsStr::new(DATA);
        match self.link(data)? {
            Some(to) if !is_generation(&to) => Err(self.foreign_link(data)),
            to => Ok(to),
        }
    }

    fn foreign_link(&self, name: &OsStr) -> WriteError {
        WriteError::NotAFile { path: self.path(name), what: "a link that this delivery did not make" }
    }

    fn compare(
        &self,
        current: &OsStr,
        variables: &[Arc<Delivered>],
        rights: Rights,
    ) -> Result<Found, WriteError> {
        let failed = |reason| self.failed("reading what is there", reason);
        let old = match self.folder.below(current) {
            Ok(old) => old,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => return Ok(Found::Other),
            Err(reason) => return Err(failed(reason)),
        };
        if old.names().map_err(failed)?.len() != variables.len() {
            return Ok(Found::Other);
        }
        let mut right = rights.of_folder().are_of(&old.stat().map_err(failed)?);
        for variable in variables {
            let name = OsStr::new(variable.key.as_str());
            let Some(stat) = old.look(name).map_err(failed)? else { return Ok(Found::Other) };
            let target = Target { folder: &old, name, path: &self.path(name) };
            let is_file = kind(&stat) == SFlag::S_IFREG;
            if !is_file || !target.holds(&stat, variable.value.expose().as_bytes())? {
                return Ok(Found::Other);
            }
            right &= rights.are_of(&stat);
        }
        Ok(if right { Found::Same } else { Found::SameBytes })
    }

    /// Writes a new folder of files and leads readers to it.
    fn exchange(&self, variables: &[Arc<Delivered>], rights: Rights) -> Result<(), WriteError> {
        let made = self.folder.make_claimed(Path::new(self.label), generation)?;
        for variable in variables {
            let name = OsStr::new(variable.key.as_str());
            let path = self.path(name);
            let file = create(&made.folder, name).map_err(|reason| WriteError::Step {
                path: path.clone(),
                step: "creating the file",
                reason,
            })?;
            let target = Target { folder: &made.folder, name, path: &path };
            target.fill(&file, variable.value.expose().as_bytes(), rights)?;
        }
        rights.of_folder().give(&made.folder, Path::new(self.label))?;
        made.folder.sync().map_err(|reason| self.failed("syncing the new files", reason))?;

        let next = OsStr::new(NEXT);
        if self.link(next)?.is_some() {
            self.folder.remove(next).map_err(|reason| self.failed("removing an old link", reason))?;
        }
        symlinkat(made.name(), self.folder, next)
            .map_err(|reason| self.failed("linking the new files", reason))?;
        // What was created beside it may have been meanwhile: a foreign one is not replaced.
        let exchanged = self.current().and_then(|_| {
            renameat(self.folder, next, self.folder, DATA)
                .map_err(|reason| self.failed("exchanging `..data`", reason))
        });
        if let Err(error) = exchanged {
            // The first error is the one that matters.
            let _left = self.folder.remove(next);
            return Err(error);
        }
        made.keep();
        Ok(())
    }

    fn mend(&self, links: &Links) -> Result<(), WriteError> {
        for name in &links.missing {
            let to = Path::new(DATA).join(name);
            symlinkat(to.as_path(), self.folder, name.as_os_str())
                .map_err(|reason| self.failed("making a link to a new file", reason))?;
        }
        for name in &links.stale {
            self.folder
                .remove(name)
                .map_err(|reason| self.failed("removing a link to an old file", reason))?;
        }
        Ok(())
    }

    /// Removes what we made and readers are not led to.
    fn remove_others(&self, rights: Rights) -> Result<(), WriteError> {
        let current = self.current()?;
        let next = OsStr::new(NEXT);
        if self.link(next)?.is_some_and(|to| is_generation(&to)) {
            self.folder.remove(next).map_err(|reason| self.failed("removing an old link", reason))?;
        }
        let names = self.folder.names().map_err(|reason| self.failed("listing the directory", reason))?;
        let others = names.into_iter().filter(|name| is_generation(name) && current.as_ref() != Some(name));
        for name in others {
            // Another daemon may have led readers to it since, until it was locked.
            let is_unused = |name: &OsStr| self.current().is_ok_and(|now| now.as_deref() != Some(name));
            self.folder
                .sweep_one(&name, rights, |name, kind| kind == SFlag::S_IFDIR && is_unused(name))
                .map_err(|reason| self.failed("removing the old files", reason))?;
        }
        Ok(())
    }
}

fn is_visible(to: &OsStr, name: &OsStr) -> bool {
    to.as_bytes().strip_prefix(b"..data/") == Some(name.as_bytes())
}
