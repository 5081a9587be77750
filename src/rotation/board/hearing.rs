//! Whoever rotates hears everybody whose note is there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use super::{Board, Entry, FRESH, Standing, Unheard};
use crate::model::key::Key;
use crate::model::rotation::Kid;
use crate::rotation::consumers::Name;
use crate::rotation::estate::Hearing;
use crate::rotation::roll_call::Heard;
use crate::source::backoff::jittered;

/// How often the Leases are read while somebody waits for a word.
const EVERY: Duration = Duration::from_secs(1);

#[async_trait]
impl Hearing for Board {
    async fn heard(&self, key: &Key) -> Result<Vec<Heard>, String> {
        let entries = self.all().await.map_err(|Unheard { message, .. }| {
            format!("the acknowledgements of others cannot be read: {message}")
        })?;
        heard(&entries, key)
    }

    async fn moved(&self) {
        let before = standings(self.last().await);
        loop {
            // What we say ourselves is read at once, as soon as the list may be another.
            if timeout(jittered(EVERY), self.said.notified()).await.is_ok() {
                sleep(FRESH).await;
            }
            let now = standings(self.all().await.ok());
            self.sweep().await;
            if now != before {
                return;
            }
        }
    }
}

impl Board {
    /// What was read last, if it could be.
    async fn last(&self) -> Option<Arc<[Entry]>> {
        let heard = self.heard.lock().await;
        heard.read.as_ref().and_then(|(_, read)| read.clone().ok())
    }
}

/// What of the entries a rotation looks at; none where they could not be read.
fn standings(entries: Option<Arc<[Entry]>>) -> Option<Vec<Entry>> {
    let entries = entries?;
    let bare = |entry: &Entry| Entry { renewed: None, ..entry.clone() };
    Some(entries.iter().map(bare).collect())
}

/// What everybody who counts says of one variable.
fn heard(entries: &[Entry], key: &Key) -> Result<Vec<Heard>, String> {
    let mut heard = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.standing.is_over()) {
        let Some(said) = &entry.said else {
            // Nobody knows whose word it is, so it may be anybody's.
            return Err(format!("what the Lease {} says cannot be understood", entry.lease));
        };
        let used = said.said.runs.get(key).filter(|_| entry.standing == Standing::Counts);
        let kid = |name: &Name| Kid::new(name.as_str()).ok();
        heard.push(Heard {
            consumer: said.consumer.clone(),
            instance: said.said.instance.as_str().into(),
            verifies: used.map(|used| used.verifies.iter().filter_map(kid).collect()).unwrap_or_default(),
            signs: used.and_then(|used| used.signs.as_ref().and_then(kid)),
            current: entry.standing == Standing::Counts && said.current,
        });
    }
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use super::super::said::tests::said;
    use super::*;

    fn entry(instance: &str, standing: Standing) -> Entry {
        Entry {
            lease: "acks-cc-1".into(),
            standing,
            said: Some(said("cc", instance, "k1")),
            holder: None,
            renewed: None,
        }
    }

    #[test]
    fn only_what_counts_has_a_key_and_whoever_lives_is_there() {
        let key = Key::new("JWT_SECRET").unwrap();
        let standings =
            [Standing::Counts, Standing::Doubtful, Standing::Disputed, Standing::Lapsed, Standing::Freed];
        let entries: Vec<Entry> = standings.map(|standing| entry(standing.as_str(), standing)).into();
        let told = |key: &Key| -> Vec<String> {
            let heard = heard(&entries, key).unwrap();
            heard
                .iter()
                .map(|heard| {
                    format!("{} {} {:?}", heard.instance, heard.verifies.len(), heard.signs.is_some())
                })
                .collect()
        };
        assert_eq!(told(&key), ["present 1 true", "silent 0 false", "disputed 0 false"]);
        let other = Key::new("OTHER").unwrap();
        assert_eq!(told(&other), ["present 0 false", "silent 0 false", "disputed 0 false"]);
        let unclear = Entry { said: None, ..entry("x", Standing::Unclear) };
        assert!(heard(&[unclear], &key).unwrap_err().contains("acks-cc-1"));
    }
}
