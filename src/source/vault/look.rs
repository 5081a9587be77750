//! One look at what the server has now: at versions where there are some, at the
//! data where there are none; and what a version says about what is held.
//!
//! Invariant: a look changes no values; what moved is marked as to be read.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::api::{FolderAnswer, FolderEntry, ListDetailedMetadata, VersionAnswer};
use super::client::{Client, Lane};
use super::config::Engine;
use super::read::{self, Stored};
use super::state::Tracked;
use super::trouble::{Kind, Trouble};
use crate::model::key::Key;
use crate::model::secret::SecretValue;

/// What is looked at by one request.
pub(super) enum What {
    /// One path, by index.
    Path(usize),
    /// All these paths of one folder of one mount.
    Folder { mount: String, folder: String, paths: Vec<usize> },
}

/// What a look gave.
pub(super) enum Seen {
    /// The version of each path.
    Versions(Vec<(usize, Result<VersionAnswer, Trouble>)>),
    /// The data, where there are no versions to look at.
    Holding(usize, Box<read::Holding>),
    /// A path that has nothing to look at: a lease tells by itself.
    Nothing,
    /// Folders cannot be listed.
    NoFolders(Kind),
    /// No answer.
    Trouble(Trouble),
}

impl What {
    pub(super) fn paths(&self) -> Vec<usize> {
        match self {
            Self::Path(index) => vec![*index],
            Self::Folder { paths, .. } => paths.clone(),
        }
    }

    pub(super) async fn ask(
        &self,
        client: &Client,
        token: &SecretValue,
        tracked: &[Tracked],
        known: &BTreeSet<Key>,
    ) -> Seen {
        match self {
            Self::Path(index) => {
                // What is to be read is the fetch's.
                let path = tracked.get(*index).filter(|path| !path.stale);
                let Some(path) = path else { return Seen::Nothing };
                match &path.spec.engine {
                    Engine::Kv2 { mount, path: secret } if !path.by_data => {
                        let seen = read::version(client, token, mount, secret).await;
                        match seen {
                            Err(trouble) if trouble.kind.passes() => Seen::Trouble(trouble),
                            seen => Seen::Versions(vec![(*index, seen)]),
                        }
                    }
                    // A lease tells by itself.
                    _ if path.lease().is_some() => Seen::Nothing,
                    _ => match read::values(client, token, &path.spec, known).await {
                        Ok(holding) => Seen::Holding(*index, Box::new(holding)),
                        Err(trouble) => Seen::Trouble(trouble),
                    },
                }
            }
            Self::Folder { mount, folder, paths } => {
                if paths.iter().filter_map(|index| tracked.get(*index)).all(|path| path.stale) {
                    return Seen::Nothing;
                }
                let request = ListDetailedMetadata { mount: mount.clone(), folder: folder.clone() };
                let answer = client.ask::<FolderAnswer>(Lane::Poll, Some(token), request).await;
                let answer = match answer.map(|answer| answer.data) {
                    Ok(Some(answer)) => answer,
                    Err(trouble) if cannot_list(trouble.kind) => return Seen::NoFolders(trouble.kind),
                    Err(trouble) => return Seen::Trouble(trouble),
                    Ok(None) => return Seen::NoFolders(Kind::NotTheApi),
                };
                let seen = paths.iter().filter_map(|index| {
                    let Engine::Kv2 { path, .. } = &tracked.get(*index)?.spec.engine else { return None };
                    let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
                    // Two paths may be one secret.
                    let version = match answer.key_info.get(name) {
                        Some(FolderEntry::Secret(metadata)) => metadata.current(),
                        Some(FolderEntry::Other(_)) | None => None,
                    };
                    Some((*index, version.ok_or_else(|| Kind::NotFound.into())))
                });
                Seen::Versions(seen.collect())
            }
        }
    }
}

/// Whether an answer to a LIST says that there is none to be had.
fn cannot_list(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Forbidden
            | Kind::NotFound
            | Kind::NoMount
            | Kind::NotTheApi
            | Kind::Unsupported
            | Kind::TooLarge
            | Kind::Rejected(_)
    )
}

/// Judges the version that a path has now by the one that is held. True if the
/// path's health is another than before; what moved is marked as to be read.
///
/// An older version is an answer of a standby that lags. One that stays longer than
/// `lag` is no lag: the server was restored from a backup, and that is told.
pub(super) fn compare(path: &mut Tracked, seen: Result<VersionAnswer, Trouble>, lag: Duration) -> bool {
    if path.stale {
        // It is to be read anyway; a look at its version says nothing about that.
        return false;
    }
    match seen {
        Ok(seen) if path.is_behind(&seen) => path.lags(lag),
        Ok(seen) => {
            let recovered = path.answered();
            let present = path.held.as_ref().is_some_and(|held| held.state == Stored::Present);
            let moved = match path.held.as_ref().and_then(|held| held.version.as_ref()) {
                // Nothing was there before.
                None => true,
                Some(held) => {
                    let ended = seen.deletion().is_some_and(|at| at <= SystemTime::now());
                    !seen.is_still(held) || (present && ended)
                }
            };
            if moved {
                path.read_again();
            } else {
                path.confirm();
            }
            recovered
        }
        // The policy does not let us see versions: the data tells as well.
        Err(trouble) if trouble.kind == Kind::Forbidden => {
            path.by_data = true;
            path.trouble.is_none()
        }
        // No metadata, though there was data: not a deletion that anybody states.
        Err(trouble) => {
            let was_there = path.held.as_ref().is_some_and(|held| held.state != Stored::Nothing);
            if !was_there && trouble.kind == Kind::NotFound {
                // It answers, and there is as much as there was.
                path.confirm();
                return path.answered();
            }
            let news = path.is_other_trouble(trouble.kind);
            path.failed(trouble);
            news
        }
    }
}
