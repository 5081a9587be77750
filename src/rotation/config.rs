//! What the settings say of rotations, checked.

use std::time::Duration;

use super::roll_call::{Expected, Verifies};
use crate::kubernetes::Name;
use crate::model::schema::probe::HostPattern;
use crate::model::schema::{Schema, Var};

/// `[rotation]` and `[consumer.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RotationConfig {
    /// Whether this daemon rotates.
    pub enabled: bool,
    /// The Lease whose holder rotates; none where nobody else does.
    pub leader: Option<Name>,
    /// When rotations that are due begin; empty means always. What was begun goes on.
    pub windows: Vec<Window>,
    /// Hosts that probes may ask besides those of the schema.
    pub probe_hosts: Vec<HostPattern>,
    /// In front of the names of the Leases that carry acknowledgements; none where they
    /// stay with this daemon.
    pub acknowledgements: Option<Name>,
    /// Who has to acknowledge.
    pub consumers: Vec<ConsumerConfig>,
}

impl RotationConfig {
    /// Who reads a variable: those that are declared, and those that are not.
    pub fn readers(&self, schema: &Schema, var: &Var) -> (Vec<Expected>, Vec<Box<str>>) {
        let (mut expected, mut undeclared) = (Vec::new(), Vec::new());
        for consumer in schema.consumers() {
            if !schema.services.is_empty() && !var.read_by(Some(consumer)) {
                continue;
            }
            match self.consumers.iter().find(|config| *config.name == *consumer) {
                Some(config) => expected.push(Expected {
                    consumer: consumer.into(),
                    instances: config.instances,
                    verifies: config.verifies,
                }),
                None => undeclared.push(consumer.into()),
            }
        }
        (expected, undeclared)
    }
}

/// `[consumer.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Its name: a service of the schema.
    pub name: Box<str>,
    /// How many instances there are at least. 0 where it does not run.
    pub instances: u32,
    /// What it does with keys.
    pub verifies: Verifies,
}

/// A time of the week, in UTC or at a fixed distance from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// From Monday on.
    pub days: [bool; 7],
    /// Since midnight.
    pub begins: Duration,
    /// Since midnight; not after midnight, and later than it begins.
    pub ends: Duration,
    /// Seconds to the east of Greenwich.
    pub offset: i32,
}
