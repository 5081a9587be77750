//! Many brokers in one process, as they would watch one server: each has a
//! source of its own, and with it a login, a client and connections of its own.
//!
//! ```text
//! vault_load SETTINGS BROKERS
//! ```
//!
//! It says `ready` when all have read, and `fetched` each time that one was told
//! of a change and has read it. It ends at the end of its input, so that it does
//! not outlive who started it. `vault_load.py` counts and judges.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use dlconf::model::key::Key;
use dlconf::model::secret::{WIPING_ALLOCATOR, WipingAllocator};
use dlconf::settings::{self, Network, SourceKind};
use dlconf::source::vault::VaultSource;
use dlconf::source::{Ask, Source as _, Use};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::oneshot;

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// As the program has it: what it costs belongs to the figures.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WIPING_ALLOCATOR;

fn main() -> Done {
    let mut arguments = std::env::args_os().skip(1).filter(|argument| argument != "--bench");
    let (Some(settings), Some(brokers)) = (arguments.next(), arguments.next()) else {
        // `cargo bench` without anything.
        return say("benches/vault_load.py runs this");
    };
    let brokers: usize = brokers.to_string_lossy().parse()?;
    let sources = sources(Path::new(&settings), brokers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(&sources))
}

/// The first Vault source of the settings, as many times as there are brokers.
fn sources(path: &Path, brokers: usize) -> Done<Vec<VaultSource>> {
    let opened = settings::open(Some(path), &std::env::current_dir()?)?;
    let settings = opened.in_environment("production", &["production".into()], Network::Online(&[]))?;
    let vault = settings.sources.into_iter().find_map(|source| match source.kind {
        SourceKind::Vault { config, .. } => Some((source.name, *config)),
        _ => None,
    });
    let (name, config) = vault.ok_or("the settings have no Vault source")?;
    Ok((0..brokers).map(|_| VaultSource::new(name.clone(), config.clone(), None)).collect())
}

/// Watches until the input ends.
async fn watch(sources: &[VaultSource]) -> Done {
    let known = BTreeSet::new();
    try_join_all(sources.iter().map(|source| fetch(source, &known, true))).await?;
    say("ready")?;
    let followers = sources.iter().map(async |source| -> Done {
        loop {
            source.changed().await;
            fetch(source, &known, false).await?;
            say("fetched")?;
        }
    });
    tokio::select! {
        _ended = end_of_input() => {}
        failed = try_join_all(followers) => { failed?; }
    }
    join_all(sources.iter().map(|source| source.close(Use::Over))).await;
    Ok(())
}

async fn fetch(source: &VaultSource, known: &BTreeSet<Key>, retry: bool) -> Done {
    match source.fetch(Ask { known, names_only: false, retry }).await {
        Ok(_layer) => Ok(()),
        Err(error) => {
            let first = error.faults.first().map(|fault| fault.location.to_string());
            Err(format!("{error} ({})", first.unwrap_or_default()).into())
        }
    }
}

/// A thread waits for it: the runtime reads no files.
async fn end_of_input() {
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _as_good_as_ended = io::stdin().read_to_end(&mut rest);
        let _nobody_waits = end.send(());
    });
    let _told = ended.await;
}

fn say(line: &str) -> Done {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
