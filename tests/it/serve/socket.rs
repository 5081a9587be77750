//! Taking an address: what is replaced, what is left alone, and the words.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use dlconf::serve::Bound;
use dlconf::serve::config::Listen;

use super::fake::{unix, until};

fn refused(listen: &Listen) -> String {
    let error = Bound::bind("the socket", listen).expect_err("it was bound");
    format!("{error} = {}", error.help)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_socket_has_its_mode_from_the_first_moment() {
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join("before")).unwrap();
    for wanted in [0o600, 0o660, 0o666] {
        let path = dir.path().join(format!("new/deep/{wanted:o}.sock"));
        // Whoever looks in the moment between bind and a chmod would see another.
        let (seen_path, end) = (path.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let seen = std::thread::spawn({
            let end = end.clone();
            move || {
                let mut seen = Vec::new();
                while !end.load(std::sync::atomic::Ordering::Relaxed) {
                    if let Ok(metadata) = fs::symlink_metadata(&seen_path) {
                        seen.push(metadata.permissions().mode() & 0o777);
                    }
                }
                seen
            }
        });
        let bound = Bound::bind("the socket", &unix(&path, wanted)).unwrap();
        assert_eq!(mode(&path), wanted);
        drop(bound);
        end.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(seen.join().unwrap().iter().all(|mode| *mode == wanted));
        assert_eq!(mode(&dir.path().join("new/deep")), 0o750);
        assert!(!path.exists(), "it stays behind");
    }
    // The process's umask is as it was.
    fs::File::create(dir.path().join("after")).unwrap();
    assert_eq!(mode(&dir.path().join("after")), mode(&dir.path().join("before")));
}

#[test]
fn what_others_make_meanwhile_keeps_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("before")).unwrap();
    let usual = mode(&dir.path().join("before"));
    let end = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..40 {
                drop(Bound::bind("the socket", &unix(&dir.path().join(format!("{i}.sock")), 0o600)).unwrap());
            }
            end.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut made = 0;
        while !end.load(std::sync::atomic::Ordering::Relaxed) {
            let folder = dir.path().join(format!("folder-{made}"));
            fs::create_dir(&folder).unwrap();
            assert_eq!(mode(&folder), usual, "after {made}");
            fs::remove_dir(&folder).unwrap();
            made += 1;
        }
    });
}

#[test]
fn a_socket_that_nobody_answers_at_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    drop(UnixListener::bind(&path).unwrap());
    UnixStream::connect(&path).unwrap_err();
    let bound = Bound::bind("the socket", &unix(&path, 0o600)).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    UnixStream::connect(&path).unwrap();
    assert!(bound.is_local() && bound.address().is_none());
}

#[test]
fn a_second_instance_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let first = Bound::bind("the socket", &unix(&path, 0o600)).unwrap();
    let words = refused(&unix(&path, 0o600));
    assert!(words.contains("another dlconf does"), "{words}");
    UnixStream::connect(&path).unwrap();
    drop(first);
    drop(Bound::bind("the socket", &unix(&path, 0o600)).unwrap());
}

#[test]
fn what_somebody_else_listens_at_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let theirs = UnixListener::bind(&path).unwrap();
    let words = refused(&unix(&path, 0o600));
    assert!(words.contains("something answers there"), "{words}");
    theirs.set_nonblocking(true).unwrap();
    assert_eq!(theirs.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it was disturbed");
    UnixStream::connect(&path).unwrap();
}

#[test]
fn who_is_too_busy_to_accept_is_not_waited_for() {
    use tokio::net::{UnixSocket, UnixStream};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _busy = runtime.block_on(async {
        let theirs = UnixSocket::new_stream().unwrap();
        theirs.bind(&path).unwrap();
        let theirs = theirs.listen(1).unwrap();
        let mut waiting = Vec::new();
        while let Ok(one) = UnixStream::connect(&path).await {
            waiting.push(one);
        }
        (theirs, waiting)
    });
    let listen = unix(&path, 0o600);
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(refused(&listen)));
    let words = heard.recv_timeout(std::time::Duration::from_secs(10)).expect("it waits to be accepted");
    assert!(words.contains("something answers there"), "{words}");
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::File::create(&file).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for path in [&file, &link, &folder] {
        let words = refused(&unix(path, 0o600));
        assert!(words.contains("no socket"), "{words}");
        assert!(fs::symlink_metadata(path).is_ok(), "{} is gone", path.display());
    }
}

#[test]
fn a_pipe_in_the_place_of_its_lock_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join("d.sock.lock");
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let listen = unix(&dir.path().join("d.sock"), 0o600);
    let began = std::time::Instant::now();
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(refused(&listen)));
    let deadline = std::time::Duration::from_secs(10);
    let words = heard.recv_timeout(deadline).expect("it waits for the pipe's other end");
    assert!(words.contains(".lock, cannot be taken"), "{words}");
    // With a partner too it is no lock.
    let _partner = std::fs::OpenOptions::new().read(true).write(true).open(&lock).unwrap();
    assert!(refused(&unix(&dir.path().join("d.sock"), 0o600)).contains(".lock, cannot be taken"));
    assert!(began.elapsed() < deadline);
}

#[test]
fn what_took_its_place_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let bound = Bound::bind("the socket", &unix(&path, 0o600)).unwrap();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    drop(bound);
    until("it is still there", || path.exists());
}

#[test]
fn a_path_has_107_bytes_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let name = |bytes: usize| dir.path().join("x".repeat(bytes - dir.path().as_os_str().len() - 1));
    drop(Bound::bind("the socket", &unix(&name(107), 0o600)).unwrap());
    let words = refused(&unix(&name(108), 0o600));
    assert!(words.contains("108 bytes") && words.contains("107"), "{words}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let bound = Bound::bind("the ops port", &super::fake::loopback()).unwrap();
    let address = bound.address().unwrap();
    assert!(bound.is_local() && address.port() != 0 && bound.at() == address.to_string());
    let words = refused(&Listen::Tcp(address));
    assert!(words.contains(&address.to_string()) && words.contains("Address already in use"), "{words}");
    assert!(words.contains("another port"), "{words}");
    let words = refused(&Listen::Tcp("192.0.2.1:0".parse().unwrap()));
    assert!(words.contains("an address that this machine has"), "{words}");
}
