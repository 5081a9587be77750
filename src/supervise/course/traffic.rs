//! What goes into a course, and what comes out.

use std::sync::Arc;
use std::time::Duration;

use crate::process::{Ended, Signal};
use crate::supervise::happening::Happening;
use crate::supervise::offer::Offer;

/// What happens.
#[derive(Debug)]
pub(in crate::supervise) enum Input {
    /// There is a valid configuration, perhaps the same as before.
    Offered(Arc<Offer>),
    /// [`Step::Start`] was done: the program's number.
    Started(i32),
    /// It could not be: an exit code, and why.
    NotStarted(u8, String),
    /// The program ended, whoever wanted that.
    Ended(Ended),
    /// Nothing is left of it and what it started.
    Gone,
    /// [`Step::Reload`] was done, or why it was not.
    Reloaded(Result<(), String>),
    /// It was proven to work.
    Healthy,
    /// It stood still for so long, with us.
    Suspended(Duration),
    /// Somebody sent us a signal.
    Signalled(Signal),
    /// It is our turn to restart it.
    OurTurn,
    /// A moment that [`Course::due`](super::Course::due) named has come.
    Due,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(in crate::supervise) enum Step {
    /// Start the program with this.
    Start(Arc<Offer>),
    /// Signal the program and all that it started in its group.
    Signal(Signal),
    /// Pass a signal on, unless the terminal has.
    Pass(Signal),
    /// Tell the program that this is what it is to run with.
    Reload(Arc<Offer>),
    /// See whether it works, until told otherwise.
    Prove,
    /// Ask for the turn to restart it.
    Queue,
    /// Give the turn back, or leave the queue.
    Leave,
    /// Tell people.
    Tell(Happening),
    /// End as the program did.
    End(Ended),
}
