//! A supervising dlconf that runs, with all that it and its program say.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bao::poll;

/// Ended with the test.
pub(crate) struct Running {
    dlconf: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
    reads_err: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.dlconf.kill();
        let _ = self.dlconf.wait();
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut dlconf = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, _until_its_end) = gather(dlconf.stdout.take().unwrap());
        let (err, reads_err) = gather(dlconf.stderr.take().unwrap());
        Self { dlconf, out, err, reads_err }
    }

    /// What the program and dlconf wrote to stdout so far.
    pub(crate) fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// The same of stderr.
    pub(crate) fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// The same, once nobody can write there any more.
    #[track_caller]
    pub(crate) fn whole_err(&self) -> String {
        self.until("the end of stderr", |running| running.reads_err.is_finished());
        self.err()
    }

    /// The lines of stdout that begin so, without that.
    pub(crate) fn lines(&self, start: &str) -> Vec<String> {
        self.out().lines().filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect()
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let came = poll(|| is_so(self).then_some(()));
        assert!(came.is_some(), "it never came: {what}; stdout:\n{}stderr:\n{}", self.out(), self.err());
    }

    /// Waits until there are as many lines that begin so; them.
    #[track_caller]
    pub(crate) fn has(&self, count: usize, start: &str) -> Vec<String> {
        self.until(&format!("{count} lines `{start}…`"), |running| running.lines(start).len() >= count);
        self.lines(start)
    }

    /// Waits until stderr has this.
    #[track_caller]
    pub(crate) fn tells(&self, text: &str) {
        self.until(text, |running| running.err().contains(text));
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.dlconf.id().try_into().unwrap())
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for the end: the exit code, 128+N after signal N.
    #[track_caller]
    pub(crate) fn code(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        let ended = poll(|| self.dlconf.try_wait().unwrap());
        let status = ended.unwrap_or_else(|| panic!("it goes on; stderr:\n{}", self.err()));
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
    }

    /// Tells it to end; the exit code and how long that took.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> (i32, Duration) {
        let began = Instant::now();
        self.send(Signal::SIGTERM);
        (self.code(), began.elapsed())
    }
}

/// Waits until there is no such process.
#[track_caller]
pub(crate) fn vanishes(pid: &str) {
    let pid = Pid::from_raw(pid.trim().parse().unwrap());
    assert!(poll(|| (kill(pid, None) == Err(Errno::ESRCH)).then_some(())).is_some(), "{pid} is still there");
}

fn gather(from: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let gathered: Arc<Mutex<String>> = Arc::default();
    let written = Arc::clone(&gathered);
    let reads = thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut written = written.lock().unwrap();
            written.push_str(&line);
            written.push('\n');
        }
    });
    (gathered, reads)
}
