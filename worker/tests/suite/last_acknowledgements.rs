//! What a worker acknowledges while it ends stays acknowledged, however late and however close
//! together the broker gets to hear of it.

use crate::batches::{batch, publish, state_changed};
use crate::{variables, worker};
use ha_kit::{Gate, Place, eventually};
use lapin::options::BasicGetOptions;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Class and method of the AMQP methods that are looked for.
const BASIC_ACK: [u8; 4] = [0, 60, 0, 80];
const CHANNEL_CLOSE: [u8; 4] = [0, 20, 0, 40];

/// Between the worker and RabbitMQ. On each connection it holds back everything that the worker
/// sends, from its first acknowledgement on, until it is told to let go.
struct SlowWay {
    url: String,
    held: Arc<Mutex<Vec<Vec<u8>>>>,
    let_go: watch::Sender<bool>,
}

impl SlowWay {
    async fn start(amqp_url: &str) -> Self {
        let mut url: url::Url = amqp_url.parse().unwrap();
        let to = format!("127.0.0.1:{}", url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        url.set_port(Some(port)).unwrap();
        let held: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (let_go, seen) = watch::channel(false);
        let all = Arc::clone(&held);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, to.clone(), Arc::clone(&all), seen.clone()));
            }
        });
        Self {
            url: url.into(),
            held,
            let_go,
        }
    }

    /// How many acknowledgements are held on a connection whose channel is about to be closed
    /// behind them; `None` while there is no such connection.
    fn acknowledgements_before_a_close(&self) -> Option<usize> {
        let held = self.held.lock().unwrap();
        let closing = held.iter().find(|bytes| count(bytes, CHANNEL_CLOSE) > 0)?;
        Some(count(closing, BASIC_ACK))
    }

    fn let_go(&self) {
        self.let_go.send_replace(true);
    }
}

fn count(bytes: &[u8], method: [u8; 4]) -> usize {
    bytes.windows(4).filter(|window| **window == method).count()
}

async fn pass_on(
    stream: TcpStream,
    to: String,
    all: Arc<Mutex<Vec<Vec<u8>>>>,
    mut let_go: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (mut from_worker, mut to_worker) = stream.into_split();
    let (mut from_broker, mut to_broker) = TcpStream::connect(to).await?.into_split();
    let answers = tokio::io::copy(&mut from_broker, &mut to_worker);
    let place = {
        let mut all = all.lock().unwrap();
        all.push(Vec::new());
        all.len() - 1
    };
    let asking = async {
        let mut buffer = vec![0; 16 << 10];
        let mut is_holding = false;
        loop {
            let read = tokio::select! {
                read = from_worker.read(&mut buffer) => Some(read?),
                _ = let_go.wait_for(|is_free| *is_free), if is_holding => None,
            };
            let Some(read) = read else {
                is_holding = false;
                let held = std::mem::take(&mut all.lock().unwrap()[place]);
                to_broker.write_all(&held).await?;
                continue;
            };
            if read == 0 {
                return to_broker.shutdown().await;
            }
            is_holding |= !*let_go.borrow() && count(&buffer[..read], BASIC_ACK) > 0;
            if is_holding {
                all.lock().unwrap()[place].extend_from_slice(&buffer[..read]);
            } else {
                to_broker.write_all(&buffer[..read]).await?;
            }
        }
    };
    tokio::try_join!(answers, asking).map(|_| ())
}

/// RabbitMQ keeps back what is acknowledged on a channel beyond 32 acknowledgements that a quorum
/// queue has not applied, and forgets it when the channel closes.
#[tokio::test]
async fn what_was_settled_before_a_stop_never_comes_again() {
    const BATCHES: u64 = 200;
    let place = Place::new().await;
    let way = SlowWay::start(&place.amqp_url()).await;
    let database = Gate::start(&place.services.influxdb_v2_url()).await;
    let mut variables = variables(&place);
    variables.retain(|(name, _)| !["INFLUXDB_URL", "AMQP_URL"].contains(name));
    variables.extend([
        ("INFLUXDB_URL", database.url.clone()),
        ("AMQP_URL", way.url.clone()),
        // As many messages as there are batches: all are held when the worker is told to stop.
        ("PREFETCH_EVENTS_MAX", (BATCHES * 100).to_string()),
        // A write each batch, so that each is settled by itself.
        ("BATCH_POINTS_MAX", "1".into()),
        ("SHUTDOWN_GRACE_S", "60".into()),
    ]);
    let process = worker(&variables);
    process.wait_until_ready().await;
    database.close();
    let (_connection, channel) = place.channel().await;
    let batches: Vec<_> = (0..BATCHES)
        .map(|n| batch(&[state_changed("sensor.a", &n.to_string(), n)]))
        .collect();
    publish(&channel, &batches).await;
    eventually("deliveries that are held", async || {
        let held = format!(r#"deliveries_in_flight{{queue="ha.events"}} {BATCHES}"#);
        let metrics = process.get("/metrics").await.1;
        metrics.contains(&held).then_some(())
    })
    .await;
    process.terminate();
    process.wait_until_not_ready(&["shutdown:"]).await;
    database.open();
    let acknowledgements = eventually("the end of the channel", async || {
        way.acknowledgements_before_a_close()
    })
    .await;
    println!(
        "{acknowledgements} acknowledgements of {BATCHES} batches before the channel is closed"
    );
    assert!(acknowledgements > 0);
    way.let_go();
    let ended = process.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert_eq!(place.count().await as u64, BATCHES);

    // The broker handles this after the end of the worker's channel.
    let mut came_again = 0;
    let options = BasicGetOptions { no_ack: true };
    while let Some(_message) = channel
        .basic_get("ha.events".into(), options)
        .await
        .unwrap()
    {
        came_again += 1;
    }
    assert_eq!(came_again, 0, "batches were settled and came again");
}
