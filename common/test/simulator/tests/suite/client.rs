//! A plain client of the WebSocket API.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use ha_simulator::{Simulator, SimulatorOptions};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, protocol::CloseFrame},
};

const WAIT_MAX: Duration = Duration::from_secs(20);

pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
    /// Messages of a coalesced frame, and those passed over while waiting for a result.
    pub pending: VecDeque<Value>,
    /// Frames that held an array.
    pub arrays: usize,
}

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    Closed(Option<CloseFrame>),
    Broken,
}

pub async fn simulator() -> Simulator {
    Simulator::start(SimulatorOptions::default()).await.unwrap()
}

impl Client {
    /// A connection that has read nothing yet.
    pub async fn connect(simulator: &Simulator) -> Result<Self, Error> {
        let url = format!("{}/api/websocket", simulator.url().replace("http:", "ws:"));
        let (socket, _) = connect_async(url).await?;
        Ok(Self {
            socket,
            last_id: 0,
            pending: VecDeque::new(),
            arrays: 0,
        })
    }

    pub async fn authenticated(simulator: &Simulator) -> Self {
        let mut client = Self::connect(simulator).await.unwrap();
        assert_eq!(client.message().await["type"], "auth_required");
        client
            .send(&json!({"type": "auth", "access_token": simulator.token()}))
            .await;
        assert_eq!(client.message().await["type"], "auth_ok");
        client
    }

    pub fn socket(&mut self) -> &mut WebSocketStream<MaybeTlsStream<TcpStream>> {
        &mut self.socket
    }

    pub async fn send(&mut self, message: &Value) {
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// Sends a command with the next id and returns that.
    pub async fn command(&mut self, mut command: Value) -> u64 {
        self.last_id += 1;
        command["id"] = json!(self.last_id);
        self.send(&command).await;
        self.last_id
    }

    /// Sends a command and waits for what answers it; all else goes to `pending`.
    pub async fn ask(&mut self, command: Value) -> Value {
        let id = self.command(command).await;
        let mut passed = VecDeque::new();
        loop {
            let message = self.message().await;
            if message["type"] != "event" && message["id"] == id {
                passed.append(&mut self.pending);
                self.pending = passed;
                return message;
            }
            passed.push_back(message);
        }
    }

    pub async fn subscribe(&mut self) -> u64 {
        let answer = self
            .ask(json!({"type": "subscribe_events", "event_type": "state_changed"}))
            .await;
        assert_eq!(answer["success"], true);
        answer["id"].as_u64().unwrap()
    }

    pub async fn message(&mut self) -> Value {
        if let Some(message) = self.pending.pop_front() {
            return message;
        }
        let text = self.text().await.unwrap();
        match serde_json::from_str(&text).unwrap() {
            Value::Array(messages) => {
                assert!(messages.len() > 1, "a lone message is no array");
                self.arrays += 1;
                self.pending.extend(messages);
                self.pending.pop_front().unwrap()
            }
            message => message,
        }
    }

    pub async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            let message = self.message().await;
            assert_eq!(message["type"], "event", "{message}");
            events.push(message);
        }
        events
    }

    pub async fn text(&mut self) -> Result<String, End> {
        loop {
            match timeout(WAIT_MAX, self.socket.next())
                .await
                .expect("no message in time")
            {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Close(frame))) => return Err(End::Closed(frame)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(End::Broken),
            }
        }
    }

    /// Reads to the end.
    pub async fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.text().await {
                return end;
            }
        }
    }
}

/// Waits until it is so.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = timeout(WAIT_MAX, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

pub fn micros(time: &Value) -> i64 {
    time.as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_microsecond()
}

/// Entity, time and state of an event's message.
pub fn identity(message: &Value) -> (String, i64, Option<String>) {
    let event = &message["event"];
    let new = &event["data"]["new_state"];
    let time = if new.is_null() {
        &event["time_fired"]
    } else {
        &new["last_updated"]
    };
    let entity = event["data"]["entity_id"].as_str().unwrap().to_owned();
    (
        entity,
        micros(time),
        new["state"].as_str().map(str::to_owned),
    )
}

/// The same of what the ledger says was sent.
pub fn sent(simulator: &Simulator) -> Vec<(String, i64, Option<String>)> {
    let ledger = simulator.ledger();
    let entities = ledger.entities();
    ledger
        .events()
        .into_iter()
        .filter(|event| event.sent)
        .map(|event| {
            let entity = entities[event.entity as usize].to_string();
            (
                entity,
                event.time_us,
                event.state.map(|state| state.to_string()),
            )
        })
        .collect()
}
