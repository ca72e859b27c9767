//! `amqps` with a private certificate authority and a client certificate, on a TLS listener that
//! RabbitMQ opens at run time.

use crate::support::{SOON, event, options, own_rabbitmq, publisher};
use ha_broker::{Broker, BrokerError, Subscription, SubscriptionOptions, TlsFiles, topology};
use ha_services::Services;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use tokio::time::timeout;

struct Certificates {
    authority: String,
    server: (String, String),
    client: (String, String),
}

impl Certificates {
    /// What a client is given of them.
    fn files(&self, ca: bool, identity: bool) -> TlsFiles {
        let (certificate, key) = &self.client;
        TlsFiles {
            ca_pem: ca.then(|| self.authority.clone()),
            identity_pem: identity
                .then(|| (certificate.clone().into_bytes(), key.clone().into_bytes())),
        }
    }
}

/// A private authority, a server's certificate for this name or address, and a client's.
fn certificates(server: &str) -> Certificates {
    let authority_key = KeyPair::generate().unwrap();
    let mut of_authority = CertificateParams::new(Vec::new()).unwrap();
    // Names must differ: Erlang takes a certificate whose issuer has its own name for self-signed.
    of_authority
        .distinguished_name
        .push(DnType::CommonName, "private authority");
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = of_authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(of_authority, authority_key);
    let issue = |name: &str, purpose| {
        let key = KeyPair::generate().unwrap();
        let mut of_leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        of_leaf.distinguished_name.push(DnType::CommonName, name);
        of_leaf.extended_key_usages = vec![purpose];
        (
            of_leaf.signed_by(&key, &issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    };
    let server = issue(server, ExtendedKeyUsagePurpose::ServerAuth);
    let client = issue("worker", ExtendedKeyUsagePurpose::ClientAuth);
    Certificates {
        authority,
        server,
        client,
    }
}

/// Opens a TLS listener that asks for a client certificate; its port.
async fn listen(services: &Services, certificates: &Certificates, address: IpAddr) -> u16 {
    let dir = services.dir().join(Services::unique_name("tls"));
    std::fs::create_dir(&dir).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let authority = file("ca.pem", &certificates.authority);
    let certificate = file("server.pem", &certificates.server.0);
    let key = file("server.key", &certificates.server.1);
    let port = (21_000..25_000)
        .find(|port| std::net::TcpListener::bind((address, *port)).is_ok())
        .unwrap();
    let family = if address.is_ipv6() { "inet6" } else { "inet" };
    // The documented listener setting needs a restart; this is what it calls.
    let start = format!(
        r#"rabbit_networking:start_ssl_listener({{"{address}", {port}, {family}}},
            [{{cacertfile, "{authority}"}}, {{certfile, "{certificate}"}}, {{keyfile, "{key}"}},
             {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}], 1)."#
    );
    services.rabbitmqctl(&["eval", &start]).await.unwrap();
    port
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate_open_the_door() {
    let services = own_rabbitmq().await;
    let vhost = Services::unique_name("tls");
    services.create_vhost(&vhost).await.unwrap();
    let certificates = certificates("localhost");
    let port = listen(&services, &certificates, Ipv4Addr::LOCALHOST.into()).await;
    let url = format!("amqps://guest:guest@localhost:{port}/{vhost}");
    let broker = |ca: bool, identity: bool| {
        let mut options = options(&url);
        options.tls = certificates.files(ca, identity);
        Arc::new(Broker::new(options).unwrap())
    };

    let good = broker(true, true);
    assert_eq!(good.address(), format!("amqps://localhost:{port}/{vhost}"));
    let publisher = publisher(&good).await;
    assert_eq!(publisher.publish(event("sealed")).await, Ok(()));
    let options = SubscriptionOptions {
        queue: topology::EVENTS_QUEUE,
        prefetch_messages: 1,
        consumer_tag: "t".into(),
    };
    let mut subscription = Subscription::open(good, &options).await.unwrap();
    let delivery = timeout(SOON, subscription.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(delivery.payload, b"sealed");

    for (ca, identity) in [(true, false), (false, true), (false, false)] {
        let refused = timeout(SOON, broker(ca, identity).connect())
            .await
            .expect("an answer");
        let error = refused.err().unwrap();
        assert!(
            matches!(error, BrokerError::Unreachable { .. }),
            "{ca} {identity}: {error}"
        );
    }
}

#[tokio::test]
async fn a_certificate_at_an_ipv6_address_must_be_for_that_address() {
    let services = own_rabbitmq().await;
    let vhost = Services::unique_name("tls");
    services.create_vhost(&vhost).await.unwrap();
    for (name, is_accepted) in [("::1", true), ("localhost", false), ("fd00::1", false)] {
        let certificates = certificates(name);
        let port = listen(&services, &certificates, Ipv6Addr::LOCALHOST.into()).await;
        let mut options = options(&format!("amqps://guest:guest@[::1]:{port}/{vhost}"));
        options.tls = certificates.files(true, true);
        let connecting = Broker::new(options).unwrap();
        let connected = timeout(SOON, connecting.connect())
            .await
            .expect("an answer");
        match connected {
            Ok(connection) => assert!(is_accepted && connection.status().connected(), "{name}"),
            Err(error) => assert!(
                !is_accepted && matches!(error, BrokerError::Unreachable { .. }),
                "{name}: {error}"
            ),
        }
    }
}
