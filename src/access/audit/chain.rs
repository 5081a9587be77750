//! The chain: what binds each line to the one before it.
//!
//! Pure. A line is `{"seq":17,"time":"…",` its words `,"prev":"…","mac":"…"}`; `mac`
//! is HMAC-SHA256 over everything before `,"mac"`, so over `prev` too, which is the
//! `mac` of the line before (64 zeros before the first).
//! Invariants: who does not have the key cannot make a line; a line fits in one
//! place of one chain only.
//! Must not know: files; what the words say.

use std::fmt::Write as _;

use ring::hmac;

/// A line's code.
pub(super) type Code = [u8; 32];

/// The code before the first line.
pub(super) const NONE: Code = [0; 32];

/// From a line's own words to its code.
const PREV: &str = ",\"prev\":\"";
const MAC: &str = "\",\"mac\":\"";
const END: &str = "\"}";

/// What a whole line has behind its words.
const TAIL: usize = PREV.len() + 64 + MAC.len() + 64 + END.len();

/// Of what only a second file with the same text would tell the same.
const KEY_CHECK: &[u8] = b"dlconf audit key";

/// The key of a chain.
#[derive(Clone)]
pub(super) struct ChainKey(Box<hmac::Key>);

impl std::fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChainKey")
    }
}

impl ChainKey {
    /// On the heap, where freed blocks are wiped.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// Whether both make the same codes.
    pub(super) fn is(&self, other: &Self) -> bool {
        hmac::verify(&self.0, KEY_CHECK, hmac::sign(&other.0, KEY_CHECK).as_ref()).is_ok()
    }

    fn code(&self, text: &[u8]) -> Code {
        let mut code = NONE;
        code.copy_from_slice(hmac::sign(&self.0, text).as_ref());
        code
    }
}

/// Where a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// The number of the last line; 0 before the first.
    pub(super) seq: u64,
    /// Its code.
    pub(super) code: Code,
}

impl End {
    /// Before the first line.
    pub(super) const START: Self = Self { seq: 0, code: NONE };
}

/// A chain that grows.
#[derive(Debug)]
pub(super) struct Chain {
    key: ChainKey,
    end: End,
}

impl Chain {
    /// Goes on behind this end.
    pub(super) fn new(key: ChainKey, end: End) -> Self {
        Self { key, end }
    }

    pub(super) fn end(&self) -> End {
        self.end
    }

    /// Takes back the lines behind this end: they are in no file.
    pub(super) fn back_to(&mut self, end: End) {
        self.end = end;
    }

    /// Appends the line with these words.
    pub(super) fn append(&mut self, out: &mut String, time: &str, words: &str) {
        let start = out.len();
        let seq = self.end.seq + 1;
        // Writing to a String cannot fail.
        let _ = write!(out, "{{\"seq\":{seq},\"time\":\"{time}\",{words}{PREV}");
        write_hex(out, &self.end.code);
        out.push('"');
        let code = self.key.code(&out.as_bytes()[start..]);
        out.push_str(&MAC[1..]);
        write_hex(out, &code);
        out.push_str(END);
        out.push('\n');
        self.end = End { seq, code };
    }
}

/// A line, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) seq: u64,
    pub(super) time: &'a str,
    /// What it says.
    pub(super) words: &'a str,
    pub(super) prev: Code,
    pub(super) code: Code,
    signed: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line (without its end) apart; none where it is of another form.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let tail = line.len().checked_sub(TAIL)?;
        let rest = line.get(tail..)?.strip_prefix(PREV.as_bytes())?;
        let (prev, rest) = rest.split_at_checked(64)?;
        let rest = rest.strip_prefix(MAC.as_bytes())?;
        let (code, end) = rest.split_at_checked(64)?;
        let head = std::str::from_utf8(line.get(..tail)?).ok()?;
        let (seq, rest) = head.strip_prefix("{\"seq\":")?.split_once(",\"time\":\"")?;
        let is_number = seq.bytes().all(|digit| digit.is_ascii_digit()) && !seq.starts_with('0');
        let seq = seq.parse().ok().filter(|_| is_number)?;
        let (time, words) = rest.split_once("\",")?;
        let signed = line.get(..tail + PREV.len() + 64 + 1)?;
        let is_ended = end == END.as_bytes();
        is_ended.then_some(Self { seq, time, words, prev: from_hex(prev)?, code: from_hex(code)?, signed })
    }

    /// Whether it was written with this key.
    pub(super) fn is_genuine(&self, key: &ChainKey) -> bool {
        hmac::verify(&key.0, self.signed, &self.code).is_ok()
    }

    pub(super) fn end(&self) -> End {
        End { seq: self.seq, code: self.code }
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// It has not the form of a line: it was changed or put in.
    Form,
    /// Its code is not what the key makes of it: it was changed, put in, or
    /// written with another key.
    Code,
    /// Lines are missing before it.
    Missing {
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// A line with its number, or a higher one, came before: lines were put in
    /// twice or exchanged.
    Order {
        /// Its number.
        seq: u64,
        /// The number that it should have.
        expected: u64,
    },
    /// It is genuine and follows another line than the one before it.
    Fork {
        /// Its number.
        seq: u64,
    },
}

/// Follows a chain, line after line.
#[derive(Debug)]
pub(super) struct Checker {
    key: ChainKey,
    /// The number that comes next, and what it has to follow where that is known;
    /// none before the first line.
    next: Option<(u64, Option<Code>)>,
}

impl Checker {
    pub(super) fn new(key: ChainKey) -> Self {
        Self { key, next: None }
    }

    /// The next line, without its end: where the chain is now.
    ///
    /// # Errors
    /// What is wrong; the chain is followed from there on.
    pub(super) fn take<'a>(&mut self, text: &'a [u8]) -> (Option<Line<'a>>, Result<(), Broken>) {
        let Some(line) = Line::read(text) else {
            self.pass_over();
            return (None, Err(Broken::Form));
        };
        if !line.is_genuine(&self.key) {
            self.pass_over();
            return (None, Err(Broken::Code));
        }
        let judged = match self.next {
            None if line.seq == 1 && line.prev != NONE => Err(Broken::Fork { seq: 1 }),
            Some((expected, _)) if line.seq > expected => {
                Err(Broken::Missing { from: expected, to: line.seq - 1 })
            }
            Some((expected, _)) if line.seq < expected => Err(Broken::Order { seq: line.seq, expected }),
            Some((_, Some(prev))) if line.prev != prev => Err(Broken::Fork { seq: line.seq }),
            _ => Ok(()),
        };
        self.next = Some((line.seq.saturating_add(1), Some(line.code)));
        (Some(line), judged)
    }

    /// A line that tells nothing stands for the one that was expected.
    fn pass_over(&mut self) {
        self.next = self.next.map(|(seq, _)| (seq.saturating_add(1), None));
    }
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from(DIGITS[usize::from(nibble)]));
        }
    }
}

/// 64 digits.
pub(super) fn hex(code: &Code) -> String {
    let mut text = String::with_capacity(64);
    write_hex(&mut text, code);
    text
}

/// 64 digits, none of them a capital: a code has one form only.
fn from_hex(text: &[u8]) -> Option<Code> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut code = NONE;
    for (place, pair) in code.iter_mut().zip(text.chunks(2)) {
        let [high, low] = pair else { return None };
        *place = digit(*high)? << 4 | digit(*low)?;
    }
    (text.len() == 64).then_some(code)
}

#[cfg(test)]
mod tests;
