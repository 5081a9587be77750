//! `/v1/config` and `/v1/config/{key}`: who gets which values, in which form.

use super::*;

#[test]
fn everything_that_may_be_read() {
    let (_folder, daemon) = daemon(&shop(&format!("PORT=9000\nMAIL_PASSWORD='{PASSWORD}'\nNOTE=\n")));
    let answer = get(&daemon.socket, "/v1/config").is(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["version"], version(&daemon));
    // In schema order.
    let order = ["APP_ENV", "NAME", "PORT", "MAIL_PASSWORD", "SIGNING_KEY"];
    assert!(order.map(|key| answer.body.find(&format!("\"{key}\":"))).is_sorted(), "{answer:?}");
    // What is unset or of another service is not there.
    assert_eq!(
        answer.values(),
        [
            "APP_ENV=staging",
            &format!("MAIL_PASSWORD={PASSWORD}"),
            "NAME=shop",
            "PORT=9000",
            &format!("SIGNING_KEY={KEY}")
        ]
    );
}

#[test]
fn less_than_everything() {
    let (_folder, daemon) = daemon(&shop(&format!("MAIL_USER=ann\nMAIL_PASSWORD='{PASSWORD}'\n")));
    let password = format!("MAIL_PASSWORD={PASSWORD}");
    for (vars, wanted) in [
        ("NAME", &["NAME=shop"][..]),
        ("PORT,NAME", &["NAME=shop", "PORT=8080"]),
        (" PORT , ,NAME,", &["NAME=shop", "PORT=8080"]),
        ("group:mail", &[&password, "MAIL_USER=ann"]),
        ("MAIL_*,NAME", &[&password, "MAIL_USER=ann", "NAME=shop"]),
        ("N?ME", &["NAME=shop"]),
        // Nothing of it is set.
        ("NOTE", &[]),
        // That of another service is not ours.
        ("NAME,MODE", &["NAME=shop"]),
    ] {
        let target = format!("/v1/config?vars={}", vars.replace(' ', "%20"));
        assert_eq!(get(&daemon.socket, &target).values(), wanted, "{vars}");
    }
    let unknown =
        |vars: &str| get(&daemon.socket, &format!("/v1/config?vars={vars}")).refuses(404, "unknown-variable");
    assert!(unknown("NAME,NOET").contains("NOET here; did you mean NOTE?"));
    assert!(unknown("group:mial").contains("no name of a variable"));
    assert!(unknown("Z*").contains("no name of a variable"));
    assert!(unknown("MODE").contains("none of these variables is read"));
    assert!(unknown("DEAD").contains("DEAD"));
}

#[test]
fn a_form_is_what_render_writes() {
    let text = "NAME=\"it's $HOME \\\"x\\\" \\\\ #\"\n";
    let (folder, daemon) = daemon(&shop("").replace("NAME=shop\n", text));
    let kinds = [
        ("dotenv", "text/plain; charset=utf-8"),
        ("docker", "text/plain; charset=utf-8"),
        ("compose", "text/plain; charset=utf-8"),
        ("systemd", "text/plain; charset=utf-8"),
        ("shell", "text/plain; charset=utf-8"),
        ("powershell", "text/plain; charset=utf-8"),
        ("godotenv", "text/plain; charset=utf-8"),
        ("node", "text/plain; charset=utf-8"),
        ("python", "text/plain; charset=utf-8"),
        ("json", "application/json"),
        ("yaml", "application/yaml"),
        ("k8s-secret", "application/yaml"),
    ];
    assert_eq!(kinds.len(), dlconf::delivery::encode::Format::ALL.len());
    let mut refused = 0;
    for (format, kind) in kinds {
        let ran = folder.run(&["--config", "dlconf.toml", "render", "--format", format]);
        let name = if format == "k8s-secret" { "&name=shop" } else { "" };
        let answer = get(&daemon.socket, &format!("/v1/config?format={format}{name}"));
        if ran.code == 0 {
            assert_eq!(answer.body, ran.stdout, "{format}");
            assert_eq!(answer.is(200).header("content-type"), Some(kind), "{format}");
        } else {
            // Docker and systemd read no such values.
            refused += 1;
            let words = answer.refuses(406, "not-representable");
            assert!(words.contains("NAME") && !words.contains("HOME"), "{words}");
        }
    }
    assert!(refused <= 2, "{refused}");
}

#[test]
fn a_form_that_cannot_be() {
    let (_folder, daemon) = daemon(&shop("NOTE=\"two\\nlines-of-71xK\"\n"));
    let refused = |query: &str, status, code: &str| {
        get(&daemon.socket, &format!("/v1/config?{query}")).refuses(status, code)
    };
    let words = refused("format=docker", 406, "not-representable");
    assert!(words.contains("NOTE") && !words.contains("71xK"), "{words}");
    assert!(refused("format=env", 400, "malformed").contains("dotenv"));
    assert!(refused("format=", 400, "malformed").contains("dotenv"));
    assert!(refused("format=k8s-secret", 400, "malformed").contains("?name="));
    assert!(refused("format=k8s-secret&name=A", 400, "malformed").contains("DNS-1123"));
    assert!(refused("format=json&name=a", 400, "malformed").contains("k8s-secret"));
    assert!(refused("name=a", 400, "malformed").contains("k8s-secret"));
}

#[test]
fn one_value() {
    let (folder, daemon) = daemon(&shop("MAIL_USER=ann\n"));
    let one = get(&daemon.socket, "/v1/config/MAIL_USER").is(200);
    let told = one.json();
    assert_eq!((&told["key"], &told["value"]), (&"MAIL_USER".into(), &"ann".into()));
    assert_eq!((&told["version"], &told["origin"]), (&version(&daemon).into(), &".env:3:11".into()));
    assert!(told["age_seconds"].as_u64().unwrap() < 60);
    let default = get(&daemon.socket, "/v1/config/PORT").is(200).json();
    assert_eq!((&default["value"], &default["origin"]), (&"8080".into(), &"schema default".into()));
    let words = get(&daemon.socket, "/v1/config/NOTE").refuses(404, "not-set");
    assert!(words.contains("NOTE") && words.contains("/v1/explain/NOTE"), "{words}");
    let words = get(&daemon.socket, "/v1/config/MAIL_USR").refuses(404, "unknown-variable");
    assert!(words.contains("MAIL_USR") && words.contains("did you mean MAIL_USER?"), "{words}");
    publish(&daemon, &folder, &shop("MAIL_USER=bob\n"));
    assert_eq!(get(&daemon.socket, "/v1/config/MAIL_USER").is(200).json()["value"], "bob");
    publish(&daemon, &folder, &shop(""));
    get(&daemon.socket, "/v1/config/MAIL_USER").refuses(404, "not-set");
}

#[test]
fn values_of_every_kind_arrive_as_they_are() {
    let odd = "\u{1}\u{7f}\t\\\"'é\u{2028}🦀{}<>&%";
    let (_folder, daemon) = daemon(&shop(&format!("NOTE='{}'\n", odd.replace('\'', ""))));
    let wanted = odd.replace('\'', "");
    assert_eq!(get(&daemon.socket, "/v1/config").is(200).json()["values"]["NOTE"], *wanted);
    assert_eq!(get(&daemon.socket, "/v1/config/NOTE").is(200).json()["value"], *wanted);
}

#[test]
fn before_the_first_generation() {
    let folder = home("", "NAME=shop\n");
    let daemon = Daemon::start(&folder);
    daemon.says("nothing can be published yet");
    for target in ["/v1/config", "/v1/config/NAME", "/v1/keys/SIGNING_KEY"] {
        let answer = get(&daemon.socket, target);
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
        assert!(answer.refuses(503, "not-ready").contains("wait=30s"));
    }
    // What tells no value is told already.
    assert_eq!(get(&daemon.socket, "/v1/status").is(200).json()["version"], serde_json::Value::Null);
    let waits = [
        Asked::get(&daemon.socket, "/v1/config?wait=20s", &[]),
        Asked::get(&daemon.socket, "/v1/config/NAME?wait=20s", &[("if-none-match", "\"x\"")]),
    ];
    client::round_trip(&daemon.socket);
    assert!(waits.iter().all(|wait| !wait.is_answered()));
    put(&folder, ".env", &shop(""));
    let [all, one] = waits.map(Asked::answer);
    assert_eq!(all.values(), ["APP_ENV=staging", "NAME=shop", "PORT=8080", &format!("SIGNING_KEY={KEY}")]);
    assert_eq!(one.is(200).json()["value"], "shop");
}

#[test]
fn waiting_for_the_first_generation_has_an_end() {
    let folder = home("", "NAME=shop\n");
    let daemon = Daemon::start(&folder);
    daemon.says("nothing can be published yet");
    let began = std::time::Instant::now();
    get(&daemon.socket, "/v1/config?wait=200ms").refuses(503, "not-ready");
    assert!(began.elapsed() >= std::time::Duration::from_millis(200));
}
