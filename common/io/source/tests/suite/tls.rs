//! `https` with a private certificate authority.

use crate::home::{Home, options_trusting, run};
use ha_source::{ConnectionState, Ended};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn server_of(authority: &CertifiedIssuer<'static, KeyPair>) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, authority)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    Arc::new(config)
}

fn trusting(authority: &CertifiedIssuer<'static, KeyPair>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    roots
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_given() {
    let authority = authority();
    let mut home = Home::start_with(Some(server_of(&authority))).await;
    let mut source = run(options_trusting(&home, trusting(&authority)));
    let mut conversation = home.next_ready().await;
    conversation.event(1).await;
    source.expect(&["connected 2025.4.4", r#"{"n":1}"#]).await;
    conversation.close().await;
    source
        .expect(&["disconnected: closed by Home Assistant (1005)"])
        .await;
    source.stop().await;
}

#[tokio::test]
async fn another_authority_is_not() {
    let home = Home::start_with(Some(server_of(&authority()))).await;
    let mut source = run(options_trusting(&home, trusting(&authority())));
    let state = source
        .state(|state| *state != ConnectionState::Connecting)
        .await;
    let ConnectionState::Disconnected {
        reason: Ended::Unreachable(words),
        ..
    } = state
    else {
        panic!("{state:?}")
    };
    assert!(words.contains("certificate"), "{words}");
    assert_eq!(home.accepted(), 0);
    source.stop().await;
}
