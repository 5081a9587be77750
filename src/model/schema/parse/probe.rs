//! Reading `[probe.NAME]`: what is tried, on whom, and which hosts may be asked.

use std::ops::Range;
use std::path::{Path, PathBuf};

use url::Url;

use super::{Parser, did_you_mean};
use crate::model::key::Key;
use crate::model::schema::Var;
use crate::model::schema::probe::{
    ClientAuth, HostPattern, MailTls, Probe, Question, Text, host_name, is_this_machine,
};
use crate::model::schema::toml_reader::{Table, integer};

/// What says that a secret is wrong, where a probe does not.
const REFUSED: [u16; 2] = [401, 403];

/// The modes of libpq.
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Who sees what a field says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The other side alone.
    Never,
    /// Messages name it.
    InMessages,
}

impl<'t> Parser<'t> {
    /// Reads a probe. `None` where a mistake leaves nothing to use.
    pub(super) fn probe(
        &self,
        name: &str,
        table: Table<'t>,
        vars: &[Var],
        others: &[Probe],
    ) -> Option<Probe> {
        let at = table.at.clone();
        let kind = self.choice(
            &table,
            "kind",
            &[
                ("oauth", "oauth"),
                ("smtp", "smtp"),
                ("s3", "s3"),
                ("postgres", "postgres"),
                ("bearer", "bearer"),
            ],
        );
        let secret = self.tried(name, &table, vars, others);
        let hosts = self.hosts(&table);
        let ca = self.authorities(&table);
        let Some(kind) = kind else {
            if table.get("kind").is_none() {
                self.mistakes.error(
                    at,
                    format!("probe {name} has no kind"),
                    "`kind` is missing",
                    Some("one of: oauth, smtp, s3, postgres, bearer".into()),
                );
            }
            return None;
        };
        let fields = Fields { parser: self, probe: name, table: &table, vars };
        let question = fields.question(kind);
        fields.judge_literals(question.as_ref());
        if let Some(question) = &question
            && let Some((_, first)) = table.strings("hosts").first()
            && !matches!(question.host(), Some(Text::Variable(_)))
        {
            self.mistakes.warning(
                first.clone(),
                format!("`hosts` of probe {name} says nothing"),
                "no variable names the host: it is the schema's own",
                Some("leave it out".into()),
            );
        }
        table.finish();
        Some(Probe {
            name: name.into(),
            secret: secret?,
            question: question?,
            hosts,
            ca,
            at: self.lines.span(at.start),
        })
    }

    /// The variable that is tried.
    fn tried(&self, name: &str, table: &Table<'t>, vars: &[Var], others: &[Probe]) -> Option<Key> {
        let Some((text, at)) = table.string("secret") else {
            if table.get("secret").is_none() {
                self.mistakes.error(
                    table.at.clone(),
                    format!("probe {name} does not say what it tries"),
                    "`secret` is missing",
                    Some("write the name of the variable: `secret = \"SMTP_PASS\"`".into()),
                );
            }
            return None;
        };
        let key = self.key(text, at.clone())?;
        let Some(var) = vars.iter().find(|var| var.key == key) else {
            self.undeclared(&format!("probe {name}"), &key, at, vars);
            return None;
        };
        if !var.secret {
            self.mistakes.error(
                at,
                format!("probe {name} tries {key}, which is not secret"),
                "a probe tries a secret",
                Some(format!("give {key} a secret type, or `secret = true`")),
            );
            return None;
        }
        if let Some(other) = others.iter().find(|other| other.secret == key) {
            self.mistakes.error(
                at,
                format!("{key} is tried by the probes {} and {name}", other.name),
                "one variable has one probe",
                Some("remove one of them".into()),
            );
        }
        Some(key)
    }

    fn hosts(&self, table: &Table<'t>) -> Vec<HostPattern> {
        let texts = table.strings("hosts");
        let read = texts.into_iter().filter_map(|(text, at)| {
            let wrong = |error: &_| {
                let help = "write names as in \"api.example.com\" or \"*.example.com\"".to_owned();
                self.mistakes.error(
                    at,
                    format!("`{text}` is no host that can be allowed: {error}"),
                    "not a host",
                    Some(help),
                );
            };
            HostPattern::new(text).inspect_err(wrong).ok()
        });
        read.collect()
    }

    fn authorities(&self, table: &Table<'t>) -> Option<PathBuf> {
        let (text, at) = table.string("ca")?;
        if !Path::new(text).is_absolute() {
            self.mistakes.error(
                at,
                "`ca` is no absolute path".into(),
                "a daemon is started anywhere",
                Some("write the whole path of the PEM file: `ca = \"/etc/ssl/postgres-ca.pem\"`".into()),
            );
            return None;
        }
        Some(text.into())
    }
}

/// The fields of one probe.
struct Fields<'p, 't> {
    parser: &'p Parser<'t>,
    probe: &'p str,
    table: &'p Table<'t>,
    vars: &'p [Var],
}

impl Fields<'_, '_> {
    fn question(&self, kind: &str) -> Option<Question> {
        use Shown::{InMessages, Never};
        // Every field is read before one that lacks ends it: all mistakes in one run.
        match kind {
            "oauth" => {
                let (url, client_id) = (self.need("url", InMessages), self.need("client_id", Never));
                let redirect_uri = self.text("redirect_uri", Never);
                let auth = self.parser.choice(
                    self.table,
                    "auth",
                    &[("post", ClientAuth::Post), ("basic", ClientAuth::Basic)],
                );
                let auth = auth.unwrap_or(ClientAuth::Post);
                Some(Question::OAuth { url: url?, client_id: client_id?, redirect_uri, auth })
            }
            "smtp" => {
                let (host, port) = (self.need("host", InMessages), self.port());
                let user = self.need("user", Never);
                let tls = self.parser.choice(
                    self.table,
                    "tls",
                    &[
                        ("implicit", MailTls::Implicit),
                        ("starttls", MailTls::StartTls),
                        ("plain", MailTls::Plain),
                    ],
                );
                Some(Question::Smtp { host: host?, port: port?, user: user?, tls })
            }
            "s3" => {
                let (access_key_id, region) =
                    (self.need("access_key_id", Never), self.need("region", InMessages));
                let bucket = self.need("bucket", InMessages);
                let session_token = self.text("session_token", Never);
                let endpoint = self.text("endpoint", InMessages);
                Some(Question::S3 {
                    access_key_id: access_key_id?,
                    session_token,
                    region: region?,
                    bucket: bucket?,
                    endpoint,
                })
            }
            "postgres" => {
                let (host, port) = (self.need("host", InMessages), self.port());
                let (name, user) = (self.need("name", Never), self.need("user", Never));
                let ssl_mode = self.text("ssl_mode", InMessages);
                Some(Question::Postgres { host: host?, port: port?, name: name?, user: user?, ssl_mode })
            }
            _ => {
                let url = self.need("url", InMessages);
                let header = self.table.string("header").map(|(text, at)| {
                    self.header_name(text, at);
                    text.into()
                });
                let (headers, refused) = (self.headers(), self.refused());
                Some(Question::Bearer { url: url?, header, headers, refused })
            }
        }
    }

    fn need(&self, field: &'static str, shown: Shown) -> Option<Text> {
        let found = self.text(field, shown);
        if found.is_none() && self.table.get(field).is_none() {
            self.missing(field);
        }
        found
    }

    fn missing(&self, field: &'static str) {
        self.parser.mistakes.error(
            self.table.at.clone(),
            format!("probe {} has no `{field}`", self.probe),
            format!("`{field}` is missing"),
            Some(format!("write it, or name a variable: `{field} = \"${{NAME}}\"`")),
        );
    }

    /// A literal or `${NAME}`.
    fn text(&self, field: &'static str, shown: Shown) -> Option<Text> {
        let (text, at) = self.table.string(field)?;
        self.understand(field, text, at, shown)
    }

    fn understand(&self, field: &str, text: &str, at: Range<usize>, shown: Shown) -> Option<Text> {
        let mistakes = self.parser.mistakes;
        let Some(name) = text.strip_prefix("${").and_then(|text| text.strip_suffix('}')) else {
            let declared = self.vars.iter().any(|var| var.key.as_str() == text);
            let (message, help) = if text.is_empty() {
                (format!("`{field}` of probe {} is empty", self.probe), None)
            } else if text.contains("${") {
                let whole = format!("`{field}` of probe {} mixes a variable with text", self.probe);
                (whole, Some("a field is one variable or a text without any".to_owned()))
            } else if declared {
                let bare =
                    format!("`{field}` of probe {} is the text `{text}`, not the variable", self.probe);
                (bare, Some(format!("write `${{{text}}}`")))
            } else {
                return Some(Text::Literal(text.into()));
            };
            mistakes.error(at, message, "neither a variable nor a text", help);
            return None;
        };
        let key = self.parser.key(name, at.clone())?;
        let Some(var) = self.vars.iter().find(|var| var.key == key) else {
            self.parser.undeclared(&format!("probe {}", self.probe), &key, at, self.vars);
            return None;
        };
        if var.secret && shown == Shown::InMessages {
            mistakes.error(
                at,
                format!("`{field}` of probe {} names {key}, which is secret", self.probe),
                "messages say this",
                Some("name a plain variable".into()),
            );
            return None;
        }
        Some(Text::Variable(key))
    }

    /// A port, which may be written as a number.
    fn port(&self) -> Option<Text> {
        let Some(value) = self.table.get("port") else {
            self.missing("port");
            return None;
        };
        let Some(number) = integer(value.get_ref()) else {
            let text = self.text("port", Shown::InMessages)?;
            if matches!(text, Text::Literal(_)) {
                self.table.wrong("port", value, "a number or a variable");
                return None;
            }
            return Some(text);
        };
        if !(1..=65535).contains(&number) {
            self.parser.mistakes.error(value.span(), format!("{number} is no port"), "1 to 65535", None);
            return None;
        }
        Some(Text::Literal(number.to_string().into()))
    }

    fn headers(&self) -> Vec<(Box<str>, Box<str>)> {
        let Some(table) = self.table.table("headers", format!("`headers` of probe {}", self.probe)) else {
            return Vec::new();
        };
        let mut headers = Vec::new();
        for (name, at, value) in table.fields() {
            self.header_name(name, at);
            match value.get_ref().as_str().filter(|text| http::HeaderValue::from_str(text).is_ok()) {
                Some(text) => headers.push((name.into(), text.into())),
                None => table.wrong(name, value, "a text that a header can carry"),
            }
        }
        headers
    }

    fn header_name(&self, text: &str, at: Range<usize>) {
        // They say where a request ends, and to whom it goes.
        const OURS: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "expect"];
        if OURS.contains(&&*text.to_ascii_lowercase()) {
            let message = format!("probe {} must not set the header `{text}`", self.probe);
            self.parser.mistakes.error(at, message, "dlconf writes it", None);
        } else if http::HeaderName::try_from(text).is_err() {
            let help = Some("a header's name is letters, digits and hyphens: x-api-key".into());
            self.parser.mistakes.error(at, format!("`{text}` is no name of a header"), "not a header", help);
        }
    }

    fn refused(&self) -> Vec<u16> {
        let Some(value) = self.table.get("refused") else { return REFUSED.to_vec() };
        let Some(array) = value.get_ref().as_array().filter(|array| !array.is_empty()) else {
            self.table.wrong("refused", value, "a list of statuses: [401, 403]");
            return REFUSED.to_vec();
        };
        let mut refused = Vec::with_capacity(array.len());
        for item in array {
            match integer(item.get_ref()).and_then(|n| u16::try_from(n).ok()) {
                Some(status @ 400..=499) => refused.push(status),
                _ => self.parser.mistakes.error(
                    item.span(),
                    "this is no status that refuses a secret".into(),
                    "400 to 499",
                    Some("401 says that it is wrong; 403 may also say that it may not do this".into()),
                ),
            }
        }
        refused
    }

    /// What the schema writes itself must be usable.
    fn judge_literals(&self, question: Option<&Question>) {
        let Some(question) = question else { return };
        let place = |field: &'static str| self.table.get(field).map_or(0..0, toml::Spanned::span);
        let complain = |field: &'static str, why: &str, help: &str| {
            self.parser.mistakes.error(
                place(field),
                format!("`{field}` of probe {} {why}", self.probe),
                "nothing can be asked there",
                Some(help.to_owned()),
            );
        };
        match question {
            Question::OAuth { url: Text::Literal(url), .. }
            | Question::Bearer { url: Text::Literal(url), .. } => {
                if let Err(why) = askable(url) {
                    complain("url", why, "write `https://host/path`");
                }
            }
            Question::S3 { endpoint: Some(Text::Literal(url)), .. } => {
                if let Err(why) = askable(url) {
                    complain("endpoint", why, "write `https://host`");
                }
            }
            Question::Smtp { host: Text::Literal(host), .. } if host_name(host).is_none() => {
                complain("host", "is no host", "write a name or an address, without a scheme or a port");
            }
            Question::Postgres { host, ssl_mode, .. } => {
                if matches!(host, Text::Literal(host) if host_name(host).is_none()) {
                    complain("host", "is no host", "write a name or an address, without a scheme or a port");
                }
                if let Some(Text::Literal(mode)) = ssl_mode
                    && !SSL_MODES.contains(&&**mode)
                {
                    let help = did_you_mean(mode, &SSL_MODES);
                    let help = help.unwrap_or_else(|| format!("one of: {}", SSL_MODES.join(", ")));
                    complain("ssl_mode", "is none of libpq's modes", &help);
                }
            }
            _ => {}
        }
    }
}

/// Whether a secret may be shown at this address.
fn askable(url: &str) -> Result<(), &'static str> {
    let url = Url::parse(url).map_err(|_| "is no URL")?;
    let host = url.host_str().and_then(host_name).ok_or("has no host")?;
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => Err("carries a login"),
        "https" => Ok(()),
        "http" if is_this_machine(&host) => Ok(()),
        "http" => Err("is http://, which sends the secret in the clear"),
        _ => Err("is neither https:// nor, on this machine, http://"),
    }
}
