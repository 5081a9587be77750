//! The systemd unit of a process, from what `/proc/PID/cgroup` says.
//!
//! Pure. Invariant: it is the unit that systemd itself takes it for, the outermost
//! one below the slices: what a process does within a control group that was
//! delegated to it cannot make it look like another unit.

/// systemd's longest name, with the NUL behind it.
const LONGEST: usize = 256;

const SUFFIXES: [&str; 10] = [
    ".service",
    ".scope",
    ".socket",
    ".target",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".timer",
    ".path",
];

/// The unit; none where the process is of none.
pub(super) fn of(cgroup: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(cgroup).ok()?;
    // The second version of control groups, else systemd's own hierarchy of the first.
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    let own = text.lines().find_map(|line| line.split_once(':')?.1.strip_prefix("name=systemd:"));
    [unified, own].into_iter().flatten().find_map(unit)
}

fn unit(path: &str) -> Option<String> {
    let mut parts = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()).map(unescaped);
    let first = parts.find(|part| !is_named(part, &[".slice"]))?;
    is_named(first, &SUFFIXES).then(|| first.to_owned())
}

/// systemd escapes what the kernel would take for a file of its own.
fn unescaped(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

/// Whether it is the name of a unit of one of these kinds, and no template's.
fn is_named(part: &str, suffixes: &[&str]) -> bool {
    let Some(name) = suffixes.iter().find_map(|suffix| part.strip_suffix(suffix)) else { return false };
    let is_usual = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    part.len() < LONGEST
        && !name.is_empty()
        && name.bytes().all(is_usual)
        && !name.starts_with('@')
        && !name.ends_with('@')
}
