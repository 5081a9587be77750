//! A command that looks whether a program works.
//!
//! Invariants: nobody hears or sees it; it ends, with all that it started in its group,
//! when its answer is known or not wanted any more.
//! Must not know: what its answer means.

use std::ffi::OsString;
use std::fs::File;

use tokio::time::{Instant, sleep_until};

use super::super::handing::Handed;
use crate::process::{Found, Hardened, Job, Launch, Pid, Place};

/// One that runs. Killed when dropped.
pub(super) struct Look {
    /// None only when it is being dropped.
    job: Option<Job>,
    until: Instant,
}

impl Look {
    /// Starts one.
    ///
    /// # Errors
    /// Why it cannot be, as a clause.
    pub(super) fn begin(
        hardened: Hardened,
        found: Found,
        command: &[OsString],
        handed: &Handed,
        until: Instant,
    ) -> Result<Self, String> {
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| format!("/dev/null: {error}"))?;
        let launch = Launch { streams: Some(&null), ..handed.launch(command, Place::Group) };
        let job = Job::start(hardened, found, &launch).map_err(|error| error.to_string())?;
        Ok(Self { job: Some(job), until })
    }

    /// Waits until it has run for too long: then it has shown nothing.
    pub(super) async fn too_long(&self) -> Result<(), String> {
        sleep_until(self.until).await;
        Err("the command took too long".into())
    }

    pub(super) fn leader(&self) -> Option<Pid> {
        self.job.as_ref().map(Job::leader)
    }

    /// Notes that this child was reaped. Whether that was it.
    pub(super) fn ended(&mut self, pid: Pid) -> bool {
        match &mut self.job {
            Some(job) if job.leader() == pid => {
                job.ended();
                true
            }
            _ => false,
        }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            job.kill();
        }
    }
}
