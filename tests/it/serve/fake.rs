//! A subject that says what a test wants, a listener that notes, and a server
//! around them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dlconf::access::{Gate, Policy, Rules};
use dlconf::model::key::Key;
use dlconf::model::schema::Schema;
use dlconf::model::schema::parse::parse;
use dlconf::model::validate::Delivered;
use dlconf::rotation::consumers::{Acknowledgement, NotTaken};
use dlconf::rotation::order::{NotOrdered, Ordered};
use dlconf::serve::config::{Listen, SocketConfig};
use dlconf::serve::{Bound, Forgotten, Limits, Program, RotateAsked, Subject};
use dlconf::status::*;
use dlconf::telemetry::log::{Format, Log};
use dlconf::telemetry::{Event, Level, Listener, Telemetry};
use tokio::sync::{oneshot, watch};

use crate::released::published;

pub(crate) struct Fake {
    pub(crate) status: Mutex<Status>,
    pub(crate) forgotten: Mutex<Forgotten>,
}

impl Fake {
    pub(crate) fn new(status: Status) -> Self {
        Self { status: Mutex::new(status), forgotten: Mutex::new(Forgotten::Unknown) }
    }

    /// The age of what stands in, where something does.
    fn oldest(&self) -> Option<u64> {
        self.status().sources.iter().filter_map(|source| source.snapshot_age_seconds).max()
    }
}

#[async_trait]
impl Subject for Fake {
    fn status(&self) -> Status {
        self.status.lock().unwrap().clone()
    }

    async fn explain(&self, key: &str) -> Option<Explanation> {
        let known = self.status().variables.iter().any(|variable| variable.key == key);
        known.then(|| Explanation {
            key: key.into(),
            environment: "production".into(),
            schema_path: "schema.toml".into(),
            declared: vec!["signs".into()],
            offers: Vec::new(),
            findings: Vec::new(),
        })
    }

    async fn forget(&self, _key: &str) -> Forgotten {
        self.forgotten.lock().unwrap().clone()
    }

    async fn rotate(&self, key: &Key, _: RotateAsked) -> Result<Ordered, NotOrdered> {
        Err(NotOrdered { code: "off".into(), message: format!("{key} is not rotated"), help: "none".into() })
    }

    fn acknowledge(&self, _: &str, _: u32, _: Acknowledgement) -> Result<(), NotTaken> {
        Ok(())
    }

    fn provenance(&self, delivered: &Delivered) -> Provenance {
        let place = delivered.origin.location.to_string();
        Provenance { place, age_seconds: Some(7), snapshot_age_seconds: self.oldest() }
    }

    fn snapshot_age(&self, _: &dyn Fn(&Key) -> bool) -> Option<u64> {
        self.oldest()
    }

    fn program(&self) -> Program {
        static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
            let text = include_str!("../../../policies/datalens.schema.toml");
            Arc::new(parse("datalens.schema.toml", text).unwrap().schema)
        });
        let (environment, service) = ("production".to_owned(), None);
        Program { schema: Arc::clone(&SCHEMA), environment, service }
    }
}

/// Values of its own, for the own user.
fn gate(fake: &Fake) -> Gate {
    let schema = fake.program().schema;
    let shown = fake.status().variables.into_iter().map(|variable| Key::new(&variable.key).unwrap());
    let keys = schema.vars.iter().map(|var| var.key.clone()).chain(shown).collect();
    let policy = Policy::own_user(nix::unistd::geteuid().as_raw(), keys);
    let (published, _) = published(&[("JWT_SECRET", "the secret of the test"), ("DB_USER", "datalens")]);
    Gate::new(published.subscribe(), watch::channel(Arc::new(Rules::new(policy, None))).1)
}

/// Notes what it is told.
#[derive(Default)]
pub(crate) struct Notes(Mutex<Vec<Event>>);

impl Listener for Notes {
    fn tell(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Notes {
    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }
}

/// A server on a thread of its own, ended when it is dropped.
pub(crate) struct Served {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) fake: Arc<Fake>,
    pub(crate) notes: Arc<Notes>,
    pub(crate) telemetry: Arc<Telemetry>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn loopback() -> Listen {
    Listen::Tcp("127.0.0.1:0".parse().unwrap())
}

pub(crate) fn unix(path: &Path, mode: u32) -> Listen {
    Listen::Unix(SocketConfig { path: path.into(), label: path.display().to_string(), mode })
}

/// Which routes are served.
#[derive(Clone, Copy)]
pub(crate) enum Routes {
    Ops,
    /// The ops port as it answers where others can connect too.
    OpsForAll,
    Control,
    /// The ops port, with a page of the test's own beside it.
    OpsAnd(&'static str, &'static str),
}

impl Served {
    pub(crate) fn new(listen: &Listen, routes: Routes, status: Status, limits: Limits) -> Self {
        let fake = Arc::new(Fake::new(status));
        let notes = Arc::new(Notes::default());
        let telemetry =
            Arc::new(Telemetry::new(Log::new(Format::Text, Level::Error, Box::new(std::io::sink()))));
        let bound = Bound::bind("the ops port", listen).unwrap();
        let address = bound.address();
        let subject: Arc<dyn Subject> = fake.clone();
        let listener: Arc<dyn Listener> = notes.clone();
        let answers = match routes {
            Routes::Ops => dlconf::serve::ops::router(subject, telemetry.clone(), bound.is_local()),
            Routes::OpsForAll => dlconf::serve::ops::router(subject, telemetry.clone(), false),
            Routes::Control => dlconf::serve::socket::router(subject, gate(&fake), listener.clone()),
            Routes::OpsAnd(path, html) => {
                dlconf::serve::ops::router(subject, telemetry.clone(), bound.is_local())
                    .route(path, axum::routing::get(async move || axum::response::Html(html)))
            }
        };
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let shutdown = async { drop(ended.await) };
            runtime.block_on(bound.serve(answers, limits, listener, None, shutdown)).unwrap();
        });
        Self { address, fake, notes, telemetry, end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn ops(status: Status) -> Self {
        Self::new(&loopback(), Routes::Ops, status, Limits::default())
    }

    pub(crate) fn control(path: &Path, status: Status) -> Self {
        Self::new(&unix(path, 0o600), Routes::Control, status, Limits::default())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// The whole answer to a whole request, from a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address.unwrap()
        ))
    }

    /// Ends it, and says how long that took.
    pub(crate) fn end(&mut self) -> Duration {
        let began = Instant::now();
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        began.elapsed()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn ask_unix(path: &Path, method: &str, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn code(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_else(|_| panic!("no answer: {answer:?}"))
}

pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn finding(code: &str, variable: &str, message: &str, place: &str, help: &str) -> FindingStatus {
    FindingStatus {
        code: Some(code.into()),
        severity: if code == "DLC030" { "warning".into() } else { "error".into() },
        variable: Some(variable.into()),
        message: message.into(),
        place: Some(place.into()),
        help: Some(help.into()),
    }
}

fn source(name: &str, kind: &str, health: Health, age: Option<u64>, offers: usize) -> SourceStatus {
    SourceStatus {
        name: name.into(),
        kind: kind.into(),
        health,
        age_seconds: age,
        max_age_seconds: 86_400,
        offers,
        faults: Vec::new(),
        leases: Vec::new(),
        snapshot_age_seconds: None,
    }
}

/// A variable as its source has it.
pub(crate) fn variable(key: &str, origin: &str, revision: Option<&str>, age: u64) -> VariableStatus {
    VariableStatus {
        key: key.into(),
        secret: key.contains("SECRET") || key.contains("PASSWORD") || key.contains("KEY"),
        state: VariableState::Current,
        source: Some("vault".into()),
        origin: Some(origin.into()),
        revision: revision.map(Into::into),
        age_seconds: Some(age),
        deliveries: vec!["file".into()],
    }
}

/// Everything is well: three sources, two deliveries, the variables of a real
/// program's size.
pub(crate) fn well() -> Status {
    let vault = |key: &str, revision: &str, age| {
        let origin = format!("vault:secret/datalens/production#{key}@{revision}");
        variable(key, &origin, Some(revision), age)
    };
    let local = |key: &str, line| {
        let mut local = variable(key, &format!("config/production.env:{line}:1"), None, 7_260);
        local.source = Some("local".into());
        local.deliveries.push("files".into());
        local
    };
    let default = |key: &str| VariableStatus {
        source: None,
        origin: Some("schema default".into()),
        age_seconds: None,
        ..variable(key, "", None, 0)
    };
    let mut variables = vec![
        local("APP_ENV", 1),
        local("APP_PORT", 2),
        vault("APP_SECRET_KEY", "12", 2_700_000),
        vault("JWT_SECRET", "7", 90_061),
        default("JWT_ACCESS_TOKEN_EXPIRY"),
        default("JWT_REFRESH_TOKEN_EXPIRY"),
        vault("DB_PASSWORD", "3", 310),
        vault("DB_USER", "3", 310),
        local("DB_HOST", 9),
        local("DB_SSL_MODE", 11),
        vault("AWS_SECRET_ACCESS_KEY", "41", 5_400),
        vault("DIGILOCKER_CLIENT_SECRET", "2", 864_000),
    ];
    variables.extend((0..53).map(|number| {
        if number % 3 == 0 {
            default(&format!("FEATURE_NUMBER_{number}_ENABLED"))
        } else {
            local(&format!("SERVICE_SETTING_{number}"), 20 + number)
        }
    }));
    let delivery = |name: &str, kind: &str, path: &str, vars| DeliveryStatus {
        name: name.into(),
        kind: kind.into(),
        path: path.into(),
        vars,
        version: Some("7f3a.42".into()),
        age_seconds: Some(310),
        failure: None,
        on_change: None,
    };
    let mut file = delivery("file", "env-file", "/run/dlconf/datalens.env", 65);
    file.on_change =
        Some(HookStatus { ok: true, detail: "TERM sent to process 4711".into(), age_seconds: 309 });
    let mut leased = source("vault", "vault", Health::Up, Some(2), 6);
    leased.leases =
        vec![LeaseStatus { path: "vault:database/creds/datalens".into(), ttl_seconds: Some(2_712) }];
    Status {
        release: "0.1.0".into(),
        version: Some("7f3a.42".into()),
        generation: 42,
        since: Some("2026-11-22T07:01:12Z".into()),
        started: "2026-11-20T22:14:03Z".into(),
        ready: true,
        environment: "production".into(),
        service: Some("cc".into()),
        schema: "datalens".into(),
        schema_path: "policies/datalens.schema.toml".into(),
        sources: vec![
            source("local", "dotenv", Health::Up, Some(11), 40),
            leased,
            source("env", "env", Health::Up, Some(0), 2),
        ],
        variables,
        deliveries: vec![file, delivery("files", "directory", "/run/dlconf/files", 40)],
        findings: Vec::new(),
        rejected: None,
        reload_refused: None,
        consumers: vec![
            consumer("cc", "api-7c9f-2xk4v", "7f3a.42", true),
            consumer("portal", "portal-0", "7f3a.41", false),
        ],
        audit: None,
        snapshot: None,
        rotator: None,
        rotations: Vec::new(),
    }
}

/// Rotations in every phase.
pub(crate) fn rotating() -> Status {
    let rotation = |key: &str, strategy: &str, phase: &str, number| RotationStatus {
        key: key.into(),
        strategy: strategy.into(),
        phase: phase.into(),
        phase_seconds: 240,
        number,
        place: Some("vault:secret/datalens/production".into()),
        ..RotationStatus::default()
    };
    let kids = |kids: &[(&str, &str)]| {
        kids.iter().map(|(slot, kid)| ((*slot).to_owned(), (*kid).to_owned())).collect()
    };
    let staged = RotationStatus {
        waiting: vec!["cc: 2 of 3 instances have acknowledged it".into()],
        kids: kids(&[("current", "initial"), ("next", "3f2a9c1155667788")]),
        ..rotation("JWT_SECRET", "overlap", "staged", 1)
    };
    let activated = RotationStatus {
        retires_seconds: Some(7_200),
        kids: kids(&[("current", "77aa9c1155667788"), ("previous", "3f2a9c1155667788")]),
        ..rotation("PORTAL_JWT_SECRET", "overlap", "activated", 12)
    };
    let late = RotationStatus {
        due_seconds: Some(-190_000),
        ..rotation("CONSENT_SIGNING_KEY", "ring", "steady", 0)
    };
    let stuck = RotationStatus {
        trouble: Some(FindingStatus {
            code: None,
            severity: "error".into(),
            variable: None,
            message: "vault:secret/datalens/production refuses to be written".into(),
            place: None,
            help: Some("`dlconf vault-policy --rotate` prints what it needs".into()),
        }),
        ..rotation("SMTP_PASS", "supplied", "steady", 3)
    };
    Status {
        rotator: Some(RotatorStatus {
            leads: false,
            lease: Some("lease/datalens-rotator".into()),
            holder: Some("rotator-7c9f_1".into()),
            trouble: None,
        }),
        rotations: vec![staged, activated, late, stuck],
        ..well()
    }
}

/// Everything that can be wrong, is; names are long, and one has markup in it.
pub(crate) fn ill() -> Status {
    let mut status = well();
    status.sources[1].health = Health::Down;
    status.sources[1].age_seconds = Some(754);
    status.sources[1].faults = vec![finding(
        "DLC051",
        "DB_PASSWORD",
        "the server does not permit the read of secret/datalens/production",
        "vault:secret/datalens/production",
        "add `capabilities = [\"read\"]` on secret/data/datalens/production to the token's policy; `dlconf vault-policy` prints it",
    )];
    status.sources.push(source(
        "a-source-with-a-very-long-name-for-its-place",
        "kubernetes",
        Health::Stale,
        Some(180_000),
        3,
    ));
    status.sources.push(source("later", "file", Health::Waiting, None, 0));
    for (index, state) in [
        (2, VariableState::Held),
        (3, VariableState::Held),
        (6, VariableState::Deleted),
        (10, VariableState::Withheld),
    ] {
        status.variables[index].state = state;
    }
    status.variables[11].state = VariableState::Missing;
    status.variables[11].origin = None;
    status.variables[11].revision = None;
    status.variables[11].age_seconds = None;
    status.variables[11].deliveries.clear();
    status.variables.push(variable(
        "A_VARIABLE_WITH_A_NAME_THAT_IS_LONGER_THAN_ANYBODY_WOULD_WANT_TO_TYPE_BUT_SOMEBODY_DID",
        "k8s:a-namespace-of-some-length/secret/the-secret-that-holds-what-datalens-needs-in-production#A_VARIABLE_WITH_A_NAME@4821347",
        Some("4821347"),
        12,
    ));
    status.deliveries[0].version = Some("7f3a.41".into());
    status.deliveries[0].failure = Some(FindingStatus {
        code: None,
        variable: None,
        ..finding(
            "",
            "",
            "/run/dlconf/datalens.env: writing failed: No space left on device",
            "/run/dlconf/datalens.env",
            "make room on that disk",
        )
    });
    status.deliveries[1].on_change = Some(HookStatus {
        ok: false,
        detail: "/usr/local/bin/reload ended with exit code 1".into(),
        age_seconds: 61,
    });
    status.findings = vec![finding(
        "DLC030",
        "DB_PASWORD",
        "<script>alert(1)</script> is not a name that the schema knows",
        "config/production.env:14:1",
        "did you mean DB_PASSWORD?",
    )];
    status.rejected = Some(RejectedStatus {
        at: "2026-11-22T07:04:55.120Z".into(),
        findings: vec![
            finding(
                "DLC013",
                "JWT_REFRESH_TOKEN_EXPIRY",
                "the API silently ignores JWT_REFRESH_TOKEN_EXPIRY: Go has no unit \"d\"",
                "config/production.env:15:26",
                "write 168h",
            ),
            finding(
                "DLC001",
                "PORTAL_JWT_SECRET",
                "PORTAL_JWT_SECRET is not set",
                "policies/datalens.schema.toml:74",
                "set 32 bytes or more; `openssl rand -base64 48` makes one",
            ),
        ],
    });
    status.reload_refused = Some(RefusedReload {
        at: "2026-11-22T06:58:00Z".into(),
        findings: vec![finding(
            "DLC040",
            "",
            "[delivery.file] has no field `modes`",
            "dlconf.toml:31:1",
            "did you mean `mode`?",
        )],
    });
    status
}

/// Started while one source cannot be asked: the snapshot stands in for it.
pub(crate) fn cut_off() -> Status {
    let mut status = well();
    let vault = &mut status.sources[1];
    vault.health = Health::Down;
    vault.age_seconds = Some(11_000);
    vault.snapshot_age_seconds = Some(11_000);
    vault.faults = vec![FindingStatus {
        variable: None,
        ..finding("DLC050", "", "connection refused", "https://vault:8200", "see that it runs: dlconf doctor")
    }];
    let stands_in = "source vault was not read since the start; the last-known-good snapshot stands in for it, as of 2026-11-22T04:00:00Z";
    status.findings.push(FindingStatus {
        severity: "warning".into(),
        variable: None,
        ..finding("DLC050", "", stands_in, "https://vault:8200", "see why it does not answer: dlconf doctor")
    });
    for variable in &mut status.variables {
        if let Some(origin) = variable.origin.as_mut().filter(|origin| origin.starts_with("vault:")) {
            origin.insert_str(0, "snapshot:");
            variable.state = VariableState::Held;
        }
    }
    status.snapshot = Some(SnapshotStatus {
        path: "/var/lib/dlconf/last-good.sealed".into(),
        generation: Some(12),
        written: Some("2026-11-22T04:00:01Z".into()),
        age_seconds: Some(11_000),
        max_age_seconds: 86_400,
        stands_in: vec!["vault".into()],
        failure: None,
        unguarded: None,
    });
    status
}

/// The same, and nothing can be written either.
pub(crate) fn cut_off_and_full() -> Status {
    let mut status = cut_off();
    let snapshot = status.snapshot.as_mut().unwrap();
    snapshot.failure = Some(FindingStatus {
        code: None,
        variable: None,
        ..finding(
            "",
            "",
            "it cannot be written: no space left on device",
            "/var/lib/dlconf/last-good.sealed",
            "make room there",
        )
    });
    snapshot.unguarded = Some("there is no high-water mark".into());
    status
}

/// Right after the start.
pub(crate) fn starting() -> Status {
    let mut status = well();
    status.version = None;
    status.generation = 0;
    status.since = None;
    status.ready = false;
    for source in &mut status.sources {
        source.health = Health::Waiting;
        source.age_seconds = None;
        source.leases.clear();
    }
    for delivery in &mut status.deliveries {
        delivery.version = None;
        delivery.age_seconds = None;
        delivery.on_change = None;
    }
    status.variables.clear();
    status
}

fn consumer(name: &str, instance: &str, version: &str, current: bool) -> ConsumerStatus {
    let used = KeysInUse { verifies: vec!["k2".into(), "k1".into()], signs: Some("k2".into()) };
    ConsumerStatus {
        name: name.into(),
        instance: instance.into(),
        uid: 10001,
        version: version.into(),
        current,
        health: None,
        runs: [("JWT_SECRET".to_owned(), used)].into(),
        age_seconds: 42,
        expires_in_seconds: 258,
    }
}
