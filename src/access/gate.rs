//! The gate: a snapshot goes in, what somebody may have comes out.
//!
//! Invariant: only [`Gate::release`] makes a [`Released`], and deliveries take
//! nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::key::Key;
use crate::model::snapshot::{Cause, Snapshot, Version};
use crate::model::validate::Delivered;

/// The only exit for published values.
#[derive(Debug, Clone)]
pub struct Gate {
    published: watch::Receiver<Option<Arc<Snapshot>>>,
}

/// What the gate let out: of one generation, and no more than was granted.
#[derive(Debug)]
pub struct Released {
    version: Version,
    causes: Vec<Cause>,
    variables: Vec<Delivered>,
}

impl Gate {
    /// A gate in front of what one broker publishes.
    pub fn new(mut published: watch::Receiver<Option<Arc<Snapshot>>>) -> Self {
        // What is published already was not yet released here.
        published.mark_changed();
        Self { published }
    }

    /// Waits for a generation that this gate has not yet released. False when
    /// nothing will be published any more. It may be dropped at any time.
    pub async fn advanced(&mut self) -> bool {
        self.published.changed().await.is_ok()
    }

    /// Lets the granted variables of the present generation out; none before the
    /// first. From now on [`Self::advanced`] waits for the next.
    pub fn release(&mut self, granted: &BTreeSet<Key>) -> Option<Released> {
        let snapshot = self.published.borrow_and_update().clone()?;
        let may_have = |delivered: &&Delivered| granted.contains(&delivered.key);
        let variables = snapshot.variables().iter().filter(may_have).cloned().collect();
        let (version, causes) = (snapshot.version().clone(), snapshot.causes().to_vec());
        Some(Released { version, causes, variables })
    }
}

impl Released {
    /// The generation that it is of.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// What led to it.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// The variables, in schema order.
    pub fn variables(&self) -> &[Delivered] {
        &self.variables
    }
}
