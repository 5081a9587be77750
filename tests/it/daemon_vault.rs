//! The real daemon with a real OpenBao: what changes there, fails there, is
//! deleted there, and what becomes of the file that a program reads.

mod last_good;
mod lent;
mod rotated;
mod running;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use self::running::{Daemon, Setup};
use crate::bao::proxy::Proxy;
use crate::bao::tls::Authority;
use crate::bao::{Bao, OwnBao, postgres};
use crate::program::Folder;

const APP: &str = "{ mount = \"secret\", path = \"app\" }";
const OTHER: &str = "{ mount = \"secret\", path = \"other/one\" }";
const LEASE: &str = "{ engine = \"database\", path = \"database/creds/app\", map = { username = \"DB_USER\", password = \"DB_PASSWORD\" } }";

const PIN: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE";

fn lines(paths: &[&str]) -> String {
    format!("auth = {{ method = \"token\" }}\npaths = [{}]\n", paths.join(", "))
}

/// A daemon that reads these paths at an address, ready.
fn ready(bao: &Bao, address: &str, lines: &str) -> Daemon {
    let mut daemon = Setup::new(address, bao.namespace(), bao.root_token(), lines).start();
    daemon.is_ready();
    daemon
}

#[test]
fn a_changed_secret_reaches_the_file() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let mut daemon = ready(&bao, &bao.address(), &lines(&[APP]));
    assert_eq!(daemon.value("TOKEN").as_deref(), Some("first"));
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.delivers("TOKEN", "second");
    let status = daemon.status().unwrap();
    assert_eq!(status["generation"], 2);
    daemon.run(&["explain", "TOKEN"]).exits(0).says("vault:secret/app#TOKEN@2");
    // The same once more is a version there, and none here.
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.until("the new place is told", |daemon| {
        daemon.run(&["explain", "TOKEN"]).stdout.contains("vault:secret/app#TOKEN@3")
    });
    assert_eq!(daemon.status().unwrap()["generation"], 2);
    assert!(daemon.terminate() < Duration::from_secs(1));
    let log = daemon.log();
    assert!(!log.contains("first") && !log.contains("second"), "{log}");
}

#[test]
fn a_required_value_is_held_however_it_was_deleted_until_somebody_forgets_it() {
    for how in ["deleted", "destroyed"] {
        let bao = Bao::shared();
        bao.kv_put("app", &json!({ "TOKEN": "first" }));
        bao.kv_put("other/one", &json!({ "OPT": "stays" }));
        let mut daemon = ready(&bao, &bao.address(), &lines(&[APP, OTHER]));
        match how {
            "deleted" => bao.kv_delete("app"),
            _ => bao.kv_destroy("app", 1),
        }
        daemon.tells("source vault deleted TOKEN, which is required: its value is held");
        assert_eq!((daemon.state("TOKEN"), daemon.health()), ("deleted".into(), "up".into()), "{how}");
        daemon.stays("the value is held", |daemon| daemon.value("TOKEN").as_deref() == Some("first"));
        daemon.run(&["status"]).exits(0).says("TOKEN");
        daemon.run(&["forget", "OPT"]).exits(1);
        daemon.run(&["forget", "TOKEN"]).exits(0).warns("gave up TOKEN");
        daemon.until("the file is without it", |daemon| daemon.value("TOKEN").is_none());
        assert_eq!(daemon.value("OPT").as_deref(), Some("stays"), "{how}");
        assert_eq!(daemon.state("TOKEN"), "missing");
        daemon.run(&["forget", "TOKEN"]).exits(1);
        // Other things go on meanwhile.
        bao.kv_put("other/one", &json!({ "OPT": "moved" }));
        daemon.delivers("OPT", "moved");
        let back = if how == "deleted" {
            bao.kv_undelete("app", 1);
            "first"
        } else {
            bao.kv_put("app", &json!({ "TOKEN": "again" }));
            "again"
        };
        daemon.delivers("TOKEN", back);
        daemon.until("all is well", |daemon| daemon.state("TOKEN") == "current");
    }
}

/// A server that has nothing there says so as if it never had: that is no
/// statement that somebody deleted it.
#[test]
fn a_secret_that_was_removed_with_all_its_versions_is_held_like_one_that_cannot_be_read() {
    for excused in ["", "required = false\n"] {
        let bao = Bao::shared();
        bao.kv_put("app", &json!({ "TOKEN": "first", "OPT": "old" }));
        let mut daemon = ready(&bao, &bao.address(), &(lines(&[APP]) + excused));
        bao.kv_forget("app");
        daemon.until("the source is down", |daemon| daemon.health() == "down");
        daemon.stays("all is held", |daemon| daemon.file().len() == 3);
        assert_eq!((daemon.state("TOKEN"), daemon.state("OPT")), ("held".into(), "held".into()));
        daemon.run(&["forget", "TOKEN"]).exits(1);
        bao.kv_put("app", &json!({ "TOKEN": "again", "OPT": "old" }));
        daemon.delivers("TOKEN", "again");
    }
}

#[test]
fn an_optional_value_that_a_new_version_lacks_is_held_for_a_while() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first", "OPT": "old" }));
    let mut daemon = ready(&bao, &bao.address(), &lines(&[APP]));
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.tells("source vault deleted OPT: its value is held for a minute");
    daemon.delivers("TOKEN", "second");
    assert_eq!((daemon.value("OPT").as_deref(), daemon.state("OPT").as_str()), (Some("old"), "deleted"));
    // It need not be waited for.
    daemon.run(&["forget", "OPT"]).exits(0);
    daemon.until("the file is without it", |daemon| daemon.value("OPT").is_none());
    assert_eq!(daemon.value("TOKEN").as_deref(), Some("second"));
}

#[test]
fn a_server_that_is_cut_off_changes_no_value() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let proxy = Proxy::to(&bao.address());
    let mut daemon = ready(&bao, &proxy.address(), &lines(&[APP]));
    assert_eq!(daemon.metric("dlconf_source_up{"), Some(1.0));
    proxy.refuse();
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.until("the source is down", |daemon| daemon.health() == "down");
    daemon.tells("source vault cannot be read, what it gave before holds");
    assert_eq!((daemon.metric("dlconf_source_up{"), daemon.state("TOKEN").as_str()), (Some(0.0), "held"));
    daemon
        .until("it ages", |daemon| daemon.metric("dlconf_source_age_seconds{").is_some_and(|age| age >= 3.0));
    assert_eq!(daemon.value("TOKEN").as_deref(), Some("first"));
    assert!(daemon.ops("/readyz").is_some_and(|(status, _)| status == 200), "once ready, always ready");
    proxy.pass();
    daemon.delivers("TOKEN", "second");
    daemon.tells("source vault can be read again");
    daemon.until("it is young", |daemon| {
        daemon.metric("dlconf_source_up{") == Some(1.0)
            && daemon.metric("dlconf_source_age_seconds{").is_some_and(|age| age <= 2.0)
    });
    assert_eq!((daemon.health(), daemon.state("TOKEN")), ("up".into(), "current".into()));
}

#[test]
fn a_path_that_is_not_permitted_any_more_leaves_the_others_alone() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    bao.kv_put("other/one", &json!({ "OPT": "first" }));
    let rule = |path: &str| {
        format!(
            "path \"secret/data/{path}\" {{ capabilities = [\"read\"] }}\n\
             path \"secret/metadata/{path}\" {{ capabilities = [\"read\"] }}\n"
        )
    };
    bao.policy("app", &(rule("app") + &rule("other/one")));
    let token = bao.token(&["app"], &json!({}));
    let setup = Setup::new(&bao.address(), bao.namespace(), &token, &lines(&[APP, OTHER]));
    let mut daemon = setup.start();
    daemon.is_ready();
    bao.policy("app", &rule("other/one"));
    daemon.until("the source is down", |daemon| daemon.health() == "down");
    daemon.tells("DLC051");
    bao.kv_put("app", &json!({ "TOKEN": "unseen" }));
    bao.kv_put("other/one", &json!({ "OPT": "second" }));
    daemon.delivers("OPT", "second");
    assert_eq!(daemon.value("TOKEN").as_deref(), Some("first"));
    assert_eq!((daemon.state("TOKEN"), daemon.state("OPT")), ("held".into(), "current".into()));
    assert!(!daemon.log().contains("deleted"), "{}", daemon.log());
    bao.policy("app", &(rule("app") + &rule("other/one")));
    daemon.delivers("TOKEN", "unseen");
}

#[test]
fn what_is_too_old_is_withheld_where_the_schema_says_so_and_comes_back() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first", "PIN": PIN }));
    let proxy = Proxy::to(&bao.address());
    let mut daemon = ready(&bao, &proxy.address(), &(lines(&[APP]) + "max_age = \"4s\"\n"));
    daemon.stays("a quiet source does not age", |daemon| daemon.value("PIN").is_some());
    proxy.refuse();
    daemon.until("it is withheld", |daemon| daemon.value("PIN").is_none());
    assert_eq!((daemon.value("TOKEN").as_deref(), daemon.health().as_str()), (Some("first"), "stale"));
    assert_eq!((daemon.state("PIN"), daemon.state("TOKEN")), ("withheld".into(), "held".into()));
    daemon.tells("DLC052");
    assert!(daemon.status().unwrap()["findings"].to_string().contains("DLC052"));
    daemon.stays("it is told once", |daemon| daemon.log().matches("is older than it may be").count() == 1);
    proxy.pass();
    daemon.delivers("PIN", PIN);
    daemon.until("all is well", |daemon| daemon.health() == "up" && daemon.state("PIN") == "current");
    assert!(!daemon.log().contains(PIN));
}

#[test]
fn a_login_that_ends_is_made_again_and_nothing_is_held_for_it() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    bao.policy("app", "path \"secret/*\" { capabilities = [\"read\"] }");
    let (role, secret) = bao.approle("app", &["app"], &json!({ "token_ttl": "2s", "token_max_ttl": "3s" }));
    let proxy = Proxy::to(&bao.address());
    let auth = format!(
        "auth = {{ method = \"approle\", role_id = \"{role}\", secret_id_file = \"secret-id\" }}\npaths = [{APP}]\n"
    );
    let setup = Setup::new(&proxy.address(), bao.namespace(), "", &auth);
    setup.folder.file("secret-id", &secret);
    let mut daemon = setup.start();
    daemon.is_ready();
    let logins =
        |requests: &[(String, String)]| requests.iter().filter(|(_, path)| path.ends_with("/login")).count();
    daemon.until("it has logged in three times", |_| logins(&proxy.requests()) >= 3);
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.delivers("TOKEN", "second");
    assert!(!daemon.log().contains("cannot be read"), "{}", daemon.log());
}

#[test]
fn a_token_that_is_revoked_is_no_deletion() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first", "OPT": "old" }));
    bao.policy("app", "path \"secret/*\" { capabilities = [\"read\"] }");
    let token = bao.token(&["app"], &json!({}));
    let mut daemon = Setup::new(&bao.address(), bao.namespace(), &token, &lines(&[APP])).start();
    daemon.is_ready();
    bao.write("auth/token/revoke", &json!({ "token": token }));
    daemon.until("the source is down", |daemon| daemon.health() == "down");
    daemon.stays("all is held", |daemon| daemon.file().len() == 3);
    assert_eq!((daemon.state("TOKEN"), daemon.state("OPT")), ("held".into(), "held".into()));
    assert!(!daemon.log().contains("deleted"), "{}", daemon.log());
}

#[test]
fn leases_are_renewed_survive_a_reload_and_are_not_revoked_at_the_end() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    bao.database_role("app", &json!({ "default_ttl": "4s", "max_ttl": "1h" }));
    let proxy = Proxy::to(&bao.address());
    let mut daemon = ready(&bao, &proxy.address(), &lines(&[APP, LEASE]));
    let (user, password) = (daemon.value("DB_USER").unwrap(), daemon.value("DB_PASSWORD").unwrap());
    assert!(postgres::accepts(&user, &password));
    let left = daemon.metric("dlconf_lease_ttl_seconds{path=\"vault:database/creds/app\"").unwrap();
    assert!((1.0..=4.0).contains(&left), "{left}");
    let renewals =
        |proxy: &Proxy| proxy.requests().iter().filter(|(_, path)| path.ends_with("/leases/renew")).count();
    // Past its first life.
    daemon.until("it was renewed", |_| renewals(&proxy) >= 3);
    assert!(postgres::accepts(&user, &password));
    assert_eq!(daemon.value("DB_USER").as_deref(), Some(user.as_str()));

    proxy.take_requests();
    daemon.signal(Signal::SIGHUP);
    daemon.tells("settings and schema were read again and hold");
    // Other settings, but not of this source.
    daemon.setup.write(&lines(&[APP, LEASE]), "[debounce]\nmin = \"20ms\"\n");
    daemon.until("it was read again", |daemon| daemon.log().matches("were read again and hold").count() >= 2);
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.delivers("TOKEN", "second");
    let asked = proxy.take_requests();
    let anew =
        |path: &str| path.ends_with("/creds/app") || path.contains("/login") || path.contains("lookup");
    assert!(!asked.iter().any(|(_, path)| anew(path)), "{asked:?}");
    assert_eq!(daemon.value("DB_USER").as_deref(), Some(user.as_str()));

    assert!(daemon.terminate() < Duration::from_secs(1));
    assert!(!proxy.requests().iter().any(|(_, path)| path.contains("revoke")), "{:?}", proxy.requests());
    assert!(postgres::accepts(&user, &password), "the program goes on");
    assert_eq!(daemon.value("DB_USER").as_deref(), Some(user.as_str()), "with the file");
}

#[test]
fn a_server_that_is_away_at_the_start_is_waited_for() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let proxy = Proxy::to(&bao.address());
    proxy.refuse();
    let mut daemon = Setup::new(&proxy.address(), bao.namespace(), bao.root_token(), &lines(&[APP])).start();
    daemon.tells("source vault cannot be read");
    daemon.stays("it is alive and not ready", |daemon| {
        let asked = |path| daemon.ops(path).map(|(status, _)| status);
        (asked("/healthz"), asked("/readyz")) == (Some(200), Some(503))
    });
    assert!(!daemon.setup.folder.join("app.json").exists(), "nothing is delivered");
    daemon.run(&["health", "--live"]).exits(0);
    assert_ne!(daemon.run(&["health", "--ready"]).code, 0);
    assert_eq!(daemon.status().unwrap()["generation"], 0);
    proxy.pass();
    daemon.is_ready();
    assert_eq!(daemon.value("TOKEN").as_deref(), Some("first"));
    daemon.run(&["health", "--ready"]).exits(0);
}

#[test]
fn a_server_that_hangs_does_not_hold_up_the_end() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    for at_the_start in [true, false] {
        let proxy = Proxy::to(&bao.address());
        let setup = Setup::new(&proxy.address(), bao.namespace(), bao.root_token(), &lines(&[APP]));
        if at_the_start {
            proxy.hang();
        }
        let mut daemon = setup.start();
        if at_the_start {
            daemon.until("it listens", |daemon| daemon.status().is_some());
        } else {
            daemon.is_ready();
            proxy.hang();
        }
        proxy.take_requests();
        daemon.until("it waits for an answer", |_| at_the_start || !proxy.requests().is_empty());
        let took = daemon.terminate();
        assert!(took < Duration::from_secs(1), "{took:?}, at the start: {at_the_start}");
    }
}

#[test]
fn an_authority_that_is_exchanged_is_trusted_without_a_restart() {
    let bao = OwnBao::production(true);
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let folder = Folder::new();
    let wrong = std::fs::read_to_string(Authority::new(&folder).certificate()).unwrap();
    let right = std::fs::read_to_string(bao.ca()).unwrap();
    let lines = lines(&[APP]) + "tls = { ca_cert = \"ca.pem\" }\n";
    let setup = Setup::new(&bao.address(), "", bao.root_token(), &lines);
    setup.folder.file("ca.pem", &right);
    let mut daemon = setup.start();
    daemon.is_ready();
    // Another one, that is not the server's: nothing is believed from now on.
    daemon.setup.folder.file("ca.pem", &wrong);
    daemon.signal(Signal::SIGHUP);
    daemon.until("the source is down", |daemon| daemon.health() == "down");
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.stays("the value is held", |daemon| daemon.value("TOKEN").as_deref() == Some("first"));
    daemon.setup.folder.file("ca.pem", &(wrong + &right));
    daemon.signal(Signal::SIGHUP);
    let start = Instant::now();
    daemon.delivers("TOKEN", "second");
    assert!(start.elapsed() < Duration::from_secs(20));
}
