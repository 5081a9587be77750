//! A writable source in memory: documents with versions, compare-and-set, and faults.
//! The tests of the library and those of the program use it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use dlconf::model::key::{Key, SourceName};
use dlconf::model::layer::Layer;
use dlconf::model::origin::Revision;
use dlconf::model::rotation::{FIELD, Ledger, Slot};
use dlconf::model::secret::SecretValue;
use dlconf::source::writable::{Change, Document, WritableSource, WriteError, WriteErrorKind};
use dlconf::source::{Ask, Source, SourceError};

/// What goes wrong with the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Somebody else wrote meanwhile.
    Conflict,
    /// It was never heard.
    LostBefore,
    /// It was done, and the answer got lost.
    LostAfter,
}

/// All fields of a document.
pub(crate) type Fields = BTreeMap<String, String>;

#[derive(Default)]
struct Inside {
    versions: Vec<Fields>,
    faults: VecDeque<Fault>,
    /// What the server's clock says.
    time: Option<SystemTime>,
    reads: usize,
    is_down: bool,
    /// How often something was lent in the place of what was lent before, and how often
    /// that was ended.
    lent: (usize, usize),
}

/// One document.
pub(crate) struct Shelf {
    name: SourceName,
    inside: Mutex<Inside>,
}

impl Shelf {
    /// With these fields.
    pub(crate) fn new(fields: &[(&str, &str)]) -> Self {
        let owned = fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned()));
        let inside = Inside { versions: vec![owned.collect()], ..Inside::default() };
        Self { name: SourceName::new("shelf"), inside: Mutex::new(inside) }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there now.
    pub(crate) fn fields(&self) -> Fields {
        self.inside().versions.last().unwrap().clone()
    }

    /// How many versions there were.
    pub(crate) fn versions(&self) -> usize {
        self.inside().versions.len()
    }

    /// Somebody else writes.
    pub(crate) fn meddle(&self, change: impl FnOnce(&mut Fields)) {
        let mut fields = self.fields();
        change(&mut fields);
        self.inside().versions.push(fields);
    }

    /// What was there so many versions ago.
    pub(crate) fn before(&self, by: usize) -> Fields {
        let inside = self.inside();
        inside.versions[inside.versions.len().saturating_sub(1 + by)].clone()
    }

    /// Somebody else puts an older version back.
    pub(crate) fn roll_back(&self, by: usize) {
        let old = self.before(by);
        self.inside().versions.push(old);
    }

    /// The next write goes wrong.
    pub(crate) fn fail(&self, fault: Fault) {
        self.inside().faults.push_back(fault);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.inside().is_down = is_down;
    }

    pub(crate) fn set_time(&self, time: Option<SystemTime>) {
        self.inside().time = time;
    }

    /// How often it was read.
    pub(crate) fn reads(&self) -> usize {
        self.inside().reads
    }

    /// Only what is there now is left.
    pub(crate) fn forget_versions(&self) {
        let mut inside = self.inside();
        let last = inside.versions.len() - 1;
        inside.versions.drain(..last);
    }

    /// How often something else was lent, and what was lent before was ended.
    pub(crate) fn lent(&self) -> (usize, usize) {
        self.inside().lent
    }

    fn document(&self, version: usize, owner: &Key) -> Result<Document, WriteError> {
        let inside = self.inside();
        let fields = &inside.versions[version];
        let ledger = match fields.get(FIELD).map(|text| Ledger::parse(text)) {
            None => Ledger::default(),
            Some(Ok(ledger)) => ledger,
            Some(Err(error)) => return Err(failure(WriteErrorKind::Unusable, &error.to_string())),
        };
        let values = fields.iter().filter(|(_, value)| !value.is_empty());
        let values = values.filter_map(|(field, value)| {
            let slot = Slot::of_field(owner.as_str(), field)?;
            Some((slot, Arc::new(SecretValue::from(value.as_str()))))
        });
        Ok(Document {
            place: "shelf:document".into(),
            revision: Revision((version + 1).to_string().into()),
            field: owner.as_str().into(),
            values: values.collect(),
            ledger,
            server_time: inside.time,
        })
    }
}

fn failure(kind: WriteErrorKind, message: &str) -> WriteError {
    WriteError { kind, message: format!("shelf:document: {message}"), help: "look after it".into() }
}

#[async_trait]
impl Source for Shelf {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn fetch(&self, _: Ask<'_>) -> Result<Layer, SourceError> {
        let source = self.name.clone();
        Ok(Layer { source, places: vec![], offers: vec![], remarks: vec![] })
    }

    fn writable(&self) -> Option<&dyn WritableSource> {
        Some(self)
    }

    async fn replace_lent(&self, _: &Key) -> Option<Result<(), WriteError>> {
        let (lent, ended) = &mut self.inside().lent;
        // One at a time, as with a server.
        if lent > ended {
            return Some(Err(failure(WriteErrorKind::Refused, "what was lent before is not given up")));
        }
        *lent += 1;
        Some(Ok(()))
    }

    async fn has_replaced(&self, _: &Key) -> bool {
        let (lent, ended) = self.inside().lent;
        lent > ended
    }

    async fn give_up_replaced(&self, _: &Key) {
        let mut inside = self.inside();
        inside.lent.1 = inside.lent.0;
    }
}

#[async_trait]
impl WritableSource for Shelf {
    async fn open(&self, owner: &Key) -> Result<Document, WriteError> {
        let last = {
            let mut inside = self.inside();
            inside.reads += 1;
            if inside.is_down {
                return Err(failure(WriteErrorKind::Unavailable, "it does not answer"));
            }
            inside.versions.len() - 1
        };
        self.document(last, owner)
    }

    async fn write(&self, document: &Document, change: &Change) -> Result<Revision, WriteError> {
        let mut inside = self.inside();
        let fault = inside.faults.pop_front();
        let version = inside.versions.len();
        if fault == Some(Fault::LostBefore) || inside.is_down {
            return Err(failure(WriteErrorKind::Unavailable, "it does not answer"));
        }
        if fault == Some(Fault::Conflict) || document.revision != Revision(version.to_string().into()) {
            return Err(failure(WriteErrorKind::Conflict, "somebody wrote meanwhile"));
        }
        let mut fields = inside.versions[version - 1].clone();
        for slot in &change.remove {
            assert!(fields.remove(&slot.field(&document.field)).is_some(), "{slot:?} was not there");
        }
        for (slot, value) in &change.set {
            fields.insert(slot.field(&document.field), value.expose().to_owned());
        }
        let ledger = document.ledger.clone().with(&document.field, change.progress.clone());
        fields.insert(FIELD.to_owned(), ledger.to_text());
        inside.versions.push(fields);
        if fault == Some(Fault::LostAfter) {
            return Err(failure(WriteErrorKind::Unavailable, "it does not answer"));
        }
        Ok(Revision((version + 1).to_string().into()))
    }

    async fn before(&self, document: &Document, owner: &Key) -> Result<Option<Document>, WriteError> {
        let revision = document.revision.0.parse::<usize>().unwrap();
        for version in (0..revision.saturating_sub(1)).rev() {
            if let Ok(before) = self.document(version, owner)
                && before.progress().is_some()
            {
                return Ok(Some(before));
            }
        }
        Ok(None)
    }
}
