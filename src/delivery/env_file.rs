//! A delivery into one file, in its reader's dialect.
//!
//! Invariants: the file is exchanged as a whole, and only when its bytes or its
//! mode and owner are not yet what they must be; a set that the dialect cannot
//! carry leaves it untouched.
//! Must not know: how a file is exchanged (`disk`).

use std::path::Path;

use super::config::{DeliveryConfig, DeliveryKind};
use super::encode::{Format, Options, Unrepresentable, encode};
use super::{Delivery, DeliveryError, Outcome};
use crate::access::Released;
use crate::disk::file::{Target, split, sweep};
use crate::disk::folder::Folder;
use crate::disk::rights::Rights;
use crate::disk::write_error::WriteError;
use crate::model::finding::Code;
use crate::model::key::Key;
use crate::model::secret::SecretValue;

/// `type = "env-file"`.
#[derive(Debug)]
pub struct EnvFile {
    config: DeliveryConfig,
    format: Format,
    /// Whether the disk has kept what is there. Who went before us may have been
    /// killed in between.
    settled: bool,
    /// Whether other bytes are there without anybody having been told.
    untold: bool,
}

impl EnvFile {
    /// For these settings. (Those of a directory make a `dotenv` file.)
    pub fn new(config: &DeliveryConfig) -> Self {
        let format = match config.kind {
            DeliveryKind::EnvFile { format } => format,
            DeliveryKind::Directory => Format::Dotenv,
        };
        Self { config: config.clone(), format, settled: false, untold: false }
    }

    fn encoded(&self, released: &Released) -> Result<SecretValue, DeliveryError> {
        let options = Options { name: Some(self.config.name.clone()), namespace: None };
        if let Some(problem) = options.problem(self.format) {
            return Err(DeliveryError {
                code: Some(Code::NotRepresentable),
                message: format!("{} cannot be written: {problem}", self.config.label),
                help: "the Secret is named after the delivery: give that another name".into(),
            });
        }
        let values: Vec<(&Key, &SecretValue)> =
            released.variables().iter().map(|given| (&given.key, &*given.value)).collect();
        encode(self.format, &values, &options).map_err(|refused| self.refused(&refused, &values))
    }

    /// Names every variable that the dialect cannot carry, and the dialects that
    /// can: they are tried, not listed.
    fn refused(&self, refused: &[Unrepresentable], values: &[(&Key, &SecretValue)]) -> DeliveryError {
        let named: Vec<String> = refused.iter().map(|one| format!("{} ({})", one.key, one.reason)).collect();
        let options = Options { name: Some(self.config.name.clone()), namespace: None };
        let carriers: Vec<&str> = Format::ALL
            .iter()
            .filter(|format| encode(**format, values, &options).is_ok())
            .map(|format| format.as_str())
            .collect();
        let help = if carriers.is_empty() {
            "leave them out of this delivery's `vars`, or deliver a directory".to_owned()
        } else {
            format!("set this delivery's `format` to one that carries them: {}", carriers.join(", "))
        };
        let (format, label) = (self.format.as_str(), &self.config.label);
        DeliveryError {
            code: Some(Code::NotRepresentable),
            message: format!("{label} cannot carry, for {format}: {}", named.join(", ")),
            help,
        }
    }

    fn write(&mut self, content: &[u8]) -> Result<Outcome, WriteError> {
        let rights = Rights::resolve(&self.config.access)?;
        let (above, name) = split(&self.config.path)?;
        let folder = if self.config.create_dirs {
            Folder::strict_or_made(above, rights)?
        } else {
            Folder::strict(above, rights)?
        };
        let target = Target { folder: &folder, name, path: Path::new(&self.config.label) };
        let present = target.look()?;
        let same = match &present {
            Some(stat) => target.holds(stat, content)?,
            None => false,
        };
        let settled = self.settled;
        if !same || !present.is_some_and(|stat| rights.are_of(&stat)) {
            let put = target.put(content, rights, None);
            if matches!(put, Ok(()) | Err(WriteError::Unsettled { .. })) {
                self.untold |= !same;
            }
            self.settled = put.is_ok();
            put?;
        } else if !self.settled {
            let failed = |reason| WriteError::Unsettled { path: target.path.into(), reason };
            folder.sync().map_err(failed)?;
            self.settled = true;
        }
        if !settled {
            // What could not be removed when it failed, perhaps can now.
            sweep(&folder, name, rights);
        }
        Ok(if std::mem::take(&mut self.untold) { Outcome::Changed } else { Outcome::Unchanged })
    }
}

impl Delivery for EnvFile {
    fn deliver(&mut self, released: &Released) -> Result<Outcome, DeliveryError> {
        let content = self.encoded(released)?;
        Ok(self.write(content.expose().as_bytes())?)
    }

    fn clean(&mut self) -> Result<(), DeliveryError> {
        let rights = Rights::resolve(&self.config.access)?;
        let (above, name) = split(&self.config.path)?;
        match Folder::strict(above, rights) {
            Ok(folder) => sweep(&folder, name, rights),
            Err(WriteError::NoFolder { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
