//! Supervision over the sources themselves: `run --watch`, `dev`.
//!
//! Owns: the first state, which is judged and reported as `run` does it; then a broker
//! over the same sources, whose generations are what the program is offered; the end
//! of the sources' use. Invariants: nothing is offered that was not published; a value
//! that is withheld for its age is not taken from a program that has it.
//! Must not know: how a program is run.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::OsString;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::lock::{Lock, supervise};
use super::stage::{self, Told, ends, unless_told};
use super::words::{Spoken, warnings};
use crate::access::{Gate, Policy, Rules};
use crate::assemble::{Choice, WatchedFiles};
use crate::broker::judge::Judged;
use crate::broker::{Broker, Intake, Plan};
use crate::cli::assemble::{RETURN_DEADLINE, Setup, close_all, setup_watched};
use crate::cli::output::Terminal;
use crate::cli::render::passed;
use crate::cli::{Failure, Global, exit};
use crate::model::key::Key;
use crate::model::validate::Delivered;
use crate::process::{Hardened, Heard, Signals, die_like};
use crate::source::{Source, Use};
use crate::supervise::{Inheritance, Offer, Ourselves, Supervised, Terms};
use crate::telemetry::{Event, Level, Listener, Words};

/// How long a file is waited for that somebody took away.
const AWAY: Duration = Duration::from_millis(500);

/// How often it is looked whether who mends the sources can do it now.
const MENDS: u32 = 10;

/// Sources that notice changes, and who tells us something meanwhile.
pub(in crate::cli) struct Here {
    pub(in crate::cli) setup: Setup,
    plan: Plan,
    files: WatchedFiles,
    ourselves: Ourselves,
}

/// What is run.
pub(in crate::cli) struct Program<'a> {
    pub(in crate::cli) command: &'a [OsString],
    /// With `--pristine`, what passes of our environment.
    pub(in crate::cli) only: Option<Vec<String>>,
    pub(in crate::cli) terms: Terms,
    /// What restarts for changes wait for.
    pub(in crate::cli) lock: Option<Lock>,
}

/// Who puts into the sources what they lack.
pub(in crate::cli) trait Mender {
    /// Whether a state lacks something that could be put there.
    fn is_needed(&self, judged: &Judged) -> bool;
    /// Puts it there.
    fn mend(&self, judged: &Judged) -> Mended;
}

/// What became of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Mended {
    /// It makes another state, which will come.
    Yes,
    No,
    /// Somebody else is at it.
    Later,
}

impl Here {
    /// Builds the sources, and listens from now on.
    pub(in crate::cli) fn begin(
        global: &Global,
        choice: Choice,
        terminal: &Terminal,
        hardened: Hardened,
    ) -> Result<Self, Failure> {
        let (runtime, ourselves) = stage::set(hardened)?;
        let (setup, plan, files) = setup_watched(runtime, global, choice, terminal.stderr_style())?;
        Ok(Self { setup, plan, files, ourselves })
    }

    /// Lets findings quote plain values, and draws them: whoever reads them wrote the
    /// files.
    pub(in crate::cli) fn draw(&mut self) {
        self.plan.quotes = true;
    }

    /// Reads the sources, unless somebody tells us to end.
    pub(in crate::cli) fn read(&mut self, terminal: &Terminal) -> Result<Judged, Told> {
        let Self { setup, ourselves, .. } = self;
        setup.runtime.block_on(unless_told(ourselves, setup.read(false, terminal)))
    }

    /// Waits for something else, unless somebody tells us to end.
    pub(in crate::cli) fn wait<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Told> {
        let Self { setup, ourselves, .. } = self;
        setup.runtime.block_on(unless_told(ourselves, work))
    }

    /// Ends without a program.
    pub(in crate::cli) fn end(self, code: u8, terminal: &Terminal) -> u8 {
        self.setup.close(Use::Over, terminal);
        code
    }

    /// Ends as somebody told us to.
    pub(in crate::cli) fn give_up(self, told: Told, terminal: &Terminal) -> u8 {
        let code = self.end(told.ended().code, terminal);
        die_like(told.ended());
        code
    }

    /// Runs the program with what was read, and with what comes after it, until it ends;
    /// the mender looks after what the sources lack meanwhile.
    pub(in crate::cli) fn supervise(
        self,
        first: Judged,
        program: Program<'_>,
        mender: Option<&dyn Mender>,
        terminal: &Terminal,
    ) -> u8 {
        let warned = warnings(&first).map(|(_, warning)| warning.message.clone()).collect();
        let Ok(validated) = passed(&self.setup, first, terminal) else {
            return self.end(exit::RUN_FAILED, terminal);
        };
        let Self { setup, plan, files, mut ourselves } = self;
        let known = Arc::new(setup.schema.known_names());
        let first = Arc::new(offer(validated.variables().iter(), &known));
        let spoken = Spoken::of(terminal, program.command);
        spoken.found(validated.variables().iter());
        drop(validated);
        let supervised = Supervised {
            command: program.command.to_vec(),
            inherited: Inheritance { process: Arc::clone(&setup.process), only: program.only },
            terms: program.terms,
            turn: None,
        };
        let ended = setup.end(terminal, async |sources| {
            let ended = match unless_told(&mut ourselves, async {}).await {
                Err(told) => told.ended(),
                Ok(()) => {
                    let (offers, offered) = watch::channel(Arc::clone(&first));
                    let follow = follow(plan, known, files, mender, offers, warned, &spoken);
                    tokio::select! {
                        biased;
                        ended = supervise(supervised, ourselves, first, offered, &spoken, program.lock, &spoken) => ended,
                        never = follow => match never {},
                    }
                }
            };
            (ended, close(sources).await)
        });
        // Its last lines are written.
        drop(spoken);
        die_like(ended);
        ended.code
    }
}

/// What a program is offered.
fn offer<'d>(variables: impl Iterator<Item = &'d Delivered>, known: &Arc<BTreeSet<Key>>) -> Offer {
    Offer {
        version: None,
        variables: variables.map(|one| (one.key.clone(), Arc::clone(&one.value))).collect(),
        known: Arc::clone(known),
    }
}

/// Offers what is published, and tells what happens to the sources; never done.
async fn follow(
    plan: Plan,
    known: Arc<BTreeSet<Key>>,
    files: WatchedFiles,
    mender: Option<&dyn Mender>,
    offers: watch::Sender<Arc<Offer>>,
    warned: BTreeSet<String>,
    spoken: &Spoken,
) -> Infallible {
    let (ear, heard) = mpsc::unbounded_channel();
    let quotes = plan.quotes;
    let (broker, intake) = Broker::new(plan, "here".into(), Arc::new(Ear(ear)));
    // Whoever runs a program may read what it is given.
    let (_in_force, rules) = watch::channel(Arc::new(Rules::new(Policy::new(Vec::new()), None)));
    let follower = Follower {
        gate: broker.gate(rules),
        refuses: broker.refuses(),
        judgements: broker.judgements(),
        broker: &broker,
        known,
        mender,
        quotes,
        offers,
        spoken,
        said_invalid: false,
        warned,
    };
    tokio::join!(publish(&broker, intake, spoken), follower.attend(heard), read_again(files, spoken));
    // Whatever becomes of the sources, the program goes on.
    pending().await
}

async fn publish(broker: &Broker, intake: Intake, spoken: &Spoken) {
    broker.run(intake).await;
    let message =
        format!("the sources are no longer watched, {} goes on (fix: restart dlconf)", spoken.program());
    spoken.say(Level::Error, "not-watched", message, Value::Null);
}

/// Settings and schema are read at a start only.
async fn read_again(mut files: WatchedFiles, spoken: &Spoken) {
    loop {
        let others = files.changed().await;
        spoken.to_be_read_again(&others);
    }
}

/// What goes from a broker to the program and to people.
struct Follower<'a> {
    broker: &'a Broker,
    gate: Gate,
    refuses: watch::Receiver<bool>,
    judgements: watch::Receiver<()>,
    known: Arc<BTreeSet<Key>>,
    mender: Option<&'a dyn Mender>,
    /// Whether findings are drawn.
    quotes: bool,
    offers: watch::Sender<Arc<Offer>>,
    spoken: &'a Spoken,
    said_invalid: bool,
    /// The warnings of the state before, by what they say.
    warned: BTreeSet<String>,
}

impl Follower<'_> {
    async fn attend(mut self, mut heard: mpsc::UnboundedReceiver<Event>) {
        loop {
            tokio::select! {
                biased;
                Some(event) = heard.recv() => match event {
                    Event::Rejected { findings, .. } => self.rejected(&findings).await,
                    other => self.spoken.of_sources(&other),
                },
                Ok(()) = self.refuses.changed() => {
                    if !*self.refuses.borrow_and_update() && std::mem::take(&mut self.said_invalid) {
                        self.spoken.valid_again();
                    }
                }
                true = self.gate.advanced() => self.offer().await,
                // Who wrote the files mends them; elsewhere they are `check`'s.
                Ok(()) = self.judgements.changed(), if self.quotes => {
                    self.broker.look_at_judged(|judged| self.spoken.doubted(judged, &mut self.warned));
                }
                else => return pending().await,
            }
        }
    }

    async fn offer(&mut self) {
        if self.is_mended().await {
            return;
        }
        // Nothing is recorded, so nothing is refused.
        let Ok(Some(released)) = self.gate.deliver("run --watch", &self.known).await else { return };
        // That a value is too old to be handed out is no reason to take it away.
        if released.withheld().is_empty() {
            let variables = released.variables().iter().map(|delivered| &**delivered);
            self.spoken.found(variables.clone());
            self.offers.send_replace(Arc::new(offer(variables, &self.known)));
        }
    }

    async fn rejected(&mut self, findings: &[Words]) {
        // It may have been mended by somebody else while that was waited for.
        if self.is_mended().await || (self.mender.is_some() && !*self.refuses.borrow()) {
            return;
        }
        self.said_invalid = true;
        let draw = |judged: &Judged| self.spoken.drawn(&judged.verdict.findings);
        let drawn = if self.quotes { self.broker.look_at_judged(draw).flatten() } else { None };
        self.spoken.rejected(findings, drawn.as_deref());
    }

    /// Whether what is lacking was put there, so that something else will come.
    async fn is_mended(&self) -> bool {
        let Some(mender) = self.mender else { return false };
        let is_needed = || self.broker.look_at_judged(|judged| mender.is_needed(judged)).unwrap_or(false);
        if !is_needed() {
            return false;
        }
        let mend = |judged: &Judged| if mender.is_needed(judged) { mender.mend(judged) } else { Mended::No };
        for _ in 0..MENDS {
            // An editor may take a file away for a moment.
            sleep(AWAY).await;
            match self.broker.look_at_judged(mend).unwrap_or(Mended::No) {
                Mended::Yes => return true,
                Mended::No => return false,
                Mended::Later => {}
            }
        }
        false
    }
}

/// Hears a broker, which may not be kept waiting.
struct Ear(mpsc::UnboundedSender<Event>);

impl Listener for Ear {
    fn tell(&self, event: Event) {
        // Who is gone at the end hears nothing any more.
        let _gone = self.0.send(event);
    }
}

/// Gives back what the sources lent. Who tells us to end meanwhile is obeyed: what is
/// left ends by itself.
async fn close(sources: &[Arc<dyn Source>]) -> bool {
    let told = async {
        let Ok(mut signals) = Signals::listen() else { return pending().await };
        loop {
            if let Heard::Passed(signal) = signals.next().await
                && ends(signal)
            {
                return;
            }
        }
    };
    tokio::select! {
        closed = close_all(sources, Use::Over, RETURN_DEADLINE) => closed,
        () = told => false,
    }
}
