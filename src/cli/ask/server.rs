//! Whether what listens at a path may be believed.
//!
//! What a daemon answers becomes a program's environment, and that is as good as
//! running code in it. So it matters who answers: the kernel tells the user of a
//! connection's other end, and the folder tells who could have put a socket there.
//!
//! | who answers | the caller named the path | settings that were merely found did |
//! |---|---|---|
//! | the caller's own user, root | believed | believed |
//! | the owner of the socket's folder | believed | refused |
//! | another, where only the folder's owner and group may write | believed: they chose | refused |
//! | another, where everybody may write | believed, and told on stderr | refused |
//!
//! The last row is how an emptyDir of Kubernetes is, whose writers are the containers
//! of one pod; nothing tells it from /tmp.
//!
//! Must not know: what is asked.
//!
//! # Current limitations
//!
//! Only the folder of the socket is looked at, not those above it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::named::Named;

pub(super) const ROOT: u32 = 0;
const WRITABLE_BY_EVERYBODY: u32 = 0o002;

/// The folder in which a socket lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Folder {
    owner: u32,
    mode: u32,
}

/// How far an answer is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the daemon's, as far as the system is in order.
    Trusted,
    /// Anybody could have put it there: the caller has to hear of that.
    Doubtful,
    /// It is a stranger's, and nobody named it.
    Foreign,
}

impl Folder {
    /// That of a socket, wherever links lead; none where it cannot be seen.
    pub(super) fn of(socket: &Path) -> Option<Self> {
        let real = socket.canonicalize().ok()?;
        let metadata = real.parent()?.metadata().ok()?;
        Some(Self { owner: metadata.uid(), mode: metadata.mode() })
    }
}

/// Judges what a user serves.
pub(super) fn judge(named: Named, server: u32, own: u32, folder: Option<Folder>) -> Verdict {
    if server == own || server == ROOT {
        return Verdict::Trusted;
    }
    match (named, folder) {
        (Named::ByFound, _) => Verdict::Foreign,
        (Named::ByCaller, Some(folder)) if folder.owner == server => Verdict::Trusted,
        (Named::ByCaller, Some(folder)) if folder.mode & WRITABLE_BY_EVERYBODY == 0 => Verdict::Trusted,
        (Named::ByCaller, _) => Verdict::Doubtful,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 1000;
    const DAEMON: u32 = 65532;
    const STRANGER: u32 = 1001;

    #[test]
    fn every_row_of_the_table() {
        use Named::{ByCaller, ByFound};
        use Verdict::{Doubtful, Foreign, Trusted};
        let tight = |owner| Some(Folder { owner, mode: 0o40_750 });
        for (who, server, folder, named_by_caller, found) in [
            ("oneself", OWN, tight(ROOT), Trusted, Trusted),
            (
                "oneself in an open folder",
                OWN,
                Some(Folder { owner: ROOT, mode: 0o41_777 }),
                Trusted,
                Trusted,
            ),
            ("root", ROOT, tight(STRANGER), Trusted, Trusted),
            ("root in an open folder", ROOT, Some(Folder { owner: ROOT, mode: 0o40_777 }), Trusted, Trusted),
            ("the owner of /run/dlconf", DAEMON, tight(DAEMON), Trusted, Foreign),
            (
                "the owner of an open folder",
                DAEMON,
                Some(Folder { owner: DAEMON, mode: 0o40_777 }),
                Trusted,
                Foreign,
            ),
            ("another in root's folder", DAEMON, tight(ROOT), Trusted, Foreign),
            (
                "another in a group's folder",
                DAEMON,
                Some(Folder { owner: ROOT, mode: 0o42_775 }),
                Trusted,
                Foreign,
            ),
            ("an emptyDir", DAEMON, Some(Folder { owner: ROOT, mode: 0o40_777 }), Doubtful, Foreign),
            (
                "an emptyDir with fsGroup",
                DAEMON,
                Some(Folder { owner: ROOT, mode: 0o42_777 }),
                Doubtful,
                Foreign,
            ),
            (
                "an emptyDir in memory",
                DAEMON,
                Some(Folder { owner: ROOT, mode: 0o41_777 }),
                Doubtful,
                Foreign,
            ),
            ("a folder that cannot be seen", STRANGER, None, Doubtful, Foreign),
        ] {
            assert_eq!(judge(ByCaller, server, OWN, folder), named_by_caller, "{who}, named");
            assert_eq!(judge(ByFound, server, OWN, folder), found, "{who}, found");
        }
    }

    #[test]
    fn the_folder_is_that_in_which_the_socket_really_lies() {
        let dir = tempfile::tempdir().unwrap();
        let (real, shown) = (dir.path().join("real"), dir.path().join("shown"));
        std::fs::create_dir(&real).unwrap();
        std::fs::create_dir(&shown).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&real, open).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(real.join("a.sock")).unwrap();
        std::os::unix::fs::symlink(real.join("a.sock"), shown.join("a.sock")).unwrap();
        let folder = Folder::of(&shown.join("a.sock")).unwrap();
        assert_eq!(folder.mode & 0o777, 0o777);
        assert_eq!(Folder::of(&shown.join("b.sock")), None);
    }
}
