//! What the codes about values mean: DLC001 to DLC024.

use super::{Explanation, Weight};

pub(super) const MISSING: Explanation = Explanation {
    title: "a required variable is not set",
    weight: Weight::Error,
    what: "The schema requires this variable in the chosen environment, and no source offers it. The finding \
        says where dlconf looked, and what the program would do without the value.",
    why: "Programs rarely fail on what is missing: they fall back. Without JWT_SECRET, DataLens's API signs \
        with APP_SECRET_KEY, so one leaked key opens two doors; without PORTAL_JWT_SECRET it signs portal \
        tokens with a literal that is printed in its source, so anybody can make a valid token. Nothing is \
        logged in either case.",
    example: "error[DLC001]: PORTAL_JWT_SECRET is not set
  --> policies/datalens.schema.toml:74      looked in: .env, environment
   = without it, the API uses a key printed in the API's source",
    fix: "Set the variable in one of the places that were read: locally in `.env`, in production in Vault or a \
        Kubernetes Secret. `openssl rand -base64 48` makes a good key. If you did set it, compare the places \
        under 'looked in' with where you put it: the environment (`--env`), the service (`--service`) or the \
        file may be another.",
    silence: "If the variable is not needed in some environment, say so in the schema: `required = [\"staging\", \
        \"production\"]` or `required = false`. That is better than `allow`, since it also tells the next \
        reader.",
};

pub(super) const EMPTY: Explanation = Explanation {
    title: "a required variable is set to nothing",
    weight: Weight::Error,
    what: "A source names the variable but gives it no value: `JWT_SECRET=`. Empty counts as unset, as it does \
        for DataLens's API, so a lower source's value still wins; here no source has one.",
    why: "An empty line looks like configuration that was done. It often comes from a template whose \
        substitution failed, such as `JWT_SECRET=${JWT_SECRET}` in a CI job that does not see the secret \
        (GitHub hides secrets from pull requests of forks).",
    example: "JWT_SECRET=",
    fix: "Give it a value, or remove the line. In CI, check that the secret exists and is passed to this job.",
    silence: "As for DLC001: if it is not required, say so with `required` in the schema.",
};

pub(super) const WRONG_TYPE: Explanation = Explanation {
    title: "the value is not of the variable's type",
    weight: Weight::ErrorUnlessReplaced,
    what: "The text cannot be read as the type that the schema declares: a port that is no number, an address \
        without a scheme, a key that is no PEM. Used for values that the program takes as they are or fails \
        on; where it would silently use its default, the finding is DLC013.",
    why: "Most such values pass the start of the program and fail at first use: an SMTP port at the first \
        mail, a redirect URL at the first login.",
    example: "CORS_ALLOWED_ORIGINS=http://cc.localhost:8000/login
                                             ^^^^^^ an origin has no path",
    fix: "Write the form that the finding names.",
    silence: "Do not silence it: if the program accepts the value, the declared type is wrong. Change `type` in \
        the schema.",
};

pub(super) const OUT_OF_RANGE: Explanation = Explanation {
    title: "the value is out of its range",
    weight: Weight::ErrorUnlessReplaced,
    what: "The value is of the right type, but smaller, larger, shorter or longer than the schema allows \
        (`min`, `max`, `min_bytes`, `max_bytes`), or than the type itself does: ports end at 65535.",
    why: "Such values do what they say, and that is the trouble: a connection lifetime of 5 nanoseconds opens \
        a new connection for each query, a pool of 10,000 connections exhausts PostgreSQL for every other \
        client.",
    example: "DB_MAX_OPEN_CONNS=10000",
    fix: "Write a value inside the range that the finding names. If yours is right, the range is wrong: move \
        `min` or `max` in the schema, where the change is reviewed.",
    silence: "Change the range in the schema. For one exception: `allow = { DLC011 = \"reason\" }` on the \
        variable.",
};

pub(super) const PATTERN: Explanation = Explanation {
    title: "the value does not match its pattern",
    weight: Weight::ErrorUnlessReplaced,
    what: "The schema gives a regular expression that the whole value must match (`pattern`), and it does not.",
    why: "A pattern holds what a type cannot say: the prefix of a vendor's keys, the naming of your buckets. A \
        value that misses it was usually taken from another vendor, account or environment.",
    example: r#"[var.S3_BUCKET]
type = "s3-bucket"
pattern = "datalens-.*"

S3_BUCKET=scans"#,
    fix: "Write a value that matches. The finding prints the pattern, and the schema's example where there is \
        one.",
    silence: "Correct the pattern if it is too narrow. For one exception: `allow = { DLC012 = \"reason\" }` on the \
        variable.",
};

pub(super) const SILENTLY_DEFAULTED: Explanation = Explanation {
    title: "the program would silently use its default",
    weight: Weight::ErrorUnlessReplaced,
    what: "The value is there, but the program cannot parse it and goes on with its built-in default as if \
        nothing had been set. DataLens's API reads integers with Go's `strconv.Atoi` and durations with \
        `time.ParseDuration`; what these refuse is replaced, and nothing is logged. The variable is declared \
        with `on_invalid = \"default\"`.",
    why: "What you wrote and what runs differ, and no log tells you. Go has no unit for days, so `7d` is no \
        duration; a bare `300` is none either, although CONSENT_CACHE_TTL_SECONDS sounds as if it were; and \
        `REDIS_PORT=tcp://10.0.0.1:6379`, which Kubernetes injects into every pod beside a Service named \
        `redis`, is no integer. It goes unnoticed as long as the default happens to fit, until the day you \
        need another value.",
    example: "JWT_REFRESH_TOKEN_EXPIRY=7d      # ignored; 168h is used
CONSENT_CACHE_TTL_SECONDS=300    # ignored; write 300s
APP_PORT=abc                     # ignored; 8080 is used",
    fix: "Write the value that the finding proposes: `168h` for seven days, `300s` for three hundred seconds. \
        `dlconf check --fix` rewrites Go durations in place. Against values that Kubernetes injects, set \
        `enableServiceLinks: false` in the pod's spec.",
    silence: "Do not silence it: remove the line instead, and the same default is used without pretending \
        otherwise.",
};

pub(super) const PLACEHOLDER: Explanation = Explanation {
    title: "the value is a placeholder",
    weight: Weight::ErrorOutsideDevelopment,
    what: "The value was copied from an example and never replaced. The schema lists such texts under `forbid`, \
        where `*` stands for anything: `your-256-bit-secret`, `change-me*`, `sk-...`.",
    why: "Placeholders get deployed because everything starts: an HMAC key of `your-256-bit-secret` signs \
        tokens just as well, and everybody who has read the README can forge them.",
    example: "JWT_SECRET=your-256-bit-secret",
    fix: "Replace it by a real value; for a key, `openssl rand -base64 48`. On a laptop, `dlconf dev` makes \
        development secrets for you.",
    silence: "`allow = { DLC020 = \"reason\" }` on the variable. In development it only warns.",
};

pub(super) const WEAK_SECRET: Explanation = Explanation {
    title: "the secret is too weak",
    weight: Weight::ErrorOutsideDevelopment,
    what: "The secret is shorter than it must be (`min_bytes`, counted on the value as delivered), or it \
        repeats itself, or it is a word that is guessed first.",
    why: "Whoever holds one token signed with HS256 can try keys offline, billions a second, until one \
        reproduces the signature; the API never sees the attempts. RFC 7518 therefore asks for a key at \
        least as long as the hash: 32 bytes for HS256. Length alone is not enough: 32 times the same letter \
        has 32 bytes.",
    example: "JWT_SECRET=datalens123",
    fix: "Generate it: `openssl rand -base64 48`, or `dlconf dev` on a laptop. Do not think one up.",
    silence: "`allow = { DLC021 = \"reason\" }` on the variable, for instance for a password that an old appliance \
        limits to eight characters. In development it only warns.",
};

pub(super) const SHARED_SECRET: Explanation = Explanation {
    title: "two variables hold the same secret",
    weight: Weight::ErrorOutsideDevelopment,
    what: "Two variables that are meant to be different secrets have the same value. dlconf compares them \
        without printing either.",
    why: "Keys keep purposes apart. If JWT_SECRET and PORTAL_JWT_SECRET are the same, a token of the portal \
        passes as one of the control centre. And neither can be rotated alone: APP_SECRET_KEY encrypts \
        stored credentials and must stay, while JWT_SECRET should change every month.",
    example: "JWT_SECRET=…same…
PORTAL_JWT_SECRET=…same…",
    fix: "Give each its own value: `openssl rand -base64 48`, once for each.",
    silence: "`allow = { DLC022 = \"reason\" }` on the variable, where two names really mean one credential. In \
        development it only warns.",
};

pub(super) const PUBLISHED_FALLBACK: Explanation = Explanation {
    title: "the value is the program's published fallback",
    weight: Weight::ErrorOutsideDevelopment,
    what: "The secret equals a literal that is printed in the program's source (`published` in the schema), the \
        one it would use if the variable were unset.",
    why: "A secret in a repository is no secret. DataLens's API refuses only one of its own, APP_SECRET_KEY's, \
        and only if APP_ENV is `production`; it signs portal tokens and consent records with the others \
        without a word.",
    example: "CONSENT_SIGNING_KEY=dev-consent-signing-key…",
    fix: "Set a value of your own: `openssl rand -base64 48`. Records that were signed with the published key \
        prove nothing; plan to sign them again.",
    silence: "`allow = { DLC023 = \"reason\" }` on the variable. In development it only warns.",
};

pub(super) const MISPLACED_SECRET: Explanation = Explanation {
    title: "a secret stands in a place for plain values",
    weight: Weight::ErrorOutsideDevelopment,
    what: "A variable that the schema calls plain holds what is a secret: it has the form of one (a private \
        key, a cloud key, a token), it contains a secret variable's value by reference, or it equals one. \
        Sources may be such places too: a ConfigMap is not a Secret.",
    why: "Plain values are shown: in findings, in `dlconf diff`, in `kubectl get configmap`, in a support \
        ticket. A URL like `postgres://user:pass@host` hides a password in a variable that nobody thinks to \
        protect.",
    example: "NATS_URL=nats://datalens:${NATS_PASSWORD}@nats:4222",
    fix: "Move the secret to the variable that is meant for it, or declare this one with `secret = true` (or \
        type `dsn`) and put it where secrets belong: Vault or a Kubernetes Secret.",
    silence: "`allow = { DLC024 = \"reason\" }` on the variable, if the value only looks like a secret. In \
        development it only warns.",
};
