//! What `doctor` says of rotations: whether they are on, who leads, and which variables
//! they would find as they need them.
//!
//! Invariant: names are asked for, and no value.

use futures_util::future::join_all;

use super::{Setup, observation};
use crate::model::key::Key;
use crate::model::layer::{Layer, Offer};
use crate::model::schema::{Strategy, Var};
use crate::rotation::config::RotationConfig;
use crate::rotation::roll_call::RollCall;
use crate::source::{Ask, Observation, Source, State};

/// All of it; where rotation is off, only that.
pub(super) fn examine(setup: &Setup, config: &RotationConfig) -> Vec<Observation> {
    if !config.enabled {
        return vec![observation("rotation", State::Fine, "off: this daemon rotates nothing".to_owned())];
    }
    let leader = config.leader.as_ref().map_or_else(
        || "by this daemon alone".to_owned(),
        |name| format!("by whichever daemon holds lease/{name}"),
    );
    let when = match config.windows.len() {
        0 => "whenever one is due".to_owned(),
        count => format!("in {}", crate::report::plural(count, "window")),
    };
    let mut told = vec![observation("rotation", State::Fine, format!("on: {leader}, {when}"))];
    let known = setup.schema.known_names();
    let fetched = join_all(setup.sources.iter().map(async |source| {
        let ask = Ask { known: &known, names_only: true, retry: false };
        // What could not be read is told of the source.
        let layer = match source.fetch(ask).await {
            Ok(layer) => Some(layer),
            Err(error) => error.rest.map(|rest| *rest),
        };
        (&**source, layer)
    }));
    let given = setup.attend(fetched);
    let service = setup.service.as_deref();
    let ours = setup.schema.vars.iter().filter(|var| var.rotation.is_some() && var.read_by(service));
    told.extend(ours.map(|var| variable(setup, config, &given, var)));
    told
}

/// What a rotation of this variable would find.
fn variable(
    setup: &Setup,
    config: &RotationConfig,
    given: &[(&dyn Source, Option<Layer>)],
    var: &Var,
) -> Observation {
    let key = &var.key;
    let Some(rotation) = &var.rotation else { return fine(key, "nobody rotates it") };
    let strategy = match rotation.strategy {
        Strategy::Manual => {
            let reason = rotation.reason.as_deref().unwrap_or("the schema says so");
            return fine(key, &format!("by hand only: {reason}"));
        }
        Strategy::Dynamic => return fine(key, "leased: its source replaces it"),
        Strategy::StaticRole => return fine(key, "Vault rotates it"),
        Strategy::Overlap => "overlap",
        Strategy::Ring => "ring",
        Strategy::Supplied => "supplied",
    };
    let offers = |(source, layer): &'_ (&'_ dyn Source, Option<Layer>)| {
        let is_it = |offer: &&Offer| offer.key == *key;
        let place = layer.as_ref()?.offers.iter().rfind(is_it)?.origin.location.to_string();
        Some((source.writable().is_some(), place))
    };
    let mut highest_first = given.iter().rev().filter_map(offers);
    let Some((is_writable, place)) = highest_first.next() else {
        return refused(key, format!("{strategy}; no source gives it"), "write a first one to its source");
    };
    let below: Vec<String> = highest_first.map(|(_, place)| place).collect();
    if !is_writable {
        let shadows =
            if below.is_empty() { String::new() } else { format!(", and hides {}", below.join(", ")) };
        let detail = format!("{strategy}; {place} wins, which dlconf cannot write{shadows}");
        return refused(key, detail, "give it by a source that can be written, and by no other");
    }
    if rotation.strategy != Strategy::Supplied {
        let (expected, undeclared) = config.readers(&setup.schema, var);
        let roll_call = RollCall { expected, undeclared, ..RollCall::default() };
        if let Some(service) = roll_call.undeclared.first() {
            let detail = format!("{strategy}; nobody says how {service} verifies with it");
            return refused(
                key,
                detail,
                &format!("write [consumer.{service}] with `instances` and `verifies`"),
            );
        }
        if let Some(single) = roll_call.single().next() {
            let detail = format!("{strategy}; {single} verifies with one key, and would log people out");
            return refused(key, detail, "teach it a ring of keys, and write `verifies = \"ring\"`");
        }
        if !roll_call.has_anybody() {
            let detail = format!("{strategy}; nobody is declared who would acknowledge it");
            return refused(key, detail, "declare who verifies with it: [consumer.NAME]");
        }
    }
    fine(key, &format!("{strategy}; {place} would be written"))
}

fn fine(key: &Key, detail: &str) -> Observation {
    observation(key.as_str(), State::Fine, detail.to_owned())
}

fn refused(key: &Key, detail: String, help: &str) -> Observation {
    Observation { help: Some(help.to_owned()), ..observation(key.as_str(), State::Degraded, detail) }
}
