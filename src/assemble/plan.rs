//! What a broker is to do with the sources that were built.

use std::sync::Arc;

use super::{Ground, Sources};
use crate::broker::{Plan, Planned};
use crate::settings::{MAX_AGE, SourceSettings};
use crate::source::Source;

/// The plan of a broker over these sources.
pub fn plan(ground: &Ground, sources: &Sources) -> Plan {
    let planned = |(source, said): &(Arc<dyn Source>, Option<SourceSettings>)| Planned {
        source: Arc::clone(source),
        kind: said.as_ref().map_or("dotenv", |said| said.kind.name()),
        identity: said.as_ref().map_or_else(|| "env-file".into(), |said| said.kind.identity().into()),
        max_age: said.as_ref().map_or(MAX_AGE, |said| said.max_age),
    };
    Plan {
        schema: Arc::clone(&ground.schema),
        environment: ground.environment.clone(),
        service: ground.service.clone(),
        process: Arc::clone(&ground.process),
        sources: sources.all.iter().map(planned).collect(),
        passed_over: sources.passed_over.clone(),
        debounce: ground.settings.debounce,
        quotes: false,
    }
}
