//! What the codes about names, relations, sources and files mean: DLC030 on.

use super::{Explanation, Weight};

pub(super) const UNKNOWN_NAME: Explanation = Explanation {
    title: "the schema does not know the name",
    weight: Weight::Warning,
    what: "A source offers a name that the schema does not declare, replace or retire. It is not delivered. Of \
        the process environment, only names that look like a slip of the pen for a declared one are \
        reported.",
    why: "A misspelt name is the quietest of mistakes: `JWT_SECERT` is set, JWT_SECRET is not, and the program \
        falls back.",
    example: "JWT_SECERT=…
  = fix: did you mean JWT_SECRET?",
    fix: "Correct the name; the finding proposes the nearest that is declared. If the name is right and the \
        program reads it, declare it: `[var.NAME]`.",
    silence: "If another program reads it from the same file, list it at the top of the schema: `ignore = \
        [\"COMPOSE_*\"]`.",
};

pub(super) const REPLACED_NAME: Explanation = Explanation {
    title: "the name was replaced by another",
    weight: Weight::Replaced,
    what: "The variable used to have this name (`replaces` in the schema), or documents say it has. The value \
        is judged by the new variable's type, but never delivered: the program does not read the old name.",
    why: "DataLens's documents tell people to set PORT, JWT_EXPIRY and SMTP_PASSWORD; its code reads APP_PORT, \
        JWT_ACCESS_TOKEN_EXPIRY and SMTP_PASS. Whoever follows the documents sets nothing: the port stays \
        8080, and mail cannot log in.",
    example: "JWT_REFRESH_EXPIRY=7d            # the API reads JWT_REFRESH_TOKEN_EXPIRY",
    fix: "Rename it; `dlconf check --fix` does so, and keeps comments and order. If the new name is set as \
        well, remove the old line.",
    silence: "`allow = { DLC031 = \"reason\" }` on the new variable, for instance while old and new releases share \
        a file.",
};

pub(super) const RETIRED_NAME: Explanation = Explanation {
    title: "nothing reads the name any more",
    weight: Weight::Warning,
    what: "The schema lists this name under `[retired]`: the program has stopped reading it, or never did. It \
        is not delivered.",
    why: "A dead setting misleads: people change it, see no effect and look elsewhere. DataLens's documents \
        show DATABASE_URL, yet the API builds its connection from DB_HOST, DB_PORT, DB_NAME, DB_USER and \
        DB_PASSWORD; only tests read DATABASE_URL. It also keeps a password in a file for nothing.",
    example: "API_VERSION=v2                   # nothing reads it",
    fix: "Remove the line. If it carried a value, check that the variables the program does read have it.",
    silence: "If something reads it again, take it out of `[retired]` and declare it, or list it under `ignore` if \
        another program does.",
};

pub(super) const RULE: Explanation = Explanation {
    title: "a rule does not hold",
    weight: Weight::Rule,
    what: "A `[[rule]]` of the schema, a condition over several variables, is false. The finding prints the \
        rule's own message. A rule is not applied while a variable outside `has()` is unset; a default \
        counts as a value.",
    why: "Each value can be right and the whole wrong: `DB_SSL_MODE=disable` is a valid mode, and sends \
        production passwords over the network in clear; more idle than open connections is a pool that \
        cannot be; a DB_PASSWORD with `@` is a fine password that breaks the URL into which the API pastes \
        it unescaped.",
    example: r#"[[rule]]
id = "db-tls"
environments = ["production"]
assert = "vars.DB_SSL_MODE in ['require', 'verify-ca', 'verify-full']"
message = "production traffic to PostgreSQL must be encrypted""#,
    fix: "Change one of the variables that the rule names; the finding shows which line decides.",
    silence: "Give the rule `severity = \"warning\"`, or narrow its `environments` or `services`. For one \
        exception: `allow = { DLC040 = \"reason\" }` on the variable that the finding names.",
};

pub(super) const INCOMPLETE_GROUP: Explanation = Explanation {
    title: "a group is incomplete",
    weight: Weight::Error,
    what: "Some members of an `all_or_none` group are set and others are not. Only what a source offers counts \
        here, not defaults.",
    why: "A client id without its secret is no half login: the user is sent to Google, Microsoft or \
        DigiLocker, agrees, and then fails on the way back, where the secret is needed. An AWS key id \
        without its secret makes the SDK look for other credentials, perhaps those of the wrong account.",
    example: "DIGILOCKER_CLIENT_ID=abc
# DIGILOCKER_CLIENT_SECRET is not set",
    fix: "Set the missing members, or unset all of them: then the feature is off, which is a valid state.",
    silence: "Correct `all_or_none` in the schema. For one exception: `allow = { DLC041 = \"reason\" }` on the \
        missing variable that the finding names.",
};

pub(super) const ENVIRONMENT_DIFFERS: Explanation = Explanation {
    title: "APP_ENV differs from the chosen environment",
    weight: Weight::Error,
    what: "dlconf judges one environment, chosen by `--env`, DLCONF_ENV, the settings or the process's own \
        variable; but the value that the program would get for that variable is another. Where it is absent, \
        dlconf sets it.",
    why: "The program would run as something that was not checked. DataLens's API refuses its published \
        APP_SECRET_KEY only where APP_ENV is `production`: a production that calls itself `development` \
        skips even that check.",
    example: "$ dlconf check --env production
APP_ENV=development",
    fix: "Choose the environment that you mean with `--env`, or correct (or remove) the variable in the source \
        that the finding names.",
    silence: "There is no good reason to silence it: a judgement for another environment is worth nothing.",
};

pub(super) const SOURCE_UNREACHABLE: Explanation = Explanation {
    title: "a source could not be read",
    weight: Weight::Error,
    what: "A source did not answer, or what it holds could not be understood: a server timed out, a required \
        file or Kubernetes object is not there, a line is malformed. Its variables are not judged rather than called missing, and \
        the exit code is 3.",
    why: "'I could not look' is not 'it is not there'. A tool that mixes them up deletes credentials during an \
        outage of Vault. dlconf keeps the last good values, and stays loud until it can look again.",
    example: "error[DLC050]: source 'local' could not be read: this quote is never closed
  --> .env:12:8",
    fix: "Mend what the finding names: the line, the path, the address, the network. `dlconf doctor` tests \
        every source. To go on without the network, use `--offline`: what could not be judged is then \
        listed.",
    silence: "It cannot be silenced. `required = false` (or `optional = true` for a file) in the settings excuses \
        a source that is absent, never one that does not answer.",
};

pub(super) const NOT_PERMITTED: Explanation = Explanation {
    title: "a source does not permit the read",
    weight: Weight::Error,
    what: "The source is there, but refuses: the file belongs to somebody else or is sealed for another key, \
        Vault's policy lacks a path, Kubernetes RBAC lacks a verb. Its variables are not judged rather than called missing, and the exit \
        code is 3.",
    why: "A revoked right looks like an empty source to a careless reader. Treated as a deletion, a mistake in \
        a policy would take every key out of production.",
    example: "error[DLC051]: reading secret/data/datalens/production needs the capability `read` on\n  `secret/data/datalens/production`, which the policy does not give
  --> vault:secret/datalens/production",
    fix: "Grant the right: `dlconf vault-policy` and `dlconf rbac` print the least that your settings need. \
        For a file, check its owner and mode, and those of its folders. For a sealed file, give the key that \
        opens it: `dlconf doctor` names it.",
    silence: "It cannot be silenced: remove the source from the settings if it is not meant to be read.",
};

pub(super) const STALE: Explanation = Explanation {
    title: "a value is older than it may be",
    weight: Weight::ErrorOutsideDevelopment,
    what: "The source could not be asked for longer than its values may be kept (`max_age`), so the last good \
        value may no longer be the true one. With `stale = \"refuse\"` on the variable it is withheld from \
        then on.",
    why: "Holding the last good value bridges an outage; holding it for ever hides a rotation. A leaked key \
        that was replaced in Vault stays in use wherever nobody noticed that Vault cannot be reached.",
    example: r#"[var.JWT_SECRET]
stale = "refuse""#,
    fix: "Restore the source: `dlconf status` shows since when it has been silent, `dlconf doctor` why.",
    silence: "It is about a source, so no variable can silence it. Raise the source's `max_age` in the \
        settings if what it gives may live longer. In development it only warns.",
};

pub(super) const NOT_VERIFIED: Explanation = Explanation {
    title: "the server is not verified",
    weight: Weight::Warning,
    what: "The settings of a source say `insecure_skip_verify = true`, so the certificate of its server is not \
        looked at.",
    why: "Whoever stands between can pose as the server: read the login, hand out any value, and keep a copy of \
        every secret. TLS without verification hides values from nobody who means harm.",
    example: "tls = { insecure_skip_verify = true }",
    fix: "Remove the field. If the server's certificate is signed by an authority of your own, name it: \
        `tls = { ca_cert = \"ca.pem\" }`, or VAULT_CACERT in the environment.",
    silence: "It cannot be silenced.",
};

pub(super) const READERS_DISAGREE: Explanation = Explanation {
    title: "readers of env files disagree on this line",
    weight: Weight::Warning,
    what: "`.env` is not one format. Docker's `--env-file`, Compose, godotenv, dotenv for Node, python-dotenv, \
        bash and systemd read this line differently. dlconf reads it as Compose does, except that `$NAME` \
        with a name that is set nowhere stays as it is. `--portability` shows each reading.",
    why: "The same file gives different values in different places: `A=1#c` is `1#c` for Compose and `1` for \
        Node; `export A=1` is refused by Docker and becomes a variable named `export A` in systemd; of a \
        bcrypt hash, `$2a$10$…`, Compose drops everything that looks like a variable. It works on the laptop \
        and fails in the container.",
    example: r#"A=1#c              # Compose: 1#c    Node: 1
A="x y"            # Compose: x y    docker --env-file: "x y", quotes included
A=$2a$10$abc       # docker: as it is    Compose: $2a$10    godotenv: a$abc"#,
    fix: "Write values that need no quotes where you can. Put what holds `$` or `#` in single quotes. Or let \
        one reader decide: `dlconf render --format compose,docker,systemd,…` writes the file that each of \
        them reads exactly.",
    silence: "`allow = { DLC060 = \"reason\" }` on the variable, if only one reader ever sees the file.",
};

pub(super) const NOT_REPRESENTABLE: Explanation = Explanation {
    title: "the format cannot represent the value",
    weight: Weight::Error,
    what: "`dlconf render` was asked for a format whose reader cannot be given this value, however it is \
        written. Nothing was written at all.",
    why: "docker's `--env-file` has no way to write a newline, so a PEM key would arrive as its first line; \
        python-dotenv expands `${…}` even where it should not. A file that is nearly right is found out in \
        production.",
    example: "$ dlconf render --format docker
error[DLC061]: the docker format cannot hold TLS_KEY: it has more than one line",
    fix: "Choose a format that can: `json`, `yaml`, `k8s-secret`, `shell` and `systemd` represent every value. \
        Or hand the values over without a file: `dlconf run -- CMD`. Or store the value as base64.",
    silence: "It cannot be silenced: the value would arrive changed.",
};

pub(super) const UNDECLARED_USE: Explanation = Explanation {
    title: "a name is used in code but not declared",
    weight: Weight::Error,
    what: "`dlconf drift` found code, a compose file, a manifest or a workflow that reads a variable which the \
        schema does not declare.",
    why: "Undeclared variables are never checked and never delivered: the code that reads them takes its \
        fallback everywhere. This is how a pull request brings in a variable that nobody sets in production.",
    example: "error[DLC070]: FEATURE_CONSENT_V2 is read here, and the schema does not declare it
  --> internal/config/config.go:88",
    fix: "Declare it in the schema, `[var.NAME]`, with its type and where it is required; then `dlconf schema \
        env-example` brings `.env.example` up to date.",
    silence: "If it is not part of this program's configuration, list it under `ignore` at the top of the schema.",
};

pub(super) const UNUSED_DECLARATION: Explanation = Explanation {
    title: "a name is declared but used nowhere",
    weight: Weight::Warning,
    what: "The schema declares the variable, and `dlconf drift` finds nothing that reads it.",
    why: "People keep on setting, rotating and protecting a value that has no effect; a secret among them is a \
        risk without a use. Sometimes it means that the name is built at run time, where no reader of code \
        can see it.",
    example: "warning[DLC071]: FEATURE_CONSENT_V2 is declared, and nothing reads it
  --> policies/datalens.schema.toml:210",
    fix: "Remove the declaration, or move the name to `[retired]` with the reason, so that leftovers are \
        reported (DLC032).",
    silence: "`allow = { DLC071 = \"reason\" }` on the variable, if its name is built at run time.",
};

pub(super) const UNREAD_NAME: Explanation = Explanation {
    title: "a documented name that nothing reads",
    weight: Weight::Warning,
    what: "A document, an example file or a manifest tells people to set a variable that nothing reads: no code \
        uses it, and the schema does not declare it.",
    why: "Documents outlive code. DataLens's show JWT_EXPIRY and DATABASE_URL, which its API does not read, so \
        every new colleague sets them and every deployment carries them.",
    example:
        "warning[DLC072]: SMTP_USERNAME is documented here, and nothing reads it; the code reads SMTP_USER
  --> .env.example:41",
    fix: "Correct the document. If the name once was real, add it to `replaces` of its successor or to \
        `[retired]`: then `dlconf check` tells everybody who still sets it.",
    silence: "List it under `ignore` at the top of the schema, if another program reads it.",
};

pub(super) const WIDE_PERMISSIONS: Explanation = Explanation {
    title: "a file with secrets may be read by others",
    weight: Weight::ErrorOutsideDevelopment,
    what: "A dotenv, structured or key file that supplies a secret gives rights to its group or to everybody, \
        or a sealed file lets everybody write it: reading it is no harm. Directories of secrets are not \
        judged: Kubernetes and Docker mount them 0444 inside a container of its own.",
    why: "Every process of the machine, every user of a shared build host and every backup job reads such a \
        file, and leaves no trace. With write permission they can also change it, and with it the program.",
    example: "$ ls -l .env
-rw-r--r-- 1 deploy deploy 2048 .env",
    fix: "`chmod 600 .env`, or `dlconf check --fix`. If a group needs to read it, let dlconf deliver to it \
        instead: `[delivery.file]` with `mode = \"0440\"` and `group`. On a machine that others used, rotate \
        what the file held.",
    silence: "`allow = { DLC080 = \"reason\" }` on each secret variable that the file supplies. In development it \
        only warns.",
};
