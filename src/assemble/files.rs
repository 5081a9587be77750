//! The files that settings and schema were read from, watched.

use std::sync::Arc;

use crate::disk::stamp::Stamp;
use crate::settings::ShownPath;
use crate::source::notice::{FileWatch, Notices};

/// These files, as they were when they were read.
pub struct WatchedFiles {
    watch: FileWatch,
    files: Vec<(ShownPath, Option<Stamp>)>,
}

impl WatchedFiles {
    /// Watches them, from now on.
    pub fn new(hub: &Arc<Notices>, files: Vec<(ShownPath, Option<Stamp>)>) -> Self {
        let paths = files.iter().map(|(file, _)| file.path.clone()).collect();
        Self { watch: hub.watch(paths), files }
    }

    /// Waits until one of them is another than it was when it was read; which, as the
    /// user wrote them. It may be dropped at any time.
    pub async fn changed(&mut self) -> Vec<String> {
        loop {
            let others = self.others();
            if !others.is_empty() {
                return others;
            }
            self.watch.changed().await;
        }
    }

    /// Those that are other than at the last look.
    fn others(&mut self) -> Vec<String> {
        let mut others = Vec::new();
        for (file, stamp) in &mut self.files {
            let now = file.stamp();
            if now != *stamp {
                others.push(file.label.clone());
            }
            *stamp = now;
        }
        others
    }
}
