//! What is killed and failed: a delivery of each kind over an old one, one into
//! folders that are missing, a file of a snapshot's size, and a file that a rotation
//! writes back.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use dlconf::access::Released;
use dlconf::delivery::config::DeliveryConfig;
use dlconf::delivery::directory::Directory;
use dlconf::delivery::env_file::EnvFile;
use dlconf::delivery::{Delivery, Outcome};
use dlconf::disk::file::{self, Permissions};
use dlconf::disk::hold::hold;
use dlconf::disk::stamp::Stamp;
use dlconf::disk::write_error::WriteError;

use crate::daemon::PATIENCE;
use crate::released::{directory, env_file, names, released};

/// Part of every value, to be found where it must not be.
pub(super) const CANARY: &str = "canary-4f1d";

/// How large a snapshot is here.
const SNAPSHOT: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    EnvFile,
    MissingFolders,
    Directory,
    MissingDirectory,
    Snapshot,
    WrittenBack,
}

/// Which of the two generations is there; none at all is as good as the old
/// where there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Old,
    New,
}

/// One kind in one folder.
pub(super) struct Scenario {
    pub(super) kind: Kind,
    folder: PathBuf,
}

impl Scenario {
    pub(super) const ALL: [Kind; 6] = [
        Kind::EnvFile,
        Kind::MissingFolders,
        Kind::Directory,
        Kind::MissingDirectory,
        Kind::Snapshot,
        Kind::WrittenBack,
    ];

    /// In the child, from what it was given: the folder is named after the kind.
    pub(super) fn given(text: &str) -> Self {
        let folder = PathBuf::from(text);
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let kind = Self::ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap();
        Self { kind, folder }
    }

    /// Makes the folder anew, with the old generation in it.
    pub(super) fn prepared(kind: Kind, above: &Path) -> Self {
        let scenario = Self { kind, folder: above.join(format!("{kind:?}")) };
        if scenario.folder.exists() {
            fs::remove_dir_all(&scenario.folder).unwrap();
        }
        fs::create_dir(&scenario.folder).unwrap();
        if scenario.had_old() {
            if kind == Kind::WrittenBack {
                let (old, permissions) = (snapshot(Seen::Old), Permissions::private());
                file::replace(&scenario.path(), &old, &permissions).unwrap();
            } else {
                scenario.writer(Seen::Old).write().unwrap();
            }
        }
        scenario
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the child says what became of its two deliveries.
    pub(super) fn report(&self) -> PathBuf {
        self.folder.with_extension("report")
    }

    fn had_old(&self) -> bool {
        !matches!(self.kind, Kind::MissingFolders | Kind::MissingDirectory)
    }

    fn path(&self) -> PathBuf {
        match self.kind {
            Kind::MissingFolders => self.folder.join("run/dlconf/app.env"),
            Kind::EnvFile | Kind::Snapshot | Kind::WrittenBack => self.folder.join("app.env"),
            Kind::MissingDirectory => self.folder.join("run/secrets"),
            Kind::Directory => self.folder.join("secrets"),
        }
    }

    fn config(&self) -> DeliveryConfig {
        let mut config = match self.kind {
            Kind::Directory | Kind::MissingDirectory => directory(&self.path()),
            _ => env_file(&self.path()),
        };
        config.create_dirs = true;
        // As root it can be seen that the owner is right at every moment.
        if nix::unistd::Uid::effective().is_root() {
            config.access.owner = Some("12345".into());
            config.access.group = Some("23456".into());
        }
        config
    }

    /// What puts this generation in its place.
    pub(super) fn writer(&self, generation: Seen) -> Writer {
        let values = values(generation);
        let values: Vec<(&str, &str)> = values.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let released = released(&values);
        let delivery: Option<Box<dyn Delivery>> = match self.kind {
            Kind::EnvFile | Kind::MissingFolders => Some(Box::new(EnvFile::new(&self.config()))),
            Kind::Directory | Kind::MissingDirectory => Some(Box::new(Directory::new(&self.config()))),
            Kind::Snapshot | Kind::WrittenBack => None,
        };
        Writer { kind: self.kind, delivery, released, snapshot: snapshot(generation), path: self.path() }
    }

    /// What a reader sees. Panics when that is neither all old nor all new.
    pub(super) fn seen(&self) -> Seen {
        let seen = match self.kind {
            Kind::EnvFile | Kind::MissingFolders => self.in_env_file(),
            Kind::Directory | Kind::MissingDirectory => self.in_directory(),
            Kind::Snapshot | Kind::WrittenBack => self.in_snapshot(),
        };
        seen.unwrap_or_else(|error| {
            let nothing = error.kind() == io::ErrorKind::NotFound && !self.had_old();
            assert!(nothing, "{:?}: a reader meets {error}", self.kind);
            Seen::Old
        })
    }

    fn in_env_file(&self) -> io::Result<Seen> {
        let text = fs::read_to_string(self.path())?;
        self.assert_rights(&self.path());
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let is = |generation| {
            let values = values(generation);
            read.as_object().unwrap().len() == values.len() && values.iter().all(|(k, v)| read[*k] == **v)
        };
        Ok(which(is(Seen::Old), is(Seen::New)))
    }

    fn in_directory(&self) -> io::Result<Seen> {
        // The link is followed once, as a careful reader does.
        let data = self.path().join(fs::read_link(self.path().join("..data"))?);
        let is = |generation| {
            let values = values(generation);
            names(&data).len() == values.len()
                && values.iter().all(|(k, v)| fs::read_to_string(data.join(k)).is_ok_and(|read| read == *v))
        };
        for name in names(&data) {
            self.assert_rights(&data.join(name));
        }
        let metadata = fs::metadata(&data).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o750, "of the folder of the files");
        let seen = which(is(Seen::Old), is(Seen::New));
        if self.had_old() {
            // Who goes through the names that both have finds them at any time.
            for (key, value) in
                values(seen).into_iter().filter(|(key, _)| *key != "LEAVES" && *key != "COMES")
            {
                assert_eq!(fs::read_to_string(self.path().join(key))?, value);
            }
        }
        Ok(seen)
    }

    fn in_snapshot(&self) -> io::Result<Seen> {
        let read = fs::read(self.path())?;
        assert_eq!(fs::metadata(self.path())?.mode() & 0o7777, 0o600);
        Ok(which(read == snapshot(Seen::Old), read == snapshot(Seen::New)))
    }

    fn assert_rights(&self, path: &Path) {
        let metadata = fs::metadata(path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o440, "{}", path.display());
        if let Some(owner) = self.config().access.owner {
            assert_eq!((metadata.uid().to_string(), metadata.gid()), (owner, 23456), "{}", path.display());
        }
    }

    /// Everything below the folder that a finished generation does not have.
    /// Folders that were made for a file stay when the file then fails.
    pub(super) fn left_over(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mut folders = vec![self.folder.clone()];
        let data = fs::read_link(self.path().join("..data")).ok();
        while let Some(folder) = folders.pop() {
            for name in names(&folder) {
                let path = folder.join(&name);
                let ours = self.path().starts_with(&path);
                let current = data.as_deref() == Some(Path::new(&name));
                let link = name == "..data"
                    || (path.is_symlink()
                        && fs::read_link(&path).unwrap() == Path::new("..data").join(&name));
                if ours && path.is_dir() {
                    folders.push(path);
                } else if !ours && !(folder == self.path() && (current || link)) {
                    left.push(path.display().to_string());
                }
            }
        }
        left
    }

    /// What else the finished new generation shows: names, and the folders that
    /// were made for it.
    pub(super) fn assert_whole(&self) {
        if !self.had_old() {
            for made in self.path().ancestors().skip(1).take_while(|path| **path != self.folder) {
                let metadata = fs::metadata(made).unwrap();
                assert_eq!(metadata.mode() & 0o7777, 0o750, "{}", made.display());
                if self.config().access.group.is_some() {
                    assert_eq!((metadata.uid(), metadata.gid()), (12345, 23456), "{}", made.display());
                }
            }
        }
        if matches!(self.kind, Kind::Directory | Kind::MissingDirectory) {
            let mut shown = names(&self.path());
            shown.retain(|name| !name.starts_with(".."));
            assert_eq!(shown, ["COMES", "FIRST", "SECOND"]);
        }
    }
}

/// What delivers one generation.
pub(super) struct Writer {
    kind: Kind,
    delivery: Option<Box<dyn Delivery>>,
    released: Released,
    snapshot: Vec<u8>,
    path: PathBuf,
}

impl Writer {
    pub(super) fn clean(&mut self) {
        match &mut self.delivery {
            Some(delivery) => delivery.clean().unwrap(),
            None => file::clean(&self.path).unwrap(),
        }
    }

    /// Whether other bytes are there now; else what is said of it, and to be done.
    pub(super) fn write(&mut self) -> Result<bool, String> {
        match &mut self.delivery {
            Some(delivery) => match delivery.deliver(&self.released) {
                Ok(outcome) => Ok(outcome == Outcome::Changed),
                Err(error) => Err(format!("{error}; {}", error.help)),
            },
            None if self.kind == Kind::WrittenBack => {
                self.written_back().map(|()| true).map_err(|error| format!("{error}; {}", error.help()))
            }
            None => match file::replace(&self.path, &self.snapshot, &Permissions::private()) {
                Ok(()) => Ok(true),
                Err(error) => Err(format!("{error}; {}", error.help())),
            },
        }
    }
}

impl Writer {
    /// As a source does it: held, and replaced if it is what was read.
    fn written_back(&self) -> Result<(), WriteError> {
        let held = hold(&self.path, PATIENCE)?;
        let read = Stamp::of(&fs::metadata(&self.path).unwrap());
        held.replace(&self.snapshot, read).map(drop)
    }
}

fn values(generation: Seen) -> Vec<(&'static str, String)> {
    let value = |key: &str| format!("{CANARY}-{generation:?}-{key}-{}", "x".repeat(300));
    let third = if generation == Seen::Old { "LEAVES" } else { "COMES" };
    ["FIRST", "SECOND", third].into_iter().map(|key| (key, value(key))).collect()
}

fn snapshot(generation: Seen) -> Vec<u8> {
    let mut bytes = format!("{CANARY}-{generation:?}-").repeat(SNAPSHOT / CANARY.len()).into_bytes();
    bytes.truncate(SNAPSHOT);
    bytes
}

#[track_caller]
fn which(old: bool, new: bool) -> Seen {
    assert!(old != new, "a reader sees neither all old nor all new");
    if old { Seen::Old } else { Seen::New }
}
