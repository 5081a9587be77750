//! One delivery at work, with a clock that the test moves.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dlconf::access::Gate;
use dlconf::delivery::config::DeliveryKind;
use dlconf::delivery::courier::{Courier, Ended};
use dlconf::delivery::encode::Format;
use dlconf::delivery::env_file::EnvFile;
use dlconf::telemetry::{Event, Listener};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::program::Folder;
use crate::released::{config, published};

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
    let gate = Gate::new(publisher.subscribe());
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
