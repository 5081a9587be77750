//! A container as text: one line for each name, so that a reviewer sees which
//! values changed, and lines that did not change stay as they are.
//!
//! ```text
//! dlconf-sealed 1
//! salt SALT
//! key ID WRAPPED
//! passphrase ID m=65536 t=3 p=4 SALT WRAPPED
//! check COMMITMENT CHECKSUM
//! state generation=7 written=2026-11-22T12:00:00Z
//!
//! JWT_SECRET: SEALED
//! #: SEALED
//!
//! seal SEAL
//! ```
//!
//! Invariants: a container has one text, and a text is refused unless it is that of
//! the container that it means; only line ends may be those of Windows; parameters of
//! Argon2id are bounded here, before anybody can use them.
//! Must not know: keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chrono::{DateTime, SecondsFormat};

use super::container::{Container, Entry, Header, SLOTS, Slot, State};
use super::stretch::Stretch;
use super::terms::{KeyId, Purpose};
use super::trouble::OpenError;

/// The first line of every sealed file.
pub const FIRST_LINE: &str = "dlconf-sealed 1";

/// What an entry without a name is called.
const NAMELESS: &str = "#";

impl Container {
    /// The container as text. Only a [`Purpose::File`] has one.
    pub fn to_text(&self) -> String {
        let Self { header, state, entries, seal } = self;
        let mut out = format!("{FIRST_LINE}\nsalt {}\n", BASE64.encode(header.salt));
        for slot in &header.slots {
            out += &slot_line(slot);
            out.push('\n');
        }
        let check = BASE64.encode(header.check());
        out += &format!("check {} {check}\n", BASE64.encode(header.commitment));
        out += &state_line(state);
        out += "\n\n";
        for entry in entries {
            let name = entry.name.as_deref().unwrap_or(NAMELESS);
            out += &format!("{name}: {}{}\n", BASE64.encode(entry.nonce), BASE64.encode(&entry.sealed));
        }
        out += &format!("\nseal {}\n", BASE64.encode(seal));
        out
    }

    /// The line, from 1, on which an entry stands in the text.
    pub fn line_of(&self, entry: usize) -> u32 {
        // The first line, salt, check, state and the empty one.
        u32::try_from(5 + self.header.slots.len() + entry + 1).unwrap_or(u32::MAX)
    }

    /// Whether a text says that it is one of these, of any version.
    pub fn is_text(text: &str) -> bool {
        text.lines().next().is_some_and(|first| first == FIRST_LINE || version(first).is_some())
    }

    /// Reads a text. Nothing of it is authenticated before it is opened.
    ///
    /// # Errors
    /// Every [`OpenError`] that needs no key.
    pub fn from_text(text: &str) -> Result<Self, OpenError> {
        let mut lines = Lines { rest: text.lines(), number: 0 };
        let first = lines.next().unwrap_or_default();
        if first != FIRST_LINE {
            return Err(version(first).map_or(OpenError::Foreign, OpenError::Version));
        }
        let is_mark =
            |line: &str| ["<<<<<<< ", "||||||| ", ">>>>>>> "].iter().any(|mark| line.starts_with(mark));
        if let Some(at) = text.lines().position(is_mark) {
            return Err(OpenError::Merge { line: u32::try_from(at + 1).unwrap_or(u32::MAX) });
        }
        if !text.ends_with('\n') {
            return Err(OpenError::Damaged("it ends too early"));
        }
        let container = read(&mut lines)?;
        // One way to write it: what reads the same and looks otherwise is refused.
        let ours = container.to_text();
        if let Some(at) = ours.lines().zip(text.lines()).position(|(ours, theirs)| ours != theirs) {
            return Err(OpenError::Line { line: u32::try_from(at + 1).unwrap_or(u32::MAX) });
        }
        container.regular().map_err(OpenError::Damaged)?;
        Ok(container)
    }
}

/// The version that a first line speaks of, where it is another one than ours.
fn version(first: &str) -> Option<u8> {
    let version: u8 = first.strip_prefix("dlconf-sealed ")?.parse().ok()?;
    (first == format!("dlconf-sealed {version}")).then_some(version)
}

/// The lines of a text, counted.
struct Lines<'t> {
    rest: std::str::Lines<'t>,
    number: u32,
}

impl<'t> Lines<'t> {
    fn next(&mut self) -> Result<&'t str, OpenError> {
        self.number = self.number.saturating_add(1);
        self.rest.next().ok_or(OpenError::Damaged("it ends too early"))
    }

    /// What was read from the line that came last.
    fn read<T>(&self, what: Option<T>) -> Result<T, OpenError> {
        what.ok_or(OpenError::Line { line: self.number })
    }
}

fn read(lines: &mut Lines<'_>) -> Result<Container, OpenError> {
    let salt = lines.next()?.strip_prefix("salt ").and_then(array);
    let salt = lines.read(salt)?;
    let mut slots = Vec::new();
    let check = loop {
        let line = lines.next()?;
        if let Some(check) = line.strip_prefix("check ") {
            break check;
        }
        let slot = lines.read(read_slot(line).filter(|_| slots.len() < SLOTS))?;
        let stretch = slot.stretch.map(Stretch::bounded).transpose()?;
        slots.push(Slot { stretch, ..slot });
    };
    let check =
        check.split_once(' ').and_then(|(commitment, check)| Some((array(commitment)?, array(check)?)));
    let (commitment, check) = lines.read(check.filter(|_| !slots.is_empty()))?;
    let header = Header { purpose: Purpose::File, salt, slots, commitment };
    if header.check() != check {
        return Err(OpenError::Damaged("its first lines are not as they were written"));
    }
    let state = read_state(lines.next()?);
    let state = lines.read(state)?;
    let line = lines.next()?;
    lines.read(line.is_empty().then_some(()))?;
    let mut entries = Vec::new();
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        entries.push(lines.read(read_entry(line))?);
    }
    let seal = lines.next()?.strip_prefix("seal ").and_then(array);
    let seal = lines.read(seal)?;
    match lines.next() {
        Ok(_) => Err(OpenError::Damaged("something comes behind its end")),
        Err(_) => Ok(Container { header, state, entries, seal }),
    }
}

fn read_entry(line: &str) -> Option<Entry> {
    let (name, sealed) = line.split_once(": ")?;
    let bytes = BASE64.decode(sealed).ok()?;
    let (nonce, sealed) = bytes.split_first_chunk()?;
    let name = Some(name).filter(|name| *name != NAMELESS);
    Some(Entry { name: name.map(Into::into), nonce: *nonce, sealed: sealed.into() })
}

fn slot_line(slot: &Slot) -> String {
    let wrapped = format!("{}{}", BASE64.encode(slot.nonce), BASE64.encode(slot.wrapped));
    match slot.stretch {
        None => format!("key {} {wrapped}", slot.id),
        Some(Stretch { memory_kib, passes, lanes, salt }) => {
            let salt = BASE64.encode(salt);
            format!("passphrase {} m={memory_kib} t={passes} p={lanes} {salt} {wrapped}", slot.id)
        }
    }
}

fn read_slot(line: &str) -> Option<Slot> {
    let words: Vec<&str> = line.split(' ').collect();
    let (stretch, id, wrapped) = match words.as_slice() {
        ["key", id, wrapped] => (None, id, wrapped),
        ["passphrase", id, memory, passes, lanes, salt, wrapped] => {
            let number = |text: &str, name: &str| text.strip_prefix(name)?.parse().ok();
            let (memory_kib, passes) = (number(memory, "m=")?, number(passes, "t=")?);
            (
                Some(Stretch { memory_kib, passes, lanes: number(lanes, "p=")?, salt: array(salt)? }),
                id,
                wrapped,
            )
        }
        _ => return None,
    };
    let bytes: [u8; 60] = array(wrapped)?;
    let (nonce, wrapped) = bytes.split_first_chunk()?;
    Some(Slot { stretch, id: read_id(id)?, nonce: *nonce, wrapped: *wrapped.first_chunk()? })
}

fn read_id(text: &str) -> Option<KeyId> {
    let mut id = [0; 8];
    if text.len() != 16 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(KeyId(id))
}

fn state_line(state: &State) -> String {
    let until = state.not_after.map(|end| format!(" until={}", time(end))).unwrap_or_default();
    format!("state generation={} written={}{until}", state.generation, time(state.written))
}

fn read_state(line: &str) -> Option<State> {
    let words: Vec<&str> = line.strip_prefix("state ")?.split(' ').collect();
    let (generation, written, until) = match words.as_slice() {
        [generation, written] => (generation, written, None),
        [generation, written, until] => (generation, written, Some(until)),
        _ => return None,
    };
    let not_after = match until {
        Some(until) => Some(read_time(until.strip_prefix("until=")?)?),
        None => None,
    };
    let generation = generation.strip_prefix("generation=")?.parse().ok()?;
    Some(State {
        generation,
        written: read_time(written.strip_prefix("written=")?)?,
        not_after,
        ..State::default()
    })
}

/// RFC 3339, UTC, in whole seconds. What no calendar holds is no regular container's;
/// it stands as a number, so that it is refused and not lost.
fn time(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| seconds.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn read_time(text: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp())
}

/// Base64 of exactly so many bytes.
fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64.decode(text).ok()?.try_into().ok()
}
