//! Which keys of rotations the values of a document are.
//!
//! Pure. What a document says of itself lies in a reserved field of it
//! ([`rotation::FIELD`]); neither that nor an old value that is kept is ever offered.
//! Invariant: a value gets the name that was noted for it, and no other.

use std::sync::Arc;

use super::dotenv::Reserved;
use crate::model::finding::Code;
use crate::model::layer::{Offer, Remark, Value};
use crate::model::origin::Origin;
use crate::model::rotation::{FIELD, Ledger, LedgerError};

/// What a document says of its rotations; none where it says nothing.
///
/// # Errors
/// [`LedgerError`].
pub(super) fn ledger(reserved: &[Reserved]) -> Result<Option<Ledger>, LedgerError> {
    let states = reserved.iter().filter(|field| field.key.as_str() == FIELD);
    let mut written = states.filter_map(|field| match &field.value {
        Value::Literal(text) if text.is_empty() => None,
        value => Some(value),
    });
    match written.next_back() {
        None => Ok(None),
        Some(Value::Literal(text)) => Ledger::parse(text.expose()).map(Some),
        // Nobody writes one that is made of other variables.
        Some(Value::Template(_)) => Err(LedgerError::Malformed),
    }
}

/// Says of each value which key it is. A state that cannot be understood is remarked.
pub(super) fn mark(
    reserved: &[Reserved],
    offers: &mut [Offer],
    origin: impl FnOnce(&Reserved) -> Origin,
) -> Option<Remark> {
    let error = match ledger(reserved) {
        Ok(None) => return None,
        Ok(Some(ledger)) => {
            for offer in offers {
                if let Value::Literal(value) = &offer.value {
                    offer.origin.mark = ledger.mark(offer.key.as_str(), value).map(Arc::new);
                }
            }
            return None;
        }
        Err(error) => error,
    };
    let at = reserved.iter().rfind(|field| field.key.as_str() == FIELD)?;
    Some(Remark {
        code: Code::UnknownName,
        origin: origin(at),
        message: format!("{FIELD} is passed over, with the names of the keys in this file: {error}"),
        help: "put it back as it was, or use the release that wrote it; only a rotation writes it".into(),
    })
}
