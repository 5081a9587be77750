//! Lines on their way to somebody who may not be reading.
//!
//! Owns: a thread that writes them, and how many wait. Invariants: whoever tells
//! never waits; what does not fit is counted and the number is told; what was told
//! before the end is written, if it is taken within a moment.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// How many lines may wait.
const WAITING: usize = 1024;

/// For the last lines.
const LAST: Duration = Duration::from_millis(100);

/// Takes lines and never waits for who reads them.
pub(super) struct Spool {
    lines: Option<SyncSender<Vec<u8>>>,
    written: Receiver<()>,
    lost: usize,
    tell_loss: Box<dyn Fn(usize) -> String + Send>,
}

impl Spool {
    /// Writes to this, from a thread of its own. `tell_loss` is the line that says
    /// how many others were not written.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn new(
        mut writer: impl Write + Send + 'static,
        tell_loss: impl Fn(usize) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, waiting) = sync_channel::<Vec<u8>>(WAITING);
        let (done, written) = sync_channel(0);
        thread::Builder::new().name("dlconf-log".into()).stack_size(64 * 1024).spawn(move || {
            for line in waiting {
                // Nobody reads: there is nowhere left to say so.
                let _closed = writer.write_all(&line);
            }
            let _flushed = writer.flush();
            drop(done);
        })?;
        Ok(Self { lines: Some(lines), written, lost: 0, tell_loss: Box::new(tell_loss) })
    }

    fn send(&mut self, line: Vec<u8>) -> bool {
        let sent = self.lines.as_ref().map(|lines| lines.try_send(line));
        !matches!(sent, Some(Err(TrySendError::Full(_))))
    }
}

impl Write for Spool {
    /// One line, or several whole ones.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lost > 0 && self.send((self.tell_loss)(self.lost).into_bytes()) {
            self.lost = 0;
        }
        if !self.send(line.to_vec()) {
            self.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.lines = None;
        let _written_or_late = self.written.recv_timeout(LAST);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;

    /// Takes nothing until it is let.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<State>, Condvar)>);

    /// Whether it is open, and what it took.
    type State = (bool, Vec<u8>);

    impl Gate {
        fn open(&self) {
            self.0.0.lock().unwrap().0 = true;
            self.0.1.notify_all();
        }
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |state| !state.0).unwrap();
            state.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_the_loss_is_told() {
        let gate = Gate::default();
        let mut spool = Spool::new(gate.clone(), |lost| format!("{lost} lost\n")).unwrap();
        for number in 0..WAITING + 100 {
            spool.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        gate.open();
        while spool.lost > 0 {
            thread::yield_now();
            spool.write_all(b"again\n").unwrap();
        }
        drop(spool);
        let text = String::from_utf8(gate.0.0.lock().unwrap().1.clone()).unwrap();
        assert!(text.starts_with("0\n1\n2\n"), "{text}");
        assert!(text.contains(" lost\n"), "{text}");
    }

    #[test]
    fn what_was_told_is_written_at_the_end() {
        let gate = Gate::default();
        gate.open();
        let mut spool = Spool::new(gate.clone(), |lost| format!("{lost} lost\n")).unwrap();
        spool.write_all(b"last words\n").unwrap();
        drop(spool);
        assert_eq!(gate.0.0.lock().unwrap().1, b"last words\n");
    }

    #[test]
    fn an_end_does_not_wait_for_ever() {
        let mut spool = Spool::new(Gate::default(), |lost| format!("{lost} lost\n")).unwrap();
        spool.write_all(b"unread\n").unwrap();
        drop(spool);
    }
}
