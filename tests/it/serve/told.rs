//! Events as lines and numbers, and the status on one screen.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dlconf::model::finding::Code;
use dlconf::model::key::{Key, SourceName};
use dlconf::model::snapshot::Version;
use dlconf::report::Style;
use dlconf::report::status::text;
use dlconf::status::Health;
use dlconf::telemetry::log::{Format, Log};
use dlconf::telemetry::{Event, Level, Listener as _, Telemetry, Words};
use expect_test::expect;
use serde_json::Value;

use super::fake::{Served, cut_off, cut_off_and_full, ill, well};

fn words(message: &str) -> Words {
    Words {
        code: Some(Code::Missing),
        message: message.into(),
        place: Some("schema.toml:74".into()),
        help: Some("set it".into()),
    }
}

/// One of every event.
fn every() -> Vec<Event> {
    let vault = || SourceName::new("vault");
    let key = || Key::new("JWT_SECRET").unwrap();
    let version = || Version::new("7f3a".into(), 42);
    let took = vec![(vault(), Duration::from_millis(30))];
    vec![
        Event::Started {
            environment: "production".into(),
            service: Some("cc".into()),
            schema: "schema.toml".into(),
            settings: Some("dlconf.toml".into()),
        },
        Event::Listening { what: "the ops port", at: "127.0.0.1:9470".into() },
        Event::Rotated { key: key(), act: "staged", place: "vault:secret/datalens".into(), number: 7 },
        Event::RotationFailed { key: key(), words: words("vault:secret/datalens does not answer") },
        Event::RotationWaits { key: key(), waiting: vec!["cc: api-1 does not have it yet".into()] },
        Event::RotationRepaired {
            key: key(),
            place: "vault:secret/datalens".into(),
            what: vec!["JWT_SECRET_PREVIOUS was gone".into()],
        },
        Event::RotationRefused {
            key: key(),
            code: "single".into(),
            words: words("cc verifies with one key"),
        },
        Event::AcknowledgementsTroubled { words: words("the Lease acks-cc-1 is written by two") },
        Event::Leads { lease: "lease/rotator".into() },
        Event::Follows { lease: "lease/rotator".into(), holder: Some("rotator-1".into()) },
        Event::LeaderUnknown { lease: "lease/rotator".into(), why: "the API server does not answer".into() },
        Event::Published { version: version(), changed: vec![key()] },
        Event::Rejected { findings: vec![words("JWT_SECRET is not set"); 2], holds: Some(version()) },
        Event::Rejected { findings: vec![words("JWT_SECRET is not set")], holds: None },
        Event::Fetched { source: vault(), ok: true },
        Event::Fetched { source: vault(), ok: false },
        Event::SourceDown { source: vault(), faults: vec![words("it does not answer")], holds: true },
        Event::SourceUp { source: vault() },
        Event::StandsIn { source: vault(), age: Duration::from_hours(3) },
        Event::SourceStale { source: vault(), words: words("not confirmed for 25h"), withheld: vec![key()] },
        Event::DeletionHeld { key: key(), source: vault(), until_forgotten: true },
        Event::DeletionHeld { key: key(), source: vault(), until_forgotten: false },
        Event::GivenUp { key: key(), source: vault(), by_request: true },
        Event::Delivered { delivery: "file".into(), version: version(), changed: true, took },
        Event::Delivered { delivery: "file".into(), version: version(), changed: false, took: Vec::new() },
        Event::DeliveryFailed {
            delivery: "file".into(),
            words: words("no space"),
            again_in: Duration::from_nanos(1_254_765_376),
        },
        Event::Hook { delivery: "file".into(), ok: false, detail: "exit code 1".into() },
        Event::HookSaid { delivery: "file".into(), line: "a\x1b[2J\nb".into() },
        Event::Reloaded,
        Event::ReloadRefused { faults: vec![words("there is no field \"modes\"")] },
        Event::Denied { what: "the socket", uid: Some(7), detail: "user 7 asked".into() },
        Event::TurnedAway { what: "the ops port" },
        Event::TurnedAway { what: "the ops port" },
        Event::CannotAccept { what: "the ops port", reason: "Too many open files" },
        Event::CutOff { what: "the socket" },
        Event::CutOff { what: "the socket" },
        Event::FewConnections { what: "the socket", connections: 480, wanted: 4096 },
        Event::SocketExposed { what: "the socket", at: "d.sock".into() },
        Event::SocketLost { what: "the socket", at: "d.sock".into(), bound_again: false },
        Event::Answered { route: "/v1/status", status: 200, took: Duration::from_millis(1) },
        Event::Stopping { why: "SIGTERM".into(), failed: false },
    ]
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(format: Format, least: Level) -> String {
    let memory = Memory::default();
    let log = Log::new(format, least, Box::new(memory.clone()));
    for event in every() {
        log.write(&event);
    }
    String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn lines_are_for_people() {
    expect![[r#"
        dlconf: 0.1.0 for production, service cc; schema.toml; dlconf.toml
        dlconf: the ops port listens at 127.0.0.1:9470
        dlconf: rotation 7 of JWT_SECRET: staged, in vault:secret/datalens
        dlconf: error: the rotation of JWT_SECRET does not go on: [DLC001] vault:secret/datalens does not answer (schema.toml:74; fix: set it)
        dlconf: warning: the rotation of JWT_SECRET waits: cc: api-1 does not have it yet
        dlconf: error: somebody else wrote to vault:secret/datalens and touched what the rotation of JWT_SECRET needs: JWT_SECRET_PREVIOUS was gone (fix: find out who; a rotated variable is changed by dlconf rotate)
        dlconf: warning: JWT_SECRET is not rotated: [DLC001] cc verifies with one key (schema.toml:74; fix: set it)
        dlconf: warning: [DLC001] the Lease acks-cc-1 is written by two (schema.toml:74; fix: set it)
        dlconf: this daemon rotates: it holds lease/rotator
        dlconf: rotator-1 rotates, which holds lease/rotator
        dlconf: warning: nobody can tell who holds lease/rotator, so this daemon rotates nothing: the API server does not answer (fix: see the API server, and whether this daemon may write that Lease)
        dlconf: published 7f3a.42; changed: JWT_SECRET
        dlconf: error: the new state is not published, 7f3a.42 holds: [DLC001] JWT_SECRET is not set (schema.toml:74; fix: set it); [DLC001] JWT_SECRET is not set (schema.toml:74; fix: set it)
        dlconf: error: nothing can be published yet: [DLC001] JWT_SECRET is not set (schema.toml:74; fix: set it)
        dlconf: source vault was read
        dlconf: source vault was read, with faults
        dlconf: error: source vault cannot be read, what it gave before holds: [DLC001] it does not answer (schema.toml:74; fix: set it)
        dlconf: source vault can be read again
        dlconf: warning: source vault was not read yet: the last-known-good snapshot stands in for it, confirmed 10800s ago
        dlconf: warning: source vault is older than it may be: [DLC001] not confirmed for 25h (schema.toml:74; fix: set it); withheld: JWT_SECRET
        dlconf: warning: source vault deleted JWT_SECRET, which is required: its value is held (to give it up: dlconf forget JWT_SECRET)
        dlconf: warning: source vault deleted JWT_SECRET: its value is held for a minute
        dlconf: JWT_SECRET, which source vault deleted, is given up on request
        dlconf: delivery file has 7f3a.42
        dlconf: delivery file has 7f3a.42, with the same content as before
        dlconf: error: delivery file failed, tried again in 1.26s: [DLC001] no space (schema.toml:74; fix: set it)
        dlconf: error: on_change of delivery file failed: exit code 1
        dlconf: on_change of delivery file says: a␛[2J␊b
        dlconf: settings and schema were read again and hold
        dlconf: error: settings and schema were read again and are refused, the old ones hold: [DLC001] there is no field "modes" (schema.toml:74; fix: set it)
        dlconf: warning: refused: the socket: user 7 asked (said once a minute; dlconf_access_denied_total counts all)
        dlconf: warning: the ops port has as many connections as it takes: those that ask nothing are closed first (said once a minute)
        dlconf: error: the ops port can accept no connection for the moment: Too many open files (said once a minute; fix: raise the limit of open files, or see what holds them)
        dlconf: warning: the socket closed a connection whose client did not read while a new generation came (said once a minute; dlconf_connections_cut_total counts all)
        dlconf: warning: the socket takes 480 connections and not 4096: the limit of open files allows no more (fix: raise the hard limit, LimitNOFILE= in a unit)
        dlconf: warning: others may write into the folder of the socket, d.sock, and put a socket of theirs in its place (fix: take the right to write from group and others, or set the sticky bit)
        dlconf: error: the socket is not at d.sock any more, so nobody finds it: something else is there, or it cannot be bound again (fix: move that away; it is bound again within seconds)
        dlconf: /v1/status: 200
        dlconf: stopping: SIGTERM
    "#]].assert_eq(&logged(Format::Text, Level::Debug));
}

#[test]
fn who_is_refused_again_and_again_does_not_fill_the_log() {
    let memory = Memory::default();
    let log = Log::new(Format::Text, Level::Debug, Box::new(memory.clone()));
    let lines = || String::from_utf8(memory.0.lock().unwrap().clone()).unwrap().lines().count();
    let denied = |uid| Event::Denied { what: "the socket", uid: Some(uid), detail: "asked".into() };
    for _ in 0..100 {
        log.write(&denied(7));
    }
    assert_eq!(lines(), 1);
    // Nor do they hide who else is; nor do many.
    for uid in 0..1000 {
        log.write(&denied(uid));
    }
    assert_eq!(lines(), 65);
}

#[test]
fn what_weighs_less_is_left_out() {
    let count = |least| logged(Format::Text, least).lines().count();
    assert_eq!(
        (count(Level::Debug), count(Level::Info), count(Level::Warning), count(Level::Error)),
        (39, 35, 23, 10)
    );
}

#[test]
fn lines_are_for_machines() {
    let text = logged(Format::Json, Level::Debug);
    let mut events = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let ts = line["ts"].as_str().unwrap();
        assert!(ts.len() == 24 && ts.ends_with('Z') && ts.as_bytes()[10] == b'T', "{ts}");
        assert!(["debug", "info", "warning", "error"].contains(&line["level"].as_str().unwrap()));
        assert!(!line["message"].as_str().unwrap().is_empty() && line["fields"].is_object(), "{line}");
        events.push(line);
    }
    let of = |name: &str| events.iter().find(|line| line["event"] == name).unwrap();
    assert_eq!(of("published")["fields"]["changed"][0], "JWT_SECRET");
    assert_eq!(of("rejected")["fields"]["findings"][0]["code"], "DLC001");
    assert_eq!(of("rejected")["fields"]["holds"], "7f3a.42");
    assert_eq!(of("delivered")["fields"]["took_seconds"]["vault"], 0.03);
    assert_eq!(of("on-change-said")["fields"]["line"], "a\x1b[2J\nb");
    assert!(!text.contains('\x1b'));
}

/// Samples by name and labels, after judging the text's form.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut samples = BTreeMap::new();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines() {
        let mut parts = line.splitn(4, ' ');
        match (parts.next(), parts.next()) {
            (Some("#"), Some("TYPE")) => {
                let name = parts.next().unwrap();
                let twice = families.insert(name, parts.next().unwrap());
                assert!(twice.is_none(), "{name} twice");
            }
            (Some("#"), Some("HELP")) => {
                assert!(parts.nth(1).is_some_and(|help| help.ends_with('.')), "{line}");
            }
            (Some("#"), Some("UNIT")) => assert_eq!(parts.nth(1), Some("seconds"), "{line}"),
            (Some("#"), Some("EOF")) => {}
            _ => {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let name = sample.split('{').next().unwrap();
                let family = families
                    .iter()
                    .find(|(family, _)| name.starts_with(**family))
                    .unwrap_or_else(|| panic!("{line}"));
                let suffix = &name[family.0.len()..];
                let fits = match *family.1 {
                    "counter" => suffix == "_total",
                    "gauge" => suffix.is_empty(),
                    "info" => suffix == "_info",
                    _ => ["_bucket", "_sum", "_count"].contains(&suffix),
                };
                assert!(fits, "{line}");
                samples.insert(sample.to_owned(), value.parse().unwrap());
            }
        }
    }
    samples
}

#[test]
fn every_number_has_its_name() {
    let served = Served::ops(ill());
    for event in every() {
        served.telemetry.tell(event);
    }
    let answer = served.get("/metrics");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let samples = samples(super::fake::body(&answer));
    for (sample, value) in [
        ("dlconf_config_generation", 42.0),
        ("dlconf_propagation_seconds_bucket{le=\"0.025\",source=\"vault\",delivery=\"file\"}", 0.0),
        ("dlconf_propagation_seconds_bucket{le=\"0.05\",source=\"vault\",delivery=\"file\"}", 1.0),
        ("dlconf_propagation_seconds_count{source=\"vault\",delivery=\"file\"}", 1.0),
        ("dlconf_source_up{source=\"vault\"}", 0.0),
        ("dlconf_source_up{source=\"local\"}", 1.0),
        ("dlconf_source_fetch_total{source=\"vault\",outcome=\"ok\"}", 1.0),
        ("dlconf_source_fetch_total{source=\"vault\",outcome=\"failed\"}", 1.0),
        ("dlconf_source_age_seconds{source=\"vault\"}", 754.0),
        ("dlconf_rejected_total{code=\"DLC001\"}", 2.0),
        ("dlconf_delivery_total{delivery=\"file\",outcome=\"changed\"}", 1.0),
        ("dlconf_delivery_total{delivery=\"file\",outcome=\"unchanged\"}", 1.0),
        ("dlconf_delivery_total{delivery=\"file\",outcome=\"failed\"}", 1.0),
        ("dlconf_socket_requests_total{route=\"/v1/status\",status=\"200\"}", 1.0),
        ("dlconf_socket_request_seconds_count", 1.0),
        ("dlconf_access_denied_total", 1.0),
        ("dlconf_connections_refused_total{listener=\"the ops port\"}", 2.0),
        ("dlconf_connections_cut_total{listener=\"the socket\"}", 2.0),
        ("dlconf_variable_age_seconds{key=\"DB_PASSWORD\"}", 310.0),
        ("dlconf_lease_ttl_seconds{path=\"vault:database/creds/datalens\"}", 2712.0),
        (
            &format!(
                "dlconf_build_info{{version=\"{}\",arch=\"{}\"}}",
                env!("CARGO_PKG_VERSION"),
                std::env::consts::ARCH
            ),
            1.0,
        ),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample}: {samples:#?}");
    }
}

#[test]
fn a_text_that_is_scraped_at_the_start_is_whole() {
    let telemetry = Telemetry::new(Log::new(Format::Text, Level::Error, Box::new(std::io::sink())));
    let text = telemetry.metrics().text(&super::fake::starting()).unwrap();
    assert_eq!(samples(&text).get("dlconf_config_generation"), Some(&0.0));
}

const EIGHTY: Style = Style { color: false, width: 80, unicode: true };

#[test]
fn what_the_snapshot_stands_in_for_is_said() {
    let mut status = cut_off();
    status.variables.truncate(4);
    expect![[r"
        production · cc · 7f3a.42 since 2026-11-22 07:01:12 UTC · ready
        schema datalens (policies/datalens.schema.toml) · dlconf 0.1.0 at
        /run/dlconf/dlconf.sock, started 2026-11-20 22:14:03 UTC
        snapshot /var/lib/dlconf/last-good.sealed · 3h old, used up to 24h · stands in
        for vault

        error: source vault is down
          last confirmed 3h ago; the last-known-good snapshot stands in for it
          DLC050 connection refused
                 --> https://vault:8200
                 fix: see that it runs: dlconf doctor

        sources 3
          up        local  dotenv  40 variables, seen 11s ago
          down      vault  vault   6 variables, snapshot, 3h old (cannot be read:
                                   connection refused), lease 45m
          up        env    env     2 variables, seen 0s ago

        deliveries 2
          current   file   7f3a.42, 65 variables, 5m  /run/dlconf/datalens.env
          current   files  7f3a.42, 40 variables, 5m  /run/dlconf/files

        consumers 2
          current   cc api-7c9f-2xk4v  7f3a.42, 42s  JWT_SECRET signs k2, verifies k2 k1
          behind    portal portal-0    7f3a.41, 42s  JWT_SECRET signs k2, verifies k2 k1

        variables 4
          current   APP_ENV           2h  config/production.env:1:1
          current   APP_PORT          2h  config/production.env:2:1
          held      APP_SECRET_KEY   31d  snapshot:vault:…s/production#APP_SECRET_KEY@12
          held      JWT_SECRET       25h  snapshot:vault:…talens/production#JWT_SECRET@7
    "]]
    .assert_eq(&text(&status, "/run/dlconf/dlconf.sock", EIGHTY));
}

#[test]
fn a_snapshot_in_trouble_is_said() {
    let mut status = cut_off_and_full();
    status.sources[1].health = Health::Waiting;
    status.sources[1].faults.clear();
    status.variables.clear();
    expect![[r"
        production · cc · 7f3a.42 since 2026-11-22 07:01:12 UTC · ready
        schema datalens (policies/datalens.schema.toml) · dlconf 0.1.0 at
        /run/dlconf/dlconf.sock, started 2026-11-20 22:14:03 UTC
        snapshot /var/lib/dlconf/last-good.sealed · 3h old, used up to 24h · stands in
        for vault · failed: it cannot be written: no space left on device · an older one
        put in its place would not be noticed: there is no high-water mark

        error: source vault does not answer
          last confirmed 3h ago; the last-known-good snapshot stands in for it

        error: the last-known-good snapshot failed
          at the next start there may be nothing to stand in for a source
          - it cannot be written: no space left on device
            --> /var/lib/dlconf/last-good.sealed
            fix: make room there

        sources 3
          up        local  dotenv  40 variables, seen 11s ago
          waiting   vault  vault   6 variables, snapshot, 3h old (does not answer),
                                   lease 45m
          up        env    env     2 variables, seen 0s ago

        deliveries 2
          current   file   7f3a.42, 65 variables, 5m  /run/dlconf/datalens.env
          current   files  7f3a.42, 40 variables, 5m  /run/dlconf/files

        consumers 2
          current   cc api-7c9f-2xk4v  7f3a.42, 42s  JWT_SECRET signs k2, verifies k2 k1
          behind    portal portal-0    7f3a.41, 42s  JWT_SECRET signs k2, verifies k2 k1

        variables 0
    "]]
    .assert_eq(&text(&status, "/run/dlconf/dlconf.sock", EIGHTY));
}

#[test]
fn one_screen_says_all() {
    let mut status = ill();
    status.variables.truncate(13);
    expect![[r#"
        production · cc · 7f3a.42 since 2026-11-22 07:01:12 UTC · ready
        schema datalens (policies/datalens.schema.toml) · dlconf 0.1.0 at
        /run/dlconf/dlconf.sock, started 2026-11-20 22:14:03 UTC

        error: the new state is not published
          seen 2026-11-22 07:04:55 UTC; 7f3a.42 holds
          DLC013 the API silently ignores JWT_REFRESH_TOKEN_EXPIRY: Go has no unit "d"
                 --> config/production.env:15:26
                 fix: write 168h
          DLC001 PORTAL_JWT_SECRET is not set
                 --> policies/datalens.schema.toml:74
                 fix: set 32 bytes or more; `openssl rand -base64 48` makes one

        error: a reload was refused
          at 2026-11-22 06:58:00 UTC; the settings and the schema from before hold
          DLC040 [delivery.file] has no field `modes`
                 --> dlconf.toml:31:1
                 fix: did you mean `mode`?

        error: source vault is down
          last confirmed 12m ago; what it gave before holds
          DLC051 the server does not permit the read of secret/datalens/production
                 --> vault:secret/datalens/production
                 fix: add `capabilities = ["read"]` on secret/data/datalens/production
                      to the token's policy; `dlconf vault-policy` prints it

        error: source a-source-with-a-very-long-name-for-its-place is stale
          last confirmed 2d ago; it may be 24h old

        error: delivery file failed
          7f3a.41 is still there; it is tried again
          - /run/dlconf/datalens.env: writing failed: No space left on device
            --> /run/dlconf/datalens.env
            fix: make room on that disk

        error: delivery files: on_change failed
          /usr/local/bin/reload ended with exit code 1, 61s ago

        error: 1 variable withheld: too old to be given
          AWS_SECRET_ACCESS_KEY

        warning: 1 variable held, though deleted at the source
          DB_PASSWORD; `dlconf forget DB_PASSWORD` gives it up

        warning: 1 warning about what is published
          DLC030 <script>alert(1)</script> is not a name that the schema knows
                 --> config/production.env:14:1
                 fix: did you mean DB_PASSWORD?

        sources 5
          up        local  dotenv      40 variables, seen 11s ago
          down      vault  vault       6 variables, seen 12m ago, lease 45m
          up        env    env         2 variables, seen 0s ago
          stale     a-source-with-a-very-long-name-for-its-place  kubernetes  3 variables, seen 2d ago
          waiting   later  file        0 variables, not read yet

        deliveries 2
          failed    file   7f3a.41, 65 variables, 5m  /run/dlconf/datalens.env
          current   files  7f3a.42, 40 variables, 5m  /run/dlconf/files

        consumers 2
          current   cc api-7c9f-2xk4v  7f3a.42, 42s  JWT_SECRET signs k2, verifies k2 k1
          behind    portal portal-0    7f3a.41, 42s  JWT_SECRET signs k2, verifies k2 k1

        variables 13
          current   APP_ENV                     2h  config/production.env:1:1
          current   APP_PORT                    2h  config/production.env:2:1
          held      APP_SECRET_KEY             31d  vault:secret…ction#APP_SECRET_KEY@12
          held      JWT_SECRET                 25h  vault:secret…production#JWT_SECRET@7
          current   JWT_ACCESS_TOKEN_EXPIRY      -  schema default
          current   JWT_REFRESH_TOKEN_EXPIRY     -  schema default
          deleted   DB_PASSWORD                 5m  vault:secret…roduction#DB_PASSWORD@3
          current   DB_USER                     5m  vault:secret…ns/production#DB_USER@3
          current   DB_HOST                     2h  config/production.env:9:1
          current   DB_SSL_MODE                 2h  config/production.env:11:1
          withheld  AWS_SECRET_ACCESS_KEY      90m  vault:secret…WS_SECRET_ACCESS_KEY@41
          missing   DIGILOCKER_CLIENT_SECRET     -  not set
          current   FEATURE_NUMBER_0_ENABLED     -  schema default
    "#]]
    .assert_eq(&text(&status, "/run/dlconf/dlconf.sock", EIGHTY));
}

#[test]
fn a_variable_is_a_line_of_eighty_columns() {
    let text = text(&well(), "/run/dlconf/dlconf.sock", EIGHTY);
    let (above, below) = text.split_once("\nvariables 65\n").unwrap();
    assert_eq!(below.lines().count(), 65);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(above.lines().count() < 19 && !above.contains("error"), "{above}");
}

#[test]
fn what_is_named_cannot_steer_the_terminal() {
    let mut status = well();
    status.environment = "pro\x1b[2J\u{202e}d".into();
    status.variables[0].origin = Some("a\nb\x1b]0;x\x07".into());
    status.sources[0].name = "\x1b[31m".into();
    status.deliveries[0].path = "/run/\x1b[0m".into();
    let text = text(&status, "/run/\x1b[2J", Style { color: false, width: 100, unicode: true });
    assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text}");
}
