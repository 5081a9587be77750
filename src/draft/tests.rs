use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Draft, ExampleVariable, draft};
use crate::model::key::Key;
use crate::model::schema::parse::parse;
use crate::model::secret::SecretValue;
use crate::settings::{Opened, SettingsFile, Trust};

/// A plain reader of examples: enough for the texts below.
fn read(text: &str) -> Vec<ExampleVariable> {
    let mut comment = Vec::new();
    let mut variables = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.starts_with('#') {
            comment.push(text.to_owned());
        } else if let Some((name, value)) = text.split_once('=') {
            let value = value.trim_matches('"');
            variables.push(ExampleVariable {
                name: Key::new(name).unwrap(),
                value: Some(SecretValue::from(value)),
                comment: std::mem::take(&mut comment),
                commented_out: false,
                line,
            });
        } else {
            comment.clear();
        }
    }
    variables
}

/// The draft as TOML, after judging what holds for every draft: the schema has
/// no error, and the settings choose its laptop's environment.
fn toml(draft: &Draft) -> Table {
    let text = draft.schema_toml.as_str();
    let parsed = parse("drafted", text).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"));
    let file = SettingsFile {
        label: "dlconf.toml".into(),
        folder: PathBuf::new(),
        text: draft.settings_toml.clone(),
    };
    let settings = Opened::new(Some(file), Path::new(""), Trust::Found).expect("settings");
    assert_eq!(
        settings.environment().map(|chosen| chosen.name).as_deref(),
        parsed.schema.environments.laptop()
    );
    assert!(settings.environment().is_some(), "{text}");
    let schema: Table = text.parse().expect("schema");
    assert_eq!(schema.get("var").map_or(0, |vars| vars.as_table().unwrap().len()), draft.variables);
    let known = BTreeSet::from(["schema_version", "name", "environments", "defaults", "group", "var"]);
    assert!(schema.keys().all(|key| known.contains(key.as_str())), "{schema:?}");
    schema
}

/// Each expectation is `NAME field=value …`; a value as TOML writes it, or `-`
/// where the field must be absent.
fn check(example: &str, expected: &str) -> Draft {
    let draft = draft(&read(example), "sample", false);
    let schema = toml(&draft);
    for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, fields) = line.split_once(' ').unwrap();
        let var = &schema["var"][name];
        for field in fields.split("  ").map(str::trim) {
            let (field, wanted) = field.split_once('=').unwrap();
            let found = var.get(field);
            if wanted == "-" {
                assert!(found.is_none(), "{name}.{field} is {found:?}\n{}", draft.schema_toml);
            } else {
                let wanted = format!("x = {wanted}").parse::<Table>().expect(line)["x"].clone();
                assert_eq!(found, Some(&wanted), "{name}.{field}\n{}", draft.schema_toml);
            }
        }
    }
    draft
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

const NODE: &str = r#"
# Server
NODE_ENV=development
PORT=3000
HOST=0.0.0.0
# Public address, without a slash at the end
APP_URL=http://localhost:3000
LOG_LEVEL=info

# Database
DATABASE_URL="postgresql://user:password@localhost:5432/app?schema=public"
REDIS_URL=redis://localhost:6379

# openssl rand -hex 32
JWT_SECRET=your-secret-here
JWT_EXPIRES_IN=7d
SESSION_SECRET=
BCRYPT_ROUNDS=12

CORS_ORIGINS=http://localhost:3000,http://localhost:5173
RATE_LIMIT_MAX=100
RATE_LIMIT_WINDOW_MS=900000
ENABLE_SIGNUP=true

GOOGLE_CLIENT_ID=
GOOGLE_CLIENT_SECRET=
GOOGLE_CALLBACK_URL=http://localhost:3000/auth/google/callback

STRIPE_SECRET_KEY=sk_test_...
STRIPE_WEBHOOK_SECRET=whsec_...
NEXT_PUBLIC_STRIPE_KEY=pk_test_xxx
SENTRY_DSN=

SMTP_HOST=smtp.mailtrap.io
SMTP_PORT=2525
SMTP_USER=
SMTP_PASS=
MAIL_FROM="Sample <noreply@example.com>"

AWS_ACCESS_KEY_ID=
AWS_SECRET_ACCESS_KEY=
AWS_REGION=eu-west-1
AWS_S3_BUCKET=sample-uploads
"#;

#[test]
fn a_node_application() {
    let draft = check(
        NODE,
        r#"
        NODE_ENV type="enum"  values=["development", "test", "production"]  required=false  default=-
        PORT type="port"  default="3000"  required=-
        HOST type="host"  default="0.0.0.0"
        APP_URL type="url"  default=-  example="http://localhost:3000"  required=["production"]
        LOG_LEVEL type="enum"  default="info"
        DATABASE_URL type="dsn"  driver="postgres"  default=-  example=-  required=["production"]
        REDIS_URL type="dsn"  driver="redis"  default=-
        JWT_SECRET type="hmac-key"  forbid=["your-secret-here"]  generate="base64url:48"  min_bytes=32  default=-
        JWT_EXPIRES_IN type="string"  default="7d"
        SESSION_SECRET type="hmac-key"  required=["production"]  generate="base64url:48"
        BCRYPT_ROUNDS type="int"  min=0  default="12"
        CORS_ORIGINS type="list"  of="origin"  default=-  required=["production"]
        RATE_LIMIT_WINDOW_MS type="int"  default="900000"
        ENABLE_SIGNUP type="bool"  default="true"
        GOOGLE_CLIENT_ID type="oauth-client-id"  required=false
        GOOGLE_CLIENT_SECRET type="oauth-client-secret"  required=false  generate=-
        STRIPE_SECRET_KEY type="api-key"  forbid=["sk_test_..."]  generate=-
        STRIPE_WEBHOOK_SECRET type="string"  secret=true  forbid=["whsec_..."]  generate=-
        NEXT_PUBLIC_STRIPE_KEY type="string"  secret=-
        SENTRY_DSN secret=true  required=false
        SMTP_HOST type="host"  default=-
        SMTP_PORT type="port"  default="2525"
        SMTP_PASS type="password"  required=false
        MAIL_FROM type="string"
        AWS_ACCESS_KEY_ID type="aws-access-key-id"  required=false
        AWS_REGION type="aws-region"  default="eu-west-1"
        AWS_S3_BUCKET type="s3-bucket"
        "#,
    );
    let schema = toml(&draft);
    assert_eq!(schema["environments"]["variable"].as_str(), Some("NODE_ENV"));
    assert_eq!(
        schema["var"]["APP_URL"]["description"].as_str(),
        Some("Public address, without a slash at the end")
    );
    assert_eq!(
        strings(&schema["group"]["google"]["all_or_none"]),
        ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"]
    );
    assert_eq!(
        strings(&schema["group"]["aws"]["all_or_none"]),
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    );
    assert_eq!(strings(&schema["group"]["smtp"]["vars"]), ["SMTP_*"]);
    assert!(schema["group"].get("rate").is_none(), "two names are no group");
}

#[test]
fn a_django_application() {
    let draft = check(
        r"
DJANGO_SETTINGS_MODULE=config.settings.local
DJANGO_SECRET_KEY=django-insecure-q8$2k)x!9v@4m1z7w#5t3r6y0u
DJANGO_DEBUG=True
DJANGO_ALLOWED_HOSTS=localhost,127.0.0.1
DJANGO_ADMIN_EMAIL=admin@example.com
POSTGRES_HOST=db
POSTGRES_PORT=5432
POSTGRES_DB=sample
POSTGRES_USER=sample
POSTGRES_PASSWORD=postgres
CELERY_BROKER_URL=amqp://guest:guest@rabbitmq:5672//
CELERY_TASK_TIME_LIMIT=300
CACHE_TTL=15m
EMAIL_USE_TLS=1
DB_CONN_MAX_AGE=60
GUNICORN_WORKERS=4
SAMPLE_RATE=0.25
TIME_ZONE=Europe/Berlin
",
        r#"
        DJANGO_SECRET_KEY type="hmac-key"  forbid=-  default=-  generate="base64url:48"
        DJANGO_DEBUG type="bool"  default="True"
        DJANGO_ALLOWED_HOSTS type="list"  of="string"  default=-  required=["staging", "production"]
        DJANGO_ADMIN_EMAIL type="email"  default=-
        POSTGRES_HOST type="host"
        POSTGRES_PORT type="port"  default="5432"
        POSTGRES_PASSWORD type="password"  forbid=["postgres"]  required=["staging", "production"]  generate=-
        CELERY_BROKER_URL type="dsn"  driver="amqp"  default=-
        CELERY_TASK_TIME_LIMIT type="int"  default="300"
        CACHE_TTL type="string"  default="15m"
        EMAIL_USE_TLS type="bool"  default="1"
        GUNICORN_WORKERS type="int"  default="4"
        SAMPLE_RATE type="float"  default="0.25"
        TIME_ZONE type="string"  default="Europe/Berlin"
        "#,
    );
    assert!(!draft.schema_toml.contains("q8$2k"), "a secret was repeated");
}

#[test]
fn a_rails_application() {
    let draft = check(
        r"
RAILS_ENV=development
RAILS_MAX_THREADS=5
RAILS_LOG_TO_STDOUT=true
RAILS_MASTER_KEY=
SECRET_KEY_BASE=
WEB_CONCURRENCY=2
DATABASE_URL=mysql2://root@localhost/sample
SIDEKIQ_PASSWORD=changeme
LOG_LEVEL=DEBUG
OTP_SECRET=xxxxxxxx
S3_BUCKET=
PIN=4711
ASSET_HOST=//cdn.example.com
",
        r#"
        RAILS_ENV type="enum"  values=["development", "test", "production"]
        RAILS_MAX_THREADS type="int"  default="5"
        RAILS_MASTER_KEY type="api-key"  generate=-
        SECRET_KEY_BASE type="hmac-key"  generate="base64url:48"  required=["production"]
        WEB_CONCURRENCY type="int"  default="2"
        DATABASE_URL type="string"  secret=true  default=-  example=-
        SIDEKIQ_PASSWORD type="password"  forbid=["changeme"]
        LOG_LEVEL type="enum"  default="DEBUG"
        OTP_SECRET forbid=["xxxxxxxx"]
        S3_BUCKET type="s3-bucket"  required=false
        PIN secret=true  default=-
        ASSET_HOST type="string"
        "#,
    );
    assert!(!draft.schema_toml.contains("4711"));
}

#[test]
fn a_go_service() {
    let draft = check(
        r"
APP_ENV=dev
HTTP_ADDR=:8080
GRPC_ADDR=localhost:9090
READ_TIMEOUT=15s
TOKEN_TTL=24h
REFRESH_TTL=7d
NATS_URL=nats://localhost:4222
KAFKA_BROKERS=kafka-1:9092,kafka-2:9092
METRICS_ENABLED=yes
MAX_UPLOAD_BYTES=10485760
FILE_MODE=0644
API_VERSION=2
CONFIG_FILE=./config.yaml
FEATURES={}
ENCRYPTION_KEY=
API_KEYS=
BASIC_AUTH=sample:sample
ENABLE_AUTH=true
JWT_ALGORITHM=HS256
",
        r#"
        APP_ENV type="enum"  values=["dev", "staging", "prod"]
        HTTP_ADDR type="string"  default=":8080"
        GRPC_ADDR type="host-port"  default=-  example="localhost:9090"  required=["staging", "prod"]
        READ_TIMEOUT type="duration"  default="15s"
        TOKEN_TTL type="duration"  default="24h"
        REFRESH_TTL type="string"  default="7d"
        NATS_URL type="dsn"  driver="nats"
        KAFKA_BROKERS type="list"  of="string"  default="kafka-1:9092,kafka-2:9092"
        METRICS_ENABLED type="enum"  values=["yes", "no"]  default="yes"
        MAX_UPLOAD_BYTES type="int"  default="10485760"
        FILE_MODE type="string"  default="0644"
        API_VERSION type="string"  default="2"
        CONFIG_FILE type="path"  default="./config.yaml"
        FEATURES type="json"  default="{}"
        ENCRYPTION_KEY type="hmac-key"  generate=-  required=["staging", "prod"]
        API_KEYS secret=true
        BASIC_AUTH secret=true  default=-
        ENABLE_AUTH type="bool"  default="true"
        JWT_ALGORITHM type="string"  default="HS256"
        "#,
    );
    assert!(draft.settings_toml.contains("environment = \"dev\""));
}

/// From a file in use nothing is repeated that could be a secret, wherever it
/// stands.
#[test]
fn nothing_of_a_real_file_is_repeated() {
    let example = read(
        r"
# the old one was hunter2-old
# OLD_PASSWORD=hunter2-commented
DB_PASSWORD=hunter2
API_TOKEN=changeme-hunter2
NICKNAME=hunter2
PIN=47110815
FAVOURITE_NUMBER=47110815
SESSION_TIMEOUT_PIN=47110815
HOMEPAGE=https://hooks.slack.com/services/hunter2
SERVICE_URL=https://hunter2.internal/
SUPPORT_EMAIL=hunter2@corp.in
DB_HOST=hunter2.internal
APP_ENV=hunter2
NODE_ENV=hunter2
CORS_ORIGINS=https://hunter2.in
LOG_LEVEL=hunter2
SCHEME=hunter2://x
# written down here: hunter2 again
PORT=8080
LOG_FORMAT_ENABLED=true
MAX_WORKERS=4
",
    );
    let draft = draft(&example, "sample", true);
    let schema = toml(&draft);
    for secret in ["hunter2", "47110815", "corp.in"] {
        assert!(!draft.schema_toml.contains(secret), "{secret}\n{}", draft.schema_toml);
        assert!(!draft.settings_toml.contains(secret), "{secret}");
    }
    assert_eq!(schema["var"]["PORT"]["default"].as_str(), Some("8080"));
    assert_eq!(schema["var"]["LOG_FORMAT_ENABLED"]["default"].as_str(), Some("true"));
    assert_eq!(schema["var"]["MAX_WORKERS"]["default"].as_str(), Some("4"));
    assert_eq!(schema["var"]["NICKNAME"]["required"].as_bool(), Some(true));
}

/// An example that somebody put real secrets into.
#[test]
fn secrets_in_an_example_are_not_repeated() {
    let values = [
        ("JWT_SECRET", "mK8vQ2xN5pR7tW9yB3dF6gH1jL4nP0sU"),
        ("STRIPE_KEY", "sk_live_51H8a9b0c1d2e3f4g5h6"),
        ("STRIPE", "sk_live_51H8a9b0c1d2e3f4g5h6"),
        ("SOMETHING", "9f86d081884c7d659a2feaa0c55ad015"),
        ("TENANT", "550e8400-e29b-41d4-a716-446655440000"),
        ("UPSTREAM", "https://bob:s3cr3t-word@api.internal/"),
        ("HOOK", "https://hooks.slack.com/services/T0/B0/abc"),
        ("STORE", "AccountName=a;AccountKey=abcdef=="),
        ("DATABASE_URL", "postgres://app:Tr0ub4dor@db/app"),
        ("ADMIN_PASSWORD", "Tr0ub4dor"),
        ("DEFAULT_PASSWORD_HINT", "Tr0ub4dor"),
    ];
    let example: Vec<ExampleVariable> = values
        .iter()
        .map(|(name, value)| ExampleVariable {
            name: Key::new(name).unwrap(),
            value: Some(SecretValue::from(*value)),
            comment: vec![format!("# was {value}"), format!("# {name}={value}")],
            commented_out: false,
            line: 1,
        })
        .collect();
    let draft = draft(&example, "sample", false);
    let schema = toml(&draft);
    for (name, value) in values {
        assert!(!draft.schema_toml.contains(value), "{name}\n{}", draft.schema_toml);
        let secret = schema["var"][name].get("secret").is_some_and(|secret| secret.as_bool() == Some(true));
        let kind = schema["var"][name]["type"].as_str().unwrap();
        assert!(secret || kind != "string", "{name} is not masked");
    }
    assert!(draft.schema_toml.contains("(line 1) reads like a real secret"), "{}", draft.schema_toml);
}

/// What an example holds cannot become TOML of its own.
#[test]
fn everything_is_escaped() {
    let hostile = "x\"\n[var.EVIL]\ntype = \"string\"\u{0}\u{1b}\u{7f}\\'''\"\"\"";
    let example = vec![
        ExampleVariable {
            name: Key::new("TITLE").unwrap(),
            value: Some(SecretValue::from(hostile)),
            comment: vec![hostile.to_owned(), format!("# {hostile}")],
            commented_out: false,
            line: 1,
        },
        ExampleVariable {
            name: Key::new("_").unwrap(),
            value: None,
            comment: Vec::new(),
            commented_out: false,
            line: 2,
        },
        ExampleVariable {
            name: Key::new("__").unwrap(),
            value: None,
            comment: Vec::new(),
            commented_out: true,
            line: 3,
        },
        ExampleVariable {
            name: Key::new("TITLE_").unwrap(),
            value: None,
            comment: Vec::new(),
            commented_out: false,
            line: 4,
        },
    ];
    let draft = draft(&example, hostile, false);
    let schema = toml(&draft);
    assert_eq!(schema["name"].as_str(), Some(hostile));
    assert_eq!(schema["var"].as_table().unwrap().len(), 4);
    assert_eq!(schema["var"]["TITLE"]["default"].as_str(), Some(hostile));
}

#[test]
fn a_name_that_stands_twice_is_declared_once() {
    check("\nA_PORT=1\nB=x\nA_PORT=2\n", "A_PORT default=\"2\"");
}

#[test]
fn an_empty_example_gives_an_empty_schema() {
    let draft = draft(&[], "sample", false);
    assert!(toml(&draft).get("var").is_none());
}

#[test]
fn patterns_that_would_match_more_are_not_forbidden() {
    check("\nAPI_KEY=****\nAPP_SECRET=change-me?\n", "API_KEY forbid=-\nAPP_SECRET forbid=-");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_example_gives_a_schema_without_errors(
            variables in prop::collection::vec(
                ("[A-Za-z_][A-Za-z0-9_]{0,12}|[A-Z]{2,4}_(URL|KEY|PORT|TIMEOUT|HOST|ORIGINS|ID|SECRET|MAX|LEVEL)|APP_ENV|NODE_ENV",
                 prop::option::of("\\PC{0,20}|[a-z]{2,5}://[a-z@:?]{0,9}|[0-9.,-]{1,9}|.{0,12}|dev|LOCAL|Production|stg|true|on"),
                 prop::collection::vec(".{0,30}", 0..3),
                 any::<bool>()),
                0..12),
            project in ".{0,10}",
            may_hold_secrets in any::<bool>(),
        ) {
            let example: Vec<ExampleVariable> = variables.iter().map(|(name, value, comment, commented_out)| ExampleVariable {
                name: Key::new(name).unwrap(),
                value: value.as_deref().map(SecretValue::from),
                comment: comment.clone(),
                commented_out: *commented_out,
                line: 1,
            }).collect();
            toml(&draft(&example, &project, may_hold_secrets));
        }
    }
}
