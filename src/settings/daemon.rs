//! `[socket]`, `[ops]` and `[debounce]`: where a daemon answers, and how long it
//! lets changes gather.
//!
//! Invariants: an address is written as one, for a name may mean another machine
//! tomorrow; a Unix socket has a path that the system can bind; settings that
//! were merely found are heard on this machine only.
//! Must not know: who listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::durations::written;
use super::layers::Merged;
use super::raw::Raw;
use super::table::{Least, Table};
use super::understand::understand;
use super::{Opened, SettingsError, SocketSettings};
use crate::broker::Debounce;
use crate::serve::config::{Listen, SocketConfig};

/// The longest path of a Unix socket, in bytes: the system has 108 with the NUL
/// behind it.
const LONGEST: usize = 107;

/// Connections to the socket at once; of one user, half of what is written.
const CONNECTIONS: u32 = 4096;

/// The only name that always means this machine.
const LOCALHOST: &str = "localhost";

impl Opened {
    /// `[socket]`.
    pub(super) fn socket(
        &self,
        merged: &Merged<'_>,
        raw: &Raw,
    ) -> Result<Option<SocketSettings>, SettingsError> {
        let Some(raw) = &raw.socket else { return Ok(None) };
        let table = Table { opened: self, merged, at: &["socket"] };
        let mode = table.mode(&["mode"], raw.mode.as_deref())?;
        let policy = raw.policy.as_deref().map(|path| {
            let path = table.filled(&["policy"], path)?;
            self.reached("read", path, table.confined(&["policy"]), || table.place(&["policy"]))
        });
        let most = table.count("max_connections", raw.max_connections, CONNECTIONS)?;
        let per_user =
            table.count("max_connections_per_user", raw.max_connections_per_user, most.div_ceil(2))?;
        if per_user > most {
            let clause = format!("is more than `max_connections`, which is {most}");
            let help = format!("write {} or less: one user must not keep all others out", most.div_ceil(2));
            return Err(table.wrong(&["max_connections_per_user"], &clause, help));
        }
        Ok(Some(SocketSettings {
            at: unix(&table, "path", &raw.path, mode)?,
            policy: policy.transpose()?,
            max_connections: most as usize,
            max_connections_per_user: per_user as usize,
        }))
    }

    /// `[socket]` as far as it can be told without judging anything else: a daemon
    /// goes on under settings and a schema that are wrong by now, and must be found.
    pub fn socket_at_least(&self, environment: Option<&str>) -> Option<SocketConfig> {
        let merged = self.layers.merged(environment.or(self.raw.environment.as_deref()));
        self.socket(&merged, &understand(&merged).ok()?).ok()?.map(|socket| socket.at)
    }

    /// `[ops]`.
    pub(super) fn ops(&self, merged: &Merged<'_>, raw: &Raw) -> Result<Option<Listen>, SettingsError> {
        let Some(raw) = &raw.ops else { return Ok(None) };
        let table = Table { opened: self, merged, at: &["ops"] };
        if let Some(path) = raw.listen.strip_prefix("unix:") {
            return unix(&table, "listen", path, 0o600).map(|socket| Some(Listen::Unix(socket)));
        }
        let field = ["listen"];
        let address = tcp(&raw.listen).map_err(|Slip { clause, help }| table.wrong(&field, clause, help))?;
        if table.confined(&field).is_some() && !address.ip().to_canonical().is_loopback() {
            return Err(
                table.refused(&field, &format!("listen at {address}: others than this machine reach that"))
            );
        }
        Ok(Some(Listen::Tcp(address)))
    }

    /// `[debounce]`.
    pub(super) fn debounce(&self, merged: &Merged<'_>, raw: &Raw) -> Result<Debounce, SettingsError> {
        let (raw, usual) = (&raw.debounce, Debounce::default());
        let table = Table { opened: self, merged, at: &["debounce"] };
        let min = table.duration(&["min"], raw.min.as_deref(), usual.min, Least::Zero)?;
        let max = table.duration(&["max"], raw.max.as_deref(), usual.max, Least::Zero)?;
        if min <= max {
            return Ok(Debounce { min, max });
        }
        let by_default = |text: &Option<String>| if text.is_none() { " by default" } else { "" };
        let help = format!("write {} or more in `max`, or less than that in `min`", written(min));
        let field = if raw.max.is_some() { "max" } else { "min" };
        Err(if field == "max" {
            let clause = format!("is shorter than `min`, which is {}{}", written(min), by_default(&raw.min));
            table.wrong(&[field], &clause, help)
        } else {
            let clause = format!("is longer than `max`, which is {}{}", written(max), by_default(&raw.max));
            table.wrong(&[field], &clause, help)
        })
    }
}

/// A Unix socket.
fn unix(table: &Table<'_>, field: &str, text: &str, mode: u32) -> Result<SocketConfig, SettingsError> {
    let target = table.target(&[field], "listen at", text)?;
    let length = target.path.as_os_str().len();
    if length > LONGEST {
        let clause = format!("is {length} bytes long from the root on, and a socket's may be {LONGEST}");
        return Err(table.wrong(&[field], &clause, "choose a shorter one, such as /run/dlconf/dlconf.sock"));
    }
    Ok(SocketConfig { path: target.path, label: target.label, mode })
}

/// What is wrong with an address.
struct Slip {
    clause: &'static str,
    help: String,
}

impl Slip {
    fn new(clause: &'static str, help: impl Into<String>) -> Self {
        Self { clause, help: help.into() }
    }
}

fn tcp(text: &str) -> Result<SocketAddr, Slip> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let usual = "write an address and a port: \"127.0.0.1:9470\"";
    if text.contains('/') {
        return Err(Slip::new("is no URL and no path", format!("{usual}, or \"unix:/run/dlconf/ops.sock\"")));
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Err(Slip::new("has no port", format!("write \"{}\"", SocketAddr::new(address, 9470))));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let Ok(port) = port.parse::<u16>() else {
        let is_number = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
        let clause = if is_number { "has a port beyond 65535" } else { "has no port" };
        return Err(Slip::new(clause, usual));
    };
    match host {
        name if name.eq_ignore_ascii_case(LOCALHOST) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        "" => Err(Slip::new(
            "does not say at which address",
            format!("write \"127.0.0.1:{port}\"; every address of this machine is \"0.0.0.0:{port}\""),
        )),
        "*" => Err(Slip::new("has a `*` for its address", format!("write \"0.0.0.0:{port}\""))),
        name if name.contains(':') => {
            Err(Slip::new("is no address and port", format!("write IPv6 as \"[::1]:{port}\"")))
        }
        name if name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            Err(Slip::new("is no address and port", usual))
        }
        _ => Err(Slip::new(
            "names a host, which may be another one tomorrow",
            format!("write its address: \"127.0.0.1:{port}\""),
        )),
    }
}

#[cfg(test)]
mod tests;
