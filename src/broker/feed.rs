//! One source's task: reads it, tells what came, waits until it changes.
//!
//! Each source has its own, so that one that hangs keeps nobody waiting.
//! Must not know: what becomes of what it gave.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::model::key::Key;
use crate::model::layer::Layer;
use crate::source::{Ask, Source, SourceError, Vitals};

/// What came of one fetch.
pub(super) struct Arrival {
    /// Of which source.
    pub(super) source: Arc<dyn Source>,
    pub(super) fetched: Result<Layer, SourceError>,
    pub(super) vitals: Vitals,
    /// When the change was noticed that made us fetch.
    pub(super) noticed: Instant,
}

/// The running feeds. Dropping it ends them.
#[derive(Default)]
pub(super) struct Feeds {
    tasks: JoinSet<()>,
    running: Vec<(Arc<dyn Source>, tokio::task::AbortHandle)>,
}

/// Whether two are one and the same.
pub(super) fn is_same(one: &Arc<dyn Source>, other: &Arc<dyn Source>) -> bool {
    Arc::ptr_eq(one, other)
}

impl Feeds {
    /// Starts a source's task, unless it runs.
    pub(super) fn start(
        &mut self,
        source: &Arc<dyn Source>,
        known: &Arc<BTreeSet<Key>>,
        arrivals: &mpsc::Sender<Arrival>,
    ) {
        if self.running.iter().any(|(running, _)| is_same(running, source)) {
            return;
        }
        let task = feed(Arc::clone(source), Arc::clone(known), arrivals.clone());
        self.running.push((Arc::clone(source), self.tasks.spawn(task)));
    }

    /// Ends the tasks of all others. They are given back, to be closed.
    pub(super) fn keep(&mut self, wanted: &[Arc<dyn Source>]) -> Vec<Arc<dyn Source>> {
        let (kept, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|(running, _)| wanted.iter().any(|source| is_same(running, source)));
        self.running = kept;
        for (_, task) in &ended {
            task.abort();
        }
        ended.into_iter().map(|(source, _)| source).collect()
    }

    /// Waits until a task ends that was not told to, which it never should.
    pub(super) async fn ended(&mut self) {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) if error.is_cancelled() => {}
                Some(_) => return,
                None => std::future::pending().await,
            }
        }
    }
}

async fn feed(source: Arc<dyn Source>, known: Arc<BTreeSet<Key>>, arrivals: mpsc::Sender<Arrival>) {
    let mut noticed = Instant::now();
    loop {
        let fetched = source.fetch(Ask { known: &known, names_only: false, retry: false }).await;
        let vitals = source.vitals().await;
        let arrival = Arrival { source: Arc::clone(&source), fetched, vitals, noticed };
        if arrivals.send(arrival).await.is_err() {
            return;
        }
        source.changed().await;
        noticed = Instant::now();
    }
}
