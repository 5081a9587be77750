//! Connections: the slow, the silent, the many, the large; and the end.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use dlconf::serve::Limits;
use dlconf::telemetry::Event;

use super::fake::{Routes, Served, body, code, loopback, well};

fn impatient() -> Limits {
    let short = Duration::from_millis(200);
    Limits { first: short, head: short, body: short, idle: short, write: short, ..Limits::default() }
}

#[test]
fn who_says_half_or_nothing_is_closed() {
    let served = Served::new(&loopback(), Routes::Ops, well(), impatient());
    for said in ["", "G", "GET /healthz HTTP/1.1\r\nhost: x"] {
        let mut stream = served.connect();
        stream.write_all(said.as_bytes()).unwrap();
        // Ends by a close, not by the read's own time-out.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap_or_else(|error| panic!("{said:?}: {error}"));
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{said:?}");
    }
}

#[test]
fn who_stays_after_an_answer_is_closed() {
    let served = Served::new(&loopback(), Routes::Ops, well(), impatient());
    let mut stream = served.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("ok\n"), "{answer}");
}

#[test]
fn who_does_not_read_is_closed() {
    let served = Served::new(&loopback(), Routes::Ops, well(), impatient());
    let mut stream = served.connect();
    // More answers than every buffer on the way holds, and nobody reads them.
    let one = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let broken = (0..2_000_000).find_map(|_| stream.write_all(one).err()).expect("it reads for ever");
    assert!(
        matches!(broken.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset),
        "{broken}"
    );
}

#[test]
fn heads_have_a_largest_size() {
    let served = Served::ops(well());
    let ask = |bytes| {
        let filler = "x".repeat(bytes);
        served.ask(&format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\na: {filler}\r\n\r\n"))
    };
    assert_eq!(code(&ask(15_000)), 200);
    assert_eq!(code(&ask(17_000)), 431);
}

#[test]
fn bodies_have_a_largest_size() {
    let served = Served::ops(well());
    let ask = |bytes| {
        served.ask(&format!(
            "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n{}",
            "x".repeat(usize::min(bytes, 10))
        ))
    };
    assert_eq!(code(&ask(10)), 200);
    assert_eq!(code(&ask(65_537)), 413);
}

#[test]
fn no_more_than_so_many_are_open_and_who_asks_nothing_gives_way() {
    let limits = Limits { connections: 64, first: Duration::from_mins(1), ..Limits::default() };
    let served = Served::new(&loopback(), Routes::Ops, well(), limits);
    let mut open: Vec<_> = (0..64).map(|_| served.connect()).collect();
    // They would be open for a minute, and hold up nobody.
    assert!(served.get("/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(served.notes.count(|event| matches!(event, Event::TurnedAway { .. })), 1);
    let mut left = open.split_off(1);
    assert_eq!(open[0].read(&mut [0]).unwrap_or(0), 0, "the oldest is not closed");
    for stream in &mut left {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert_ne!(stream.read(&mut [0; 512]).unwrap(), 0);
    }
}

#[test]
fn the_end_waits_for_nobody() {
    let limits = Limits { first: Duration::from_mins(1), ..Limits::default() };
    let mut served = Served::new(&loopback(), Routes::Ops, well(), limits);
    let idle = served.connect();
    let mut half = served.connect();
    half.write_all(b"GET /").unwrap();
    assert_eq!(body(&served.get("/healthz")), "ok\n");
    let took = served.end();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let began = Instant::now();
    for mut stream in [idle, half] {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}
