//! 200 malformed requests of every kind at once, with honest traffic between them.

use crate::support::{Server, TOKEN, event, frame, head, http, post, raw, server, status_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a stranger sends, and what it must be answered with.
struct Kind {
    parts: Vec<Vec<u8>>,
    status: u16,
}

const SLOW: Duration = Duration::from_millis(150);

fn kinds() -> Vec<Kind> {
    let good = event(1);
    let length = format!("Content-Length: {}", good.len());
    let with = |head: String, body: &[u8]| vec![head.into_bytes(), body.to_vec()];
    let authorized = head(&length, "");
    let truncated = &good.as_bytes()[..good.len() / 2];
    let cut = frame(std::slice::from_ref(&good))[..60].to_vec();
    let of_frames = head(&format!("Content-Length: {}", cut.len()), "")
        .replace("application/json", ha_frame::CONTENT_TYPE);
    let drops = |part: u8| vec![part; 1];
    vec![
        Kind {
            parts: with(
                authorized.replace(&format!("Authorization: Bearer {TOKEN}\r\n"), ""),
                good.as_bytes(),
            ),
            status: 401,
        },
        Kind {
            parts: with(authorized.replace(TOKEN, "guessed"), good.as_bytes()),
            status: 401,
        },
        Kind {
            parts: with(
                head("Content-Length: 50000000", ""),
                &vec![b'['; 50_000_000],
            ),
            status: 413,
        },
        Kind {
            parts: with(
                head(&format!("Content-Length: {}", truncated.len()), ""),
                truncated,
            ),
            status: 400,
        },
        Kind {
            parts: with(of_frames, &cut),
            status: 400,
        },
        Kind {
            parts: with(
                authorized.replace("application/json", "text/html"),
                good.as_bytes(),
            ),
            status: 415,
        },
        Kind {
            parts: std::iter::once(head("Content-Length: 1000", "").into_bytes())
                .chain((0..6).map(|_| drops(b' ')))
                .collect(),
            status: 408,
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_their_status_and_harm_nobody() {
    let server = Arc::new(server().await);
    let kinds = Arc::new(kinds());
    let (stop, honest) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let traffic = tokio::spawn(honest_traffic(
        Arc::clone(&server),
        Arc::clone(&stop),
        Arc::clone(&honest),
    ));
    // One of each first: what is measured is the growth by number.
    for index in 0..kinds.len() {
        attack(&server, &kinds, index).await;
    }
    let before_kb = resident_kb();
    let mut peak_kb = before_kb;
    let senders = 10;
    for round in 0..200 / senders {
        let attacks: Vec<_> = (0..senders)
            .map(|index| {
                let (server, kinds) = (Arc::clone(&server), Arc::clone(&kinds));
                tokio::spawn(async move { attack(&server, &kinds, round * senders + index).await })
            })
            .collect();
        for attack in attacks {
            attack.await.unwrap();
            peak_kb = peak_kb.max(resident_kb());
        }
    }
    stop.store(true, Ordering::SeqCst);
    traffic.await.unwrap();
    let sent = honest.load(Ordering::SeqCst);
    println!("honest events {sent}, resident before {before_kb} kB, peak {peak_kb} kB");
    assert!(sent > 100, "honest traffic went on: {sent}");
    assert_eq!(server.points(), sent, "and every event of it is stored");
    // The senders are in this process too, with their buffers; 50 MB bodies would show.
    assert!(
        peak_kb < before_kb + 24 * 1_024,
        "{before_kb} kB before, {peak_kb} kB at the peak"
    );
    Arc::into_inner(server).unwrap().end().await;
}

async fn attack(server: &Server, kinds: &[Kind], index: usize) {
    let kind = &kinds[index % kinds.len()];
    let parts: Vec<&[u8]> = kind.parts.iter().map(Vec::as_slice).collect();
    let pause = if kind.status == 408 {
        SLOW
    } else {
        Duration::ZERO
    };
    let answer = raw(server.address, &parts, pause).await;
    assert_eq!(status_of(&answer), kind.status, "{answer}");
}

/// Three events a request, without a pause, each taken or the test fails.
async fn honest_traffic(server: Arc<Server>, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) {
    let http = http();
    while !stop.load(Ordering::SeqCst) {
        let number = 10 + sent.load(Ordering::SeqCst);
        let array = format!(
            "[{},{},{}]",
            event(number),
            event(number + 1),
            event(number + 2)
        );
        let (status, answer) = post(&http, &server.url(), array).await;
        assert_eq!(status, 200, "{answer}");
        sent.fetch_add(3, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
