//! `[rotation]` and `[consumer.NAME]`: whether and when secrets are rotated, and who has
//! to acknowledge that.
//!
//! Invariants: settings that were merely found rotate nothing, name nobody that a secret
//! is tried on, and write no Lease; who does not say that it verifies with a ring of keys
//! counts as one that knows a single key.
//! Must not know: what is rotated, and how.

use super::layers::Merged;
use super::raw::{Raw, RawConsumer};
use super::table::Table;
use super::{Opened, Settings, SettingsError};
use crate::kubernetes::Name;
use crate::model::schema::probe::HostPattern;
use crate::model::schema::toml_reader::nearest;
use crate::rotation::board::PREFIX_BYTES;
use crate::rotation::config::{ConsumerConfig, RotationConfig, Window};
use crate::rotation::roll_call::Verifies;

/// More of one consumer than anybody runs.
const MOST_INSTANCES: u32 = 10_000;

impl Opened {
    /// `[rotation]` and the consumers.
    pub(super) fn rotation(&self, merged: &Merged<'_>, raw: &Raw) -> Result<RotationConfig, SettingsError> {
        let table = Table { opened: self, merged, at: &["rotation"] };
        let said = &raw.rotation;
        let enabled = said.enabled.unwrap_or(false);
        if enabled && table.confined(&["enabled"]).is_some() {
            return Err(table.refused(&["enabled"], "rotate secrets: that writes to their sources"));
        }
        let leader = match said.leader.as_deref() {
            None | Some("none") => None,
            Some(text) => Some(table.lease(
                &["leader"],
                text,
                "lease/",
                "write \"none\", or \"lease/NAME\" with the name of a Kubernetes Lease",
            )?),
        };
        let acknowledgements = match said.acknowledgements.as_deref() {
            None | Some("local") => None,
            Some(text) => {
                let field = ["acknowledgements"];
                let help = "write \"local\", or \"leases/PREFIX\": the Leases are called PREFIX-…";
                let prefix = table.lease(&field, text, "leases/", help)?;
                if prefix.as_str().len() > PREFIX_BYTES {
                    let clause = format!("has a prefix of more than {PREFIX_BYTES} letters");
                    return Err(table.wrong(&field, &clause, "write a shorter one: a name follows it"));
                }
                if table.confined(&field).is_some() {
                    return Err(table.refused(&field, "write Leases with what this process may do"));
                }
                Some(prefix)
            }
        };
        let windows = said.windows.iter().enumerate().map(|(at, text)| table.window(at, text));
        let hosts = said.probe_hosts.iter().enumerate().map(|(at, text)| table.probe_host(at, text));
        let consumers = raw
            .consumer
            .iter()
            .map(|(name, raw)| Table { opened: self, merged, at: &["consumer", name] }.consumer(name, raw));
        Ok(RotationConfig {
            enabled,
            leader,
            windows: windows.collect::<Result<_, _>>()?,
            probe_hosts: hosts.collect::<Result<_, _>>()?,
            acknowledgements,
            consumers: consumers.collect::<Result<_, _>>()?,
        })
    }

    /// Judges the names of the consumers by those that the schema has.
    ///
    /// # Errors
    /// The first that it does not have.
    pub fn judge_consumers(
        &self,
        environment: &str,
        settings: &Settings,
        known: &[&str],
    ) -> Result<(), SettingsError> {
        let unknown = |consumer: &&ConsumerConfig| !known.contains(&&*consumer.name);
        let Some(ConsumerConfig { name, .. }) = settings.rotation.consumers.iter().find(unknown) else {
            return Ok(());
        };
        let merged = self.layers.merged(Some(environment));
        let at = ["consumer", &**name];
        Err(Table { opened: self, merged: &merged, at: &at }.lacking(
            "is no service of the schema",
            nearest(name, known.iter().copied()).map_or_else(
                || format!("the schema has: {}", known.join(", ")),
                |near| format!("did you mean [consumer.{near}]?"),
            ),
        ))
    }
}

impl Table<'_> {
    /// What follows after `kind`: the name of a Lease, or the begin of one.
    fn lease(&self, field: &[&str], text: &str, kind: &str, help: &str) -> Result<Name, SettingsError> {
        let Some(name) = text.strip_prefix(kind) else {
            return Err(self.wrong(field, "says something that there is not", help));
        };
        Name::object(name).ok_or_else(|| {
            let help = "a Lease's name has lower-case letters, digits, `-` and `.`, with a letter or digit at both ends";
            self.wrong(field, "names no Lease that Kubernetes can have", help)
        })
    }

    fn window(&self, at: usize, text: &str) -> Result<Window, SettingsError> {
        Window::parse(text)
            .map_err(|wrong| self.wrong(&["windows", &at.to_string()], &wrong.clause, wrong.help))
    }

    /// A host, and nothing else of an address: which port is asked follows from what is
    /// tried there.
    fn probe_host(&self, at: usize, text: &str) -> Result<HostPattern, SettingsError> {
        let index = at.to_string();
        let field = ["probe_hosts", &*index];
        // A schema may mean many hosts; settings name theirs.
        let host = HostPattern::new(text).ok().filter(|_| !text.contains('*')).ok_or_else(|| {
            let help = "write the name alone, without scheme, port and path: \"smtp.example.com\"";
            self.wrong(&field, "is no name of a host", help)
        })?;
        if self.confined(&["probe_hosts"]).is_some() {
            return Err(self.refused(&field, "say where secrets are tried"));
        }
        Ok(host)
    }

    fn consumer(&self, name: &str, raw: &RawConsumer) -> Result<ConsumerConfig, SettingsError> {
        let verifies = match raw.verifies.as_deref() {
            None | Some("single") => Verifies::Single,
            Some("ring") => Verifies::Ring,
            Some(_) => {
                let help =
                    "write \"ring\" if it verifies with every key that /v1/keys gives, else \"single\"";
                return Err(self.wrong(&["verifies"], "is neither", help));
            }
        };
        let instances = raw.instances.unwrap_or(1);
        if instances > MOST_INSTANCES {
            let clause = format!("must be from 0 to {MOST_INSTANCES}");
            return Err(self.wrong(
                &["instances"],
                &clause,
                "write how many run at least; 0 where it does not run",
            ));
        }
        Ok(ConsumerConfig { name: name.into(), instances, verifies })
    }
}
