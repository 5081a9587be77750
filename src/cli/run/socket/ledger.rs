//! What is known of the program that runs, for who says so.
//!
//! Invariant: it keeps no configuration alive that the supervisor does not.

use std::sync::{Arc, Weak};

use crate::model::key::Key;
use crate::serve::socket::Names;
use crate::supervise::Offer;

/// The configurations that the program may run with, and which of their variables have
/// keys.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The oldest first.
    offers: Vec<Weak<Offer>>,
    rotating: Vec<Key>,
}

impl Ledger {
    /// Takes what is offered now.
    pub(super) fn note(&mut self, names: &Names, offer: &Arc<Offer>) {
        self.offers.retain(|offer| offer.strong_count() > 0);
        self.offers.push(Arc::downgrade(offer));
        self.rotating = names.rotating.iter().filter_map(|name| Key::new(name).ok()).collect();
    }

    /// What has this version. The same version may be offered twice, where a policy
    /// changed what is given of it: the one that runs is the older one until it is gone.
    pub(super) fn of(&self, version: &str) -> Option<Arc<Offer>> {
        let mut alive = self.offers.iter().filter_map(Weak::upgrade);
        alive.find(|offer| offer.version.as_deref() == Some(version))
    }

    /// The rotating variables that an offer has.
    pub(super) fn rotating(&self, offer: &Offer) -> Vec<Key> {
        self.rotating.iter().filter(|key| offer.variables.contains_key(*key)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn offer(version: &str, keys: &[&str]) -> Arc<Offer> {
        let variables = keys.iter().map(|key| (Key::new(key).unwrap(), Arc::new("value".into())));
        let variables: BTreeMap<_, _> = variables.collect();
        Arc::new(Offer { version: Some(version.into()), variables, known: Arc::new(BTreeSet::new()) })
    }

    fn names(rotating: &[&str]) -> Names {
        Names {
            environment: "staging".into(),
            environment_variable: "APP_ENV".into(),
            service: None,
            schema: "shop".into(),
            known: Vec::new(),
            rotating: rotating.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn nothing_lives_longer_for_being_written_down() {
        let mut ledger = Ledger::default();
        let (first, second) = (offer("a.1", &["KEY"]), offer("a.2", &[]));
        ledger.note(&names(&[]), &first);
        ledger.note(&names(&["KEY", "OTHER"]), &second);
        assert_eq!(ledger.rotating(&first), [Key::new("KEY").unwrap()]);
        assert_eq!(ledger.rotating(&second), []);
        assert!(Arc::ptr_eq(&ledger.of("a.1").unwrap(), &first));
        drop(first);
        assert!(ledger.of("a.1").is_none());
        let narrowed = offer("a.2", &["KEY"]);
        ledger.note(&names(&[]), &narrowed);
        assert_eq!(ledger.offers.len(), 2);
        assert!(Arc::ptr_eq(&ledger.of("a.2").unwrap(), &second));
        drop(second);
        assert!(Arc::ptr_eq(&ledger.of("a.2").unwrap(), &narrowed));
    }
}
