//! Our place in the queue of those that want to restart. Pure.

use super::traffic::Step;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// There is no queue.
    Free,
    /// We do not want to restart.
    Out,
    Waits,
    /// It is our turn.
    Has,
}

impl Place {
    pub(super) fn new(queues: bool) -> Self {
        if queues { Self::Out } else { Self::Free }
    }

    /// Whether a change may stop the program now; if not, our turn is asked for.
    pub(super) fn may_restart(&mut self, steps: &mut Vec<Step>) -> bool {
        match self {
            Self::Free | Self::Has => return true,
            Self::Out => {
                steps.push(Step::Queue);
                *self = Self::Waits;
            }
            Self::Waits => {}
        }
        false
    }

    /// Our turn has come: whether it was waited for.
    pub(super) fn comes(&mut self) -> bool {
        let waited = *self == Self::Waits;
        if waited {
            *self = Self::Has;
        }
        waited
    }

    /// We do not want to restart, or have.
    pub(super) fn leave(&mut self, steps: &mut Vec<Step>) {
        if matches!(self, Self::Waits | Self::Has) {
            *self = Self::Out;
            steps.push(Step::Leave);
        }
    }
}
