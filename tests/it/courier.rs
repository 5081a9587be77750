//! One delivery at work, with a clock that the test moves.

use std::fs;
use std::io::Write as _;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use dlconf::access::audit::AuditConfig;
use dlconf::access::{Audit, Gate, Policy, Rules};
use dlconf::delivery::config::DeliveryKind;
use dlconf::delivery::courier::{Courier, Ended};
use dlconf::delivery::encode::Format;
use dlconf::delivery::env_file::EnvFile;
use dlconf::settings::ShownPath;
use dlconf::telemetry::{Event, Listener};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::program::Folder;
use crate::released::{config, gate, published};

#[derive(Default)]
struct Heard(Mutex<Vec<(bool, usize)>>);

impl Listener for Heard {
    fn tell(&self, event: Event) {
        if let Event::Delivered { changed, took, .. } = event {
            self.0.lock().unwrap().push((changed, took.len()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_removes_or_changes_is_restored() {
    let folder = Folder::new();
    let path = folder.join("app.env");
    let publisher = watch::Sender::new(None);
    let granted = published(&[("A", "one")]).1;
    let heard = Arc::new(Heard::default());
    let config = config(DeliveryKind::EnvFile { format: Format::Dotenv }, &path);
    let delivery = Box::new(EnvFile::new(&config));
    let gate = gate(&publisher);
    let courier = Courier::new(config, delivery, gate, granted, None, Arc::clone(&heard) as _);
    let (stop, stopped) = oneshot::channel::<()>();
    publisher.send_replace(published(&[("A", "one")]).0.borrow().clone());
    let work = tokio::spawn(courier.run(async { drop(stopped.await) }));
    let told = || heard.0.lock().unwrap().clone();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((folder.read("app.env").as_str(), told().as_slice()), ("A=one\n", [(true, 1)].as_slice()));
    // What is as it should be is nothing to tell of.
    sleep(Duration::from_secs(100)).await;
    assert_eq!(told(), [(true, 1)]);
    fs::remove_file(&path).unwrap();
    sleep(Duration::from_secs(31)).await;
    // It is told, but says nothing of how long a change takes.
    let twice = [(true, 1), (true, 0)];
    assert_eq!((folder.read("app.env").as_str(), told().as_slice()), ("A=one\n", twice.as_slice()));
    folder.file("app.env", "A=changed\n");
    sleep(Duration::from_secs(31)).await;
    assert_eq!((folder.read("app.env").as_str(), told().len()), ("A=one\n", 3));
    drop(stop);
    assert_eq!(work.await.unwrap(), Ended::Told);
}

/// Holds up the audit log's thread when it sees that somebody wrote to its file.
struct Slow {
    reached: mpsc::SyncSender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Listener for Slow {
    fn tell(&self, event: Event) {
        if matches!(event, Event::AuditMeddled { .. }) {
            self.reached.send(()).unwrap();
            let _gone = self.go_on.lock().unwrap().recv();
        }
    }
}

#[tokio::test]
async fn who_is_sent_away_while_it_is_recorded_gets_nothing() {
    let folder = Folder::new();
    folder.file("key", "0123456789abcdef0123456789abcdef");
    let key = folder.join("key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let log = folder.join("audit.jsonl");
    let audit = AuditConfig {
        path: log.clone(),
        label: "audit.jsonl".into(),
        key_file: ShownPath::named(&key),
        required: true,
        max_bytes: 1 << 20,
        keep: 1,
    };
    let (reached, is_reached) = mpsc::sync_channel(0);
    let (go_on, may_go_on) = mpsc::channel();
    let slow = Arc::new(Slow { reached, go_on: Mutex::new(may_go_on) });
    let audit = Arc::new(Audit::open(&audit, slow).unwrap());
    fs::File::options().append(true).open(&log).unwrap().write_all(b"x\n").unwrap();

    let (published, granted) = published(&[("A", "one")]);
    let policy = Policy::own_user(0, granted.clone());
    let (_rules, rules) = watch::channel(Arc::new(Rules::new(policy, Some(audit))));
    let path = folder.join("app.env");
    let config = config(DeliveryKind::EnvFile { format: Format::Dotenv }, &path);
    let delivery = Box::new(EnvFile::new(&config));
    let gate = Gate::new(published.subscribe(), rules);
    let courier = Courier::new(config, delivery, gate, granted, None, Arc::new(Heard::default()));
    let (stop, stopped) = oneshot::channel::<()>();
    let work = tokio::spawn(courier.run(async { drop(stopped.await) }));
    tokio::task::spawn_blocking(move || is_reached.recv().unwrap()).await.unwrap();
    drop(stop);
    go_on.send(()).unwrap();
    assert_eq!(work.await.unwrap(), Ended::Told);
    assert!(!path.exists(), "it was sent away before that was recorded");
}
