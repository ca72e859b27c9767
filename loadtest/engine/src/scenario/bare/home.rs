//! The home beside the bare chain. Product and bare chain share their machine with what makes the
//! load, which takes some microseconds of an event: a bare chain that went without would have more
//! of the processors than the product. So the home fires at the bare chain's rate, to a client that
//! takes the bytes off its socket and drops them.

use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::plan::Load;
use crate::simulated_home::SimulatedHome;

const READ_BYTES: usize = 1 << 20;
/// Between two reads: about the product's at high rates.
const PAUSE: Duration = Duration::from_millis(4);
const CONNECT_MAX: Duration = Duration::from_secs(10);

pub struct Home(SimulatedHome);

impl Home {
    pub async fn start(entities: usize) -> anyhow::Result<Self> {
        let mut homes = SimulatedHome::start(1, entities).await?;
        homes.pop().map(Self).context("no home was started")
    }

    /// Fires at the rate, to a client of its own, until the end of that time or of what
    /// this gives.
    pub async fn fire(&self, rate: f64, lasts: Duration) -> anyhow::Result<Firing> {
        let connecting = tokio::time::timeout(CONNECT_MAX, self.subscribe());
        let client = connecting.await.context("the home does not answer")??;
        let mut reading = client.try_clone()?;
        std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || {
                let mut bytes = vec![0; READ_BYTES];
                while let Ok(1..) = reading.read(&mut bytes) {
                    std::thread::sleep(PAUSE);
                }
            })?;
        Ok(Firing {
            client,
            firing: self.0.fire(Load::House(lasts), rate),
        })
    }

    async fn subscribe(&self) -> anyhow::Result<TcpStream> {
        let simulator = self.0.simulator();
        let url = format!("ws://{}/api/websocket", simulator.address());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
        let token = simulator.token();
        let steps = [
            (
                "auth_required",
                json!({"type": "auth", "access_token": token}),
            ),
            (
                "auth_ok",
                json!({"id": 1, "type": "subscribe_events", "event_type": "state_changed"}),
            ),
        ];
        for (before, answer) in steps {
            let said = socket.next().await.context("the home hung up")??;
            if !said.to_text()?.contains(before) {
                bail!("the home said {said} in the place of {before}");
            }
            socket.send(Message::text(answer.to_string())).await?;
        }
        let MaybeTlsStream::Plain(stream) = socket.into_inner() else {
            bail!("a simulated home has no TLS");
        };
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

/// A load, and the client that it goes to. Both end when this is dropped.
pub struct Firing {
    client: TcpStream,
    firing: JoinHandle<u64>,
}

impl Drop for Firing {
    fn drop(&mut self) {
        self.firing.abort();
        // The reader's read ends with it.
        let _ = self.client.shutdown(Shutdown::Both);
    }
}
