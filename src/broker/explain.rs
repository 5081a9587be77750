//! Where a variable comes from: every place that offered it, who won and why.
//!
//! Pure. Must not know: how it is drawn.

use std::time::SystemTime;

use super::judge::Judged;
use crate::model::discretion::Discretion;
use crate::model::finding::{Code, Severity};
use crate::model::key::Key;
use crate::model::origin::Origin;
use crate::model::resolve::{Candidates, Entry, Loss};
use crate::model::schema::{OnInvalid, Presence, Schema, Strategy, Var};
use crate::status::{Explanation, FindingStatus, OfferStatus};

/// Whether plain values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Showing {
    /// Those that are not secret, nor made from a secret.
    Plain,
    /// None.
    Nothing,
}

/// Explains a variable; none where neither the schema nor a source knows the name.
pub fn explain(
    schema: &Schema,
    environment: &str,
    service: Option<&str>,
    judged: &Judged,
    key: &Key,
    showing: Showing,
) -> Option<Explanation> {
    let var = schema.var(key);
    let is_known = var.is_some()
        || schema.replacement(key).is_some()
        || schema.retired(key).is_some()
        || judged.resolution.variables.contains_key(key);
    if !is_known {
        return None;
    }
    let asked = Asked { schema, environment, service, judged, key, var, showing };
    Some(Explanation {
        key: key.to_string(),
        environment: environment.to_owned(),
        schema_path: schema.path.to_string(),
        declared: asked.declared(),
        offers: asked.offers(),
        findings: asked.findings(),
    })
}

struct Asked<'a> {
    schema: &'a Schema,
    environment: &'a str,
    service: Option<&'a str>,
    judged: &'a Judged,
    key: &'a Key,
    var: Option<&'a Var>,
    showing: Showing,
}

impl Asked<'_> {
    /// What the schema says, a line each.
    fn declared(&self) -> Vec<String> {
        let Self { schema, key, .. } = self;
        let Some(var) = self.var else {
            return vec![if let Some(new) = schema.replacement(key) {
                format!("an old name: {} reads {}, and {key} is never delivered", schema.program, new.key)
            } else if let Some(retired) = schema.retired(key) {
                format!("retired: {}; it is never delivered", retired.reason)
            } else {
                "not declared, so it is never delivered".into()
            }];
        };
        let mut lines: Vec<String> = var.description.iter().map(ToString::to_string).collect();
        lines.push(facts(var).join(" · "));
        if let Some(service) = self.service.filter(|_| !var.read_by(self.service)) {
            lines.push(format!("service {service} does not read it, so it is not delivered"));
        }
        lines
    }

    /// Every place that offered a value, who won, and why.
    fn offers(&self) -> Vec<OfferStatus> {
        let Self { schema, judged, key, var, .. } = self;
        let var = *var;
        let mut rows = Vec::new();
        let is_delivered = var.is_some_and(|var| var.read_by(self.service));
        let candidates = judged.resolution.variables.get(*key);
        let discretion = Discretion::new(schema, &judged.resolution);
        if let Some(entry) = candidates.and_then(|candidates| candidates.winner.as_ref()) {
            let verb = if is_delivered { "wins" } else { "seen" };
            rows.push(offer(verb, &entry.origin, self.shown(&discretion, entry)));
        }
        for old in var.map(|var| var.replaces.as_slice()).unwrap_or_default() {
            if let Some((origin, _)) = judged.resolution.variables.get(old).and_then(Candidates::highest) {
                rows.push(offer("old", origin, format!("{old}: an old name, never delivered")));
            }
        }
        for loser in candidates.map(|candidates| candidates.losers.as_slice()).unwrap_or_default() {
            let why = match loser.why {
                Loss::Empty => "empty, which counts as unset and shadows nothing",
                Loss::Shadowed => "shadowed by a higher place, with another value",
                Loss::ShadowedBySame => "shadowed by a higher place, with the same value",
            };
            rows.push(offer("loses", &loser.origin, why.into()));
        }
        let is_set = candidates.is_some_and(|candidates| candidates.winner.is_some());
        if let Some(var) = var {
            let verb = if is_set { "unused" } else { "wins" };
            if **key == schema.environments.variable {
                rows.push(stand_in(verb, "chosen environment".into(), self.environment.to_owned()));
            } else if let Some(default) = &var.default {
                rows.push(stand_in(verb, "schema default".into(), default.to_string()));
            } else if !is_set {
                let fallback = var.fallback.as_ref().map_or_else(
                    || "nothing is delivered".to_owned(),
                    |fallback| format!("nothing is delivered; {} uses {fallback}", schema.program),
                );
                rows.push(stand_in("unset", self.looked_in(), fallback));
            }
        }
        rows
    }

    fn looked_in(&self) -> String {
        let places = self.judged.resolution.places.iter();
        let labels: Vec<&str> = places.map(|(place, _)| &*place.label).collect();
        format!("looked in: {}", labels.join(", "))
    }

    /// A plain value; of a secret only that it is one.
    fn shown(&self, discretion: &Discretion<'_>, entry: &Entry) -> String {
        match self.var {
            Some(var) if var.secret => "a secret".into(),
            Some(_) if self.showing == Showing::Plain && !discretion.hides(entry) => {
                entry.value.expose().to_owned()
            }
            _ => "not shown".into(),
        }
    }

    /// The findings about it, and what was not read.
    fn findings(&self) -> Vec<FindingStatus> {
        let findings = &self.judged.verdict.findings;
        let ours = findings.iter().filter(|finding| finding.variable.as_ref() == Some(self.key));
        let unread = findings.iter().filter(|finding| {
            matches!(finding.code, Code::SourceUnreachable | Code::NotPermitted)
                && (finding.severity == Severity::Error || finding.variable.is_none())
                && finding.variable.as_ref() != Some(self.key)
        });
        ours.chain(unread).map(super::words::finding_status).collect()
    }
}

/// What the schema says of a variable, in words.
fn facts(var: &Var) -> Vec<String> {
    let mut facts = vec![var.kind.name().to_owned()];
    if var.secret {
        facts.push("secret".into());
    }
    facts.push(match &var.presence {
        Presence::Always => "required".into(),
        Presence::Never => "optional".into(),
        Presence::In(names) => format!("required in {}", names.join(", ")),
    });
    if !var.services.is_empty() {
        facts.push(format!("read by {}", var.services.join(", ")));
    }
    if var.kind.is_parsed() && var.on_invalid == OnInvalid::Default {
        facts.push("an invalid value is silently ignored".into());
    }
    if let Some(rotation) = &var.rotation {
        facts.push(match rotation.strategy {
            Strategy::Overlap => "rotates with overlap".into(),
            Strategy::Ring => "rotates as a ring".into(),
            Strategy::Supplied => "rotates with a value you supply".into(),
            Strategy::Dynamic => "leased from Vault".into(),
            Strategy::StaticRole => "rotated by Vault".into(),
            Strategy::Manual => {
                format!(
                    "never rotated by a program: {}",
                    rotation.reason.as_deref().unwrap_or("see the schema")
                )
            }
        });
    }
    facts
}

/// What a source offers.
fn offer(verb: &str, origin: &Origin, words: String) -> OfferStatus {
    let age = origin.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    OfferStatus {
        verb: verb.to_owned(),
        place: origin.location.to_string(),
        source: Some(origin.source.to_string()),
        revision: origin.revision.as_ref().map(|revision| revision.0.to_string()),
        age_seconds: age.map(|age| age.as_secs()),
        words,
    }
}

/// What holds where no source offers anything.
fn stand_in(verb: &str, place: String, words: String) -> OfferStatus {
    OfferStatus { verb: verb.to_owned(), place, source: None, revision: None, age_seconds: None, words }
}
