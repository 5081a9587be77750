//! A KV v2 secret as a document of rotations: which key each field has, what lies in the
//! slots of a variable, and the body of a write. Pure.
//!
//! Invariants: fields that a write does not name stay the slices of JSON that the server
//! wrote; a body is made in one piece of memory, which never grows; a state that cannot be
//! understood is never 'no state'.
//! Must not know: the network; what is due.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::api::RawFields;
use super::fields::text;
use crate::model::rotation::{FIELD, Ledger, LedgerError, Mark, Slot};
use crate::model::secret::SecretValue;
use crate::source::fields::Taken;
use crate::source::writable::{Change, Document};

/// The state of the rotations of a secret; an empty one where it has none.
///
/// # Errors
/// [`LedgerError`].
pub(super) fn ledger(raw: &RawFields) -> Result<Ledger, LedgerError> {
    // A text in a string, as it is written: a table is no state, though its JSON is one.
    match raw.get(FIELD).map(|raw| raw.get()) {
        None | Some("null") => Ok(Ledger::default()),
        Some(json) => {
            let text: String = serde_json::from_str(json).map_err(|_| LedgerError::Malformed)?;
            Ledger::parse(&text)
        }
    }
}

/// Which keys the fields of a secret are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// By field.
    of: BTreeMap<Box<str>, Arc<Mark>>,
    /// Why nobody can tell.
    pub(super) fault: Option<LedgerError>,
}

impl Marks {
    /// Those of what was taken.
    pub(super) fn of(raw: &RawFields, taken: &Taken) -> Self {
        let ledger = match ledger(raw) {
            Ok(ledger) => ledger,
            Err(fault) => return Self { fault: Some(fault), ..Self::default() },
        };
        let mark = |field: &crate::source::fields::Field| {
            let mark = ledger.mark(&field.name, field.value.as_ref()?)?;
            Some((field.name.clone(), Arc::new(mark)))
        };
        Self { of: taken.fields.iter().filter_map(mark).collect(), fault: None }
    }

    /// That of a field.
    pub(super) fn get(&self, field: &str) -> Option<Arc<Mark>> {
        self.of.get(field).map(Arc::clone)
    }
}

/// What is in the slots of a field.
pub(super) fn slots(raw: &RawFields, owner: &str) -> BTreeMap<Slot, Arc<SecretValue>> {
    let filled = raw.iter().filter_map(|(field, raw)| {
        let slot = Slot::of_field(owner, field)?;
        let value = text(raw.get()).filter(|value| !value.is_empty())?;
        Some((slot, Arc::new(value)))
    });
    filled.collect()
}

/// Whether a secret still is the document that was read, as far as its rotation goes: a
/// version may be another secret's that was begun anew.
pub(super) fn is_still(raw: &RawFields, document: &Document) -> bool {
    let now = slots(raw, &document.field);
    let same = |(a, b): (&Arc<SecretValue>, &Arc<SecretValue>)| a.same_as(b);
    ledger(raw).as_ref() == Ok(&document.ledger)
        && now.keys().eq(document.values.keys())
        && now.values().zip(document.values.values()).all(same)
}

/// What a field holds after a write.
enum Content<'a> {
    /// What it held.
    AsItWas(&'a RawValue),
    /// This text.
    Text(&'a str),
}

/// The body of a write that is compared with a version.
///
/// # Errors
/// Those of JSON, which has one for every text.
pub(super) fn body(
    raw: &RawFields,
    version: u64,
    document: &Document,
    change: &Change,
) -> io::Result<Vec<u8>> {
    let field = |slot: Slot| slot.field(&document.field);
    let state = document.ledger.clone().with(&document.field, change.progress.clone()).to_text();
    let mut fields: BTreeMap<String, Content<'_>> =
        raw.iter().map(|(name, raw)| (name.clone(), Content::AsItWas(raw))).collect();
    for slot in &change.remove {
        fields.remove(&field(*slot));
    }
    for (slot, value) in &change.set {
        fields.insert(field(*slot), Content::Text(value.expose()));
    }
    fields.insert(FIELD.to_owned(), Content::Text(&state));
    let mut length = Length(0);
    put(&mut length, version, &fields)?;
    let mut body = Vec::with_capacity(length.0);
    put(&mut body, version, &fields)?;
    Ok(body)
}

fn put(out: &mut impl Write, version: u64, fields: &BTreeMap<String, Content<'_>>) -> io::Result<()> {
    write!(out, "{{\"options\":{{\"cas\":{version}}},\"data\":{{")?;
    for (index, (name, content)) in fields.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, name)?;
        out.write_all(b":")?;
        match content {
            Content::AsItWas(raw) => out.write_all(raw.get().as_bytes())?,
            Content::Text(text) => serde_json::to_writer(&mut *out, text)?,
        }
    }
    out.write_all(b"}}")
}

/// Counts what is written, so that the buffer for it has its size from the start.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::origin::Revision;
    use crate::model::rotation::{KeyNote, Kid, Phase, Print, Progress};

    fn raw(json: &str) -> RawFields {
        serde_json::from_str(json).unwrap()
    }

    fn progress() -> Progress {
        let kid = Kid::new("one").unwrap();
        let print = Some(Print::of(&kid, &"now".into()));
        let note = KeyNote { kid, print, not_before: Some(7), rest: serde_json::Map::new() };
        Progress { phase: Phase::Staged, keys: [(Slot::Current, note)].into(), ..Progress::default() }
    }

    fn document(raw: &RawFields, field: &str) -> Document {
        Document {
            place: "vault:secret/app".into(),
            revision: Revision("7".into()),
            field: field.into(),
            values: slots(raw, field),
            ledger: ledger(raw).unwrap(),
            server_time: None,
        }
    }

    #[test]
    fn a_write_names_its_fields_and_leaves_the_others_byte_for_byte() {
        let raw = raw(
            r#"{"A":"a\u003cb","jwt":"now","jwt_PREVIOUS":"old","N":1.50,"L":[1, 2.0],"Z":null,"DLCONF_OTHER":"x"}"#,
        );
        let change = Change {
            set: vec![(Slot::Next, Arc::new("quote\" and\nline".into()))],
            remove: vec![Slot::Previous],
            progress: progress(),
        };
        let body = body(&raw, 7, &document(&raw, "jwt"), &change).unwrap();
        assert_eq!(body.capacity(), body.len(), "made in one piece");
        let state = Ledger::default().with("jwt", progress()).to_text();
        let state = serde_json::to_string(&state).unwrap();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!(
                "{{\"options\":{{\"cas\":7}},\"data\":{{\"A\":\"a\\u003cb\",\"DLCONF_OTHER\":\"x\",\
                 \"DLCONF_STATE\":{state},\"L\":[1, 2.0],\"N\":1.50,\"Z\":null,\"jwt\":\"now\",\
                 \"jwt_NEXT\":\"quote\\\" and\\nline\"}}}}"
            )
        );
    }

    #[test]
    fn the_state_of_another_variable_stays() {
        let other = Ledger::default().with("OTHER", Progress { count: 3, ..Progress::default() });
        let raw = raw(&serde_json::json!({ "A": "1", "DLCONF_STATE": other.to_text() }).to_string());
        let change = Change { set: Vec::new(), remove: Vec::new(), progress: progress() };
        let body = body(&raw, 1, &document(&raw, "A"), &change).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let written = Ledger::parse(body["data"]["DLCONF_STATE"].as_str().unwrap()).unwrap();
        assert_eq!(written, other.with("A", progress()));
    }

    #[test]
    fn slots_are_what_is_there_and_not_empty() {
        let raw = raw(
            r#"{"A":"1","A_NEXT":"","A_PREVIOUS":null,"A_2":5,"A_OTHER":"x","B":"y","DLCONF_KEPT_A":"k","DLCONF_KEPT_B":"l"}"#,
        );
        let told: Vec<(Slot, String)> =
            slots(&raw, "A").into_iter().map(|(slot, value)| (slot, value.expose().to_owned())).collect();
        let expect = [(Slot::Current, "1"), (Slot::Numbered(2), "5"), (Slot::Kept, "k")];
        assert_eq!(told, expect.map(|(slot, value)| (slot, value.to_owned())));
    }

    #[test]
    fn what_is_no_state_is_never_an_empty_one() {
        for (state, expect) in [
            ("null", Ok(Ledger::default())),
            ("\"\"", Err(LedgerError::Malformed)),
            ("{\"version\":1}", Err(LedgerError::Malformed)),
            ("7", Err(LedgerError::Malformed)),
            ("\"{\\\"version\\\":9}\"", Err(LedgerError::Version(9))),
            ("\"{\\\"version\\\":1}\"", Ok(Ledger::default())),
        ] {
            assert_eq!(ledger(&raw(&format!("{{\"DLCONF_STATE\":{state}}}"))), expect, "{state}");
        }
        assert_eq!(ledger(&raw("{}")), Ok(Ledger::default()));
    }

    #[test]
    fn another_secret_under_the_same_number_is_not_the_document() {
        let before = raw(r#"{"A":"1","A_NEXT":"2","B":"x"}"#);
        let document = document(&before, "A");
        assert!(is_still(&raw(r#"{"A":"1","A_NEXT":"2","B":"y","C":"z"}"#), &document));
        for other in [
            r#"{"A":"1","A_NEXT":"3"}"#,
            r#"{"A":"1"}"#,
            r#"{"A":"1","A_NEXT":"2","A_PREVIOUS":"0"}"#,
            r#"{"A":"1","A_NEXT":"2","DLCONF_STATE":"x"}"#,
            r#"{"A":"1","A_NEXT":"2","DLCONF_STATE":"{\"version\":1,\"later\":2}"}"#,
        ] {
            assert!(!is_still(&raw(other), &document), "{other}");
        }
    }
}
