//! The state of rotations that lies beside the values: which key each is, and what was
//! there before.

use dlconf::model::rotation::{Ledger, Progress, Slot};
use dlconf::source::vault::config::Auth;
use dlconf::source::writable::{Change, Document, WriteErrorKind};
use serde_json::json;

use super::watched::{Watched, block_on, config, kv2};
use super::write::{NEXT, NOW, OTHER, activating, app, key, kids, open, staging, tells, values, writable};
use crate::bao::Bao;

#[test]
fn a_state_that_cannot_be_understood_is_remarked_and_not_written_over() {
    let bao = Bao::shared();
    let later = "{\"version\":9}";
    for (state, why) in [
        (json!("nonsense"), "it is not what a rotation writes"),
        (json!({ "version": 1 }), "it is not what a rotation writes"),
        (json!(later), "version 9 of it is a later release's"),
    ] {
        bao.kv_put(
            "app",
            &json!({ "JWT_SECRET": NOW, "DLCONF_STATE": state, "DLCONF_KEPT_JWT_SECRET": OTHER }),
        );
        block_on(async {
            let watched = app(&bao).await;
            assert_eq!(watched.values().keys().collect::<Vec<_>>(), ["JWT_SECRET"]);
            assert!(kids(&watched).is_empty());
            let remarks = &watched.layer().remarks;
            assert_eq!(remarks.len(), 1, "{remarks:?}");
            assert!(remarks[0].message.ends_with(why), "{remarks:?}");
            assert_eq!(
                remarks[0].origin.location.to_string().split('@').next(),
                Some("vault:secret/app#DLCONF_STATE")
            );
            let error = writable(&watched).open(&key("JWT_SECRET")).await.unwrap_err();
            tells(&error, WriteErrorKind::Unusable, why);
        });
    }
}

#[test]
fn a_state_that_changes_alone_is_a_change() {
    let bao = Bao::shared();
    let ledger = |retire_after| {
        let Change { progress, .. } = activating();
        Ledger::default().with("JWT_SECRET", Progress { retire_after, ..progress }).to_text()
    };
    let fields =
        |state: String| json!({ "JWT_SECRET": NEXT, "JWT_SECRET_PREVIOUS": NOW, "DLCONF_STATE": state });
    bao.kv_put("app", &fields(ledger(None)));
    block_on(async {
        // Without the right to look at versions, the data tells.
        bao.policy("data", "path \"secret/data/app\" { capabilities = [\"read\"] }");
        let token = bao.token(&["data"], &json!({}));
        let mut watched =
            Watched::new(config(&bao.address(), bao.namespace(), Auth::Token, vec![kv2("app")]), &token)
                .await;
        let retires = |watched: &Watched| {
            let offer = watched.layer().offers.iter().find(|offer| offer.key == key("JWT_SECRET_PREVIOUS"));
            offer.unwrap().origin.mark.as_ref().unwrap().retire_after
        };
        assert_eq!(retires(&watched), None);
        bao.kv_put("app", &fields(ledger(Some(77))));
        watched.until(|watched| retires(watched) == Some(77)).await;
    });
}

#[test]
fn the_newest_version_before_that_has_a_state() {
    let bao = Bao::shared();
    block_on(async {
        bao.kv_put("app", &json!({ "JWT_SECRET": NOW }));
        let watched = app(&bao).await;
        let before = async |document: &Document| {
            writable(&watched).before(document, &key("JWT_SECRET")).await.unwrap()
        };
        assert!(before(&open(&watched).await).await.is_none(), "there is none");
        writable(&watched).write(&open(&watched).await, &staging()).await.unwrap();
        writable(&watched).write(&open(&watched).await, &activating()).await.unwrap();
        // 4: somebody else's, who knew nothing of us. 5: destroyed. 6: deleted. 7: no state that
        // is one. 8: of another variable.
        bao.kv_put("app", &json!({ "JWT_SECRET": OTHER }));
        bao.kv_put("app", &json!({ "JWT_SECRET": OTHER }));
        bao.kv_destroy("app", 5);
        bao.kv_put("app", &json!({ "JWT_SECRET": OTHER }));
        bao.kv_delete("app");
        bao.kv_put("app", &json!({ "JWT_SECRET": OTHER, "DLCONF_STATE": "x" }));
        let other = Ledger::default().with("OTHER", Progress::default()).to_text();
        bao.kv_put("app", &json!({ "JWT_SECRET": OTHER, "DLCONF_STATE": other }));
        bao.kv_put("app", &json!({ "JWT_SECRET": OTHER }));
        let document = open(&watched).await;
        assert_eq!(&*document.revision.0, "9");
        let found = before(&document).await.unwrap();
        assert_eq!((&*found.revision.0, found.progress()), ("3", Some(&activating().progress)));
        assert_eq!(values(&found), [(Slot::Current, NEXT.into()), (Slot::Previous, NOW.into())].into());
        // Too far back.
        for _ in 0..7 {
            bao.kv_put("app", &json!({ "JWT_SECRET": OTHER }));
        }
        assert!(before(&open(&watched).await).await.is_none());
    });
}

#[test]
fn of_all_states_before_the_one_that_was_written_most_often() {
    let bao = Bao::shared();
    block_on(async {
        let fields = |writes, other: &str| {
            let progress = Progress { writes, ..staging().progress };
            let state = Ledger::default().with("JWT_SECRET", progress).to_text();
            json!({ "JWT_SECRET": NOW, "JWT_SECRET_NEXT": NEXT, "DLCONF_STATE": state, "OTHER": other })
        };
        // 4: an older one is put back. 5: and changed.
        for (writes, other) in [(1, "a"), (2, "a"), (3, "a"), (1, "a"), (1, "b")] {
            bao.kv_put("app", &fields(writes, other));
        }
        let watched = app(&bao).await;
        let document = open(&watched).await;
        let found = writable(&watched).before(&document, &key("JWT_SECRET")).await.unwrap().unwrap();
        assert_eq!((&*document.revision.0, &*found.revision.0), ("5", "3"));
    });
}
