//! Leases that carry a note each: who holds one says something, and again and again that
//! it still holds.
//!
//! Owns: where the note is in the object, and the label by which all of a board are found.
//! Invariants: what is written carries the version that was read, so that of two who are
//! as quick the API server refuses one; what others keep in the object stays; a list is
//! bounded.
//! Must not know: what a note says; how long it counts.

use std::time::{Duration, SystemTime};

use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::client::{Client, Said, Shape};
use super::lease::{Spec, Written};
use super::object::{Kind, Name, Object};
use super::server::Server;
use super::trouble::{Misfit, Trouble, Why};

/// The annotation that has the note.
const SAID: &str = "dlconf.dev/said";

/// The label that names the board.
const BOARD: &str = "dlconf.dev/acknowledgement";

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many a page of a list has: a page has to fit into one answer.
const PAGE: usize = 200;

/// How many pages.
const PAGES: usize = 50;

/// All notes of a board.
pub(crate) struct Notes {
    client: Client,
    board: Name,
}

/// A note as it stands in its Lease.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub(crate) name: Box<str>,
    /// None where nobody holds it any more.
    pub(crate) holder: Option<Box<str>>,
    /// When its holder said so, by the holder's clock, as it is written.
    pub(crate) renewed: Option<Box<str>>,
    pub(crate) life: Duration,
    pub(crate) text: Option<Box<str>>,
    written: Written,
}

/// What a list gives.
pub(crate) struct Listed {
    pub(crate) notes: Vec<Note>,
    /// By the server's clock.
    pub(crate) at: Option<SystemTime>,
}

impl Note {
    fn of(written: Written) -> Self {
        let text = |path: &str, name: &str| {
            written.metadata.get(path).and_then(|part| part.get(name)).and_then(Value::as_str).map(Box::from)
        };
        let name = written.metadata.get("name").and_then(Value::as_str).unwrap_or_default().into();
        Self {
            name,
            holder: written.spec.holder().map(Box::from),
            renewed: written.spec.renewed().map(Box::from),
            life: written.spec.duration(),
            text: text("annotations", SAID),
            written,
        }
    }

    /// One as the API writes it.
    #[cfg(test)]
    pub(crate) fn of_json(lease: Value) -> Self {
        Self::of(serde_json::from_value(lease).unwrap())
    }

    /// When its holder said so, by the holder's clock.
    pub(crate) fn renewed_at(&self) -> Option<SystemTime> {
        let time = chrono::DateTime::parse_from_rfc3339(self.renewed.as_deref()?).ok()?;
        Some(time.into())
    }

    fn part(&self, name: &str) -> &str {
        self.written.metadata.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn board(&self) -> Option<&str> {
        self.written.metadata.get("labels")?.get(BOARD)?.as_str()
    }
}

impl Notes {
    /// Asks nobody yet.
    pub(crate) fn new(server: Server, board: Name) -> Self {
        Self { client: Client::new(server, PATIENCE), board }
    }

    /// The server, as messages call it.
    pub(crate) fn label(&self) -> String {
        self.client.label()
    }

    /// Where the Leases are.
    ///
    /// # Errors
    /// [`Trouble`] where nothing names a namespace.
    pub(crate) async fn namespace(&self) -> Result<Name, Trouble> {
        self.client.namespace().await?.ok_or_else(|| {
            Why::Access(Misfit {
                message: format!("{} names no namespace", self.client.label()),
                help: "name one in the kubeconfig's context".into(),
            })
            .into()
        })
    }

    /// Whether a Lease of that name is one of the board's.
    pub(crate) fn has(&self, note: &Note) -> bool {
        note.board() == Some(self.board.as_str())
    }

    async fn object(&self, name: &Name) -> Result<Object, Trouble> {
        Ok(Object { kind: Kind::Lease, namespace: self.namespace().await?, name: name.clone() })
    }

    /// What stands in a Lease; none where there is no such Lease.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) async fn read(&self, name: &Name) -> Result<Option<Note>, Trouble> {
        let object = self.object(name).await?;
        match self.client.ask::<Written>(Said::get(object.path(), Shape::Whole)).await {
            Ok(written) => Ok(Some(Note::of(written.checked()?))),
            Err(trouble) if trouble.why == Why::NotFound => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Writes a note over what was found, or anew; what stands there then.
    ///
    /// # Errors
    /// [`Trouble`]: `Conflict` and `NotFound` where somebody was quicker.
    pub(crate) async fn write(
        &self,
        name: &Name,
        found: Option<Note>,
        holder: &str,
        text: &str,
        life: Duration,
    ) -> Result<Note, Trouble> {
        let is_new = found.as_ref().is_none_or(|found| found.holder.as_deref() != Some(holder));
        let (mut metadata, spec) = match found {
            Some(found) => (Some(found.written.metadata), found.written.spec),
            None => (None, Spec::default()),
        };
        let spec = spec.held_for(holder, is_new, life, SystemTime::now());
        set(metadata.get_or_insert_default(), "annotations", SAID, text);
        set(metadata.get_or_insert_default(), "labels", BOARD, self.board.as_str());
        self.put(name, metadata.unwrap_or_default(), spec).await
    }

    /// Nobody holds it any more.
    ///
    /// # Errors
    /// [`Trouble`], as of [`Self::write`].
    pub(crate) async fn free(&self, name: &Name, found: Note) -> Result<(), Trouble> {
        let spec = found.written.spec.free(SystemTime::now());
        self.put(name, found.written.metadata, spec).await.map(drop)
    }

    async fn put(&self, name: &Name, mut metadata: Map<String, Value>, spec: Spec) -> Result<Note, Trouble> {
        let object = self.object(name).await?;
        let (method, target) = if metadata.contains_key("resourceVersion") {
            (Method::PUT, object.path())
        } else {
            metadata.insert("name".into(), json!(name.as_str()));
            metadata.insert("namespace".into(), json!(object.namespace.as_str()));
            (Method::POST, object.collection())
        };
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
        });
        let body = Some(lease.to_string().into_bytes());
        let written: Written = self.client.ask(Said { method, target, shape: Shape::Whole, body }).await?;
        Ok(Note::of(written.checked()?))
    }

    /// Deletes the Lease, if nobody wrote it since.
    ///
    /// # Errors
    /// [`Trouble`]: `Conflict` where somebody did.
    pub(crate) async fn delete(&self, note: &Note) -> Result<(), Trouble> {
        let Some(name) = Name::object(&note.name) else { return Ok(()) };
        let conditions = json!({ "uid": note.part("uid"), "resourceVersion": note.part("resourceVersion") });
        let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": conditions });
        let said = Said {
            method: Method::DELETE,
            target: self.object(&name).await?.path(),
            shape: Shape::Whole,
            body: Some(options.to_string().into_bytes()),
        };
        self.client.ask::<IgnoredAny>(said).await.map(drop)
    }

    /// The query of a page.
    fn page(&self, next: Option<&str>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("labelSelector", &format!("{BOARD}={}", self.board));
        query.append_pair("limit", &PAGE.to_string());
        query.extend_pairs(next.map(|next| ("continue", next)));
        query.finish()
    }

    /// All of the board.
    ///
    /// # Errors
    /// [`Trouble`]; `TooLarge` where there are more than anybody has.
    pub(crate) async fn list(&self) -> Result<Listed, Trouble> {
        #[derive(Deserialize)]
        struct Page {
            metadata: Head,
            #[serde(default)]
            items: Option<Vec<Written>>,
        }
        #[derive(Deserialize)]
        struct Head {
            #[serde(default, rename = "continue")]
            next: Option<String>,
        }
        let collection = self.object(&self.board).await?.collection();
        let mut listed = Listed { notes: Vec::new(), at: None };
        let mut next: Option<String> = None;
        for _ in 0..PAGES {
            let said = Said::get(format!("{collection}?{}", self.page(next.as_deref())), Shape::Whole);
            let (page, at): (Page, _) = self.client.ask_dated(said).await?;
            listed.at = listed.at.or(at);
            // Who passes our selector over does not get its Leases believed.
            let notes = page.items.into_iter().flatten().map(Note::of);
            listed.notes.extend(notes.filter(|note| self.has(note)));
            next = page.metadata.next.filter(|next| !next.is_empty());
            if next.is_none() {
                return Ok(listed);
            }
        }
        Err(Why::TooLarge.into())
    }
}

/// Sets one label or annotation.
fn set(metadata: &mut Map<String, Value>, part: &str, name: &str, text: &str) {
    let part = metadata.entry(part).or_insert(Value::Null);
    if !part.is_object() {
        *part = Value::Object(Map::new());
    }
    if let Value::Object(part) = part {
        part.insert(name.to_owned(), text.into());
    }
}
