//! What `doctor` asks: is the server there, is it verified, who are we to it, and
//! what may we. Reads no value and makes no credential.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::api::{CapabilitiesSelf, HealthAnswer, MountAnswer, Read};
use super::auth::LoginFault;
use super::client::{Client, Lane};
use super::config::{Config, Engine, PathSpec};
use super::layer::login_fault;
use super::policy::{Access, Need, needed};
use super::read;
use super::state::State as Known;
use super::trouble::{Kind, Trouble};
use crate::model::schema::kind::go_duration;
use crate::model::secret::SecretValue;
use crate::network::Break;
use crate::source::{Fault, FaultKind, Observation, State};

/// A clock that differs by more than this makes certificates and tokens end at the
/// wrong time.
const SKEW: Duration = Duration::from_secs(30);

/// A token that is used up after this many more requests is worth a word.
const FEW_USES: u64 = 100;

/// Everything that can be said.
pub(super) async fn examine(config: &Config, known: &mut Known) -> Vec<Observation> {
    let client = match known.client(config) {
        Ok(client) => client,
        Err(fault) => return vec![of_fault("TLS", fault)],
    };
    let mut told = vec![tls(config)];
    if !health(config, &client, &mut told).await {
        return told;
    }
    let Some(client) = login(config, known, &mut told).await else { return told };
    token(known, &client, &mut told).await;
    permissions(config, known, &client, &mut told).await;
    if config.rotates {
        comparisons(config, known, &client, &mut told).await;
    }
    told
}

fn observe(what: &str, state: State, detail: String, help: Option<&str>) -> Observation {
    Observation { what: what.to_owned(), state, detail, help: help.map(str::to_owned) }
}

fn of_fault(what: &str, fault: Fault) -> Observation {
    let state = match fault.kind {
        FaultKind::NotPermitted | FaultKind::Malformed => State::Wrong,
        FaultKind::Unreachable => State::Unreadable,
    };
    Observation { what: what.to_owned(), state, detail: fault.message, help: Some(fault.help) }
}

fn tls(config: &Config) -> Observation {
    let host = config.address.url().host();
    let loopback = match host {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    let (state, detail, help) = if !config.address.is_tls() {
        if loopback {
            (State::Fine, "plain HTTP, on this machine only".to_owned(), None)
        } else {
            let detail = "plain HTTP: everybody on the way can read the token and every value";
            (State::Degraded, detail.to_owned(), Some("use https in `address`"))
        }
    } else if config.tls.insecure_skip_verify {
        (
            State::Degraded,
            "the certificate is not verified: anybody on the way can pose as the server".to_owned(),
            Some("remove `insecure_skip_verify`, and name the authority: `tls = { ca_cert = \"ca.pem\" }`"),
        )
    } else {
        let by = config.tls.ca_cert.as_ref().map_or("the system's authorities", |path| &path.label);
        (State::Fine, format!("verified by {by}"), None)
    };
    observe("TLS", state, detail, help)
}

/// True if the server can be asked.
async fn health(config: &Config, client: &Client, told: &mut Vec<Observation>) -> bool {
    let address = config.address.as_str();
    let reply = match client.health().await {
        Ok(reply) => reply,
        Err(Trouble { kind, .. }) => {
            told.push(observe(address, State::Unreadable, kind.to_string(), Some(kind.help())));
            return false;
        }
    };
    let Ok(health) = serde_json::from_slice::<HealthAnswer>(&reply.body) else {
        let kind = Kind::NotTheApi;
        told.push(observe(address, State::Unreadable, kind.to_string(), Some(kind.help())));
        return false;
    };
    let bad = match (health.initialized, health.sealed) {
        (false, _) => Some(Kind::Uninitialised),
        (true, true) => Some(Kind::Sealed),
        (true, false) => None,
    };
    if let Some(kind) = bad {
        told.push(observe(address, State::Unreadable, kind.to_string(), Some(kind.help())));
        return false;
    }
    let role = if health.standby { "a standby" } else { "active" };
    told.push(observe(address, State::Fine, format!("{role}, unsealed, version {}", health.version), None));
    if let Some(skew) = reply.date.map(|theirs| difference(theirs, SystemTime::now()))
        && skew > SKEW
    {
        told.push(observe(
            "clock",
            State::Degraded,
            format!("the server's and this machine's differ by {}", seconds(skew)),
            Some("synchronise both: tokens and certificates end at the wrong time otherwise"),
        ));
    }
    true
}

fn difference(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).or_else(|_| b.duration_since(a)).unwrap_or_default()
}

fn seconds(span: Duration) -> String {
    go_duration(i128::from(span.as_secs()) * 1_000_000_000)
}

async fn login(config: &Config, known: &mut Known, told: &mut Vec<Observation>) -> Option<Arc<Client>> {
    let label = known.login.label();
    let ready = known.ready(config).await;
    if ready.is_none() {
        let fault = match known.trouble.take() {
            Some(LoginFault::Here(fault)) => fault,
            Some(LoginFault::There(trouble)) => login_fault(config, &label, &trouble),
            None => login_fault(config, &label, &Break::Timeout.into()),
        };
        told.push(of_fault("login", fault));
    }
    ready
}

async fn token(known: &Known, client: &Client, told: &mut Vec<Observation>) {
    let label = known.login.label();
    let Some(session) = &known.session else { return };
    let answer = match session.look_up(client).await {
        Ok(answer) => answer,
        Err(Trouble { kind: Kind::Forbidden, .. }) if known.login.can_repeat() => {
            let detail = format!("{label}; the token may not look at itself");
            told.push(observe("login", State::Fine, detail, None));
            return;
        }
        Err(Trouble { kind: Kind::Forbidden, .. }) => {
            told.push(observe(
                "login",
                State::Degraded,
                format!("{label} has ended, or may not look at itself"),
                Some("look at it as somebody who may: `bao token lookup`"),
            ));
            return;
        }
        Err(Trouble { kind, .. }) => {
            told.push(observe(
                "login",
                State::Unreadable,
                format!("{label}: the server {kind}"),
                Some(kind.help()),
            ));
            return;
        }
    };
    let life = match (answer.ttl, answer.renewable) {
        (0, _) => "does not end".to_owned(),
        (ttl, true) => format!("ends in {}, and can be renewed", seconds(Duration::from_secs(ttl))),
        (ttl, false) => format!("ends in {}", seconds(Duration::from_secs(ttl))),
    };
    let detail = format!("{label}; the token {life}; policies: {}", answer.policies.join(", "));
    let root = answer.policies.iter().any(|policy| policy == "root");
    let (state, help) = if root {
        (
            State::Degraded,
            Some("a root token may do everything: log in by a role, with `dlconf vault-policy`"),
        )
    } else if (1..FEW_USES).contains(&answer.num_uses) {
        (State::Degraded, Some("it is used up after a few more requests: make one without `num_uses`"))
    } else {
        (State::Fine, None)
    };
    told.push(observe("login", state, detail, help));
}

/// What each path needs, and whether it is permitted.
async fn permissions(config: &Config, known: &Known, client: &Client, told: &mut Vec<Observation>) {
    let Some(session) = &known.session else { return };
    let needs: Vec<(String, Vec<(Need, State)>)> = config
        .paths
        .iter()
        .map(|spec| {
            let mut needs = vec![(needed(spec, Access::Values), State::Wrong)];
            match spec.engine {
                Engine::Kv2 { .. } => {
                    needs.push((needed(spec, Access::Version), State::Degraded));
                    if config.rotates {
                        needs.push((needed(spec, Access::Write), State::Degraded));
                    }
                }
                Engine::Database { .. } => {
                    needs.push((needed(spec, Access::RenewLease), State::Degraded));
                    needs.push((needed(spec, Access::RevokeLease), State::Degraded));
                }
                Engine::Kv1 { .. } | Engine::Generic { .. } => {}
            }
            (spec.engine.shown_path(), needs)
        })
        .collect();
    let mut paths: Vec<String> =
        needs.iter().flat_map(|(_, needs)| needs).map(|(need, _)| need.path.clone()).collect();
    paths.sort();
    paths.dedup();
    let asked = client.ask(Lane::Poll, Some(&session.token), CapabilitiesSelf { paths }).await;
    let capabilities: BTreeMap<String, Vec<String>> = match asked.map(|answer| answer.data) {
        Ok(Some(capabilities)) => capabilities,
        Ok(None) => BTreeMap::new(),
        Err(Trouble { kind, .. }) => {
            let detail = format!("what the token may do could not be asked: the server {kind}");
            told.push(observe("permissions", State::Degraded, detail, Some(kind.help())));
            return;
        }
    };
    for (shown, needs) in needs {
        let lacks: Vec<&(Need, State)> = needs
            .iter()
            .filter(|(need, _)| {
                let may = capabilities.get(&need.path).map(Vec::as_slice).unwrap_or_default();
                !may.iter().any(|may| may == need.capability.as_str() || may == "root")
            })
            .collect();
        let Some(worst) = lacks.iter().map(|(_, state)| *state).max() else {
            told.push(observe(&shown, State::Fine, "permitted".into(), None));
            continue;
        };
        let words: Vec<String> = lacks.iter().map(|(need, _)| need.to_string()).collect();
        let help = if config.rotates { Need::HELP_OF_A_ROTATOR } else { Need::HELP };
        told.push(observe(&shown, worst, words.join("; "), Some(help)));
    }
}

/// Whether somebody's write that is compared with nothing could undo a rotation.
async fn comparisons(config: &Config, known: &Known, client: &Client, told: &mut Vec<Observation>) {
    let Some(session) = &known.session else { return };
    for spec in &config.paths {
        let Engine::Kv2 { mount, path } = &spec.engine else { continue };
        let shown = spec.engine.shown_path();
        told.push(match must_compare(client, &session.token, spec, mount, path).await {
            Ok(true) => observe(&shown, State::Fine, "a write has to name the version that it follows".into(), None),
            Ok(false) => {
                let detail = "a write need not name the version that it follows: one that does not can undo a \
                              rotation unseen";
                let help = format!("bao kv metadata put -mount={mount} -cas-required=true {path}");
                observe(&shown, State::Degraded, detail.into(), Some(&help))
            }
            // There will be metadata with the first version.
            Err(Trouble { kind: Kind::NotFound, .. }) => continue,
            Err(Trouble { kind, .. }) => {
                let detail = format!(
                    "whether a write has to name the version that it follows cannot be told: the server {kind}"
                );
                observe(&shown, State::Fine, detail, None)
            }
        });
    }
}

/// Whether the server refuses a write that names no version: by the secret, or by its mount.
async fn must_compare(
    client: &Client,
    token: &SecretValue,
    spec: &PathSpec,
    mount: &str,
    path: &str,
) -> Result<bool, Trouble> {
    if read::metadata(client, token, mount, path).await?.cas_required {
        return Ok(true);
    }
    let request = Read { path: needed(spec, Access::Mount).path };
    let answer = client.ask::<MountAnswer>(Lane::Poll, Some(token), request).await?;
    Ok(answer.data.ok_or(Kind::NotTheApi)?.cas_required)
}
