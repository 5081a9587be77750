//! From merged layers to fields of their types, or the mistake in our words.

use super::SettingsError;
use super::kinds;
use super::layers::Merged;
use super::mistakes::explain;
use super::raw::Raw;

/// The fields, each of its type, and each where something has a use for it.
pub(super) fn understand(merged: &Merged<'_>) -> Result<Raw, SettingsError> {
    let raw = merged.figment().extract::<Raw>().map_err(|error| explain(merged, &error))?;
    kinds::judge(merged, &raw)?;
    Ok(raw)
}
