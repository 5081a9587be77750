//! Names that the schema does not deliver, and files that are open to others.

use std::collections::BTreeSet;

use super::Judge;
use super::place::named;
use crate::model::finding::{Code, Fix};
use crate::model::key::Key;
use crate::model::origin::Origin;
use crate::model::resolve::{Candidates, Loss};
use crate::model::schema::kind::carries_credentials;
use crate::model::schema::toml_reader::nearest;

/// Bits that a file with secrets must not have: anything for group or others.
const TOO_WIDE: u32 = 0o077;

/// How many unknown names are compared with every known one.
const HINTED: usize = 100;

impl Judge<'_> {
    pub(super) fn unknown_names(&mut self) {
        let schema = self.schema;
        let mut hinted = 0;
        for (key, candidates) in &self.resolution.variables {
            let known = schema.var(key).is_some()
                || schema.replacement(key).is_some()
                || schema.retired(key).is_some()
                || schema.ignored.iter().any(|glob| glob.matches(key.as_str()))
                || key.as_str().starts_with("DLCONF_");
            if known {
                continue;
            }
            if key.looks_like_data() {
                self.stray_data(key, candidates);
                continue;
            }
            let names = schema.vars.iter().map(|var| var.key.as_str());
            hinted += 1;
            let near = if hinted > HINTED { None } else { nearest(key.as_str(), names) };
            let mut finding = self.finding(
                Code::UnknownName,
                Some(key),
                format!("{key} is not declared, so it is not delivered"),
            );
            finding = named(finding, candidates, true, "not in the schema");
            finding.help = Some(match near {
                Some(near) => format!("did you mean {near}?"),
                None => format!("declare [var.{key}] in the schema, or list it under `ignore` there"),
            });
            self.add(finding);
        }
    }

    /// A 'name' that is rather a line of an unquoted key: its text is not shown.
    fn stray_data(&mut self, key: &Key, candidates: &Candidates) {
        let length = key.as_str().len();
        let message = format!("a name of {length} characters looks like a piece of data, so it is not shown");
        let mut finding = self.finding(Code::UnknownName, None, message);
        finding.origin = candidates.highest().map(|(origin, _)| origin.clone());
        finding.help = Some("put values of several lines in double quotes".into());
        self.findings.push(finding);
    }

    pub(super) fn retired_names(&mut self) {
        for retired in &self.schema.retired {
            let Some(candidates) = self.candidates(&retired.key) else { continue };
            let message = format!("{} has no effect: {}", retired.key, retired.reason);
            let mut finding = self.finding(Code::RetiredName, Some(&retired.key), message);
            finding = named(finding, candidates, true, "never delivered");
            finding.help = Some("remove it".into());
            self.add(finding);
        }
    }

    /// Files that give a secret and may be read by others.
    pub(super) fn wide_permissions(&mut self) {
        let mut told = BTreeSet::new();
        let variables = &self.resolution.variables;
        let secrets = variables.iter().filter(|(key, _)| self.discretion.is_secret_name(key));
        let feeding: BTreeSet<&Key> =
            secrets.filter_map(|(_, c)| c.winner.as_ref()).flat_map(|w| &w.references).collect();
        for (place, _) in &self.resolution.places {
            let Some(mode) = place.mode.filter(|mode| mode & TOO_WIDE != 0) else { continue };
            if !told.insert(place.label.clone()) {
                continue;
            }
            let secrets: Vec<&Key> = self
                .resolution
                .variables
                .iter()
                .filter(|(key, candidates)| self.gives_secret(key, candidates, &place.label, &feeding))
                .map(|(key, _)| key)
                .collect();
            let Some(first) = secrets.first() else { continue };
            let others = match secrets.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            let message = format!(
                "{} holds {first}{others} and has mode {:04o}: {}",
                place.label,
                mode & 0o7777,
                who(mode)
            );
            let mut finding = self.finding(Code::WidePermissions, Some(first), message);
            finding.origin = self.resolution.variables[*first].highest().map(|(origin, _)| Origin {
                mark: None,
                location: crate::model::origin::Location::File { path: place.label.clone(), at: None },
                ..origin.clone()
            });
            finding.help = Some(format!("chmod 600 {}", place.label));
            finding.fix = Some(Fix::Mode(0o600));
            self.add(finding);
        }
    }

    /// Whether a file gives a secret under this name: shadowed ones count, and
    /// what a secret is made from.
    fn gives_secret(&self, key: &Key, candidates: &Candidates, path: &str, feeding: &BTreeSet<&Key>) -> bool {
        let here = |origin: &Origin| origin.location.path() == Some(path);
        let var = self.schema.var(key).or_else(|| self.schema.replacement(key));
        if var.is_some_and(|var| var.allow.contains_key(&Code::WidePermissions)) {
            return false;
        }
        let winner = candidates.winner.as_ref().filter(|winner| here(&winner.origin));
        let loser = candidates.losers.iter().any(|l| l.why != Loss::Empty && here(&l.origin));
        (self.discretion.is_secret_name(key) && (winner.is_some() || loser))
            || winner.is_some_and(|w| feeding.contains(key) || carries_credentials(w.value.expose()))
    }
}

fn who(mode: u32) -> &'static str {
    match (mode & 0o022 != 0, mode & 0o007 != 0) {
        (true, _) => "others may change it",
        (false, true) => "every user of this machine may read it",
        (false, false) => "its group may read it",
    }
}
