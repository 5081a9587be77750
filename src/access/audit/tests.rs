//! A disk that never answers: nobody takes what waits.

use std::sync::Mutex;

use super::*;
use crate::access::audit::chain::End;
use crate::telemetry::Event;

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Listener for Told {
    fn tell(&self, event: Event) {
        let Event::AuditFailed { reason, .. } = event else { panic!("{event:?}") };
        self.0.lock().unwrap().push(reason);
    }
}

/// A log whose thread hangs.
fn hung() -> (Audit, Arc<Told>) {
    let told = Arc::<Told>::default();
    let listener: Arc<dyn Listener> = Arc::clone(&told) as _;
    let desk = Desk {
        queue: Arc::default(),
        shown: Arc::new(Shown::new("log".into(), listener, true, End::START)),
        key: ChainKey::new(b"0123456789abcdef0123456789abcdef"),
        ended: sync_channel(0).1.into(),
    };
    let limits = Limits { max_bytes: 4096, keep: 1 };
    (Audit { required: true, limits, desk: Arc::new(desk) }, told)
}

fn record() -> Record {
    let (who, outcome) = (Who::Delivery("app".into()), Outcome::Permitted(Vec::new()));
    Record { who, action: Action::Read, keys: Vec::new(), version: None, outcome }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_is_waited_for_two_seconds() {
    let (audit, told) = hung();
    let begin = tokio::time::Instant::now();
    for _ in 0..3 {
        let error = audit.record(record()).await.unwrap_err();
        assert_eq!(error.reason, "the disk does not answer");
    }
    assert_eq!(begin.elapsed(), 3 * PATIENCE);
    assert_eq!(*told.0.lock().unwrap(), ["the disk does not answer"], "told once");
    assert_eq!(audit.head().failure.as_deref(), Some("the disk does not answer"));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded() {
    let (audit, told) = hung();
    for _ in 0..100_000 {
        audit.refused(Record { outcome: Outcome::Refused, ..record() });
    }
    let mut accepted = 0;
    let mut waiting = Vec::new();
    while let Ok(acked) = audit.desk.queue.push("words".into()) {
        waiting.push(acked);
        accepted += 1;
    }
    assert!((7000..=8192).contains(&accepted), "refusals leave room: {accepted}");
    let begin = tokio::time::Instant::now();
    let error = audit.record(record()).await.unwrap_err();
    assert!(error.reason.contains("too many records wait"), "{error}");
    assert_eq!(begin.elapsed(), Duration::ZERO, "nobody waits for room");
    assert_eq!(told.0.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_log_takes_nothing() {
    let (audit, told) = hung();
    audit.close(Closing::Removed).await;
    assert_eq!(audit.record(record()).await.unwrap_err().reason, "the log is closed");
    assert!(told.0.lock().unwrap().is_empty());
}
