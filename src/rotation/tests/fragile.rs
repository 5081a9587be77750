//! A source whose writes go wrong, and work that ends half way.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;
use dlconf::model::key::{Key, SourceName};
use dlconf::model::layer::Layer;
use dlconf::model::origin::Revision;
use dlconf::source::writable::{Change, Document, WritableSource, WriteError, WriteErrorKind};
use dlconf::source::{Ask, Source, SourceError};
use tokio::task::yield_now;

/// What goes wrong with the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Somebody else wrote meanwhile.
    Conflict,
    /// It was never heard.
    LostBefore,
    /// It was done, and the answer got lost.
    LostAfter,
}

/// Another source, at which everybody who waits lets others go first. It has no clock:
/// the tests have their own.
pub(crate) struct Fragile {
    inner: Arc<dyn Source>,
    next: Mutex<Option<Trouble>>,
}

impl Fragile {
    pub(crate) fn new(inner: Arc<dyn Source>) -> Arc<Self> {
        Arc::new(Self { inner, next: Mutex::default() })
    }

    /// What goes wrong with the next write.
    pub(crate) fn expect(&self, trouble: Option<Trouble>) {
        *self.next.lock().unwrap() = trouble;
    }

    fn writer(&self) -> &dyn WritableSource {
        self.inner.writable().unwrap()
    }
}

#[async_trait]
impl Source for Fragile {
    fn name(&self) -> &SourceName {
        self.inner.name()
    }

    async fn fetch(&self, ask: Ask<'_>) -> Result<Layer, SourceError> {
        self.inner.fetch(ask).await
    }

    fn writable(&self) -> Option<&dyn WritableSource> {
        Some(self)
    }
}

fn failure(kind: WriteErrorKind) -> WriteError {
    WriteError { kind, message: "it was to go wrong".into(), help: "try it again".into() }
}

#[async_trait]
impl WritableSource for Fragile {
    async fn open(&self, owner: &Key) -> Result<Document, WriteError> {
        yield_now().await;
        let document = self.writer().open(owner).await?;
        yield_now().await;
        Ok(Document { server_time: None, ..document })
    }

    async fn write(&self, document: &Document, change: &Change) -> Result<Revision, WriteError> {
        yield_now().await;
        let trouble = self.next.lock().unwrap().take();
        match trouble {
            Some(Trouble::Conflict) => return Err(failure(WriteErrorKind::Conflict)),
            Some(Trouble::LostBefore) => return Err(failure(WriteErrorKind::Unavailable)),
            Some(Trouble::LostAfter) | None => {}
        }
        let written = self.writer().write(document, change).await;
        yield_now().await;
        if trouble.is_some() { written.and(Err(failure(WriteErrorKind::Unavailable))) } else { written }
    }

    async fn before(&self, document: &Document, owner: &Key) -> Result<Option<Document>, WriteError> {
        yield_now().await;
        let before = self.writer().before(document, owner).await?;
        Ok(before.map(|before| Document { server_time: None, ..before }))
    }
}

/// Drops work when it would go on for the last of so many times; what came of it, if it
/// was done by then.
pub(crate) async fn cut<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (Box::pin(work), polls);
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}
