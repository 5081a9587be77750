//! Before a program is started: what must be there before anything is read.
//!
//! Invariants: how we found our signals is looked at before any is listened to; from
//! then on none is lost, and who told us to end before the program was started is
//! obeyed without starting it.
//! Must not know: where values come from.

use tokio::runtime::Runtime;
use tokio::task::yield_now;

use crate::cli::assemble::runtime;
use crate::cli::{Failure, exit};
use crate::process::{Ended, Found, Hardened, Heard, Signal, Signals};
use crate::supervise::Ourselves;

/// Somebody told us to end before there was a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Told(Signal);

impl Told {
    /// How that ends us, as it would end a program that does not care.
    pub(in crate::cli) fn ended(self) -> Ended {
        Ended::of(self.0)
    }
}

/// A runtime, and what a supervisor hears from now on.
pub(in crate::cli) fn set(hardened: Hardened) -> Result<(Runtime, Ourselves), Failure> {
    let runtime = runtime()?;
    let (found, signals) = {
        let _entered = runtime.enter();
        listen()?
    };
    Ok((runtime, Ourselves { hardened, found, signals }))
}

/// How we found our signals, and what we hear of them from now on. To be called in a
/// runtime.
pub(super) fn listen() -> Result<(Found, Signals), Failure> {
    let found = Found::look();
    let signals = Signals::listen().map_err(|error| {
        Failure::new(exit::RUN_FAILED, format!("the system refuses signal handlers: {error}"), None)
    })?;
    Ok((found, signals))
}

/// Waits for something, unless somebody tells us to end. What else we are sent is for a
/// program that is not there yet.
pub(in crate::cli) async fn unless_told<T>(
    ourselves: &mut Ourselves,
    work: impl Future<Output = T>,
) -> Result<T, Told> {
    let told = async {
        loop {
            if let Heard::Passed(signal) = ourselves.signals.next().await
                && ends(signal)
                && !ourselves.found.ignores(signal)
            {
                return Told(signal);
            }
        }
    };
    let work = async {
        let done = work.await;
        // What came meanwhile is heard only when the runtime has looked.
        yield_now().await;
        done
    };
    tokio::select! {
        biased;
        told = told => Err(told),
        done = work => Ok(done),
    }
}

/// Whether it ends a program that does not care.
pub(in crate::cli) fn ends(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT)
}
