//! Answers that hold values.
//!
//! Invariant: such an answer is written into one block of its exact size, which is
//! wiped when it is freed: no growing leaves a copy behind.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{DateTime, SecondsFormat};

use crate::access::Released;
use crate::model::validate::Delivered;
use crate::status::Provenance;

/// A JSON text that is being written, or only measured.
trait Sink {
    fn raw(&mut self, text: &str);
    fn quoted(&mut self, text: &str);
}

/// How long it becomes.
struct Length(usize);

/// The text itself.
struct Text(Vec<u8>);

impl Sink for Length {
    fn raw(&mut self, text: &str) {
        self.0 += text.len();
    }

    fn quoted(&mut self, text: &str) {
        let each = |byte| usize::from(ESCAPED_LENGTH[usize::from(byte)]);
        self.0 += 2 + if is_plain(text) { text.len() } else { text.bytes().map(each).sum::<usize>() };
    }
}

impl Sink for Text {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn quoted(&mut self, text: &str) {
        self.0.push(b'"');
        if is_plain(text) {
            self.raw(text);
        } else {
            self.escape(text.as_bytes());
        }
        self.0.push(b'"');
    }
}

impl Text {
    fn escape(&mut self, bytes: &[u8]) {
        let mut begin = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if ESCAPED_LENGTH[usize::from(*byte)] > 1 {
                self.0.extend_from_slice(&bytes[begin..at]);
                self.escaped(*byte);
                begin = at + 1;
            }
        }
        self.0.extend_from_slice(&bytes[begin..]);
    }

    fn escaped(&mut self, byte: u8) {
        match byte {
            b'"' => self.0.extend_from_slice(b"\\\""),
            b'\\' => self.0.extend_from_slice(b"\\\\"),
            b'\n' => self.0.extend_from_slice(b"\\n"),
            b'\r' => self.0.extend_from_slice(b"\\r"),
            b'\t' => self.0.extend_from_slice(b"\\t"),
            control => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                self.0.extend_from_slice(b"\\u00");
                self.0.extend_from_slice(&[digit(control >> 4), digit(control & 15)]);
            }
        }
    }
}

/// Whether it is within quotes what it is without. It looks at every byte, for then
/// the compiler takes many at once.
#[allow(clippy::needless_bitwise_bool, reason = "a branch is what it must not have")]
fn is_plain(text: &str) -> bool {
    // Without branches, so that many bytes are looked at in one step.
    let is_escaped = |byte: u8| {
        let (control, quote, slash) = (byte < 0x20, byte == b'"', byte == b'\\');
        control | quote | slash
    };
    !text.bytes().fold(false, |found, byte| found | is_escaped(byte))
}

/// How many bytes a byte becomes within quotes.
const ESCAPED_LENGTH: [u8; 256] = {
    let mut lengths = [1; 256];
    let mut control = 0;
    while control < 0x20 {
        lengths[control] = 6;
        control += 1;
    }
    lengths[b'\n' as usize] = 2;
    lengths[b'\r' as usize] = 2;
    lengths[b'\t' as usize] = 2;
    lengths[b'"' as usize] = 2;
    lengths[b'\\' as usize] = 2;
    lengths
};

/// Writes what `write` says, after it was measured.
fn written(write: impl Fn(&mut dyn Sink)) -> Bytes {
    let mut length = Length(0);
    write(&mut length);
    let mut text = Text(Vec::with_capacity(length.0));
    write(&mut text);
    debug_assert_eq!(text.0.len(), length.0, "an answer was measured wrongly");
    text.0.into()
}

/// `{"version":"7f3a.42","values":{…}}`, and `"withheld":[…]` where there are any.
pub(super) fn values(released: &Released) -> Response {
    let version = released.version().to_string();
    json(written(|sink| {
        sink.raw("{\"version\":");
        sink.quoted(&version);
        sink.raw(",\"values\":{");
        for (at, delivered) in released.variables().iter().enumerate() {
            // Nothing in a name needs an escape.
            sink.raw(if at > 0 { ",\"" } else { "\"" });
            sink.raw(delivered.key.as_str());
            sink.raw("\":");
            sink.quoted(delivered.value.expose());
        }
        sink.raw("}");
        for (at, key) in released.withheld().iter().enumerate() {
            sink.raw(if at > 0 { ",\"" } else { ",\"withheld\":[\"" });
            sink.raw(key.as_str());
            sink.raw("\"");
        }
        sink.raw(if released.withheld().is_empty() { "}" } else { "]}" });
    }))
}

/// `{"key","value","version","origin","age_seconds","snapshot_age_seconds"}`.
pub(super) fn value(released: &Released, delivered: &Delivered, from: &Provenance) -> Response {
    let version = released.version().to_string();
    let number = |number: Option<u64>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
    let (age, snapshot_age) = (number(from.age_seconds), number(from.snapshot_age_seconds));
    json(written(|sink| {
        sink.raw("{\"key\":");
        sink.quoted(delivered.key.as_str());
        sink.raw(",\"value\":");
        sink.quoted(delivered.value.expose());
        sink.raw(",\"version\":");
        sink.quoted(&version);
        sink.raw(",\"origin\":");
        sink.quoted(&from.place);
        sink.raw(",\"age_seconds\":");
        sink.raw(&age);
        sink.raw(",\"snapshot_age_seconds\":");
        sink.raw(&snapshot_age);
        sink.raw("}");
    }))
}

/// One key of a ring.
pub(super) struct Member<'a> {
    pub(super) kid: String,
    pub(super) state: &'static str,
    pub(super) delivered: &'a Delivered,
}

/// `[{"kid","state","not_before","retire_after","value"}]`.
pub(super) fn ring(members: &[Member<'_>]) -> Response {
    json(written(|sink| {
        sink.raw("[");
        for (at, member) in members.iter().enumerate() {
            sink.raw(if at > 0 { ",{\"kid\":" } else { "{\"kid\":" });
            sink.quoted(&member.kid);
            sink.raw(",\"state\":");
            sink.quoted(member.state);
            let mark = member.delivered.origin.mark.as_deref();
            sink.raw(",\"not_before\":");
            moment(sink, mark.and_then(|mark| mark.not_before));
            sink.raw(",\"retire_after\":");
            moment(sink, mark.and_then(|mark| mark.retire_after));
            sink.raw(",\"value\":");
            sink.quoted(member.delivered.value.expose());
            sink.raw("}");
        }
        sink.raw("]");
    }))
}

/// The last second of the year 9999: RFC 3339 writes no later one.
const LAST_SECOND: u64 = 253_402_300_799;

/// Seconds since 1970 in RFC 3339, or null.
fn moment(sink: &mut dyn Sink, seconds: Option<u64>) {
    let seconds = seconds.filter(|seconds| *seconds <= LAST_SECOND);
    let time = seconds.and_then(|seconds| DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0));
    match time {
        Some(time) => sink.quoted(&time.to_rfc3339_opts(SecondsFormat::Secs, true)),
        None => sink.raw("null"),
    }
}

fn json(body: Bytes) -> Response {
    answer(body, "application/json")
}

/// Bytes, and what they are.
pub(super) fn answer(body: Bytes, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> Bytes {
        written(|sink| sink.quoted(text))
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(text in any::<String>()) {
            let read: String = serde_json::from_slice(&quoted(&text)).unwrap();
            prop_assert_eq!(read, text);
        }
    }

    #[test]
    fn every_control_character_is_read_back() {
        let text: String = (0..=0x1f_u8).map(char::from).chain("\"\\/\u{7f}é\u{2028}".chars()).collect();
        assert_eq!(serde_json::from_slice::<String>(&quoted(&text)).unwrap(), text);
    }
}
