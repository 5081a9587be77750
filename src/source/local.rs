//! What sources over local files share: when they were read, and that they changed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::notice::{FileWatch, Notices};
use super::{SourceError, Vitals};
use crate::model::layer::Layer;

/// A source that could not be read is tried again after this.
const AFTER_A_FAULT: Duration = Duration::from_secs(2);

/// A source's last whole read, and its watch, where somebody wants to know of
/// changes.
#[derive(Debug, Default)]
pub(super) struct Local {
    confirmed: Mutex<Option<Instant>>,
    /// Whether the last read failed: what passes by itself tells nobody.
    failed: AtomicBool,
    watch: Option<FileWatch>,
    /// We wrote: nobody need be told by the kernel.
    woken: Notify,
}

impl Local {
    /// Watches these files from now on.
    pub(super) fn of_files(notices: &Arc<Notices>, paths: Vec<PathBuf>) -> Self {
        Self { watch: Some(notices.watch(paths)), ..Self::default() }
    }

    /// Watches a directory of files from now on.
    pub(super) fn of_directory(notices: &Arc<Notices>, path: &Path) -> Self {
        Self { watch: Some(notices.watch_directory(path)), ..Self::default() }
    }

    /// Reads, and notes when that gave the whole.
    pub(super) fn read(
        &self,
        read: impl FnOnce() -> Result<Layer, SourceError>,
    ) -> Result<Layer, SourceError> {
        let begun = Instant::now();
        self.note(begun, read())
    }

    /// Notes what came of a read that began then.
    pub(super) fn note(
        &self,
        begun: Instant,
        read: Result<Layer, SourceError>,
    ) -> Result<Layer, SourceError> {
        self.failed.store(read.is_err(), Ordering::Relaxed);
        let layer = read?;
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        Ok(layer)
    }

    /// Waits for a change; for ever, where nobody wants to know.
    pub(super) async fn changed(&self) {
        let Some(watch) = &self.watch else { return std::future::pending().await };
        let noticed = async {
            if self.failed.load(Ordering::Relaxed) {
                let _soon_enough = timeout(AFTER_A_FAULT, watch.changed()).await;
            } else {
                watch.changed().await;
            }
        };
        tokio::select! {
            () = noticed => {}
            () = self.woken.notified() => {}
        }
    }

    /// Ends the present or the next wait for a change.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    pub(super) fn vitals(&self) -> Vitals {
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        Vitals { confirmed, lent: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::SourceName;

    #[tokio::test(start_paused = true)]
    async fn who_wrote_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::of_files(&Notices::new(), vec![folder.path().join("a.env")]);
        let begun = Instant::now();
        local.wake();
        local.changed().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        local.changed().await;
        assert!(begun.elapsed() > AFTER_A_FAULT, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_read_is_tried_again_soon() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::of_files(&Notices::new(), vec![folder.path().join("a.env")]);
        let source = SourceName::new("a");
        let layer =
            || Layer { source: source.clone(), places: Vec::new(), offers: Vec::new(), remarks: Vec::new() };
        let failed = || SourceError { source_name: source.clone(), faults: Vec::new(), rest: None };
        let waits = async || {
            let begun = Instant::now();
            local.changed().await;
            begun.elapsed()
        };
        assert!(local.read(|| Err(failed())).is_err());
        assert!(waits().await <= AFTER_A_FAULT + Duration::from_millis(1));
        assert!(local.read(|| Ok(layer())).is_ok());
        assert!(waits().await > 2 * AFTER_A_FAULT);
    }
}
