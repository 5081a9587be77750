//! Whom a probe asks: from a field to a host that may be asked.
//!
//! Invariant: what a variable names is asked only where a list allows it, and is said
//! only then: a plain variable may hold anything.

use std::fmt;

use url::Url;

use super::{Asked, Doubt};
use crate::model::schema::probe::{Text, host_name, is_this_machine};

/// A host that may be asked, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// As it is compared: lower case, without brackets.
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

impl Place {
    /// Whether it says that it is this machine; who is reached is seen later.
    pub(super) fn is_this_machine(&self) -> bool {
        is_this_machine(&self.host)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A URL that may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) place: Place,
    /// Without TLS, which is for this machine.
    pub(super) is_plain: bool,
    /// The host and, where it is not the scheme's own, the port, as `Host` has them.
    pub(super) authority: String,
    /// Path and query.
    pub(super) target: String,
}

impl Address {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`Doubt`] for what must not be asked; `called` is what it is called.
    pub(super) fn new(url: &Url, called: &str) -> Result<Self, Doubt> {
        let wrong = |why: &str, help: &str| Doubt::new(format!("{called} {why}"), help);
        let host = url.host_str().and_then(host_name);
        let host = host.ok_or_else(|| wrong("names no host", "write https://host/path"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("carries a login", "leave it out: a probe brings the secret itself"));
        }
        let is_plain = match url.scheme() {
            "https" => false,
            "http" if is_this_machine(&host) => true,
            "http" => {
                return Err(wrong("is http://, which would send the secret in the clear", "write https://"));
            }
            _ => return Err(wrong("is neither https:// nor http://", "write https://host/path")),
        };
        let port = url.port_or_known_default().unwrap_or(443);
        let shown = url.host_str().unwrap_or_default();
        let authority = url.port().map_or_else(|| shown.to_owned(), |port| format!("{shown}:{port}"));
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self { place: Place { host, port }, is_plain, authority, target })
    }
}

/// What a field is called in messages: its variable, or itself.
pub(super) fn called(text: &Text, field: &str) -> String {
    match text {
        Text::Variable(key) => key.to_string(),
        Text::Literal(_) => format!("`{field}` of the probe"),
    }
}

impl Asked<'_> {
    /// The server that two fields name, if it may be asked.
    pub(super) fn place(&self, host: &Text, port: &Text) -> Result<Place, Doubt> {
        let value = self.value("host", host)?;
        let name = host_name(value.expose()).ok_or_else(|| {
            Doubt::new(format!("{} is no host", called(host, "host")), "write a name or an address")
        })?;
        self.allow(&name, host, "host")?;
        let number = self.value("port", port)?.expose().parse::<u16>().ok().filter(|port| *port != 0);
        let port = number.ok_or_else(|| {
            Doubt::new(format!("{} is no port", called(port, "port")), "write a number from 1 to 65535")
        })?;
        Ok(Place { host: name, port })
    }

    /// The URL of a field, if its host may be asked.
    pub(super) fn url(&self, field: &'static str, text: &Text) -> Result<Address, Doubt> {
        let value = self.value(field, text)?;
        let called = called(text, field);
        let url = Url::parse(value.expose())
            .map_err(|_| Doubt::new(format!("{called} is no URL"), "write https://host/path"))?;
        let address = Address::new(&url, &called)?;
        self.allow(&address.place.host, text, field)?;
        Ok(address)
    }

    /// A host that the schema writes itself is its own word; one that a variable names
    /// has to be on a list.
    fn allow(&self, host: &str, text: &Text, field: &str) -> Result<(), Doubt> {
        let Text::Variable(_) = text else { return Ok(()) };
        if self.spec.hosts.iter().chain(self.hosts).any(|pattern| pattern.allows(host)) {
            return Ok(());
        }
        Err(Doubt::new(
            format!("the host that {} names is on no list of hosts that may be asked", called(text, field)),
            format!(
                "if it is the right one, add it to `probe_hosts` of [rotation] in the settings, or to `hosts` of [probe.{}] in the schema",
                self.spec.name
            ),
        ))
    }
}
