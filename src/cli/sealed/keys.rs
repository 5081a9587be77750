//! Which key opens a file, and which keys a file is sealed for.
//!
//! Owns: the options that say so, and the order in which a key is looked for.
//! Invariants: a key that others could read is refused; no key is ever an argument; a
//! key file that is made did not exist before, and is gone again if nothing was
//! sealed for it.
//! Must not know: what is sealed.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{ArgGroup, Args};
use zeroize::Zeroizing;

use super::super::{Failure, Global, exit, prompt};
use super::{SealedFile, refused};
use crate::assemble::{Choice, ground, open_settings};
use crate::report::Style;
use crate::sealed::{Key, Opened, Purpose};
use crate::source::file::ShownPath;
use crate::source::key_file::{KeyFileError, KeyPlace, Trouble};

/// What the keys of sealed files are called in errors.
const WHAT: &str = "key of sealed files";

/// Bytes of a new key, before they are written as base64.
const NEW: usize = 48;

/// The key that opens a file: at most one of these.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("key").multiple(false)), next_help_heading = "Key")]
pub(in crate::cli) struct Opener {
    /// The file with the key (mode 0600 or 0400)
    #[arg(long, value_name = "FILE", group = "key")]
    key_file: Option<PathBuf>,
    /// Ask for the passphrase on the terminal
    #[arg(long, group = "key")]
    passphrase: bool,
    /// A file with the passphrase (mode 0600 or 0400)
    #[arg(long, value_name = "FILE", group = "key")]
    passphrase_file: Option<PathBuf>,
    /// A credential with the key that systemd gave: its name in $CREDENTIALS_DIRECTORY
    #[arg(long, value_name = "NAME", group = "key")]
    credential: Option<String>,
}

/// The keys that a file is sealed for: one or two.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys, one or two")]
pub(in crate::cli) struct Keys {
    /// A file with a key (mode 0600 or 0400)
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Make a new key, and this file with it
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// Ask for a passphrase on the terminal
    #[arg(long)]
    passphrase: bool,
    /// A file with a passphrase (mode 0600 or 0400)
    #[arg(long, value_name = "FILE")]
    passphrase_file: Vec<PathBuf>,
    /// A credential with a key that systemd gave: its name in $CREDENTIALS_DIRECTORY
    #[arg(long, value_name = "NAME")]
    credential: Vec<String>,
}

/// The keys that a file opens with afterwards: one or two.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "clap makes the options' names of them")]
#[command(next_help_heading = "The only keys that open it afterwards, one or two")]
pub(in crate::cli) struct NewKeys {
    /// A file with a key (mode 0600 or 0400)
    #[arg(long, value_name = "FILE")]
    to_key_file: Vec<PathBuf>,
    /// Make a new key, and this file with it
    #[arg(long, value_name = "FILE")]
    to_new_key_file: Option<PathBuf>,
    /// Ask for a new passphrase on the terminal
    #[arg(long)]
    to_passphrase: bool,
    /// A file with a passphrase (mode 0600 or 0400)
    #[arg(long, value_name = "FILE")]
    to_passphrase_file: Vec<PathBuf>,
    /// A credential with a key that systemd gave: its name in $CREDENTIALS_DIRECTORY
    #[arg(long, value_name = "NAME")]
    to_credential: Vec<String>,
}

/// One key, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Wanted {
    /// It is somewhere.
    At(KeyPlace),
    /// A person knows it.
    Asked,
    /// It is to be made.
    Made(PathBuf),
}

impl Opener {
    fn wanted(&self) -> Option<Wanted> {
        let file = self.key_file.iter().map(|path| Wanted::At(KeyPlace::File(ShownPath::named(path))));
        let phrase =
            self.passphrase_file.iter().map(|path| Wanted::At(KeyPlace::Passphrase(ShownPath::named(path))));
        let credential = self.credential.iter().map(|name| Wanted::At(credential(name)));
        file.chain(phrase).chain(credential).chain(self.passphrase.then_some(Wanted::Asked)).next()
    }

    /// Whether a key was named.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.wanted().is_some()
    }

    /// Opens a file: with the key that was named, else with what its settings say,
    /// else by asking for its passphrase.
    pub(in crate::cli) fn open(&self, file: &SealedFile, global: &Global) -> Result<Opened, Failure> {
        let key = given_or_configured(self.wanted(), file, global)?;
        open(file, &key)
    }
}

impl Keys {
    /// As they were asked for.
    pub(in crate::cli) fn wanted(&self) -> Vec<Wanted> {
        wanted(
            &self.key_file,
            self.new_key_file.as_ref(),
            &self.credential,
            &self.passphrase_file,
            self.passphrase,
        )
    }
}

impl NewKeys {
    /// As they were asked for.
    pub(in crate::cli) fn wanted(&self) -> Vec<Wanted> {
        wanted(
            &self.to_key_file,
            self.to_new_key_file.as_ref(),
            &self.to_credential,
            &self.to_passphrase_file,
            self.to_passphrase,
        )
    }
}

fn wanted(
    files: &[PathBuf],
    made: Option<&PathBuf>,
    credentials: &[String],
    phrases: &[PathBuf],
    asked: bool,
) -> Vec<Wanted> {
    let files = files.iter().map(|path| Wanted::At(KeyPlace::File(ShownPath::named(path))));
    let made = made.map(|path| Wanted::Made(path.clone()));
    let credentials = credentials.iter().map(|name| Wanted::At(credential(name)));
    let phrases = phrases.iter().map(|path| Wanted::At(KeyPlace::Passphrase(ShownPath::named(path))));
    files.chain(made).chain(credentials).chain(phrases).chain(asked.then_some(Wanted::Asked)).collect()
}

fn credential(name: &str) -> KeyPlace {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    KeyPlace::Credential { name: name.to_owned(), folder: folder.map(PathBuf::from) }
}

/// Opens a file with a key.
pub(in crate::cli) fn open(file: &SealedFile, key: &Key) -> Result<Opened, Failure> {
    file.container.open(Purpose::File, key).map_err(|error| refused(&file.label, &error))
}

/// The key for a file: the one that was named, else that of the source which reads
/// it by the settings, else the passphrase, where the file has one and somebody is
/// there to ask.
fn given_or_configured(wanted: Option<Wanted>, file: &SealedFile, global: &Global) -> Result<Key, Failure> {
    match wanted {
        Some(Wanted::At(place)) => return read(&place).map_err(|failure| for_opening(failure, &place)),
        Some(Wanted::Asked) => return Ok(Key::Passphrase(prompt::passphrase(&file.label)?)),
        Some(Wanted::Made(path)) => return Err(exists_not(&path)),
        None => {}
    }
    let configured = configured(file, global);
    if let Ok(Some(place)) = &configured {
        return read(place);
    }
    if has_passphrase(file) && prompt::is_there() {
        return Ok(Key::Passphrase(prompt::passphrase(&file.label)?));
    }
    let mut failure = Failure::usage(
        format!("no key was given: {} opens with {}", file.label, super::holders(&file.container)),
        "give --key-file FILE, --passphrase, --passphrase-file FILE or --credential NAME",
    );
    // They might name its key, and cannot be understood.
    failure.faults.extend(configured.err().into_iter().flat_map(|unread| unread.faults));
    Err(failure)
}

/// What is sealed opens with the key that it was sealed with: making one is no help.
fn for_opening(mut failure: Failure, place: &KeyPlace) -> Failure {
    let is_file = matches!(place, KeyPlace::File(_) | KeyPlace::Passphrase(_));
    if failure.exit == exit::UNREADABLE && is_file && place.path().is_some_and(|path| !path.exists()) {
        let help = "name the file that holds what it was sealed with".to_owned();
        failure.faults.iter_mut().for_each(|fault| fault.help = Some(help.clone()));
    }
    failure
}

/// The key of the source that reads this file, where there are settings.
fn configured(file: &SealedFile, global: &Global) -> Result<Option<KeyPlace>, Failure> {
    let request = global.request();
    if !open_settings(&request)?.has_file() {
        return Ok(None);
    }
    let ground = ground(&request, Choice::Asked, Style::default())?;
    Ok(ground.settings.key_of_sealed(&file.path).cloned())
}

fn has_passphrase(file: &SealedFile) -> bool {
    file.container.header.slots.iter().any(|slot| slot.stretch.is_some())
}

/// Opens a file with each of these keys: one that does not is told, since nothing is
/// sealed for it here.
pub(in crate::cli) fn open_with_all(
    file: &SealedFile,
    wanted: &[Wanted],
    global: &Global,
) -> Result<Opened, Failure> {
    let Some((first, others)) = wanted.split_first() else {
        return open(file, &given_or_configured(None, file, global)?);
    };
    let opened = open(file, &given_or_configured(Some(first.clone()), file, global)?)?;
    for one in others {
        open(file, &given_or_configured(Some(one.clone()), file, global)?)?;
    }
    Ok(opened)
}

/// Keys to seal for. Those that were made are removed again unless they are kept.
pub(in crate::cli) struct Ring {
    pub(in crate::cli) keys: Vec<Key>,
    made: Vec<PathBuf>,
}

impl Ring {
    /// Takes each of them: reads, asks, makes. `of` is what they open.
    pub(in crate::cli) fn take(wanted: &[Wanted], of: &str) -> Result<Self, Failure> {
        if wanted.len() > 2 {
            return Err(Failure::usage(
                format!("{} keys were given, and a sealed file has room for two", wanted.len()),
                "give one to those who run the program and one to those who edit the file; share a key, or seal \
                 another file",
            ));
        }
        let mut ring = Self { keys: Vec::with_capacity(2), made: Vec::new() };
        for one in wanted {
            let key = match one {
                Wanted::At(place) => read(place)?,
                Wanted::Asked => Key::Passphrase(prompt::new_passphrase(of)?),
                Wanted::Made(path) => {
                    let key = make(path)?;
                    ring.made.push(path.clone());
                    key
                }
            };
            if ring.keys.iter().any(|other| is_same(other, &key)) {
                return Err(Failure::usage("the same key was given twice", "give it once, or another one"));
            }
            ring.keys.push(key);
        }
        Ok(ring)
    }

    /// Something was sealed for them. Gives the files that were made.
    pub(in crate::cli) fn keep(mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.made)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for path in &self.made {
            // Nothing was sealed for it: it would only be in the way of another try.
            let _left = std::fs::remove_file(path);
        }
    }
}

fn is_same(one: &Key, other: &Key) -> bool {
    match (one, other) {
        (Key::Bytes(_), Key::Bytes(_)) => one.id() == other.id(),
        (Key::Passphrase(one), Key::Passphrase(other)) => one == other,
        _ => false,
    }
}

/// Reads a key where it is.
fn read(place: &KeyPlace) -> Result<Key, Failure> {
    match place {
        KeyPlace::Credential { name, .. } if !is_name(name) => Err(Failure::usage(
            format!("`{name}` is no name of a credential"),
            "give the name as the unit has it: LoadCredentialEncrypted=NAME:…",
        )),
        KeyPlace::Passphrase(_) => place.read("passphrase").map_err(unread),
        _ => place.read(WHAT).map_err(unread),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

fn unread(error: KeyFileError) -> Failure {
    let code = match error.trouble {
        Trouble::Missing | Trouble::Unreadable => exit::UNREADABLE,
        Trouble::Exposed | Trouble::Unfit => exit::REFUSED,
    };
    Failure::new(code, error.message, Some(error.help))
}

fn exists_not(path: &Path) -> Failure {
    Failure::usage(
        format!("a new key ({}) opens nothing that is sealed already", path.display()),
        "`dlconf rekey` seals a file for other keys",
    )
}

/// Makes a key and its file. Not by replacing: a name that somebody else takes at
/// the same moment must not be taken from them.
fn make(path: &Path) -> Result<Key, Failure> {
    let shown = path.display();
    let failed = |error: &std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("give --key-file {shown} to use the key in it, or another path for a new one")
            }
            _ => "choose a folder that is there and that you may write to".to_owned(),
        };
        let reason = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "it is there already".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(exit::REFUSED, format!("no new key was written to {shown}: {reason}"), Some(help))
    };
    let mut random = Zeroizing::new([0_u8; NEW]);
    getrandom::fill(random.as_mut())
        .map_err(|_| Failure::new(exit::REFUSED, "the kernel gives no random numbers", None))?;
    let mut text = Zeroizing::new(BASE64.encode(random.as_ref()));
    let key = Key::new(Zeroizing::new(text.as_bytes().to_vec()));
    text.push('\n');
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed(&error))?;
    // Its name too, before anything is sealed for it: what is sealed outlives a crash.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = || File::open(folder)?.sync_all();
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| named());
    match (written, key) {
        (Ok(()), Some(key)) => Ok(key),
        (written, _) => {
            let _left = std::fs::remove_file(path);
            let error = written.err().unwrap_or_else(|| std::io::ErrorKind::Other.into());
            Err(failed(&error))
        }
    }
}
