use super::*;
use crate::model::layer::{Layer, Place};
use crate::model::resolve::resolve;
use crate::model::schema::parse::parse;

const HEAD: &str = r#"
schema_version = 1
name = "test"
program = "the API"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
services = ["web", "worker"]
ignore = ["COMPOSE_*"]
[defaults]
on_invalid = "default"
[var.APP_ENV]
type = "string"
required = false
"#;

const STRONG: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE";

/// Findings as `CODE VARIABLE severity`, then unjudged as `? VARIABLE`.
fn judge<'q>(
    schema: &str,
    env: &str,
    environment: &'q str,
    ask: impl FnOnce(&mut Question<'q>),
) -> (Vec<String>, Verdict) {
    let text = format!("{HEAD}{schema}");
    let schema = parse("s.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}")).schema;
    let source = SourceName::new("dotenv");
    let parsed = crate::source::dotenv::parse(&source, &".env".into(), env, None).unwrap();
    let places = vec![Place { label: ".env".into(), mode: Some(0o600) }];
    let layer = Layer { source, places, offers: parsed.offers, remarks: Vec::new() };
    let resolution = resolve([&layer], &|_| None);
    let mut question = Question {
        environment,
        service: None,
        names_only: false,
        value_free: false,
        unread: &[],
        forgotten: &[],
    };
    ask(&mut question);
    let verdict = validate(&schema, &resolution, question);
    let mut told: Vec<String> = verdict
        .findings
        .iter()
        .map(|f| {
            let variable = f.variable.as_ref().map_or("-", Key::as_str);
            format!("{} {variable} {}", f.code, f.severity.as_str())
        })
        .collect();
    told.extend(verdict.unjudged.iter().map(|u| format!("? {}", u.variable)));
    (told, verdict)
}

#[track_caller]
fn check(schema: &str, env: &str, environment: &str, expected: &[&str]) -> Verdict {
    let (told, verdict) = judge(schema, env, environment, |_| {});
    assert_eq!(told, expected, "{env}");
    verdict
}

#[test]
fn presence() {
    let schema = "[var.A]\ntype = \"string\"\n[var.B]\ntype = \"string\"\nrequired = [\"production\"]\n\
                  [var.C]\ntype = \"string\"\ndefault = \"c\"\n[var.D]\ntype = \"string\"\nrequired = false\n";
    check(schema, "A=a\n", "staging", &[]);
    check(schema, "A=a\n", "production", &["DLC001 B error"]);
    check(schema, "A=\n", "development", &["DLC002 A error"]);
    check(schema, "", "production", &["DLC001 A error", "DLC001 B error"]);
    let verdict = check(schema, "A=a\n", "staging", &[]);
    let delivered: Vec<String> = verdict
        .outcome
        .unwrap()
        .variables()
        .iter()
        .map(|d| format!("{}={} from {}", d.key, d.value.expose(), d.origin.location))
        .collect();
    assert_eq!(
        delivered,
        ["APP_ENV=staging from chosen environment", "A=a from .env:1:3", "C=c from schema default"]
    );
}

#[test]
fn what_the_program_would_silently_ignore() {
    let schema = "[var.TTL]\ntype = \"duration\"\ndefault = \"168h\"\n[var.PORT]\ntype = \"int\"\nrequired = false\n\
                  fallback = \"port 80\"\n[var.TEXT]\ntype = \"url\"\nrequired = false\n";
    let verdict = check(
        schema,
        "TTL=7d\nPORT=abc\nTEXT=nonsense\n",
        "development",
        &["DLC013 TTL error", "DLC013 PORT error", "DLC010 TEXT error"],
    );
    let ttl = &verdict.findings[0];
    assert_eq!(ttl.message, "the API silently ignores TTL=7d");
    assert_eq!(ttl.help.as_deref(), Some("write 168h"));
    assert_eq!(ttl.fix, Some(crate::model::finding::Fix::Value("168h".into())));
    let snippet = ttl.snippet.as_ref().unwrap();
    assert_eq!((snippet.text.as_str(), snippet.mark.clone()), ("TTL=7d", 4..6));
    assert_eq!(snippet.label, "Go has no unit \"d\"; the default, 168h, is used");
    assert!(verdict.findings[1].snippet.as_ref().unwrap().label.contains("; port 80 is used"));
    assert!(verdict.outcome.is_err(), "law 1");
}

#[test]
fn one_value_gives_at_most_one_of_empty_published_placeholder_and_weak() {
    let schema = "[var.K]\ntype = \"hmac-key\"\nmin_bytes = 32\nforbid = [\"change-me*\", \"known-key\"]\npublished = [\"known-*\"]\n";
    for (value, code) in [
        ("", "DLC002"),
        ("known-key", "DLC023"),
        ("change-me", "DLC020"),
        ("your-key", "DLC020"),
        ("<the key>", "DLC020"),
        ("short", "DLC021"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "DLC021"),
    ] {
        check(schema, &format!("K=\"{value}\"\n"), "staging", &[&format!("{code} K error")]);
        let severity = if code == "DLC002" { "error" } else { "warning" };
        check(schema, &format!("K=\"{value}\"\n"), "development", &[&format!("{code} K {severity}")]);
    }
    check(schema, &format!("K={STRONG}\n"), "production", &[]);
}

#[test]
fn replaced_names_are_judged_by_the_new_type_and_never_delivered() {
    let schema = "[var.TTL]\ntype = \"duration\"\nreplaces = [\"OLD\"]\nrequired = false\n";
    let verdict = check(schema, "OLD=7d\n", "staging", &["DLC031 OLD error", "DLC013 OLD error"]);
    assert!(verdict.findings[0].message.contains("its name is TTL"));
    check(schema, "OLD=\n", "staging", &["DLC031 OLD error"]);
    check(schema, "OLD=7d\nTTL=1h\n", "staging", &["DLC031 OLD warning"]);
    check(schema, "OLD=7d\n", "development", &["DLC031 OLD warning", "DLC013 OLD warning"]);
    let verdict = check(schema, "OLD=5m\n", "development", &["DLC031 OLD warning"]);
    assert!(verdict.outcome.unwrap().variables().iter().all(|d| d.key.as_str() == "APP_ENV"));
    let defaulted = "[var.TTL]\ntype = \"duration\"\nreplaces = [\"OLD\"]\ndefault = \"1h\"\n";
    check(defaulted, "OLD=5m\n", "staging", &["DLC031 OLD error"]);
}

#[test]
fn names_that_are_not_declared() {
    let schema =
        "[var.DB_HOST]\ntype = \"string\"\nrequired = false\n[retired]\nDEAD = \"nothing reads it\"\n";
    let verdict = check(
        schema,
        "DB_HSOT=x\nDEAD=y\nCOMPOSE_FILE=z\nDLCONF_ENV=q\nSTRANGE=1\n",
        "production",
        &["DLC030 DB_HSOT warning", "DLC030 STRANGE warning", "DLC032 DEAD warning"],
    );
    assert_eq!(verdict.findings[0].help.as_deref(), Some("did you mean DB_HOST?"));
    assert!(verdict.outcome.is_ok());
}

#[test]
fn a_line_of_an_unquoted_key_is_not_shown_as_a_name() {
    let env = "KEY=-----BEGIN\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC7=\n";
    let (told, verdict) = judge("[var.KEY]\ntype = \"string\"\n", env, "production", |_| {});
    assert_eq!(told, ["DLC030 - warning"]);
    assert!(!format!("{:?}", verdict.findings).contains("MIIE"));
}

#[test]
fn shared_and_misplaced_secrets() {
    let schema = "[var.A]\ntype = \"hmac-key\"\n[var.B]\ntype = \"hmac-key\"\n[var.PLAIN]\ntype = \"string\"\nrequired = false\n";
    check(schema, &format!("A={STRONG}\nB={STRONG}\n"), "production", &["DLC022 B error"]);
    check(schema, &format!("A={STRONG}\nB={STRONG}\n"), "development", &["DLC022 B warning"]);
    check(schema, "A=change-me\nB=change-me\n", "production", &["DLC020 A error", "DLC020 B error"]);
    let two = format!("A={STRONG}\nB={STRONG}x\n");
    check(schema, &format!("{two}PLAIN={STRONG}\n"), "production", &["DLC024 PLAIN error"]);
    check(schema, &format!("{two}PLAIN=x${{A}}y\n"), "production", &["DLC024 PLAIN error"]);
    check(
        schema,
        &format!("{two}PLAIN=ghp_0123456789abcdefghijABCDEFGHIJ012345\n"),
        "staging",
        &["DLC024 PLAIN error"],
    );
}

#[test]
fn groups_all_or_none() {
    let schema = "[var.ID]\ntype = \"string\"\nrequired = false\nservices = [\"web\"]\n\
                  [var.KEY]\ntype = \"password\"\nrequired = false\nservices = [\"web\"]\n\
                  [var.X]\ntype = \"string\"\ndefault = \"x\"\nservices = [\"web\"]\n\
                  [group.g]\nall_or_none = [\"ID\", \"KEY\", \"X\"]\n";
    check(schema, "", "production", &[]);
    check(schema, "ID=a\nKEY=b\nX=c\n", "production", &[]);
    let verdict = check(schema, "ID=a\n", "production", &["DLC041 KEY error"]);
    assert_eq!(
        verdict.findings[0].message, "group g is incomplete: ID is set, KEY, X are not",
        "defaults do not count"
    );
    let (told, _) = judge(schema, "ID=a\n", "production", |q| q.service = Some("worker"));
    assert_eq!(told, [""; 0], "worker reads none of them");
}

#[test]
fn rules() {
    let schema = "[var.TLS]\ntype = \"enum\"\nvalues = [\"off\", \"on\"]\ndefault = \"off\"\n\
                  [var.N]\ntype = \"int\"\nrequired = false\n[var.M]\ntype = \"int\"\nrequired = false\n\
                  [[rule]]\nid = \"tls\"\nenvironments = [\"production\"]\nassert = \"vars.TLS == 'on'\"\nmessage = \"must be on\"\nhelp = \"set it on\"\n\
                  [[rule]]\nid = \"order\"\nassert = \"vars.N <= vars.M\"\nmessage = \"N over M\"\nseverity = \"warning\"\n\
                  [[rule]]\nid = \"worker\"\nservices = [\"worker\"]\nassert = \"has(vars.N)\"\nmessage = \"needs N\"\n";
    check(schema, "", "staging", &[]);
    let verdict = check(schema, "", "production", &["DLC040 TLS error"]);
    assert_eq!(verdict.findings[0].message, "must be on");
    check(schema, "TLS=on\nN=2\n", "production", &[]);
    check(schema, "TLS=on\nN=2\nM=1\n", "production", &["DLC040 N warning"]);
    check(schema, "TLS=on\nN=two\nM=1\n", "production", &["DLC013 N error"]);
    let (told, _) = judge(schema, "", "staging", |q| q.service = Some("worker"));
    assert_eq!(told, ["DLC040 N error"]);
}

#[test]
fn the_environment_that_is_chosen_and_the_one_that_is_set() {
    let verdict = check("", "APP_ENV=staging\n", "production", &["DLC042 APP_ENV error"]);
    assert_eq!(
        verdict.findings[0].help.as_deref(),
        Some("choose `--env staging`, or set APP_ENV=production")
    );
    check("", "APP_ENV=production\n", "production", &[]);
    let verdict = check("", "APP_ENV=canary\n", "production", &["DLC042 APP_ENV error"]);
    assert!(!format!("{:?}", verdict.findings).contains("canary"));
}

#[test]
fn names_only_looks_at_no_value() {
    let schema = "[var.A]\ntype = \"int\"\n[var.B]\ntype = \"int\"\n[var.C]\ntype = \"hmac-key\"\n";
    let (told, _) = judge(schema, "A=abc\nB=\nUNKNOWN=1\nAPP_ENV=x\n", "production", |q| q.names_only = true);
    assert_eq!(told, ["DLC001 C error", "DLC030 UNKNOWN warning"]);
}

#[test]
fn what_a_source_that_was_not_read_may_hold_is_unjudged_not_missing() {
    let schema =
        "[var.A]\ntype = \"int\"\n[var.B]\ntype = \"int\"\nrequired = false\n[var.C]\ntype = \"int\"\n";
    let unread = [Unread { source: SourceName::new("vault"), why: "could not be read" }];
    let (told, verdict) = judge(schema, "C=x\n", "production", |q| q.unread = &unread);
    assert_eq!(told, ["DLC013 C error", "? A", "? B"]);
    assert_eq!(verdict.unjudged.iter().filter(|u| u.required).count(), 1);
    let (_, verdict) = judge("[var.A]\ntype = \"int\"\n", "", "production", |q| q.unread = &unread);
    assert!(verdict.findings.is_empty() && verdict.outcome.is_err(), "nothing unjudged is published");
}

#[test]
fn a_finding_is_silenced_with_a_reason() {
    let schema =
        "[var.K]\ntype = \"password\"\nmin_bytes = 12\nallow = { DLC021 = \"the vendor's limit\" }\n";
    check(schema, "K=q8Zr2LxV\n", "production", &[]);
}

#[test]
fn open_files_with_secrets() {
    let text = format!("{HEAD}[var.K]\ntype = \"hmac-key\"\n[var.P]\ntype = \"string\"\nrequired = false\n");
    let schema = parse("s.toml", &text).unwrap().schema;
    let told = |env: &str, mode: Option<u32>, environment: &str| {
        let source = SourceName::new("dotenv");
        let parsed = crate::source::dotenv::parse(&source, &".env".into(), env, None).unwrap();
        let places = vec![Place { label: ".env".into(), mode }];
        let layer = Layer { source, places, offers: parsed.offers, remarks: Vec::new() };
        let resolution = resolve([&layer], &|_| None);
        let question = Question {
            environment,
            service: None,
            names_only: false,
            value_free: false,
            unread: &[],
            forgotten: &[],
        };
        let verdict = validate(&schema, &resolution, question);
        verdict.findings.iter().map(|f| format!("{} {}", f.code, f.severity.as_str())).collect::<Vec<_>>()
    };
    let secret = format!("K={STRONG}\n");
    assert_eq!(told(&secret, Some(0o644), "production"), ["DLC080 error"]);
    assert_eq!(told(&secret, Some(0o640), "development"), ["DLC080 warning"]);
    assert_eq!(told(&secret, Some(0o600), "production"), [""; 0]);
    assert_eq!(told(&secret, None, "production"), [""; 0]);
    assert_eq!(told("P=x\nK=\n", Some(0o644), "production"), ["DLC002 error"]);
}

#[test]
fn no_finding_quotes_a_secret() {
    let schema = "[var.K]\ntype = \"hmac-key\"\nmin_bytes = 99\npattern = \"x+\"\n[var.N]\ntype = \"int\"\nsecret = true\n\
                  [var.D]\ntype = \"dsn\"\ndriver = \"postgres\"\n[var.U]\ntype = \"url\"\nrequired = false\n\
                  [var.E]\ntype = \"enum\"\nvalues = [\"a\"]\nrequired = false\n[var.J]\ntype = \"json\"\nsecret = true\n";
    let env = "K=canary-canary\nN=canary\nD=canary://canary\nU=https://user:canary@host/\nE=${K}\nJ='{\"a\": canary}'\nTYPO=canary\n";
    let (told, verdict) = judge(schema, env, "production", |_| {});
    assert!(told.len() >= 7, "{told:?}");
    for finding in &verdict.findings {
        assert!(!format!("{finding:?}").contains("canary"), "{finding:#?}");
    }
}

#[test]
fn plain_values_that_hold_secrets_are_not_shown() {
    let schema = "[var.PW]\ntype = \"password\"\n[var.N]\ntype = \"int\"\nrequired = false\nreplaces = [\"OLD_N\"]\n\
                  [var.U]\ntype = \"url\"\nrequired = false\n[var.E]\ntype = \"enum\"\nvalues = [\"a\"]\nrequired = false\n\
                  [retired]\nGONE = \"x\"\n";
    for line in [
        "N=canary1",
        "OLD_N=canary1",
        "E=x-canary1-y",
        "U=nats://h1:4222,nats://u:canary9@h2",
        "U=user:canary9@host",
        "U=ftp://canary9token@h/",
        "E=https://h/?api_key=canary9",
        "U=ghp_canary9abcdefghij0123456789ABCDEFGHIJ",
        "GONE=canary9\nE=canary9",
    ] {
        let env = format!("PW=canary1\n{line}\n");
        let (told, verdict) = judge(schema, &env, "production", |_| {});
        assert!(!told.is_empty(), "{line}");
        assert!(!format!("{:?}", verdict.findings).contains("canary"), "{line}: {:#?}", verdict.findings);
    }
}

#[test]
fn what_only_warns_is_judged_to_the_end() {
    let schema = "[var.P]\ntype = \"port\"\nforbid = [\"change*\"]\nrequired = false\n\
                  [var.Q]\ntype = \"port\"\nrequired = false\nallow = { DLC024 = \"x\" }\n\
                  [var.K]\ntype = \"hmac-key\"\nallow = { DLC020 = \"x\" }\nrequired = false\n\
                  [var.W]\ntype = \"password\"\nrequired = false\n\
                  [[rule]]\nid = \"r\"\nassert = \"!vars.W.contains('@')\"\nmessage = \"no @\"\n";
    let token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    check(schema, "P=change-me\n", "development", &["DLC020 P warning", "DLC013 P error"]);
    check(schema, &format!("P={token}\n"), "development", &["DLC024 P warning", "DLC013 P error"]);
    check(schema, &format!("Q={token}\n"), "production", &["DLC013 Q error"]);
    check(schema, "K=change-me\n", "production", &["DLC021 K error"]);
    check(schema, "W=change-me@x\n", "development", &["DLC020 W warning", "DLC040 W error"]);
    check(schema, "W=change-me@x\n", "production", &["DLC020 W error"]);
}

#[test]
fn nothing_is_held_against_what_was_not_read() {
    let schema = "[var.TLS]\ntype = \"string\"\ndefault = \"off\"\nreplaces = [\"OLD\"]\n\
                  [[rule]]\nid = \"tls\"\nassert = \"vars.TLS == 'on'\"\nmessage = \"must be on\"\n";
    let unread = [Unread { source: SourceName::new("vault"), why: "could not be read" }];
    let (told, verdict) = judge(schema, "OLD=x\n", "production", |q| q.unread = &unread);
    assert_eq!(told, ["DLC031 OLD warning", "? TLS"]);
    assert!(!verdict.judged.iter().any(|key| key.as_str() == "TLS"));
}

#[test]
fn a_value_that_cannot_be_made_leaves_the_others_judged() {
    let schema = "[var.A]\ntype = \"string\"\n[var.B]\ntype = \"string\"\n";
    let (told, verdict) = judge(schema, "A=\"p${X?canary}\"\n", "production", |_| {});
    assert_eq!(told, ["DLC001 B error", "? A"]);
    assert!(verdict.outcome.is_err());
}

#[test]
fn every_secret_of_an_open_file_counts() {
    let text = format!("{HEAD}[var.K]\ntype = \"password\"\nrequired = false\n[retired]\nGONE = \"x\"\n");
    let schema = parse("s.toml", &text).unwrap().schema;
    for env in ["K=secret-1\nK=\n", "S=secret-1\nK=${S}\n", "GONE=postgres://u:pw@h/db\n"] {
        let source = SourceName::new("dotenv");
        let parsed = crate::source::dotenv::parse(&source, &".env".into(), env, None).unwrap();
        let places = vec![Place { label: ".env".into(), mode: Some(0o644) }];
        let low = Layer { source: source.clone(), places, offers: parsed.offers, remarks: Vec::new() };
        let top = crate::source::dotenv::parse(&source, &"top".into(), "K=other-value\n", None).unwrap();
        let top = Layer { source, places: Vec::new(), offers: top.offers, remarks: Vec::new() };
        let layers = if env.starts_with('K') { vec![low, top] } else { vec![low] };
        let resolution = resolve(&layers, &|_| None);
        let question = Question {
            environment: "production",
            service: None,
            names_only: false,
            value_free: false,
            unread: &[],
            forgotten: &[],
        };
        let codes: Vec<Code> =
            validate(&schema, &resolution, question).findings.iter().map(|f| f.code).collect();
        assert!(codes.contains(&Code::WidePermissions), "{env}: {codes:?}");
    }
}

#[test]
fn no_finding_quotes_any_value_where_nobody_asked() {
    let schema = "[var.P]\ntype = \"port\"\n[var.D]\ntype = \"duration\"\nreplaces = [\"OLD_D\"]\n\
                  [var.S]\ntype = \"string\"\npattern = \"x+\"\n[var.I]\ntype = \"int\"\non_invalid = \"fail\"\n\
                  [var.E]\ntype = \"enum\"\nvalues = [\"a\"]\n[var.J]\ntype = \"json\"\n[var.U]\ntype = \"url\"\n\
                  [var.R]\ntype = \"string\"\n";
    let env = "P=canary1\nOLD_D=7d77canary\nS=canary\nI=1canary\nE=canary\nJ=canary\nU=canary\nR='a${NOWHERE}canary'\n\
               TYPO=canary\nAPP_ENV=canary\n";
    let (told, verdict) = judge(schema, env, "production", |question| question.value_free = true);
    assert!(told.len() >= 8, "{told:?}");
    for finding in &verdict.findings {
        assert!(!format!("{finding:?}").contains("canary"), "{finding:#?}");
    }
    let (_, quoting) = judge(schema, env, "production", |_| {});
    assert!(format!("{:?}", quoting.findings).contains("canary"), "this test finds nothing");
}
