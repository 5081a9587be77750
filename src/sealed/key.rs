//! What opens a container: the bytes of a key, or a passphrase.
//!
//! Invariants: neither is printed or compared in the open; a passphrase becomes a
//! key by Argon2id only, with parameters that were bounded before.
//! Must not know: where they come from.

use std::fmt;
use std::ops::{Deref, DerefMut};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::stretch::Stretch;
use super::terms::{KeyId, WIDTH};
use super::trouble::OpenError;

/// A symmetric key. On the heap, where it stays: what is moved leaves a copy behind.
#[derive(Clone)]
pub(super) struct Bytes32(Box<Zeroizing<[u8; WIDTH]>>);

impl Bytes32 {
    /// Zeros, to be filled.
    pub(super) fn empty() -> Self {
        Self(Box::new(Zeroizing::new([0; WIDTH])))
    }
}

impl Deref for Bytes32 {
    type Target = [u8; WIDTH];

    fn deref(&self) -> &[u8; WIDTH] {
        &self.0
    }
}

impl DerefMut for Bytes32 {
    fn deref_mut(&mut self) -> &mut [u8; WIDTH] {
        &mut self.0
    }
}

/// The least bytes of a key.
const LEAST: usize = 32;

/// What opens a container.
#[derive(Clone)]
pub enum Key {
    /// A key of at least 32 bytes that nobody can guess: [`Key::new`] makes it.
    Bytes(KeyBytes),
    /// What a person remembers. Its bytes count as they are: Unicode is not
    /// normalised.
    Passphrase(Zeroizing<String>),
}

/// The bytes of a key: at least 32.
#[derive(Clone)]
pub struct KeyBytes(Zeroizing<Vec<u8>>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Key::Bytes(…)",
            Self::Passphrase(_) => "Key::Passphrase(…)",
        })
    }
}

impl Key {
    /// A key of these bytes; none where they are fewer than 32.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (bytes.len() >= LEAST).then_some(Self::Bytes(KeyBytes(bytes)))
    }

    /// Which one it is; none for a passphrase.
    pub fn id(&self) -> Option<KeyId> {
        match self {
            Self::Bytes(KeyBytes(bytes)) => Some(id_of(bytes)),
            Self::Passphrase(_) => None,
        }
    }

    /// The key material for a slot that is stretched so; none where the slot is for
    /// the other sort.
    pub(super) fn material(&self, stretch: Option<&Stretch>) -> Result<Option<Material>, OpenError> {
        Ok(match (self, stretch) {
            (Self::Bytes(bytes), None) => Some(Material::of(bytes)),
            (Self::Passphrase(text), Some(stretch)) => Some(Material::stretched(text, stretch)?),
            _ => None,
        })
    }
}

/// A key, once a passphrase is stretched to one.
pub(super) struct Material {
    pub(super) id: KeyId,
    bytes: Zeroizing<Vec<u8>>,
}

impl Material {
    /// The bytes of a key.
    pub(super) fn of(KeyBytes(bytes): &KeyBytes) -> Self {
        Self { id: id_of(bytes), bytes: bytes.clone() }
    }

    /// Argon2id, version 0x13, 32 bytes. Bounded here as well as where the parameters
    /// were read: nothing is taken by what somebody else wrote.
    pub(super) fn stretched(text: &str, stretch: &Stretch) -> Result<Self, OpenError> {
        let Stretch { memory_kib, passes, lanes, salt } = stretch.bounded()?;
        let params = Params::new(memory_kib, passes, lanes, Some(WIDTH))
            .map_err(|_| OpenError::Damaged("Argon2id has no such parameters"))?;
        let mut blocks = Zeroizing::new(Vec::new());
        blocks.try_reserve_exact(params.block_count()).map_err(|_| OpenError::Memory)?;
        blocks.resize(params.block_count(), Block::new());
        let mut bytes = Zeroizing::new(vec![0_u8; WIDTH]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(text.as_bytes(), &salt, &mut bytes, &mut *blocks)
            .map_err(|_| OpenError::Damaged("Argon2id has no such parameters"))?;
        Ok(Self { id: id_of(&bytes), bytes })
    }

    /// The key that wraps the container's own in one with this salt.
    pub(super) fn wrapping(&self, salt: &[u8; WIDTH]) -> Bytes32 {
        derive(salt, &self.bytes, b"dlconf sealed 1 slot")
    }
}

/// HKDF-SHA-256, 32 bytes.
pub(super) fn derive(salt: &[u8], secret: &[u8], info: &[u8]) -> Bytes32 {
    let mut out = Bytes32::empty();
    let expanded = Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut *out);
    debug_assert!(expanded.is_ok(), "32 bytes are fewer than HKDF can give");
    out
}

fn id_of(bytes: &[u8]) -> KeyId {
    let derived = derive(&[], bytes, b"dlconf sealed 1 key id");
    let mut id = [0_u8; 8];
    id.copy_from_slice(&derived[..8]);
    KeyId(id)
}
