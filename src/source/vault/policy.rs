//! The rights that a [`Config`] needs of the server, and nothing more.
//!
//! Owns: which request needs which capability on which path ([`needed`]), the
//! list of all of them for one login ([`grants`]), and their text in HCL
//! ([`hcl`]). Invariants: what a grant names it names alone: a path that the
//! server would take for a pattern is refused; the same settings give the same
//! bytes; text from settings cannot leave its string or its comment.
//! Must not know: the network, files, what a path holds.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::config::{Auth, Config, Engine, PathSpec};

/// What a policy allows on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Write what is not there yet.
    Create,
    /// GET.
    Read,
    /// Write what is there; POST and PUT of everything that is no storage.
    Update,
    /// LIST.
    List,
}

impl Capability {
    /// As HCL and `sys/capabilities-self` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::List => "list",
        }
    }
}

/// What somebody wants to do with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Read values and follow them.
    Read,
    /// Tell which names there are (`check --names-only`).
    Names,
    /// [`Purpose::Read`], and write new values back.
    Rotate,
}

/// One request that the source makes for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads the values.
    Values,
    /// Reads the names: without the values where the engine can.
    Names,
    /// Asks for the version.
    Version,
    /// Asks for the versions of the whole folder.
    Folder,
    /// Writes by check-and-set where something is already.
    Write,
    /// Asks whether the whole mount insists on check-and-set.
    Mount,
    /// Prolongs a lease.
    RenewLease,
    /// Ends a lease.
    RevokeLease,
}

/// One capability on one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// As the API has it, without `/v1/`, inside the namespace.
    pub path: String,
    /// The capability.
    pub capability: Capability,
}

impl Need {
    /// What to do when it is refused.
    pub const HELP: &'static str = "`dlconf vault-policy` prints the policy that these settings need: write it to the server and \
         attach it to the role";
    /// The same, to who rotates.
    pub const HELP_OF_A_ROTATOR: &'static str = "`dlconf vault-policy --rotate` prints the policy that these settings \
         need: write it to the server and attach it to the role";
}

/// The sentence of a refusal (DLC051).
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.capability {
            Capability::Read => "reading",
            Capability::List => "listing",
            Capability::Create | Capability::Update => "writing",
        };
        let Self { path, capability } = self;
        write!(f, "{doing} {path} needs the capability `{}` on `{path}`", capability.as_str())
    }
}

/// What a request for a path needs. An engine without names or versions of
/// their own has to be read for them.
pub fn needed(spec: &PathSpec, access: Access) -> Need {
    let need = |path: String, capability| Need { path, capability };
    match (access, &spec.engine) {
        (Access::RenewLease, _) => need("sys/leases/renew".into(), Capability::Update),
        (Access::RevokeLease, _) => need("sys/leases/revoke".into(), Capability::Update),
        (Access::Names, Engine::Kv2 { mount, path }) => {
            need(format!("{mount}/subkeys/{path}"), Capability::Read)
        }
        (Access::Version, Engine::Kv2 { mount, path }) => {
            need(format!("{mount}/metadata/{path}"), Capability::Read)
        }
        (Access::Folder, Engine::Kv2 { mount, path }) => {
            need(format!("{mount}/detailed-metadata/{}", folder(path)), Capability::List)
        }
        (Access::Mount, Engine::Kv2 { mount, .. }) => need(format!("{mount}/config"), Capability::Read),
        (Access::Write, engine) => need(engine.api_path(), Capability::Update),
        (Access::Values | Access::Names | Access::Version | Access::Folder | Access::Mount, engine) => {
            need(engine.api_path(), Capability::Read)
        }
    }
}

/// The folder of a path, with its slash; empty at the top.
fn folder(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..=slash])
}

/// How much a grant matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Without it something is refused.
    Needed,
    /// Without it there are more requests.
    Spares,
    /// The policy `default` has it too; a token may be without that policy.
    InDefault,
}

/// One `path` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// As the API has it, without `/v1/`, inside the namespace.
    pub path: String,
    /// At least one.
    pub capabilities: BTreeSet<Capability>,
    /// What for, a clause each.
    pub reasons: Vec<String>,
    /// How much it matters.
    pub weight: Weight,
}

/// A path that a policy cannot name alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {why}, so a policy cannot name it alone")]
pub struct Pattern {
    /// As the API has it.
    pub path: String,
    /// Which part is special.
    pub why: &'static str,
}

/// All grants for these settings, which share one login. Of two that name one
/// path, the first is kept and takes the other in. Ordered by weight, then as
/// the settings have their paths.
///
/// # Errors
/// [`Pattern`] where a path would be taken for one.
pub fn grants(configs: &[&Config], purpose: Purpose) -> Result<Vec<Grant>, Pattern> {
    let mut list = List::default();
    for config in configs {
        for spec in &config.paths {
            list.path(spec, purpose);
        }
    }
    if purpose != Purpose::Names {
        for config in configs {
            list.folders(&config.paths);
        }
    }
    for config in configs {
        list.token(&config.auth);
    }
    list.0.sort_by_key(|grant| grant.weight);
    list.0.iter().try_for_each(|grant| plain(&grant.path))?;
    Ok(list.0)
}

#[derive(Default)]
struct List(Vec<Grant>);

impl List {
    fn add(&mut self, weight: Weight, need: Need, reason: impl Into<String>) {
        let reason = reason.into();
        let Some(grant) = self.0.iter_mut().find(|grant| grant.path == need.path) else {
            let capabilities = BTreeSet::from([need.capability]);
            self.0.push(Grant { path: need.path, capabilities, reasons: vec![reason], weight });
            return;
        };
        grant.capabilities.insert(need.capability);
        grant.weight = grant.weight.min(weight);
        if !grant.reasons.contains(&reason) {
            grant.reasons.push(reason);
        }
    }

    fn path(&mut self, spec: &PathSpec, purpose: Purpose) {
        let shown = spec.engine.shown_path();
        let mut add = |weight, access, what: &str| {
            self.add(weight, needed(spec, access), format!("{shown}: {what}"));
        };
        match (&spec.engine, purpose) {
            (Engine::Kv2 { .. }, Purpose::Names) => {
                add(Weight::Needed, Access::Names, "the names, without the values");
            }
            (Engine::Kv2 { .. }, Purpose::Read | Purpose::Rotate) => {
                add(Weight::Needed, Access::Values, "the values");
                add(Weight::Needed, Access::Version, "the version, which is polled");
            }
            (Engine::Kv1 { .. }, Purpose::Names) => {
                add(Weight::Needed, Access::Names, "KV v1 cannot tell names without the values");
            }
            (Engine::Generic { .. }, Purpose::Names) => {
                add(Weight::Needed, Access::Names, "only KV v2 can tell names without the values");
            }
            // The names are known (username and password); reading would make a user.
            (Engine::Database { .. }, Purpose::Names) => {}
            (Engine::Kv1 { .. }, _) => add(Weight::Needed, Access::Values, "the values"),
            (Engine::Generic { .. }, _) => add(
                Weight::Needed,
                Access::Values,
                "the values (if they are leased, `update` on sys/leases/revoke lets them end early)",
            ),
            (Engine::Database { .. }, _) => {
                add(Weight::Needed, Access::Values, "new credentials");
                // The same words for every path, so that they merge.
                self.add(Weight::InDefault, needed(spec, Access::RenewLease), "leases live on while used");
                self.add(
                    Weight::Needed,
                    needed(spec, Access::RevokeLease),
                    "leases end with their use (a lease's id is known to its owner alone)",
                );
            }
        }
        if purpose == Purpose::Rotate && matches!(spec.engine, Engine::Kv2 { .. }) {
            let write = needed(spec, Access::Write);
            let create = Need { capability: Capability::Create, ..write.clone() };
            self.add(Weight::Needed, write, format!("{shown}: rotation writes by check-and-set"));
            self.add(Weight::Needed, create, format!("{shown}: `create` is for the first time"));
            // The same words for every path, so that they merge.
            self.add(
                Weight::Needed,
                needed(spec, Access::Mount),
                "`dlconf doctor` asks whether the mount insists on check-and-set",
            );
        }
    }

    /// One LIST for each folder that holds two or more of the paths.
    fn folders(&mut self, paths: &[PathSpec]) {
        let kv2 = |spec: &&PathSpec| matches!(spec.engine, Engine::Kv2 { .. });
        let folders: Vec<(Need, Need)> = paths
            .iter()
            .filter(kv2)
            .map(|spec| (needed(spec, Access::Folder), needed(spec, Access::Version)))
            .collect();
        for (folder, secret) in &folders {
            if folders.iter().any(|(other, another)| other == folder && another != secret) {
                let reason = "several versions in one request (OpenBao 2.2 and newer); shows names and \
                              versions of all in this folder";
                self.add(Weight::Spares, folder.clone(), reason);
            }
        }
    }

    /// What a token asks about itself.
    fn token(&mut self, auth: &Auth) {
        let mut add = |path: &str, capability, reason| {
            self.add(Weight::InDefault, Need { path: path.into(), capability }, reason);
        };
        let (looks, renews, revokes) = match auth {
            Auth::Token | Auth::TokenFile { .. } => (true, true, false),
            // The login's answer tells its life.
            Auth::AppRole { .. } | Auth::Kubernetes { .. } | Auth::Jwt { .. } | Auth::Cert { .. } => {
                (false, true, true)
            }
        };
        if looks {
            add("auth/token/lookup-self", Capability::Read, "how long the token lives");
        }
        if renews {
            add("auth/token/renew-self", Capability::Update, "the token lives on while used");
        }
        if revokes {
            add("auth/token/revoke-self", Capability::Update, "the login ends with its use");
        }
        add("sys/capabilities-self", Capability::Update, "`dlconf doctor` asks what is permitted");
    }
}

/// Whether the server takes a path for itself and nothing else: it expands
/// templates anywhere, `+` as a whole segment, and `*` at the end.
fn plain(path: &str) -> Result<(), Pattern> {
    let why = if path.ends_with('*') || path.contains("+*") {
        "holds `*` where it stands for anything"
    } else if path.split('/').any(|segment| segment == "+") {
        "holds the segment `+`, which stands for any"
    } else if path.contains("{{") || path.contains("}}") {
        "holds `{{` or `}}`, which is a template"
    } else {
        return Ok(());
    };
    Err(Pattern { path: path.to_owned(), why })
}

/// The policy as HCL, `header` above it as comments.
pub fn hcl(header: &[String], grants: &[Grant]) -> String {
    let mut out = String::new();
    let mut weight = None;
    for line in header {
        comment(&mut out, line);
    }
    for grant in grants {
        out.push('\n');
        if weight.replace(grant.weight) != Some(grant.weight) {
            let title: &[&str] = match grant.weight {
                Weight::Needed => &[],
                Weight::Spares => &["Optional: this saves requests."],
                Weight::InDefault => &[
                    "The rest is in the policy `default` as well. It is repeated for tokens without that",
                    "policy, and for servers where somebody has changed it.",
                ],
            };
            for line in title {
                comment(&mut out, line);
            }
            if !title.is_empty() {
                out.push('\n');
            }
        }
        for reason in &grant.reasons {
            comment(&mut out, reason);
        }
        let capabilities: Vec<String> =
            grant.capabilities.iter().map(|capability| quoted(capability.as_str())).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "path {} {{\n  capabilities = [{}]\n}}",
            quoted(&grant.path),
            capabilities.join(", ")
        );
    }
    out
}

fn comment(out: &mut String, line: &str) {
    out.push('#');
    if !line.is_empty() {
        out.push(' ');
    }
    for c in line.chars() {
        if is_graphic(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out.push('\n');
}

/// A string of HCL. `$` is written as an escape where `{` follows, since HCL
/// looks for the end of an interpolation there.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let escaped = match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
                continue;
            }
            '$' => rest.peek() == Some(&'{'),
            c => !is_graphic(c),
        };
        // Writing to a String cannot fail.
        let _ = match (escaped, u32::from(c)) {
            (false, _) => write!(out, "{c}"),
            (true, code @ ..=0xffff) => write!(out, "\\u{code:04x}"),
            (true, code) => write!(out, "\\U{code:08x}"),
        };
    }
    out.push('"');
    out
}

/// Whether a character shows what it is: neither a control character nor one of
/// those that hide or turn text.
fn is_graphic(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric()
}

#[cfg(test)]
mod tests;
