//! The core: pure. No I/O, no async, no clock. Everything else imports it; it
//! imports nothing of the house.

pub mod discretion;
pub mod finding;
pub mod kept;
pub mod key;
pub mod layer;
pub mod origin;
pub mod resolve;
pub mod rotation;
pub mod schema;
pub mod secret;
pub mod snapshot;
pub mod validate;
