//! Clients that mean harm, or die: what they hold, and for how long.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dlconf::serve::Limits;

use super::fake::code;
use super::host::{Host, PATIENCE, Wanted, head, is_closed, marker, request, until};
use crate::memory_scan::scan;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn answer(mut stream: UnixStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn each_step_has_a_deadline_of_its_own() {
    let short = Duration::from_millis(200);
    let long = Duration::from_mins(10);
    let usual = Limits {
        first: long,
        head: long,
        body: long,
        answer: long,
        write: long,
        idle: long,
        ..Limits::default()
    };
    let said = [
        (Limits { first: short, ..usual }, "", None),
        (Limits { head: short, ..usual }, "GET /ok HTTP/1.1\r\nhost: x", None),
        (
            Limits { body: short, ..usual },
            "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf",
            Some(408),
        ),
        (Limits { answer: short, ..usual }, "GET /never HTTP/1.1\r\nhost: x\r\n\r\n", Some(504)),
        (Limits { idle: short, ..usual }, "GET /ok HTTP/1.1\r\nhost: x\r\n\r\n", Some(200)),
        // The next head has begun.
        (Limits { head: short, ..usual }, "GET /ok HTTP/1.1\r\nhost: x\r\n\r\nGET", Some(200)),
    ];
    for (limits, said, expected) in said {
        let host = Host::new(limits);
        let mut stream = host.say(said);
        if said.ends_with("GET") {
            // By itself, so that it is a byte of its own.
            head(&mut stream);
            let mut body = [0; 3];
            stream.read_exact(&mut body).unwrap();
            stream.write_all(b"GET").unwrap();
            is_closed(&mut stream);
            continue;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{said:?}: {error}: {answer}"));
        assert_eq!((!answer.is_empty()).then(|| code(&answer)), expected, "{said:?}: {answer}");
        if answer.contains("HTTP/1.1 4") {
            assert!(
                answer.contains("application/problem+json") && answer.contains("connection: close"),
                "{answer}"
            );
        }
    }
}

#[test]
fn deadlines_are_of_their_step_only() {
    let short = Duration::from_millis(150);
    let limits = Limits { first: short, head: short, body: short, write: short, ..Limits::default() };
    let host = Host::new(limits);
    let mut idle = host.open("/ok");
    let mut stream = host.open("/stream");
    idle.read_exact(&mut [0; 3]).unwrap();
    // Others come and go meanwhile, for longer than all of these.
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(600) {
        assert_eq!(host.ask("GET", "/ok"), "ok\n");
    }
    idle.write_all(request("GET", "/ok").as_bytes()).unwrap();
    assert!(head(&mut idle).starts_with("HTTP/1.1 200"));
    let mut said = [0; 11];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"6\r\nhello\n\r\n");
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.read(&mut said).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn what_is_too_large_is_refused() {
    let host = Host::new(Limits::default());
    let ask = |request: &str| {
        let answer = answer(host.say(request));
        (code(&answer), answer)
    };
    let long = "x".repeat(17_000);
    let lines = |count: usize| "h: x\r\n".repeat(count);
    let close = "host: x\r\nconnection: close\r\n";
    for (request, expected) in [
        (format!("GET /{long} HTTP/1.1\r\n{close}\r\n"), 431),
        (format!("GET /ok HTTP/1.1\r\na: {long}\r\n{close}\r\n"), 431),
        (format!("GET /ok HTTP/1.1\r\n{}{close}\r\n", lines(200)), 431),
        (format!("{long} /ok HTTP/1.1\r\n{close}\r\n"), 431),
        (format!("{} /ok HTTP/1.1\r\n{close}\r\n", "X".repeat(9_000)), 405),
        (format!("GET /{} HTTP/1.1\r\n{close}\r\n", "x".repeat(9_000)), 404),
        ("\0\r\n\r\n".to_owned(), 400),
        ("GET /ok HTTP/9.9\r\n\r\n".to_owned(), 400),
        (format!("POST /length HTTP/1.1\r\n{close}content-length: 65537\r\n\r\n"), 413),
        (format!("POST /length HTTP/1.1\r\n{close}content-length: 99999999999999999999\r\n\r\n"), 400),
    ] {
        let (code, answer) = ask(&request);
        assert_eq!(code, expected, "{}…: {answer}", &request[..request.len().min(60)]);
    }
    // What is not announced is counted.
    let chunked = |bytes: usize| {
        format!(
            "POST /length HTTP/1.1\r\n{close}transfer-encoding: chunked\r\n\r\n{bytes:x}\r\n{}\r\n0\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    assert_eq!(super::fake::body(&ask(&chunked(65_536)).1), "65536");
    assert_eq!(ask(&chunked(65_537)).0, 413);
    assert_eq!(host.ask("GET", "/ok"), "ok\n");
}

#[test]
fn a_user_over_its_share_gives_way_to_itself() {
    let host = Host::new(Limits { per_user: 4, ..Limits::default() });
    let mut idle = host.connect();
    let asked: Vec<UnixStream> = (0..3).map(|_| host.open("/stream")).collect();
    // The oldest of which nothing is asked.
    let last = host.open("/stream");
    is_closed(&mut idle);
    // Of all something is asked, also of those whose answers have begun.
    let mut refused = host.connect();
    is_closed(&mut refused);
    drop(last);
    until("there is no room again", || {
        let mut stream = host.say(&request("GET", "/ok"));
        stream.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0)
    });
    drop(asked);
    until("connections are not counted", || host.ask("GET", "/told").contains("open 1 at the socket"));
    assert!(host.told("TurnedAway") >= 2);
}

#[test]
fn another_user_is_let_in_where_one_has_all() {
    if !is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let host = Host::new(Limits { connections: 8, per_user: 8, ..Limits::default() });
    let mut theirs: Vec<UnixStream> = (0..8).map(|_| host.connect()).collect();
    let script = "import os, socket, sys\n\
        os.setgroups([4323, 4324]); os.setresgid(4322, 4322, 4322); os.setresuid(4321, 4321, 4321)\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        s.sendall(b'GET /who HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n')\n\
        while b := s.recv(4096): print(b.decode(), end='')\n";
    let other = Command::new("python3").args(["-c", script]).arg(host.path()).output().unwrap();
    let said = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(said.contains("uid 4321 gid 4322 groups [4323, 4324]"), "{said} {other:?}");
    is_closed(&mut theirs[0]);
    for stream in &mut theirs[1..] {
        stream.write_all(request("GET", "/ok").as_bytes()).unwrap();
        assert!(head(stream).starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn ten_thousand_of_one_user_keep_out_nobody_else() {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    if !is_root() || hard < 12_000 {
        eprintln!("skipped: this needs root, and 12,000 descriptors");
        return;
    }
    let limits = Limits { connections: 4096, per_user: 2048, ..Limits::default() };
    let host = Host::wanted(&Wanted { limits, descriptors: 12_000, ..Wanted::default() });
    assert_eq!(host.ask("GET", "/ok"), "ok\n");
    until("the first one is still there", || host.ask("GET", "/told").contains("open 1 at"));
    let baseline = host.descriptors();
    let script = "import os, resource, socket, sys\n\
        resource.setrlimit(resource.RLIMIT_NOFILE, (11000, 11000))\n\
        os.setgroups([]); os.setresgid(4321, 4321, 4321); os.setresuid(4321, 4321, 4321)\n\
        held = []\n\
        for i in range(10000):\n\
        \ts = socket.socket(socket.AF_UNIX)\n\
        \ts.connect(sys.argv[1])\n\
        \ttry: s.send(b'' if i % 2 else b'GET /ok HTTP/1.1\\r\\nhost')\n\
        \texcept OSError: pass\n\
        \theld.append(s)\n\
        \tif i == 3000: print('many', flush=True)\n\
        print('all', flush=True)\n\
        sys.stdin.read()\n";
    let mut crowd = Command::new("python3")
        .args(["-c", script])
        .arg(host.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(crowd.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert_eq!(line, "many\n");
    // While they come, and when all are there.
    let mut kept = host.open("/ok");
    let arrived =
        std::thread::spawn(move || std::io::BufRead::read_line(&mut said, &mut String::new()).unwrap());
    let mut asked = 0;
    while !arrived.is_finished() || asked < 200 {
        assert_eq!(host.ask("GET", "/ok"), "ok\n", "a new connection is refused");
        asked += 1;
    }
    kept.read_exact(&mut [0; 3]).unwrap();
    kept.write_all(request("GET", "/ok").as_bytes()).unwrap();
    assert!(head(&mut kept).starts_with("HTTP/1.1 200"), "an old connection is not served");
    drop(kept);
    assert!(host.descriptors() <= baseline + 2 * 2048 + 16, "{} descriptors", host.descriptors());
    drop(crowd.stdin.take());
    assert!(crowd.wait().unwrap().success());
    until("descriptors are lost", || host.descriptors() <= baseline);
}

#[test]
fn without_descriptors_nobody_waits() {
    // The limit leaves room for four connections at most; the rest is held by others.
    let limits = Limits { connections: 64, per_user: 64, ..Limits::default() };
    let host = Host::wanted(&Wanted { limits, descriptors: 128, ..Wanted::default() });
    assert_eq!(host.told("FewConnections"), 1, "{}", host.ask("GET", "/told"));
    let mut inside = host.open("/ok");
    inside.read_exact(&mut [0; 3]).unwrap();
    let mut ask = |path: &str| {
        inside.write_all(request("POST", path).as_bytes()).unwrap();
        let head = head(&mut inside);
        let length = head
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        inside.read_exact(&mut vec![0; length]).unwrap();
    };
    ask("/hold");
    for _ in 0..20 {
        let began = Instant::now();
        is_closed(&mut host.connect());
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    ask("/release");
    until("it does not recover", || {
        let mut stream = host.say(&request("GET", "/ok"));
        stream.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0)
    });
    assert!(host.told("CannotAccept") >= 1);
}

#[test]
fn who_dies_leaves_nothing_behind() {
    let host = Host::new(Limits { idle: Duration::from_secs(1), ..Limits::default() });
    assert_eq!(host.ask("GET", "/ok"), "ok\n");
    until("the first one is still there", || host.ask("GET", "/told").contains("open 1 at"));
    let baseline = host.descriptors();
    let mut open: Vec<UnixStream> = (0..8).map(|_| host.open("/stream")).collect();
    open.extend((0..8).map(|_| host.open("/flood")));
    open.extend((0..8).map(|_| host.say(&request("GET", "/never"))));
    open.extend((0..8).map(|_| host.say("GET /ok HT")));
    open.extend(
        (0..8).map(|_| host.say("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf")),
    );
    open.push(host.connect());
    // More was said than was asked for.
    open.extend((0..8).map(|_| host.say(&format!("{}GET /o", request("GET", "/stream")))));
    until("they are not there", || host.descriptors() + 2 >= baseline + 2 * open.len());
    drop(open);
    until("descriptors are lost", || host.descriptors() <= baseline);
}

fn copies(host: &Host, text: &str) -> usize {
    scan(host.pid(), text.as_bytes()).unwrap().total()
}

/// A client may have read what the server is about to free.
#[track_caller]
fn is_gone_in_time(host: &Host, text: &str) {
    let since = Instant::now();
    loop {
        let in_time = since.elapsed() <= Duration::from_secs(1);
        let left = copies(host, text);
        if left == 0 {
            return;
        }
        assert!(in_time, "{left} copies are left");
    }
}

#[test]
fn answers_stay_nowhere_when_they_are_written() {
    if !is_root() {
        eprintln!("skipped: only root may look into another process");
        return;
    }
    let host = Host::new(Limits::default());
    let (marker, one) = (marker(), request("GET", "/marker"));
    let open: Vec<UnixStream> = (0..10)
        .map(|_| {
            let mut stream = host.connect();
            for _ in 0..3 {
                stream.write_all(one.as_bytes()).unwrap();
                head(&mut stream);
                let mut body = vec![0; marker.len()];
                stream.read_exact(&mut body).unwrap();
                assert_eq!(body, marker.as_bytes());
            }
            // Two at a time.
            stream.write_all(one.repeat(2).as_bytes()).unwrap();
            for _ in 0..2 {
                head(&mut stream);
                stream.read_exact(&mut vec![0; marker.len()]).unwrap();
            }
            stream
        })
        .collect();
    // With the connections open.
    is_gone_in_time(&host, &marker);
    drop(open);
}

#[test]
fn who_does_not_read_is_cut_when_a_generation_comes() {
    let long = Duration::from_mins(10);
    let host = Host::new(Limits { write: long, idle: long, ..Limits::default() });
    let mut idle = host.open("/ok");
    let mut watcher = host.open("/stream");
    let mut stuck = host.open("/markers");
    let mut flooded = host.open("/flood");
    let mut between = host.say(&request("GET", "/markers").repeat(2));
    head(&mut between);
    // It is theirs to read, and waits until they do.
    let marker = marker();
    until("they are not there", || host.ask("GET", "/told").contains("open 6 at"));
    if is_root() {
        until("nothing waits", || copies(&host, &marker) >= 1);
    }
    let began = Instant::now();
    assert!(host.answer("POST", "/next").starts_with("HTTP/1.1 200"));
    until("they are not cut", || host.told("CutOff") == 3);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    if is_root() {
        is_gone_in_time(&host, &marker);
    }
    for stream in [&mut stuck, &mut flooded, &mut between] {
        is_closed(stream);
    }
    // Who reads is left alone, however little there is to read.
    idle.read_exact(&mut [0; 3]).unwrap();
    idle.write_all(request("GET", "/ok").as_bytes()).unwrap();
    assert!(head(&mut idle).starts_with("HTTP/1.1 200"));
    watcher.set_nonblocking(true).unwrap();
    let _said = watcher.read(&mut [0; 64]).unwrap();
    assert_eq!(watcher.read(&mut [0; 64]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn who_reads_a_byte_now_and_then_is_not_waited_for() {
    let host = Host::new(Limits { write: Duration::from_millis(300), ..Limits::default() });
    let mut slow = host.open("/flood");
    let began = Instant::now();
    let mut block = [0; 4096];
    // Always in time for the next piece; the whole never gets through.
    while slow.read(&mut block).is_ok_and(|bytes| bytes > 0) {
        assert!(began.elapsed() < PATIENCE, "it is waited for");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn streams_and_answers_end_when_serving_ends() {
    let host = Host::new(Limits::default());
    let mut stream = host.open("/stream");
    let mut asked = host.say(&request("GET", "/never"));
    let mut idle = host.open("/ok");
    let mut half = host.say("GET /o");
    until("they are not there", || host.ask("GET", "/told").contains("open 5 at"));
    let began = Instant::now();
    host.answer("POST", "/end");
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    // To its proper end.
    assert!(said.ends_with("0\r\n\r\n"), "{said:?}");
    assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
    assert!(head(&mut asked).starts_with("HTTP/1.1 503"));
    is_closed(&mut idle);
    is_closed(&mut half);
    until("its name stays", || !host.path().exists());
}

/// Who connects as another user and gives the connection to somebody else, by a
/// message or by inheritance; who has it then asks who it is taken for, while the
/// first one lives and after its end.
const PASSED: &str = r"
import os, socket, sys
path, how = sys.argv[1:]

def who(s):
    s.settimeout(20)
    s.sendall(b'GET /who HTTP/1.1\r\nhost: x\r\n\r\n')
    print(s.recv(4096).decode().splitlines()[-1], flush=True)

def connected():
    os.setgroups(list(range(5000, 5100)))
    os.setresgid(4322, 4322, 4322)
    os.setresuid(4321, 4321, 4321)
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return s

ours, theirs = socket.socketpair()
for end in ours, theirs: end.settimeout(20)
if how.startswith('passed'):
    first = os.fork()
    if first == 0:
        s = connected()
        socket.send_fds(theirs, [b'x'], [s.fileno()])
        theirs.recv(1)
        os._exit(0)
    s = socket.socket(fileno=socket.recv_fds(ours, 1, 1)[1][0])
    if how == 'passed': who(s)
    ours.send(b'x')
    os.waitpid(first, 0)
    who(s)
else:
    # Told to the first one, to the one after it, and its end to us.
    first_end, after, done = os.pipe(), os.pipe(), os.pipe()
    first = os.fork()
    if first == 0:
        s = connected()
        if os.fork() == 0:
            who(s)
            os.write(first_end[1], b'x')
            os.read(after[0], 1)
            who(s)
            os._exit(0)
        s.close()
        os.read(first_end[0], 1)
        os._exit(0)
    os.waitpid(first, 0)
    os.write(after[1], b'x')
    os.close(done[1])
    os.read(done[0], 1)
";

#[test]
fn a_connection_is_of_who_connected() {
    if !is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let host = Host::new(Limits::default());
    for (how, lines) in [("passed", 2), ("passed late", 1), ("inherited", 2)] {
        let ran = Command::new("python3")
            .args(["-c", PASSED, host.path().to_str().unwrap(), how])
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        let said: Vec<&str> = said.lines().collect();
        assert_eq!(said.len(), lines, "{how}: {said:?} {}", String::from_utf8_lossy(&ran.stderr));
        let groups: Vec<u32> = (5000..5100).collect();
        for line in &said {
            assert!(
                line.starts_with(&format!("uid 4321 gid 4322 groups {groups:?} pid Some(")),
                "{how}: {line}"
            );
        }
        if lines == 2 {
            assert!(said[0].contains("exe Some(Some(") && said[0].contains("python"), "{how}: {}", said[0]);
        }
        assert!(said[lines - 1].ends_with("exe None"), "{how}: {}", said[lines - 1]);
    }
}

#[test]
fn a_name_that_was_removed_comes_back() {
    let host = Host::wanted(&Wanted { mode: 0o777, ..Wanted::default() });
    assert_eq!(host.told("SocketExposed"), 1);
    let mut kept = host.open("/ok");
    kept.read_exact(&mut [0; 3]).unwrap();
    std::fs::remove_file(host.path()).unwrap();
    until("it does not come back", || host.path().exists());
    assert_eq!(host.ask("GET", "/ok"), "ok\n");
    let told = host.ask("GET", "/told");
    assert!(told.contains("bound_again: true"), "{told}");
    // What somebody else put there is left alone, and told once.
    std::fs::rename(host.path(), host.path().with_extension("moved")).unwrap();
    let theirs = std::os::unix::net::UnixListener::bind(host.path()).unwrap();
    let moved = || super::host::connect(&host.path().with_extension("moved"));
    until("it is not told", || {
        let mut stream = moved();
        stream.write_all(b"GET /told HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        answer(stream).contains("bound_again: false")
    });
    drop(theirs);
    kept.write_all(request("GET", "/ok").as_bytes()).unwrap();
    assert!(head(&mut kept).starts_with("HTTP/1.1 200"));
}
