//! Which socket is meant, and who says so.

use std::path::PathBuf;

use super::super::{Failure, Global};
use crate::assemble::{Choice, Request, ground, open_settings};
use crate::report::Style;
use crate::settings::Trust;

/// Who names a socket's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The caller, or the administrator: `--socket`, `DLCONF_SOCKET`, settings that
    /// were named, those in /etc.
    ByCaller,
    /// Settings that were merely found in the working directory.
    ByFound,
}

impl From<Trust> for Named {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::Full => Self::ByCaller,
            Trust::Found => Self::ByFound,
        }
    }
}

/// The socket that `DLCONF_SOCKET`, or else the settings name.
///
/// # Errors
/// Settings that cannot be understood.
pub(super) fn configured(global: &Global) -> Result<Option<(PathBuf, Named)>, Failure> {
    let chosen = std::env::var_os("DLCONF_SOCKET").filter(|path| !path.is_empty());
    if let Some(chosen) = chosen {
        return Ok(Some((PathBuf::from(chosen), Named::ByCaller)));
    }
    // The socket may differ by environment. What is asked touches no source.
    let request = Request { offline: true, ..global.request() };
    match ground(&request, Choice::Asked, Style { color: false, width: 100, unicode: true }) {
        Ok(ground) => {
            let named = ground.opened.trust().into();
            Ok(ground.settings.socket.map(|socket| (socket.at.path, named)))
        }
        // The daemon refused the same, and goes on: a probe must not end it.
        Err(failure) => {
            let opened = open_settings(&request)?;
            let socket = opened.socket_at_least(request.environment.as_deref()).ok_or(failure)?;
            Ok(Some((socket.path, opened.trust().into())))
        }
    }
}
