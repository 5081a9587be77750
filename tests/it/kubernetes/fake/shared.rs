//! What all connections of a fake share, and what the test holds of it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::watch;

use super::answer::{Answer, Desk, Manner, Reply, Watch, error_line};
use super::ask::{Asked, Seen};
use super::fault::{Fault, Plans};
use super::kinds::{Kind, Place};
use super::rights::Tokens;
use super::status::Status;
use super::store::{Selection, Store};
use super::wire::Spoilt;
use crate::kubernetes::client::FIXTURE;

/// What all connections are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    /// Moves whenever something may have happened.
    pub(super) ticks: u64,
    /// The server is ending: no new connection, watches are silent.
    pub(super) stopping: bool,
    /// Connections up to this one are gone without anybody telling the client.
    pub(super) muted_up_to: u64,
    /// Connections up to this one are closed.
    pub(super) closed_up_to: u64,
}

/// A connection as tests see it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) opened: Instant,
    pub(crate) closed: Option<Instant>,
    /// Whether the client ended it.
    pub(crate) by_client: bool,
    pub(crate) tls: bool,
    /// What was agreed on.
    pub(crate) protocol: Option<String>,
}

pub(super) struct State {
    pub(super) store: Store,
    pub(super) tokens: Tokens,
    pub(super) manner: Manner,
    pub(super) plans: Plans,
    pub(super) seen: Vec<Seen>,
    pub(super) links: Vec<Link>,
    pub(super) endless_bytes: u64,
}

pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) control: watch::Sender<Control>,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            store: Store::new(),
            tokens: Tokens::default(),
            manner: Manner { initial_events: true, bookmarks: true, frozen: false },
            plans: Plans::default(),
            seen: Vec::new(),
            links: Vec::new(),
            endless_bytes: 0,
        };
        Arc::new(Self { state: Mutex::new(state), control: watch::Sender::new(Control::default()) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes something that a stream may wait for.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.control.send_modify(|control| control.ticks += 1);
        result
    }

    /// A new connection's number.
    pub(super) fn connected(&self, tls: bool) -> u64 {
        let mut state = self.lock();
        state.links.push(Link {
            opened: Instant::now(),
            closed: None,
            by_client: false,
            tls,
            protocol: None,
        });
        state.links.len() as u64
    }

    pub(super) fn agreed(&self, connection: u64, protocol: Option<String>) {
        self.link(connection, |link| link.protocol = protocol);
    }

    pub(super) fn ended(&self, connection: u64, by_client: bool) {
        self.link(connection, |link| {
            link.closed = Some(Instant::now());
            link.by_client = by_client;
        });
    }

    fn link(&self, connection: u64, change: impl FnOnce(&mut Link)) {
        change(&mut self.lock().links[usize::try_from(connection).unwrap() - 1]);
    }

    /// Notes the request, and says what becomes of it.
    pub(super) fn reply(&self, asked: &Asked, connection: u64) -> (Reply, Spoilt) {
        self.change(|state| {
            let user = state.tokens.authenticate(&state.store, asked.header("authorization"));
            let seen =
                Seen::of(asked, connection, user.as_ref().map_or("-".into(), super::rights::User::name));
            let is_fixture = seen.user_agent == FIXTURE;
            let fault = if is_fixture { None } else { state.plans.next(&seen) };
            state.seen.push(seen);
            let usual = || match user {
                Err(status) => Reply::Answer(status.into()),
                Ok(user) => {
                    let State { store, tokens, manner, .. } = &mut *state;
                    Desk { store, tokens, manner, user }.reply(asked)
                }
            };
            let stream = |lines: Vec<serde_json::Value>| Reply::Watch(lines_of(asked, lines));
            let whole = |reply| (reply, Spoilt::No);
            match fault {
                None => whole(usual()),
                Some(Fault::Status(401)) => whole(Reply::Answer(Status::unauthorized().into())),
                Some(Fault::Status(code)) => whole(Reply::Answer(Status::failing(code).into())),
                Some(Fault::TooMany(seconds)) => whole(Reply::Answer(Answer::too_many(seconds))),
                Some(Fault::Gone) => {
                    let status = Status::expired("too old resource version: 1 (2)");
                    if asked.verb() == "watch" {
                        whole(stream(vec![error_line(&status)]))
                    } else {
                        whole(Reply::Answer(status.into()))
                    }
                }
                Some(Fault::Page) => {
                    let mut page =
                        Answer::text(200, "<!doctype html><title>Sign in</title><p>Please sign in.</p>");
                    page.headers[0].1 = "text/html".into();
                    whole(Reply::Answer(page))
                }
                Some(Fault::Half) => match usual() {
                    Reply::Answer(mut answer) => {
                        answer.body.truncate(answer.body.len() / 2);
                        whole(Reply::Answer(answer))
                    }
                    other => whole(other),
                },
                Some(Fault::Silence) => whole(Reply::Never),
                Some(Fault::Close) => whole(Reply::CloseAfter(std::time::Duration::ZERO)),
                Some(Fault::CutAfter(events)) => (usual(), Spoilt::CutAfter(events)),
                Some(Fault::Mute) => (stream(Vec::new()), Spoilt::Mute),
                Some(Fault::Endless) => (stream(Vec::new()), Spoilt::Endless { slow: false }),
                Some(Fault::Drip) => (stream(Vec::new()), Spoilt::Endless { slow: true }),
                Some(Fault::Lines(lines)) => {
                    let text = lines.join("\n") + "\n";
                    (stream(Vec::new()), Spoilt::Text(text.into_bytes()))
                }
            }
        })
    }
}

/// A stream that says these lines and ends.
fn lines_of(asked: &Asked, first: Vec<serde_json::Value>) -> Watch {
    let kind = match Place::of(&asked.path) {
        Place::Objects { kind, .. } => kind,
        _ => Kind::of("secrets"),
    };
    let selection = Selection { resource: kind.resource, namespace: String::new(), name: None };
    Watch { selection, from: 0, first, over: true, bookmarks: false, partial: false, timeout: None }
}
