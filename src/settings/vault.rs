//! `type = "vault"`: from what is written to what the source is told.
//!
//! Owns: what stands for a field that is not written (a variable of the process,
//! a default), and what the fields must be. `paths` reads the list of paths;
//! `ambient` knows the variables and where a token of theirs may go.
//! Invariants: no secret is looked at, only whether its variable is set; settings
//! that were merely found read no file outside their folder, do not turn
//! verification off, and send no token of the caller's to a server that they
//! choose or vouch for.
//! Must not know: how a server is asked.

mod ambient;
mod paths;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::durations::{DEADLINES, TIMEOUTS};
use super::layers::Merged;
use super::raw::{Method, RawAuth, RawSource};
use super::table::Table;
use super::{FILE_NAME, Network, Opened, SettingsError, ShownPath, SourceKind, found_only};
use crate::model::origin::Location;
use crate::source::vault::Config;
use crate::source::vault::config::{Address, Auth, Identity, RoleId, Tls, default};
use ambient::{ADDRESS, Ambient, CA_CERT, NAMESPACE, TOKEN};

/// How often versions may be looked at.
const POLLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// One source, being read.
struct Reader<'a> {
    opened: &'a Opened,
    merged: &'a Merged<'a>,
    name: &'a str,
    raw: &'a RawSource,
    ambient: Ambient<'a>,
    /// The folder of settings that were merely found. Offline there is none:
    /// nothing is read or sent.
    confined: Option<&'a Path>,
}

impl Opened {
    /// A Vault source; `rotates` is whether rotations are on.
    pub(super) fn vault(
        &self,
        merged: &Merged<'_>,
        name: &str,
        raw: &RawSource,
        rotates: bool,
        network: Network<'_>,
    ) -> Result<SourceKind, SettingsError> {
        let (ambient, confined) = match network {
            Network::Offline => (Ambient::none(), None),
            Network::Online(process) => (Ambient::of(process), self.beneath()),
        };
        let reader = Reader { opened: self, merged, name, raw, ambient, confined };
        let auth = reader.auth()?;
        let paths = reader.paths()?;
        let poll = reader.duration("poll", raw.poll.as_deref(), default::POLL, &POLLS)?;
        let timeout = reader.duration("timeout", raw.timeout.as_deref(), default::TIMEOUT, &TIMEOUTS)?;
        let deadline = reader.duration("deadline", raw.deadline.as_deref(), default::DEADLINE, &DEADLINES)?;
        let namespace = reader.namespace()?;
        let tls = reader.tls()?;
        let address = reader.address()?;
        reader.judge_tls(&auth, &tls, address.as_ref())?;
        reader.judge_credentials(address.as_ref())?;
        if matches!(network, Network::Offline) {
            return Ok(SourceKind::PassedOver);
        }
        let address = address.ok_or_else(|| reader.no_address())?;
        let token = match auth {
            Auth::Token => Some(reader.token(&address)?),
            _ => None,
        };
        let required = raw.required.unwrap_or(true);
        let config =
            Config { address, namespace, auth, paths, poll, required, tls, timeout, deadline, rotates };
        Ok(SourceKind::Vault { config: Box::new(config), token })
    }
}

impl Reader<'_> {
    fn place(&self, field: &[&str]) -> Option<Location> {
        self.merged.place(&[&["source", self.name], field].concat())
    }

    fn error(&self, field: &[&str], message: impl Into<String>, help: impl Into<String>) -> SettingsError {
        SettingsError::new(message, self.place(field), help)
    }

    fn is_of_the_caller(&self, field: &[&str]) -> bool {
        self.merged.is_of_the_caller(&[&["source", self.name], field].concat())
    }

    /// What settings may not do that were merely found.
    fn refused(&self, field: &[&str], attempt: &str, instead: &str) -> SettingsError {
        let label = self.opened.layers.label().unwrap_or(FILE_NAME);
        let refused = found_only(label, attempt, self.place(field));
        SettingsError { help: format!("{}{instead}", refused.help), ..refused }
    }

    /// A text that may be absent, but not empty.
    fn filled(&self, field: &[&str], text: Option<&String>) -> Result<Option<String>, SettingsError> {
        match text {
            Some(text) if text.trim().is_empty() => {
                let message = format!("`{}` of source `{}` is empty", field.join("."), self.name);
                Err(self.error(field, message, "write it, or remove the field"))
            }
            Some(text) => Ok(Some(text.clone())),
            None => Ok(None),
        }
    }

    /// A file, if it is written.
    fn file(&self, field: &[&str], text: Option<&String>) -> Result<Option<ShownPath>, SettingsError> {
        let Some(text) = self.filled(field, text)? else { return Ok(None) };
        let beneath = self.confined.filter(|_| !self.is_of_the_caller(field));
        self.opened.shown(&text, beneath, || self.place(field)).map(Some)
    }

    fn address(&self) -> Result<Option<Address>, SettingsError> {
        let help = "write it as https://vault.example.com:8200";
        if let Some(text) = &self.raw.address {
            let wrong = |clause| {
                let message = format!("the address of source `{}` {clause}", self.name);
                self.error(&["address"], message, help)
            };
            return Address::parse(text).map(Some).map_err(wrong);
        }
        let Some((variable, text)) = self.ambient.first(ADDRESS) else { return Ok(None) };
        Address::parse(&text).map(Some).map_err(|clause| of_variable(variable, clause, help))
    }

    fn no_address(&self) -> SettingsError {
        self.error(
            &[],
            format!(
                "source `{}` has no `address`, and neither {} nor {} is set",
                self.name, ADDRESS[0], ADDRESS[1]
            ),
            "add `address = \"https://vault.example.com:8200\"`, or set VAULT_ADDR",
        )
    }

    /// None where none is written, or an empty one: that is the root.
    fn namespace(&self) -> Result<Option<String>, SettingsError> {
        let help = "write it as team/a";
        let judged = |text: &str| match text.trim_matches('/') {
            "" => Ok(None),
            text if text.contains(|c: char| !c.is_ascii_graphic()) => {
                Err("must be made of printable ASCII, without spaces")
            }
            text => paths::segments(text).map(Some),
        };
        if let Some(text) = &self.raw.namespace {
            let wrong = |clause| {
                let message = format!("the namespace of source `{}` {clause}", self.name);
                self.error(&["namespace"], message, help)
            };
            return judged(text).map_err(wrong);
        }
        let Some((variable, text)) = self.ambient.first(NAMESPACE) else { return Ok(None) };
        judged(&text).map_err(|clause| of_variable(variable, clause, help))
    }

    /// Where nothing is written: a token, if there is one.
    fn auth(&self) -> Result<Auth, SettingsError> {
        let Some(raw) = &self.raw.auth else { return Ok(Auth::Token) };
        Ok(match raw.method {
            Method::Token => Auth::Token,
            Method::TokenFile => {
                let path = self.file(&["auth", "path"], raw.path.as_ref())?;
                Auth::TokenFile { path: path.ok_or_else(|| self.lacks("token-file", "path"))? }
            }
            Method::AppRole => self.approle(raw)?,
            Method::Kubernetes => Auth::Kubernetes {
                mount: self.mount(raw, "kubernetes")?,
                role: self.role(raw)?.ok_or_else(|| self.lacks("kubernetes", "role"))?,
                token: self.kubernetes_token(raw)?,
            },
            Method::Jwt => {
                let token = self.file(&["auth", "token_file"], raw.token_file.as_ref())?;
                Auth::Jwt {
                    mount: self.mount(raw, "jwt")?,
                    role: self.role(raw)?,
                    token: token.ok_or_else(|| self.lacks("jwt", "token_file"))?,
                }
            }
            Method::Cert => Auth::Cert { mount: self.mount(raw, "cert")?, role: self.role(raw)? },
        })
    }

    fn approle(&self, raw: &RawAuth) -> Result<Auth, SettingsError> {
        let text = self.filled(&["auth", "role_id"], raw.role_id.as_ref())?;
        let file = self.file(&["auth", "role_id_file"], raw.role_id_file.as_ref())?;
        let role_id = match (text, file) {
            (Some(text), None) => RoleId::Text(text),
            (None, Some(file)) => RoleId::File(file),
            (None, None) => return Err(self.lacks("approle", "role_id")),
            (Some(_), Some(_)) => {
                let message = format!("source `{}` has `role_id` and `role_id_file`", self.name);
                return Err(self.error(&["auth", "role_id_file"], message, "keep one of them"));
            }
        };
        let secret_id = self.file(&["auth", "secret_id_file"], raw.secret_id_file.as_ref())?;
        let wrapped = raw.wrapped.unwrap_or(false);
        if wrapped && secret_id.is_none() {
            let message = format!("source `{}` has a wrapped secret-id, but no file of it", self.name);
            let help = "add `secret_id_file = \"…\"`: the file that holds the wrapping token";
            return Err(self.error(&["auth", "wrapped"], message, help));
        }
        Ok(Auth::AppRole { mount: self.mount(raw, "approle")?, role_id, secret_id, wrapped })
    }

    fn kubernetes_token(&self, raw: &RawAuth) -> Result<ShownPath, SettingsError> {
        match self.file(&["auth", "token_file"], raw.token_file.as_ref())? {
            Some(file) => Ok(file),
            // A stranger may not send the pod's identity to a server of his.
            None => self.opened.shown(default::KUBERNETES_TOKEN, self.confined, || self.place(&["auth"])),
        }
    }

    fn role(&self, raw: &RawAuth) -> Result<Option<String>, SettingsError> {
        self.filled(&["auth", "role"], raw.role.as_ref())
    }

    fn mount(&self, raw: &RawAuth, usual: &str) -> Result<String, SettingsError> {
        let Some(text) = &raw.mount else { return Ok(usual.to_owned()) };
        let mount = paths::segments(text).and_then(|mount| match mount.strip_prefix("auth/") {
            Some(_) => Err("begins with `auth/`"),
            None => Ok(mount),
        });
        mount.map_err(|clause| {
            let message = format!("`auth.mount` of source `{}` {clause}", self.name);
            self.error(&["auth", "mount"], message, format!("write it as {usual}, without `auth/`"))
        })
    }

    fn lacks(&self, method: &str, field: &str) -> SettingsError {
        let message = format!("source `{}` logs in by \"{method}\", but `auth` has no `{field}`", self.name);
        let help = match field {
            "role_id" => "add `role_id = \"…\"` or `role_id_file = \"…\"`".to_owned(),
            field => format!("add `{field} = \"…\"`"),
        };
        self.error(&["auth"], message, help)
    }

    fn duration(
        &self,
        field: &str,
        text: Option<&str>,
        usual: Duration,
        within: &RangeInclusive<Duration>,
    ) -> Result<Duration, SettingsError> {
        let table = Table { opened: self.opened, merged: self.merged, at: &["source", self.name] };
        table.duration_within(&[field], text, usual, within)
    }

    fn tls(&self) -> Result<Tls, SettingsError> {
        let raw = &self.raw.tls;
        let ca_cert = match self.file(&["tls", "ca_cert"], raw.ca_cert.as_ref())? {
            Some(file) => Some(file),
            None => self.ambient.first(CA_CERT).map(|(_, path)| ShownPath::named(Path::new(&path))),
        };
        let cert = self.file(&["tls", "client_cert"], raw.client_cert.as_ref())?;
        let key = self.file(&["tls", "client_key"], raw.client_key.as_ref())?;
        let half = |there: &str, missing: &str| {
            let message = format!("`tls` of source `{}` has `{there}` but no `{missing}`", self.name);
            let help = format!("add `{missing} = \"…\"`; one file may hold both");
            Err(self.error(&["tls", there], message, help))
        };
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some(Identity { cert, key }),
            (Some(_), None) => return half("client_cert", "client_key"),
            (None, Some(_)) => return half("client_key", "client_cert"),
            (None, None) => None,
        };
        let insecure_skip_verify = raw.insecure_skip_verify.unwrap_or(false);
        let field = ["tls", "insecure_skip_verify"];
        if insecure_skip_verify && self.confined.is_some() && !self.is_of_the_caller(&field) {
            return Err(self.refused(&field, "turn the verification of servers off", ""));
        }
        Ok(Tls { ca_cert, identity, insecure_skip_verify })
    }

    /// What `auth`, `tls` and the address must have to do with each other.
    fn judge_tls(&self, auth: &Auth, tls: &Tls, address: Option<&Address>) -> Result<(), SettingsError> {
        let plain = address.is_some_and(|address| !address.is_tls());
        let by_certificate = matches!(auth, Auth::Cert { .. });
        if by_certificate && tls.identity.is_none() {
            let message =
                format!("source `{}` logs in by certificate, but `tls` has no `client_cert`", self.name);
            let help = "add `tls = { client_cert = \"…\", client_key = \"…\" }`";
            return Err(self.error(&["auth"], message, help));
        }
        if by_certificate && plain {
            let message =
                format!("source `{}` logs in by certificate, but its address is http://", self.name);
            return Err(self.error(&["address"], message, "write https://: only TLS shows certificates"));
        }
        if tls.insecure_skip_verify && plain {
            let message = format!(
                "source `{}` skips the verification of a server whose address is http://: there is none",
                self.name
            );
            let help = "write https://, or remove `insecure_skip_verify`";
            return Err(self.error(&["tls", "insecure_skip_verify"], message, help));
        }
        Ok(())
    }

    /// A credential that the caller names in a variable goes, like his token, to no
    /// server that found settings choose or vouch for.
    fn judge_credentials(&self, address: Option<&Address>) -> Result<(), SettingsError> {
        const FIELDS: [&str; 5] = ["path", "token_file", "secret_id_file", "role_id_file", "role_id"];
        if self.confined.is_none() {
            return Ok(());
        }
        let Some(field) = FIELDS.into_iter().find(|field| self.is_of_the_caller(&["auth", field])) else {
            return Ok(());
        };
        let ca_cert = ["tls", "ca_cert"];
        if self.raw.tls.ca_cert.is_some() && !self.is_of_the_caller(&ca_cert) {
            let attempt =
                format!("say which authorities vouch for the server that your `auth.{field}` goes to");
            return Err(self.refused(&ca_cert, &attempt, "; else name the file in VAULT_CACERT"));
        }
        let own = self.raw.address.is_none() || self.is_of_the_caller(&["address"]);
        if own || address.is_some_and(|address| self.ambient.is_home(address)) {
            return Ok(());
        }
        let attempt = format!("send your `auth.{field}` to an address of its own choice");
        let instead = "; else set the address in a variable too, or in VAULT_ADDR";
        Err(self.refused(&["address"], &attempt, instead))
    }

    /// The variable whose token is sent to this address.
    fn token(&self, address: &Address) -> Result<&'static str, SettingsError> {
        let Some(any) = self.ambient.any_token() else {
            let (message, field): (_, &[&str]) = if self.raw.auth.is_some() {
                (format!("source `{}` logs in with a token", self.name), &["auth"])
            } else {
                (format!("source `{}` has no `auth`", self.name), &[])
            };
            return Err(self.error(
                field,
                format!("{message}, but neither {} nor {} is set", TOKEN[0], TOKEN[1]),
                "set VAULT_TOKEN, or choose another login: auth = { method = \"…\" }; ~/.vault-token is not \
                 read unless it is named: auth = { method = \"token-file\", path = \"…\" }",
            ));
        };
        let twin = self.ambient.token_of(address);
        if self.confined.is_none() {
            return Ok(twin.unwrap_or(any));
        }
        let ca_cert = ["tls", "ca_cert"];
        if self.raw.tls.ca_cert.is_some() && !self.is_of_the_caller(&ca_cert) {
            let attempt = format!("say which authorities vouch for the server that {any} goes to");
            let instead = "; else remove `ca_cert` and name the file in VAULT_CACERT";
            return Err(self.refused(&ca_cert, &attempt, instead));
        }
        if self.is_of_the_caller(&["address"]) {
            return Ok(twin.unwrap_or(any));
        }
        twin.ok_or_else(|| {
            let home = ambient::home(any);
            let attempt = format!("send {any} to another address than that of {home}");
            let unset = if self.ambient.is_set(home) { "" } else { ", which is not set" };
            self.refused(&["address"], &format!("{attempt}{unset}"), &format!("; else unset {any}"))
        })
    }
}

/// A mistake in a variable of the process that stands for a field.
fn of_variable(variable: &str, clause: &str, help: &str) -> SettingsError {
    let place = Location::Named(format!("env:{variable}").into());
    SettingsError::new(format!("{variable} {clause}"), Some(place), format!("{help}, or unset it"))
}

#[cfg(test)]
mod tests;
