//! Certificates for one test: an authority of its own, a server's, clients'; and
//! a TLS connection that trusts just that authority.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::program::Folder;

/// An authority; it writes what it issues into a folder.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    certificate: PathBuf,
}

/// A certificate and its key, as PEM files.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Folder) -> Self {
        let mut params = named("tests authority", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        folder.file("ca.pem", &issuer.pem());
        Self { issuer, certificate: folder.join("ca.pem") }
    }

    /// The authority's own certificate, which a client trusts.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// For a server at 127.0.0.1 and localhost: `server.pem`, `server.key`.
    pub(crate) fn server(&self, folder: &Folder) -> Identity {
        let mut params = named("server", &["127.0.0.1", "localhost"]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(folder, "server", &params)
    }

    /// For a client whose common name is `name`.
    pub(crate) fn client(&self, folder: &Folder, name: &str) -> Identity {
        let mut params = named(name, &[name]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(folder, name, &params)
    }

    /// Whatever certificate.
    pub(crate) fn issue(&self, folder: &Folder, name: &str, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (certificate_file, key_file) = (format!("{name}.pem"), format!("{name}.key"));
        folder.file(&certificate_file, &certificate.pem()).file(&key_file, &key.serialize_pem());
        Identity { certificate: folder.join(&certificate_file), key: folder.join(&key_file) }
    }
}

/// For these names, without a purpose.
pub(crate) fn named(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// A connection to 127.0.0.1 that trusts `authority` alone and shows `identity`.
pub(crate) fn connect(
    stream: TcpStream,
    authority: &Path,
    identity: Option<&Identity>,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&identity.key).unwrap()).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    rustls::StreamOwned::new(rustls::ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}
