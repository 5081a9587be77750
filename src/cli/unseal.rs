//! `dlconf unseal FILE`: the env file that was sealed, on stdout.
//!
//! Invariant: the text goes to stdout and nowhere else, and all of it or nothing.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use clap::Args;
use nix::sys::statfs::fstatfs;

use super::output::Terminal;
use super::sealed::keys::Opener;
use super::sealed::{SealedFile, names, text_of};
use super::{Failure, Global, exit};
use crate::delivery::private::is_memory;

#[derive(Debug, Args)]
#[command(after_help = "The text goes to stdout only: plaintext is not to touch a disk. \
                        To change a value, use `dlconf edit`.")]
pub(super) struct Unseal {
    /// The sealed file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the names only; without a key they are not verified
    #[arg(long)]
    names: bool,
    #[command(flatten)]
    key: Opener,
}

impl Unseal {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let file = SealedFile::read(&self.file)?;
        if self.names {
            if self.key.is_given() {
                self.key.open(&file, global)?;
            } else {
                terminal.note("the names are not verified: no key was given");
            }
            let mut out = String::new();
            for name in names(&file.container) {
                out.push_str(name);
                out.push('\n');
            }
            Terminal::payload(&out)?;
            return Ok(exit::FINE);
        }
        let opened = self.key.open(&file, global)?;
        let text = text_of(&file.label, &opened)?;
        drop(opened);
        if is_on_a_disk() {
            terminal.warn("stdout is a file on a disk: every value is in it now");
        }
        Terminal::payload(&text)?;
        Ok(exit::FINE)
    }
}

/// Whether stdout was led into a file that stays.
fn is_on_a_disk() -> bool {
    let stdout = std::io::stdout();
    let Ok(file) = stdout.as_fd().try_clone_to_owned().map(File::from) else { return false };
    file.metadata().is_ok_and(|metadata| metadata.is_file())
        && fstatfs(&file).is_ok_and(|system| !is_memory(system.filesystem_type()))
}
