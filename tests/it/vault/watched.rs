//! A source in this process, watched: what the daemon does with it, without one.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use dlconf::model::key::SourceName;
use dlconf::model::layer::{Layer, Value};
use dlconf::model::secret::SecretValue;
use dlconf::source::fields::Select;
use dlconf::source::file::ShownPath;
use dlconf::source::vault::config::{Address, Auth, Engine, PathSpec, RoleId, Tls};
use dlconf::source::vault::{Config, VaultSource};
use dlconf::source::{Ask, Source as _, SourceError, Use};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::bao::Bao;
use crate::hostile::Reply;
use crate::program::Folder;

/// How long anything may take that is to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for several ticks.
pub(crate) const A_WHILE: Duration = Duration::from_millis(1500);

/// Runs a test on one thread, as dlconf does.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// A source and what its last fetch gave.
pub(crate) struct Watched {
    pub(crate) source: VaultSource,
    pub(crate) fetched: Result<Layer, SourceError>,
}

pub(crate) fn kv2(path: &str) -> PathSpec {
    spec(Engine::Kv2 { mount: "secret".into(), path: path.into() })
}

pub(crate) fn spec(engine: Engine) -> PathSpec {
    PathSpec { engine, select: Select::default() }
}

/// Polls every 200 ms.
pub(crate) fn config(address: &str, namespace: &str, auth: Auth, paths: Vec<PathSpec>) -> Config {
    Config {
        address: Address::parse(address).unwrap(),
        namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
        auth,
        paths,
        poll: Duration::from_millis(200),
        required: false,
        tls: Tls::default(),
        timeout: Duration::from_secs(5),
        deadline: Duration::from_secs(10),
        rotates: false,
    }
}

/// An AppRole login with files in a folder.
pub(crate) fn approle(bao: &Bao, folder: &Folder, policies: &[&str], options: &serde_json::Value) -> Auth {
    let (role_id, secret_id) = bao.approle("watcher", policies, options);
    folder.file("secret-id", &secret_id);
    Auth::AppRole {
        mount: "approle".into(),
        role_id: RoleId::Text(role_id),
        secret_id: Some(ShownPath::named(&folder.join("secret-id"))),
        wrapped: false,
    }
}

impl Watched {
    /// With a token of the environment; the first fetch is made.
    pub(crate) async fn new(config: Config, token: &str) -> Self {
        let token = Some(SecretValue::from(token)).filter(|token| !token.is_empty());
        let source = VaultSource::new(SourceName::new("vault"), config, token);
        let fetched = source.fetch(ask(&BTreeSet::new())).await;
        Self { source, fetched }
    }

    /// Waits for a change and fetches.
    pub(crate) async fn change(&mut self) -> &mut Self {
        timeout(PATIENCE, self.source.changed()).await.expect("nothing changed");
        self.fetch().await
    }

    pub(crate) async fn fetch(&mut self) -> &mut Self {
        self.fetched = self.source.fetch(ask(&BTreeSet::new())).await;
        self
    }

    /// Follows changes until the state is as wanted.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: impl Fn(&Self) -> bool) -> impl Future<Output = ()> {
        let end = Instant::now() + PATIENCE;
        async move {
            while !wanted(self) {
                let left = end.saturating_duration_since(Instant::now());
                let changed = timeout(left, self.source.changed()).await;
                self.fetch().await;
                assert!(changed.is_ok(), "it never came: {:?} {:?}", self.values(), self.faults());
            }
        }
    }

    /// Nothing is told for a while. The watcher runs meanwhile.
    pub(crate) async fn is_quiet_for(&self, span: Duration) {
        assert!(timeout(span, self.source.changed()).await.is_err(), "a change was told");
    }

    /// What is held, whether all of it could be confirmed or not.
    pub(crate) fn layer(&self) -> &Layer {
        match &self.fetched {
            Ok(layer) => layer,
            Err(error) => error.rest.as_ref().unwrap(),
        }
    }

    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        let offers = self.layer().offers.iter();
        offers
            .map(|offer| match &offer.value {
                Value::Literal(value) => (offer.key.to_string(), value.expose().to_owned()),
                Value::Template(_) => panic!("a template from Vault"),
            })
            .collect()
    }

    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.values().remove(key)
    }

    /// What is wrong, as printed.
    pub(crate) fn faults(&self) -> Vec<String> {
        match &self.fetched {
            Ok(_) => Vec::new(),
            Err(error) => error.faults.iter().map(|fault| fault.message.clone()).collect(),
        }
    }

    pub(crate) fn places(&self) -> Vec<String> {
        self.layer().places.iter().map(|place| place.label.to_string()).collect()
    }

    pub(crate) async fn close(self, values: Use) {
        timeout(PATIENCE, self.source.close(values)).await.expect("closing hangs");
    }
}

fn ask(known: &BTreeSet<dlconf::model::key::Key>) -> Ask<'_> {
    Ask { known, names_only: false, retry: false }
}

/// What a KV v2 read answers.
pub(crate) fn data(version: u64, value: &str) -> Reply {
    let created = format!("2026-11-22T00:00:0{version}Z");
    Reply::json(
        200,
        &json!({ "request_id": "x", "data": {
            "data": { "A": value },
            "metadata": { "version": version, "created_time": created, "deletion_time": "", "destroyed": false },
        }}),
    )
}

/// What a KV v2 metadata read answers.
pub(crate) fn metadata(version: u64) -> Reply {
    let created = format!("2026-11-22T00:00:0{version}Z");
    Reply::json(
        200,
        &json!({ "request_id": "x", "data": {
            "current_version": version,
            "versions": { version.to_string(): { "created_time": created, "deletion_time": "", "destroyed": false } },
        }}),
    )
}
