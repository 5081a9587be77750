//! Sealing and opening: the one place where primitives meet.
//!
//! A container has a random key of its own. Each slot wraps it by a key that is
//! derived from somebody's (HKDF-SHA-256 with the container's fresh salt). From it
//! are derived: the key of the entries, the key of the seal, and the commitment,
//! which says that there is only one such key (AES-GCM by itself does not) and stands
//! for the whole header before it. Every tag stands for the whole header too; that of
//! the seal, for everything.
//!
//! Invariants: the header is proved before the seal, and the seal before any entry is
//! given out; that is whole or not at all; padding is looked at behind a tag only; a
//! nonce is random and is used with one text.
//! Must not know: where keys and contents come from.

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use zeroize::Zeroizing;

use super::container::{BLOCK, Container, Entry, Header, SLOTS, Slot, State, is_name};
use super::key::{Bytes32, Key, Material, derive};
use super::stretch::Stretch;
use super::terms::{NONCE, Purpose, TAG, WIDTH};
use super::trouble::OpenError;

/// Where salts, nonces and keys come from.
pub trait Random {
    /// Fills it with bytes that nobody can foresee.
    ///
    /// # Errors
    /// Where there are none.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom>;
}

/// There are no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel gives no random numbers")]
pub struct NoRandom;

/// The kernel's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl Random for Kernel {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        getrandom::fill(bytes).map_err(|_| NoRandom)
    }
}

/// Something to be sealed.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// A text under a name, or under none.
    New(Option<&'a str>, &'a [u8]),
    /// An entry that stays as it was sealed.
    Kept(&'a Entry),
}

/// A container's contents, and what it takes to change it under the same keys.
pub struct Opened {
    /// The contents, one for each entry.
    pub texts: Vec<Zeroizing<Vec<u8>>>,
    /// The slot that the key opened.
    pub slot: usize,
    key: Bytes32,
}

impl Container {
    /// Seals these under a fresh key, which these keys wrap: one or two.
    ///
    /// # Errors
    /// [`SealError`]: a [`Piece::Kept`] is refused here, as the key is a fresh one.
    ///
    /// # Panics
    /// Where there are no keys, or more than two: that is not the user's to choose.
    pub fn seal(
        purpose: Purpose,
        keys: &[&Key],
        state: State,
        pieces: &[Piece<'_>],
        random: &mut dyn Random,
    ) -> Result<Self, SealError> {
        assert!((1..=SLOTS).contains(&keys.len()), "a container has one slot or two");
        let mut key = Bytes32::empty();
        random.fill(&mut *key)?;
        let mut header = Header { purpose, salt: [0; WIDTH], slots: Vec::new(), commitment: [0; WIDTH] };
        random.fill(&mut header.salt)?;
        for with in keys {
            let slot = wrap(&header, with, &key, random)?;
            header.slots.push(slot);
        }
        header.commitment = commitment(&header, &key);
        seal(header, &key, state, pieces, random)
    }

    /// The same container under the same keys with other contents: what is
    /// [`Piece::Kept`] stays byte for byte.
    ///
    /// # Errors
    /// [`SealError`]: also where `opened` or a kept entry is not of this container.
    pub fn change(
        &self,
        opened: &Opened,
        state: State,
        pieces: &[Piece<'_>],
        random: &mut dyn Random,
    ) -> Result<Self, SealError> {
        if !is_same(&commitment(&self.header, &opened.key), &self.header.commitment) {
            return Err(SealError::Unfit("what was opened is another container"));
        }
        seal(self.header.clone(), &opened.key, state, pieces, random)
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`OpenError`]: nothing was given out then.
    pub fn open(&self, wanted: Purpose, key: &Key) -> Result<Opened, OpenError> {
        let header = &self.header;
        if header.purpose != wanted {
            return Err(OpenError::Purpose { found: header.purpose, wanted });
        }
        let (slot, key) = unwrap(header, key)?;
        let body = Self::body(header, &self.state, &self.entries);
        let (nonce, tag) = self.seal.split_at(NONCE);
        let mut nothing = [];
        decrypt(&derived(header, &key, SEAL), nonce, &body, &mut nothing, tag)
            .map_err(|()| OpenError::Altered(self.what_is_altered(&key)))?;
        let values = derived(header, &key, VALUES);
        let bytes = header.encode();
        let open = |entry: &Entry| open_entry(&values, &bytes, entry);
        let texts: Option<Vec<_>> = self.entries.iter().map(open).collect();
        let texts = texts.ok_or_else(|| OpenError::Altered("a value is not as it was sealed".to_owned()))?;
        Ok(Opened { texts, slot, key })
    }

    /// Says what does not fit: an entry that was not sealed in this container under
    /// its name, or that all were, and not together.
    fn what_is_altered(&self, key: &Bytes32) -> String {
        let values = derived(&self.header, key, VALUES);
        let bytes = self.header.encode();
        let is_altered = |entry: &Entry| open_entry(&values, &bytes, entry).is_none();
        let Some(at) = self.entries.iter().position(is_altered) else {
            return "each value in it was sealed there once, but not all of them together: some were added, \
                    removed, moved or put back from an older version, or the generation or a time was changed"
                .to_owned();
        };
        let is_file = self.header.purpose == Purpose::File;
        match self.entries.get(at).and_then(|entry| entry.name.as_deref()) {
            Some(name) if is_file => {
                format!(
                    "the value of {name} (line {}) is not one that was sealed under that name",
                    self.line_of(at)
                )
            }
            None if is_file => {
                format!(
                    "the comments or empty lines on line {} are not what was sealed there",
                    self.line_of(at)
                )
            }
            _ => "its contents are not what was sealed there".to_owned(),
        }
    }
}

/// Why nothing was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There are no random numbers.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// A passphrase could not be stretched.
    #[error(transparent)]
    Key(#[from] OpenError),
    /// It is larger than a container may be.
    #[error("it is too large to be sealed")]
    TooLarge,
    /// No container can hold it, or give it back as it is.
    #[error("it cannot be sealed: {0}")]
    Unfit(&'static str),
}

const VALUES: &[u8] = b"dlconf sealed 1 values";
const SEAL: &[u8] = b"dlconf sealed 1 seal";
const COMMITMENT: &[u8] = b"dlconf sealed 1 commitment";

fn derived(header: &Header, key: &Bytes32, info: &[u8]) -> Bytes32 {
    derive(&header.salt, &**key, info)
}

/// Is made of the key and of all of the header that stands before it.
fn commitment(header: &Header, key: &Bytes32) -> [u8; WIDTH] {
    *derived(header, key, &[COMMITMENT, &header.committed()].concat())
}

fn wrap(header: &Header, with: &Key, key: &Bytes32, random: &mut dyn Random) -> Result<Slot, SealError> {
    let (stretch, material) = match with {
        Key::Bytes(bytes) => (None, Material::of(bytes)),
        Key::Passphrase(text) => {
            let mut salt = [0; 16];
            random.fill(&mut salt)?;
            let stretch = Stretch::usual(salt);
            (Some(stretch), Material::stretched(text, &stretch)?)
        }
    };
    let mut slot = Slot { stretch, id: material.id, nonce: [0; NONCE], wrapped: [0; WIDTH + TAG] };
    random.fill(&mut slot.nonce)?;
    let aad = [header.begin(), slot.begin()].concat();
    // The key becomes its sealed form in a place of its own, which is wiped whatever
    // happens.
    let mut text = key.clone();
    let tag = encrypt(&material.wrapping(&header.salt), &slot.nonce, &aad, &mut *text)?;
    let (wrapped, end) = slot.wrapped.split_at_mut(WIDTH);
    wrapped.copy_from_slice(&*text);
    end.copy_from_slice(&tag);
    Ok(slot)
}

/// The container's own key, and the slot that it came from.
fn unwrap(header: &Header, with: &Key) -> Result<(usize, Bytes32), OpenError> {
    let mut is_known = false;
    for (at, slot) in header.slots.iter().enumerate() {
        let Some(material) = with.material(slot.stretch.as_ref())? else { continue };
        if material.id != slot.id {
            continue;
        }
        is_known = true;
        let aad = [header.begin(), slot.begin()].concat();
        let (text, tag) = slot.wrapped.split_at(WIDTH);
        let mut key = Bytes32::empty();
        key.copy_from_slice(text);
        let opened = decrypt(&material.wrapping(&header.salt), &slot.nonce, &aad, &mut *key, tag);
        if opened.is_ok() && is_same(&commitment(header, &key), &header.commitment) {
            return Ok((at, key));
        }
    }
    if is_known {
        return Err(OpenError::Altered("its header is not the one that its keys were put in".to_owned()));
    }
    let wanted = header.slots.iter().map(|slot| slot.stretch.is_none().then_some(slot.id)).collect();
    Err(OpenError::WrongKey { given: with.id(), wanted })
}

fn seal(
    header: Header,
    key: &Bytes32,
    state: State,
    pieces: &[Piece<'_>],
    random: &mut dyn Random,
) -> Result<Container, SealError> {
    let values = derived(&header, key, VALUES);
    let bytes = header.encode();
    let mut entries = Vec::with_capacity(pieces.len());
    for piece in pieces {
        entries.push(match piece {
            Piece::Kept(entry) if open_entry(&values, &bytes, entry).is_none() => {
                return Err(SealError::Unfit("an entry to be kept is not of this container"));
            }
            Piece::Kept(entry) => (*entry).clone(),
            Piece::New(name, text) => seal_entry(&values, &bytes, *name, text, random)?,
        });
    }
    let mut container = Container { header, state, entries, seal: [0; NONCE + TAG] };
    // Before the seal: what it stands for has one reading only where all is regular.
    container.regular().map_err(SealError::Unfit)?;
    let Container { header, state, entries, seal } = &mut container;
    let (nonce, tag) = seal.split_at_mut(NONCE);
    random.fill(nonce)?;
    let body = Container::body(header, state, entries);
    tag.copy_from_slice(&encrypt(&derived(header, key, SEAL), nonce, &body, &mut [])?);
    Ok(container)
}

fn seal_entry(
    values: &Bytes32,
    header: &[u8],
    name: Option<&str>,
    text: &[u8],
    random: &mut dyn Random,
) -> Result<Entry, SealError> {
    if !name.is_none_or(is_name) {
        return Err(SealError::Unfit("a name is made of letters, digits, `_`, `.` and `-`"));
    }
    if u32::try_from(text.len() + BLOCK + TAG).is_err() {
        return Err(SealError::TooLarge);
    }
    let mut nonce = [0; NONCE];
    random.fill(&mut nonce)?;
    // One buffer of the final size: nothing is moved, and the text in it becomes the
    // sealed one in place.
    let padded = (text.len() / BLOCK + 1) * BLOCK;
    let mut buffer = Zeroizing::new(Vec::with_capacity(padded + TAG));
    buffer.extend_from_slice(text);
    buffer.push(0x80);
    buffer.resize(padded, 0);
    let aad = [header, &Entry::label(name)].concat();
    let tag = encrypt(values, &nonce, &aad, &mut buffer)?;
    buffer.extend(tag);
    Ok(Entry { name: name.map(Into::into), nonce, sealed: std::mem::take(&mut *buffer).into() })
}

fn open_entry(values: &Bytes32, header: &[u8], entry: &Entry) -> Option<Zeroizing<Vec<u8>>> {
    let aad = [header, &Entry::label(entry.name.as_deref())].concat();
    let (text, tag) = entry.sealed.split_at_checked(entry.sealed.len().checked_sub(TAG)?)?;
    let mut text = Zeroizing::new(text.to_vec());
    decrypt(values, &entry.nonce, &aad, &mut text, tag).ok()?;
    // Only who has the key gets here: what the padding is tells nobody anything.
    let end = text.iter().rposition(|&byte| byte != 0)?;
    if text.get(end) != Some(&0x80) || text.len() - end > BLOCK {
        return None;
    }
    text.truncate(end);
    Some(text)
}

fn cipher(key: &Bytes32) -> Aes256Gcm {
    Aes256Gcm::new((&**key).into())
}

fn encrypt(key: &Bytes32, nonce: &[u8], aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG], SealError> {
    let nonce = nonce.try_into().map_err(|_| SealError::TooLarge)?;
    let tag = cipher(key).encrypt_inout_detached(nonce, aad, text.into()).map_err(|_| SealError::TooLarge)?;
    Ok(tag.into())
}

fn decrypt(key: &Bytes32, nonce: &[u8], aad: &[u8], text: &mut [u8], tag: &[u8]) -> Result<(), ()> {
    let (nonce, tag) = (nonce.try_into().map_err(|_| ())?, tag.try_into().map_err(|_| ())?);
    cipher(key).decrypt_inout_detached(nonce, aad, text.into(), tag).map_err(|_| ())
}

/// Compares in a time that does not depend on where the first difference is.
fn is_same(one: &[u8; WIDTH], other: &[u8; WIDTH]) -> bool {
    one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// A slot that wraps any key, as somebody makes it who has the one to wrap with.
#[cfg(test)]
pub(super) fn wrap_for_tests(header: &Header, with: &Key, key: [u8; WIDTH]) -> Slot {
    let mut own = Bytes32::empty();
    own.copy_from_slice(&key);
    wrap(header, with, &own, &mut Kernel).unwrap_or_else(|error| panic!("{error}"))
}

/// The same container with one entry of these bytes, which are their own padding, as
/// somebody makes it who has the key.
#[cfg(test)]
pub(super) fn pad_for_tests(container: &Container, opened: &Opened, padded: &[u8]) -> Container {
    let Container { header, state, .. } = container.clone();
    let aad = [header.encode(), Entry::label(None)].concat();
    let (nonce, mut sealed) = ([1; NONCE], padded.to_vec());
    let failed = |error| -> [u8; TAG] { panic!("{error}") };
    let values = derived(&header, &opened.key, VALUES);
    let tag = encrypt(&values, &nonce, &aad, &mut sealed).unwrap_or_else(failed);
    sealed.extend(tag);
    let entries = vec![Entry { name: None, nonce, sealed: sealed.into() }];
    let body = Container::body(&header, &state, &entries);
    let tag = encrypt(&derived(&header, &opened.key, SEAL), &nonce, &body, &mut []).unwrap_or_else(failed);
    let mut seal = [1; NONCE + TAG];
    seal[NONCE..].copy_from_slice(&tag);
    Container { header, state, entries, seal }
}
