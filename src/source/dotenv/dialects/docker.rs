//! `docker run --env-file` (docker/cli, kvfile): a line is raw.

use crate::source::file::strip_bom;

use super::{Host, Notes};

/// Lines of this many bytes do not fit into its buffer.
const TOO_LONG: usize = 64 * 1024;

pub(super) fn read(text: &str, host: Host<'_>) -> Notes {
    let mut notes = Notes::default();
    for (number, raw) in (1..).zip(text.split('\n')) {
        if raw.len() >= TOO_LONG {
            return Notes::refused(number, "a line of 64 KiB or more");
        }
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        let line = if number == 1 { strip_bom(raw) } else { raw }.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, None), |(key, value)| (key, Some(value)));
        if key.is_empty() {
            return Notes::refused(number, "no name before `=`");
        }
        if key.contains([' ', '\t']) {
            return Notes::refused(number, "a blank in a name");
        }
        match value {
            Some(value) => notes.value(number, key, value),
            None => match host(key) {
                Some(value) => notes.value(number, key, &value),
                None => notes.absent(number, key),
            },
        }
    }
    notes
}
