//! What a variable's name tells by its words.

/// Words that remind of secrets without being one: `SESSION_DRIVER`.
const REMINDERS: &[&str] = &["AUTH", "COOKIE", "JWT", "SESSION", "SIGNATURE"];

/// Endings of words that are run together: `MYSQLPASSWORD`, `DBPASS`.
const SENSITIVE_ENDINGS: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "KEY",
    "DSN",
    "CREDENTIALS",
];

/// Words that make a secret of what they stand in, unless the last word says
/// that only a property of it is meant.
const SECRET: &[&str] = &[
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWORDS",
    "PASSWD",
    "PASS",
    "PWD",
    "PW",
    "PASSPHRASE",
    "PASSCODE",
    "TOKEN",
    "TOKENS",
    "KEY",
    "KEYS",
    "APIKEY",
    "APIKEYS",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "SALT",
    "PEPPER",
    "PIN",
    "PRIVATE",
    "DSN",
    "OTP",
    "TOTP",
    "SEED",
    "MNEMONIC",
    "WEBHOOK",
    "LICENSE",
    "LICENCE",
    "HTPASSWD",
    "PAT",
];

/// Last words that tell of a property, not of the secret itself:
/// `TOKEN_EXPIRY`, `PASSWORD_MIN_LENGTH`, `SESSION_DRIVER`.
const PROPERTIES: &[&str] = &[
    "ALG",
    "ALGO",
    "ALGORITHM",
    "AUDIENCE",
    "BACKEND",
    "BUCKET",
    "COST",
    "COUNT",
    "CONNECTION",
    "DIR",
    "DOMAIN",
    "DRIVER",
    "ENABLED",
    "ENDPOINT",
    "ENGINE",
    "EMAIL",
    "FILE",
    "FORMAT",
    "HEADER",
    "HOST",
    "ID",
    "ISSUER",
    "ITERATIONS",
    "LENGTH",
    "LIMIT",
    "MODE",
    "NAME",
    "PATH",
    "PORT",
    "PREFIX",
    "PROVIDER",
    "REGION",
    "REQUIRED",
    "ROUNDS",
    "SAMESITE",
    "SCOPE",
    "SCOPES",
    "SECURE",
    "SIZE",
    "STORE",
    "TYPE",
    "URI",
    "URL",
    "USER",
    "USERNAME",
    "VERSION",
];

/// Words of spans of time.
const TIMES: &[&str] = &[
    "AGE",
    "BACKOFF",
    "DEADLINE",
    "DELAY",
    "DURATION",
    "EXPIRATION",
    "EXPIRES",
    "EXPIRESIN",
    "EXPIRY",
    "GRACE",
    "IN",
    "INTERVAL",
    "KEEPALIVE",
    "LEEWAY",
    "LIFESPAN",
    "LIFETIME",
    "MAXAGE",
    "PERIOD",
    "TIMEOUT",
    "TTL",
    "WAIT",
    "WINDOW",
];

/// Words of amounts.
const AMOUNTS: &[&str] = &[
    "BYTES",
    "CONCURRENCY",
    "CONNECTIONS",
    "CONNS",
    "COUNT",
    "DAYS",
    "DB",
    "DEPTH",
    "HOURS",
    "ITERATIONS",
    "LENGTH",
    "LIMIT",
    "MAX",
    "MB",
    "MIN",
    "MINUTES",
    "MS",
    "NUM",
    "PERCENT",
    "POOL",
    "PROCESSES",
    "RATE",
    "RETRIES",
    "ROUNDS",
    "SECONDS",
    "SECS",
    "SIZE",
    "THREADS",
    "THRESHOLD",
    "WORKERS",
];

/// Words that come after the one that matters: `API_KEY_OLD`, `TOKEN_2`.
const TRAILERS: &[&str] = &[
    "B64",
    "BASE64",
    "CURRENT",
    "DEFAULT",
    "DEV",
    "HEX",
    "LIVE",
    "NEW",
    "NEXT",
    "OLD",
    "PREV",
    "PREVIOUS",
    "PRIMARY",
    "PROD",
    "PRODUCTION",
    "READ",
    "READONLY",
    "RO",
    "RW",
    "SANDBOX",
    "SECONDARY",
    "STAGING",
    "TEST",
    "WRITE",
];

/// A name in words of capitals: `dbUrl` and `DB_URL` are `DB`, `URL`.
pub(super) struct Name {
    text: String,
    words: Vec<String>,
    /// How many of the words come before the trailers.
    core: usize,
}

impl Name {
    pub(super) fn new(text: &str) -> Self {
        let mut words: Vec<String> = vec![String::new()];
        let mut previous = '_';
        for c in text.chars() {
            if c == '_' || (previous.is_ascii_lowercase() && c.is_ascii_uppercase()) {
                words.push(String::new());
            }
            if let (true, Some(word)) = (c != '_', words.last_mut()) {
                word.push(c.to_ascii_uppercase());
            }
            previous = c;
        }
        words.retain(|word| !word.is_empty());
        let trailer =
            |word: &String| TRAILERS.contains(&word.as_str()) || word.bytes().all(|b| b.is_ascii_digit());
        let trailers = words.iter().rev().take_while(|word| trailer(word)).count();
        let core = if trailers == words.len() { words.len() } else { words.len() - trailers };
        Self { text: text.to_owned(), words, core }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The words that matter, without trailers.
    pub(super) fn words(&self) -> &[String] {
        self.words.get(..self.core).unwrap_or(&self.words)
    }

    /// The last word that matters.
    pub(super) fn last(&self) -> &str {
        self.words().last().map_or("", String::as_str)
    }

    pub(super) fn has(&self, words: &[&str]) -> bool {
        self.words.iter().any(|word| words.contains(&word.as_str()))
    }

    pub(super) fn last_is(&self, words: &[&str]) -> bool {
        words.contains(&self.last())
    }

    /// Whether the words that matter end with these.
    pub(super) fn ends_with(&self, ending: &[&str]) -> bool {
        let words = self.words();
        words.len() >= ending.len()
            && words.iter().rev().zip(ending.iter().rev()).all(|(word, wanted)| word == wanted)
    }

    /// Whether any word of it reminds of a secret, be it only a property of one.
    pub(super) fn is_sensitive(&self) -> bool {
        self.has(SECRET) || self.has(REMINDERS) || self.words.iter().any(|word| run_together(word))
    }

    /// Whether what it names is a secret.
    pub(super) fn is_secret(&self) -> bool {
        if self.is_public() {
            return false;
        }
        // The id of an AWS key is kept with the key.
        if self.ends_with(&["ACCESS", "KEY", "ID"]) || self.ends_with(&["WEBHOOK", "URL"]) {
            return true;
        }
        !self.is_property() && (self.has(SECRET) || self.words.iter().any(|word| run_together(word)))
    }

    /// Whether it names a property, be it of a secret: `TOKEN_TTL`.
    pub(super) fn is_property(&self) -> bool {
        self.last_is(PROPERTIES) || self.is_time() || self.is_amount()
    }

    /// Whether it is published with the program: `NEXT_PUBLIC_…`, `VITE_…`.
    pub(super) fn is_public(&self) -> bool {
        self.has(&["PUBLIC", "PUBLISHABLE", "PUBKEY"])
            || matches!(self.words.first().map(String::as_str), Some("VITE"))
            || (self.words.len() > 2 && self.text.starts_with("REACT_APP_"))
    }

    /// Whether it names a span of time.
    pub(super) fn is_time(&self) -> bool {
        self.last_is(TIMES)
            || (self.has(TIMES) && self.last_is(&["SECONDS", "SECS", "MS", "MINUTES", "HOURS", "DAYS"]))
    }

    /// Whether it counts or measures something.
    pub(super) fn is_amount(&self) -> bool {
        self.last_is(AMOUNTS) || self.has(&["MAX", "MIN", "NUM"])
    }

    /// Whether it names a switch.
    pub(super) fn is_switch(&self) -> bool {
        const FIRST: &[&str] = &["ALLOW", "DISABLE", "ENABLE", "FORCE", "HAS", "IS", "SKIP", "USE"];
        const LAST: &[&str] =
            &["DEBUG", "DISABLED", "ENABLED", "SECURE", "SSL", "STARTTLS", "TLS", "TRACING", "VERBOSE"];
        self.words.iter().any(|word| FIRST.contains(&word.as_str())) || self.last_is(LAST)
    }

    /// Whether it names several things.
    pub(super) fn is_plural(&self) -> bool {
        let last = self.last();
        last == "LIST"
            || (last.len() > 3 && last.ends_with('S') && !last.ends_with("SS") && !last.ends_with("US"))
    }
}

fn run_together(word: &str) -> bool {
    SENSITIVE_ENDINGS.iter().any(|ending| word.len() > ending.len() && word.ends_with(ending))
}
