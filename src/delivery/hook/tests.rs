#![allow(clippy::disallowed_methods, reason = "a test's own files")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tokio::time::{advance, timeout};

use super::*;
use crate::process::helper::tests::apart;

const PATIENCE: Duration = Duration::from_secs(20);

fn context(generation: u64) -> Context {
    Context { version: Version::new("7f3a".into(), generation), path: "/run/app/.env".into() }
}

fn exec(script: &str, timeout: Duration) -> OnChange {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    OnChange { action: Action::Exec { argv, timeout }, min_interval: Duration::ZERO }
}

/// A signal for whom the file names.
fn signal(pid_file: &Path, min_interval: Duration) -> OnChange {
    let action = Action::Signal {
        signal: Signal::SIGTERM,
        pid_file: pid_file.to_owned(),
        label: "run/app.pid".into(),
    };
    OnChange { action, min_interval }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, work).await.expect("it hangs") })
}

async fn is_due(hook: &Hook) -> bool {
    // Zero would not be polled after an `advance` to the very moment.
    timeout(Duration::from_millis(1), hook.due()).await.is_ok()
}

#[test]
fn a_program_learns_what_changed_and_its_end_is_told() {
    let expect = [
        ("echo $DLCONF_DELIVERY $DLCONF_VERSION $DLCONF_PATH", true, "exit code 0"),
        ("exit 1", false, "exit code 1"),
        ("kill -KILL $$", false, "ended by SIGKILL"),
        ("kill -40 $$", false, "ended by signal 40"),
    ];
    block_on(async {
        let helper = apart().start().unwrap();
        for (script, ok, detail) in expect {
            let mut hook = Hook::new("app", exec(script, PATIENCE), Some(helper.clone()));
            hook.wanted(context(42));
            hook.due().await;
            let ran = hook.run().await.unwrap();
            assert_eq!((ran.ok, ran.detail.as_str()), (ok, detail));
            if ok {
                assert_eq!(ran.lines, ["app 7f3a.42 /run/app/.env"]);
                assert_eq!(format!("{ran:?}"), "HookRan(exit code 0, 1 lines)");
            }
        }
        let mut hook = Hook::new("app", exec("sleep 1000", Duration::from_millis(200)), Some(helper.clone()));
        hook.wanted(context(1));
        let ran = hook.run().await.unwrap();
        assert_eq!((ran.ok, ran.detail.as_str()), (false, "timed out after 200ms and was ended"));
        let mut on_change = exec("", PATIENCE);
        on_change.action = Action::Exec { argv: vec!["/nowhere".into()], timeout: PATIENCE };
        let mut hook = Hook::new("app", on_change, Some(helper.clone()));
        hook.wanted(context(1));
        let ran = hook.run().await.unwrap();
        assert!(!ran.ok && ran.detail.starts_with("not started: there is no such program"));
        helper.clone().close(PATIENCE).await;
        let mut hook = Hook::new("app", exec("exit 0", PATIENCE), Some(helper));
        hook.wanted(context(1));
        let ran = hook.run().await.unwrap();
        assert!(!ran.ok && ran.detail.contains("the process that runs programs has ended"), "{ran:?}");
    });
}

#[test]
fn without_the_process_that_runs_programs_it_says_so() {
    block_on(async {
        let mut hook = Hook::new("app", exec("exit 0", PATIENCE), None);
        hook.wanted(context(1));
        let ran = hook.run().await.unwrap();
        assert!(!ran.ok && ran.detail.contains("the system had no process for it"), "{ran:?}");
    });
}

#[test]
fn a_signal_is_sent_or_it_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut process = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    fs::write(&file, format!("{}\n", process.id())).unwrap();
    block_on(async {
        let mut hook = Hook::new("app", signal(&file, Duration::ZERO), None);
        assert_eq!(hook.run().await, None, "nothing was wanted");
        hook.wanted(context(1));
        let ran = hook.run().await.unwrap();
        assert_eq!((ran.ok, ran.detail), (true, format!("TERM sent to process {}", process.id())));
        process.wait().unwrap();
        hook.wanted(context(2));
        let ran = hook.run().await.unwrap();
        let detail = format!("TERM not sent: run/app.pid: there is no process {}", process.id());
        assert_eq!((ran.ok, ran.detail), (false, detail));
        assert!(ran.help.is_some());
    });
}

#[tokio::test(start_paused = true)]
async fn at_most_once_an_interval_and_changes_meanwhile_together() {
    let interval = Duration::from_secs(10);
    let mut hook = Hook::new("app", signal(Path::new("/nowhere/at/all"), interval), None);
    assert!(!is_due(&hook).await, "nothing has changed");
    hook.wanted(context(1));
    assert!(is_due(&hook).await, "the first at once");
    assert!(hook.run().await.is_some());
    assert!(!is_due(&hook).await, "it was told");
    hook.wanted(context(2));
    assert!(!is_due(&hook).await, "too early");
    hook.wanted(context(3));
    advance(Duration::from_millis(9900)).await;
    assert!(!is_due(&hook).await, "still too early, and later changes do not move it");
    let before = Instant::now();
    hook.due().await;
    assert!(before.elapsed() <= Duration::from_millis(100));
    assert_eq!(hook.wanted, Some(context(3)), "the last is told");
    assert!(hook.run().await.is_some());
    assert_eq!(hook.run().await, None, "and no other");
    advance(interval * 2).await;
    assert!(!is_due(&hook).await);
    hook.wanted(context(4));
    assert!(is_due(&hook).await, "after a quiet time at once");
}

#[test]
fn never_two_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.01; done; echo $DLCONF_VERSION", go.display());
    block_on(async {
        let helper = apart().start().unwrap();
        let mut hook = Hook::new("app", exec(&script, PATIENCE), Some(helper.clone()));
        let mut other = Hook::new("other", exec("exit 0", PATIENCE), Some(helper.clone()));
        hook.wanted(context(1));
        let mut first = std::pin::pin!(hook.run());
        assert!(timeout(Duration::from_millis(50), &mut first).await.is_err(), "it runs");
        hook.wanted(context(2));
        assert!(!is_due(&hook).await, "one is under way");
        other.wanted(context(2));
        other.due().await;
        assert!(other.run().await.unwrap().ok, "that of another delivery does not wait");
        fs::write(&go, "").unwrap();
        assert_eq!(first.await.unwrap().lines, ["7f3a.1"]);
        hook.due().await;
        assert_eq!(hook.run().await.unwrap().lines, ["7f3a.2"]);
        helper.close(PATIENCE).await;
    });
}
