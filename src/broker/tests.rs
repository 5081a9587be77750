//! The whole broker, with sources by script and a clock that a test moves.

mod ages;
mod forget;
mod random;
mod recall;
mod reload;
pub(super) mod source;
mod withheld;

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use self::source::{Fake, Heard};
use super::*;
use crate::model::schema::parse::parse;
use crate::status::VariableState;

const SCHEMA: &str = r#"
schema_version = 1
name = "test"
environments = { variable = "APP_ENV", names = ["development", "production"] }
[group.both]
vars = ["P1", "P2"]
all_or_none = ["P1", "P2"]
[var.APP_ENV]
type = "string"
required = false
[var.REQ]
type = "string"
[var.NUMBER]
type = "int"
required = false
on_invalid = "fail"
[var.OPT]
type = "string"
required = false
[var.KEEP]
type = "string"
required = ["production"]
stale = "refuse"
[var.P1]
type = "string"
required = false
[var.P2]
type = "string"
required = false
[var.MODE]
type = "string"
default = "easy"
[var.EXTRA]
type = "string"
required = false
[[rule]]
id = "strict-needs-extra"
assert = "vars.MODE != 'strict' || has(vars.EXTRA)"
message = "a strict mode needs EXTRA"
"#;

/// What every generation has anyway.
const ALWAYS: &str = "APP_ENV=production MODE=easy";

/// A minute is not enough for these sources to become too old.
const MAX_AGE: Duration = Duration::from_hours(1);

/// Longer than a change takes to be settled.
const SETTLED: Duration = Duration::from_millis(200);

fn plan(environment: &str, sources: &[&Arc<Fake>]) -> Plan {
    plan_of(SCHEMA, environment, sources)
}

fn plan_of(schema: &str, environment: &str, sources: &[&Arc<Fake>]) -> Plan {
    let schema = parse("s.toml", schema).unwrap_or_else(|mistakes| panic!("{mistakes:#?}")).schema;
    let planned = |fake: &&Arc<Fake>| Planned {
        source: Arc::clone(fake) as Arc<dyn Source>,
        kind: "fake",
        identity: "fake".into(),
        max_age: MAX_AGE,
    };
    Plan {
        schema: Arc::new(schema),
        environment: environment.to_owned(),
        service: None,
        process: Arc::new([]),
        sources: sources.iter().map(planned).collect(),
        passed_over: Vec::new(),
        debounce: Debounce::default(),
        quotes: false,
    }
}

/// A broker at work.
struct Bench {
    broker: Arc<Broker>,
    heard: Arc<Heard>,
    task: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bench {
    fn new(plan: Plan) -> Self {
        let heard = Arc::new(Heard::default());
        let (broker, intake) = Broker::new(plan, "test".into(), Arc::clone(&heard) as _);
        let working = Arc::clone(&broker);
        let task = tokio::spawn(async move { working.run(intake).await });
        Self { broker, heard, task }
    }

    /// In production, after the first sync.
    async fn of(sources: &[&Arc<Fake>]) -> Self {
        let bench = Self::new(plan("production", sources));
        sleep(SETTLED).await;
        bench.heard.take();
        bench
    }

    fn snapshot(&self) -> Option<Arc<crate::model::snapshot::Snapshot>> {
        self.broker.lock().publisher.snapshot()
    }

    fn generation(&self) -> u64 {
        self.snapshot().map_or(0, |snapshot| snapshot.version().generation())
    }

    /// `A=1 B=2` of what is published, but for what always is.
    fn values(&self) -> String {
        let snapshot = self.snapshot().expect("something was published");
        let words = snapshot.variables().iter().map(|d| format!("{}={}", d.key, d.value.expose()));
        words.filter(|word| !ALWAYS.contains(word.as_str())).collect::<Vec<_>>().join(" ")
    }

    /// What is told after a change had time to settle.
    async fn told(&self) -> Vec<String> {
        self.told_after(SETTLED).await
    }

    async fn told_after(&self, time: Duration) -> Vec<String> {
        sleep(time).await;
        self.heard.take()
    }

    fn state(&self, key: &str) -> VariableState {
        let status = self.broker.status();
        let variable = status.variables.into_iter().find(|variable| variable.key == key);
        variable.unwrap_or_else(|| panic!("{key} is not told")).state
    }

    fn place(&self, key: &str) -> Option<String> {
        self.broker.status().variables.into_iter().find(|variable| variable.key == key)?.origin
    }

    /// `DLC001 error` of what the status says.
    fn findings(&self) -> Vec<String> {
        let findings = self.broker.status().findings.into_iter();
        findings.map(|f| format!("{} {}", f.code.unwrap_or_default(), f.severity)).collect()
    }

    fn rejected(&self) -> Option<Vec<String>> {
        let rejected = self.broker.status().rejected?;
        Some(rejected.findings.into_iter().filter_map(|finding| finding.code).collect())
    }

    fn forget(&self, key: &str) -> String {
        match self.broker.forget(&Key::new(key).unwrap()) {
            Forgetting::Done(version) => format!("done {version}"),
            Forgetting::NotHeld => "not held".into(),
            Forgetting::Refused(findings) => {
                let codes: Vec<String> = findings.into_iter().filter_map(|finding| finding.code).collect();
                format!("refused {}", codes.join(","))
            }
        }
    }
}

#[test]
fn a_window_ends_after_silence_or_at_its_latest() {
    let start = Instant::now();
    let ms = Duration::from_millis;
    for (min, max, arrivals, end) in [
        (50, 2000, &[0][..], 50),
        (50, 2000, &[0, 30], 80),
        (50, 2000, &[0, 49, 98, 147], 197),
        (50, 100, &[0, 40, 80], 100),
        (50, 50, &[0, 40], 50),
        (0, 0, &[0], 0),
        (0, 2000, &[0, 7], 7),
        (3000, 5000, &[0, 2500, 4900], 5000),
    ] {
        let debounce = Debounce { min: ms(min), max: ms(max) };
        let window = arrivals.iter().fold(None, |window, at| Some(Window::with(window, start + ms(*at))));
        assert_eq!(window.unwrap().ends(debounce) - start, ms(end), "{min} {max} {arrivals:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_several_sources_is_one_generation() {
    let (low, high) = (Fake::remote("low", "REQ=1 KEEP=1"), Fake::local("high", "OPT=1"));
    let bench = Bench::new(plan("production", &[&low, &high]));
    assert_eq!(bench.told().await, ["published 1 APP_ENV,REQ,OPT,KEEP,MODE"]);
    for value in 2..=20 {
        low.holds(&format!("REQ={value} KEEP={value}"));
        sleep(Duration::from_millis(20)).await;
        high.holds(&format!("OPT={value}"));
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bench.told().await, ["published 2 REQ,OPT,KEEP"]);
    assert_eq!(bench.values(), "REQ=20 OPT=20 KEEP=20");
    let snapshot = bench.snapshot().unwrap();
    let causes: Vec<&str> = snapshot.causes().iter().map(|cause| cause.source.as_str()).collect();
    assert_eq!(causes, ["low", "high"]);
    let first = snapshot.causes().iter().map(|cause| cause.noticed).min().unwrap();
    assert!(Instant::now().into_std() - first > Duration::from_millis(19 * 40), "the oldest change counts");
}

#[tokio::test(start_paused = true)]
async fn a_burst_without_an_end_is_settled_in_between() {
    let source = Fake::remote("s", "REQ=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    for value in 2..=150 {
        source.holds(&format!("REQ={value} KEEP=1"));
        sleep(Duration::from_millis(30)).await;
    }
    // 4.5 s, and a window of 2 s at most.
    let told = bench.told().await;
    assert_eq!(told, ["published 2 REQ", "published 3 REQ", "published 4 REQ"]);
}

#[tokio::test(start_paused = true)]
async fn equal_content_is_no_generation_and_its_new_place_is_told() {
    let source = Fake::remote("s", "REQ=1@one KEEP=1");
    let bench = Bench::of(&[&source]).await;
    assert_eq!(bench.place("REQ").as_deref(), Some("s:one#REQ"));
    for (holds, place) in [("REQ=1@two KEEP=1", "s:two#REQ"), ("REQ=1@two#7 KEEP=1", "s:two#REQ@7")] {
        source.holds(holds);
        assert_eq!(bench.told().await, [""; 0]);
        assert_eq!((bench.generation(), bench.place("REQ").as_deref()), (1, Some(place)));
    }
    // There and back in one window.
    source.holds("REQ=2 KEEP=1");
    sleep(Duration::from_millis(10)).await;
    source.holds("REQ=1@two KEEP=1");
    assert_eq!(bench.told().await, [""; 0]);
    // Back to what it was once is a generation like any other.
    for (value, generation) in [("2", 2), ("1", 3)] {
        source.holds(&format!("REQ={value} KEEP=1"));
        assert_eq!(bench.told().await, [format!("published {generation} REQ")]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_before_every_source_was_read_whole() {
    let (quick, slow) = (Fake::remote("quick", "REQ=1 KEEP=1"), Fake::remote("slow", "OPT=1"));
    slow.hangs();
    let bench = Bench::new(plan("production", &[&quick, &slow]));
    assert_eq!(bench.told_after(Duration::from_secs(5)).await, [""; 0]);
    assert_eq!(bench.broker.status().sources[1].health, crate::status::Health::Waiting);
    // Not whole is not enough: what is missing may be what is not there.
    slow.lacks(&["q"], "OPT=1");
    assert_eq!(bench.told_after(Duration::from_secs(5)).await, ["down slow 1"]);
    assert!(bench.broker.version().is_none());
    assert_eq!(bench.findings(), ["DLC050 error"]);
    slow.holds("OPT=2");
    assert_eq!(bench.told().await, ["up slow", "published 1 APP_ENV,REQ,OPT,KEEP,MODE"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_invalid_at_first_is_told_and_not_published() {
    let source = Fake::local("s", "OPT=1");
    let bench = Bench::new(plan("production", &[&source]));
    assert_eq!(bench.told().await, ["rejected DLC001,DLC001 0 holds"]);
    assert!(bench.broker.version().is_none());
    source.holds("REQ=1 KEEP=1");
    assert_eq!(bench.told().await, ["published 1 APP_ENV,REQ,KEEP,MODE"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_later_holds_nobody_up() {
    let (one, other) = (Fake::remote("one", "REQ=1 KEEP=1"), Fake::remote("other", "OPT=1"));
    let bench = Bench::of(&[&one, &other]).await;
    other.hangs();
    one.holds("REQ=2 KEEP=1");
    assert_eq!(bench.told().await, ["published 2 REQ"]);
    assert_eq!(bench.values(), "REQ=2 OPT=1 KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn faults_block_nothing() {
    let source = Fake::remote("s", "REQ=1 KEEP=1 OPT=1@q");
    let bench = Bench::of(&[&source]).await;
    source.lacks(&["q"], "REQ=2 KEEP=1");
    assert_eq!(bench.told().await, ["down s 1", "published 2 REQ"]);
    assert_eq!(bench.values(), "REQ=2 OPT=1 KEEP=1");
    assert_eq!((bench.findings(), bench.rejected()), (vec!["DLC050 error".to_owned()], None));
    // Told once for each set of faults.
    source.lacks(&["q"], "REQ=2 KEEP=1");
    assert_eq!(bench.told().await, [""; 0]);
    source.lacks(&["q", "r"], "REQ=2 KEEP=1");
    assert_eq!(bench.told().await, ["down s 2"]);
    source.holds("REQ=2 KEEP=1 OPT=1@q");
    assert_eq!(bench.told().await, ["up s"]);
    assert_eq!((bench.findings(), bench.generation()), (vec![], 2));
}

#[tokio::test(start_paused = true)]
async fn which_values_are_held_is_told() {
    let source = Fake::remote("s", "REQ=1 KEEP=1 OPT=1@q");
    let bench = Bench::of(&[&source]).await;
    // A source names its places, also those that it cannot read now.
    source.lacks(&["q"], "REQ=1 KEEP=1 OPT=1@q");
    bench.told().await;
    let states = |bench: &Bench| (bench.state("REQ"), bench.state("OPT"));
    assert_eq!(states(&bench), (VariableState::Current, VariableState::Held), "by its place");
    source.fails();
    bench.told().await;
    assert_eq!(states(&bench), (VariableState::Held, VariableState::Held), "all of them");
    source.holds("REQ=1 KEEP=1 OPT=1@q");
    bench.told().await;
    assert_eq!(states(&bench), (VariableState::Current, VariableState::Current));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_changes_nothing_and_is_told_once() {
    let source = Fake::local("s", "REQ=1 KEEP=1 NUMBER=1");
    let bench = Bench::of(&[&source]).await;
    source.holds("REQ=2 KEEP=1 NUMBER=x");
    assert_eq!(bench.told().await, ["rejected DLC010 1 holds"]);
    assert_eq!((bench.values().as_str(), bench.generation()), ("REQ=1 NUMBER=1 KEEP=1", 1));
    assert!(bench.broker.kept().is_none(), "what is refused is not kept");
    // The same mistake beside another change.
    source.holds("REQ=3 KEEP=1 NUMBER=x");
    assert_eq!(bench.told_after(Duration::from_secs(90)).await, [""; 0]);
    assert_eq!(bench.rejected(), Some(vec!["DLC010".to_owned()]));
    assert!(bench.broker.kept().is_none(), "for as long as it is");
    // Another mistake.
    source.holds("REQ=3 KEEP=1 NUMBER=1 P1=1");
    assert_eq!(bench.told().await, ["rejected DLC041 1 holds"]);
    source.holds("REQ=3 KEEP=1 NUMBER=1");
    assert_eq!(bench.told().await, ["published 2 REQ"]);
    assert_eq!(bench.rejected(), None);
    // The same again is news again.
    source.holds("REQ=3 KEEP=1 NUMBER=x");
    assert_eq!(bench.told().await, ["rejected DLC010 2 holds"]);
    // Mended by what is in force: no generation, and nothing is refused any more.
    source.holds("REQ=3 KEEP=1 NUMBER=1");
    assert_eq!(bench.told().await, [""; 0]);
    assert_eq!((bench.rejected(), bench.generation()), (None, 2));
    assert!(bench.broker.kept().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_ends_the_broker() {
    struct Breaks(crate::model::key::SourceName);
    #[async_trait::async_trait]
    impl Source for Breaks {
        fn name(&self) -> &crate::model::key::SourceName {
            &self.0
        }
        async fn fetch(
            &self,
            _ask: crate::source::Ask<'_>,
        ) -> Result<crate::model::layer::Layer, crate::source::SourceError> {
            panic!("a defect")
        }
    }
    let mut plan = plan("production", &[]);
    let source: Arc<dyn Source> = Arc::new(Breaks(crate::model::key::SourceName::new("b")));
    plan.sources.push(Planned { source, kind: "fake", identity: "fake".into(), max_age: MAX_AGE });
    let (broker, intake) = Broker::new(plan, "test".into(), Arc::new(Heard::default()));
    tokio::time::timeout(Duration::from_secs(1), broker.run(intake)).await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_moment_that_is_over_takes_no_time() {
    // Between two ticks of the timer, as almost always.
    tokio::time::advance(Duration::from_micros(1300)).await;
    let now = Instant::now();
    assert!(passed(Some(now)).now_or_never().is_some());
    assert!(passed(Some(now + Duration::from_millis(1))).now_or_never().is_none());
    assert!(passed(None).now_or_never().is_none());
}
