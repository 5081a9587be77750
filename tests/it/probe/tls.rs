//! HTTPS, and the server's side of TLS for the other tests.

use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{assert_said, probes, var};
use crate::bao::http::read_request;
use crate::bao::tls::{Authority, Identity, named};
use crate::program::Folder;

/// Shows one certificate.
#[derive(Clone)]
pub(super) struct Accept(Arc<ServerConfig>);

impl Accept {
    /// TLS over a connection; the handshake comes with the first bytes.
    pub(super) fn over(&self, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.0)).unwrap(), stream)
    }
}

pub(super) fn acceptor(identity: &Identity) -> Accept {
    let chain = vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Accept(Arc::new(config))
}

const KEY: &str = "sk-canary-0123456789abcdefghij";

/// An API over HTTPS that knows one key, for two connections; gives its port.
fn api(accept: Accept) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().take(2).map_while(Result::ok) {
            let mut reader = BufReader::new(accept.over(client));
            let Ok(Some(request)) = read_request(&mut reader) else { continue };
            let right = request.headers["authorization"] == format!("Bearer {KEY}");
            let status = if right { "200 OK" } else { "401 Unauthorized" };
            let stream = reader.get_mut();
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    port
}

#[test]
fn https_is_verified() {
    let folder = Folder::new();
    let authority = Authority::new(&folder);
    let own = authority.server(&folder);
    let other = authority.issue(&folder, "other", &named("other", &["api.example.com"]));
    let ca = format!("ca = \"{}\"", authority.certificate().display());
    for (identity, host, ca, outcome, part) in [
        (&own, "127.0.0.1", &*ca, "works", "API_KEY works"),
        (&own, "localhost", &*ca, "works", "API_KEY works"),
        (&own, "127.0.0.1", "", "unknown", "signed by nobody whom we trust"),
        (&other, "localhost", &*ca, "unknown", "a certificate that is for another name"),
    ] {
        let port = api(acceptor(identity));
        let schema = format!(
            "{}[probe.api]\nkind = \"bearer\"\nsecret = \"API_KEY\"\nurl = \"https://{host}:{port}/\"\n{ca}\n",
            var("API_KEY", "api-key")
        );
        assert_said(&probes(&schema, &format!("API_KEY={KEY}\n")), outcome, part);
    }
}

#[test]
fn a_file_of_authorities_that_is_none_stops_the_probe() {
    let folder = Folder::new();
    folder
        .file("empty.pem", "")
        .file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (name, part) in [
        ("empty.pem", "holds no certificate"),
        ("broken.pem", "holds a certificate that TLS cannot use"),
        ("missing.pem", "cannot be read"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let schema = format!(
            "{}[probe.api]\nkind = \"bearer\"\nsecret = \"API_KEY\"\nurl = \"https://{}/\"\nca = \"{}\"\n",
            var("API_KEY", "api-key"),
            listener.local_addr().unwrap(),
            folder.join(name).display(),
        );
        assert_said(&probes(&schema, &format!("API_KEY={KEY}\n")), "unknown", part);
    }
}
