//! Asking a daemon: one request over its socket, with a deadline.
//!
//! Owns: which socket is meant (`named`), whether what listens there may be
//! believed (`server`), one exchange, what a refusal means to who asked.
//! Invariants: what comes back is checked as what it is; a daemon's refusal is told
//! in its own words, which are value-free; a value becomes a `SecretValue` while it
//! is parsed, and the answer around it is dropped at once; whoever answered first is
//! not exchanged for another user later.

mod named;
mod server;

use std::cell::Cell;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH};
use hyper::client::conn::http1;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::Uid;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::access::Action;
use crate::model::secret::SecretValue;
use crate::serve::problem::Problem;
use named::{Named, configured};
use server::{Folder, ROOT, Verdict, judge};

/// From connecting to the last byte of the answer, beside what the daemon was asked
/// to wait.
const DEADLINE: Duration = Duration::from_secs(5);
/// An answer: a status of thousands of variables is less, and so is what a program
/// can be given.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// A daemon that can be asked.
pub(super) struct Daemon<'a> {
    socket: PathBuf,
    named: Named,
    terminal: &'a Terminal,
    /// Whether it was said that others could answer in its place.
    doubt_told: Cell<bool>,
    /// The user that answered first.
    first: Cell<Option<u32>>,
}

/// What a daemon is asked for.
#[derive(Clone)]
pub(super) struct Question<'a> {
    method: Method,
    /// `["v1", "status"]` is `/v1/status`.
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    /// What a policy has to let the caller do.
    action: Action,
    /// How long the daemon may take beside what every answer may.
    wait: Duration,
    /// JSON.
    said: String,
}

/// Which answer of a daemon one is: to be told when there is another.
#[derive(Debug, Clone)]
pub(super) struct Tag(HeaderValue);

/// What a daemon said.
pub(super) enum Answer<T> {
    /// What was asked for.
    Given(T),
    /// Why not.
    Refused(Problem),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Missed {
    /// Nobody listens there: not yet, or not any more.
    Away(Failure),
    /// It refuses this caller, or must not be believed.
    Refused(Failure),
    /// Anything else, which does not mend itself.
    Failed(Failure),
}

/// What came back.
struct Exchanged {
    status: StatusCode,
    tag: Option<Tag>,
    body: Bytes,
}

/// A value in an answer.
pub(super) struct Value(pub(super) SecretValue);

impl<'a> Question<'a> {
    /// Asks for what a path tells.
    pub(super) fn get(path: &'a [&'a str], action: Action) -> Self {
        let (query, said) = (Vec::new(), String::new());
        Self { method: Method::GET, path, query, action, wait: Duration::ZERO, said }
    }

    /// Asks for something to be done that takes its time, as JSON, which is wiped when it
    /// was sent, as all memory is that is given back: a value may be in it.
    pub(super) fn order(path: &'a [&'a str], action: Action, said: String, wait: Duration) -> Self {
        Self { wait, said, ..Self::post(path, action) }
    }

    /// Asks for something to be done.
    pub(super) fn post(path: &'a [&'a str], action: Action) -> Self {
        Self { method: Method::POST, ..Self::get(path, action) }
    }

    /// Tells something, as JSON.
    pub(super) fn put(path: &'a [&'a str], action: Action, said: String) -> Self {
        Self { method: Method::PUT, said, ..Self::get(path, action) }
    }

    /// With a parameter.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.query.push((name, value));
        self
    }

    /// Lets the daemon wait so long for something to tell.
    #[must_use]
    pub(super) fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self.with("wait", format!("{}ms", wait.as_millis())) }
    }

    fn uri(&self) -> String {
        let mut uri: String = self.path.iter().flat_map(|piece| ["/".to_owned(), escaped(piece)]).collect();
        for (at, (name, value)) in self.query.iter().enumerate() {
            uri.push_str(&format!("{}{name}={}", if at == 0 { '?' } else { '&' }, escaped(value)));
        }
        uri
    }

    /// What a person does about a 403.
    fn help(&self) -> String {
        let (uid, action) = (Uid::effective(), self.action.as_str());
        let key = match self.path {
            ["v1", "consumers", ..] => None,
            path => path.get(2),
        };
        let key = key.map_or(String::new(), |key| format!(" --var {key}"));
        format!(
            "the access policy decides: where the daemon's settings are, `dlconf access test --uid {uid} \
             --action {action}{key}` explains; without a policy only the user that the daemon runs as may ask"
        )
    }
}

impl<'a> Daemon<'a> {
    /// The one that is configured.
    ///
    /// # Errors
    /// Where none is.
    pub(super) fn configured(global: &Global, terminal: &'a Terminal) -> Result<Self, Failure> {
        Self::if_configured(global, terminal)?.ok_or_else(|| {
            Failure::usage(
                "no daemon's socket is configured",
                "set DLCONF_SOCKET, or `path` under [socket] in the settings, to the daemon's socket",
            )
        })
    }

    /// The one that is configured; none where none is.
    ///
    /// # Errors
    /// Settings that cannot be understood.
    pub(super) fn if_configured(global: &Global, terminal: &'a Terminal) -> Result<Option<Self>, Failure> {
        let found = configured(global)?;
        Ok(found.map(|(socket, named)| Self::new(socket, named, terminal)))
    }

    /// The one at this path, which the caller named.
    pub(super) fn at(socket: PathBuf, terminal: &'a Terminal) -> Self {
        Self::new(socket, Named::ByCaller, terminal)
    }

    fn new(socket: PathBuf, named: Named, terminal: &'a Terminal) -> Self {
        Self { socket, named, terminal, doubt_told: Cell::new(false), first: Cell::new(None) }
    }

    /// Where it is asked.
    pub(super) fn place(&self) -> &Path {
        &self.socket
    }

    /// Asks, and understands what comes back.
    ///
    /// # Errors
    /// Where nobody answers (exit 3), the daemon refuses who asks (exit 4), or the
    /// answer is not understood (exit 3).
    pub(super) fn ask<T: DeserializeOwned>(&self, question: &Question<'_>) -> Result<Answer<T>, Failure> {
        runtime()?.block_on(self.ask_now(question)).map_err(Missed::into_failure)
    }

    /// The same, for who waits for more than this.
    ///
    /// # Errors
    /// [`Missed`].
    pub(super) async fn ask_now<T: DeserializeOwned>(
        &self,
        question: &Question<'_>,
    ) -> Result<Answer<T>, Missed> {
        self.tagged(question).await.map(|(answer, _)| answer)
    }

    /// The same, with which answer it is.
    ///
    /// # Errors
    /// [`Missed`].
    pub(super) async fn tagged<T: DeserializeOwned>(
        &self,
        question: &Question<'_>,
    ) -> Result<(Answer<T>, Option<Tag>), Missed> {
        let exchanged = self.exchange(question, None).await?;
        self.understood(question, exchanged)
    }

    /// The same, for who has an answer already; none where it would be the same.
    ///
    /// # Errors
    /// [`Missed`].
    pub(super) async fn other_than<T: DeserializeOwned>(
        &self,
        known: Option<&Tag>,
        question: &Question<'_>,
    ) -> Result<Option<(Answer<T>, Option<Tag>)>, Missed> {
        let exchanged = self.exchange(question, known).await?;
        if exchanged.status == StatusCode::NOT_MODIFIED && known.is_some() {
            return Ok(None);
        }
        self.understood(question, exchanged).map(Some)
    }

    fn understood<T: DeserializeOwned>(
        &self,
        question: &Question<'_>,
        Exchanged { status, tag, body }: Exchanged,
    ) -> Result<(Answer<T>, Option<Tag>), Missed> {
        if status.is_success() {
            let given = serde_json::from_slice(&body).map_err(|_| self.not_understood())?;
            return Ok((Answer::Given(given), tag));
        }
        let problem: Problem = serde_json::from_slice(&body).map_err(|_| self.not_understood())?;
        if status == StatusCode::FORBIDDEN {
            let message = format!("the daemon at {} refuses: {}", self.socket.display(), problem.detail);
            return Err(Missed::Refused(Failure::new(exit::REFUSED, message, Some(question.help()))));
        }
        Ok((Answer::Refused(problem), None))
    }

    async fn exchange(&self, question: &Question<'_>, known: Option<&Tag>) -> Result<Exchanged, Missed> {
        // Longer ones cannot exist; the kernel's words for them say nothing.
        if self.socket.as_os_str().as_bytes().len() > 107 {
            return Err(Missed::Failed(Failure::usage(
                format!("{} is too long for a socket's path", self.socket.display()),
                "a socket's path has at most 107 bytes",
            )));
        }
        let patience = DEADLINE + question.wait;
        let asked = timeout(patience, self.converse(question, known)).await;
        asked.unwrap_or_else(|_| {
            Err(self.silent(&format!("gave no answer in {} seconds", patience.as_secs())))
        })
    }

    async fn converse(&self, question: &Question<'_>, known: Option<&Tag>) -> Result<Exchanged, Missed> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unconnected(&error))?;
        self.believe(&stream)?;
        let place = self.socket.display();
        let broken = |_| {
            let message = format!("the daemon at {place} broke off before it answered");
            let help = "it ends, or has as many connections as it takes (`max_connections`): see its log";
            Missed::Failed(Failure::new(exit::UNREADABLE, message, Some(help.into())))
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = hyper::Request::builder()
            .method(question.method.clone())
            .uri(question.uri())
            .header(HOST, "localhost");
        let request = match known {
            Some(Tag(tag)) => request.header(IF_NONE_MATCH, tag),
            None => request,
        };
        let request = match &*question.said {
            "" => request.body(Body::empty()),
            said => request.header(CONTENT_TYPE, "application/json").body(Body::from(said.to_owned())),
        };
        let request = request.map_err(|_| {
            Missed::Failed(Failure::usage("this cannot be asked for", "give the name of a variable"))
        })?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (status, tag) = (response.status(), response.headers().get(ETAG).cloned().map(Tag));
            let body = axum::body::to_bytes(Body::new(response.into_body()), ANSWER_BYTES).await;
            let body = body.map_err(|_| self.silent("broke off in the middle of its answer"))?;
            Ok(Exchanged { status, tag, body })
        };
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            // The connection ends when the answer is whole: then that counts.
            biased;
            answer = &mut answered => answer,
            _ended = connection => answered.await,
        }
    }

    /// Looks at who answers, before anything is asked.
    fn believe(&self, stream: &UnixStream) -> Result<(), Missed> {
        let place = self.socket.display();
        let unknown = || self.silent("is served by a process of which the kernel tells nothing");
        let server = stream.peer_cred().map_err(|_| unknown())?.uid();
        let own = Uid::effective().as_raw();
        if let Some(first) = self.first.replace(Some(server)).filter(|first| *first != server)
            && server != own
            && server != ROOT
        {
            self.first.set(Some(first));
            let message =
                format!("what listens at {place} is user {server}'s now, and was user {first}'s before");
            let help = "if you trust that user, start this anew";
            return Err(Missed::Refused(Failure::new(exit::REFUSED, message, Some(help.into()))));
        }
        match judge(self.named, server, own, Folder::of(&self.socket)) {
            Verdict::Trusted => Ok(()),
            Verdict::Doubtful => {
                if !self.doubt_told.replace(true) {
                    self.terminal.note(&format!(
                        "everybody may write to the folder of {place}, so anybody here could answer in the \
                         daemon's place; user {server} does"
                    ));
                }
                Ok(())
            }
            Verdict::Foreign => {
                let message = format!("what listens at {place} is another user's: that of user {server}");
                let help = "this path comes from settings that were merely found: name them with --config, or \
                            the socket in DLCONF_SOCKET, if you trust them";
                Err(Missed::Refused(Failure::new(exit::REFUSED, message, Some(help.into()))))
            }
        }
    }

    fn unconnected(&self, error: &std::io::Error) -> Missed {
        use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied, WouldBlock};
        let place = self.socket.display();
        if error.kind() == PermissionDenied {
            return Missed::Refused(Failure::new(
                exit::REFUSED,
                format!("the daemon at {place} cannot be asked: permission denied"),
                Some(
                    "`mode` under [socket] in its settings, and the folders above it, say who may connect"
                        .into(),
                ),
            ));
        }
        let failure = Failure::new(
            exit::UNREADABLE,
            format!("no daemon answers at {place}"),
            Some("is it running? `dlconf daemon` starts one; DLCONF_SOCKET or [socket] path says where it is asked".into()),
        );
        match error.kind() {
            // The last is a queue that is full.
            NotFound | ConnectionRefused | WouldBlock => Missed::Away(failure),
            _ => Missed::Failed(failure),
        }
    }

    fn silent(&self, how: &str) -> Missed {
        let message = format!("the daemon at {} {how}", self.socket.display());
        Missed::Failed(Failure::new(exit::UNREADABLE, message, Some("see its log".into())))
    }

    fn not_understood(&self) -> Missed {
        Missed::Failed(Failure::new(
            exit::UNREADABLE,
            format!("what answers at {} is no dlconf daemon of this release", self.socket.display()),
            Some("compare `dlconf --version` with the daemon's".into()),
        ))
    }
}

impl Missed {
    /// For who does not tell them apart.
    pub(super) fn into_failure(self) -> Failure {
        let (Self::Away(failure) | Self::Refused(failure) | Self::Failed(failure)) = self;
        failure
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
            Self::Refused(problem) => Err(Failure::new(exit, problem.detail, problem.help.map(Into::into))),
        }
    }
}

/// What waits for an answer, on this thread.
///
/// # Errors
/// Where the system refuses it.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::UNREADABLE, format!("the daemon cannot be asked: {error}"), None))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Value;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value(text.into()))
            }
        }

        // serde's own words quote what is there instead.
        from.deserialize_str(Text).map_err(|_| D::Error::custom("a value is no text"))
    }
}

/// A text as one piece of a path, or as one value of a query.
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
    use super::*;

    #[test]
    fn what_steers_an_address_is_escaped() {
        for (text, expected) in [
            ("JWT_SECRET", "JWT_SECRET"),
            ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
            ("é %\r\n", "%C3%A9%20%25%0D%0A"),
            ("a=b&c+d,e", "a%3Db%26c%2Bd%2Ce"),
            ("", ""),
        ] {
            assert_eq!(escaped(text), expected);
        }
        let question = Question::get(&["v1", "config"], Action::Read);
        assert_eq!(question.clone().uri(), "/v1/config");
        let question = question.with("vars", "A,group:b".into()).waiting(Duration::from_millis(1500));
        assert_eq!(question.uri(), "/v1/config?vars=A%2Cgroup%3Ab&wait=1500ms");
    }

    #[test]
    fn help_names_a_variable_where_one_was_asked_for() {
        let of = |path: &[&str]| Question::get(path, Action::Read).help();
        assert!(of(&["v1", "keys", "JWT_SECRET"]).contains("--var JWT_SECRET"));
        for path in [&["v1", "config"][..], &["v1", "consumers", "cc"]] {
            assert!(!of(path).contains("--var"), "{path:?}");
        }
    }

    #[test]
    fn a_value_is_a_text_whatever_stands_in_it() {
        let value: Value = serde_json::from_str(r#""a\"\\\né\u0000""#).unwrap();
        assert_eq!(value.0.expose(), "a\"\\\né\0");
        for other in ["1", "null", "true", "[\"canary\"]", "{\"canary\":1}"] {
            let error = serde_json::from_str::<Value>(other).map(|_| ()).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
