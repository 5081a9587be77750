//! Reading settings and schema again: all of it takes effect, or nothing.

use std::sync::Arc;

use super::crew::Roster;
use super::layout::{BoundAll, Layout};
use crate::assemble::Request;
use crate::broker::Broker;
use crate::failure::Failure;
use crate::report::Style;
use crate::settings::ShownPath;
use crate::source::Source;
use crate::source::file::Stamp;
use crate::source::notice::{FileWatch, Notices};
use crate::status::FindingStatus;

/// What is in force while a reload is tried.
pub(super) struct Loaded {
    pub(super) layout: Arc<Layout>,
    pub(super) broker: Arc<Broker>,
    pub(super) roster: Roster,
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
    let Loaded { layout: present, broker, roster } = loaded;
    let refused = |failure: &Failure| Attempt::Refused { findings: in_words(failure), ended: Vec::new() };
    let layout = match Layout::read(&request, style, &hub, Some(&present)) {
        Ok(layout) => layout,
        Err(failure) => return refused(&failure),
    };
    // Addresses first: what cannot be bound must change nothing.
    let bound = match layout.judge_purpose().and_then(|()| layout.bind(Some(&present))) {
        Ok(bound) => bound,
        Err(failure) => return refused(&failure),
    };
    // Who is not in the new layout as he was gets nothing that it gives.
    let deliveries = layout.deliveries.clone();
    match broker.reload(layout.plan.clone(), move || roster.dismiss(&deliveries)).await {
        Ok(ended) => Attempt::Holds { layout: Arc::new(layout), bound, ended },
        Err(findings) => Attempt::Refused { findings, ended: layout.sources_beside(&present) },
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

/// The files that settings and schema were read from.
pub(super) struct WatchedFiles {
    watch: FileWatch,
    files: Vec<(ShownPath, Option<Stamp>)>,
}

impl WatchedFiles {
    pub(super) fn new(hub: &Arc<Notices>, layout: &Layout) -> Self {
        Self { watch: hub.watch(layout.watched()), files: layout.files.clone() }
    }

    /// Waits until one of them is another than it was when it was read. It may be
    /// dropped at any time.
    pub(super) async fn changed(&mut self) {
        while !self.are_other() {
            self.watch.changed().await;
        }
    }

    /// Whether one is another than at the last look.
    fn are_other(&mut self) -> bool {
        let mut is_other = false;
        for (file, stamp) in &mut self.files {
            let now = file.stamp();
            is_other |= now != *stamp;
            *stamp = now;
        }
        is_other
    }
}
