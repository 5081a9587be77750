//! What a gate lets out, the way it gets there: schema, resolution, validation,
//! snapshot. And the places where deliveries are tried.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dlconf::access::{Gate, Policy, Released, Rules, Selection};
use dlconf::delivery::config::{DeliveryConfig, DeliveryKind};
use dlconf::delivery::encode::Format;
use dlconf::disk::rights::FileAccess;
use dlconf::model::key::{Key, SourceName};
use dlconf::model::layer::{Layer, Offer};
use dlconf::model::origin::{Location, Origin};
use dlconf::model::resolve::resolve;
use dlconf::model::schema::parse::parse;
use dlconf::model::secret::SecretValue;
use dlconf::model::snapshot::{Cause, Snapshot, Version};
use dlconf::model::validate::{Question, validate};
use futures_util::FutureExt as _;
use tokio::sync::watch;

/// What publishes.
pub(crate) type Publisher = watch::Sender<Option<Arc<Snapshot>>>;

/// One generation with exactly these variables, and their names.
pub(crate) fn published(values: &[(&str, &str)]) -> (Publisher, BTreeSet<Key>) {
    let granted = values.iter().map(|(key, _)| Key::new(key).unwrap()).collect();
    (watch::Sender::new(Some(Arc::new(snapshot(values, None)))), granted)
}

/// The first generation, or that after another, with exactly these variables.
pub(crate) fn snapshot(values: &[(&str, &str)], before: Option<&Snapshot>) -> Snapshot {
    let mut schema = String::from(
        "schema_version = 1\nname = \"test\"\nservices = [\"web\"]\n\
         environments = { variable = \"APP_ENV\", names = [\"development\", \"production\"] }\n\
         [var.APP_ENV]\ntype = \"string\"\nrequired = false\n",
    );
    for (key, _) in values {
        schema.push_str(&format!("[var.{key}]\ntype = \"string\"\n"));
    }
    let schema = parse("s.toml", &schema).unwrap_or_else(|mistakes| panic!("{mistakes:#?}")).schema;
    let source = SourceName::new("test");
    let offer = |(key, value): &(&str, &str)| Offer {
        key: Key::new(key).unwrap(),
        value: SecretValue::from(*value).into(),
        origin: Origin {
            mark: None,
            source: source.clone(),
            location: Location::Named("test".into()),
            revision: None,
            modified: None,
        },
        excerpt: None,
    };
    let offers = values.iter().map(offer).collect();
    let layer = Layer { source: source.clone(), places: Vec::new(), offers, remarks: Vec::new() };
    let resolution = resolve([&layer], &|_| None);
    let question = Question {
        environment: "production",
        service: None,
        names_only: false,
        unread: &[],
        forgotten: &[],
        value_free: false,
    };
    let validated = validate(&schema, &resolution, question).outcome.unwrap();
    let generation = before.map_or(0, |before| before.version().generation()) + 1;
    let version = Version::new("test".into(), generation);
    let cause = Cause { source, noticed: Instant::now() };
    Snapshot::new(version, SystemTime::UNIX_EPOCH, vec![cause], &validated, &BTreeSet::new(), before)
}

/// A gate that records nothing.
pub(crate) fn gate(publisher: &Publisher) -> Gate {
    let rules = Rules::new(Policy::new(Vec::new()), None);
    Gate::new(publisher.subscribe(), watch::channel(Arc::new(rules)).1)
}

/// What a gate lets out of one generation with exactly these variables.
pub(crate) fn released(values: &[(&str, &str)]) -> Released {
    let (publisher, granted) = published(values);
    let released = gate(&publisher).deliver("test", &granted).now_or_never().unwrap().unwrap().unwrap();
    assert_eq!(released.variables().len(), values.len());
    released
}

/// A delivery as the settings would have it: mode 0440, ours.
pub(crate) fn config(kind: DeliveryKind, path: &Path) -> DeliveryConfig {
    DeliveryConfig {
        name: "test".into(),
        kind,
        path: path.into(),
        label: path.display().to_string(),
        access: FileAccess { mode: 0o440, owner: None, group: None },
        create_dirs: false,
        vars: Selection::everything(),
        on_change: None,
    }
}

pub(crate) fn env_file(path: &Path) -> DeliveryConfig {
    config(DeliveryKind::EnvFile { format: Format::Json }, path)
}

pub(crate) fn directory(path: &Path) -> DeliveryConfig {
    config(DeliveryKind::Directory, path)
}

/// An empty folder, in memory where the system has such a place: what is tried
/// here waits for no disk.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
