use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::process::harden;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A server that gives these answers, one a connection, and then none. What it was asked
/// for comes back.
fn server(answers: Vec<&'static [u8]>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}/health?deep=1", listener.local_addr().unwrap());
    let (asked, asks) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let read = request(&mut stream);
            let _who_hears_may_have_had_enough = stream.write_all(answer);
            asked.send(read).unwrap();
        }
    });
    (address, asks)
}

fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        read.extend(byte);
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn answers_of_programs_that_work_and_of_others() {
    let cases: [(&[u8], bool); 9] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
        (b"HTTP/1.1 204 No Content\r\n\r\n", true),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", true),
        (b"HTTP/1.1 399 Odd\r\ncontent-length: 0\r\n\r\n", true),
        // A content that breaks off is none of our business.
        (b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok", true),
        (b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n", false),
        (b"HTTP/1.1 503 Not yet\r\ncontent-length: 0\r\n\r\n", false),
        (b"SSH-2.0-OpenSSH\r\n", false),
        (b"", false),
    ];
    let (address, asks) = server(cases.iter().map(|(answer, _)| *answer).collect());
    let url: url::Url = address.parse().unwrap();
    run(async {
        let web = Web::new(&url);
        for (answer, works) in cases {
            let shown = String::from_utf8_lossy(answer);
            assert_eq!(web.ask(&url, PATIENCE).await.is_ok(), works, "{shown}");
            let asked = asks.recv().unwrap();
            assert!(asked.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{asked}");
        }
        // Nobody is there any more.
        assert_eq!(web.ask(&url, PATIENCE).await, Err("no connection is taken".into()));
    });
}

#[test]
fn who_keeps_silent_does_not_work() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url: url::Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    run(async {
        let begin = Instant::now();
        assert_eq!(
            Web::new(&url).ask(&url, Duration::from_millis(50)).await,
            Err("no answer came in 0.05 s".into())
        );
        assert!(begin.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn an_endless_answer_is_cut_off() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url: url::Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (told, written) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let block = vec![0; 64 * 1024];
        let mut count: u64 = 0;
        while stream.write_all(&block).is_ok() {
            count += 1;
        }
        told.send(count).unwrap();
    });
    run(async {
        assert_eq!(Web::new(&url).ask(&url, PATIENCE).await, Ok(()));
        // What reads the connection is a task: it ends when it is let.
        tokio::time::sleep(Duration::from_millis(1)).await;
    });
    // Sockets hold some megabytes.
    assert!(written.recv_timeout(PATIENCE).unwrap() < 256);
}

#[test]
fn asked_by_url_until_it_works() {
    let no = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    let (address, asks) = server(vec![no, no, b"HTTP/1.1 200 Yes\r\ncontent-length: 0\r\n\r\n"]);
    let mut proof = Proof::new(Some(Health::Answers(address.parse().unwrap())));
    let (hardened, found) = (harden(), Found::look());
    run(async {
        proof.begin();
        for _ in 0..3 {
            assert_eq!(proof.due().await, Due::Ask);
            proof.ask(hardened, found, || unreachable!("no command asks"));
        }
        assert_eq!(proof.due().await, Due::Proven);
        assert_eq!(asks.iter().count(), 3);
        assert!(proof.web.is_none(), "what asked is not kept");
        // It is not asked again.
        assert!(tokio::time::timeout(Duration::from_millis(300), proof.due()).await.is_err());
    });
}

#[tokio::test(start_paused = true)]
async fn first_soon_and_then_every_second() {
    let mut proof = Proof::new(Some(Health::Runs(vec!["no-such-program".into()])));
    let (hardened, found) = (harden(), Found::look());
    proof.begin();
    let begin = Instant::now();
    let mut moments = Vec::new();
    for _ in 0..8 {
        assert_eq!(proof.due().await, Due::Ask);
        moments.push(begin.elapsed().as_millis());
        let nothing = || Ok(Handed { environment: Vec::new(), memory: None });
        proof.ask(hardened, found, nothing);
    }
    assert_eq!(moments, [100, 200, 400, 800, 1600, 2600, 3600, 4600]);

    // Time in which everything stands still does not count.
    proof.suspended(Duration::from_secs(10));
    assert_eq!(proof.due().await, Due::Ask);
    assert_eq!(begin.elapsed().as_millis(), 15_600);

    proof.end();
    assert!(tokio::time::timeout(Duration::from_hours(1), proof.due()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_has_only_to_live() {
    let mut proof = Proof::new(Some(Health::Lives(Duration::from_secs(3))));
    let begin = Instant::now();
    proof.begin();
    assert!(tokio::time::timeout(Duration::from_secs(2), proof.due()).await.is_err());
    proof.suspended(Duration::from_secs(1));
    assert_eq!(proof.due().await, Due::Proven);
    assert_eq!(begin.elapsed(), Duration::from_secs(4));
    assert!(tokio::time::timeout(Duration::from_hours(1), proof.due()).await.is_err());

    let mut nothing = Proof::new(None);
    nothing.begin();
    assert!(tokio::time::timeout(Duration::from_hours(1), nothing.due()).await.is_err());
}
