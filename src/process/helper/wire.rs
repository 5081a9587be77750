//! What goes through the socket: messages as JSON, each behind its length in
//! four bytes. Requests and answers find each other by a number, so that several
//! programs run at once.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Ran, Request};

/// The largest message. An answer stays below: 100 lines of 1,000 characters of
/// at most six bytes each (`\u001b`).
pub(super) const LARGEST: usize = 1 << 20;

/// How much is read at once.
pub(super) const CHUNK: usize = 16 << 10;

/// A program is asked for.
#[derive(Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) id: u64,
    pub(super) request: Request,
}

/// What it did.
#[derive(Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) id: u64,
    pub(super) ran: Ran,
}

/// A message as bytes; none if it is too large.
pub(super) fn encode(message: &impl Serialize) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).ok()?;
    let length = frame.len() - 4;
    let prefix = u32::try_from(length).ok().filter(|_| length <= LARGEST)?;
    frame.get_mut(..4)?.copy_from_slice(&prefix.to_be_bytes());
    Some(frame)
}

/// Bytes that arrived, until they make messages.
#[derive(Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// What came is no message: nothing after it can be understood.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some((prefix, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(body).map_err(|_| io::ErrorKind::InvalidData)?;
        // A program may have printed a secret: what is done with is freed, and so wiped.
        self.bytes = self.bytes.split_off(4 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn asked(id: u64) -> Asked {
        let request = Request {
            argv: vec!["/bin/true".into(), "ü".into()],
            timeout: Duration::from_millis(1500),
            environment: vec![("A".into(), "b=c\n".into())],
        };
        Asked { id, request }
    }

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let mut stream = encode(&asked(1)).unwrap();
        stream.extend(encode(&asked(2)).unwrap());
        for step in 1..=stream.len() {
            let mut incoming = Incoming::default();
            let mut got = Vec::new();
            for piece in stream.chunks(step) {
                incoming.push(piece);
                while let Some(Asked { id, request }) = incoming.next().unwrap() {
                    assert_eq!(request, asked(id).request);
                    got.push(id);
                }
            }
            assert_eq!(got, [1, 2], "in pieces of {step}");
            assert!(incoming.bytes.is_empty());
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bytes in [&[0xff, 0, 0, 0][..], b"\0\0\0\x02{x"] {
            let mut incoming = Incoming::default();
            incoming.push(bytes);
            assert!(incoming.next::<Asked>().is_err());
        }
    }

    #[test]
    fn the_largest_answer_fits() {
        let lines = vec!["\u{1b}".repeat(1001); 100];
        let ran = Ran { outcome: super::super::Outcome::TimedOut, lines, dropped_lines: usize::MAX };
        assert!(encode(&Answered { id: u64::MAX, ran }).is_some());
        let mut large = asked(1);
        large.request.argv.push("x".repeat(LARGEST));
        assert!(encode(&large).is_none());
    }
}
