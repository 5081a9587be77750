//! Events in words: one line each.
//!
//! Owns: the words. Invariant: a line is one line, whatever its parts hold.
//! Must not know: values; where lines go, and which of them.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::Format;
use crate::model::finding::Code;
use crate::model::key::Key;
use crate::telemetry::{Event, Level, Words};
use crate::visible::{escape_json, visible};

/// How many faults a line of text names. The status names all.
const NAMED: usize = 8;
/// How many variables.
const KEYS: usize = 12;

/// An event in words, and its parts by name.
pub(super) struct Line {
    pub(super) level: Level,
    event: &'static str,
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    pub(super) fn new(level: Level, event: &'static str, message: String, fields: Value) -> Self {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Self { level, event, message, fields }
    }

    /// The line with its end.
    pub(super) fn written(&self, format: Format) -> String {
        let mut text = match format {
            Format::Text => self.text(),
            Format::Json => self.json(SystemTime::now()),
        };
        text.push('\n');
        text
    }

    fn text(&self) -> String {
        let weight = match self.level {
            Level::Debug | Level::Info => "",
            Level::Warning => "warning: ",
            Level::Error => "error: ",
        };
        format!("dlconf: {weight}{}", visible(&self.message))
    }

    fn json(&self, now: SystemTime) -> String {
        let ts = DateTime::<Utc>::from(now).to_rfc3339_opts(SecondsFormat::Millis, true);
        let line = json!({
            "ts": ts, "level": self.level.as_str(), "event": self.event, "message": self.message, "fields": self.fields,
        });
        escape_json(&line.to_string())
    }

    pub(super) fn of(event: &Event) -> Self {
        use Level::{Debug, Error, Info, Warning};
        match event {
            Event::Started { environment, service, schema, settings } => Self::new(
                Info,
                "started",
                format!(
                    "{} for {environment}, {}; {schema}; {}",
                    env!("CARGO_PKG_VERSION"),
                    service
                        .as_ref()
                        .map_or_else(|| "all services".to_owned(), |service| format!("service {service}")),
                    settings.as_deref().unwrap_or("no settings file"),
                ),
                json!({
                    "release": env!("CARGO_PKG_VERSION"), "environment": environment, "service": service,
                    "schema": schema, "settings": settings,
                }),
            ),
            Event::Ready { version } => {
                let version = version.as_ref().map(ToString::to_string);
                let text =
                    version.as_ref().map_or_else(String::new, |version| format!(": {version} is delivered"));
                Self::new(Info, "ready", format!("ready{text}"), json!({ "version": version }))
            }
            Event::Listening { what, at } => Self::new(
                Info,
                "listening",
                format!("{what} listens at {at}"),
                json!({ "what": what, "at": at }),
            ),
            Event::Published { version, changed } => Self::new(
                Info,
                "published",
                match changed.as_slice() {
                    [] => format!("published {version}"),
                    changed => format!("published {version}; changed: {}", names(changed)),
                },
                json!({ "version": version.to_string(), "changed": all(changed) }),
            ),
            Event::Rejected { findings, holds } => Self::new(
                Error,
                "rejected",
                match holds {
                    Some(version) => {
                        format!("the new state is not published, {version} holds: {}", listed(findings))
                    }
                    None => format!("nothing can be published yet: {}", listed(findings)),
                },
                json!({ "holds": holds.as_ref().map(ToString::to_string), "findings": every(findings) }),
            ),
            Event::Fetched { source, ok } => Self::new(
                Debug,
                "fetched",
                format!("source {source} was read{}", if *ok { "" } else { ", with faults" }),
                json!({ "source": source.as_str(), "ok": ok }),
            ),
            Event::SourceDown { source, faults, holds } => Self::new(
                Error,
                "source-down",
                format!(
                    "source {source} cannot be read{}: {}",
                    if *holds { ", what it gave before holds" } else { "" },
                    listed(faults)
                ),
                json!({ "source": source.as_str(), "faults": every(faults), "holds": holds }),
            ),
            Event::SourceUp { source } => Self::new(
                Info,
                "source-up",
                format!("source {source} can be read again"),
                json!({ "source": source.as_str() }),
            ),
            Event::StandsIn { source, age } => Self::new(
                Warning,
                "stands-in",
                format!(
                    "source {source} was not read yet: the last-known-good snapshot stands in for it, confirmed {}s ago",
                    age.as_secs()
                ),
                json!({ "source": source.as_str(), "age_seconds": age.as_secs() }),
            ),
            Event::SourceStale { source, words, withheld } => {
                let held_back = match withheld.as_slice() {
                    [] => String::new(),
                    withheld => format!("; withheld: {}", names(withheld)),
                };
                Self::new(
                    Warning,
                    "source-stale",
                    format!("source {source} is older than it may be: {}{held_back}", sentence(words)),
                    json!({ "source": source.as_str(), "finding": one(words), "withheld": all(withheld) }),
                )
            }
            Event::DeletionHeld { key, source, until_forgotten } => Self::new(
                Warning,
                "deletion-held",
                if *until_forgotten {
                    format!(
                        "source {source} deleted {key}, which is required: its value is held (to give it up: dlconf forget {key})"
                    )
                } else {
                    format!("source {source} deleted {key}: its value is held for a minute")
                },
                json!({ "key": key.as_str(), "source": source.as_str(), "until_forgotten": until_forgotten }),
            ),
            Event::GivenUp { key, source, by_request } => Self::new(
                Info,
                "given-up",
                format!(
                    "{key}, which source {source} deleted, is given up{}",
                    if *by_request { " on request" } else { "" }
                ),
                json!({ "key": key.as_str(), "source": source.as_str(), "by_request": by_request }),
            ),
            Event::Delivered { delivery, version, changed, took } => Self::new(
                if *changed { Info } else { Debug },
                "delivered",
                if *changed {
                    format!("delivery {delivery} has {version}")
                } else {
                    format!("delivery {delivery} has {version}, with the same content as before")
                },
                json!({
                    "delivery": delivery, "version": version.to_string(), "changed": changed,
                    "took_seconds": took.iter().map(|(source, took)| (source.as_str().to_owned(), json!(took.as_secs_f64()))).collect::<Map<_, _>>(),
                }),
            ),
            Event::DeliveryFailed { delivery, words, again_in } => Self::new(
                Error,
                "delivery-failed",
                format!(
                    "delivery {delivery} failed, tried again in {:?}: {}",
                    roughly(*again_in),
                    sentence(words)
                ),
                json!({ "delivery": delivery, "finding": one(words), "again_in_seconds": again_in.as_secs_f64() }),
            ),
            Event::Hook { delivery, ok, detail } => Self::new(
                if *ok { Info } else { Error },
                "on-change",
                format!("on_change of delivery {delivery}{}: {detail}", if *ok { "" } else { " failed" }),
                json!({ "delivery": delivery, "ok": ok, "detail": detail }),
            ),
            Event::HookSaid { delivery, line } => Self::new(
                Info,
                "on-change-said",
                format!("on_change of delivery {delivery} says: {line}"),
                json!({ "delivery": delivery, "line": line }),
            ),
            Event::Reloaded => Self::new(
                Info,
                "reloaded",
                "settings and schema were read again and hold".into(),
                Value::Null,
            ),
            Event::ReloadRefused { faults } => Self::new(
                Error,
                "reload-refused",
                format!(
                    "settings and schema were read again and are refused, the old ones hold: {}",
                    listed(faults)
                ),
                json!({ "faults": every(faults) }),
            ),
            Event::AuditFailed { log, reason, required } => Self::new(
                Error,
                "audit-failed",
                format!(
                    "the audit log {log} cannot be written: {reason}; {}",
                    if *required {
                        "whatever it would have to record is refused"
                    } else {
                        "values are released without a record (audit.required = false)"
                    }
                ),
                json!({ "log": log, "reason": reason, "required": required }),
            ),
            Event::AuditWorks { log, unrecorded } => Self::new(
                Info,
                "audit-works",
                format!(
                    "the audit log {log} can be written again; {unrecorded} attempts to record failed meanwhile"
                ),
                json!({ "log": log, "unrecorded": unrecorded }),
            ),
            Event::AuditMeddled { log, what } => Self::new(
                Error,
                "audit-meddled",
                format!(
                    "the audit log {log} was touched by somebody else: {what} (fix: find out who; rotate it by renaming, never by copytruncate)"
                ),
                json!({ "log": log, "what": what }),
            ),
            Event::AuditNotRotated { log, reason } => Self::new(
                Error,
                "audit-not-rotated",
                format!("the files of the audit log {log} cannot be exchanged, it is written on: {reason}"),
                json!({ "log": log, "reason": reason }),
            ),
            Event::SnapshotUnusable { path, why, help } => Self::new(
                Warning,
                "snapshot-unusable",
                format!("the last-known-good snapshot {path} is not used: {why} (fix: {help})"),
                json!({ "path": path, "why": why, "help": help }),
            ),
            Event::SnapshotDropped { path, what } => Self::new(
                Warning,
                "snapshot-dropped",
                format!("of the last-known-good snapshot {path} is not used: {what}"),
                json!({ "path": path, "what": what }),
            ),
            Event::SnapshotUnguarded { path, why } => Self::new(
                Warning,
                "snapshot-unguarded",
                format!(
                    "if somebody put an older one in the place of the last-known-good snapshot {path}, nobody would notice: {why}"
                ),
                json!({ "path": path, "why": why }),
            ),
            Event::SnapshotWritten { path, generation } => Self::new(
                Debug,
                "snapshot-written",
                format!("the last-known-good snapshot {path} was written: number {generation}"),
                json!({ "path": path, "generation": generation }),
            ),
            Event::SnapshotFailed { path, reason, help, is_news } => Self::new(
                if *is_news { Error } else { Debug },
                "snapshot-failed",
                format!(
                    "the last-known-good snapshot {path} cannot be written, the old one stays, and it is tried again: {reason} (fix: {help})"
                ),
                json!({ "path": path, "reason": reason, "help": help }),
            ),
            Event::SnapshotWorks { path } => Self::new(
                Info,
                "snapshot-works",
                format!("the last-known-good snapshot {path} can be written again"),
                json!({ "path": path }),
            ),
            Event::SnapshotEnded { path } => Self::new(
                Info,
                "snapshot-ended",
                format!("no last-known-good snapshot is kept any more; {path} stays as it is, sealed"),
                json!({ "path": path }),
            ),
            Event::Rotated { key, act, place, number } => Self::new(
                Info,
                "rotated",
                format!("rotation {number} of {key}: {act}, in {place}"),
                json!({ "key": key.as_str(), "act": act, "place": place, "number": number }),
            ),
            Event::RotationFailed { key, words } => Self::new(
                Error,
                "rotation-failed",
                format!("the rotation of {key} does not go on: {}", listed(std::slice::from_ref(words))),
                json!({ "key": key.as_str(), "why": every(std::slice::from_ref(words)) }),
            ),
            Event::RotationWaits { key, waiting } => Self::new(
                Warning,
                "rotation-waits",
                format!("the rotation of {key} waits: {}", waiting.join("; ")),
                json!({ "key": key.as_str(), "waiting": waiting }),
            ),
            Event::RotationRepaired { key, place, what } => Self::new(
                Error,
                "rotation-repaired",
                format!(
                    "somebody else wrote to {place} and touched what the rotation of {key} needs: {} (fix: find out who; a rotated variable is changed by dlconf rotate)",
                    what.join("; ")
                ),
                json!({ "key": key.as_str(), "place": place, "what": what }),
            ),
            Event::RotationRefused { key, code, words } => Self::new(
                Warning,
                "rotation-refused",
                format!("{key} is not rotated: {}", sentence(words)),
                json!({ "key": key.as_str(), "reason": code, "why": every(std::slice::from_ref(words)) }),
            ),
            Event::Leads { lease } => Self::new(
                Info,
                "leads",
                format!("this daemon rotates: it holds {lease}"),
                json!({ "lease": lease }),
            ),
            Event::Follows { lease, holder } => Self::new(
                Info,
                "follows",
                format!("{} rotates, which holds {lease}", holder.as_deref().unwrap_or("another daemon")),
                json!({ "lease": lease, "holder": holder }),
            ),
            Event::LeaderUnknown { lease, why } => Self::new(
                Warning,
                "leader-unknown",
                format!(
                    "nobody can tell who holds {lease}, so this daemon rotates nothing: {why} (fix: see the API server, and whether this daemon may write that Lease)"
                ),
                json!({ "lease": lease, "why": why }),
            ),
            Event::AcknowledgementsTroubled { words } => Self::new(
                Warning,
                "acknowledgements-troubled",
                sentence(words),
                json!({ "why": every(std::slice::from_ref(words)) }),
            ),
            Event::ClockDoubted { seconds } => Self::new(
                Error,
                "clock-doubted",
                format!(
                    "this machine's clock leapt by {seconds} s and is not believed by rotations (fix: set it right; where this is the right time, restart the daemon)"
                ),
                json!({ "seconds": seconds }),
            ),
            Event::ClockBelieved => Self::new(
                Info,
                "clock-believed",
                "this machine's clock is believed again".to_owned(),
                json!({}),
            ),
            Event::Denied { what, uid, detail } => Self::new(
                Warning,
                "denied",
                format!(
                    "refused: {what}: {detail} (said once a minute; dlconf_access_denied_total counts all)"
                ),
                json!({ "what": what, "uid": uid, "detail": detail }),
            ),
            Event::TurnedAway { what } => Self::new(
                Warning,
                "turned-away",
                format!(
                    "{what} has as many connections as it takes: those that ask nothing are closed first (said once a minute)"
                ),
                json!({ "what": what }),
            ),
            Event::CutOff { what } => Self::new(
                Warning,
                "cut-off",
                format!(
                    "{what} closed a connection whose client did not read while a new generation came (said once a minute; dlconf_connections_cut_total counts all)"
                ),
                json!({ "what": what }),
            ),
            Event::FewConnections { what, connections, wanted } => Self::new(
                Warning,
                "few-connections",
                format!(
                    "{what} takes {connections} connections and not {wanted}: the limit of open files allows no more (fix: raise the hard limit, LimitNOFILE= in a unit)"
                ),
                json!({ "what": what, "connections": connections, "wanted": wanted }),
            ),
            Event::SocketExposed { what, at } => Self::new(
                Warning,
                "socket-exposed",
                format!(
                    "others may write into the folder of {what}, {at}, and put a socket of theirs in its place (fix: take the right to write from group and others, or set the sticky bit)"
                ),
                json!({ "what": what, "at": at }),
            ),
            Event::SocketLost { what, at, bound_again } => Self::new(
                if *bound_again { Warning } else { Error },
                "socket-lost",
                if *bound_again {
                    format!("somebody removed {at}, where {what} listened: it is there again")
                } else {
                    format!(
                        "{what} is not at {at} any more, so nobody finds it: something else is there, or it cannot be bound again (fix: move that away; it is bound again within seconds)"
                    )
                },
                json!({ "what": what, "at": at, "bound_again": bound_again }),
            ),
            Event::CannotAccept { what, reason } => Self::new(
                Error,
                "cannot-accept",
                format!(
                    "{what} can accept no connection for the moment: {reason} (said once a minute; fix: raise the limit of open files, or see what holds them)"
                ),
                json!({ "what": what, "reason": reason }),
            ),
            Event::Answered { route, status, took } => Self::new(
                Debug,
                "answered",
                format!("{route}: {status}"),
                json!({ "route": route, "status": status, "took_seconds": took.as_secs_f64() }),
            ),
            Event::Stopping { why, failed: false } => Self::new(
                Info,
                "stopping",
                format!("stopping: {why}"),
                json!({ "why": why, "failed": false }),
            ),
            Event::Stopping { why, failed: true } => Self::new(
                Error,
                "stopping",
                format!("the daemon stops: {why} (please report it with the lines before this one)"),
                json!({ "why": why, "failed": true }),
            ),
        }
    }
}

/// A time as people read it: nanoseconds say nothing.
fn roughly(time: Duration) -> Duration {
    const GRAIN: u128 = 10_000_000;
    Duration::from_nanos_u128(time.as_nanos().next_multiple_of(GRAIN))
}

/// A finding in one sentence, without its weight: `[DLC001] message (place; fix: help)`.
pub(crate) fn sentence(words: &Words) -> String {
    let code = words.code.map_or(String::new(), |code| format!("[{code}] "));
    let help = words.help.as_ref().map(|help| format!("fix: {help}"));
    let more: Vec<&str> = words.place.as_deref().into_iter().chain(help.as_deref()).collect();
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join("; ")) };
    format!("{code}{}{more}", words.message)
}

fn listed(faults: &[Words]) -> String {
    let mut parts: Vec<String> = faults.iter().take(NAMED).map(sentence).collect();
    if faults.len() > NAMED {
        parts.push(format!("and {} more (dlconf status)", faults.len() - NAMED));
    }
    parts.join("; ")
}

/// Some of these names, and how many more there are.
pub(crate) fn names(keys: &[Key]) -> String {
    let mut parts: Vec<&str> = keys.iter().take(KEYS).map(Key::as_str).collect();
    let more = format!("{} more", keys.len().saturating_sub(KEYS));
    if keys.len() > KEYS {
        parts.push(&more);
    }
    parts.join(", ")
}

/// All of them.
pub(crate) fn all(keys: &[Key]) -> Value {
    keys.iter().map(Key::as_str).collect()
}

/// Findings by their parts.
pub(crate) fn every(faults: &[Words]) -> Value {
    faults.iter().map(one).collect()
}

fn one(words: &Words) -> Value {
    json!({ "code": words.code.map(Code::as_str), "message": words.message, "place": words.place, "help": words.help })
}
