//! What the API's answers look like, as far as they are looked at.
//!
//! Invariants: annotations are never kept (`kubectl apply` keeps a copy of the
//! values in one), nor what a status says in words.
//! Source: recordings of kube-apiserver 1.36, `tests/fixtures/kubernetes`.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::trouble::{Status, Trouble, Why};

/// The metadata of one object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    #[serde(default)]
    pub(crate) name: Box<str>,
    #[serde(default)]
    pub(crate) uid: Box<str>,
    pub(crate) resource_version: Box<str>,
    #[serde(default)]
    creation_timestamp: Option<Box<str>>,
    #[serde(default)]
    managed_fields: Vec<Managed>,
    /// Whether an annotation has a copy of the object.
    #[serde(default, rename = "annotations", deserialize_with = "has_a_copy")]
    pub(crate) has_a_copy: bool,
}

/// Where `kubectl apply` keeps the copy.
const COPY: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn has_a_copy<'de, D: Deserializer<'de>>(annotations: D) -> Result<bool, D::Error> {
    Ok(Names::deserialize(annotations)?.has(COPY))
}

/// The names of a map, whose values are not looked at.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<Box<str>>);

impl Names {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(map: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map, or null")
            }

            fn visit_unit<E>(self) -> Result<Names, E> {
                Ok(Names::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = BTreeSet::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<Box<str>, IgnoredAny>()? {
                    names.insert(name);
                }
                Ok(Names(names))
            }
        }
        map.deserialize_any(Reader)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Managed {
    #[serde(default)]
    time: Option<Box<str>>,
}

impl Meta {
    /// When it was last written, as far as the server tells.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        let times = self.managed_fields.iter().filter_map(|managed| managed.time.as_deref());
        let written = times.filter_map(|time| chrono::DateTime::parse_from_rfc3339(time).ok()).max();
        let created = || chrono::DateTime::parse_from_rfc3339(self.creation_timestamp.as_deref()?).ok();
        written.or_else(created).map(SystemTime::from)
    }
}

/// An object of which only the metadata is looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct MetaOnly {
    pub(crate) metadata: Meta,
}

/// A list of objects.
#[derive(Debug, Deserialize)]
pub(crate) struct Items {
    pub(crate) metadata: ListMeta,
    /// Servers before 1.21 say `null` where there are none.
    #[serde(default)]
    pub(crate) items: Option<Vec<MetaOnly>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMeta {
    pub(crate) resource_version: Box<str>,
}

/// One line of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is there, added or changed.
    There(Meta),
    /// It was deleted: the server states it.
    Deleted(Meta),
    /// Nothing happened up to this version.
    Bookmark(Box<str>),
}

impl Event {
    /// Reads a line.
    ///
    /// # Errors
    /// [`Trouble`] for what the server says is wrong, and for what is no event.
    pub(super) fn read(line: &[u8]) -> Result<Self, Trouble> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Marked {
            metadata: ListMeta,
        }
        let nonsense = |_| Trouble::from(Why::NotTheApi);
        let raw: Raw<'_> = serde_json::from_slice(line).map_err(nonsense)?;
        let meta = || serde_json::from_str::<MetaOnly>(raw.object.get()).map(|object| object.metadata);
        match raw.kind {
            "ADDED" | "MODIFIED" => meta().map(Self::There).map_err(nonsense),
            "DELETED" => meta().map(Self::Deleted).map_err(nonsense),
            "BOOKMARK" => {
                let marked: Marked = serde_json::from_str(raw.object.get()).map_err(nonsense)?;
                Ok(Self::Bookmark(marked.metadata.resource_version))
            }
            "ERROR" => {
                let status: Status = serde_json::from_str(raw.object.get()).map_err(nonsense)?;
                Err(Trouble::of_status(status.code.unwrap_or(500), None, raw.object.get().as_bytes()))
            }
            _ => Err(Why::NotTheApi.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_the_server_writes_them() {
        let line = br#"{"type":"BOOKMARK","object":{"kind":"Secret","apiVersion":"v1","metadata":{"resourceVersion":"226"}}}"#;
        assert_eq!(Event::read(line), Ok(Event::Bookmark("226".into())));
        let line = br#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (259)","reason":"Expired","code":410}}"#;
        assert_eq!(Event::read(line).unwrap_err().why, Why::Expired);
        let line =
            br#"{"type":"DELETED","object":{"metadata":{"name":"db","uid":"u","resourceVersion":"7"}}}"#;
        assert!(matches!(Event::read(line), Ok(Event::Deleted(meta)) if &*meta.resource_version == "7"));
        for nonsense in
            [&b"<html>"[..], b"", b"{}", br#"{"type":"NEW","object":{}}"#, br#"{"type":"ADDED","object":{}}"#]
        {
            assert_eq!(Event::read(nonsense).unwrap_err().why, Why::NotTheApi);
        }
    }

    #[test]
    fn a_list_of_none_is_written_in_two_ways() {
        for none in ["[]", "null"] {
            let text = format!(r#"{{"metadata":{{"resourceVersion":"7"}},"items":{none}}}"#);
            let list: Items = serde_json::from_str(&text).unwrap();
            assert_eq!((&*list.metadata.resource_version, list.items.unwrap_or_default().len()), ("7", 0));
        }
    }

    #[test]
    fn a_copy_of_the_values_is_seen_and_not_kept() {
        let meta = |annotations: &str| -> Meta {
            serde_json::from_str(&format!(r#"{{"resourceVersion":"1"{annotations}}}"#)).unwrap()
        };
        let copy = r#","annotations":{"a":"b","kubectl.kubernetes.io/last-applied-configuration":"canary"}"#;
        let copy = meta(copy);
        assert!(copy.has_a_copy && !format!("{copy:?}").contains("canary"));
        for none in ["", r#","annotations":null"#, r#","annotations":{"a":"kubectl"}"#] {
            assert!(!meta(none).has_a_copy, "{none}");
        }
    }

    #[test]
    fn an_object_was_written_when_the_last_of_its_writers_wrote() {
        let meta: Meta = serde_json::from_str(
            r#"{"name":"db","resourceVersion":"1","creationTimestamp":"2026-11-21T23:12:39Z",
                "managedFields":[{"time":"2026-11-21T23:12:40Z"},{"time":"2026-11-21T23:12:42Z"},{}]}"#,
        )
        .unwrap();
        let at = |text| SystemTime::from(chrono::DateTime::parse_from_rfc3339(text).unwrap());
        assert_eq!(meta.modified(), Some(at("2026-11-21T23:12:42Z")));
        let meta: Meta =
            serde_json::from_str(r#"{"resourceVersion":"1","creationTimestamp":"2026-11-21T23:12:39Z"}"#)
                .unwrap();
        assert_eq!(meta.modified(), Some(at("2026-11-21T23:12:39Z")));
    }
}
