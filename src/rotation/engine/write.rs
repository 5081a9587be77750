//! A step with values: made, given, or taken from where they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Rotator;
use super::decide::no_random;
use super::desk::{Desk, Known};
use crate::generate::generate;
use crate::model::key::Key;
use crate::model::rotation::{KeyNote, Print, Progress, Slot};
use crate::model::schema::Generate;
use crate::model::secret::SecretValue;
use crate::probe::Probed;
use crate::rotation::course::{Act, Content, Step};
use crate::rotation::order::NotOrdered;
use crate::rotation::repair::{Mending, Seen};
use crate::source::writable::{Change, Document, WritableSource, WriteErrorKind};

/// One write, ready.
pub(super) struct Prepared {
    pub(super) change: Change,
    /// What is in the slots afterwards.
    after: BTreeMap<Slot, Arc<SecretValue>>,
    probe: Option<Arc<SecretValue>>,
}

/// Gives a step its values.
pub(super) fn prepare(
    step: &Step,
    owner: &Key,
    document: &Document,
    recipe: Option<Generate>,
    supplied: Option<&Arc<SecretValue>>,
) -> Result<Prepared, NotOrdered> {
    let made = if step.set.iter().any(|(_, content)| *content == Content::Generated) {
        let recipe = recipe.ok_or_else(|| {
            NotOrdered::new(
                "no-recipe",
                format!("the schema does not say how a new {owner} is made"),
                "write `generate = \"base64url:48\"` beside its `rotation`",
            )
        })?;
        Some(Arc::new(generate(recipe).map_err(|_| no_random())?))
    } else {
        None
    };
    let value = |content: Content| match content {
        Content::Generated => made.clone(),
        Content::Supplied => supplied.cloned(),
        Content::Of(slot) => document.values.get(&slot).cloned(),
        Content::Number(number) => Some(Arc::new(SecretValue::new(number.to_string()))),
    };
    let lacking = || {
        NotOrdered::new(
            "unusable",
            format!("{} lacks a key that the rotation of {owner} needs", document.place),
            "dlconf status says how far it is",
        )
    };
    let set: Option<Vec<_>> =
        step.set.iter().map(|(slot, content)| Some((*slot, value(*content)?))).collect();
    let probe = step.probe.map(|content| value(content).ok_or_else(lacking)).transpose()?;
    let change = Change {
        set: set.ok_or_else(lacking)?,
        remove: step.remove.clone(),
        progress: step.progress.clone(),
    };
    Ok(Prepared { probe, ..sealed(change, document) })
}

/// A mending, ready.
pub(super) fn prepare_mending(mending: Mending, document: &Document) -> Prepared {
    sealed(mending.change, document)
}

/// With the prints of its keys, and its number among all writes.
fn sealed(mut change: Change, document: &Document) -> Prepared {
    let mut after = document.values.clone();
    change.remove.iter().for_each(|slot| drop(after.remove(slot)));
    after.extend(change.set.iter().map(|(slot, value)| (*slot, Arc::clone(value))));
    let progress = &mut change.progress;
    let print = |note: &mut KeyNote, value: Option<&Arc<SecretValue>>| {
        if note.print.is_none() {
            note.print = value.map(|value| Print::of(&note.kid, value));
        }
    };
    for (slot, note) in &mut progress.keys {
        print(note, after.get(slot));
    }
    for note in &mut progress.compromised {
        print(note, document.values.get(&Slot::Current));
    }
    let written = document.progress().map_or(0, |progress| progress.writes);
    progress.writes = progress.writes.max(written).saturating_add(1);
    Prepared { change, after, probe: None }
}

impl Prepared {
    /// The variables that it gives a value.
    fn variables(&self, owner: &Key) -> Vec<(Key, Arc<SecretValue>)> {
        let set = self.change.set.iter();
        set.filter_map(|(slot, value)| Some((slot.key(owner)?, Arc::clone(value)))).collect()
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.change.progress
    }
}

impl Rotator {
    /// Whether the configuration would be valid, and the other side takes the value.
    pub(super) async fn is_fine(&self, owner: &Key, prepared: &Prepared) -> Result<(), NotOrdered> {
        let variables = prepared.variables(owner);
        let wrong = if variables.is_empty() { Vec::new() } else { self.estate.judge(&variables) };
        if !wrong.is_empty() {
            let help = "mend that first: what is not valid is not published";
            return Err(NotOrdered::new("invalid", wrong.join("; "), help));
        }
        let Some(value) = &prepared.probe else { return Ok(()) };
        match self.prober.probe(owner, value).await {
            None | Some(Probed::Works) => Ok(()),
            Some(Probed::Wrong(why)) => Err(NotOrdered::new(
                "probe",
                format!("the value for {owner} does not work, and was not written: {why}"),
                "bring one that works",
            )),
            Some(Probed::Unknown(why, help)) => Err(NotOrdered::new(
                "probe",
                format!("nobody can tell whether the value for {owner} works, and it was not written: {why}"),
                help,
            )),
        }
    }

    /// Writes, and remembers what is there then.
    pub(super) async fn write(
        &self,
        desk: &mut Desk,
        source: &dyn WritableSource,
        document: &Document,
        prepared: &Prepared,
        act: Option<Act>,
    ) -> Result<(), NotOrdered> {
        if !self.is_leading() {
            return Err(super::order::not_leading());
        }
        let revision = match source.write(document, &prepared.change).await {
            Ok(revision) => revision,
            Err(error) => {
                if let (WriteErrorKind::Unavailable, Some(act)) = (error.kind, act) {
                    desk.unsure = Some((prepared.progress().clone(), act));
                }
                return Err(error.into());
            }
        };
        desk.unsure = None;
        // What was there before it was judged.
        desk.asked_before = Some(revision);
        let progress = prepared.progress().clone();
        desk.known = Some(Known::new(Arc::clone(&document.place), progress.clone(), &prepared.after));
        let live = prepared.after.iter().filter(|(slot, _)| progress.keys.contains_key(slot));
        let values = live.map(|(slot, value)| (*slot, Arc::clone(value))).collect();
        desk.seen = Some(Seen { progress, values });
        Ok(())
    }
}
