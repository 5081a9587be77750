//! `dlconf completions SHELL` and `dlconf man`: made from the same types that
//! parse the arguments, so they cannot disagree with them.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::output::Terminal;
use super::{Cli, Failure, exit};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "dlconf", &mut script);
        print(&script)
    }
}

/// The manual: one page, with a section for each command.
pub(super) fn man() -> Result<u8, Failure> {
    let mut page = Vec::new();
    let mut command = Cli::command();
    command.build();
    let failed = |error: std::io::Error| Failure::new(exit::UNREADABLE, error.to_string(), None);
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let sub = clap_mangen::Man::new(sub.clone());
        sub.render_synopsis_section(&mut page).map_err(failed)?;
        sub.render_description_section(&mut page).map_err(failed)?;
        sub.render_options_section(&mut page).map_err(failed)?;
    }
    print(&page)
}

fn print(bytes: &[u8]) -> Result<u8, Failure> {
    Terminal::payload(&String::from_utf8_lossy(bytes))?;
    Ok(exit::FINE)
}
