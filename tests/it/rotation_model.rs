//! The model of rotators that end, race and lose answers, and of somebody who writes what
//! he likes, over OpenBao and through the source that the program has. What happens, and
//! what must hold, is the same as over a document in memory.

#[path = "../../src/rotation/tests/fragile.rs"]
mod fragile;
#[path = "../../src/rotation/tests/model.rs"]
mod model;
#[path = "../../src/rotation/tests/moves.rs"]
mod moves;
#[allow(dead_code, reason = "the library's tests use the rest of it")]
#[path = "../../src/rotation/tests/stand.rs"]
mod stand;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dlconf::model::key::{Key, SourceName};
use dlconf::model::schema::Strategy;
use dlconf::model::secret::SecretValue;
use dlconf::rotation::course::Wish;
use dlconf::source::vault::config::Auth;
use dlconf::source::vault::{Config, VaultSource};
use dlconf::source::{Ask, Source};
use serde_json::json;

use self::model::{Fields, Place, Terms, run};
use crate::bao::Bao;
use crate::vault::watched::{config, kv2};

/// More versions than any case writes.
const VERSIONS: u32 = 1000;

/// One secret of a server.
struct InBao<'a> {
    bao: &'a Bao,
    path: String,
}

impl InBao<'_> {
    fn read(&self, query: &str) -> serde_json::Value {
        self.bao.read(&format!("secret/data/{}{query}", self.path))["data"].clone()
    }
}

fn fields(read: &serde_json::Value) -> Fields {
    serde_json::from_value(read["data"].clone()).unwrap()
}

impl Place for InBao<'_> {
    async fn source(&self) -> Arc<dyn Source> {
        let (address, namespace) = (self.bao.address(), self.bao.namespace());
        let config = Config {
            poll: Duration::from_hours(1),
            ..config(&address, namespace, Auth::Token, vec![kv2(&self.path)])
        };
        let token = Some(SecretValue::from(self.bao.root_token()));
        let source = VaultSource::new(SourceName::new("vault"), config, token);
        let known: BTreeSet<Key> = ["KEY", "KEY_NEXT", "KEY_PREVIOUS", "KEY_ACTIVE"]
            .map(str::to_owned)
            .into_iter()
            .chain((1..=64).map(|number| format!("KEY_{number}")))
            .map(|name| Key::new(&name).unwrap())
            .collect();
        let fetched = source.fetch(Ask { known: &known, names_only: false, retry: false }).await;
        assert!(fetched.is_ok(), "{:?}", fetched.err());
        Arc::new(source)
    }

    fn fields(&self) -> Fields {
        fields(&self.read(""))
    }

    fn put(&self, fields: Fields) {
        self.bao.kv_put(&self.path, &json!(fields));
    }

    fn before(&self, by: usize) -> Fields {
        let newest = self.read("")["metadata"]["version"].as_u64().unwrap();
        let version = newest.saturating_sub(u64::try_from(by).unwrap()).max(1);
        fields(&self.read(&format!("?version={version}")))
    }
}

fn over_openbao(strategy: Strategy, wishes: &[Wish]) {
    let (bao, cases) = (Bao::shared(), Cell::new(0));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = |fields: Fields| {
        let path = format!("case-{}", cases.replace(cases.get() + 1));
        bao.write(&format!("secret/metadata/{path}"), &json!({ "max_versions": VERSIONS }));
        bao.kv_put(&path, &json!(fields));
        InBao { bao: &bao, path }
    };
    run(&Terms { cases: 48, moves: 40, strategy, wishes }, runtime, place);
}

#[test]
fn one_key_signs_and_none_is_lost_however_rotators_end() {
    over_openbao(Strategy::Overlap, &[Wish::Rotate, Wish::Undo, Wish::Compromised]);
}

#[test]
fn a_ring_loses_nothing_however_rotators_end() {
    over_openbao(Strategy::Ring, &[Wish::Rotate]);
}

#[test]
fn what_is_supplied_holds_however_rotators_end() {
    over_openbao(Strategy::Supplied, &[Wish::Rotate, Wish::Undo, Wish::Compromised]);
}
