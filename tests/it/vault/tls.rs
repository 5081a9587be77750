//! Whom the source trusts: authorities, names, times; and that it sends nothing to
//! a server that it does not trust.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::date_time_ymd;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use super::Setting;
use super::case::{Case, prepare};
use crate::bao::tls::{Authority, Identity, named};
use crate::bao::{Bao, OwnBao};
use crate::hostile::Hostile;
use crate::program::{Folder, Ran};

const PATHS: &str = "paths = [{ mount = \"secret\", path = \"app\" }]\n";

/// Ends handshakes with one certificate, and counts what came.
struct Listener {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Bytes that came through TLS: what was told to a server that is not trusted.
    heard: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

impl Listener {
    fn new(identity: &Identity) -> Self {
        Self::with(identity, None)
    }

    /// One that takes nobody without a certificate of `clients`.
    fn with(identity: &Identity, clients: Option<&Authority>) -> Self {
        let chain = vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(clients.certificate()).unwrap()).unwrap();
                let judge = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(judge.build().unwrap())
            }
        };
        let config = Arc::new(config.with_single_cert(chain, key).unwrap());
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Self {
            address: socket.local_addr().unwrap(),
            connections: Arc::default(),
            heard: Arc::default(),
            down: Arc::default(),
        };
        let (connections, heard) = (Arc::clone(&listener.connections), Arc::clone(&listener.heard));
        let down = Arc::clone(&listener.down);
        thread::spawn(move || {
            for client in socket.incoming().map_while(Result::ok) {
                if down.load(Ordering::SeqCst) {
                    return;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(tls, client);
                match stream.read(&mut [0; 1024]) {
                    Ok(count) => {
                        heard.fetch_add(count, Ordering::SeqCst);
                        let _ = stream.write_all(b"HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n");
                    }
                    // Read to its end: a close before that could overtake the alert.
                    Err(_) => {
                        let _ = stream.sock.shutdown(Shutdown::Write);
                        while matches!(stream.sock.read(&mut [0; 1024]), Ok(1..)) {}
                    }
                }
            }
        });
        listener
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.down.store(true, Ordering::SeqCst);
        // Wakes the one that accepts, so that it sees it.
        let _ = TcpStream::connect(self.address);
    }
}

fn ca(path: &Path) -> String {
    format!("tls = {{ ca_cert = \"{}\" }}\n", path.display())
}

/// Reads `secret/app` at an address, with a token.
fn case(address: &str, lines: &str, token: &str) -> Case {
    Case::of(Setting::of(address, "", &format!("{lines}{PATHS}"))).token("VAULT_TOKEN", token)
}

fn of(bao: &Bao, lines: &str) -> Case {
    case(&bao.address(), lines, bao.root_token())
}

/// `check` of a server that cannot be trusted: told at once, as this, with this
/// fix.
#[track_caller]
fn refused(case: &Case, words: &str, fix: &str) -> Ran {
    let start = Instant::now();
    let ran = case.check().exits(3).says("error[DLC050]").says(words).says("= fix: ").says(fix);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}: it was tried again");
    assert_eq!(case.run(&["run", "--", "true"]).code, 125);
    ran
}

const NOBODY: &str = "is signed by nobody whom we trust";

#[test]
fn an_authority_is_trusted_by_settings_or_variables_and_no_other() {
    let bao = OwnBao::production(true);
    prepare(&bao);
    let folder = Folder::new();
    let other = Authority::new(&folder);
    let good = || ca(bao.ca());
    let (right, wrong) = (bao.ca().to_str().unwrap(), other.certificate().to_str().unwrap());

    of(&bao, &good()).works();
    of(&bao, "").variable("VAULT_CACERT", right).works();
    of(&bao, "").variable("BAO_CACERT", right).works();
    of(&bao, "").variable("VAULT_CACERT", wrong).variable("BAO_CACERT", right).works();
    of(&bao, &good()).variable("VAULT_CACERT", wrong).variable("BAO_CACERT", wrong).works();
    // Several authorities in one file; the system's.
    let both = std::fs::read_to_string(wrong).unwrap() + &std::fs::read_to_string(right).unwrap();
    folder.file("both.pem", &both);
    of(&bao, &ca(&folder.join("both.pem"))).works();
    of(&bao, "").variable("SSL_CERT_FILE", right).works();

    let fix = "tls = { ca_cert = \"ca.pem\" }";
    refused(&of(&bao, "").variable("SSL_CERT_FILE", wrong), NOBODY, fix);
    refused(&of(&bao, "").variable("VAULT_CACERT", wrong), NOBODY, fix);
    // The one above has the right one's name, as one that was made anew; this has not.
    folder.file(
        "stranger.pem",
        &rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap().cert.pem(),
    );
    refused(&of(&bao, &ca(&folder.join("stranger.pem"))), NOBODY, fix);
    // These and no others: the system's do not help.
    refused(&of(&bao, &ca(other.certificate())).variable("SSL_CERT_FILE", right), NOBODY, fix);
    refused(&of(&bao, &ca(other.certificate())).variable("VAULT_CACERT", right), NOBODY, fix);
    // What other programs take as 'do not verify' changes nothing.
    for name in ["VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY"] {
        for value in ["1", "true", ""] {
            refused(&of(&bao, &ca(other.certificate())).variable(name, value), NOBODY, fix);
        }
    }
    // The name: both are in the certificate.
    let localhost = bao.address().replace("127.0.0.1", "localhost");
    case(&localhost, &good(), bao.root_token()).works();
    let plain = bao.address().replace("https:", "http:");
    refused(&case(&plain, "", bao.root_token()), "does not speak the protocol", "scheme and port");
}

#[test]
fn verification_is_off_only_in_so_many_words_and_that_is_told() {
    let bao = OwnBao::production(true);
    prepare(&bao);
    let case = of(&bao, "tls = { insecure_skip_verify = true }\n");
    case.works();
    let told = "is not verified";
    case.check().exits(0).says("warning[DLC053]").says(told).says("remove `insecure_skip_verify`");
    let json = case.run(&["check", "--format", "json"]).exits(0);
    assert!(json.findings().contains(&"DLC053 - warning".to_owned()), "{:?}", json.findings());
    case.run(&["check", "--fail-on", "warning"]).exits(1);
    // The others say that there is something to see.
    let noted = "1 warning: `dlconf check` shows them";
    case.run(&["render"]).exits(0).warns(noted);
    case.run(&["run", "--", "true"]).exits(0).warns(noted);
    let doctor = case.run(&["doctor"]);
    doctor.says("degraded").says("the certificate is not verified");
    of(&bao, &ca(bao.ca())).run(&["doctor"]).says("verified by").never_says("is not verified");

    // A name in no certificate, too: nothing of it is looked at.
    let folder = Folder::new();
    let elsewhere = Authority::new(&folder).issue(&folder, "other", &named("other", &["vault.example.com"]));
    let listener = Listener::new(&elsewhere);
    let address = format!("https://{}", listener.address);
    let case = self::case(&address, "tls = { insecure_skip_verify = true }\n", "hvs.CANARY");
    case.check().exits(3).says("refuses the request (418)");
    assert!(listener.heard() > 0);
}

#[test]
fn settings_that_were_found_may_not_turn_verification_off() {
    let folder = Folder::new();
    let listener = Listener::new(&Authority::new(&folder).server(&folder));
    let lines = format!(
        "auth = {{ method = \"token-file\", path = \"token\" }}\n\
         tls = {{ insecure_skip_verify = true }}\n{PATHS}"
    );
    let setting = Setting::of(&format!("https://{}", listener.address), "", &lines);
    let text = setting.folder.read("set.toml");
    setting.folder.file("dlconf.toml", &text).file("token", "hvs.CANARY");
    let ran = setting.folder.run(&["-vv", "check"]).exits(4).never_says("CANARY");
    ran.warns("turn the verification of servers off").warns("--config dlconf.toml");
    assert_eq!(listener.connections(), 0);
    setting.folder.run(&["--config", "dlconf.toml", "check"]).exits(3).says("refuses the request (418)");
}

#[test]
fn certificates_for_another_name_or_time_are_refused_at_once() {
    let folder = Folder::new();
    let authority = Authority::new(&folder);
    let trust = ca(authority.certificate());
    let local = || named("server", &["127.0.0.1", "localhost"]);
    let (mut ended, mut future) = (local(), local());
    ended.not_after = date_time_ymd(2020, 1, 1);
    future.not_before = date_time_ymd(3020, 1, 1);
    for (params, words, fix) in [
        (named("other", &["vault.example.com"]), "is for another name", "use the name"),
        (named("other", &["127.0.0.2"]), "is for another name", "use the name"),
        (named("localhost", &["localhost"]), "is for another name", "use the name"),
        (ended, "is not valid at this time", "this machine's clock"),
        (future, "is not valid at this time", "this machine's clock"),
    ] {
        let listener = Listener::new(&authority.issue(&folder, "listener", &params));
        let address = format!("https://{}", listener.address);
        let case = case(&address, &trust, "hvs.CANARY");
        let ran = case.check().exits(3).says("error[DLC050]").says(words).says(fix).says(&address);
        ran.never_says("127.0.0.2").never_says("vault.example.com");
        assert_eq!((listener.connections(), listener.heard()), (1, 0), "{words}");
        refused(&case, words, fix);
        assert_eq!(listener.heard(), 0);
    }
    // The listener itself is fine: another name of the address, and it is talked to.
    let listener = Listener::new(&authority.issue(&folder, "listener", &named("localhost", &["localhost"])));
    let address = format!("https://localhost:{}", listener.address.port());
    case(&address, &trust, "hvs.CANARY").check().exits(3).says("refuses the request (418)");
    assert!(listener.heard() > 0);
}

#[test]
fn https_to_a_plain_port_is_told_at_once() {
    let address = Bao::shared().address().replace("http:", "https:");
    let folder = Folder::new();
    let lines = ca(Authority::new(&folder).certificate());
    refused(&case(&address, &lines, "hvs.CANARY"), "does not speak the protocol", "scheme and port");
}

#[test]
fn files_of_certificates_that_are_none_are_told_by_name() {
    let folder = Folder::new();
    let authority = Authority::new(&folder);
    let (client, other) = (authority.client(&folder, "web"), authority.client(&folder, "other"));
    folder
        .file("empty.pem", "")
        .file("words.pem", "CANARYwords\n")
        .file("broken.pem", "-----BEGIN CERTIFICATE-----\nQ0FOQVJZ\n-----END CERTIFICATE-----\n");
    folder.bytes("binary.pem", b"\xff\xfe\0CANARY", 0o600);
    let key_text = folder.read("web.key");
    let body = key_text.lines().nth(1).unwrap();
    let listener = Listener::new(&authority.server(&folder));
    let address = format!("https://{}", listener.address);
    let told = |lines: &str, file: &str, words: &str| {
        let case = case(&address, lines, "hvs.CANARY").hides(body).hides("CANARY");
        let start = Instant::now();
        case.check().exits(3).says("error[DLC050]").says(file).says(words).says("= fix: ");
        assert!(start.elapsed() < Duration::from_secs(3), "it was tried again");
    };
    let none = "holds no PEM certificate";
    for (file, words) in [
        ("missing.pem", "not"),
        ("empty.pem", none),
        ("words.pem", none),
        ("web.key", none),
        ("broken.pem", "that TLS cannot use"),
        ("binary.pem", "UTF-16"),
    ] {
        told(&ca(&folder.join(file)), file, words);
    }
    std::fs::create_dir(folder.join("folder.pem")).unwrap();
    told(&ca(&folder.join("folder.pem")), "folder.pem", "directory");

    let pair = |authority: &Path, certificate: &Path, key: &Path| {
        format!("tls = {{ ca_cert = {authority:?}, client_cert = {certificate:?}, client_key = {key:?} }}\n")
    };
    let right = authority.certificate();
    let together = "does not go with its key";
    told(&pair(right, &client.certificate, &other.key), "web.pem", together);
    let none = "no PEM certificate and private key";
    told(&pair(right, &client.certificate, &client.certificate), "web.pem", none);
    told(&pair(right, &client.key, &client.key), "web.key", none);
    told(&pair(right, &client.certificate, &folder.join("missing.key")), "missing.key", "not");
    // The authority is what is broken, whatever the pair.
    let broken = folder.join("broken.pem");
    told(&pair(&broken, &client.certificate, &client.key), "broken.pem", "that TLS cannot use");
    assert_eq!(listener.connections(), 0, "a server was asked");

    // Both in one file are fine.
    folder.file("both.pem", &(folder.read("web.pem") + &key_text));
    let both = folder.join("both.pem");
    case(&address, &pair(right, &both, &both), "hvs.CANARY")
        .check()
        .exits(3)
        .says("refuses the request (418)");
}

#[test]
fn a_system_without_authorities_is_told() {
    let folder = Folder::new();
    folder.file("none.pem", "");
    let listener = Listener::new(&Authority::new(&folder).server(&folder));
    let address = format!("https://{}", listener.address);
    let case =
        case(&address, "", "hvs.CANARY").variable("SSL_CERT_FILE", folder.join("none.pem").to_str().unwrap());
    refused(&case, "this system has no authorities to trust", "ca_cert");
    assert_eq!(listener.connections(), 0);
}

#[test]
fn a_renewed_authority_is_read_again_at_the_next_run() {
    let folder = Folder::new();
    let authority = Authority::new(&folder);
    let listener = Listener::new(&authority.server(&folder));
    let address = format!("https://{}", listener.address);
    let other = Folder::new();
    Authority::new(&other);
    let case = case(&address, &ca(&other.join("ca.pem")), "hvs.CANARY");
    case.check().exits(3).says(NOBODY);
    other.file("ca.pem", &folder.read("ca.pem"));
    case.check().exits(3).says("refuses the request (418)");
}

#[test]
fn a_server_that_wants_a_client_certificate_says_so() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let authority = Authority::new(&folder);
    let listener = Listener::with(&authority.server(&folder), Some(&authority));
    let address = format!("https://{}", listener.address);
    let trust = ca(authority.certificate());
    refused(&case(&address, &trust, "hvs.CANARY"), "wants a client certificate", "client_cert");

    let shown = |identity: &Identity| {
        let (authority, Identity { certificate, key }) = (authority.certificate(), identity);
        let lines = format!(
            "tls = {{ ca_cert = {authority:?}, client_cert = {certificate:?}, client_key = {key:?} }}\n"
        );
        case(&address, &lines, "hvs.CANARY")
    };
    shown(&authority.client(&folder, "web")).check().exits(3).says("refuses the request (418)");
    let stranger = Authority::new(&elsewhere).client(&elsewhere, "web");
    shown(&stranger).check().exits(3).says("error[DLC050]").says("does not agree with us on TLS");
}

#[test]
fn a_proxy_of_the_environment_sees_no_token() {
    let bao = Bao::shared();
    prepare(&bao);
    let proxy = Hostile::new();
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let proxied = |case: Case| names.iter().fold(case, |case, name| case.variable(name, &proxy.address()));
    // In the clear it would see everything, so it is not asked.
    let plain = Case::new(&bao, "{ method = \"token\" }").token("VAULT_TOKEN", bao.root_token());
    proxied(plain).works();
    assert!(proxy.requests().is_empty());
    // Through TLS it carries what it cannot read.
    let folder = Folder::new();
    let listener = Listener::new(&Authority::new(&folder).server(&folder));
    let address = format!("https://{}", listener.address);
    let lines = ca(&folder.join("ca.pem")) + "deadline = \"500ms\"\n";
    proxied(case(&address, &lines, "hvs.CANARY")).check().exits(3).says("error[DLC050]");
    let requests = proxy.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.method, "CONNECT");
        assert!(!String::from_utf8_lossy(&request.raw).contains("CANARY"));
    }
}
