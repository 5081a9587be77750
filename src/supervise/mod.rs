//! The supervisor: a program that reads its configuration once, at its start, and is to
//! run with the newest valid one.
//!
//! Owns: starting it, telling it of changes, stopping it with all that it started, and
//! ending with its code. Invariants: it never runs with an invalid configuration, since
//! only valid ones are offered here; what it has is in no other place than it asked for,
//! and is dropped here when something newer was proven.
//! Must not know: where configurations come from; what their values mean.
//!
//! Rooms: `course` decides (pure); `handing` gives values to a program; `proof` sees
//! whether it works; `turn` is what it waits for where one restarts at a time; `offer`,
//! `terms`, `happening` are what goes in and out.

mod course;
mod handing;
mod happening;
mod offer;
mod proof;
mod terms;
mod turn;

use std::ffi::OsString;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::process::{
    Change, Ended, Found, Hardened, Heard, Job, JobControl, Pid, Place, Signal, Signals, adopt_orphans,
    next_change,
};
use course::{Course, Input, Step};
pub use handing::HANDED_NAME;
use handing::Handing;
pub use happening::{Happening, Unhealthy, Witness};
pub use offer::{Difference, Offer};
use proof::Proof;
pub use terms::{Backoff, Deliver, Health, OnChange, Terms};
pub use turn::{Queue, Turn, turn};

/// How often a group is looked at of which something is left that is not ours to reap.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a command for a change may take.
const RELOAD_TIMEOUT: Duration = Duration::from_mins(1);

/// What is supervised, and what a program inherits.
pub struct Supervised {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What of our own environment passes, if the configuration does not speak of it.
    pub inherited: Inheritance,
    /// How.
    pub terms: Terms,
    /// What its restarts for changes wait for; not its first start, nor one after it ended
    /// by itself.
    pub turn: Option<Turn>,
}

/// Our own environment, and what of it passes.
pub struct Inheritance {
    /// All of it.
    pub process: crate::source::env::Environment,
    /// These names only; none means all.
    pub only: Option<Vec<String>>,
}

/// This process as it was before, and what it hears.
pub struct Ourselves {
    /// What hardening changed.
    pub hardened: Hardened,
    /// Its signals before any were listened to.
    pub found: Found,
    /// The signals.
    pub signals: Signals,
}

/// Runs a program until it ends, or until we are told to end: how it ended. To be called
/// on the thread that stays until then. `first` is valid, and what comes after it too.
pub async fn supervise(
    supervised: Supervised,
    ourselves: Ourselves,
    first: Arc<Offer>,
    offers: watch::Receiver<Arc<Offer>>,
    witness: &dyn Witness,
) -> Ended {
    adopt_orphans();
    let Supervised { command, inherited, terms, turn } = supervised;
    let course = Course::new(terms.clone(), Box::new(random), turn.is_some(), first, Instant::now());
    let supervisor = Supervisor {
        control: JobControl::new(!terms.keep_alive),
        handing: Handing::new(terms.deliver, inherited),
        proof: Proof::new(terms.healthy.clone()),
        command,
        terms,
        ourselves,
        witness,
        turn,
        job: None,
        errand: None,
        not_taken: None,
    };
    let (ended, turn) = supervisor.stay(course, offers).await;
    // The program is gone: nothing waits for this but our own end.
    if let Some(turn) = turn {
        turn.left().await;
    }
    ended
}

struct Supervisor<'a> {
    command: Vec<OsString>,
    terms: Terms,
    ourselves: Ourselves,
    witness: &'a dyn Witness,
    control: JobControl,
    handing: Handing,
    proof: Proof,
    turn: Option<Turn>,
    job: Option<Job>,
    /// A command for a change.
    errand: Option<Errand>,
    /// Why the last offer could not be taken.
    not_taken: Option<String>,
}

/// A command that runs because of a change.
struct Errand {
    job: Job,
    until: Instant,
}

/// What wakes us.
enum Woken {
    Heard(Heard),
    Offered(Arc<Offer>),
    OurTurn,
    Due,
    Look,
    Ask,
    Proven,
    ErrandLate,
}

impl Supervisor<'_> {
    async fn stay(mut self, course: Course, offers: watch::Receiver<Arc<Offer>>) -> (Ended, Option<Turn>) {
        let ended = self.run(course, offers).await;
        (ended, self.turn)
    }

    async fn run(&mut self, mut course: Course, mut offers: watch::Receiver<Arc<Offer>>) -> Ended {
        let mut has_offers = true;
        loop {
            if let Some(ended) = self.advance(&mut course, Input::Due) {
                return ended;
            }
            // Of a group, what is not ours to reap vanishes unheard.
            let lingers = self.job.as_mut().is_some_and(|job| job.has_ended() && !job.is_gone());
            let look_at = lingers.then(|| Instant::now() + LOOK_AGAIN);
            let late_at = self.errand.as_ref().map(|errand| errand.until);
            let woken = tokio::select! {
                biased;
                heard = self.ourselves.signals.next() => Woken::Heard(heard),
                changed = offers.changed(), if has_offers => match changed {
                    Ok(()) => Woken::Offered(Arc::clone(&offers.borrow_and_update())),
                    // Nothing new will come any more: it goes on with what it has.
                    Err(_) => {
                        has_offers = false;
                        continue;
                    }
                },
                () = ours(&mut self.turn), if course.waits_for_turn() => Woken::OurTurn,
                () = until(course.due()) => Woken::Due,
                () = until(look_at) => Woken::Look,
                () = until(late_at) => Woken::ErrandLate,
                due = self.proof.due() => match due {
                    proof::Due::Ask => Woken::Ask,
                    proof::Due::Proven => Woken::Proven,
                },
            };
            let ended = match woken {
                // Who starts a program to ignore a signal (nohup) does not mean us with it either.
                Woken::Heard(Heard::Passed(signal))
                    if signal != Signal::SIGTERM && self.ourselves.found.ignores(signal) =>
                {
                    if let Some(job) = &mut self.job {
                        self.control.pass(job, signal);
                    }
                    None
                }
                Woken::Heard(Heard::Passed(signal)) => self.advance(&mut course, Input::Signalled(signal)),
                Woken::Heard(Heard::Child) => self.look(&mut course),
                Woken::Offered(offer) => self.offered(&mut course, offer),
                Woken::OurTurn => self.advance(&mut course, Input::OurTurn),
                Woken::Due => None,
                Woken::Look => self.advance_if_gone(&mut course),
                Woken::Ask => {
                    self.ask(&course);
                    None
                }
                Woken::Proven => self.advance(&mut course, Input::Healthy),
                Woken::ErrandLate => self.cut_errand(&mut course),
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// What cannot be handed is not offered: the program keeps what it has, as with an
    /// invalid configuration.
    fn offered(&mut self, course: &mut Course, offer: Arc<Offer>) -> Option<Ended> {
        match self.handing.judge(&offer, &self.command) {
            Ok(()) => {
                self.not_taken = None;
                self.advance(course, Input::Offered(offer))
            }
            Err(why) => {
                course.passed_over();
                if self.not_taken.as_ref() != Some(&why) {
                    self.witness.tell(Happening::NotTaken { why: why.clone() });
                    self.not_taken = Some(why);
                }
                None
            }
        }
    }

    /// Takes all that happened to children.
    fn look(&mut self, course: &mut Course) -> Option<Ended> {
        while let Some((pid, change)) = next_change(&self.leaders()) {
            let input = if self.job.as_ref().is_some_and(|job| job.leader() == pid) {
                self.of_program(change)
            } else if self.errand.as_ref().is_some_and(|errand| errand.job.leader() == pid) {
                self.of_errand(change)
            } else {
                self.proof.note(pid, change).then_some(Input::Healthy)
            };
            if let Some(ended) = input.and_then(|input| self.advance(course, input)) {
                return Some(ended);
            }
        }
        self.advance_if_gone(course)
    }

    /// What we started and was not reaped: another may have the number of what was.
    fn leaders(&self) -> Vec<Pid> {
        let job = self.job.as_ref().filter(|job| !job.has_ended());
        let errand = self.errand.as_ref().map(|errand| &errand.job);
        job.into_iter().chain(errand).map(Job::leader).chain(self.proof.leader()).collect()
    }

    fn of_program(&mut self, change: Change) -> Option<Input> {
        let job = self.job.as_mut()?;
        match change {
            Change::Ended(ended) => {
                job.ended();
                self.control.ended(job, ended);
                self.proof.end();
                Some(Input::Ended(ended))
            }
            Change::Stopped(signal) => {
                let still = Instant::now();
                self.control.stopped(job, signal);
                let time = still.elapsed();
                self.proof.suspended(time);
                Some(Input::Suspended(time))
            }
        }
    }

    fn of_errand(&mut self, change: Change) -> Option<Input> {
        let Change::Ended(ended) = change else { return None };
        self.errand = None;
        Some(Input::Reloaded(match ended.code {
            0 => Ok(()),
            code => Err(format!("the command ended with {code}")),
        }))
    }

    fn cut_errand(&mut self, course: &mut Course) -> Option<Ended> {
        let errand = self.errand.take()?;
        errand.job.kill();
        let why = format!("the command took longer than {} seconds", RELOAD_TIMEOUT.as_secs());
        self.advance(course, Input::Reloaded(Err(why)))
    }

    fn advance_if_gone(&mut self, course: &mut Course) -> Option<Ended> {
        let gone = self.job.as_mut().is_none_or(Job::is_gone);
        if !gone {
            return None;
        }
        self.handing.withdraw();
        self.advance(course, Input::Gone)
    }

    /// Lets the course take what happened and does what it says, until nothing is left
    /// to do; how it ended, once it has.
    fn advance(&mut self, course: &mut Course, input: Input) -> Option<Ended> {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for step in course.take(input, Instant::now()) {
                match step {
                    Step::Start(offer) => inputs.push(self.start(&offer)),
                    Step::Signal(signal) => {
                        if let Some(job) = &mut self.job {
                            job.signal(signal);
                        }
                    }
                    Step::Pass(signal) => {
                        if let Some(job) = &mut self.job {
                            self.control.pass(job, signal);
                        }
                    }
                    Step::Reload(offer) => inputs.extend(self.reload(&offer)),
                    Step::Prove => self.proof.begin(),
                    Step::Queue => {
                        if let Some(turn) = &self.turn {
                            turn.ask();
                        }
                    }
                    Step::Leave => {
                        if let Some(turn) = &self.turn {
                            turn.leave();
                        }
                    }
                    Step::Tell(happening) => self.tell(happening),
                    Step::End(ended) => return Some(ended),
                }
            }
        }
        None
    }

    fn tell(&self, mut happening: Happening) {
        if let Happening::PutBack { saw, .. } | Happening::NotHealthy { saw, .. } = &mut happening {
            *saw = self.proof.saw();
        }
        self.witness.tell(happening);
    }

    fn start(&mut self, offer: &Offer) -> Input {
        let refused = |why: String| Input::NotStarted(crate::failure::exit::RUN_FAILED, why);
        let handed = match self.handing.hand(offer) {
            Ok(handed) => handed,
            Err(why) => return refused(why),
        };
        let launch = handed.launch(&self.command, self.terms.place);
        match self.control.start(self.ourselves.hardened, self.ourselves.found, &launch) {
            Ok(job) => {
                let pid = job.leader().as_raw();
                self.job = Some(job);
                Input::Started(pid)
            }
            Err(error) => {
                self.job = None;
                self.handing.withdraw();
                Input::NotStarted(error.exit_code(), error.to_string())
            }
        }
    }

    /// Tells the program, or lets a command do that.
    fn reload(&mut self, offer: &Offer) -> Option<Input> {
        match &self.terms.on_change {
            OnChange::Signal(signal) => Some(Input::Reloaded(self.handing.replace(offer).map(|()| {
                if let Some(job) = &mut self.job {
                    job.signal_leader(*signal);
                }
            }))),
            OnChange::Exec(command) => {
                let command = command.clone();
                self.run_errand(&command, offer).err().map(|why| Input::Reloaded(Err(why)))
            }
            OnChange::Restart | OnChange::None => None,
        }
    }

    fn run_errand(&mut self, command: &[OsString], offer: &Offer) -> Result<(), String> {
        // One for a program that has ended meanwhile. Nobody waits for it any more.
        if let Some(old) = self.errand.take() {
            old.job.kill();
        }
        self.handing.replace(offer)?;
        let handed = self.handing.beside(offer, self.job.as_ref().map(Job::leader))?;
        let launch = handed.launch(command, Place::Group);
        let started = Job::start(self.ourselves.hardened, self.ourselves.found, &launch);
        let job = started.map_err(|error| error.to_string())?;
        self.errand = Some(Errand { job, until: Instant::now() + RELOAD_TIMEOUT });
        Ok(())
    }

    /// Asks once whether the program works.
    fn ask(&mut self, course: &Course) {
        if let (Some(offer), Some(job)) = (course.runs_with(), &self.job) {
            let handed = || self.handing.beside(offer, Some(job.leader()));
            self.proof.ask(self.ourselves.hardened, self.ourselves.found, handed);
        } else {
            // What is about to end has nothing to show.
            self.proof.end();
        }
    }
}

/// Waits for this moment; for ever, where there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) if moment <= Instant::now() => {}
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// Waits for our turn; for ever, where there is none.
async fn ours(turn: &mut Option<Turn>) {
    match turn {
        Some(turn) => turn.came().await,
        None => pending().await,
    }
}

/// A random time up to this one.
fn random(most: Duration) -> Duration {
    let part = getrandom::u32().map_or(0.5, |part| f64::from(part) / f64::from(u32::MAX));
    most.mul_f64(part)
}
