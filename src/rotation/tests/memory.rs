//! The model over a document in memory, with a clock that nobody waits for.

use std::sync::Arc;

use super::model::{Fields, Place, Terms, run};
use super::shelf::Shelf;
use crate::model::schema::Strategy;
use crate::rotation::course::Wish;
use crate::source::Source;

struct InMemory(Arc<Shelf>);

impl Place for InMemory {
    async fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.0) as _
    }

    fn fields(&self) -> Fields {
        self.0.fields()
    }

    fn put(&self, fields: Fields) {
        self.0.meddle(|old| *old = fields);
    }

    fn before(&self, by: usize) -> Fields {
        self.0.before(by)
    }
}

fn over_a_shelf(strategy: Strategy, wishes: &[Wish]) {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap()
    };
    let place = |fields: Fields| {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(field, value)| (field.as_str(), value.as_str())).collect();
        InMemory(Arc::new(Shelf::new(&fields)))
    };
    run(&Terms { cases: 200, moves: 60, strategy, wishes }, runtime, place);
}

#[test]
fn one_key_signs_and_none_is_lost_however_rotators_end() {
    over_a_shelf(Strategy::Overlap, &[Wish::Rotate, Wish::Undo, Wish::Compromised]);
}

#[test]
fn a_ring_loses_nothing_however_rotators_end() {
    over_a_shelf(Strategy::Ring, &[Wish::Rotate]);
}

#[test]
fn what_is_supplied_holds_however_rotators_end() {
    over_a_shelf(Strategy::Supplied, &[Wish::Rotate, Wish::Undo, Wish::Compromised]);
}
