//! Whom a probe trusts: TLS with the system's authorities, or those of one file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Doubt;

/// The largest file of authorities, in bytes.
const PEM_LIMIT: u64 = 1 << 20;

/// How much of a server's certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Who signed it, and its name.
    Full,
    /// Who signed it (`verify-ca`).
    Authority,
    /// Nothing (`require`): whoever listens in is kept out, whoever stands between is not.
    Nothing,
}

/// The authorities, unread.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    file: Option<PathBuf>,
}

impl Trust {
    pub(super) fn of(file: Option<&Path>) -> Self {
        Self { file: file.map(Path::to_owned) }
    }

    /// Whether a file says whom to trust.
    pub(super) fn names_authorities(&self) -> bool {
        self.file.is_some()
    }

    /// What TLS needs.
    ///
    /// # Errors
    /// [`Doubt`] where there is nobody to trust.
    pub(super) async fn config(&self, check: Check) -> Result<Arc<ClientConfig>, Doubt> {
        let trust = self.clone();
        // Files: not on a thread that serves others.
        let made = tokio::task::spawn_blocking(move || trust.read(check)).await;
        made.unwrap_or_else(|_| Err(Doubt::new("TLS could not be made ready", "see the messages above")))
    }

    fn read(&self, check: Check) -> Result<Arc<ClientConfig>, Doubt> {
        let provider = Arc::new(ring::default_provider());
        let unusable = |_| Doubt::new("TLS could not be made ready", "see the messages above");
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let config = match check {
            Check::Full => builder.with_root_certificates(self.roots()?).with_no_client_auth(),
            Check::Authority => {
                let roots = Arc::new(self.roots()?);
                let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                let inner = inner.map_err(|_| self.nobody())?;
                let verifier = Arc::new(AnyName(inner));
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
            Check::Nothing => {
                let verifier = Arc::new(Anybody(provider));
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, Doubt> {
        let mut roots = RootCertStore::empty();
        match &self.file {
            None => {
                // One that cannot be read is as if it were not there.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Some(path) => {
                let mut pem = Vec::new();
                let read = File::open(path).and_then(|file| file.take(PEM_LIMIT).read_to_end(&mut pem));
                let unread =
                    |_| Doubt::new("the file of `ca` cannot be read", "correct the path, or its rights");
                read.map_err(unread)?;
                let all = CertificateDer::pem_slice_iter(&pem)
                    .all(|one| one.is_ok_and(|one| roots.add(one).is_ok()));
                if !all {
                    let help = "write it anew, in PEM";
                    return Err(Doubt::new("the file of `ca` holds a certificate that TLS cannot use", help));
                }
            }
        }
        if roots.is_empty() { Err(self.nobody()) } else { Ok(roots) }
    }

    fn nobody(&self) -> Doubt {
        if self.names_authorities() {
            return Doubt::new("the file of `ca` holds no certificate", "write it anew, in PEM");
        }
        let help = "install its CA certificates, or name a file: `ca = \"/…/ca.pem\"` of the probe";
        Doubt::new("this system has no authorities to trust, so TLS cannot be verified", help)
    }
}

/// Any name, if a trusted authority signed it.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name comes last: whoever fails at it has passed the rest.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Whoever holds the key of the certificate that is shown.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
