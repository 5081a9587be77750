//! What the rest of the program is told: a layer of what is held, and a fault for
//! each thing that could not be read. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Shared;
use super::look::VERBS;
use super::state::{Failure, Held, Stored, Tracked};
use crate::kubernetes::{Verb, Why};
use crate::model::finding::Code;
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Layer, Offer, Place, Remark, Value};
use crate::model::origin::{Location, Origin, Revision};
use crate::model::secret::SecretValue;
use crate::network::Break;
use crate::source::fields::Select;
use crate::source::{Fault, FaultKind, key_for};

/// Everything that is held, in the order of the objects.
pub(super) fn layer(name: &SourceName, shared: &Shared, names_only: bool) -> (Layer, Vec<Fault>) {
    let mut told = Told {
        layer: Layer { source: name.clone(), places: Vec::new(), offers: Vec::new(), remarks: Vec::new() },
        faults: Vec::new(),
        known: shared.known(),
        names_only,
    };
    for slot in &shared.objects {
        let tracked = slot.tracked();
        let place = place(shared, &tracked);
        if let Some(held) = &tracked.held {
            told.held(&place, &tracked.spec.select, held);
        }
        told.faults.extend(fault(shared, &tracked, &place));
    }
    // A server that is away is one fault, however many objects it has.
    let mut said = BTreeSet::new();
    told.faults.retain(|fault| said.insert((fault.message.clone(), fault.location.to_string())));
    (told.layer, told.faults)
}

/// As printed: `k8s:datalens/secret/datalens-api`.
pub(super) fn place(shared: &Shared, tracked: &Tracked) -> Arc<str> {
    let spec = &tracked.spec;
    match shared.namespace.get().or(shared.config.namespace.as_ref()) {
        Some(namespace) => format!("k8s:{namespace}/{}/{}", spec.kind.singular(), spec.name).into(),
        None => format!("k8s:{}/{}", spec.kind.singular(), spec.name).into(),
    }
}

struct Told {
    layer: Layer,
    faults: Vec<Fault>,
    known: Arc<BTreeSet<Key>>,
    names_only: bool,
}

impl Told {
    fn held(&mut self, place: &Arc<str>, select: &Select, held: &Held) {
        let label = match held.state {
            Stored::There => Arc::clone(place),
            Stored::Deleted => format!("{place} (deleted)").into(),
            Stored::Absent => format!("{place} (not there)").into(),
        };
        self.layer.places.push(Place { label, mode: None });
        let origin = |key: &str| Origin {
            mark: None,
            source: self.layer.source.clone(),
            location: Location::Field {
                of: Arc::clone(place),
                name: key.into(),
                revision: held.version.clone(),
            },
            revision: held.version.clone().map(Revision),
            modified: held.modified,
        };
        for note in &held.given.taken.notes {
            self.layer.remarks.push(Remark {
                code: Code::UnknownName,
                origin: origin(&note.field),
                message: note.message.clone(),
                help: note.help.clone(),
            });
        }
        for name in &held.given.binary {
            let message = format!("the key `{name}` holds bytes that are no UTF-8 text");
            let advice = "store text, or take it in base64: `base64 = [\"…\"]` beside the object's name";
            let mapped = select.map.iter().find(|(field, _)| **field == **name).map(|(_, key)| key.clone());
            let key = mapped.or_else(|| key_for(&format!("{}{name}", select.prefix), &self.known));
            let wanted = key.is_some_and(|key| self.known.contains(&key));
            if wanted {
                self.faults.push(Fault {
                    kind: FaultKind::Malformed,
                    location: origin(name).location,
                    message,
                    help: advice.into(),
                });
            } else {
                self.layer.remarks.push(Remark {
                    code: Code::UnknownName,
                    origin: origin(name),
                    message: format!("{message}, so it is passed over"),
                    help: advice.into(),
                });
            }
        }
        for field in &held.given.taken.fields {
            let mark = held.given.marks.get(&field.name).cloned();
            let origin = Origin { mark, ..origin(&field.name) };
            let Some(value) = &field.value else { continue };
            let value = if self.names_only {
                Value::unread()
            } else if value.expose().contains('\0') {
                self.faults.push(Fault::nul(&field.key, origin.location));
                continue;
            } else {
                SecretValue::from(value.expose()).into()
            };
            self.layer.offers.push(Offer { key: field.key.clone(), value, origin, excerpt: None });
        }
    }
}

fn fault(shared: &Shared, tracked: &Tracked, place: &Arc<str>) -> Option<Fault> {
    let spec = &tracked.spec;
    let here = || Location::Named(place.as_ref().into());
    let Some(failure) = &tracked.failure else {
        let Some(held) = &tracked.held else {
            // Whoever asks did not wait for an answer: that is none, also where absence is excused.
            return Some(of_server(shared, &Why::Network(Break::Timeout)));
        };
        return (held.state == Stored::Absent && shared.config.required).then(|| Fault {
            kind: FaultKind::Unreachable,
            location: here(),
            message: format!("there is no {} `{}`{}", spec.kind.title(), spec.name, within(shared)),
            help: Why::NotFound.help(),
        });
    };
    Some(match &failure.trouble.why {
        Why::Forbidden => Fault {
            kind: FaultKind::NotPermitted,
            location: here(),
            message: format!(
                "we may not {} {} `{}`{}",
                verbs(failure),
                spec.kind.resource(),
                spec.name,
                within(shared)
            ),
            help: Why::Forbidden.help(),
        },
        Why::NotFound => Fault {
            kind: FaultKind::Unreachable,
            location: here(),
            message: format!(
                "the {} `{}` is gone{}, and nobody saw it deleted: its last values are held",
                spec.kind.title(),
                spec.name,
                within(shared)
            ),
            help: "create it anew; or `dlconf forget` the variables that are not to come back".into(),
        },
        Why::Access(misfit) => Fault {
            kind: FaultKind::Unreachable,
            location: Location::Named(shared.client.label().into()),
            message: misfit.message.clone(),
            help: misfit.help.clone(),
        },
        why => of_server(shared, why),
    })
}

/// What it says about itself, not about the object.
fn of_server(shared: &Shared, why: &Why) -> Fault {
    let label = shared.client.label();
    let kind = match why {
        Why::Unauthorized => FaultKind::NotPermitted,
        _ => FaultKind::Unreachable,
    };
    Fault {
        kind,
        message: format!("{label} {why}"),
        location: Location::Named(label.into()),
        help: why.help(),
    }
}

fn within(shared: &Shared) -> String {
    shared.namespace.get().map_or_else(String::new, |namespace| format!(" in namespace {namespace}"))
}

/// What is not permitted: `get, list or watch`.
fn verbs(failure: &Failure) -> String {
    match failure.missing.as_slice() {
        [] => failure.verb.as_str().to_owned(),
        missing => either(missing),
    }
}

/// One of these, in the order in which they are needed: `get, list or watch`.
pub(super) fn either(verbs: &[Verb]) -> String {
    let words = VERBS.iter().filter(|verb| verbs.contains(verb)).map(|verb| verb.as_str());
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}
