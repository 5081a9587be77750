//! Asking a daemon: one request over its socket, with a deadline.
//!
//! What comes back is checked as what it is; a daemon's refusal is told in its
//! own words, which are value-free.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use hyper::client::conn::http1;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::Uid;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Failure, Global, exit};
use crate::assemble::{Choice, Request, ground, open_settings};
use crate::report::Style;
use crate::serve::problem::Problem;

/// From connecting to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// An answer: a status of thousands of variables is less.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// The socket of the daemon that is to be asked.
///
/// # Errors
/// Where none is configured.
fn socket_path(global: &Global) -> Result<PathBuf, Failure> {
    configured(global)?.ok_or_else(|| {
        Failure::usage(
            "no daemon's socket is configured",
            "set DLCONF_SOCKET, or `path` under [socket] in the settings, to the daemon's socket",
        )
    })
}

/// The socket that `DLCONF_SOCKET`, or else the settings name.
fn configured(global: &Global) -> Result<Option<PathBuf>, Failure> {
    let chosen = std::env::var_os("DLCONF_SOCKET").filter(|path| !path.is_empty());
    if let Some(chosen) = chosen {
        return Ok(Some(PathBuf::from(chosen)));
    }
    // The socket may differ by environment. What is asked touches no source.
    let request = Request { offline: true, ..global.request() };
    match ground(&request, Choice::Asked, Style { color: false, width: 100, unicode: true }) {
        Ok(ground) => Ok(ground.settings.socket.map(|socket| socket.path)),
        // The daemon refused the same, and goes on: a probe must not end it.
        Err(failure) => {
            let environment = request.environment.as_deref();
            let socket = open_settings(&request)?.socket_at_least(environment).ok_or(failure)?;
            Ok(Some(socket.path))
        }
    }
}

/// A daemon that can be asked.
pub(super) struct Daemon {
    socket: PathBuf,
}

/// What a daemon said.
pub(super) enum Answer<T> {
    /// What was asked for.
    Given(T),
    /// Why not.
    Refused(Problem),
}

impl Daemon {
    /// The one that is configured.
    ///
    /// # Errors
    /// Where none is.
    pub(super) fn configured(global: &Global) -> Result<Self, Failure> {
        socket_path(global).map(|socket| Self { socket })
    }

    /// The one that is configured; none where none is.
    ///
    /// # Errors
    /// Settings that cannot be understood.
    pub(super) fn if_configured(global: &Global) -> Result<Option<Self>, Failure> {
        Ok(configured(global)?.map(|socket| Self { socket }))
    }

    /// Where it is asked.
    pub(super) fn place(&self) -> &Path {
        &self.socket
    }

    /// Asks, and understands what comes back: `["v1", "status"]` is `/v1/status`.
    ///
    /// # Errors
    /// Where nobody answers (exit 3), the daemon refuses who asks (exit 4), or the
    /// answer is not understood (exit 3).
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
    ) -> Result<Answer<T>, Failure> {
        let path: String = path.iter().flat_map(|piece| ["/".to_owned(), escaped(piece)]).collect();
        let (status, body) = self.exchange(method, &path)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map(Answer::Given).map_err(|_| self.not_understood());
        }
        let problem: Problem = serde_json::from_slice(&body).map_err(|_| self.not_understood())?;
        if status == StatusCode::FORBIDDEN {
            let message = format!("the daemon at {} refuses: {}", self.socket.display(), problem.detail);
            let help = "ask as the user that the daemon runs as";
            return Err(Failure::new(exit::REFUSED, message, Some(help.into())));
        }
        Ok(Answer::Refused(problem))
    }

    fn exchange(&self, method: Method, path: &str) -> Result<(StatusCode, Vec<u8>), Failure> {
        // Longer ones cannot exist; the kernel's words for them say nothing.
        if self.socket.as_os_str().as_bytes().len() > 107 {
            return Err(Failure::usage(
                format!("{} is too long for a socket's path", self.socket.display()),
                "a socket's path has at most 107 bytes",
            ));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::new(exit::UNREADABLE, format!("the daemon cannot be asked: {error}"), None)
        })?;
        runtime.block_on(async {
            let asked = timeout(DEADLINE, self.converse(method, path)).await;
            asked.unwrap_or_else(|_| {
                Err(self.silent(&format!("gave no answer in {} seconds", DEADLINE.as_secs())))
            })
        })
    }

    async fn converse(&self, method: Method, path: &str) -> Result<(StatusCode, Vec<u8>), Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unconnected(&error))?;
        // Whoever may write to its folder could have put another in its place.
        let served_by = stream.peer_cred().map(|peer| Uid::from_raw(peer.uid())).ok();
        if served_by.is_none_or(|user| user != Uid::effective() && !user.is_root()) {
            let message = format!("what listens at {} is another user's", self.socket.display());
            let help = "ask as the user that the daemon runs as, or see who made this socket";
            return Err(Failure::new(exit::REFUSED, message, Some(help.into())));
        }
        let broken = |_| self.silent("broke off");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .body(Body::empty())
            .map_err(|_| Failure::usage("this cannot be asked for", "give the name of a variable"))?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = axum::body::to_bytes(Body::new(response.into_body()), ANSWER_BYTES).await;
            Ok((status, body.map_err(|_| self.silent("broke off"))?.to_vec()))
        };
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            // The connection ends when the answer is whole: then that counts.
            biased;
            answer = &mut answered => answer,
            _ended = connection => answered.await,
        }
    }

    fn unconnected(&self, error: &std::io::Error) -> Failure {
        let place = self.socket.display();
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Failure::new(
                exit::REFUSED,
                format!("the daemon at {place} cannot be asked: permission denied"),
                Some("ask as the user that the daemon runs as".into()),
            ),
            _ => Failure::new(
                exit::UNREADABLE,
                format!("no daemon answers at {place}"),
                Some("is it running? `dlconf daemon` starts one; DLCONF_SOCKET or [socket] path says where it is asked".into()),
            ),
        }
    }

    fn silent(&self, how: &str) -> Failure {
        let message = format!("the daemon at {} {how}", self.socket.display());
        Failure::new(exit::UNREADABLE, message, Some("see its log".into()))
    }

    fn not_understood(&self) -> Failure {
        Failure::new(
            exit::UNREADABLE,
            format!("what answers at {} is no dlconf daemon of this release", self.socket.display()),
            Some("compare `dlconf --version` with the daemon's".into()),
        )
    }
}

impl<T> Answer<T> {
    /// What was given; a refusal is a failure with this exit code.
    ///
    /// # Errors
    /// The refusal, in the daemon's words.
    pub(super) fn or_fail(self, exit: u8) -> Result<T, Failure> {
        match self {
            Self::Given(given) => Ok(given),
            Self::Refused(problem) => Err(Failure::new(exit, problem.detail, None)),
        }
    }
}

/// A text as one piece of a path.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_steers_an_address_is_escaped() {
        for (text, expected) in [
            ("JWT_SECRET", "JWT_SECRET"),
            ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
            ("é %\r\n", "%C3%A9%20%25%0D%0A"),
            ("", ""),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }
}
