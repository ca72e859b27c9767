//! The client over several workers.

use crate::support::{
    Server, TOKEN, batch, event, install_tls_provider, limits, server, server_at,
};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use ha_http::{BearerToken, ClientOptions, IntakeClient, IntakeError, parse_urls};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

const BATCHES: u64 = 300;

fn client_options(urls: &str, token: &str) -> ClientOptions {
    install_tls_provider();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    ClientOptions::new(
        parse_urls(urls).unwrap(),
        BearerToken::new(token),
        Arc::new(tls),
    )
}

/// Ten events, none of which is in another batch.
fn batch_number(number: u64) -> Bytes {
    batch(
        &(0..10)
            .map(|index| event(number * 10 + index))
            .collect::<Vec<_>>(),
    )
    .into()
}

/// Three servers on one port of 127.0.0.1, 127.0.0.2 and 127.0.0.3.
async fn three() -> Vec<Server> {
    let first = server().await;
    let port = first.address.port();
    let mut servers = vec![first];
    for last in [2, 3] {
        servers.push(server_at(IpAddr::from([127, 0, 0, last]), port, limits()).await);
    }
    servers
}

async fn deliver_all(client: &IntakeClient, numbers: std::ops::Range<u64>) {
    stream::iter(numbers)
        .for_each_concurrent(8, |number| async move {
            let (batch, mut is_first_offer) = (batch_number(number), true);
            // What the producer's router does with a batch that is not delivered: again.
            while let Err(error) = client.deliver(batch.clone(), is_first_offer).await {
                is_first_offer = false;
                assert!(!matches!(error, IntakeError::Rejected(_)), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
}

fn assert_shares(servers: &[Server], all: u64) {
    let shares: Vec<_> = servers.iter().map(Server::points).collect();
    println!("points: {shares:?}");
    assert_eq!(shares.iter().sum::<u64>(), all);
    for share in shares {
        assert!(
            share * 100 > all * 20 && share * 100 < all * 45,
            "{share} of {all}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_addresses_by_list_take_a_third_each() {
    let servers = three().await;
    let urls: Vec<_> = servers
        .iter()
        .map(|server| format!("http://{}", server.address))
        .collect();
    let client = IntakeClient::new(client_options(&urls.join(","), TOKEN));
    deliver_all(&client, 0..BATCHES).await;
    assert_shares(&servers, BATCHES * 10);
    assert!(
        client
            .probe()
            .await
            .unwrap()
            .iter()
            .all(|(_, answer)| answer.is_ok())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_with_three_addresses_and_one_of_them_dies() {
    let mut servers = three().await;
    let port = servers[0].address.port();
    let mut options = client_options(&format!("http://workers.test:{port}"), TOKEN);
    let addresses = servers.iter().map(|server| server.address.ip()).collect();
    options
        .known_names
        .insert("workers.test".to_owned(), addresses);
    options.compress_bytes_min = Some(0);
    let client = IntakeClient::new(options);
    deliver_all(&client, 0..BATCHES).await;
    assert_shares(&servers, BATCHES * 10);

    // Killed in the middle of the second half: nothing answers what it holds.
    let dying = servers.remove(1);
    let kill = dying.served.abort_handle();
    let (first, last) = (BATCHES, BATCHES * 2);
    let delivering = deliver_all(&client, first..last);
    let killing = async {
        while dying.points() < BATCHES * 10 / 3 + 100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        kill.abort();
    };
    tokio::join!(delivering, killing);
    let mut points: Vec<_> = servers.iter().chain([&dying]).map(Server::points).collect();
    println!("points after the kill: {points:?}");
    let all = last * 10;
    assert!(
        points.iter().sum::<u64>() >= all,
        "an event may be stored twice, never lost"
    );
    points.sort_unstable();
    assert!(points[0] < all / 4, "the dead one took no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_in_front_of_three_is_spread_over_too() {
    let servers = three().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let backends: Vec<_> = servers.iter().map(|server| server.address).collect();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let backend = backends[counted.fetch_add(1, Ordering::SeqCst) % backends.len()];
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(backend).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    let client = IntakeClient::new(client_options(&url, TOKEN));
    // Even over many connections only: enough batches for more than fifty.
    let batches = BATCHES * 3;
    deliver_all(&client, 0..batches).await;
    assert_shares(&servers, batches * 10);
    // Pooled: far fewer connections than batches.
    let connections = connections.load(Ordering::SeqCst);
    assert!(
        connections < 300,
        "{connections} connections for {batches} batches"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_become_what_the_route_acts_on() {
    let server = server().await;
    let url = format!("http://{}", server.address);
    let client = IntakeClient::new(client_options(&url, TOKEN));
    client.deliver(batch_number(0), true).await.unwrap();
    let rejected = client
        .deliver(Bytes::from_static(b"no batch"), true)
        .await
        .unwrap_err();
    assert!(
        matches!(&rejected, IntakeError::Rejected(words) if words.contains("not a batch")),
        "{rejected}"
    );
    client.deliver(batch_number(1), true).await.unwrap();

    let stranger = IntakeClient::new(client_options(&url, "another"));
    let refused = stranger.deliver(batch_number(2), true).await.unwrap_err();
    assert!(matches!(&refused, IntakeError::Refused(_)), "{refused}");
    assert!(!format!("{refused} {stranger:?}").contains("another"));
    // While its breaker blocks it, the worker's last word is still the answer.
    let refused = stranger.deliver(batch_number(2), true).await.unwrap_err();
    assert!(matches!(&refused, IntakeError::Refused(_)), "{refused}");

    let newer = rmp_newer();
    let later = client.deliver(newer, true).await.unwrap_err();
    assert!(
        matches!(&later, IntakeError::RetryAfter { after, .. } if after.as_secs() == 30),
        "{later}"
    );
    server.end().await;
    let nobody = IntakeClient::new(client_options(&url, TOKEN));
    let away = nobody.deliver(batch_number(3), true).await.unwrap_err();
    assert!(matches!(&away, IntakeError::Unavailable(_)), "{away}");
    let nameless = IntakeClient::new(client_options("http://no-such-name.invalid:1", TOKEN));
    let away = nameless.deliver(batch_number(3), true).await.unwrap_err();
    assert!(
        matches!(&away, IntakeError::Unavailable(words) if words.contains("no-such-name")),
        "{away}"
    );
}

/// Answers every request with 500; what its requests said of being sent again.
async fn failing() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let handler = move |headers: HeaderMap| async move {
        let again = headers[ha_batch::HEADER_AGAIN].to_str().unwrap().to_owned();
        heard.lock().unwrap().push(again);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    (url, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_worker_that_gets_a_new_batch_is_told_that_it_is_the_first() {
    let ((one, by_one), (two, by_two)) = (failing().await, failing().await);
    let options = client_options(&format!("{one},{two}"), TOKEN);
    let client = IntakeClient::new(options);
    let said = || {
        let mut all = [
            by_one.lock().unwrap().split_off(0),
            by_two.lock().unwrap().split_off(0),
        ];
        all.sort();
        all.concat()
    };
    client.deliver(batch_number(0), true).await.unwrap_err();
    assert_eq!(said(), ["0", "1"]);
    client.deliver(batch_number(0), false).await.unwrap_err();
    assert_eq!(said(), ["1", "1"]);
}

/// A batch of the next version.
fn rmp_newer() -> Bytes {
    let mut batch = ha_batch::decode(&batch_number(9))
        .map(|batch| batch.version)
        .unwrap();
    batch += 1;
    let mut bytes = batch_number(9).to_vec();
    let at = bytes
        .windows(2)
        .position(|pair| pair == [0xa1, b'v'])
        .unwrap()
        + 2;
    bytes[at] = u8::try_from(batch).unwrap();
    bytes.into()
}
