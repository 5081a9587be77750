//! The DataLens schema against what DATALENS's own documents and code say.

use crate::program::Folder;

/// The environment that DataLens's documents print.
const SAMPLE: &str = "\
DATABASE_URL=postgres://user:pass@localhost:5432/datalens?sslmode=disable
REDIS_URL=redis://localhost:6379/0
NATS_URL=nats://localhost:4222
JWT_SECRET=your-256-bit-secret
JWT_EXPIRY=15m
JWT_REFRESH_EXPIRY=7d
PORT=8080
API_VERSION=v2
CORS_ALLOWED_ORIGINS=http://cc.localhost:8000,http://admin.localhost:8000,http://portal.localhost:8000
OPENAI_API_KEY=sk-...
ANTHROPIC_API_KEY=sk-ant-...
AWS_ACCESS_KEY_ID=...
AWS_SECRET_ACCESS_KEY=...
AWS_REGION=ap-south-1
S3_BUCKET=datalens-scans
SMTP_HOST=localhost
SMTP_PORT=1025
SMTP_USERNAME=
SMTP_PASSWORD=
FROM_EMAIL=noreply@datalens.io
";

#[test]
fn production_names_every_fault_of_the_documented_sample() {
    let folder = Folder::with_env(SAMPLE);
    let ran = folder.run(&["check", "--env", "production", "--format", "json"]).exits(1);
    let findings = ran.findings();
    for expected in [
        "DLC031 PORT error",
        "DLC001 APP_SECRET_KEY error",
        "DLC001 DB_PASSWORD error",
        "DLC020 JWT_SECRET error",
        "DLC031 JWT_EXPIRY error",
        "DLC031 JWT_REFRESH_EXPIRY error",
        "DLC013 JWT_REFRESH_EXPIRY error",
        "DLC001 PORTAL_JWT_SECRET error",
        "DLC001 CONSENT_SIGNING_KEY error",
        "DLC020 OPENAI_API_KEY error",
        "DLC020 ANTHROPIC_API_KEY error",
        "DLC031 SMTP_USERNAME error",
        "DLC031 SMTP_PASSWORD error",
        "DLC031 FROM_EMAIL error",
        "DLC020 AWS_ACCESS_KEY_ID error",
        "DLC020 AWS_SECRET_ACCESS_KEY error",
        "DLC032 API_VERSION warning",
        "DLC032 DATABASE_URL warning",
        "DLC032 REDIS_URL warning",
    ] {
        assert!(findings.iter().any(|f| f == expected), "{expected} not in {findings:#?}");
    }
    for (old, new) in [
        ("PORT", "APP_PORT"),
        ("JWT_EXPIRY", "JWT_ACCESS_TOKEN_EXPIRY"),
        ("JWT_REFRESH_EXPIRY", "JWT_REFRESH_TOKEN_EXPIRY"),
        ("SMTP_USERNAME", "SMTP_USER"),
        ("SMTP_PASSWORD", "SMTP_PASS"),
        ("FROM_EMAIL", "SMTP_FROM_EMAIL"),
    ] {
        let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let found = document["findings"].as_array().unwrap().iter().any(|f| {
            f["code"] == "DLC031" && f["variable"] == old && f["help"] == format!("write it as {new}")
        });
        assert!(found, "{old} -> {new}");
    }
    ran.never_says("user:pass");
}

#[test]
fn with_the_sample_dev_warns_and_works() {
    let folder = Folder::with_env(SAMPLE);
    let ran =
        folder.run(&["dev", "--", "sh", "-c", "echo $APP_PORT $JWT_REFRESH_TOKEN_EXPIRY $PORT"]).exits(0);
    assert_eq!(ran.stdout, "8080 168h\n", "the old names change nothing and are not passed on");
    let warnings = folder.run(&["check", "--format", "json"]).exits(0).findings();
    assert!(warnings.len() > 12 && warnings.iter().all(|f| f.ends_with("warning")), "{warnings:#?}");
}

#[test]
fn what_the_production_compose_file_leaves_out_is_seen() {
    let folder = Folder::with_env("DB_PASSWORD=q8Zr2LxV5nBt7KjW\nDB_SSL_MODE=verify-full\n");
    let findings = folder.run(&["check", "--env", "production", "--format", "json"]).exits(1).findings();
    for name in ["APP_SECRET_KEY", "JWT_SECRET", "PORTAL_JWT_SECRET", "CONSENT_SIGNING_KEY"] {
        assert!(findings.contains(&format!("DLC001 {name} error")), "{name}: {findings:#?}");
    }
    let defaults = "APP_SECRET_KEY=change-me-in-prod\nPORTAL_JWT_SECRET=portal-secret-key-change-me-in-production-x\n\
                    CONSENT_SIGNING_KEY=dev-consent-signing-key-x\nDB_PASSWORD=datalens_dev\n";
    let findings = Folder::with_env(defaults)
        .run(&["check", "--env", "production", "--format", "json"])
        .exits(1)
        .findings();
    for name in ["APP_SECRET_KEY", "PORTAL_JWT_SECRET", "CONSENT_SIGNING_KEY", "DB_PASSWORD"] {
        assert!(findings.contains(&format!("DLC023 {name} error")), "{name}: {findings:#?}");
    }
}

#[test]
fn the_four_keys_must_differ() {
    let key = "q8Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE";
    let names = ["APP_SECRET_KEY", "JWT_SECRET", "PORTAL_JWT_SECRET", "CONSENT_SIGNING_KEY"];
    for (i, a) in names.iter().enumerate() {
        for b in &names[i + 1..] {
            let folder = Folder::with_env(&format!("{a}={key}\n{b}={key}\n"));
            let findings =
                folder.run(&["check", "--env", "production", "--format", "json"]).exits(1).findings();
            assert!(findings.iter().any(|f| f.starts_with("DLC022")), "{a} {b}: {findings:#?}");
        }
    }
}

#[test]
fn what_the_api_silently_ignores() {
    for (line, works) in [
        ("JWT_REFRESH_TOKEN_EXPIRY=7d", "write 168h"),
        ("CONSENT_CACHE_TTL_SECONDS=300", "write 300s"),
        ("APP_PORT=abc", "write"),
        ("REDIS_PORT=tcp://10.0.0.1:6379", "write"),
        ("DB_MAX_OPEN_CONNS=1_000", "write 1000"),
    ] {
        let ran = Folder::with_env(&format!("{line}\n")).run(&["check"]).exits(1);
        let ran = ran.says("error[DLC013]: the API silently ignores").says(works);
        if line.contains("tcp://") {
            ran.says("enableServiceLinks: false");
        }
    }
}

#[test]
fn an_empty_folder_and_the_generated_example_are_clean_in_development() {
    Folder::new().run(&["check"]).exits(0).says("variables fine");
    let folder = Folder::new();
    let example = folder.run(&["schema", "env-example"]).exits(0).stdout;
    folder.file(".env", &example).run(&["check", "--fail-on", "warning"]).exits(0);
}

#[test]
fn the_committed_files_are_what_the_schema_says() {
    let folder = Folder::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, arguments) in
        [(".env.example", ["schema", "env-example"]), ("docs/datalens.md", ["schema", "docs"])]
    {
        let committed = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let printed = folder.run(&arguments).exits(0).stdout;
        assert!(committed == printed, "{path} is old: dlconf {} > {path}", arguments.join(" "));
    }
    folder.run(&["schema", "lint"]).exits(0).says("0 warnings");
}

/// Each rule of the schema, where it fires and where it does not.
#[test]
fn rules() {
    for (id, environment, service, text, fires) in [
        ("log-level-production", "production", None, "", true),
        ("log-level-production", "production", None, "APP_LOG_LEVEL=info", false),
        ("log-level-production", "production", Some("migrate"), "", false),
        ("db-tls", "production", None, "", true),
        ("db-tls", "production", None, "DB_SSL_MODE=verify-full", false),
        ("db-tls", "staging", None, "", false),
        ("db-password-in-dsn", "development", None, "DB_PASSWORD=a@b", true),
        ("db-password-in-dsn", "development", None, "DB_PASSWORD=a:b", true),
        ("db-password-in-dsn", "development", None, "DB_PASSWORD=a/b", true),
        ("db-password-in-dsn", "development", None, "DB_PASSWORD=a?b", true),
        ("db-password-in-dsn", "development", None, "DB_PASSWORD=a#b", true),
        ("db-password-in-dsn", "development", None, "DB_PASSWORD=a%b", true),
        ("db-password-in-dsn", "development", None, "DB_PASSWORD=a b", true),
        ("db-password-in-dsn", "development", None, "DB_PASSWORD=A1a-z9._~!$&'()*+,;=", false),
        ("db-user-in-dsn", "development", None, "DB_USER=a@b", true),
        ("db-user-in-dsn", "development", None, "", false),
        ("db-name-in-dsn", "development", None, "DB_NAME=a?b", true),
        ("db-idle-within-open", "development", None, "DB_MAX_IDLE_CONNS=26", true),
        ("db-idle-within-open", "development", None, "DB_MAX_IDLE_CONNS=25", false),
        ("db-host-local", "production", None, "", true),
        ("db-host-local", "production", None, "DB_HOST=db", false),
        ("redis-host-local", "production", None, "", true),
        ("redis-host-local", "production", Some("migrate"), "", false),
        ("nats-host-local", "production", None, "", true),
        ("nats-host-local", "production", None, "NATS_URL=nats://nats:4222", false),
        ("nats-host-local", "production", None, "NATS_URL=nats://localhost.example:4222", false),
        ("nats-host-local", "production", None, "NATS_URL=tls://127.0.0.1", true),
        ("jwt-refresh-outlives-access", "development", None, "JWT_REFRESH_TOKEN_EXPIRY=10m", true),
        ("jwt-refresh-outlives-access", "development", None, "", false),
        ("jwt-refresh-within-overlap", "development", None, "JWT_REFRESH_TOKEN_EXPIRY=193h", true),
        ("jwt-refresh-within-overlap", "development", None, "JWT_REFRESH_TOKEN_EXPIRY=192h", false),
        ("portal-expiry-within-overlap", "development", None, "PORTAL_JWT_EXPIRY=61m", true),
        ("portal-expiry-within-overlap", "development", None, "", false),
        (
            "cors-no-localhost",
            "production",
            None,
            "CORS_ALLOWED_ORIGINS=https://a.in,http://cc.localhost:8000",
            true,
        ),
        ("cors-no-localhost", "production", None, "CORS_ALLOWED_ORIGINS=http://127.0.0.1:8000", true),
        (
            "cors-no-localhost",
            "production",
            None,
            "CORS_ALLOWED_ORIGINS=https://a.in,https://notlocalhost",
            false,
        ),
        ("ai-openai-key", "development", None, "AI_DEFAULT_PROVIDER=openai", true),
        (
            "ai-openai-key",
            "development",
            None,
            "AI_DEFAULT_PROVIDER=openai\nOPENAI_API_KEY=sk-aB3dE6gH9jK2mN5pQ8",
            false,
        ),
        ("ai-openai-key", "production", Some("portal"), "AI_DEFAULT_PROVIDER=openai", false),
        ("ai-anthropic-key", "development", None, "AI_DEFAULT_PROVIDER=anthropic", true),
        ("ai-huggingface-key", "development", None, "AI_DEFAULT_PROVIDER=huggingface", true),
        ("microsoft-redirect-https", "production", None, "MICROSOFT_REDIRECT_URL=http://a.in/x", true),
        ("microsoft-redirect-https", "production", None, "", false),
        ("google-redirect-https", "production", None, "GOOGLE_REDIRECT_URL=http://a.in/x", true),
        ("digilocker-redirect-https", "production", None, "", false),
        ("digilocker-redirect-https", "production", None, "DIGILOCKER_CLIENT_ID=abc", true),
        (
            "digilocker-redirect-https",
            "production",
            None,
            "DIGILOCKER_CLIENT_ID=abc\nDIGILOCKER_REDIRECT_URI=https://a.in/x",
            false,
        ),
        ("smtp-port-known", "development", None, "SMTP_PORT=588", true),
        ("smtp-port-known", "development", None, "SMTP_PORT=1025", false),
        ("smtp-tls", "production", None, "SMTP_PORT=25", true),
        ("smtp-tls", "production", None, "SMTP_PORT=587", false),
        ("smtp-host-local", "production", None, "SMTP_HOST=localhost", true),
        ("s3-endpoint", "development", None, "AWS_ACCESS_KEY_ID=minioadmin", true),
        (
            "s3-endpoint",
            "development",
            None,
            "AWS_ACCESS_KEY_ID=minioadmin\nAWS_ENDPOINT_URL_S3=http://localhost:9000",
            false,
        ),
        ("s3-endpoint", "development", None, "AWS_ACCESS_KEY_ID=AKIAZQ3DRSTUVWXY2345", false),
        ("s3-session-token", "development", None, "AWS_ACCESS_KEY_ID=ASIAZQ3DRSTUVWXY2345", true),
        (
            "s3-session-token",
            "development",
            None,
            "AWS_ACCESS_KEY_ID=ASIAZQ3DRSTUVWXY2345\nAWS_SESSION_TOKEN=x",
            false,
        ),
        ("s3-region", "development", None, "S3_BUCKET=abc", true),
        ("s3-region", "development", None, "S3_BUCKET=abc\nAWS_REGION=ap-south-1", false),
        ("s3-endpoint-https", "production", None, "AWS_ENDPOINT_URL_S3=http://minio:9000", true),
        ("s3-endpoint-https", "production", None, "", false),
        ("agent-identity", "development", None, "", false),
        ("agent-identity", "development", Some("agent"), "", true),
        (
            "agent-identity",
            "development",
            Some("agent"),
            "AGENT_ID=a\nAGENT_API_KEY=mK8vQ2xN5pR7tW9yB3dF6gH1jL4nP0sUabc",
            false,
        ),
        ("agent-endpoint-https", "production", None, "", false),
        (
            "agent-endpoint-https",
            "production",
            None,
            "AGENT_API_KEY=mK8vQ2xN5pR7tW9yB3dF6gH1jL4nP0sUabc",
            true,
        ),
    ] {
        let folder = Folder::with_env(text);
        let mut arguments = vec!["check", "--env", environment, "--format", "text", "--color", "never"];
        if let Some(service) = service {
            arguments.extend(["--service", service]);
        }
        let ran = folder.run(&arguments);
        let fired = ran.stdout.contains(&format!("rule {id}"));
        assert_eq!(fired, fires, "{id} in {environment} for {service:?} with {text:?}:\n{}", ran.stdout);
    }
}
