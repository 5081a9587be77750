//! `dlconf rekey FILE`: a sealed file for other keys.
//!
//! Invariants: afterwards it opens with the keys that were named and no other; salt
//! and key are fresh, so that who had an old key cannot read what is sealed later;
//! a key that is gone is not gone from history, and that is said.

use std::path::PathBuf;

use clap::Args;

use super::output::Terminal;
use super::sealed::keys::{NewKeys, Opener, Ring};
use super::sealed::{self, SealedFile, holder, holders, names};
use super::{Failure, Global, exit};
use crate::sealed::{Container, Kernel, Key, Piece, Purpose, State};
use crate::source::sealed::now;

#[derive(Debug, Args)]
#[command(after_help = "The file opens afterwards with the keys named by --to-… and no other. \
                        Examples:\n  \
                        dlconf rekey .env.sealed --key-file ../old.key --to-new-key-file ../new.key\n  \
                        dlconf rekey .env.sealed --passphrase --to-passphrase --to-key-file ../server.key")]
pub(super) struct Rekey {
    /// The sealed file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    key: Opener,
    #[command(flatten)]
    to: NewKeys,
}

impl Rekey {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let file = SealedFile::read(&self.file)?;
        let wanted = self.to.wanted();
        if wanted.is_empty() {
            return Err(Failure::usage(
                format!("no key was named that {} is to open with", file.label),
                "name all of them, those that stay too, with --to-key-file FILE, --to-new-key-file FILE, \
                 --to-passphrase, --to-passphrase-file FILE, --to-credential NAME: one or two",
            ));
        }
        let opened = self.key.open(&file, global)?;
        let ring = Ring::take(&wanted, &file.label)?;
        let old = &file.container;
        let pieces: Vec<Piece<'_>> = old
            .entries
            .iter()
            .zip(&opened.texts)
            .map(|(entry, text)| Piece::New(entry.name.as_deref(), text))
            .collect();
        let state =
            State { generation: old.state.generation.saturating_add(1), written: now(), ..old.state.clone() };
        let keys: Vec<&Key> = ring.keys.iter().collect();
        let new = Container::seal(Purpose::File, &keys, state, &pieces, &mut Kernel)
            .map_err(|error| sealed::unsealed(&error))?;
        let removed = removed(old, &keys);
        let settled = file.replace(&new)?;
        terminal.note(&format!("{} opens with {}, and with nothing else", file.label, holders(&new)));
        for path in ring.keep() {
            let path = path.display();
            terminal.warn(&format!(
                "{path} is the new key: keep a copy where you keep secrets, and never commit it"
            ));
        }
        if !removed.is_empty() {
            terminal.warn(&warning(&file.label, &removed, &names(old)));
        }
        settled.map(|()| exit::FINE)
    }
}

/// Who opened the old file and does not open the new one.
fn removed(old: &Container, keys: &[&Key]) -> Vec<String> {
    let kept: Vec<usize> =
        keys.iter().filter_map(|key| old.open(Purpose::File, key).ok()).map(|opened| opened.slot).collect();
    let slots = old.header.slots.iter().enumerate();
    slots.filter(|(at, _)| !kept.contains(at)).map(|(_, slot)| holder(slot)).collect()
}

fn warning(label: &str, removed: &[String], names: &[&str]) -> String {
    let rotate = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    format!(
        "whoever had {} could read every value, and still can: of every copy and every commit of the old {label}. \
         Rotate the secrets in it{rotate}",
        removed.join(" and ")
    )
}
