//! Logging in to a real OpenBao: every method, what is said when it fails, and
//! what is given back afterwards.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Setting;
use super::case::{Case, VALUE, prepare};
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, OwnBao, poll};
use crate::hostile::{Hostile, Reply};

const TOKEN: &str = "{ method = \"token\" }";
const TOKEN_FILE: &str = "{ method = \"token-file\", path = \"token\" }";

/// A server with a value to read, and a policy `reader` for it.
fn bao() -> Bao {
    let bao = Bao::shared();
    prepare(&bao);
    bao
}

/// A token that reads the value, and is only the namespace's.
fn token(bao: &Bao) -> String {
    bao.token(&["reader"], &json!({ "ttl": "1h" }))
}

fn accessors(bao: &Bao) -> Vec<String> {
    let mut accessors = bao.list("auth/token/accessors");
    accessors.sort();
    accessors
}

fn approle(id: &str) -> String {
    format!("{{ method = \"approle\", role_id = \"{id}\", secret_id_file = \"secret-id\" }}")
}

fn wrapped(id: &str) -> String {
    format!("{{ method = \"approle\", role_id = \"{id}\", secret_id_file = \"secret-id\", wrapped = true }}")
}

#[test]
fn a_token_of_the_environment_logs_in_by_either_name() {
    let bao = bao();
    let (good, bad) = (token(&bao), bao.token(&["default"], &json!({})));
    let case = || Case::new(&bao, TOKEN);
    for name in ["VAULT_TOKEN", "BAO_TOKEN"] {
        case().token(name, &good).works();
        case().token(name, &format!("  {good}\n")).works();
    }
    // Without `auth` too.
    let mut plain = case().token("VAULT_TOKEN", &good);
    plain.setting.lines("paths = [{ mount = \"secret\", path = \"app\" }]\n");
    plain.works();
    // OpenBao's own name holds, but where the other one came with the address.
    case().token("VAULT_TOKEN", &bad).token("BAO_TOKEN", &good).works();
    let swapped = || case().token("VAULT_TOKEN", &good).token("BAO_TOKEN", &bad);
    swapped().check().exits(3).says("DLC051");
    swapped().variable("VAULT_ADDR", &bao.address()).works();
    // An empty one is none.
    case().token("BAO_TOKEN", "").token("VAULT_TOKEN", &good).works();
    case().variable("BAO_TOKEN", "").check().exits(2).warns("neither BAO_TOKEN nor VAULT_TOKEN is set");
}

#[test]
fn a_token_of_the_environment_that_is_none_is_told_and_not_sent() {
    let bao = bao();
    let proxy = Proxy::to(&bao.address());
    let lines = format!("auth = {TOKEN}\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n");
    for text in ["hvs.first second-half", "  ", "hvs.caf\u{e9}", "hvs.a\nhvs.b"] {
        let setting = Setting::of(&proxy.address(), bao.namespace(), &lines);
        let ran = Case::of(setting).token("VAULT_TOKEN", text).check();
        ran.exits(3).says("error[DLC050]").says("the token of the environment is none").says("= fix: ");
    }
    assert_eq!(proxy.requests(), []);
}

#[test]
fn behaviour_16_token_file_rotated_missing_with_newline() {
    let bao = bao();
    let good = token(&bao);
    let mut case = Case::new(&bao, TOKEN_FILE).file("token", &format!("{good}\n"));
    case.works();
    case.exchange("token", &format!("\r\n\t {good} \r\n"));
    case.works();
    // Rotated: the next run takes the new one.
    case.exchange("token", &bao.token(&["default"], &json!({})));
    case.check().exits(3).says("error[DLC051]").says("secret/data/app").never_says("has ended");
    case.exchange("token", "s.notoken");
    case.check().exits(3).says("error[DLC051]").says("secret/data/app").says("or the token has ended");
    case.exchange("token", &token(&bao));
    case.works();
    std::fs::remove_file(case.setting.folder.join("token")).unwrap();
    case.check().exits(3).says("error[DLC050]").says("token");
    std::fs::create_dir(case.setting.folder.join("token")).unwrap();
    case.check().exits(3).says("error[DLC050]").says("directory");
}

#[test]
fn a_token_file_that_holds_no_token_is_told_without_its_content() {
    let bao = bao();
    let large = "C".repeat(1 << 20);
    let contents: [(&[u8], &str); 8] = [
        (b"", "must be one word"),
        (b" \n", "must be one word"),
        (b"hvs.CANARYFIRST CANARYSECOND\n", "must be one word"),
        (b"hvs.CANARYFIRST\nCANARYSECOND\n", "must be one word"),
        (b"hvs.CANARY\0FIRST", "must be one word"),
        ("hvs.CANARYFIRST\u{e9}".as_bytes(), "must be one word"),
        (b"hvs.CANARYFIRST\xff\xfe", "UTF-8"),
        (large.as_bytes(), "more than the 65536"),
    ];
    for (content, words) in contents {
        let case = Case::new(&bao, TOKEN_FILE).hides("CANARY").hides("CCCC");
        case.setting.folder.bytes("token", content, 0o600);
        case.check().exits(3).says("error[DLC050]").says("token").says(words).says("= fix: ");
        for arguments in [&["render"][..], &["get", "--local", "TOKEN"], &["explain", "TOKEN"]] {
            assert_ne!(case.run(arguments).never_says(VALUE).code, 0, "{arguments:?}");
        }
        assert_eq!(case.run(&["run", "--", "touch", "started"]).code, 125);
        assert!(!case.setting.folder.join("started").exists());
    }
}

#[test]
fn approle_serves_every_command_and_gives_the_token_back() {
    let bao = bao();
    let (id, secret_id) = bao.approle("web", &["reader"], &json!({ "token_ttl": "1h" }));
    let case = Case::new(&bao, &approle(&id)).file("secret-id", &format!("{secret_id}\n"));
    let before = accessors(&bao);
    case.check().exits(0);
    case.run(&["check", "--format", "json"]).exits(0).never_says(VALUE);
    case.run(&["explain", "TOKEN"]).exits(0).says("secret/app").never_says(VALUE);
    case.works();
    case.run(&["render"]).exits(0).says(VALUE);
    case.run(&["run", "--", "sh", "-c", "echo $TOKEN; env | grep -c -i secret"]).says(VALUE);
    case.run(&["doctor"]).says("auth/approle").never_says(VALUE);
    let left = poll(|| (accessors(&bao) == before).then_some(()));
    assert!(left.is_some(), "{:?} became {:?}", before, accessors(&bao));
}

#[test]
fn a_login_whose_read_fails_is_given_back_too() {
    let bao = bao();
    let (id, secret_id) = bao.approle("web", &["default"], &json!({ "token_ttl": "1h" }));
    let case = Case::new(&bao, &approle(&id)).file("secret-id", &secret_id);
    let before = accessors(&bao);
    case.check().exits(3).says("error[DLC051]").says("the capability").never_says("or the token has ended");
    assert_eq!(case.run(&["run", "--", "true"]).code, 125);
    assert_eq!(case.run(&["render"]).code, 3);
    let left = poll(|| (accessors(&bao) == before).then_some(()));
    assert!(left.is_some(), "{:?} became {:?}", before, accessors(&bao));
}

#[test]
fn a_given_token_is_never_revoked() {
    let bao = bao();
    let given = token(&bao);
    let by_name = Case::new(&bao, TOKEN).token("VAULT_TOKEN", &given);
    let by_file = Case::new(&bao, TOKEN_FILE).file("token", &given);
    for case in [by_name, by_file] {
        case.check().exits(0);
        case.works();
        case.run(&["render"]).exits(0);
        case.run(&["run", "--", "true"]).exits(0);
        case.run(&["explain", "TOKEN"]).exits(0);
        case.run(&["doctor"]);
    }
    assert!(bao.knows(&given));
}

#[test]
fn approle_takes_its_role_id_from_a_file_and_may_have_no_secret_id() {
    let bao = bao();
    let (id, secret_id) = bao.approle("web", &["reader"], &json!({}));
    let auth = "{ method = \"approle\", role_id_file = \"role-id\", secret_id_file = \"secret-id\" }";
    Case::new(&bao, auth).file("role-id", &format!("{id}\n")).file("secret-id", &secret_id).works();

    let role = json!({
        "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.1/32"], "token_policies": ["reader"],
    });
    bao.write("auth/approle/role/bare", &role);
    let id = bao.read("auth/approle/role/bare/role-id")["data"]["role_id"].as_str().unwrap().to_owned();
    Case::new(&bao, &format!("{{ method = \"approle\", role_id = \"{id}\" }}")).works();
}

#[test]
fn a_login_that_is_refused_says_which_and_is_not_tried_again() {
    let bao = bao();
    let (id, secret_id) = bao.approle("web", &["reader"], &json!({}));
    let proxy = Proxy::to(&bao.address());
    let no_role = "e0ab8f1c-0000-4000-8000-000000000000";
    for (id, secret_id) in [(id.as_str(), "e0ab8f1c-2222-4000-8000-000000000000"), (no_role, &secret_id)] {
        let lines = format!("auth = {}\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n", approle(id));
        let case = Case::of(Setting::of(&proxy.address(), bao.namespace(), &lines));
        let ran = case.file("secret-id", secret_id).check();
        ran.exits(3).says("error[DLC051]").says("refuses the login (auth/approle)").says("= fix: ");
        assert_eq!(proxy.take_requests(), [("POST".into(), "/v1/auth/approle/login".into())]);
    }
    // Without the secret-id that it needs.
    let lines = format!(
        "auth = {{ method = \"approle\", role_id = \"{id}\" }}\n\
         paths = [{{ mount = \"secret\", path = \"app\" }}]\n"
    );
    let case = Case::of(Setting::of(&proxy.address(), bao.namespace(), &lines));
    case.check().exits(3).says("error[DLC051]").says("refuses the login (auth/approle)");
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn a_login_method_that_is_not_mounted_is_named() {
    let bao = bao();
    let (id, secret_id) = bao.approle("web", &["reader"], &json!({}));
    let auth = format!(
        "{{ method = \"approle\", mount = \"roles/web\", role_id = \"{id}\", secret_id_file = \"secret-id\" }}"
    );
    let case = Case::new(&bao, &auth).file("secret-id", &secret_id);
    case.check()
        .exits(3)
        .says("refuses the login (auth/roles/web)")
        .says("whether the mount and the role exist");
    // Mounted there, it works.
    bao.write("sys/auth/roles/web", &json!({ "type": "approle" }));
    bao.write("auth/roles/web/role/web", &json!({ "token_policies": ["reader"], "role_id": id }));
    let own = bao.write("auth/roles/web/role/web/secret-id", &json!({}));
    let own = own["data"]["secret_id"].as_str().unwrap();
    Case::new(&bao, &auth).file("secret-id", own).works();
}

#[test]
fn behaviour_21_wrapped_secret_ids_and_the_alarm() {
    let bao = bao();
    let (id, _) = bao.approle("web", &["reader"], &json!({ "token_ttl": "1h" }));
    let token = bao.wrapped_secret_id("web", "60s");
    let proxy = Proxy::to(&bao.address());
    let lines = format!("auth = {}\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n", wrapped(&id));
    let case = Case::of(Setting::of(&proxy.address(), bao.namespace(), &lines)).file("secret-id", &token);
    case.works();
    let unwraps =
        |proxy: &Proxy| proxy.requests().iter().filter(|(_, p)| p == "/v1/sys/wrapping/unwrap").count();
    assert_eq!(unwraps(&proxy), 1);

    // The second run finds it used: that it was us nobody can tell.
    let alarm = "was used already, or has ended: somebody else may hold the secret-id";
    case.check().exits(3).says("error[DLC051]").says(alarm).says("treat the secret-id as stolen");
    let json: Value =
        serde_json::from_str(&case.run(&["check", "--format", "json"]).exits(3).stdout).unwrap();
    assert!(json["findings"].as_array().unwrap().iter().any(|f| f["code"] == "DLC051"), "{json}");
    assert_eq!(case.run(&["run", "--", "true"]).code, 125);
    assert_eq!(unwraps(&proxy), 1, "an unwrapping was tried with a used token");

    // One that never was, one that has ended.
    case.setting.folder.file("secret-id", "hvs.nobodys");
    case.check().exits(3).says("error[DLC051]").says(alarm);
    let short = bao.wrapped_secret_id("web", "1s");
    let ended = poll(|| {
        let body = json!({ "token": short });
        (bao.request("POST", "sys/wrapping/lookup", "", Some(&body)).0 != 200).then_some(())
    });
    assert!(ended.is_some(), "a wrapping token outlived its second");
    let case = Case::new(&bao, &wrapped(&id)).file("secret-id", &short);
    case.check().exits(3).says("error[DLC051]").says(alarm);
}

#[test]
fn a_wrapping_token_of_something_else_is_refused_and_left_wrapped() {
    let bao = bao();
    let (id, secret_id) = bao.approle("web", &["reader"], &json!({}));
    let forged = json!({ "secret_id": secret_id, "secret_id_accessor": "x" });
    bao.mount_kv("kv", 1);
    bao.write("kv/auth/approle/role/web/secret-id", &forged);
    bao.write("sys/auth/other", &json!({ "type": "approle" }));
    bao.write("auth/other/role/web", &json!({ "token_policies": ["reader"] }));
    // By whoever may wrap what he likes; by whoever may write a KV engine; of another
    // mount; of the role, but no secret-id.
    for (method, path, body) in [
        ("POST", "sys/wrapping/wrap", Some(&forged)),
        ("GET", "kv/auth/approle/role/web/secret-id", None),
        ("POST", "auth/other/role/web/secret-id", Some(&json!({}))),
        ("GET", "auth/approle/role/web/role-id", None),
    ] {
        let headers = [("X-Vault-Token", bao.root_token()), ("X-Vault-Wrap-TTL", "60s")];
        let (status, answer) = bao.request_with(method, path, &headers, body, None);
        assert_eq!(status, 200, "{path}: {answer}");
        let token = answer["wrap_info"]["token"].as_str().unwrap();
        let case = Case::new(&bao, &wrapped(&id)).file("secret-id", token).hides(&secret_id);
        let ran = case.check().exits(3).says("error[DLC051]");
        ran.says("was not made by auth/approle").says("find out who wrote it");
        let (status, answer) = bao.request("POST", "sys/wrapping/unwrap", token, None);
        assert_eq!(status, 200, "{path}: it was unwrapped: {answer}");
    }
}

#[test]
fn kubernetes_logs_in_with_the_token_that_the_file_has_now() {
    let bao = bao();
    let cluster = bao.kubernetes_role("web", ("shop", "web"), &["reader"], &json!({ "token_ttl": "1h" }));
    let hour = Duration::from_hours(1);
    let auth = "{ method = \"kubernetes\", role = \"web\", token_file = \"jwt\" }";
    let first = cluster.token("shop", "web", hour);
    let mut case = Case::new(&bao, auth).file("jwt", &format!("{first}\n"));
    let before = accessors(&bao);
    case.works();
    case.check().exits(0);
    assert_eq!(cluster.reviews(), 2);
    cluster.revoke(&first);
    let refused = "refuses the login (auth/kubernetes)";
    case.check().exits(3).says("error[DLC051]").says(refused);
    // Projected anew.
    case.exchange("jwt", &cluster.token("shop", "web", hour + Duration::from_secs(1)));
    case.works();
    case.exchange("jwt", &cluster.token("shop", "other", hour));
    case.check().exits(3).says("error[DLC051]").says(refused);
    case.exchange("jwt", "not-a-web-token");
    case.check().exits(3).says("error[DLC051]").says(refused);
    let left = poll(|| (accessors(&bao) == before).then_some(()));
    assert!(left.is_some(), "{:?} became {:?}", before, accessors(&bao));

    let other = "{ method = \"kubernetes\", role = \"nobody\", token_file = \"jwt\" }";
    let case = Case::new(&bao, other).file("jwt", &cluster.token("shop", "web", hour));
    case.check().exits(3).says("error[DLC051]").says(refused);
}

#[test]
fn jwt_logs_in_by_a_role_or_the_mounts_default() {
    let bao = bao();
    let signer = bao.jwt_role("ci", &["reader"], &json!({ "token_ttl": "1h" }));
    let good = signer.token("repo:shop", Duration::from_mins(5));
    let named = "{ method = \"jwt\", role = \"ci\", token_file = \"jwt\" }";
    let default = "{ method = \"jwt\", token_file = \"jwt\" }";
    let before = accessors(&bao);
    let mut case = Case::new(&bao, named).file("jwt", &good);
    case.works();
    let unnamed = Case::new(&bao, default).file("jwt", &good);
    let refused = "refuses the login (auth/jwt)";
    unnamed.check().exits(3).says("error[DLC051]").says(refused);
    bao.write("auth/jwt/config", &{
        let mut config = bao.read("auth/jwt/config")["data"].clone();
        config["default_role"] = "ci".into();
        config
    });
    unnamed.works();

    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims =
        |aud: &str, exp: u64| json!({ "sub": "repo:shop", "aud": aud, "iat": now - 7200, "exp": exp });
    let cut = good[..good.len() - 8].to_owned();
    let expired = signer.sign(&claims("dlconf", now - 3600));
    for jwt in [expired, signer.sign(&claims("another", now + 300)), cut] {
        case.exchange("jwt", &jwt);
        case.check().exits(3).says("error[DLC051]").says(refused);
    }
    let nobody = "{ method = \"jwt\", role = \"nobody\", token_file = \"jwt\" }";
    let case = Case::new(&bao, nobody).file("jwt", &good);
    case.check().exits(3).says("error[DLC051]").says(refused);
    let left = poll(|| (accessors(&bao) == before).then_some(()));
    assert!(left.is_some(), "{:?} became {:?}", before, accessors(&bao));
}

#[test]
fn a_client_certificate_logs_in() {
    let bao = OwnBao::production(true);
    prepare(&bao);
    let identity = bao.cert_role("web", "web.shop", &["reader"]);
    let stranger = bao.client("stranger");
    let case = |auth: &str, client: &crate::bao::tls::Identity| {
        let lines = format!(
            "auth = {auth}\ntls = {{ ca_cert = {:?}, client_cert = {:?}, client_key = {:?} }}\n\
             paths = [{{ mount = \"secret\", path = \"app\" }}]\n",
            bao.ca(),
            client.certificate,
            client.key,
        );
        let key = std::fs::read_to_string(&client.key).unwrap();
        let body = key.lines().nth(1).unwrap().to_owned();
        Case::of(Setting::of(&bao.address(), "", &lines)).hides(&body).hides(bao.root_token())
    };
    let before = accessors(&bao);
    let (any, named) = ("{ method = \"cert\" }", "{ method = \"cert\", role = \"web\" }");
    case(any, &identity).works();
    case(named, &identity).works();
    case(named, &identity).check().exits(0);
    let refused = "refuses the login (auth/cert)";
    case(any, &stranger).check().exits(3).says("error[DLC051]").says(refused);
    let nobody = "{ method = \"cert\", role = \"nobody\" }";
    case(nobody, &identity).check().exits(3).says("error[DLC051]").says(refused);
    let left = poll(|| (accessors(&bao) == before).then_some(()));
    assert!(left.is_some(), "{:?} became {:?}", before, accessors(&bao));

    let lines = format!(
        "auth = {any}\ntls = {{ ca_cert = {:?} }}\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n",
        bao.ca()
    );
    let without = Case::of(Setting::of(&bao.address(), "", &lines));
    without.check().exits(2).warns("logs in by certificate, but `tls` has no `client_cert`");
}

#[test]
fn behaviour_23_namespace_header() {
    let bao = bao();
    let proxy = Proxy::to(&bao.address());
    let (id, secret_id) = bao.approle("web", &["reader"], &json!({}));
    let lines = format!("auth = {}\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n", approle(&id));
    let case = |namespace: &str| {
        Case::of(Setting::of(&proxy.address(), namespace, &lines)).file("secret-id", &secret_id)
    };
    let right = bao.namespace();
    let slashes = format!("/{right}/");
    for case in [
        case(right),
        case(&slashes),
        case("").variable("VAULT_NAMESPACE", right),
        case("").variable("BAO_NAMESPACE", right),
        case("").variable("VAULT_NAMESPACE", "wrong").variable("BAO_NAMESPACE", right),
        case(right).variable("VAULT_NAMESPACE", "wrong").variable("BAO_NAMESPACE", "wrong"),
    ] {
        case.works();
        let requests = proxy.full_requests();
        assert!(requests.len() >= 3, "{:?}", proxy.requests());
        assert!(requests.iter().all(|r| r.headers["x-vault-namespace"] == right));
        proxy.take_requests();
    }
    // The root has no such header, and no such login.
    case("").check().exits(3);
    assert!(proxy.full_requests().iter().all(|r| !r.headers.contains_key("x-vault-namespace")));
    for wrong in [case("no-such-namespace"), case("").variable("VAULT_NAMESPACE", "no-such-namespace")] {
        wrong
            .check()
            .exits(3)
            .says("error[DLC050]")
            .says("has no such namespace")
            .says("= fix: correct `namespace`");
    }
}

#[test]
fn a_server_that_is_away_during_a_login_is_unavailable_within_the_deadline() {
    let bao = bao();
    let (id, secret_id) = bao.approle("web", &["reader"], &json!({}));
    let hostile = Hostile::new();
    hostile.on("/v1/auth/approle/login", [Reply::Silence]);
    let proxy = Proxy::to(&bao.address());
    proxy.refuse();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let lines = format!(
        "auth = {}\ndeadline = \"1s\"\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n",
        approle(&id)
    );
    std::thread::scope(|scope| {
        for (address, words) in [
            (nobody, "refuses connections"),
            (proxy.address(), "cannot be reached"),
            (hostile.address(), "did not answer in time"),
        ] {
            let case = Case::of(Setting::of(&address, bao.namespace(), &lines)).file("secret-id", &secret_id);
            scope.spawn(move || {
                let start = Instant::now();
                case.check().exits(3).says("error[DLC050]").says(&address).says(words).says("= fix: ");
                let took = start.elapsed();
                assert!(took < Duration::from_secs(3), "{took:?} with a deadline of one second");
                assert_eq!(case.run(&["run", "--", "true"]).code, 125);
            });
        }
    });
}

#[test]
fn a_login_is_tried_again_while_the_server_is_only_unwell() {
    let bao = bao();
    let (id, secret_id) = bao.approle("web", &["reader"], &json!({}));
    let hostile = Hostile::new();
    let login = json!({ "auth": { "client_token": "s.CANARYofTheHostileServer", "lease_duration": 60 } });
    let secret = json!({ "data": { "data": { "TOKEN": VALUE }, "metadata": { "version": 1 } } });
    hostile.on("/v1/auth/approle/login", [Reply::error(503), Reply::html(502), Reply::json(200, &login)]);
    hostile.on("/v1/secret/data/app", [Reply::json(200, &secret)]);
    hostile.on("/v1/auth/token/revoke-self", [Reply::error(500)]);
    let lines = format!("auth = {}\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n", approle(&id));
    let case = Case::of(Setting::of(&hostile.address(), "", &lines)).file("secret-id", &secret_id);
    case.hides("CANARY").works();
    let paths: Vec<String> =
        hostile.requests().into_iter().map(|request| request.path.replace('?', "")).collect();
    let login = "/v1/auth/approle/login";
    assert_eq!(paths, [login, login, login, "/v1/secret/data/app", "/v1/auth/token/revoke-self"]);
}

#[test]
fn behaviour_17_errors_never_contain_a_secret() {
    let bao = bao();
    let (id, secret_id) = bao.approle("web", &["reader"], &json!({}));
    // A server that repeats what it was sent, whatever it answers.
    let echo = |status: u16| {
        Reply::By(std::sync::Arc::new(move |request| {
            let text = String::from_utf8_lossy(&request.raw).into_owned();
            Reply::json(status, &json!({ "errors": [text], "warnings": [text], "data": text, "auth": text }))
                .header("x-echo", &request.headers.get("x-vault-token").cloned().unwrap_or_default())
        }))
    };
    for status in [200, 400, 403, 404, 405, 412, 418, 472, 500] {
        let hostile = Hostile::new();
        hostile.on("/v1/auth/approle/login", [echo(status)]).on("/v1/secret/data/app", [echo(status)]);
        let lines = |auth: &str| {
            format!(
                "auth = {auth}\ndeadline = \"100ms\"\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n"
            )
        };
        let case = Case::of(Setting::of(&hostile.address(), "", &lines(&approle(&id))));
        case.file("secret-id", &secret_id).check().exits(3).says(&hostile.address());
        let case = Case::of(Setting::of(&hostile.address(), "", &lines(TOKEN)));
        let case = case.token("VAULT_TOKEN", "hvs.CANARYofTheCaller");
        assert_eq!(case.check().code, 3, "{status}");
        case.run(&["doctor"]);
        assert!(hostile.requests().len() >= 2, "{status}: nothing was asked");
    }
}

#[test]
fn a_refused_login_is_no_outage_whatever_its_status() {
    let (hostile, login) = (Hostile::new(), "/v1/auth/approle/login");
    let lines = format!("auth = {}\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n", approle("web"));
    for status in [400, 403] {
        hostile.on(login, [Reply::error(status)]);
        let case = Case::of(Setting::of(&hostile.address(), "", &lines)).file("secret-id", "CANARYsecret");
        case.check().exits(3).says("error[DLC051]").says("refuses the login (auth/approle)");
    }
    assert_eq!(hostile.requests().len(), 2);
}

#[test]
fn a_redirected_login_or_token_goes_nowhere() {
    let (hostile, other) = (Hostile::new(), Hostile::new());
    for status in [301, 302, 307, 308] {
        let away = |path: &str| {
            let to = format!("{}{path}", other.address());
            match Reply::redirect(&to) {
                Reply::Answer { headers, body, .. } => Reply::Answer { status, headers, body },
                _ => unreachable!(),
            }
        };
        for path in ["/v1/auth/approle/login", "/v1/secret/data/app"] {
            hostile.on(path, [away(path)]);
        }
        for auth in [approle("web"), TOKEN.to_owned()] {
            let lines = format!("auth = {auth}\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n");
            let case =
                Case::of(Setting::of(&hostile.address(), "", &lines)).file("secret-id", "CANARYsecret");
            let ran = case.token("VAULT_TOKEN", "hvs.CANARYofTheCaller").check().exits(3);
            ran.says("error[DLC050]").says(&format!("sends us elsewhere ({status})")).says("= fix: ");
        }
    }
    assert_eq!(hostile.requests().len(), 8, "a redirection was tried again");
    assert!(other.requests().is_empty(), "{:?}", other.requests());
}
