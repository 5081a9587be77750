//! Keys, certificates and the names that stand beside them.
//!
//! Invariant: a judge of a secret returns a static reason, so no piece of the
//! value can leave with it.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Fault, first_not, quoted};

const SURROUNDED: &str = "it begins or ends with white space";

/// Any text that did not pick up a stray space or newline on its way.
pub(super) fn hmac_key(value: &str) -> Result<(), &'static str> {
    if value.trim().len() != value.len() {
        return Err(SURROUNDED);
    }
    if value.contains('\0') {
        return Err("it holds a NUL");
    }
    Ok(())
}

/// A password may be nearly anything; what stands around it is a mistake of
/// copying.
pub(super) fn password(value: &str) -> Result<(), &'static str> {
    if value.contains(['\n', '\r', '\0']) {
        return Err("it holds a line break or a NUL");
    }
    hmac_key(value)
}

/// What travels in an HTTP header or a form field: RFC 6749's VSCHAR, without
/// spaces.
pub(super) fn header_token(value: &str) -> Result<(), &'static str> {
    if value.trim().len() != value.len() {
        return Err(SURROUNDED);
    }
    if value.is_empty() || value.contains(|c: char| !c.is_ascii_graphic()) {
        return Err("it holds a space or a character beyond printable ASCII");
    }
    Ok(())
}

/// Not a secret: it is sent in the open.
pub(super) fn oauth_client_id(value: &str) -> Result<(), Fault> {
    match first_not(value, |c| c.is_ascii_graphic()) {
        Some((at, c)) => {
            Err(Fault::not(format!("{} is not printable ASCII", quoted(c.encode_utf8(&mut [0; 4])))).at(at))
        }
        None if value.is_empty() => Err(Fault::not("it is empty")),
        None => Ok(()),
    }
}

/// AWS key ids strictly; other stores (MinIO) name keys as they like.
pub(super) fn aws_access_key_id(value: &str) -> Result<(), &'static str> {
    if value.starts_with("AKIA") || value.starts_with("ASIA") {
        if value.len() != 20 {
            return Err("an AWS key id has 20 characters");
        }
        if !value.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)) {
            return Err("an AWS key id is made of A to Z and 2 to 7");
        }
        return Ok(());
    }
    if !(3..=128).contains(&value.len()) {
        return Err("a key id has 3 to 128 characters");
    }
    if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return Err("a key id is made of letters, digits, hyphens and underscores");
    }
    Ok(())
}

/// 40 characters from AWS, at least 8 from other stores.
pub(super) fn aws_secret_access_key(value: &str) -> Result<(), &'static str> {
    header_token(value)?;
    if value.len() == 20 && (value.starts_with("AKIA") || value.starts_with("ASIA")) {
        return Err("it is a key id, not the secret that belongs to it");
    }
    if value.len() < 8 {
        return Err("a secret access key has at least 8 characters");
    }
    Ok(())
}

/// `ap-south-1`, `us-gov-west-1`.
pub(super) fn aws_region(value: &str) -> Result<(), Fault> {
    if is_region(value) {
        return Ok(());
    }
    let lower = value.trim().to_ascii_lowercase().replace(['_', ' '], "-");
    let zone = lower.trim_end_matches(|c: char| c.is_ascii_lowercase());
    Err(if lower != zone && is_region(zone) {
        Fault::not("that is an availability zone; a region ends with the digit").works(zone.to_owned())
    } else {
        Fault::not("a region reads like ap-south-1").works(lower)
    })
}

fn is_region(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let [area, middle @ .., number] = parts.as_slice() else { return false };
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    area.len() == 2
        && letters(area)
        && !middle.is_empty()
        && middle.iter().all(letters)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// The naming rules of general purpose buckets, which MinIO shares.
pub(super) fn s3_bucket(value: &str) -> Result<(), Fault> {
    for prefix in ["s3://", "arn:aws:s3:::"] {
        if let Some(name) = value.strip_prefix(prefix) {
            let name = name.trim_end_matches('/').to_owned();
            return Err(Fault::not("only the name of the bucket is read").at(0..prefix.len()).works(name));
        }
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if let Some((at, c)) = first_not(value, allowed) {
        return Err(
            Fault::not(format!("a bucket's name has no {}", quoted(c.encode_utf8(&mut [0; 4])))).at(at)
        );
    }
    if !(3..=63).contains(&value.len()) {
        return Err(Fault::not("a bucket's name has 3 to 63 characters"));
    }
    if value.starts_with(['.', '-']) || value.ends_with(['.', '-']) || value.contains("..") {
        return Err(Fault::not(
            "a bucket's name begins and ends with a letter or digit, and dots stand single",
        ));
    }
    if value.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err(Fault::not("a bucket's name does not look like an IP address"));
    }
    let reserved = ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|prefix| value.starts_with(prefix))
        || ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|end| value.ends_with(end));
    if reserved {
        return Err(Fault::not("AWS keeps this beginning or end of a name for itself"));
    }
    Ok(())
}

/// At least one certificate, and nothing but certificates.
pub(super) fn pem_certificate(value: &str) -> Result<(), Fault> {
    match sections(value, CertificateDer::pem_slice_iter(value.as_bytes()), |der| der.first().copied()) {
        Ok(()) => Ok(()),
        Err(reason) => {
            let unescaped = value.contains("\\n").then(|| value.replace("\\n", "\n"));
            Err(Fault::not(reason).works(unescaped))
        }
    }
}

/// Exactly what a TLS library loads as a key.
pub(super) fn pem_private_key(value: &str) -> Result<(), &'static str> {
    if value.contains("ENCRYPTED") {
        return Err("it is encrypted, and the program cannot ask for the passphrase");
    }
    let keys = PrivateKeyDer::pem_slice_iter(value.as_bytes());
    sections(value, keys, |key| key.secret_der().first().copied())
}

/// Judges PEM text: every section of the wanted kind, each a DER sequence, and
/// no text after the last.
fn sections<T, E>(
    value: &str,
    parsed: impl Iterator<Item = Result<T, E>>,
    first_byte: impl Fn(&T) -> Option<u8>,
) -> Result<(), &'static str> {
    const DER_SEQUENCE: u8 = 0x30;
    if value.contains("\\n") {
        return Err("its line breaks are written \\n; they must be real ones");
    }
    let mut count = 0;
    for section in parsed {
        let section = section.map_err(|_| "the PEM text is damaged")?;
        if first_byte(&section) != Some(DER_SEQUENCE) {
            return Err("what the PEM text holds is no DER");
        }
        count += 1;
    }
    if count == 0 {
        return Err("there is no PEM section of this kind");
    }
    // `openssl ecparam` writes the curve before the key; every loader skips it.
    let curves = value.matches("-----BEGIN EC PARAMETERS-----").count();
    if value.matches("-----BEGIN ").count() != count + curves {
        return Err("it also holds a PEM section of another kind");
    }
    match value.trim_end().rsplit_once("-----END ") {
        Some((_, end)) if !end.contains('\n') && end.ends_with("-----") => Ok(()),
        _ => Err("there is text after the last PEM section"),
    }
}
