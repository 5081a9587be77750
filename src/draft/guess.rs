//! From a name and a value to a type.
//!
//! A guess that turns out too narrow costs its owner a false alarm, one that is
//! too wide only a missed one: in doubt it is `string`.

use super::hints::Hints;
use super::name::Name;
use super::sensitive::{carries_credentials, looks_random};
use crate::model::schema::kind::{Dialect, Driver, Kind, looks_like_secret};

/// A type, and why.
pub(super) struct Guess {
    pub(super) kind: Kind,
    /// By type or by declaration.
    pub(super) secret: bool,
    /// Why, as a clause without the value.
    pub(super) reason: &'static str,
    /// Whether dlconf may invent one on a laptop.
    pub(super) generated: bool,
    /// Whether no deployment does without it, even if the example leaves it
    /// empty.
    pub(super) vital: bool,
    /// Whether it holds the environment's name.
    pub(super) environment: bool,
}

impl Guess {
    fn plain(kind: Kind, reason: &'static str) -> Self {
        Self { kind, secret: false, reason, generated: false, vital: false, environment: false }
    }

    fn secret(kind: Kind, reason: &'static str) -> Self {
        Self { secret: true, ..Self::plain(kind, reason) }
    }

    /// Whether the program would read this value as the type.
    pub(super) fn takes(&self, value: &str) -> bool {
        self.kind.judge(value, Dialect::Go).is_ok()
    }

    /// Whether its values are switches, amounts or words out of a closed list:
    /// never secrets.
    pub(super) fn is_closed(&self) -> bool {
        matches!(
            self.kind,
            Kind::Bool | Kind::Int { .. } | Kind::Port | Kind::Duration { .. } | Kind::Enum { .. }
        )
    }

    pub(super) fn is_dsn(&self) -> bool {
        matches!(self.kind, Kind::Dsn { .. })
    }

    /// Whether every deployment has its own.
    pub(super) fn differs_by_deployment(&self) -> bool {
        matches!(
            self.kind,
            Kind::Url { .. }
                | Kind::Host
                | Kind::HostPort
                | Kind::Email
                | Kind::S3Bucket
                | Kind::String
                | Kind::List { .. }
        )
    }
}

/// What a variable is.
pub(super) fn guess(name: &Name, value: &str, hints: &Hints) -> Guess {
    if name.as_str() == hints.variable {
        let values = hints.names.iter().map(|name| name.as_str().into()).collect();
        return Guess {
            environment: true,
            ..Guess::plain(Kind::Enum { values }, "it holds the environment's name")
        };
    }
    secret(name, value).unwrap_or_else(|| plain(name, value, hints))
}

fn secret(name: &Name, value: &str) -> Option<Guess> {
    if let Some(guess) = connection(name, value) {
        return Some(guess);
    }
    // ENABLE_AUTH is a switch, BASIC_AUTH a login.
    let login =
        name.last_is(&["AUTH", "COOKIE", "JWT"]) && !value.is_empty() && switch(name, value).is_none();
    if !name.is_secret() && !login {
        return secret_by_value(name, value);
    }
    let by = |kind, reason| Some(Guess::secret(kind, reason));
    if name.ends_with(&["AWS", "ACCESS", "KEY", "ID"]) {
        return by(Kind::AwsAccessKeyId, "by the name");
    }
    if name.ends_with(&["AWS", "SECRET", "ACCESS", "KEY"]) {
        return by(Kind::AwsSecretAccessKey, "by the name");
    }
    if name.ends_with(&["CLIENT", "SECRET"]) {
        return by(Kind::OauthClientSecret, "by the name");
    }
    if name.last_is(&["PASSWORD", "PASSWD", "PASS", "PWD", "PW", "PASSPHRASE"])
        || ["PASSWORD", "PASSWD", "PASS", "PWD"].iter().any(|ending| name.last().ends_with(ending))
    {
        let vital = name.words().first().is_some_and(|first| {
            ["DB", "DATABASE", "POSTGRES", "PG", "PGPASSWORD", "MYSQL", "MONGO", "MARIADB"]
                .contains(&first.as_str())
        });
        return Some(Guess { vital, ..Guess::secret(Kind::Password, "by the name") });
    }
    if name.has(&["PRIVATE"]) && value.starts_with("-----BEGIN") {
        return by(Kind::PemPrivateKey, "by the name and the first line");
    }
    if own_key(name) {
        // A key of fixed length is not for dlconf to invent.
        let generated = !name.has(&["ENCRYPTION", "ENCRYPT", "CRYPTO"]) && !value.starts_with("base64:");
        let guess =
            Guess::secret(Kind::HmacKey, "the name is that of a key which the program keeps for itself");
        return Some(Guess { generated, vital: true, ..guess });
    }
    if name.last_is(&["TOKEN", "KEY", "APIKEY", "PAT"]) || name.last().ends_with("KEY") {
        return by(Kind::ApiKey, "by the name");
    }
    by(Kind::String, "secret by the name; nothing tells its form")
}

/// A value that should be masked, whatever its name.
fn secret_by_value(name: &Name, value: &str) -> Option<Guess> {
    if carries_credentials(value) {
        return Some(Guess::secret(Kind::String, "the value carries a login"));
    }
    // What is published, and ids, digests and paths, may look like anything.
    let open = name.is_public()
        || name
            .last_is(&["ID", "SHA", "COMMIT", "DIGEST", "CHECKSUM", "VERSION", "TAG", "PATH", "DIR", "FILE"]);
    (looks_like_secret(value).is_some() || (looks_random(value) && !open))
        .then(|| Guess::secret(Kind::String, "the value reads like a secret"))
}

/// Addresses with a login: by the scheme, else by the name.
fn connection(name: &Name, value: &str) -> Option<Guess> {
    const DRIVERS: &[(Driver, &[&str])] = &[
        (Driver::Postgres, &["postgres", "postgresql"]),
        (Driver::Redis, &["redis", "rediss"]),
        (Driver::Nats, &["nats"]),
        (Driver::Amqp, &["amqp", "amqps"]),
    ];
    let vital = name.has(&["DATABASE", "DB"]);
    if let Some((scheme, _)) = value.split_once("://") {
        for (driver, schemes) in DRIVERS {
            if schemes.contains(&scheme) {
                let guess = Guess::secret(Kind::Dsn { driver: *driver }, "by the scheme of the value");
                // Clients differ in what they accept; what the type refuses is only a text.
                let kind = if guess.takes(value) { guess.kind } else { Kind::String };
                return Some(Guess { kind, vital, ..Guess::secret(Kind::String, guess.reason) });
            }
        }
        let database = scheme.split('+').next().is_some_and(|scheme| {
            [
                "mysql",
                "mysql2",
                "mariadb",
                "mongodb",
                "sqlserver",
                "mssql",
                "oracle",
                "cockroachdb",
                "clickhouse",
                "postgis",
                "postgresql",
                "sqlite",
                "sqlite3",
                "jdbc",
                "smtp",
                "smtps",
                "ldap",
                "ldaps",
                "mqtt",
                "mqtts",
                "kafka",
                "sentry",
            ]
            .contains(&scheme)
        });
        return database.then(|| Guess {
            vital,
            ..Guess::secret(Kind::String, "the address of a server, which often carries a login")
        });
    }
    if !value.is_empty() || !name.last_is(&["URL", "URI", "DSN"]) {
        return None;
    }
    let by_name = |driver| Some(Guess::secret(Kind::Dsn { driver }, "by the name"));
    if name.has(&["REDIS", "REDISCLOUD"]) {
        return by_name(Driver::Redis);
    }
    if name.has(&["AMQP", "RABBITMQ", "CLOUDAMQP"]) {
        return by_name(Driver::Amqp);
    }
    if name.has(&["POSTGRES", "POSTGRESQL", "PG"]) {
        return by_name(Driver::Postgres);
    }
    let other = name.has(&["DATABASE", "DB", "MONGO", "MONGODB", "MYSQL", "BROKER", "DSN", "SMTP"]);
    other.then(|| Guess {
        vital,
        ..Guess::secret(Kind::String, "the address of a server, which often carries a login")
    })
}

/// Whether the key is one that the program shares with nobody: JWT_SECRET,
/// SECRET_KEY_BASE, SESSION_SECRET; not STRIPE_SECRET_KEY, WEBHOOK_SECRET.
fn own_key(name: &Name) -> bool {
    const FRAME: &[&str] = &[
        "ACCESS",
        "APP",
        "APPLICATION",
        "AUTH",
        "BASE",
        "COOKIE",
        "COOKIES",
        "CRYPTO",
        "CSRF",
        "DJANGO",
        "ENCRYPT",
        "ENCRYPTION",
        "EXPRESS",
        "FLASK",
        "HASH",
        "HMAC",
        "JWT",
        "KEY",
        "NEXTAUTH",
        "PORTAL",
        "RAILS",
        "REFRESH",
        "SECRET",
        "SERVER",
        "SESSION",
        "SESSIONS",
        "SIGN",
        "SIGNING",
        "TOKEN",
        "API",
        "ADMIN",
        "USER",
    ];
    const OWN: &[&str] = &[
        "APP",
        "APPLICATION",
        "AUTH",
        "BASE",
        "COOKIE",
        "COOKIES",
        "CRYPTO",
        "CSRF",
        "DJANGO",
        "ENCRYPT",
        "ENCRYPTION",
        "EXPRESS",
        "FLASK",
        "HASH",
        "HMAC",
        "JWT",
        "NEXTAUTH",
        "SESSION",
        "SESSIONS",
        "SIGN",
        "SIGNING",
    ];
    let words = name.words();
    let whole = words.iter().all(|word| word == "SECRET" || word == "KEY") && name.has(&["SECRET"]);
    let framed = words.iter().all(|word| FRAME.contains(&word.as_str())) && name.has(OWN);
    (whole || framed) && name.last_is(&["SECRET", "KEY", "BASE"])
}

fn plain(name: &Name, value: &str, hints: &Hints) -> Guess {
    let guess = plain_by_form(name, value, hints);
    // The name promised what the value does not keep.
    if value.is_empty() || guess.takes(value) {
        guess
    } else {
        Guess::plain(Kind::String, "the value is of no type that the name suggests")
    }
}

fn plain_by_form(name: &Name, value: &str, hints: &Hints) -> Guess {
    let is = Guess::plain;
    let empty = value.is_empty();
    let digits = !empty && value.bytes().all(|b| b.is_ascii_digit());
    if name.last_is(&["PORT"]) && (empty || digits) {
        return is(Kind::Port, "by the name");
    }
    if (name.ends_with(&["LOG", "LEVEL"]) || name.last_is(&["LOGLEVEL"]))
        && let Some(values) = log_levels(value)
    {
        return is(Kind::Enum { values }, "by the name; the levels are the usual ones");
    }
    if let Some(guess) = switch(name, value) {
        return guess;
    }
    if name.last_is(&["REGION"]) && name.has(&["AWS", "S3", "SES"]) {
        return is(Kind::AwsRegion, "by the name");
    }
    if (name.last_is(&["BUCKET"]) || name.ends_with(&["BUCKET", "NAME"])) && name.has(&["AWS", "S3"]) {
        return is(Kind::S3Bucket, "by the name");
    }
    if name.ends_with(&["CLIENT", "ID"]) {
        return is(Kind::OauthClientId, "by the name");
    }
    if name.is_time() && !digits && !empty {
        return if !hints.is_go() {
            is(Kind::String, "a span of time, which this program reads in its own way")
        } else if is(Kind::Duration { min: None, max: None }, "").takes(value) {
            is(Kind::Duration { min: None, max: None }, "a span of time, by the name and the form")
        } else {
            is(Kind::String, "a span of time, but not as Go reads one")
        };
    }
    if let Some(guess) = number(name, value) {
        return guess;
    }
    if let Some(guess) = address(name, value) {
        return guess;
    }
    if name.last_is(&["PATH", "DIR", "DIRECTORY", "FILE", "FOLDER"])
        && (value.starts_with(['/', '.', '~']) || name.last_is(&["DIR", "DIRECTORY", "FILE"]))
    {
        return is(Kind::Path, "by the name");
    }
    if value.starts_with(['{', '[']) && is(Kind::Json, "").takes(value) {
        return is(Kind::Json, "by the form");
    }
    if name.last_is(&["CRON", "SCHEDULE"]) && !empty && is(Kind::Cron, "").takes(value) {
        return is(Kind::Cron, "by the name and the form");
    }
    is(Kind::String, "nothing tells its form")
}

fn log_levels(value: &str) -> Option<Vec<Box<str>>> {
    const LEVELS: &[&str] = &[
        "trace", "debug", "verbose", "http", "info", "notice", "warn", "warning", "error", "critical",
        "fatal", "silent",
    ];
    let upper = value.chars().any(|c| c.is_ascii_uppercase());
    if !value.is_empty() && !LEVELS.contains(&value.to_ascii_lowercase().as_str()) {
        return None;
    }
    let cased = |level: &&str| if upper { level.to_ascii_uppercase() } else { (*level).to_owned() };
    Some(LEVELS.iter().map(cased).map(String::into_boxed_str).collect())
}

fn switch(name: &Name, value: &str) -> Option<Guess> {
    let pair = |a: &str, b: &str| Kind::Enum { values: vec![a.into(), b.into()] };
    match value {
        "true" | "false" | "True" | "False" | "TRUE" | "FALSE" => {
            Some(Guess::plain(Kind::Bool, "by the value"))
        }
        "yes" | "no" => Some(Guess::plain(pair("yes", "no"), "by the value")),
        "on" | "off" => Some(Guess::plain(pair("on", "off"), "by the value")),
        "0" | "1" if name.is_switch() => Some(Guess::plain(Kind::Bool, "by the name and the value")),
        _ => None,
    }
}

fn number(name: &Name, value: &str) -> Option<Guess> {
    let bare = value.strip_prefix('-').unwrap_or(value);
    let integer = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit());
    // 0644 and 007 are no numbers, a version is none either.
    if (bare.len() > 1 && bare.starts_with('0') && integer)
        || name.last_is(&["VERSION", "ID", "PHONE", "CODE"])
    {
        return None;
    }
    if integer {
        // What counts something is not negative; what else is a number may be a name.
        if name.is_amount() || name.is_time() {
            let min = (!value.starts_with('-')).then_some(0);
            return Some(Guess::plain(Kind::Int { min, max: None }, "an amount, by the name and the value"));
        }
        return Some(Guess::plain(Kind::Int { min: None, max: None }, "by the value"));
    }
    let (whole, fraction) = bare.split_once('.')?;
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (number(whole) && number(fraction))
        .then(|| Guess::plain(Kind::Float { min: None, max: None }, "by the value"))
}

fn address(name: &Name, value: &str) -> Option<Guess> {
    let is = |kind, reason| Some(Guess::plain(kind, reason));
    let list = |of: Kind| Kind::List { of: Box::new(of), separator: ",".into() };
    if name.last_is(&["ORIGIN", "ORIGINS"]) || (name.has(&["CORS"]) && name.is_plural()) {
        let origins = list(Kind::Origin);
        return if Guess::plain(origins.clone(), "").takes(value) {
            is(origins, "by the name and the value")
        } else if name.is_plural() {
            is(list(Kind::String), "by the name")
        } else {
            None
        };
    }
    if value.contains(',') && !value.contains(char::is_whitespace) && name.is_plural() {
        return is(list(Kind::String), "by the name and the commas");
    }
    if let Some((scheme, _)) = value.split_once("://") {
        const KNOWN: &[&str] = &["http", "https", "ws", "wss", "tcp", "grpc", "unix", "file", "s3", "gs"];
        let schemes: Vec<Box<str>> = match scheme {
            "http" | "https" => vec!["https".into(), "http".into()],
            "ws" | "wss" => vec!["wss".into(), "ws".into()],
            known if KNOWN.contains(&known) => vec![known.into()],
            _ => Vec::new(),
        };
        let url = Kind::Url { schemes };
        return if Guess::plain(url.clone(), "").takes(value) { is(url, "by the value") } else { None };
    }
    if value.is_empty() {
        return match name.last() {
            "URL" => is(Kind::Url { schemes: Vec::new() }, "by the name"),
            "HOST" | "HOSTNAME" => is(Kind::Host, "by the name"),
            "EMAIL" => is(Kind::Email, "by the name"),
            _ => None,
        };
    }
    if value.contains('@') && Guess::plain(Kind::Email, "").takes(value) {
        return is(Kind::Email, "by the value");
    }
    if name.last_is(&["HOST", "HOSTNAME", "ADDR", "ADDRESS", "SERVER", "ENDPOINT", "BIND", "LISTEN"]) {
        if Guess::plain(Kind::HostPort, "").takes(value) {
            return is(Kind::HostPort, "by the name and the colon");
        }
        if name.last_is(&["HOST", "HOSTNAME"]) && Guess::plain(Kind::Host, "").takes(value) {
            return is(Kind::Host, "by the name");
        }
    }
    None
}
