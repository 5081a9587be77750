//! The process that runs the programs: what it is, and its one loop.
//!
//! Invariants: it comes from a fork of one thread, so all of the standard library
//! works; it keeps of what it inherited its limits, its user, its umask, stderr
//! and a few variables; it never returns into `main`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::wire::{Answered, Asked, CHUNK, Incoming, encode};
use super::{Ran, errand};

/// How many programs run at once.
pub(super) const AT_ONCE: usize = 16;

/// Where programs look for programs: not where the caller of dlconf did.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is passed on of the environment, beside `LC_*`.
const PASSED_ON: [&str; 5] = ["HOME", "LANG", "LOGNAME", "TZ", "USER"];

/// What a service manager or an operator sends to all processes of a service, or
/// to all of one name. The daemon decides what it means; our end follows its end.
const NOT_FOR_US: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Runs programs until the socket ends.
pub(super) fn become_helper(socket: &UnixStream) -> ! {
    crate::process::say_only_where_it_panics();
    settle(socket);
    serve(socket, &passed_on());
    // SAFETY: ends this process without running what `main` may have registered for
    // its own end. All other threads have ended.
    unsafe { libc::_exit(0) }
}

/// Leaves what we were forked from, as far as that is possible.
fn settle(socket: &UnixStream) {
    let _leads_one_already = nix::unistd::setsid();
    let _unnamed = prctl::set_name(c"dlconf-helper");
    // Output passes through here. exec makes the programs dumpable again.
    let _unsupported = prctl::set_dumpable(false);
    let _stays = nix::unistd::chdir("/");
    default_signals();
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let null = null.into_raw_fd();
        for standard in [libc::STDIN_FILENO, libc::STDOUT_FILENO] {
            // SAFETY: both are numbers of descriptors, and nothing here owns those two.
            unsafe { libc::dup2(null, standard) };
        }
    }
    // What the caller left open would be inherited by every program, and a pipe
    // among it would stay open for as long as we live.
    if let Ok(kept) = u32::try_from(socket.as_raw_fd()) {
        for (first, last) in [(3, kept.saturating_sub(1)), (kept.max(2) + 1, u32::MAX)] {
            if first <= last {
                // SAFETY: `socket` is the only descriptor above stderr that anything in this
                // process owns: `main` calls before it opens any. Before Linux 5.9 this
                // fails, and programs inherit what they would from any parent.
                unsafe { libc::close_range(first, last, 0) };
            }
        }
    }
}

/// Signals as a program expects them, which inherits the mask and what is ignored:
/// systemd ignores SIGPIPE, nohup SIGHUP. What is not for us is caught rather than
/// ignored or held back: exec gives only that its default again.
fn default_signals() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL runs no code of ours. What cannot be set is refused: SIGKILL,
        // and two that the C library keeps to itself.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // An answer to somebody who has gone is an error, not our end; `Command` puts
    // this one back.
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: SIG_IGN runs no code of ours either.
    let _previous = unsafe { sigaction(Signal::SIGPIPE, &ignore) };
    let catch = SigAction::new(SigHandler::Handler(not_for_us), SaFlags::SA_RESTART, SigSet::empty());
    for signal in NOT_FOR_US {
        // SAFETY: the handler does nothing.
        let _previous = unsafe { sigaction(signal, &catch) };
    }
    let _unchanged = SigSet::empty().thread_set_mask();
}

extern "C" fn not_for_us(_signal: libc::c_int) {}

/// The variables that every program gets.
fn passed_on() -> Vec<(OsString, OsString)> {
    let of_the_caller = std::env::vars_os().filter(|(name, _)| {
        PASSED_ON.iter().any(|passed| name == *passed) || name.as_bytes().starts_with(b"LC_")
    });
    of_the_caller.chain([("PATH".into(), PATH.into())]).collect()
}

/// Answers until the socket ends; then ends what still runs.
pub(super) fn serve(socket: &UnixStream, passed_on: &[(OsString, OsString)]) {
    // Programs are to end when its other end closes.
    let Ok((stop, running_on)) = io::pipe() else { return };
    let answers = Mutex::new(socket);
    let running = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (answers, running, stop) = (&answers, &running, &stop);
        let _socket_ended = each_request(socket, |Asked { id, request }| {
            if running.load(Ordering::Relaxed) >= AT_ONCE {
                let why = format!("{AT_ONCE} programs of deliveries are running already");
                return answer(answers, id, Ran::not_started(why));
            }
            running.fetch_add(1, Ordering::Relaxed);
            let work = move || {
                let ran = errand::run(&request, passed_on, stop.as_fd());
                running.fetch_sub(1, Ordering::Relaxed);
                answer(answers, id, ran);
            };
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, work) {
                running.fetch_sub(1, Ordering::Relaxed);
                answer(
                    answers,
                    id,
                    Ran::not_started(format!("no thread could be started ({})", error.kind())),
                );
            }
        });
        drop(running_on);
    });
}

/// Reads requests until there is no more to understand.
fn each_request(mut socket: &UnixStream, mut each: impl FnMut(Asked)) -> io::Result<()> {
    let mut incoming = Incoming::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => incoming.push(chunk.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        while let Some(asked) = incoming.next()? {
            each(asked);
        }
    }
}

/// Sends one answer. If nobody is there to get it, the loop learns so.
fn answer(socket: &Mutex<&UnixStream>, id: u64, ran: Ran) {
    if let Some(frame) = encode(&Answered { id, ran }) {
        let mut socket: &UnixStream = &socket.lock().unwrap_or_else(PoisonError::into_inner);
        let _gone = socket.write_all(&frame);
    }
}
