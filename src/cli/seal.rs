//! `dlconf seal FILE`: an env file, sealed, so that it may be committed.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::output::Terminal;
use super::sealed::keys::{Keys, Ring, Wanted, open_with_all};
use super::sealed::{self, SealedFile, bounded, first_state, holders, pieces_of, unread};
use super::{Failure, Global, exit};
use crate::disk::file::{Expected, Permissions};
use crate::sealed::{Container, Kernel, Key, Purpose};
use crate::source::file::{ShownPath, TEXT_LIMIT};
use crate::source::sealed::{Edition, all_new};

/// Said where no key was named.
const CHOICES: &str = "--new-key-file ../shop.key makes a key for programs; --key-file FILE takes one that is \
                       there; --passphrase asks for one that people remember; --credential NAME takes one of \
                       systemd; up to two of them: dlconf seal .env --new-key-file ../shop.key --passphrase";

#[derive(Debug, Args)]
pub(super) struct Seal {
    /// The env file; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The sealed file [default: FILE.sealed; of stdin, -: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    keys: Keys,
}

impl Seal {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let wanted = self.keys.wanted();
        let output = self.output();
        let is_there = output.as_deref().is_some_and(|path| path.symlink_metadata().is_ok());
        if wanted.is_empty() && !is_there {
            return Err(Failure::usage("no key was given to seal it for", CHOICES));
        }
        let (label, text) = self.read()?;
        match &output {
            Some(path) if is_there => update(path, &label, &text, &wanted, global, terminal)?,
            _ => create(output.as_deref(), &label, &text, &wanted, terminal)?,
        }
        if !self.is_stdin() {
            terminal.warn(&format!(
                "{label} is still there, with every value in it: remove it, or see that .gitignore names it (`dlconf \
                 unseal` gives it back)"
            ));
        }
        Ok(exit::FINE)
    }

    fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    fn output(&self) -> Option<PathBuf> {
        let beside = || {
            let mut name = OsString::from(&self.file);
            name.push(".sealed");
            PathBuf::from(name)
        };
        match &self.output {
            Some(path) if path.as_os_str() == "-" => None,
            Some(path) => Some(path.clone()),
            None => (!self.is_stdin()).then(beside),
        }
    }

    fn read(&self) -> Result<(String, Zeroizing<String>), Failure> {
        if !self.is_stdin() {
            let shown = ShownPath::named(&self.file);
            let read = shown.read(TEXT_LIMIT).map_err(|f| unread(f.at(&shown.label.as_str().into())))?;
            return Ok((shown.label, Zeroizing::new(read.text)));
        }
        let mut text = Zeroizing::new(String::new());
        let read = std::io::stdin().lock().take(TEXT_LIMIT + 1).read_to_string(&mut text);
        let problem = match read {
            Err(error) => format!("stdin cannot be read: {error}"),
            Ok(count) if count as u64 > TEXT_LIMIT => {
                format!("stdin has more than {} MiB", TEXT_LIMIT >> 20)
            }
            Ok(_) => return Ok(("stdin".to_owned(), text)),
        };
        Err(Failure::new(exit::UNREADABLE, problem, Some("give an env file, as UTF-8".into())))
    }
}

/// Seals it for the first time.
fn create(
    output: Option<&Path>,
    label: &str,
    text: &str,
    wanted: &[Wanted],
    terminal: &Terminal,
) -> Result<(), Failure> {
    let chunks = pieces_of(text, label)?;
    let ring = Ring::take(wanted, &output.map_or_else(|| label.into(), |path| path.display().to_string()))?;
    let keys: Vec<&Key> = ring.keys.iter().collect();
    let container = Container::seal(Purpose::File, &keys, first_state(), &all_new(&chunks), &mut Kernel)
        .map_err(|error| sealed::unsealed(&error))?;
    let settled = match output {
        // Whoever reads it may have all of it when that fails: its key is kept.
        None => Terminal::payload(&bounded(container.to_text())?),
        Some(path) => sealed::write(path, &container, Permissions::private(), Expected::Nothing)?,
    };
    let count = sealed::names(&container).len();
    let place = output.map_or_else(|| "stdout".to_owned(), |path| path.display().to_string());
    let variables = if count == 1 { "variable" } else { "variables" };
    if settled.is_ok() {
        let holders = holders(&container);
        terminal.note(&format!("sealed {count} {variables} into {place}; it opens with {holders}"));
    }
    for path in ring.keep() {
        let path = path.display();
        terminal.warn(&format!(
            "{path} is the new key: keep a copy where you keep secrets, and never commit it; without it the values \
             are lost"
        ));
    }
    settled
}

/// Seals it over its own sealed file, where what did not change stays as it is.
fn update(
    path: &Path,
    label: &str,
    text: &str,
    wanted: &[Wanted],
    global: &Global,
    terminal: &Terminal,
) -> Result<(), Failure> {
    if wanted.iter().any(|one| matches!(one, Wanted::Made(_))) {
        return Err(Failure::usage(
            format!("{} is there already, and a new key would not open it", path.display()),
            "give a key that opens it, to change its values; `dlconf rekey` seals it for other keys; or choose \
             another --output",
        ));
    }
    let file = SealedFile::read(path)?;
    if wanted.len() > file.container.header.slots.len() {
        return Err(Failure::usage(
            format!("{} opens with {} only", file.label, holders(&file.container)),
            "`dlconf rekey` seals it for other keys",
        ));
    }
    let opened = open_with_all(&file, wanted, global)?;
    let before = sealed::text_of(&file.label, &opened)?;
    if *before == *text {
        terminal.note(&format!("{} holds just that: it is left as it is", file.label));
        return Ok(());
    }
    let chunks = pieces_of(text, label)?;
    let change = Edition::new(&file.container, &opened, &chunks);
    let sealed = change.sealed(&file.container, &opened).map_err(|error| sealed::unsealed(&error))?;
    let settled = file.replace(&sealed)?;
    terminal.note(&format!("{}: {}", file.label, change.words()));
    settled
}
