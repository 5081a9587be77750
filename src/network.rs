//! Why a connection to a server came to nothing, as far as that can be told from
//! the errors of sockets and TLS; and connecting to the first address that answers.
//!
//! Invariants: the texts of errors are never repeated, since they may quote what
//! was sent; what they say is recognised.
//! Must not know: which server it is, or what was asked.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an address may be silent where there is another.
const NEXT_ADDRESS: Duration = Duration::from_millis(1500);

/// What broke between a server and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Nobody listens there.
    ConnectionRefused,
    /// The name has no address.
    UnknownHost,
    /// The connection failed otherwise.
    Connection,
    /// It took longer than one request may.
    Timeout,
    /// The server's certificate is signed by nobody whom we trust.
    UnknownIssuer,
    /// The server's certificate is for another name.
    WrongName,
    /// The server's certificate has ended, or not begun.
    Expired,
    /// TLS failed otherwise.
    Tls,
    /// The server wants a client certificate.
    CertificateRequired,
    /// It speaks TLS and we do not, or the other way round.
    NotHttp,
}

impl Break {
    /// Whether asking again may help.
    pub(crate) fn passes(self) -> bool {
        matches!(self, Self::ConnectionRefused | Self::UnknownHost | Self::Connection | Self::Timeout)
    }

    /// Recognises an error, or one of those that caused it.
    pub(crate) fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        let mut kind = Self::Connection;
        while let Some(error) = next {
            if let Some(tls) = tls_in(error) {
                return Self::of_tls(tls);
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                kind = match io.kind() {
                    io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
                    io::ErrorKind::TimedOut => Self::Timeout,
                    _ => kind,
                };
            }
            // The type is private to hyper-util.
            if error.to_string() == "dns error" {
                return Self::UnknownHost;
            }
            next = error.source();
        }
        kind
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription, CertificateError, Error};
        match error {
            Error::InvalidCertificate(error) => match error {
                // The second where an authority has the name of a trusted one: made anew.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::WrongName
                }
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::Expired,
                _ => Self::Tls,
            },
            Error::AlertReceived(AlertDescription::CertificateRequired) => Self::CertificateRequired,
            Error::InvalidMessage(_) => Self::NotHttp,
            _ => Self::Tls,
        }
    }
}

impl fmt::Display for Break {
    /// A clause that goes on from a subject: `https://10.0.0.1:6443 …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionRefused => "refuses connections",
            Self::UnknownHost => "cannot be found: its name has no address",
            Self::Connection => "cannot be reached: the connection broke",
            Self::Timeout => "did not answer in time",
            Self::UnknownIssuer => "shows a certificate that is signed by nobody whom we trust",
            Self::WrongName => "shows a certificate that is for another name",
            Self::Expired => "shows a certificate that is not valid at this time",
            Self::Tls => "does not agree with us on TLS",
            Self::CertificateRequired => "wants a client certificate",
            Self::NotHttp => "does not speak the protocol that its address says",
        })
    }
}

/// The error of TLS in I/O errors around it, which hide it from `source()`.
fn tls_in<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e rustls::Error> {
    let inner = error.downcast_ref::<io::Error>().and_then(|io| io.get_ref());
    error.downcast_ref().or_else(|| tls_in(inner?))
}

/// `Retry-After`: seconds, or a date; bounded by ten minutes, so that no server
/// can silence us for longer.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    const MOST: Duration = Duration::from_mins(10);
    let wait = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = chrono::DateTime::parse_from_rfc2822(value.trim()).ok()?;
            SystemTime::from(date).duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(MOST))
}

/// Connects to the first of these addresses that answers.
///
/// # Errors
/// What broke at the last of them; [`Break::UnknownHost`] where there is none.
pub(crate) async fn connect_to_any(
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Result<TcpStream, Break> {
    let mut addresses = addresses.into_iter().peekable();
    let mut broke = Break::UnknownHost;
    while let Some(address) = addresses.next() {
        let connecting = TcpStream::connect(address);
        let connected = if addresses.peek().is_some() {
            timeout(NEXT_ADDRESS, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            connecting.await
        };
        match connected {
            Ok(stream) => {
                let _only_slower = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => broke = Break::of(&error),
        }
    }
    Err(broke)
}
