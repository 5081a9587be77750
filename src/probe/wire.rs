//! A connection to the other side: TCP with deadlines, and TLS over it.
//!
//! Invariant: a connection that says it is this machine's is; each is closed with what
//! used it, so that no buffer keeps what came over it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Doubt;
use super::target::Place;
use crate::network::{Break, connect_to_any};

/// How long one step may take: finding, connecting, TLS, one answer.
const STEP: Duration = Duration::from_secs(5);

/// Bytes both ways, whatever carries them.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection in the clear.
pub(super) struct Tcp {
    pub(super) stream: TcpStream,
    /// Whether this machine is at its other end.
    pub(super) is_here: bool,
}

/// Connects to the first address that answers.
pub(super) async fn connect(place: &Place) -> Result<Tcp, Doubt> {
    let stream = step(place, dial(place)).await?;
    let peer = stream.peer_addr().map_err(|_| broke(place, Break::Connection))?;
    let is_here = peer.ip().to_canonical().is_loopback();
    if place.is_this_machine() && !is_here {
        let why = format!("the name of {place} leads to another machine");
        return Err(Doubt::new(why, "correct what this system finds for `localhost`"));
    }
    Ok(Tcp { stream, is_here })
}

/// TLS over a connection, for the name of its place.
pub(super) async fn secure(
    place: &Place,
    config: Arc<ClientConfig>,
    tcp: TcpStream,
) -> Result<Box<dyn Stream>, Doubt> {
    let name = ServerName::try_from(String::from(place.host.clone())).map_err(|_| {
        Doubt::new(format!("{place}: no certificate can have this name"), "correct the host's name")
    })?;
    let shaken = async {
        let connected = TlsConnector::from(config).connect(name, tcp).await;
        connected.map_err(|error| Break::of(&error))
    };
    Ok(Box::new(step(place, shaken).await?))
}

/// Waits for one step.
pub(super) async fn step<T>(place: &Place, work: impl Future<Output = Result<T, Break>>) -> Result<T, Doubt> {
    let done = timeout(STEP, work).await.unwrap_or(Err(Break::Timeout));
    done.map_err(|what| broke(place, what))
}

/// A connection that came to nothing.
pub(super) fn broke(place: &Place, what: Break) -> Doubt {
    let help = match what {
        Break::UnknownIssuer => "name who signed it: `ca = \"/…/ca.pem\"` of the probe",
        Break::WrongName | Break::Expired => "the server needs another certificate, or the host another name",
        Break::UnknownHost => "correct the host's name",
        Break::CertificateRequired => "a probe has no client certificate: try the secret by hand",
        Break::Tls | Break::NotHttp => "see whether the port is the right one",
        Break::ConnectionRefused | Break::Connection | Break::Timeout => {
            "see whether it runs and can be reached from here, then try again"
        }
    };
    Doubt::new(format!("{place} {what}"), help)
}

async fn dial(place: &Place) -> Result<TcpStream, Break> {
    let found = lookup_host((&*place.host, place.port)).await.map_err(|_| Break::UnknownHost)?;
    connect_to_any(found).await
}
