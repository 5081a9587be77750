//! The container as bytes: what stands where, and nothing of what it means.
//!
//! All numbers are big-endian. A container is
//!
//! ```text
//! header  magic 8, version 1, suite 1, purpose 1, salt 32, number of slots 1,
//!         slots (each: kind 1, memory 4, passes 4, lanes 4, salt 16, key id 8,
//!         nonce 12, wrapped key 48), commitment 32, checksum 8
//! state   generation 8, written 8, not after 8 (0: never), schema hash 32,
//!         schema, environment, service, instance (each: length 2, UTF-8)
//! entries number 4, each: length of the name 2, name, length 4, nonce 12, sealed
//! seal    nonce 12, tag 16
//! ```
//!
//! Invariants: every container has exactly one encoding, and what was decoded or
//! sealed is [`Container::regular`]; a length is looked at before anything is taken or
//! allocated by it; nothing comes behind the seal.
//! Must not know: keys.

use sha2::{Digest as _, Sha256};

use super::stretch::Stretch;
use super::terms::{KeyId, NONCE, Purpose, TAG, WIDTH};
use super::trouble::OpenError;

/// Contents are padded to a multiple of this, so that a length tells little.
pub(super) const BLOCK: usize = 32;
/// The last second of the year 9999: RFC 3339 writes no later one.
const LAST_SECOND: i64 = 253_402_300_799;
/// What a container begins with.
const MAGIC: &[u8; 8] = b"DLCSEAL\0";
/// The version of the format.
const VERSION: u8 = 1;
/// HKDF-SHA-256, AES-256-GCM, Argon2id.
const SUITE: u8 = 1;
/// The most slots.
pub(super) const SLOTS: usize = 2;
/// Bytes of the checksum behind a header.
const CHECK: usize = 8;

/// The container's own key, wrapped by one that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// How a passphrase is stretched; none where the key is given as bytes.
    pub stretch: Option<Stretch>,
    /// Whose key.
    pub id: KeyId,
    pub(super) nonce: [u8; NONCE],
    pub(super) wrapped: [u8; WIDTH + TAG],
}

/// What stays as it is for as long as the same keys open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the container is for.
    pub purpose: Purpose,
    pub(super) salt: [u8; WIDTH],
    /// One or two.
    pub slots: Vec<Slot>,
    pub(super) commitment: [u8; WIDTH],
}

/// What changes each time that it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Counts the times that it was written.
    pub generation: u64,
    /// When: seconds since 1970, UTC.
    pub written: i64,
    /// Until when it may be used; none for ever.
    pub not_after: Option<i64>,
    /// SHA-256 of the schema that it passed; zeros for a file.
    pub schema_hash: [u8; WIDTH],
    /// That schema's name; empty for a file.
    pub schema: String,
    /// The environment; empty for a file.
    pub environment: String,
    /// The service; empty for a file, and for the union of all services.
    pub service: String,
    /// Which daemon wrote it; empty for a file.
    pub instance: String,
}

/// Something sealed, with a name that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The variable; none for what has no name.
    pub name: Option<Box<str>>,
    pub(super) nonce: [u8; NONCE],
    /// With its tag behind it.
    pub(super) sealed: Box<[u8]>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The header.
    pub header: Header,
    /// The state.
    pub state: State,
    /// What is sealed, in order.
    pub entries: Vec<Entry>,
    pub(super) seal: [u8; NONCE + TAG],
}

/// The mark of Argon2id in a slot for a key that is given as bytes.
const NO_STRETCH: Stretch = Stretch { memory_kib: 0, passes: 0, lanes: 0, salt: [0; 16] };

impl Header {
    /// What a slot's wrapping authenticates beside the slot itself.
    pub(super) fn begin(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([VERSION, SUITE, self.purpose.byte()]);
        out.extend(self.salt);
        out
    }

    /// What the commitment stands for: everything before it.
    pub(super) fn committed(&self) -> Vec<u8> {
        let mut out = self.begin();
        out.push(u8::try_from(self.slots.len()).unwrap_or(u8::MAX));
        for slot in &self.slots {
            out.extend(slot.begin());
            out.extend(slot.nonce);
            out.extend(slot.wrapped);
        }
        out
    }

    /// The first bytes of the hash of everything before. Tells damage from another
    /// key. It keeps nobody from anything: the commitment and the tags do that.
    pub(super) fn check(&self) -> [u8; CHECK] {
        let digest = Sha256::new().chain_update(self.committed()).chain_update(self.commitment).finalize();
        let mut check = [0_u8; CHECK];
        check.copy_from_slice(&digest[..CHECK]);
        check
    }

    /// The header's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.committed();
        out.extend(self.commitment);
        out.extend(self.check());
        out
    }
}

impl Slot {
    /// What its wrapping authenticates.
    pub(super) fn begin(&self) -> Vec<u8> {
        let Stretch { memory_kib, passes, lanes, salt } = self.stretch.unwrap_or(NO_STRETCH);
        let mut out = vec![u8::from(self.stretch.is_some())];
        out.extend(memory_kib.to_be_bytes());
        out.extend(passes.to_be_bytes());
        out.extend(lanes.to_be_bytes());
        out.extend(salt);
        out.extend(self.id.0);
        out
    }
}

impl State {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.generation.to_be_bytes());
        out.extend(self.written.to_be_bytes());
        out.extend(self.not_after.unwrap_or(0).to_be_bytes());
        out.extend(self.schema_hash);
        for text in [&self.schema, &self.environment, &self.service, &self.instance] {
            short(text, out);
        }
    }
}

impl Entry {
    /// What its sealing authenticates beside the header.
    pub(super) fn label(name: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        short(name.unwrap_or_default(), &mut out);
        out
    }
}

impl Container {
    /// Everything that the seal stands for.
    pub(super) fn body(header: &Header, state: &State, entries: &[Entry]) -> Vec<u8> {
        let mut out = header.encode();
        state.encode(&mut out);
        out.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_be_bytes());
        for entry in entries {
            out.extend(Entry::label(entry.name.as_deref()));
            out.extend(u32::try_from(entry.sealed.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend(entry.nonce);
            out.extend(&entry.sealed);
        }
        out
    }

    /// The container as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Self::body(&self.header, &self.state, &self.entries);
        out.extend(self.seal);
        out
    }

    /// Reads bytes. Nothing of it is authenticated before it is opened.
    ///
    /// # Errors
    /// Every [`OpenError`] that needs no key.
    pub fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let mut rest = Reader(bytes);
        let header = header(&mut rest)?;
        let state = State {
            generation: u64::from_be_bytes(rest.array()?),
            written: i64::from_be_bytes(rest.array()?),
            not_after: Some(i64::from_be_bytes(rest.array()?)).filter(|&end| end != 0),
            schema_hash: rest.array()?,
            schema: rest.short()?.to_owned(),
            environment: rest.short()?.to_owned(),
            service: rest.short()?.to_owned(),
            instance: rest.short()?.to_owned(),
        };
        let count = u32::from_be_bytes(rest.array()?);
        let mut entries = Vec::new();
        for _ in 0..count {
            let name = Some(rest.short()?).filter(|name| !name.is_empty()).map(Into::into);
            let length = u32::from_be_bytes(rest.array()?);
            let nonce = rest.array()?;
            let sealed = rest.take(usize::try_from(length).unwrap_or(usize::MAX))?;
            entries.push(Entry { name, nonce, sealed: sealed.into() });
        }
        let seal = rest.array()?;
        if !rest.0.is_empty() {
            return Err(OpenError::Damaged("something comes behind its end"));
        }
        let container = Self { header, state, entries, seal };
        container.regular().map_err(OpenError::Damaged)?;
        Ok(container)
    }

    /// Whether both forms can hold it, and give it back as it is.
    pub(super) fn regular(&self) -> Result<(), &'static str> {
        self.state.regular(self.header.purpose)?;
        if u32::try_from(self.entries.len()).is_err() {
            return Err("it has too many entries");
        }
        for Entry { name, sealed, .. } in &self.entries {
            if !name.as_deref().is_none_or(is_name) {
                return Err("a name in it is none");
            }
            let padded = sealed.len().saturating_sub(TAG);
            if padded == 0 || !padded.is_multiple_of(BLOCK) || u32::try_from(sealed.len()).is_err() {
                return Err("an entry is of no length that there is");
            }
        }
        Ok(())
    }
}

impl State {
    fn regular(&self, purpose: Purpose) -> Result<(), &'static str> {
        let Self { written, not_after, schema_hash, schema, environment, service, instance, .. } = self;
        let texts = [schema, environment, service, instance];
        if !(0..=LAST_SECOND).contains(written)
            || not_after.is_some_and(|end| !(1..=LAST_SECOND).contains(&end))
        {
            return Err("a time in it is before 1970 or after the year 9999");
        }
        if texts.iter().any(|text| u16::try_from(text.len()).is_err()) {
            return Err("a text of its state is longer than 65535 bytes");
        }
        if purpose == Purpose::File
            && (texts.iter().any(|text| !text.is_empty()) || *schema_hash != [0; WIDTH])
        {
            return Err("it says of a schema what only a snapshot says");
        }
        Ok(())
    }
}

/// Whether something may be an entry's name: it stands before a colon, and in errors.
pub(super) fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !name.is_empty() && u16::try_from(name.len()).is_ok() && name.bytes().all(is_fine)
}

fn header(rest: &mut Reader<'_>) -> Result<Header, OpenError> {
    if rest.take(MAGIC.len()).map_err(|_| OpenError::Foreign)? != MAGIC {
        return Err(OpenError::Foreign);
    }
    match rest.byte()? {
        VERSION => {}
        other => return Err(OpenError::Version(other)),
    }
    match rest.byte()? {
        SUITE => {}
        other => return Err(OpenError::Suite(other)),
    }
    let purpose = match rest.byte()? {
        1 => Purpose::File,
        2 => Purpose::Snapshot,
        3 => Purpose::Mark,
        _ => return Err(OpenError::Damaged("it is for nothing that is known")),
    };
    let salt = rest.array()?;
    let count = usize::from(rest.byte()?);
    if !(1..=SLOTS).contains(&count) {
        return Err(OpenError::Damaged("it has no slot, or more than two"));
    }
    let mut slots = Vec::new();
    for _ in 0..count {
        let kind = rest.byte()?;
        let [memory_kib, passes, lanes] =
            [rest.array()?, rest.array()?, rest.array()?].map(u32::from_be_bytes);
        let stretch = Stretch { memory_kib, passes, lanes, salt: rest.array()? };
        let stretch = match kind {
            0 if stretch == NO_STRETCH => None,
            1 => Some(stretch.bounded()?),
            _ => return Err(OpenError::Damaged("a slot is of no kind that is known")),
        };
        slots.push(Slot { stretch, id: KeyId(rest.array()?), nonce: rest.array()?, wrapped: rest.array()? });
    }
    let header = Header { purpose, salt, slots, commitment: rest.array()? };
    if rest.array()? != header.check() {
        return Err(OpenError::Damaged("its header is not as it was written"));
    }
    Ok(header)
}

/// A text of at most 65535 bytes: [`Container::regular`] has looked.
fn short(text: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

/// Takes from the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], OpenError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(OpenError::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], OpenError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, OpenError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn short(&mut self) -> Result<&'b str, OpenError> {
        let length = u16::from_be_bytes(self.array()?);
        std::str::from_utf8(self.take(usize::from(length))?)
            .map_err(|_| OpenError::Damaged("a name is no text"))
    }
}
