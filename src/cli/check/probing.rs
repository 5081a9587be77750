//! `check --probe`: the secrets in force, tried on the other side.
//!
//! Invariant: only a schema that somebody named says where secrets go.

use std::sync::Arc;

use futures_util::stream::{StreamExt as _, iter};

use super::super::assemble::Setup;
use super::super::output::Terminal;
use super::super::{Failure, Global, exit};
use crate::assemble::Ground;
use crate::broker::judge::Judged;
use crate::model::finding::Severity;
use crate::model::key::Key;
use crate::model::schema::probe::{HostPattern, Probe};
use crate::model::secret::SecretValue;
use crate::probe::{Probed, probe};
use crate::report::{BUILT_IN_SCHEMA, Outcome, Tried};
use crate::settings::Trust;

/// How many probes run at once.
const AT_ONCE: usize = 4;

/// Probes are nothing but network.
pub(super) fn refuse_offline(global: &Global) -> Result<(), Failure> {
    if global.offline {
        return Err(Failure::usage("--probe asks others, and --offline forbids it", "leave one of them out"));
    }
    Ok(())
}

/// Settings and schema say which values go where. A stranger's, which merely lay in the
/// working directory, would send them wherever the stranger likes.
pub(super) fn refuse_strangers(ground: &Ground, global: &Global) -> Result<(), Failure> {
    let refuse = |label: &str, option: &str| {
        Failure::new(
            exit::REFUSED,
            format!(
                "{label} was found, not named, so it may not say where secrets are sent: --probe is refused"
            ),
            Some(format!("if you trust it, say so: {option} {label}")),
        )
    };
    if let Some(label) = ground.opened.label().filter(|_| ground.opened.trust() == Trust::Found) {
        return Err(refuse(label, "--config"));
    }
    let is_named = global.schema.is_some()
        || ground.opened.schema().map_err(crate::assemble::settings_failure)?.is_some()
        || &*ground.schema.path == BUILT_IN_SCHEMA;
    if is_named { Ok(()) } else { Err(refuse(&ground.schema.path, "--schema")) }
}

/// Tries every secret that is set, read by this service and has a probe; in the schema's
/// order. `hosts` are those of the settings.
pub(super) fn run(
    setup: &Setup,
    assembled: &Judged,
    hosts: &[HostPattern],
    terminal: &Terminal,
) -> Vec<Tried> {
    let value = |key: &Key| value(setup, assembled, key);
    let read = |key: &Key| setup.schema.var(key).is_some_and(|var| var.read_by(setup.service.as_deref()));
    let is_tried = |probe: &&Probe| read(&probe.secret) && value(&probe.secret).is_some();
    let probes: Vec<&Probe> = setup.schema.probes.iter().filter(is_tried).collect();
    if !probes.is_empty() {
        let names: Vec<&str> = probes.iter().map(|probe| &*probe.name).collect();
        terminal.detail(&format!("probing {}", names.join(", ")));
    }
    let tries = probes.into_iter().map(async |spec| Tried {
        probe: spec.name.clone(),
        variable: spec.secret.clone(),
        outcome: one(spec, assembled, &value, hosts).await,
    });
    setup.attend(iter(tries).buffered(AT_ONCE).collect())
}

async fn one(
    spec: &Probe,
    assembled: &Judged,
    value: &(dyn Fn(&Key) -> Option<Arc<SecretValue>> + Send + Sync),
    hosts: &[HostPattern],
) -> Outcome {
    if let Some(key) = spec.variables().into_iter().find(|key| is_doubtful(assembled, key)) {
        let help = "mend what is said of it, or reach its source, then try again";
        return Outcome::Unknown(format!("{key} has an error, or could not be read"), help.into());
    }
    let Some(candidate) = value(&spec.secret) else {
        return Outcome::Unknown(format!("{} is not set", spec.secret), "set it".into());
    };
    match probe(spec, value, &candidate, hosts).await {
        Probed::Works => Outcome::Works,
        Probed::Wrong(why) => Outcome::Wrong(why),
        Probed::Unknown(why, help) => Outcome::Unknown(why, help),
    }
}

/// Whether nobody knows what this variable really is.
fn is_doubtful(assembled: &Judged, key: &Key) -> bool {
    let verdict = &assembled.verdict;
    let has_error = |severity, variable: Option<&Key>| severity == Severity::Error && variable == Some(key);
    verdict.findings.iter().any(|finding| has_error(finding.severity, finding.variable.as_ref()))
        || verdict.unjudged.iter().any(|unjudged| unjudged.variable == *key)
}

/// The value in force: of the source that wins, else the default.
fn value(setup: &Setup, assembled: &Judged, key: &Key) -> Option<Arc<SecretValue>> {
    let offered = assembled.resolution.variables.get(key).and_then(|candidates| candidates.winner.as_ref());
    let default = || setup.schema.var(key)?.default.as_deref().map(|text| Arc::new(SecretValue::from(text)));
    offered.map(|winner| Arc::clone(&winner.value)).or_else(default)
}
