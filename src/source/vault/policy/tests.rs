//! What the settings need, in tables. tests/it/vault_policy.rs asks a server.

use expect_test::{Expect, expect};

use super::super::config::{Address, Tls, default};
use super::*;
use crate::source::fields::Select;

fn kv2(path: &str) -> Engine {
    Engine::Kv2 { mount: "secret".into(), path: path.into() }
}

fn database(role: &str) -> Engine {
    Engine::Database { path: format!("database/creds/{role}") }
}

fn spec(engine: Engine) -> PathSpec {
    PathSpec { engine, select: Select::default() }
}

fn config(auth: Auth, engines: Vec<Engine>) -> Config {
    Config {
        address: Address::parse("https://vault:8200").unwrap(),
        namespace: None,
        auth,
        paths: engines.into_iter().map(spec).collect(),
        poll: default::POLL,
        required: true,
        tls: Tls::default(),
        timeout: default::TIMEOUT,
        deadline: default::DEADLINE,
        rotates: false,
    }
}

fn kubernetes() -> Auth {
    let token = crate::source::file::ShownPath::named(default::KUBERNETES_TOKEN.as_ref());
    Auth::Kubernetes { mount: "kubernetes".into(), role: "shop".into(), token }
}

/// The grants, one a line, without their reasons.
fn check(engines: Vec<Engine>, purpose: Purpose, expect: &Expect) {
    let config = config(Auth::Token, engines);
    expect.assert_eq(&lines(&[&config], purpose));
}

fn lines(configs: &[&Config], purpose: Purpose) -> String {
    let mut out = String::new();
    for grant in grants(configs, purpose).unwrap() {
        let capabilities: Vec<&str> = grant.capabilities.iter().map(|c| c.as_str()).collect();
        let weight = match grant.weight {
            Weight::Needed => "",
            Weight::Spares => " (spares)",
            Weight::InDefault => continue,
        };
        out.push_str(&format!("{}: {}{weight}\n", grant.path, capabilities.join(",")));
    }
    out
}

/// The paths that the policy `default` has too.
fn in_default(config: &Config) -> Vec<String> {
    let all = grants(&[config], Purpose::Read).unwrap();
    all.into_iter().filter(|g| g.weight == Weight::InDefault).map(|g| g.path).collect()
}

#[test]
fn reading_needs_values_and_versions() {
    check(
        vec![kv2("shop/production"), database("shop")],
        Purpose::Read,
        &expect![[r"
            secret/data/shop/production: read
            secret/metadata/shop/production: read
            database/creds/shop: read
            sys/leases/revoke: update
        "]],
    );
    check(
        vec![
            Engine::Kv1 { mount: "old".into(), path: "shop".into() },
            Engine::Generic { path: "pki/cert/ca".into() },
        ],
        Purpose::Read,
        &expect![[r"
            old/shop: read
            pki/cert/ca: read
        "]],
    );
}

#[test]
fn names_need_no_values_where_the_engine_can_tell_them() {
    check(
        vec![
            kv2("shop/production"),
            kv2("shop/common"),
            database("shop"),
            Engine::Kv1 { mount: "old".into(), path: "shop".into() },
        ],
        Purpose::Names,
        &expect![[r"
            secret/subkeys/shop/production: read
            secret/subkeys/shop/common: read
            old/shop: read
        "]],
    );
}

#[test]
fn rotation_writes_what_has_versions() {
    check(
        vec![kv2("shop"), database("shop"), Engine::Kv1 { mount: "old".into(), path: "shop".into() }],
        Purpose::Rotate,
        &expect![[r"
            secret/data/shop: create,read,update
            secret/metadata/shop: read
            secret/config: read
            database/creds/shop: read
            sys/leases/revoke: update
            old/shop: read
        "]],
    );
}

#[test]
fn paths_that_share_a_folder_may_be_listed_at_once() {
    check(
        vec![kv2("shop/a"), kv2("shop/b"), kv2("other/a"), kv2("top"), kv2("top2")],
        Purpose::Read,
        &expect![[r"
            secret/data/shop/a: read
            secret/metadata/shop/a: read
            secret/data/shop/b: read
            secret/metadata/shop/b: read
            secret/data/other/a: read
            secret/metadata/other/a: read
            secret/data/top: read
            secret/metadata/top: read
            secret/data/top2: read
            secret/metadata/top2: read
            secret/detailed-metadata/shop/: list (spares)
            secret/detailed-metadata/: list (spares)
        "]],
    );
    // The same path twice, with other names for its fields, is one path.
    check(
        vec![kv2("shop/a"), kv2("shop/a")],
        Purpose::Read,
        &expect![[r"
            secret/data/shop/a: read
            secret/metadata/shop/a: read
        "]],
    );
}

#[test]
fn sources_of_one_login_are_merged() {
    let (one, two) =
        (config(kubernetes(), vec![kv2("a"), kv2("b/c")]), config(kubernetes(), vec![kv2("b/c")]));
    assert_eq!(lines(&[&one, &two], Purpose::Read), lines(&[&one], Purpose::Read));
}

#[test]
fn what_a_token_asks_about_itself_follows_the_login() {
    let doctor = "sys/capabilities-self";
    let renew = "auth/token/renew-self";
    assert_eq!(in_default(&config(Auth::Token, vec![kv2("a")])), ["auth/token/lookup-self", renew, doctor]);
    let file = crate::source::file::ShownPath::named("token".as_ref());
    assert_eq!(
        in_default(&config(Auth::TokenFile { path: file }, vec![kv2("a")])),
        ["auth/token/lookup-self", renew, doctor]
    );
    assert_eq!(
        in_default(&config(kubernetes(), vec![database("a")])),
        ["sys/leases/renew", renew, "auth/token/revoke-self", doctor]
    );
}

#[test]
fn what_the_server_takes_for_a_pattern_is_refused() {
    let refused = |path: &str| {
        let config = config(Auth::Token, vec![kv2(path)]);
        grants(&[&config], Purpose::Read).err().map(|pattern| pattern.to_string())
    };
    for pattern in ["shop/*", "*", "shop*", "shop/+/a", "+", "+/a", "a+*b", "a/{{identity.entity.id}}"] {
        let said = refused(pattern).unwrap_or_else(|| panic!("{pattern} is granted"));
        assert!(said.contains(&format!("`secret/data/{pattern}`")), "{said}");
    }
    // These are themselves: the server's own rules, which the tests ask it about.
    for plain in ["a*b", "a*/b", "+a", "a+", "a/+b/c", "{a}"] {
        assert_eq!(refused(plain), None, "{plain}");
    }
}

#[test]
fn a_refusal_names_path_and_capability() {
    let secret = spec(kv2("shop/production"));
    let said = |access| needed(&secret, access).to_string();
    assert_eq!(
        said(Access::Values),
        "reading secret/data/shop/production needs the capability `read` on `secret/data/shop/production`"
    );
    assert_eq!(
        said(Access::Folder),
        "listing secret/detailed-metadata/shop/ needs the capability `list` on `secret/detailed-metadata/shop/`"
    );
    assert_eq!(
        said(Access::RevokeLease),
        "writing sys/leases/revoke needs the capability `update` on `sys/leases/revoke`"
    );
}

#[test]
fn every_need_of_a_purpose_is_granted() {
    let config = config(Auth::Token, vec![kv2("shop/a"), kv2("shop/b"), database("shop")]);
    let all = grants(&[&config], Purpose::Rotate).unwrap();
    let accesses = [Access::Values, Access::Version, Access::Folder, Access::Mount];
    for spec in &config.paths {
        for need in accesses.map(|access| needed(spec, access)) {
            let grant = all.iter().find(|grant| grant.path == need.path);
            assert!(grant.is_some_and(|grant| grant.capabilities.contains(&need.capability)), "{need}");
        }
    }
}

#[test]
fn text_stays_in_its_string_and_its_comment() {
    let path = "q\"b\\c/${x}/$y/line\nbreak/\u{202e}rtl/é/\u{1f511}";
    let config = config(
        Auth::TokenFile { path: crate::source::file::ShownPath::named("t".as_ref()) },
        vec![kv2(path)],
    );
    let mut all = grants(&[&config], Purpose::Names).unwrap();
    all.truncate(1);
    expect![[r#"
        # one\n# path "x" {}
        #

        # secret/q"b\c/${x}/$y/line\nbreak/\u{202e}rtl/é/\u{1f511}: the names, without the values
        path "secret/subkeys/q\"b\\c/\u0024{x}/$y/line\u000abreak/\u202ertl/é/\U0001f511" {
          capabilities = ["read"]
        }
    "#]]
    .assert_eq(&hcl(&["one\n# path \"x\" {}".into(), String::new()], &all));
}

#[test]
fn a_policy_says_what_each_grant_is_for() {
    let config = config(kubernetes(), vec![kv2("shop/a"), kv2("shop/b"), database("shop")]);
    let policy = hcl(&["Head.".into()], &grants(&[&config], Purpose::Read).unwrap());
    expect![[r#"
        # Head.

        # secret/shop/a: the values
        path "secret/data/shop/a" {
          capabilities = ["read"]
        }

        # secret/shop/a: the version, which is polled
        path "secret/metadata/shop/a" {
          capabilities = ["read"]
        }

        # secret/shop/b: the values
        path "secret/data/shop/b" {
          capabilities = ["read"]
        }

        # secret/shop/b: the version, which is polled
        path "secret/metadata/shop/b" {
          capabilities = ["read"]
        }

        # database/creds/shop: new credentials
        path "database/creds/shop" {
          capabilities = ["read"]
        }

        # leases end with their use (a lease's id is known to its owner alone)
        path "sys/leases/revoke" {
          capabilities = ["update"]
        }

        # Optional: this saves requests.

        # several versions in one request (OpenBao 2.2 and newer); shows names and versions of all in this folder
        path "secret/detailed-metadata/shop/" {
          capabilities = ["list"]
        }

        # The rest is in the policy `default` as well. It is repeated for tokens without that
        # policy, and for servers where somebody has changed it.

        # leases live on while used
        path "sys/leases/renew" {
          capabilities = ["update"]
        }

        # the token lives on while used
        path "auth/token/renew-self" {
          capabilities = ["update"]
        }

        # the login ends with its use
        path "auth/token/revoke-self" {
          capabilities = ["update"]
        }

        # `dlconf doctor` asks what is permitted
        path "sys/capabilities-self" {
          capabilities = ["update"]
        }
    "#]]
    .assert_eq(&policy);
}
