//! Reading settings and schema again: all of it takes effect, or nothing.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::face::Face;
use super::last_good::Keeper;
use super::layout::{BoundAll, Layout};
use super::roster::Roster;
use crate::access::Audit;
use crate::access::audit::Closing;
use crate::assemble::Request;
use crate::broker::Broker;
use crate::failure::Failure;
use crate::report::Style;
use crate::source::Source;
use crate::source::notice::Notices;
use crate::status::FindingStatus;
use crate::telemetry::Listener;

/// What is in force while a reload is tried.
pub(super) struct Loaded {
    pub(super) layout: Arc<Layout>,
    pub(super) face: Arc<Face>,
    pub(super) broker: Arc<Broker>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) instance: Arc<str>,
    pub(super) roster: Roster,
    pub(super) listener: Arc<dyn Listener>,
}

/// What a reload came to.
pub(super) enum Attempt {
    /// Sources and schema are in force; the rest of the layout is to follow.
    Holds {
        layout: Arc<Layout>,
        bound: BoundAll,
        /// The sources that are no longer needed.
        ended: Vec<Arc<dyn Source>>,
    },
    /// The old ones stay.
    Refused {
        findings: Vec<FindingStatus>,
        /// What was built for nothing.
        ended: Vec<Arc<dyn Source>>,
    },
}

/// Tries to put what the files say now in the place of what is in force.
pub(super) async fn attempt(request: Request, style: Style, hub: Arc<Notices>, loaded: Loaded) -> Attempt {
    let Loaded { layout: present, face, broker, keeper, instance, roster, listener } = loaded;
    let old = face.audit();
    let read = {
        let (present, old) = (Arc::clone(&present), old.clone());
        // Disks, locks and the system's accounts may take their time: whoever asks
        // meanwhile is answered.
        spawn_blocking(move || {
            let layout = Layout::read(&request, style, &hub, Some(&present))?;
            // Addresses first: what cannot be bound must change nothing.
            layout.judge_purpose()?;
            layout.judge_snapshot_key()?;
            layout.judge_leader()?;
            let bound = layout.bind(Some(&present))?;
            let new = layout.open_audit(Some((&present, old)), &listener)?;
            Ok::<_, Failure>((layout, bound, new))
        })
    };
    let (layout, bound, new) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(failure)) => return Attempt::Refused { findings: in_words(&failure), ended: Vec::new() },
        // The runtime ends.
        Err(_) => return Attempt::Refused { findings: Vec::new(), ended: Vec::new() },
    };
    // Who is not in the new layout as he was, or may not have it by the new rules,
    // gets nothing that it gives.
    let (policy, audit) = (layout.policy.clone(), new.clone());
    let deliveries = layout.deliveries.clone();
    let terms = layout.terms(&instance);
    let before = move || {
        roster.dismiss(&deliveries);
        if let Some(audit) = &audit {
            audit.hold();
        }
        face.rule_by(policy, audit);
        // Before the generation that it says what of.
        keeper.follow(terms);
    };
    match broker.reload(layout.plan.clone(), before).await {
        Ok(ended) => {
            let why = if new.is_some() { Closing::Elsewhere } else { Closing::Removed };
            give_up(old, new.as_deref(), why).await;
            Attempt::Holds { layout: Arc::new(layout), bound, ended }
        }
        Err(findings) => {
            give_up(new, old.as_deref(), Closing::Refused).await;
            Attempt::Refused { findings, ended: layout.sources_beside(&present) }
        }
    }
}

/// Ends an audit log that is not the one in force.
async fn give_up(audit: Option<Arc<Audit>>, in_force: Option<&Audit>, why: Closing) {
    if let Some(audit) = audit.filter(|audit| in_force.is_none_or(|in_force| !audit.is_same(in_force))) {
        audit.close(why).await;
    }
}

fn in_words(failure: &Failure) -> Vec<FindingStatus> {
    let faults = failure.faults.iter().map(|fault| FindingStatus {
        code: fault.code.map(|code| code.as_str().to_owned()),
        severity: "error".to_owned(),
        variable: None,
        message: fault.message.clone(),
        place: fault.place.clone(),
        help: fault.help.clone(),
    });
    faults.collect()
}
