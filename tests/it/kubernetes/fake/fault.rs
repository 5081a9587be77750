//! What goes wrong, planned by the test: per verb and object, in order. What a test
//! prepares its cluster with (`client::FIXTURE`) meets none of it.

use std::collections::VecDeque;

use super::ask::Seen;

/// What happens instead of an answer, or to it.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A failure of the server with this code, as a `Status`.
    Status(u16),
    /// 429 in plain text, with so many seconds of `Retry-After`.
    TooMany(u64),
    /// `Expired`: a list answers 410, a watch 200 and an ERROR event.
    Gone,
    /// A page of something that stands between, with 200.
    Page,
    /// 200, and half of the document as if it were all.
    Half,
    /// Takes the request and says nothing.
    Silence,
    /// The end of the connection instead of an answer.
    Close,
    /// A whole answer that breaks off half-way; a watch does so after so many events,
    /// in the middle of the next event's line and chunk.
    CutAfter(usize),
    /// The head of an answer, and nothing more: no event, no end.
    Mute,
    /// 200, and a JSON string in chunks that never ends.
    Endless,
    /// The same, a byte every 20 ms.
    Drip,
    /// 200 and these lines as a stream, which then ends in order.
    Lines(Vec<String>),
}

struct Plan {
    verb: String,
    object: String,
    faults: VecDeque<Fault>,
    always: bool,
}

/// What is planned.
#[derive(Default)]
pub(super) struct Plans(Vec<Plan>);

impl Plans {
    /// `what` is `VERB RESOURCE/NAME`; a `*` stands for any verb, and for any object.
    pub(super) fn add(&mut self, what: &str, faults: impl IntoIterator<Item = Fault>, always: bool) {
        let (verb, object) = what.split_once(' ').expect("a verb and an object");
        let faults = faults.into_iter().collect();
        self.0.push(Plan { verb: verb.into(), object: object.into(), faults, always });
    }

    pub(super) fn heal(&mut self) {
        self.0.clear();
    }

    pub(super) fn next(&mut self, seen: &Seen) -> Option<Fault> {
        let object = format!("{}/{}", seen.resource, seen.name);
        let fits = |plan: &&mut Plan| {
            (plan.verb == "*" || plan.verb == seen.verb)
                && (plan.object == "*" || plan.object == object)
                && !plan.faults.is_empty()
        };
        let plan = self.0.iter_mut().find(fits)?;
        if plan.always { plan.faults.front().cloned() } else { plan.faults.pop_front() }
    }
}
