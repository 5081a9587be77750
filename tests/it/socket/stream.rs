//! What a watcher is told while it does not read, and while nothing happens: the
//! routes alone, under a clock that stands still.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use dlconf::access::{Caller, Gate, Policy, Rules};
use dlconf::model::key::Key;
use dlconf::serve::Peer;
use futures_util::{FutureExt as _, StreamExt as _};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::released::{Publisher, published, snapshot};
use crate::serve::fake::{Fake, Notes, well};

type Values<'a> = &'a [(&'a str, &'a str)];

/// A watcher of everything that these variables are.
async fn watch(values: Values<'_>) -> (Publisher, watch::Sender<Arc<Rules>>, BodyDataStream) {
    let (publisher, granted) = published(values);
    let rules = Rules::new(Policy::own_user(7, granted), None);
    let rules = watch::Sender::new(Arc::new(rules));
    let gate = Gate::new(publisher.subscribe(), rules.subscribe());
    let router = dlconf::serve::socket::router(Arc::new(Fake::new(well())), gate, Arc::new(Notes::default()));
    let mut request = Request::get("/v1/watch").body(Body::empty()).unwrap();
    let caller = Caller::without_program(7, 7, Vec::new());
    request.extensions_mut().insert(Peer::Caller(Arc::new(caller)));
    let response = TowerToHyperService::new(router).call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    (publisher, rules, response.into_body().into_data_stream())
}

/// The next thing that is said.
async fn next(stream: &mut BodyDataStream) -> Option<String> {
    let said = timeout(Duration::from_mins(5), stream.next()).await.expect("nothing is said for minutes");
    said.map(|said| String::from_utf8(said.unwrap().to_vec()).unwrap())
}

fn publish(publisher: &Publisher, values: Values<'_>) {
    let before = publisher.borrow().clone();
    publisher.send_replace(Some(Arc::new(snapshot(values, before.as_deref()))));
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_every_15_seconds() {
    let (publisher, _rules, mut stream) = watch(&[("A", "1")]).await;
    assert_eq!(next(&mut stream).await.unwrap(), "retry: 1000\n\n");
    assert!(next(&mut stream).await.unwrap().starts_with("id: test.1\ndata: "));
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(next(&mut stream).await.unwrap(), ": alive\n\n");
        assert_eq!(began.elapsed().as_secs(), 15);
    }
    // A change comes at once.
    let began = Instant::now();
    publish(&publisher, &[("A", "2")]);
    let said = next(&mut stream).await.unwrap();
    assert_eq!(said, "id: test.2\ndata: {\"version\":\"test.2\",\"changed\":[\"A\"]}\n\n");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_nobody_reads_is_one_event() {
    let (publisher, _rules, mut stream) = watch(&[("A", "1"), ("B", "1"), ("C", "1")]).await;
    next(&mut stream).await.unwrap();
    next(&mut stream).await.unwrap();
    for number in 2..=1000 {
        let number = number.to_string();
        publish(&publisher, &[("A", &number), ("B", "2"), ("C", "1")]);
    }
    let said = next(&mut stream).await.unwrap();
    assert_eq!(said, "id: test.1000\ndata: {\"version\":\"test.1000\",\"changed\":[\"A\",\"B\"]}\n\n");
    assert!(stream.next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn other_rules_are_looked_at_before_anything_is_told() {
    let (publisher, rules, mut stream) = watch(&[("A", "1"), ("B", "1")]).await;
    next(&mut stream).await.unwrap();
    next(&mut stream).await.unwrap();
    // Both before it reads: what is not shown any more is not told of.
    let only = [Key::new("B").unwrap()].into_iter().collect();
    rules.send_replace(Arc::new(Rules::new(Policy::own_user(7, only), None)));
    publish(&publisher, &[("A", "2"), ("B", "1")]);
    let said = next(&mut stream).await.unwrap();
    assert!(said.contains("\"changed\":[\"B\"],\"resync\":true"), "{said}");
    rules.send_replace(Arc::new(Rules::new(Policy::new(Vec::new()), None)));
    publish(&publisher, &[("A", "2"), ("B", "2")]);
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_publishing_is_the_end() {
    let (publisher, _rules, mut stream) = watch(&[("A", "1")]).await;
    next(&mut stream).await.unwrap();
    next(&mut stream).await.unwrap();
    drop(publisher);
    assert_eq!(next(&mut stream).await, None);
}
