//! One table of the settings, being read: where its fields stand, and what more
//! than one of them may be made of.
//!
//! Invariant: every mistake names the field, its table and its place.
//! Must not know: what a table is for.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::durations;
use super::kinds::subject;
use super::layers::Merged;
use super::{FILE_NAME, Opened, SettingsError, ShownPath, found_only};
use crate::model::origin::Location;

/// The bits that a file or socket may have: what executes nobody needs.
const MODES: u32 = 0o666;

/// A table.
pub(super) struct Table<'a> {
    pub(super) opened: &'a Opened,
    pub(super) merged: &'a Merged<'a>,
    /// Its path: `delivery`, `app`.
    pub(super) at: &'a [&'a str],
}

/// How short a duration may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Least {
    /// Nothing at all.
    Zero,
    /// Any that is one.
    Some,
}

impl Table<'_> {
    /// Where a field stands, or else its table.
    pub(super) fn place(&self, field: &[&str]) -> Option<Location> {
        self.merged.place(&self.whole(field))
    }

    /// A field in words: `mode` of delivery `app`.
    pub(super) fn named(&self, field: &[&str]) -> String {
        subject(&self.whole(field))
    }

    /// A mistake: what the field is or does, and what to do.
    pub(super) fn wrong(&self, field: &[&str], clause: &str, help: impl Into<String>) -> SettingsError {
        SettingsError::new(format!("{} {clause}", self.named(field)), self.place(field), help)
    }

    /// A mistake of the whole table: what it has not, and what to do.
    pub(super) fn lacking(&self, clause: &str, help: impl Into<String>) -> SettingsError {
        SettingsError::new(format!("{} {clause}", subject(self.at)), self.merged.place(self.at), help)
    }

    /// What settings may not do that were merely found.
    pub(super) fn refused(&self, field: &[&str], attempt: &str) -> SettingsError {
        found_only(self.opened.label().unwrap_or(FILE_NAME), attempt, self.place(field))
    }

    /// The folder of settings that were merely found, if it is their word that is
    /// read here and not the caller's.
    pub(super) fn confined(&self, field: &[&str]) -> Option<&Path> {
        self.opened.beneath().filter(|_| !self.merged.is_of_the_caller(&self.whole(field)))
    }

    /// A text that says something.
    pub(super) fn filled<'t>(&self, field: &[&str], text: &'t str) -> Result<&'t str, SettingsError> {
        if text.trim().is_empty() {
            return Err(self.wrong(field, "is empty", "write it, or remove the field"));
        }
        if text.contains('\0') {
            return Err(self.wrong(
                field,
                "holds a NUL byte",
                "remove it: no name and no argument can hold one",
            ));
        }
        Ok(text)
    }

    /// The name of something that dlconf makes. `verb` says how.
    pub(super) fn target(&self, field: &[&str], verb: &str, text: &str) -> Result<ShownPath, SettingsError> {
        let text = self.filled(field, text)?;
        if Path::new(text).file_name().is_none() {
            return Err(self.wrong(field, "ends without a name", "write the name of what is to be made"));
        }
        self.opened.reached(verb, text, self.confined(field), || self.place(field))
    }

    /// A duration.
    pub(super) fn duration(
        &self,
        field: &[&str],
        text: Option<&str>,
        usual: Duration,
        least: Least,
    ) -> Result<Duration, SettingsError> {
        let Some(text) = text else { return Ok(usual) };
        let fits = |duration: &Duration| least == Least::Zero || !duration.is_zero();
        durations::parse(text).filter(fits).ok_or_else(|| {
            let clause = match least {
                Least::Zero => "must be a duration",
                Least::Some => "must be a duration longer than 0s",
            };
            self.wrong(field, clause, format!("write it as Go does: \"{}\"", durations::written(usual)))
        })
    }

    /// A duration of these.
    pub(super) fn duration_within(
        &self,
        field: &[&str],
        text: Option<&str>,
        usual: Duration,
        within: &RangeInclusive<Duration>,
    ) -> Result<Duration, SettingsError> {
        let Some(text) = text else { return Ok(usual) };
        durations::parse(text).filter(|duration| within.contains(duration)).ok_or_else(|| {
            let (least, most) = (durations::written(*within.start()), durations::written(*within.end()));
            let help = format!("write it as Go does: \"{}\"", durations::written(usual));
            self.wrong(field, &format!("must be a duration from {least} to {most}"), help)
        })
    }

    /// How many there may be.
    pub(super) fn count(&self, field: &str, written: Option<u32>, usual: u32) -> Result<u32, SettingsError> {
        match written {
            Some(0) => Err(self.wrong(&[field], "must be 1 or more", format!("write {usual}"))),
            Some(count) => Ok(count),
            None => Ok(usual),
        }
    }

    /// Permission bits, in octal; 0600 where nothing is written.
    pub(super) fn mode(&self, field: &[&str], text: Option<&str>) -> Result<u32, SettingsError> {
        let Some(text) = text else { return Ok(0o600) };
        let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal).ok_or_else(|| {
            self.wrong(field, "must be 3 or 4 octal digits", "write it as \"0600\", or \"0640\" for a group")
        })?;
        if mode & !MODES != 0 {
            let help = "remove what lets execute (1), set-id and sticky bits; directories can be searched \
                        wherever their files can be read";
            return Err(self.wrong(field, "has bits beyond 0666", help));
        }
        Ok(mode)
    }

    fn whole<'f>(&'f self, field: &[&'f str]) -> Vec<&'f str> {
        [self.at, field].concat()
    }
}
