//! An API server as far as dlconf needs one, in this process: it answers as the
//! recordings in `tests/fixtures/kubernetes` say (`recordings` compares them), and
//! fails as a test plans it. It listens on loopback, with TLS and without.
//!
//! Everything that a test makes (namespaces, Secrets, Roles, tokens) it makes over
//! HTTP, as with a real server; only faults go past that.
//!
//! Its watches are exact where a real server's are lazy: an event is sent as soon
//! as its change is made.

mod answer;
mod ask;
mod events;
mod fault;
mod http2;
mod kinds;
mod managed;
mod patch;
mod rights;
mod rules;
mod shared;
mod status;
mod store;
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub(crate) use self::ask::Seen;
pub(crate) use self::fault::Fault;
use self::kinds::Kind;
use self::rights::{AUDIENCE, User};
pub(crate) use self::shared::Link;
use self::shared::Shared;
use self::store::Id;
use crate::bao::tls::Authority;
use crate::program::Folder;

/// Answers until dropped.
pub(crate) struct Fake {
    shared: Arc<Shared>,
    runtime: Handle,
    folder: Folder,
    tls: TlsAcceptor,
    http: SocketAddr,
    https: SocketAddr,
    administrator: String,
    /// Its end ends the runtime's thread.
    _alive: oneshot::Sender<()>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let authority = Authority::new(&folder);
        let identity = authority.server(&folder);
        let chain = vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (alive, dead) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = runtime.block_on(dead);
        });
        let shared = Shared::new();
        let administrator = User::Administrator("admin-rig".into());
        let administrator = shared.lock().tokens.give(administrator, &[AUDIENCE], 3600);
        for name in ["default", "kube-system"] {
            let id = Id::new(Kind::of("namespaces"), "", name);
            shared.lock().store.create(&id, json!({}), "kube-apiserver").unwrap();
        }
        let [http, https] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let fake = Self {
            http: http.local_addr().unwrap(),
            https: https.local_addr().unwrap(),
            shared,
            runtime: handle,
            folder,
            tls: TlsAcceptor::from(Arc::new(config)),
            administrator,
            _alive: alive,
        };
        fake.accept(http, None);
        fake.accept(https, Some(fake.tls.clone()));
        fake
    }

    fn accept(&self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let stopped = wire::until(shared.control.subscribe(), |control| control.stopping);
            tokio::pin!(stopped);
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = &mut stopped => return,
                };
                stream.set_nodelay(true).unwrap();
                tokio::spawn(connection(stream, tls.clone(), Arc::clone(&shared)));
            }
        });
    }

    /// `https://127.0.0.1:PORT`.
    pub(crate) fn https(&self) -> String {
        format!("https://{}", self.https)
    }

    /// `http://127.0.0.1:PORT`, of the same server.
    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The authority that a client has to trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A token that may everything.
    pub(crate) fn administrator(&self) -> &str {
        &self.administrator
    }

    /// A token of somebody who is no service account, with no rights of their own.
    pub(crate) fn token_of(&self, user: &str) -> String {
        self.shared.lock().tokens.give(User::Plain(user.into()), &[AUDIENCE], 3600)
    }

    /// The token is refused from now on; what goes on already goes on.
    pub(crate) fn expire(&self, token: &str) {
        self.shared.lock().tokens.expire(token);
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget_seen(&self) {
        self.shared.lock().seen.clear();
    }

    /// A connection by its number.
    pub(crate) fn link(&self, number: u64) -> Link {
        self.shared.lock().links[usize::try_from(number).unwrap() - 1].clone()
    }

    /// How many connections were made.
    pub(crate) fn links(&self) -> usize {
        self.shared.lock().links.len()
    }

    /// Plans faults for `VERB RESOURCE/NAME`, each for one request, in order. A `*`
    /// stands for any verb, another for any object.
    pub(crate) fn fail(&self, what: &str, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().plans.add(what, faults, false);
    }

    /// The same for every request until it is healed.
    pub(crate) fn fail_always(&self, what: &str, fault: Fault) {
        self.shared.lock().plans.add(what, [fault], true);
    }

    /// Takes back every plan.
    pub(crate) fn heal(&self) {
        self.shared.lock().plans.heal();
    }

    /// The current version.
    pub(crate) fn revision(&self) -> u64 {
        self.shared.lock().store.revision()
    }

    /// Other objects took these versions.
    pub(crate) fn advance_to(&self, revision: u64) {
        self.shared.change(|state| state.store.advance_to(revision));
    }

    /// A backup of then is restored: versions begin there anew. Connections go on, so
    /// that what is watched is in the future.
    pub(crate) fn restore(&self, revision: u64) {
        self.shared.change(|state| state.store.roll_back_to(revision));
    }

    /// Watches from before now are told that it is gone.
    pub(crate) fn compact(&self) {
        self.shared.change(|state| state.store.compact());
    }

    /// Whether a watch can ask for what is there already.
    pub(crate) fn set_initial_events(&self, supported: bool) {
        self.shared.lock().manner.initial_events = supported;
    }

    pub(crate) fn set_bookmarks(&self, sent: bool) {
        self.shared.lock().manner.bookmarks = sent;
    }

    /// Its etcd stops answering, or answers again.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.shared.lock().manner.frozen = frozen;
    }

    /// The connections so far are dead, and nobody tells either side: as when a
    /// firewall forgets them.
    pub(crate) fn mute(&self) {
        let open = self.links() as u64;
        self.shared.control.send_modify(|control| control.muted_up_to = open);
    }

    /// Closes the connections so far.
    pub(crate) fn cut(&self) {
        let open = self.links() as u64;
        self.shared.control.send_modify(|control| control.closed_up_to = open);
    }

    /// Begins to end: nobody can connect, open watches stay open and silent.
    pub(crate) fn shut_down(&self) {
        self.shared.control.send_modify(|control| control.stopping = true);
        for address in [self.http, self.https] {
            let refused = crate::bao::poll(|| std::net::TcpStream::connect(address).err());
            assert!(refused.is_some(), "it does not stop listening");
        }
    }

    /// The process is gone.
    pub(crate) fn stop(&self) {
        self.shut_down();
        self.cut();
    }

    /// It is there again, at the same addresses, with all that it kept.
    pub(crate) fn start_again(&self) {
        self.cut();
        self.shared.control.send_modify(|control| control.stopping = false);
        for (address, tls) in [(self.http, None), (self.https, Some(self.tls.clone()))] {
            let bound = crate::bao::poll(|| TcpListener::bind(address).ok());
            self.accept(bound.expect("the port is free again"), tls);
        }
    }

    /// Makes many Secrets at once, each with a value of this size.
    pub(crate) fn fill(&self, namespace: &str, count: usize, bytes: usize) {
        let value = "QUFB".repeat(bytes / 3);
        self.shared.change(|state| {
            for number in 0..count {
                let id = Id::new(Kind::of("secrets"), namespace, &format!("filler-{number:06}"));
                state.store.create(&id, json!({ "data": { "value": value } }), "filler").unwrap();
            }
        });
    }

    /// How many bytes of endless bodies went out.
    pub(crate) fn endless_bytes(&self) -> u64 {
        self.shared.lock().endless_bytes
    }

    /// Waits until a request is so, within the time; it.
    #[track_caller]
    pub(crate) fn sees(&self, what: &str, within: Duration, is: impl Fn(&Seen) -> bool) -> Seen {
        let end = Instant::now() + within;
        loop {
            if let Some(seen) = self.shared.lock().seen.iter().find(|seen| is(seen)) {
                return seen.clone();
            }
            assert!(Instant::now() < end, "no request is so: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.control.send_modify(|control| {
            control.stopping = true;
            control.closed_up_to = u64::MAX;
        });
    }
}

async fn connection(stream: tokio::net::TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let number = shared.connected(tls.is_some());
    let by_client = match tls {
        None => wire::converse(stream, &shared, number).await,
        Some(tls) => match tls.accept(stream).await {
            Err(_refused) => true,
            Ok(stream) => {
                let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                let protocol = protocol.map(|name| String::from_utf8(name).unwrap());
                shared.agreed(number, protocol.clone());
                if protocol.as_deref() == Some("h2") {
                    http2::converse(stream, &shared, number).await;
                    true
                } else {
                    wire::converse(stream, &shared, number).await
                }
            }
        },
    };
    shared.ended(number, by_client);
}
