//! The ops port: is it alive, is it ready, its numbers, and a page to look at.
//!
//! Invariants: no values; where others than this machine can connect, no names
//! beyond the labels of metrics, and no page; once ready it stays so.
//! Must not know: who publishes what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Subject;
use super::page;
use super::peer::{Peer, peer};
use crate::report::snapshots::stand_ins;
use crate::report::status::waits_for;
use crate::telemetry::{Telemetry, metrics};
use crate::visible::visible;

/// What the handlers share.
#[derive(Clone)]
struct Ops {
    subject: Arc<dyn Subject>,
    telemetry: Arc<Telemetry>,
    ready: Arc<AtomicBool>,
    /// Whether only this machine can connect.
    local: bool,
}

/// The routes. `local` says that only this machine can connect
/// ([`super::Bound::is_local`]).
pub fn router(subject: Arc<dyn Subject>, telemetry: Arc<Telemetry>, local: bool) -> Router {
    let ops = Ops { subject, telemetry, ready: Arc::default(), local };
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(numbers));
    let routes = if ops.local { routes.route("/", get(front)) } else { routes };
    let missing = async || (StatusCode::NOT_FOUND, "there is no such page here\n");
    routes.fallback(missing).layer(from_fn(guarded)).with_state(ops)
}

/// What every answer says to a browser.
async fn guarded(request: Request, next: Next) -> Response {
    const SAID: [(HeaderName, &str); 5] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in SAID {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

/// Says that this loop runs, and nothing else.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(ops): State<Ops>, request: Request) -> Response {
    let status = ops.subject.status();
    let names = ops.local && is_asked_by_address(&peer(&request), request.headers());
    if status.ready || ops.ready.load(Ordering::Relaxed) {
        ops.ready.store(true, Ordering::Relaxed);
        let detail = stand_ins(&status, names).map(|words| format!("{}\n", visible(&words)));
        return format!("ready\n{}", detail.unwrap_or_default()).into_response();
    }
    let mut text = String::from("not ready\n");
    for reason in waits_for(&status, names) {
        text.push_str(&visible(&reason));
        text.push('\n');
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn numbers(State(ops): State<Ops>, request: Request) -> Response {
    if ops.local && !is_asked_by_address(&peer(&request), request.headers()) {
        return misdirected();
    }
    match ops.telemetry.metrics().text(&ops.subject.status()) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn front(State(ops): State<Ops>, request: Request) -> Response {
    if !is_asked_by_address(&peer(&request), request.headers()) {
        return misdirected();
    }
    let Ok(random) = getrandom::u64() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let nonce = format!("{random:016x}");
    let rests = request.uri().query() == Some(page::RESTS);
    let html = page::html(&ops.subject.status(), &nonce, rests).into_string();
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let kind = "text/html; charset=utf-8".to_owned();
    ([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, policy)], html).into_response()
}

fn misdirected() -> Response {
    let words = "ask by address: http://127.0.0.1 or http://localhost with the port\n";
    (StatusCode::MISDIRECTED_REQUEST, words).into_response()
}

/// Whether the client knows this place by its address. A page from elsewhere whose
/// name was made to point here (DNS rebinding) knows it by that name.
fn is_asked_by_address(peer: &Peer, headers: &HeaderMap) -> bool {
    if matches!(peer, Peer::Caller(_)) {
        return true;
    }
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(authority) = host.to_str().unwrap_or_default().parse::<axum::http::uri::Authority>() else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Caller;

    #[test]
    fn names_of_elsewhere_are_not_an_address() {
        let from = Peer::Address(([127, 0, 0, 1], 1).into());
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9470", true),
            ("localhost:9470", true),
            ("LOCALHOST", true),
            ("[::1]:9470", true),
            ("evil.example", false),
            ("evil.example:9470", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1@evil.example", false),
            ("", false),
        ] {
            let headers: HeaderMap = [(HOST, HeaderValue::from_static(host))].into_iter().collect();
            assert_eq!(is_asked_by_address(&from, &headers), expected, "{host}");
        }
        assert!(!is_asked_by_address(&from, &HeaderMap::new()));
        let caller = Arc::new(Caller::without_program(0, 0, Vec::new()));
        assert!(is_asked_by_address(&Peer::Caller(caller), &HeaderMap::new()));
    }
}
