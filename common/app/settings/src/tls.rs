//! TLS for every outgoing connection.

use crate::Problems;
use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::sync::Arc;

/// Private certificate authority and client certificate.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// PEM file of a private certificate authority, trusted beside the system's
    #[arg(long, env = "TLS_CA_FILE", value_name = "FILE")]
    pub tls_ca_file: Option<String>,
    /// PEM file of a client certificate
    #[arg(long, env = "TLS_CERT_FILE", value_name = "FILE")]
    pub tls_cert_file: Option<String>,
    /// PEM file of the client certificate's key
    #[arg(long, env = "TLS_KEY_FILE", value_name = "FILE")]
    pub tls_key_file: Option<String>,
}

/// TLS, checked: for connections that take a rustls configuration, and as PEM for lapin.
#[derive(Clone)]
pub struct TlsSettings {
    /// For HTTP and WebSocket.
    pub client: Arc<ClientConfig>,
    /// Whether any of the files was given.
    pub is_private: bool,
    /// The private authority, PEM.
    pub ca_pem: Option<String>,
    /// Client certificate and key, PEM.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("is_private", &self.is_private)
            .finish_non_exhaustive()
    }
}

impl TlsArgs {
    /// Reads the files; `None` after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<TlsSettings> {
        let read = |problems: &mut Problems, name: &str, path: &Option<String>| {
            path.as_ref().and_then(|path| {
                std::fs::read(path)
                    .map_err(|error| {
                        problems.other(format!("{name}: {path:?} cannot be read: {error}"))
                    })
                    .ok()
            })
        };
        let ca = read(problems, "TLS_CA_FILE", &self.tls_ca_file);
        let cert = read(problems, "TLS_CERT_FILE", &self.tls_cert_file);
        let key = read(problems, "TLS_KEY_FILE", &self.tls_key_file);
        if self.tls_cert_file.is_some() != self.tls_key_file.is_some() {
            problems.other("TLS_CERT_FILE and TLS_KEY_FILE belong together; set both or none");
            return None;
        }

        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let (Some(pem), Some(path)) = (&ca, &self.tls_ca_file) {
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
                .filter_map(Result::ok)
                .collect();
            let (added, _) = roots.add_parsable_certificates(certificates);
            if added == 0 {
                problems.bad(
                    "TLS_CA_FILE",
                    path,
                    "a PEM file with at least one certificate",
                );
            }
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let identity = cert.clone().zip(key.clone());
        let client = match &identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain: Vec<_> = CertificateDer::pem_slice_iter(cert)
                    .filter_map(Result::ok)
                    .collect();
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| error.to_string());
                let built = key.and_then(|key| {
                    builder
                        .with_client_auth_cert(chain, key)
                        .map_err(|error| error.to_string())
                });
                built
                    .map_err(|error| {
                        problems.other(format!("TLS_CERT_FILE, TLS_KEY_FILE: {error}"))
                    })
                    .ok()?
            }
        };
        let ca_pem = ca.map(|pem| String::from_utf8_lossy(&pem).into_owned());
        let is_private = ca_pem.is_some() || identity.is_some();
        Some(TlsSettings {
            client: Arc::new(client),
            is_private,
            ca_pem,
            identity_pem: identity,
        })
    }
}
