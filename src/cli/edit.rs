//! `dlconf edit FILE`: a sealed file in an editor.
//!
//! Owns: the way from the file to the editor and back. Invariants: plaintext is in
//! memory only, and gone at the end, however that comes; what did not change keeps
//! its line; nothing is written unless the editor ended well and its text is an env
//! file.
//! Must not know: what a private folder is made of (`delivery::private`), how a program
//! is followed (`editor`).

mod editor;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use self::editor::{Done, Editor};
use super::output::Terminal;
use super::prompt::{Answer, agrees};
use super::sealed::keys::Opener;
use super::sealed::{SealedFile, pieces_of, text_of, unsealed};
use super::{Failure, Global, exit};
use crate::delivery::private::{Private, PrivateError, Purpose};
use crate::process::Hardened;
use crate::sealed::Opened;
use crate::source::file::TEXT_LIMIT;
use crate::source::sealed::Edition;

#[derive(Debug, Args)]
#[command(after_help = "The editor is $VISUAL, else $EDITOR, else vi. It gets the text in a file in memory \
                        ($XDG_RUNTIME_DIR or /dev/shm), which is wiped when it ends.")]
pub(super) struct Edit {
    /// The sealed file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    key: Opener,
}

impl Edit {
    pub(super) fn run(
        &self,
        global: &Global,
        terminal: &Terminal,
        hardened: Hardened,
    ) -> Result<u8, Failure> {
        let file = SealedFile::read(&self.file)?;
        let opened = self.key.open(&file, global)?;
        // One thread, which is the one that the editor's end is bound to.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                Failure::new(exit::REFUSED, format!("the system refuses what waiting needs: {error}"), None)
            })?;
        runtime.block_on(edit(&file, &opened, terminal, hardened))
    }
}

async fn edit(
    file: &SealedFile,
    opened: &Opened,
    terminal: &Terminal,
    hardened: Hardened,
) -> Result<u8, Failure> {
    // From here on no signal ends us before what we lay down is wiped.
    let mut editor = Editor::new(hardened)?;
    let before = text_of(&file.label, opened)?;
    let private =
        Private::make(Purpose::Edit, &plain_name(Path::new(&file.label)), &before).map_err(failure)?;
    let done = loop {
        match editor.run(&private).await {
            Err(failure) => break Err(failure),
            Ok(Done::Told(code)) => {
                terminal.warn(&format!("{} is as it was: a signal ended the editing", file.label));
                break Ok(code);
            }
            Ok(Done::Ended(0)) => {}
            Ok(Done::Ended(code)) => {
                let message = format!("{} is as it was: the editor ended with exit code {code}", file.label);
                break Err(Failure::new(exit::FINDINGS, message, None));
            }
        }
        let failure = match take(file, opened, &before, &private, terminal) {
            Ok(()) => break Ok(exit::FINE),
            Err(failure) => failure,
        };
        if !editor.is_watched() {
            break Err(failure);
        }
        terminal.failure(&failure);
        let code = match agrees("Back to the editor?") {
            Answer::Yes => continue,
            Answer::No => failure.exit,
            Answer::Told(signal) => editor::code(signal),
        };
        terminal.warn(&format!("{} is as it was; what you wrote is given up", file.label));
        break Ok(code);
    };
    match private.wipe() {
        Ok(()) => done,
        Err(error) => {
            let failure = failure(error);
            terminal.failure(&failure);
            done.map(|code| if code == exit::FINE { failure.exit } else { code })
        }
    }
}

/// Seals what the editor left.
fn take(
    file: &SealedFile,
    opened: &Opened,
    before: &str,
    private: &Private,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let after = private.read(TEXT_LIMIT).map_err(failure)?;
    if *after == *before {
        terminal.note(&format!("{}: nothing was changed", file.label));
        return Ok(());
    }
    let chunks = pieces_of(&after, &private.name().to_string_lossy())?;
    let change = Edition::new(&file.container, opened, &chunks);
    let sealed = change.sealed(&file.container, opened).map_err(|error| unsealed(&error))?;
    let settled = file.replace(&sealed)?;
    terminal.note(&format!("{}: {}", file.label, change.words()));
    settled
}

/// What keeps the private file from being used, in the words of an editor.
fn failure(error: PrivateError) -> Failure {
    match error {
        PrivateError::NotRead { why } => Failure::new(
            exit::REFUSED,
            format!("what the editor left cannot be read: {why}"),
            Some("save the file under the name that it had".into()),
        ),
        error => Failure::new(exit::REFUSED, error.to_string(), error.help()),
    }
}

/// What the file is called in the editor, which colours it by its name.
fn plain_name(sealed: &Path) -> OsString {
    let name = sealed.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".sealed").unwrap_or(&name);
    // `.env` has no extension, as the standard library counts.
    let is_env = name == ".env"
        || name.starts_with(".env.")
        || Path::new(name).extension().is_some_and(|extension| extension == "env");
    if is_env { name.into() } else { format!("{name}.env").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_see_an_env_file() {
        for (sealed, plain) in [
            (".env.sealed", ".env"),
            ("deploy/.env.production.sealed", ".env.production"),
            ("production.env.sealed", "production.env"),
            ("shop.sealed", "shop.env"),
            ("secrets", "secrets.env"),
        ] {
            assert_eq!(plain_name(Path::new(sealed)), *plain, "{sealed}");
        }
    }
}
