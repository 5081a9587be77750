//! What is known of one object: what it held, and what is wrong with it. Pure but
//! for the time of day.
//!
//! Invariants: what was read stays until the server states that it is gone or gives
//! something else; of equal content nobody is told.

use std::time::SystemTime;

use tokio::time::Instant;

use super::config::Spec;
use super::data::Given;
use crate::kubernetes::{Meta, Trouble, Verb, Why};
use crate::source::backoff::{Backoff, share};

/// One object.
pub(super) struct Tracked {
    pub(super) spec: Spec,
    pub(super) held: Option<Held>,
    pub(super) failure: Option<Failure>,
    backoff: Backoff,
    pub(super) not_before: Option<Instant>,
    /// When the server last told that it has just what is held.
    pub(super) confirmed: Option<Instant>,
}

/// What an object held when it was last read.
pub(super) struct Held {
    pub(super) state: Stored,
    /// Which object of that name; empty where there is none.
    uid: Box<str>,
    /// The resourceVersion; none where there is no object.
    pub(super) version: Option<Box<str>>,
    pub(super) modified: Option<SystemTime>,
    pub(super) given: Given,
}

/// Whether an object is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is.
    There,
    /// The server stated that it was deleted while we looked.
    Deleted,
    /// It was never seen.
    Absent,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What was tried.
    pub(super) verb: Verb,
    pub(super) trouble: Trouble,
    /// Where it was not permitted: everything that is not, where the server tells.
    pub(super) missing: Vec<Verb>,
}

impl Tracked {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            spec,
            held: None,
            failure: None,
            backoff: Backoff::default(),
            not_before: None,
            confirmed: None,
        }
    }

    /// Whether what is held is of this version, and nothing is wrong with it.
    pub(super) fn is_at(&self, meta: &Meta) -> bool {
        self.failure.is_none() && self.version() == Some(&*meta.resource_version)
    }

    fn version(&self) -> Option<&str> {
        self.held.as_ref()?.version.as_deref()
    }

    /// The version of what is held, if an object was there.
    pub(super) fn version_there(&self) -> Option<Box<str>> {
        self.held.as_ref().filter(|held| held.state == Stored::There)?.version.clone()
    }

    fn is_there(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.state == Stored::There)
    }

    /// Takes what was read. True if somebody has to be told.
    pub(super) fn took(&mut self, meta: &Meta, given: Given) -> bool {
        let recovered = self.answered();
        self.hold(meta, given) || recovered
    }

    /// Takes what was read although something else is wrong. True if it is another.
    pub(super) fn took_aside(&mut self, meta: &Meta, given: Given) -> bool {
        self.confirmed = Some(Instant::now());
        self.hold(meta, given)
    }

    fn hold(&mut self, meta: &Meta, given: Given) -> bool {
        let same =
            self.is_there() && self.held.as_ref().is_some_and(|held| held.given.gives_the_same(&given));
        let (uid, version) = (meta.uid.clone(), Some(meta.resource_version.clone()));
        self.held = Some(Held { state: Stored::There, uid, version, modified: meta.modified(), given });
        !same
    }

    /// The server stated that it was deleted. True if that is news. Of an object in
    /// whose place another was read since, it is none.
    pub(super) fn deleted(&mut self, meta: &Meta) -> bool {
        if self.is_there() && self.held.as_ref().is_some_and(|held| held.uid != meta.uid) {
            return false;
        }
        let recovered = self.answered();
        let news = self.is_there();
        if news {
            self.held = Some(Held::none(Stored::Deleted));
        }
        recovered || news
    }

    /// It is not there, and nobody said that it was deleted: what is held stays.
    /// True if that is news.
    pub(super) fn is_absent(&mut self) -> bool {
        if self.is_there() {
            return self.failed(Verb::Get, Why::NotFound.into(), Vec::new());
        }
        let recovered = self.answered();
        let first = self.held.is_none();
        self.held.get_or_insert_with(|| Held::none(Stored::Absent));
        recovered || first
    }

    /// Notes that the server still has just what is held. What is gone is not.
    pub(super) fn confirm(&mut self) {
        if self.failure.is_none() {
            self.confirmed = Some(Instant::now());
        }
    }

    /// Notes that it was asked and answered. True if it had failed before. That it
    /// cannot be watched stays true: else it would be well and unwell in turn.
    pub(super) fn answered(&mut self) -> bool {
        self.backoff.reset();
        self.not_before = None;
        self.confirmed = Some(Instant::now());
        self.failure.take_if(|failure| failure.verb != Verb::Watch).is_some()
    }

    /// Notes that a watch of it goes well. True if one had failed before.
    pub(super) fn watched(&mut self) -> bool {
        self.failure.take_if(|failure| failure.verb == Verb::Watch).is_some()
    }

    /// Notes that it failed. True if it did not fail so before.
    pub(super) fn failed(&mut self, verb: Verb, trouble: Trouble, missing: Vec<Verb>) -> bool {
        // Many are told the same time: not all of them come at it.
        let asked = trouble.retry_after.unwrap_or_default().mul_f64(1.0 + share() / 10.0);
        self.not_before = Some(Instant::now() + self.backoff.after_failure(share()).max(asked));
        let failure = Failure { verb, trouble, missing };
        let other = self.failure.as_ref().is_none_or(|before| {
            before.trouble.why != failure.trouble.why || before.missing != failure.missing
        });
        self.failure = Some(failure);
        other
    }

    /// When it may be asked again, where what is wrong is not merely that it is gone:
    /// a watch tells when that comes back.
    pub(super) fn may_be_asked_at(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.failure.as_ref().is_some_and(|f| f.trouble.why != Why::NotFound))
    }

    /// Whether it has to be read before anything can be told of it.
    pub(super) fn is_unread(&self) -> bool {
        self.held.is_none()
    }
}

impl Held {
    fn none(state: Stored) -> Self {
        Self { state, uid: Box::default(), version: None, modified: None, given: Given::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::data;
    use super::*;
    use crate::kubernetes::{Kind, Name};
    use crate::source::fields::Select;

    fn object() -> Tracked {
        let name = Name::object("db").unwrap();
        Tracked::new(Spec { kind: Kind::Secret, name, select: Select::default(), base64: Vec::new() })
    }

    /// Reads the value `value` at the version `version`.
    fn read(tracked: &mut Tracked, version: &str, value: &str) -> bool {
        let (meta, given) = answer(tracked, version, value);
        tracked.took(&meta, given)
    }

    fn answer(tracked: &Tracked, version: &str, value: &str) -> (Meta, Given) {
        use base64::Engine as _;
        let value = base64::engine::general_purpose::STANDARD.encode(value);
        let json = format!(r#"{{"metadata":{{"resourceVersion":"{version}"}},"data":{{"A":"{value}"}}}}"#);
        let stored: data::Stored = serde_json::from_str(&json).unwrap();
        (stored.metadata.clone(), stored.take(&tracked.spec, &std::collections::BTreeSet::new()))
    }

    fn value(tracked: &Tracked) -> Option<String> {
        let field = tracked.held.as_ref()?.given.taken.fields.first()?;
        Some(field.value.as_ref()?.expose().to_owned())
    }

    fn fail(tracked: &mut Tracked, why: Why) -> bool {
        tracked.failed(Verb::Get, why.into(), Vec::new())
    }

    #[test]
    fn equal_content_is_told_to_nobody() {
        let mut tracked = object();
        assert!(read(&mut tracked, "1", "a"), "the first");
        assert!(!read(&mut tracked, "2", "a"), "only its metadata moved");
        assert!(read(&mut tracked, "3", "b"));
        assert_eq!(tracked.version(), Some("3"));
    }

    #[test]
    fn a_failure_holds_and_is_told_once() {
        let mut tracked = object();
        read(&mut tracked, "1", "a");
        assert!(fail(&mut tracked, Why::ServerError(500)));
        assert!(!fail(&mut tracked, Why::ServerError(500)));
        assert!(fail(&mut tracked, Why::Unauthorized), "another");
        assert_eq!(value(&tracked).as_deref(), Some("a"));
        assert!(read(&mut tracked, "1", "a"), "that it is well again is told");
        assert!(tracked.failure.is_none() && tracked.not_before.is_none());
    }

    #[test]
    fn a_deletion_that_is_stated_counts_and_an_absence_does_not() {
        let mut tracked = object();
        read(&mut tracked, "1", "a");
        assert!(tracked.is_absent());
        assert_eq!(value(&tracked).as_deref(), Some("a"), "gone or unknown: held");
        assert_eq!(tracked.failure.as_ref().unwrap().trouble.why, Why::NotFound);
        assert_eq!(tracked.may_be_asked_at(), None, "a watch tells when it is back");

        let (gone, _) = answer(&tracked, "2", "a");
        assert!(tracked.deleted(&gone));
        assert_eq!(value(&tracked), None);
        assert!(!tracked.deleted(&gone) && !tracked.is_absent(), "told once");
        assert!(read(&mut tracked, "9", "a"), "made anew, with the same content");
    }

    #[test]
    fn the_deletion_of_what_was_replaced_is_no_news() {
        let mut tracked = object();
        let (mut meta, given) = answer(&tracked, "7", "b");
        meta.uid = "new".into();
        tracked.took(&meta, given);
        let mut old = meta.clone();
        old.uid = "old".into();
        assert!(!tracked.deleted(&old));
        assert_eq!(value(&tracked).as_deref(), Some("b"));
        assert!(tracked.deleted(&meta));
    }

    #[test]
    fn what_was_never_there_is_no_failure() {
        let mut tracked = object();
        assert!(tracked.is_absent(), "that is an answer");
        assert!(!tracked.is_absent());
        assert!(tracked.failure.is_none() && tracked.confirmed.is_some());
    }

    #[test]
    fn what_is_gone_is_not_confirmed_by_a_bookmark() {
        let mut tracked = object();
        read(&mut tracked, "1", "a");
        tracked.is_absent();
        let before = tracked.confirmed;
        tracked.confirm();
        assert_eq!(tracked.confirmed, before);
        assert!(tracked.failure.is_some());
    }

    #[test]
    fn what_is_read_aside_leaves_the_failure_and_its_backoff() {
        let mut tracked = object();
        read(&mut tracked, "1", "a");
        for _ in 0..8 {
            fail(&mut tracked, Why::Forbidden);
        }
        let (meta, given) = answer(&tracked, "2", "b");
        assert!(tracked.took_aside(&meta, given));
        let (meta, given) = answer(&tracked, "3", "b");
        assert!(!tracked.took_aside(&meta, given));
        assert_eq!(value(&tracked).as_deref(), Some("b"));
        fail(&mut tracked, Why::Forbidden);
        let wait = tracked.may_be_asked_at().unwrap() - Instant::now();
        assert!(wait > Duration::from_secs(10), "{wait:?}");
    }

    #[test]
    fn what_cannot_be_watched_is_read_and_stays_unwell_until_a_watch_goes_well() {
        let mut tracked = object();
        read(&mut tracked, "1", "a");
        assert!(tracked.failed(Verb::Watch, Why::ServerError(500).into(), Vec::new()));
        assert!(!read(&mut tracked, "1", "a"), "no recovery");
        assert!(tracked.failure.is_some() && tracked.may_be_asked_at().is_none());
        assert!(!tracked.failed(Verb::Watch, Why::ServerError(500).into(), Vec::new()), "told once");
        assert!(read(&mut tracked, "2", "b"), "a change comes all the same");
        assert!(tracked.watched() && !tracked.watched());
        assert!(tracked.failure.is_none());
    }

    #[test]
    fn the_server_says_how_long_it_is_left_alone() {
        let mut tracked = object();
        let trouble = Trouble { why: Why::TooManyRequests, retry_after: Some(Duration::from_mins(1)) };
        tracked.failed(Verb::List, trouble, Vec::new());
        assert!(tracked.may_be_asked_at().unwrap() >= Instant::now() + Duration::from_secs(59));
    }

    #[test]
    fn a_version_counts_only_where_nothing_is_wrong() {
        let mut tracked = object();
        read(&mut tracked, "1", "a");
        let (meta, _) = answer(&tracked, "1", "a");
        assert!(tracked.is_at(&meta));
        fail(&mut tracked, Why::Forbidden);
        assert!(!tracked.is_at(&meta));
    }
}
