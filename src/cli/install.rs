//! `dlconf install PATH`: a copy of this program at PATH, for an image that has no `cp`:
//! an init container puts it where the program's own container finds it.
//!
//! Invariants: the new file takes its name whole and executable, or not at all; a file
//! that is no copy of this program stays, unless the caller says that it goes; where the
//! copy is already, nothing is written.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::output::Terminal;
use super::{Failure, exit};
use crate::disk::file::{self, Placed};

/// What runs now, also if its name has gone to another file meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The program that runs it is another user's, so everybody may.
const MODE: u32 = 0o755;

#[derive(Debug, Args)]
pub(super) struct Install {
    /// The copy: a file in a folder that exists
    #[arg(value_name = "PATH")]
    target: PathBuf,
    /// Replace what is there also if it is another file, such as an older release
    #[arg(long)]
    replace: bool,
}

impl Install {
    pub(super) fn run(&self, terminal: &Terminal) -> Result<u8, Failure> {
        let program = fs::read(THIS_PROGRAM).map_err(|error| {
            Failure::new(
                exit::UNREADABLE,
                format!("this program cannot be read ({THIS_PROGRAM}): {error}"),
                Some("see whether /proc is mounted and who may read the program's file".into()),
            )
        })?;
        let target = self.target.display();
        let placed = file::place(&self.target, &program, MODE, self.replace)
            .map_err(|error| Failure::new(exit::REFUSED, error.to_string(), Some(error.help())))?;
        match placed {
            Placed::Written => {
                terminal.note(&format!("copied dlconf {} to {target}", env!("CARGO_PKG_VERSION")));
                Ok(exit::FINE)
            }
            Placed::Already => {
                terminal.note(&format!("{target} is this program already"));
                Ok(exit::FINE)
            }
            Placed::Taken => Err(Failure::new(
                exit::REFUSED,
                format!("{target} is another file, so it is not replaced"),
                Some("name another path, or say --replace if it may go".into()),
            )),
        }
    }
}
