//! A rotator over a document in memory.

use std::ops::Deref;
use std::sync::Arc;

use super::shelf::Shelf;
use super::stand::{OVERLAP, Stand, order};
use crate::model::rotation::{FIELD, Ledger, Progress, Slot};
use crate::model::schema::Strategy;
use crate::rotation::course::{Act, Wish};
use crate::rotation::engine::{Rotator, Tended};
use crate::rotation::order::{NotOrdered, Ordered};
use crate::rotation::roll_call::Heard;
use crate::source::writable::WritableSource;

pub(super) struct Rig {
    stand: Stand,
    pub(super) shelf: Arc<Shelf>,
    pub(super) rotator: Arc<Rotator>,
}

impl Deref for Rig {
    type Target = Stand;

    fn deref(&self) -> &Stand {
        &self.stand
    }
}

impl Rig {
    pub(super) fn new(strategy: Strategy, fields: &[(&str, &str)]) -> Self {
        let (stand, shelf) = (Stand::new(strategy), Arc::new(Shelf::new(fields)));
        let rotator = stand.rotator(Arc::clone(&shelf) as _);
        Self { stand, shelf, rotator }
    }

    /// Another rotator over the same document, which has seen nothing.
    pub(super) fn another(&self) -> Arc<Rotator> {
        self.stand.rotator(Arc::clone(&self.shelf) as _)
    }

    pub(super) fn field(&self, field: &str) -> Option<String> {
        self.shelf.fields().get(field).cloned()
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        let ledger = Ledger::parse(&self.field(FIELD)?).unwrap();
        ledger.of("KEY").cloned()
    }

    pub(super) async fn order(&self, wish: Wish) -> Result<Ordered, NotOrdered> {
        self.rotator.order(&self.key, order(wish), None, false).await
    }

    pub(super) async fn tend(&self) -> Tended {
        self.rotator.tend(&self.key).await
    }

    /// Everybody says that it runs what is in the document now.
    pub(super) fn all_catch_up(&self) {
        let Some(progress) = self.progress() else { return };
        let heard = |instance: &str| Heard {
            consumer: "cc".into(),
            instance: instance.into(),
            verifies: progress.keys.values().map(|note| note.kid.clone()).collect(),
            signs: progress.kid(Slot::Current).cloned(),
            current: true,
        };
        *self.hearing.heard.lock().unwrap() = vec![heard("cc-1"), heard("cc-2")];
    }

    /// A rotation in which everybody keeps up, to this step.
    pub(super) async fn rotate_until(&self, last: Act) {
        self.order(Wish::Rotate).await.unwrap();
        for _ in 0..8 {
            if last == Act::Stage {
                return;
            }
            self.all_catch_up();
            match self.tend().await {
                Tended::Did(act) if act == last => return,
                Tended::Rests(Some(_)) => self.clock.pass(OVERLAP),
                _ => {}
            }
        }
        panic!("it never came to {last:?}");
    }
}

/// The shelf is what a rotator writes to.
const _: fn(&Shelf) -> &dyn WritableSource = |shelf| shelf;
