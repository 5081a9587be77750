use std::collections::{BTreeMap, HashMap};

use expect_test::expect;
use serde_json::{Value, json};

use super::{docs, env_example, json_schema};
use crate::model::finding::Severity;
use crate::model::key::Key;
use crate::model::origin::Span;
use crate::model::schema::kind::{Dialect, Kind};
use crate::model::schema::rule::Expression;
use crate::model::schema::{
    Environments, Generate, GenerateEncoding, Group, OnInvalid, Presence, Retired, Rotation, Rule, Schema,
    Strategy, Var,
};

const AT: Span = Span { line: 1, column: 1 };

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn var(name: &str, kind: Kind) -> Var {
    Var {
        key: key(name),
        kind,
        secret: false,
        presence: Presence::Never,
        services: Vec::new(),
        default: None,
        fallback: None,
        min_bytes: None,
        max_bytes: None,
        pattern: None,
        forbid: Vec::new(),
        published: Vec::new(),
        generate: None,
        replaces: Vec::new(),
        on_invalid: OnInvalid::Fail,
        dialect: Dialect::Go,
        refuse_stale: false,
        rotation: None,
        description: None,
        example: None,
        allow: BTreeMap::new(),
        implied_by: None,
        at: AT,
    }
}

fn schema(vars: Vec<Var>) -> Schema {
    let index = vars.iter().enumerate().map(|(i, var)| (var.key.clone(), i)).collect();
    Schema {
        name: "sample".into(),
        program: "the API".into(),
        path: "somewhere/else.toml".into(),
        environments: Environments {
            variable: key("APP_ENV"),
            names: vec!["development".into(), "production".into()],
            development: "development".into(),
        },
        services: vec!["cc".into(), "portal".into()],
        groups: Vec::new(),
        vars,
        retired: Vec::new(),
        ignored: Vec::new(),
        rules: Vec::new(),
        probes: Vec::new(),
        index,
        replaced: HashMap::new(),
    }
}

/// A schema with a bit of everything.
fn sample() -> Schema {
    let values = vec!["development".into(), "production".into()];
    let pattern = regex::Regex::new("^(?:[a-z]+)$").unwrap();
    let mut schema = schema(vec![
        Var {
            description: Some("The environment.".into()),
            fallback: Some("development".into()),
            ..var("APP_ENV", Kind::Enum { values })
        },
        Var {
            default: Some("8080".into()),
            replaces: vec![key("PORT")],
            description: Some("The port | a bar, a `tick` and a *star*".into()),
            ..var("APP_PORT", Kind::Port)
        },
        Var {
            secret: true,
            presence: Presence::In(vec!["production".into()]),
            services: vec!["cc".into()],
            min_bytes: Some(32),
            generate: Some(Generate { encoding: GenerateEncoding::Base64Url, bytes: 48 }),
            rotation: Some(Rotation {
                strategy: Strategy::Overlap,
                every: Some(30 * 86_400),
                overlap: Some(8 * 86_400),
                slots: None,
                tokens: Vec::new(),
                reason: None,
            }),
            fallback: Some("the value of APP_SECRET_KEY".into()),
            description: Some("Signs tokens".into()),
            ..var("JWT_SECRET", Kind::HmacKey)
        },
        Var { secret: true, implied_by: Some(key("JWT_SECRET")), ..var("JWT_SECRET_NEXT", Kind::HmacKey) },
        Var { default: Some("168h".into()), ..var("JWT_EXPIRY", Kind::Duration { min: Some(0), max: None }) },
        Var { example: Some("id-of-yours".into()), ..var("OAUTH_ID", Kind::OauthClientId) },
        Var { secret: true, max_bytes: Some(64), ..var("OAUTH_SECRET", Kind::OauthClientSecret) },
        Var { default: Some("a \"b\" $c \\d".into()), pattern: Some(pattern), ..var("TITLE", Kind::String) },
        Var { presence: Presence::Always, example: Some("hall 1".into()), ..var("SITE", Kind::String) },
    ]);
    let group = |name: &str, vars: &[&str], together: &[&str]| Group {
        name: name.into(),
        vars: vars.iter().map(|name| key(name)).collect(),
        atomic: name == "jwt",
        all_or_none: together.iter().map(|name| key(name)).collect(),
        description: Some(format!("About {name}").into()),
        at: AT,
    };
    schema.groups = vec![
        group("jwt", &["JWT_SECRET", "JWT_SECRET_NEXT", "JWT_EXPIRY"], &[]),
        group("oauth", &["OAUTH_ID", "OAUTH_SECRET"], &["OAUTH_ID", "OAUTH_SECRET"]),
        group("again", &["OAUTH_ID"], &[]),
    ];
    schema.retired = vec![Retired { key: key("API_VERSION"), reason: "nothing reads it".into(), at: AT }];
    schema.rules = vec![rule()];
    schema
}

fn rule() -> Rule {
    Rule {
        id: "site".into(),
        environments: vec!["production".into()],
        services: Vec::new(),
        expression: Expression::parse("vars.SITE != 'x'").unwrap(),
        message: "the site must not be x".into(),
        help: Some("choose another".into()),
        severity: Severity::Warning,
        at: AT,
    }
}

#[test]
fn an_example_env_file() {
    expect![[r#"
        # The configuration of sample.
        # Made from the schema by `dlconf schema env-example`: do not edit.
        # Copy it to .env and fill in what you need; never commit a .env.
        # A line that begins with #NAME= is optional; an empty value is unset.

        # --- jwt: About jwt ---

        # Signs tokens
        # secret hmac-key, at least 32 bytes; required in production; read by cc
        # unset: the API uses the value of APP_SECRET_KEY
        # make one: openssl rand -base64 48 | tr '+/' '-_' | tr -d '=\n'
        JWT_SECRET=

        # duration, at least 0s; optional
        JWT_EXPIRY=168h

        # --- oauth: About oauth ---

        # oauth-client-id; optional
        #OAUTH_ID=id-of-yours

        # secret oauth-client-secret, at most 64 bytes; optional
        # whoever runs the other side gives it; do not make one up
        #OAUTH_SECRET=

        # --- others ---

        # The environment.
        # enum: development, production; optional
        # unset: the API uses development
        APP_ENV=development

        # The port | a bar, a `tick` and a *star*
        # port; optional
        APP_PORT=8080

        # string, matching [a-z]+; optional
        TITLE="a \"b\" \$c \\d"

        # string; required
        # example: "hall 1"
        SITE=
    "#]]
    .assert_eq(&env_example(&sample()));
}

#[test]
fn a_reference() {
    expect![[r#"
        # Configuration of sample

        Made from the schema by `dlconf schema docs`: do not edit. The API runs in one of the environments `development`, `production`, named by `APP_ENV`.

        Services: `cc`, `portal`. A variable that names none is read by all.

        ## jwt

        About jwt. What one source gives of it comes from one revision.

        | Variable | Type | Required | Default | Read by | Meaning |
        |---|---|---|---|---|---|
        | `JWT_SECRET` | hmac-key, at least 32 bytes, **secret** | production |  | cc | Signs tokens. Unset: the API uses the value of APP_SECRET_KEY. Rotated every 30d; the previous key stays valid for 8d. Rotation adds `JWT_SECRET_NEXT`. |
        | `JWT_EXPIRY` | duration, at least 0s | no | `168h` |  |  |

        ## oauth

        About oauth. Set all of `OAUTH_ID`, `OAUTH_SECRET` or none.

        | Variable | Type | Required | Default | Read by | Meaning |
        |---|---|---|---|---|---|
        | `OAUTH_ID` | oauth-client-id | no |  |  | Example: `id-of-yours`. |
        | `OAUTH_SECRET` | oauth-client-secret, at most 64 bytes, **secret** | no |  |  |  |

        ## Others

        | Variable | Type | Required | Default | Read by | Meaning |
        |---|---|---|---|---|---|
        | `APP_ENV` | enum: development, production | no |  |  | The environment. Unset: the API uses development. |
        | `APP_PORT` | port | no | `8080` |  | The port \| a bar, a \`tick\` and a \*star\*. Replaces `PORT`. |
        | `TITLE` | string, matching \[a-z\]+ | no | `a "b" $c \d` |  |  |
        | `SITE` | string | yes |  |  | Example: `hall 1`. |

        ## Rules

        | Rule | Severity | Environments | Services | What it says | What to do |
        |---|---|---|---|---|---|
        | `site` | warning | production | all | The site must not be x. | Choose another. |

        ## Replaced names

        Reported wherever they are found, and never delivered.

        | Old name | New name |
        |---|---|
        | `PORT` | `APP_PORT` |

        ## Retired names

        Reported wherever they are found, and never delivered.

        | Name | Why |
        |---|---|
        | `API_VERSION` | Nothing reads it. |
    "#]].assert_eq(&docs(&sample()));
}

#[test]
fn a_json_schema() {
    let found = json_schema(&sample());
    assert_eq!(found["required"], json!(["SITE"]));
    assert_eq!(
        found["dependentRequired"],
        json!({ "OAUTH_ID": ["OAUTH_SECRET"], "OAUTH_SECRET": ["OAUTH_ID"] })
    );
    assert_eq!(
        found["allOf"],
        json!([{
            "if": { "properties": { "APP_ENV": { "const": "production" } }, "required": ["APP_ENV"] },
            "then": { "required": ["JWT_SECRET"] },
        }])
    );
    let property = |name: &str| found["properties"][name].clone();
    assert_eq!(property("APP_ENV")["enum"], json!(["development", "production"]));
    assert_eq!(property("APP_PORT")["default"], json!("8080"));
    assert_eq!(property("TITLE")["pattern"], json!("^(?:[a-z]+)$"));
    assert_eq!(property("OAUTH_SECRET")["maxLength"], json!(64));
    // 32 bytes may be as few as 8 characters.
    assert_eq!(property("JWT_SECRET")["minLength"], json!(8));
    for (name, secret) in [("JWT_SECRET", true), ("JWT_SECRET_NEXT", true), ("OAUTH_ID", false)] {
        assert_eq!(property(name)["writeOnly"], if secret { json!(true) } else { Value::Null }, "{name}");
    }
    assert!(property("JWT_SECRET").get("default").is_none());
}

/// Patterns that ECMA's engines would not read, or read otherwise, are left out.
#[test]
fn only_portable_patterns_go_into_json_schema() {
    for (pattern, portable) in [
        (r"[A-Za-z0-9.-]+", true),
        (r"\d{4}(?:-\d\d)?", true),
        (r"a\\b\.c", true),
        (r"(?i)abc", false),
        (r"(?P<year>\d+)", false),
        (r"\Aabc\z", false),
        (r"\p{L}+", false),
        (r"[[:alpha:]]", false),
        (r"[a-z&&[^b]]", false),
        (r"[^]a]", false),
    ] {
        let pattern = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
        let found =
            json_schema(&schema(vec![Var { pattern: Some(pattern.clone()), ..var("A", Kind::String) }]));
        assert_eq!(found["properties"]["A"].get("pattern").is_some(), portable, "{pattern}");
    }
}

/// What the JSON Schema says of a type must not refuse what the type takes.
#[test]
fn json_schema_patterns_take_what_the_types_take() {
    let duration = Kind::Duration { min: None, max: None };
    let cases: &[(Kind, Dialect, &[&str])] = &[
        (
            Kind::Bool,
            Dialect::Go,
            &["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"],
        ),
        (Kind::Port, Dialect::Go, &["1", "+80", "065535"]),
        (Kind::Int { min: None, max: None }, Dialect::Go, &["-5", "+5", "007"]),
        (
            duration.clone(),
            Dialect::Go,
            &["0", "-1h", "+1.5h", ".5s", "1h2m3s4ms5us6ns", "1.s", "3µs", "3μs"],
        ),
        (duration.clone(), Dialect::Seconds, &["0", "900"]),
        (duration, Dialect::Iso8601, &["PT15M", "P1DT2H"]),
    ];
    for (kind, dialect, values) in cases {
        let found = json_schema(&schema(vec![Var { dialect: *dialect, ..var("A", kind.clone()) }]));
        let pattern = regex::Regex::new(found["properties"]["A"]["pattern"].as_str().unwrap()).unwrap();
        for value in *values {
            assert!(kind.judge(value, *dialect).is_ok(), "{value} is no {}", kind.name());
            assert!(pattern.is_match(value), "{pattern} refuses {value}");
        }
    }
}

/// Whatever text a schema holds, it stays where it was put.
#[test]
fn hostile_texts_stay_in_their_place() {
    let hostile = "x\nEVIL=1\r\nEVIL=2\u{2028}EVIL=3\u{85}EVIL=4\u{1b}[31m\0 | a | `b` ``c`` <script> \\";
    let mut schema = sample();
    schema.name = hostile.into();
    schema.program = hostile.into();
    for group in &mut schema.groups {
        group.name = hostile.into();
        group.description = Some(hostile.into());
    }
    for var in &mut schema.vars {
        var.description = Some(hostile.into());
        var.fallback = Some(hostile.into());
        var.example = Some(hostile.into());
        if !var.secret {
            var.default = Some(hostile.into());
        }
    }
    for rule in &mut schema.rules {
        rule.message = hostile.into();
        rule.help = Some(hostile.into());
        rule.id = hostile.into();
    }
    for retired in &mut schema.retired {
        retired.reason = hostile.into();
    }
    for line in env_example(&schema).lines() {
        let assigns = line.split_once('=').is_some_and(|(name, _)| schema.index.contains_key(name));
        assert!(line.is_empty() || line.starts_with('#') || assigns, "{line}");
    }
    let docs = docs(&schema);
    assert!(docs.contains("&lt;script&gt;"));
    for text in [&docs, &env_example(&schema)] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    for line in docs.lines().filter(|line| line.starts_with('|')) {
        let bars = line.replace("\\|", "").matches('|').count();
        assert!(matches!(bars, 3 | 7), "{bars} bars: {line}");
    }
    for line in docs.lines() {
        assert!(line.is_empty() || line.starts_with(['#', '|']) || !line.starts_with("EVIL"), "{line}");
    }
}

/// An example is made up, so it never stands live; a secret never has a value.
#[test]
fn nothing_made_up_is_live() {
    let text = env_example(&sample());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(!line.contains("id-of-yours") && !line.contains("hall"), "{line}");
    }
    for secret in ["JWT_SECRET=", "#OAUTH_SECRET="] {
        assert!(text.lines().any(|line| line == secret), "{secret}");
    }
}
