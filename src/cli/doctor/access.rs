//! What `doctor` says of the socket: who can reach it, and what the access policy
//! rests on.
//!
//! What is read of this process and kernel holds for the daemon where it runs as
//! the same user on the same machine.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::Uid;

use super::observation;
use crate::access::policy::Rule;
use crate::access::policy::parse::Written;
use crate::assemble::{Ground, LoadedPolicy, read_policy};
use crate::failure::Failure;
use crate::report::{Style, plural};
use crate::settings::{ShownPath, SocketSettings};
use crate::source::{Observation, State};

/// The kernel that can say for certain which process connected (SO_PEERPIDFD).
const CERTAIN: (u32, u32) = (6, 5);
/// The capability to look at the programs of other users.
const CAP_SYS_PTRACE: u32 = 19;

/// The socket and its policy, where the settings have one.
pub(super) fn examine(ground: &Ground, style: Style) -> Result<Vec<Observation>, Failure> {
    let Some(socket) = &ground.settings.socket else { return Ok(Vec::new()) };
    let mut seen = vec![folder(socket)];
    let Some(file) = &socket.policy else {
        let detail = "none: only the daemon's own user may ask".to_owned();
        seen.push(observation("policy", State::Fine, detail));
        return Ok(seen);
    };
    let policy = read_policy(file, &ground.schema, ground.service.as_deref(), style)?;
    seen.push(written(file, &policy));
    let rules: Vec<&Rule> = policy.rules.iter().map(|Written { rule, .. }| rule).collect();
    seen.extend(reach(socket, &rules));
    seen.extend(narrowed(&rules, Uid::effective().as_raw(), kernel(), may_look()));
    Ok(seen)
}

fn degraded(what: &str, detail: String, help: String) -> Observation {
    Observation { help: Some(help), ..observation(what, State::Degraded, detail) }
}

/// The folder of the socket: who may write it may put another socket there.
fn folder(socket: &SocketSettings) -> Observation {
    let label = &socket.at.label;
    let shown = Path::new(label).parent().filter(|parent| !parent.as_os_str().is_empty());
    let shown = shown.map_or(".".to_owned(), |parent| parent.display().to_string());
    let metadata = socket.at.path.parent().and_then(|parent| parent.metadata().ok());
    let Some(metadata) = metadata else {
        let detail = format!("{label}: its folder is not there yet, and will have mode 0750");
        return observation("socket", State::Fine, detail);
    };
    let mode = metadata.mode() & 0o7777;
    match too_open(&metadata) {
        Some(who) => degraded(
            "socket",
            format!("{label}: {who} may write its folder (mode {mode:04o}), and so be there in its place"),
            format!("chmod go-w {shown}, or give the socket a folder of its own, of the daemon's user"),
        ),
        None => observation("socket", State::Fine, format!("{label}, in a folder of mode {mode:04o}")),
    }
}

/// The file of the policy: who may write it may read everything.
fn written(file: &ShownPath, policy: &LoadedPolicy) -> Observation {
    let (label, mode) = (&file.label, policy.mode);
    let rules = plural(policy.rules.len(), "rule");
    match file.path.metadata().ok().as_ref().and_then(too_open) {
        Some(who) => degraded(
            "policy",
            format!("{label}, {rules}; {who} may write it (mode {mode:04o}), and so read everything"),
            format!("chown root {label} && chmod go-w {label}"),
        ),
        None => observation("policy", State::Fine, format!("{label}, {rules}; mode {mode:04o}")),
    }
}

/// Who but root and this user may write something.
fn too_open(metadata: &Metadata) -> Option<String> {
    let mode = metadata.mode();
    if mode & 0o002 != 0 {
        Some("everybody".to_owned())
    } else if mode & 0o020 != 0 && metadata.gid() != 0 {
        Some(format!("group {}", metadata.gid()))
    } else {
        let is_foreign = metadata.uid() != 0 && metadata.uid() != Uid::effective().as_raw();
        is_foreign.then(|| format!("user {}", metadata.uid()))
    }
}

/// Whether those can connect whom the rules are for.
fn reach(socket: &SocketSettings, rules: &[&Rule]) -> Option<Observation> {
    let own = Uid::effective().as_raw();
    let is_for_others = rules.iter().any(|rule| rule.uid != Some(own));
    (is_for_others && socket.at.mode & 0o066 == 0).then(|| {
        let detail = format!(
            "mode {:04o}: only the daemon's own user can connect, whatever the policy permits to others",
            socket.at.mode
        );
        degraded("socket mode", detail, "write `mode = \"0660\"` in [socket], see docs/access.md".to_owned())
    })
}

/// What rules that ask for a program rest on.
fn narrowed(rules: &[&Rule], own: u32, kernel: Option<(u32, u32)>, may_look: bool) -> Option<Observation> {
    let list = |which: &dyn Fn(&&&Rule) -> bool| {
        let ids: Vec<String> = rules.iter().filter(which).map(|rule| rule.id.to_string()).collect();
        match ids.as_slice() {
            [] => None,
            [one] => Some((format!("rule {one} narrows"), "it permits")),
            all => Some((format!("rules {} narrow", all.join(", ")), "they permit")),
        }
    };
    let (all, they_permit) = list(&|rule| rule.is_narrowed())?;
    if kernel.is_none_or(|version| version < CERTAIN) {
        let (major, minor) = kernel.unwrap_or_default();
        return Some(degraded(
            "policy",
            format!(
                "{all} by program; Linux {major}.{minor} cannot say which one asks, so {they_permit} nothing"
            ),
            "run Linux 6.5 or newer, or let users and groups decide alone".to_owned(),
        ));
    }
    let foreign = list(&|rule| rule.exe.is_some() && rule.uid != Some(own));
    match foreign.filter(|_| !may_look) {
        Some((foreign, they_permit)) => Some(degraded(
            "policy",
            format!(
                "{foreign} by `exe`; the kernel does not show this user the programs of others, so {they_permit} \
                 nothing"
            ),
            "give the daemon CAP_SYS_PTRACE, or narrow by `unit`".to_owned(),
        )),
        None => Some(observation("policy", State::Fine, format!("{all} by program, which the kernel tells"))),
    }
}

/// The version of Linux that runs.
fn kernel() -> Option<(u32, u32)> {
    version(&std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether this process may look at the programs of other users.
fn may_look() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| has_capability(&status, CAP_SYS_PTRACE))
}

fn has_capability(status: &str, number: u32) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> number & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::access::policy::RuleId;

    fn rule(id: u32, uid: u32, exe: Option<&str>, unit: Option<&str>) -> Rule {
        Rule {
            id: RuleId(id),
            uid: Some(uid),
            gid: None,
            exe: exe.map(Into::into),
            unit: unit.map(Into::into),
            keys: Arc::new(BTreeSet::new()),
            actions: BTreeSet::new(),
        }
    }

    #[test]
    fn what_narrowed_rules_rest_on_is_said() {
        let (plain, exe) = (rule(1, 7, None, None), rule(2, 7, Some("/a"), None));
        let (own, unit) = (rule(3, 5, Some("/a"), None), rule(4, 7, None, Some("a.service")));
        let told = |rules: &[&Rule], kernel, may_look| {
            narrowed(rules, 5, kernel, may_look).map(|seen| (seen.state, seen.detail))
        };
        assert_eq!(told(&[&plain], None, false), None);
        let fine = |words: &str| Some((State::Fine, format!("{words} by program, which the kernel tells")));
        assert_eq!(told(&[&plain, &exe, &unit], Some((6, 5)), true), fine("rules 2, 4 narrow"));
        assert_eq!(told(&[&own, &unit], Some((7, 0)), false), fine("rules 3, 4 narrow"));
        let (state, words) = told(&[&exe, &own, &unit], Some((6, 18)), false).unwrap();
        assert_eq!(state, State::Degraded);
        assert!(
            words.starts_with("rule 2 narrows by `exe`;") && words.ends_with("so it permits nothing"),
            "{words}"
        );
        let (state, words) = told(&[&own, &unit], Some((6, 4)), true).unwrap();
        assert_eq!(state, State::Degraded);
        assert!(words.contains("Linux 6.4 cannot say which one asks, so they permit nothing"), "{words}");
    }

    #[test]
    fn the_kernel_and_its_capabilities_are_understood() {
        assert_eq!(version("6.18.44-generic\n"), Some((6, 18)));
        assert_eq!(version("6.5"), Some((6, 5)));
        assert_eq!(version("6"), None);
        assert!(has_capability("Name:\tx\nCapEff:\t0000000000080000\n", CAP_SYS_PTRACE));
        assert!(!has_capability("CapEff:\t000000fffff7ffff\n", CAP_SYS_PTRACE));
        assert!(!has_capability("", CAP_SYS_PTRACE));
    }
}
