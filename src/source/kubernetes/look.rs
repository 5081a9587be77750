//! Reading one object, and finding it among all without reading it.

use super::data::{Given, Stored};
use super::{Shared, Slot};
use crate::kubernetes::{
    Items, Kind, Lines, Meta, Misfit, Name, Object, Said, Shape, Trouble, Verb, Why, missing,
};

/// What the source does with an object.
pub(super) const VERBS: [Verb; 3] = [Verb::Get, Verb::List, Verb::Watch];

/// What a list tells of one object.
pub(super) struct Found {
    /// From which version on a watch goes on.
    pub(super) version: Box<str>,
    /// None where it is not there.
    pub(super) meta: Option<Meta>,
}

impl Shared {
    /// The object, and where it is.
    pub(super) async fn object(&self, slot: &Slot) -> Result<Object, Trouble> {
        let (kind, name): (Kind, Name) = {
            let spec = &slot.tracked().spec;
            (spec.kind, spec.name.clone())
        };
        if let Some(namespace) = self.namespace.get() {
            return Ok(Object { kind, namespace: namespace.clone(), name });
        }
        let namespace = match &self.config.namespace {
            Some(namespace) => Some(namespace.clone()),
            None => self.client.namespace().await?,
        };
        let namespace = namespace.ok_or_else(|| {
            Why::Access(Misfit {
                message: format!("{}: the namespace that it names is none", self.client.label()),
                help: "correct it, or name one: `namespace` in the settings".into(),
            })
        })?;
        Ok(Object { kind, namespace: self.namespace.get_or_init(|| namespace).clone(), name })
    }

    /// Reads it, and notes what came of that. True if somebody has to be told.
    pub(super) async fn read(&self, slot: &Slot) -> bool {
        let _turn = slot.turn.lock().await;
        let object = match self.object(slot).await {
            Ok(object) => object,
            Err(trouble) => return slot.tracked().failed(Verb::Get, trouble, Vec::new()),
        };
        match self.get(slot, &object).await {
            Ok((meta, given)) => slot.tracked().took(&meta, given),
            Err(Trouble { why: Why::NotFound, .. }) => slot.tracked().is_absent(),
            Err(trouble) => self.fail(slot, &object, Verb::Get, trouble).await,
        }
    }

    /// Reads it where it can be neither found nor watched, so that a change comes
    /// late rather than never. True if it has changed.
    pub(super) async fn read_aside(&self, slot: &Slot, object: &Object) -> bool {
        let _turn = slot.turn.lock().await;
        match self.get(slot, object).await {
            Ok((meta, given)) => slot.tracked().took_aside(&meta, given),
            Err(_what_failed_before_is_told) => false,
        }
    }

    async fn get(&self, slot: &Slot, object: &Object) -> Result<(Meta, Given), Trouble> {
        let stored: Stored = self.client.ask(Said::get(object.path(), Shape::Whole)).await?;
        if !stored.is(object) {
            return Err(Why::NotTheApi.into());
        }
        let meta = stored.metadata.clone();
        let spec = slot.tracked().spec.clone();
        Ok((meta, stored.take(&spec, &self.known())))
    }

    /// Notes a failure; where something is not permitted, the server is asked what
    /// else is not. True if that is news.
    pub(super) async fn fail(&self, slot: &Slot, object: &Object, verb: Verb, trouble: Trouble) -> bool {
        let missing = match trouble.why {
            Why::Forbidden => missing(&self.client, object, &VERBS).await.unwrap_or_default(),
            _ => Vec::new(),
        };
        slot.tracked().failed(verb, trouble, missing)
    }

    /// Finds it, by the one selector that a Role with `resourceNames` allows.
    pub(super) async fn find(&self, object: &Object) -> Result<Found, Trouble> {
        let target = format!("{}?{}", object.collection(), object.selector());
        let list: Items = self.client.ask(Said::get(target, Shape::ListOfMeta)).await?;
        let mut items = list.items.into_iter().flatten().map(|item| item.metadata);
        let meta = items.find(|meta| *meta.name == *object.name.as_str());
        Ok(Found { version: list.metadata.resource_version, meta })
    }

    /// Begins to watch it from a version on, for so many seconds.
    pub(super) async fn follow(
        &self,
        object: &Object,
        version: &str,
        seconds: u64,
    ) -> Result<Lines, Trouble> {
        let target = format!(
            "{}?watch=true&allowWatchBookmarks=true&{}&resourceVersion={}&timeoutSeconds={seconds}",
            object.collection(),
            object.selector(),
            escaped(version),
        );
        self.client.watch(Said::get(target, Shape::Meta)).await
    }
}

/// A version is the server's own text; it may not become more of the query.
fn escaped(version: &str) -> String {
    url::form_urlencoded::byte_serialize(version.as_bytes()).collect()
}
