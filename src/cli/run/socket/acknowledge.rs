//! Saying to the daemon what the program runs: a rotation has to know.
//!
//! Owns: which instance this is; which keys the program has; when that is said again.
//! Invariants: of keys only what was proven is said, and none while nothing runs; nothing
//! before the program ran for the first time; what is said are names, never values; what
//! the daemon does not take is told once, and nothing else depends on it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use super::borrower::Borrower;
use super::ledger::Ledger;
use crate::access::Action;
use crate::cli::ask::{Answer, Missed, Question, Value};
use crate::cli::run::instance::instance;
use crate::cli::run::words::Spoken;
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::rotation::consumers::Name;
use crate::serve::socket::{Acknowledged, Said, SaidUse};
use crate::status::ChildHealth;
use crate::supervise::Offer;
use crate::telemetry::Level;

/// After a daemon that could not be asked. That is told by who follows it.
const AGAIN: Duration = Duration::from_secs(2);
/// After one that did not take it.
const MUCH_LATER: Duration = Duration::from_mins(1);

/// How the program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Running {
    /// What it was proven with last.
    pub(super) version: Box<str>,
    /// How it is; of what does not run well no keys are said.
    pub(super) health: ChildHealth,
}

/// Who says what runs.
pub(super) struct Acknowledger<'a> {
    borrower: &'a Borrower<'a>,
    /// None where nobody knows whose the program is.
    consumer: Option<String>,
    instance: Option<Name>,
    ledger: &'a RefCell<Ledger>,
    /// None before the program was proven for the first time.
    runs: watch::Receiver<Option<Running>>,
    spoken: &'a Spoken,
    /// What was told already.
    told: RefCell<BTreeSet<Untaken>>,
    /// The daemon is older, and knows no health of programs.
    is_older: Cell<bool>,
}

/// What a daemon does not take or give.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Untaken {
    /// The acknowledgement.
    Word,
    /// The keys of this variable.
    Ring(Key),
}

/// It cannot be said now, but perhaps soon.
struct Later;

/// An entry of `/v1/keys/KEY`.
#[derive(Deserialize)]
struct Entry {
    kid: String,
    value: Value,
}

impl<'a> Acknowledger<'a> {
    pub(super) fn new(
        borrower: &'a Borrower<'a>,
        consumer: Option<String>,
        ledger: &'a RefCell<Ledger>,
        runs: watch::Receiver<Option<Running>>,
        spoken: &'a Spoken,
    ) -> Self {
        let (told, is_older) = (RefCell::default(), Cell::new(false));
        Self { borrower, consumer, instance: instance(), ledger, runs, spoken, told, is_older }
    }

    /// Says what runs whenever that is something else, and again before it lapses; never
    /// done.
    pub(super) async fn acknowledge(self) -> Infallible {
        let (Some(consumer), Some(instance)) = (&self.consumer, &self.instance) else {
            let why = if self.instance.is_some() { "service (--service)" } else { "host name (HOSTNAME)" };
            let text = format!("what runs is not acknowledged: no {why} is known");
            self.spoken.say(Level::Debug, "not-acknowledged", text, json!({}));
            return pending().await;
        };
        let mut runs = self.runs.clone();
        loop {
            let running = runs.borrow_and_update().clone();
            let say = async {
                match running {
                    None => pending().await,
                    Some(running) => self.say_again_and_again(consumer, instance, &running).await,
                }
            };
            tokio::select! {
                biased;
                changed = runs.changed() => if changed.is_err() {
                    return pending().await;
                },
                never = say => match never {},
            }
        }
    }

    async fn say_again_and_again(&self, consumer: &str, instance: &Name, running: &Running) -> Infallible {
        let mut keys = (!running.health.is_up()).then(BTreeMap::new);
        loop {
            if keys.is_none() {
                keys = self.keys(&running.version).await.ok();
            }
            let pause = match &keys {
                Some(runs) => self.say(consumer, instance, running, runs).await.unwrap_or(AGAIN),
                None => AGAIN,
            };
            sleep(pause).await;
        }
    }

    /// Says it once; when to say it again.
    async fn say(
        &self,
        consumer: &str,
        instance: &Name,
        running: &Running,
        runs: &BTreeMap<String, SaidUse>,
    ) -> Result<Duration, Later> {
        let version = &*running.version;
        let said = Said {
            instance: instance.as_str().to_owned(),
            runs: runs.clone(),
            version: version.to_owned(),
            health: Some(running.health).filter(|_| !self.is_older.get()),
        };
        let has_health = said.health.is_some();
        let path = ["v1", "consumers", consumer];
        let said = serde_json::to_string(&said).map_err(|_| Later)?;
        let question = Question::put(&path, Action::Acknowledge, said);
        let why = match self.borrower.daemon().ask_now::<Acknowledged>(&question).await {
            Ok(Answer::Given(taken)) => {
                self.told.borrow_mut().remove(&Untaken::Word);
                let health = running.health.as_str();
                let what = if running.health.is_up() { version } else { health };
                let text = format!("acknowledged as {} of {}: {what}", taken.instance, taken.consumer);
                let parts = json!({
                    "consumer": taken.consumer, "instance": taken.instance, "version": version, "health": health,
                });
                self.spoken.say(Level::Debug, "acknowledged", text, parts);
                return Ok(Duration::from_secs(taken.expires_in_seconds) / 3).map(|again| again.max(AGAIN));
            }
            Ok(Answer::Refused(problem)) if problem.status == 503 => return Err(Later),
            Ok(Answer::Refused(problem)) if has_health && matches!(problem.status, 400 | 422) => {
                self.is_older.set(true);
                return Ok(Duration::ZERO);
            }
            Ok(Answer::Refused(problem)) => problem.detail,
            Err(Missed::Refused(failure)) => {
                let fault = failure.faults.into_iter().next();
                fault.map_or_else(String::new, |fault| match fault.help {
                    Some(help) => format!("{} (fix: {help})", fault.message),
                    None => fault.message,
                })
            }
            Err(Missed::Away(_) | Missed::Failed(_)) => return Err(Later),
        };
        self.tell(Untaken::Word, format!("what runs is not acknowledged: {why}"));
        Ok(MUCH_LATER)
    }

    /// Which keys the program has, by variable.
    async fn keys(&self, version: &str) -> Result<BTreeMap<String, SaidUse>, Later> {
        let mut runs = BTreeMap::new();
        let Some(offer) = self.ledger.borrow().of(version) else { return Ok(runs) };
        let rotating = self.ledger.borrow().rotating(&offer);
        for key in rotating {
            let path = ["v1", "keys", key.as_str()];
            let question = Question::get(&path, Action::Read);
            let ring: Vec<Entry> = match self.borrower.daemon().ask_now(&question).await {
                Ok(Answer::Given(ring)) => ring,
                Ok(Answer::Refused(problem)) if problem.status == 503 => return Err(Later),
                // It was deleted meanwhile.
                Ok(Answer::Refused(_)) => continue,
                Err(Missed::Refused(failure)) => {
                    let why =
                        failure.faults.into_iter().next().map_or_else(String::new, |fault| fault.message);
                    let text = format!("which keys of {key} run is not acknowledged: {why}");
                    self.tell(Untaken::Ring(key), text);
                    continue;
                }
                Err(Missed::Away(_) | Missed::Failed(_)) => return Err(Later),
            };
            if let Some(used) = used(&key, &ring, &offer) {
                runs.insert(key.to_string(), used);
            }
        }
        Ok(runs)
    }

    fn tell(&self, what: Untaken, text: String) {
        if self.told.borrow_mut().insert(what) {
            let parts = json!({ "why": text });
            self.spoken.say(Level::Warning, "not-acknowledged", text, parts);
        }
    }
}

/// Which keys of a ring a program with these variables accepts and signs with; none where
/// it has none of them.
fn used(key: &Key, ring: &[Entry], offer: &Offer) -> Option<SaidUse> {
    let has = |value: &SecretValue| {
        let of_it = offer.variables.iter().filter(|(name, _)| is_of(name, key));
        of_it.into_iter().any(|(_, own)| own.same_as(value))
    };
    let verifies: Vec<String> =
        ring.iter().filter(|entry| has(&entry.value.0)).map(|entry| entry.kid.clone()).collect();
    if verifies.is_empty() {
        return None;
    }
    let own = offer.variables.get(&signing(key, offer));
    let signs = ring.iter().find(|entry| own.is_some_and(|own| own.same_as(&entry.value.0)));
    Some(SaidUse { verifies, signs: signs.map(|entry| entry.kid.clone()) })
}

/// Whether a variable holds a key of another one: itself, the one before or after it, or
/// a numbered one.
fn is_of(name: &Key, key: &Key) -> bool {
    name.as_str().strip_prefix(key.as_str()).is_some_and(|rest| match rest {
        "" | "_NEXT" | "_PREVIOUS" => true,
        _ => rest.strip_prefix('_').is_some_and(|number| number.parse::<u32>().is_ok()),
    })
}

/// The variable that is signed with: the numbered one that is called active, else the
/// variable itself.
fn signing(key: &Key, offer: &Offer) -> Key {
    let active = Key::new(&format!("{key}_ACTIVE")).ok().and_then(|name| offer.variables.get(&name));
    let number = active.and_then(|active| active.expose().parse::<u32>().ok());
    let numbered = number.and_then(|number| Key::new(&format!("{key}_{number}")).ok());
    numbered.filter(|name| offer.variables.contains_key(name)).unwrap_or_else(|| key.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ring(entries: &[(&str, &str)]) -> Vec<Entry> {
        let entry = |(kid, value): &(&str, &str)| Entry { kid: (*kid).into(), value: Value((*value).into()) };
        entries.iter().map(entry).collect()
    }

    fn offer(variables: &[(&str, &str)]) -> Offer {
        let variables =
            variables.iter().map(|(key, value)| (Key::new(key).unwrap(), Arc::new((*value).into())));
        Offer { version: None, variables: variables.collect(), known: Arc::default() }
    }

    /// `verifies` and `signs`, with `-` for none.
    fn said(entries: &[(&str, &str)], variables: &[(&str, &str)]) -> Option<String> {
        let used = used(&Key::new("KEY").unwrap(), &ring(entries), &offer(variables))?;
        Some(format!("{} {}", used.verifies.join(","), used.signs.as_deref().unwrap_or("-")))
    }

    #[test]
    fn keys_are_known_by_their_value() {
        let three = [("next", "c"), ("now", "b"), ("before", "a")];
        for (variables, expected) in [
            (&[("KEY", "b")][..], Some("now now")),
            (&[("KEY", "b"), ("KEY_PREVIOUS", "a"), ("KEY_NEXT", "c")], Some("next,now,before now")),
            // A moment before the rotation.
            (&[("KEY", "a"), ("KEY_NEXT", "b")], Some("now,before before")),
            // Of a time of which the daemon knows no more.
            (&[("KEY", "0"), ("KEY_NEXT", "a")], Some("before -")),
            (&[("KEY", "0")], None),
            (&[("KEYS", "b"), ("KEY_ACTIVE", "b"), ("KEY_NOTE", "b"), ("OTHER", "b")], None),
            // A ring of numbered keys: the one that is called active signs.
            (&[("KEY", "a"), ("KEY_1", "a"), ("KEY_2", "b"), ("KEY_ACTIVE", "2")], Some("now,before now")),
            (&[("KEY", "a"), ("KEY_1", "b"), ("KEY_ACTIVE", "3")], Some("now,before before")),
        ] {
            assert_eq!(said(&three, variables).as_deref(), expected, "{variables:?}");
        }
    }
}
