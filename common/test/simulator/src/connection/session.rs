//! The session: handshake, authentication, commands, the end.
//!
//! After Home Assistant's `components/websocket_api/{http,auth,connection}.py`.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, tcp::OwnedReadHalf},
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::StatusCode,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{Connection, Outgoing, commands::Commands, writer};
use crate::home::Home;

/// How long a client may take to answer a close frame.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);
/// aiohttp's limit on what a client may send.
const INCOMING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Serves one client to the end.
pub(crate) async fn serve(home: Arc<Home>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let connection = home.admit();
    let mut writer = tokio::spawn(writer::write(
        connection.clone(),
        home.ledger.clone(),
        write,
    ));
    let channel = Channel {
        read,
        connection: connection.clone(),
    };
    tokio::select! {
        () = connection.cut.cancelled() => {}
        () = converse(&home, &connection, channel) => {}
    }
    home.unsubscribe_all(&connection);
    connection.push(Outgoing::End);
    if timeout(CLOSE_WAIT_MAX, &mut writer).await.is_err() {
        connection.cut(false);
        let _ = writer.await;
    }
    home.dismiss(&connection);
}

async fn converse(home: &Home, connection: &Arc<Connection>, channel: Channel) {
    let handshake = Box::pin(shake_hands(channel));
    let Ok(Ok(mut socket)) = timeout(home.options.auth_wait_max, handshake).await else {
        return;
    };
    connection.push(Outgoing::Message(
        json!({"type": "auth_required", "ha_version": home.options.ha_version}).to_string(),
    ));
    let wait_max = home.options.auth_wait_max;
    if let Ok(Some(Ok(Message::Text(text)))) = timeout(wait_max, socket.next()).await
        && let Ok(message) = serde_json::from_str::<Value>(&text)
    {
        match refusal(&message, &home.options.token) {
            None => {
                connection.push(Outgoing::Message(
                    json!({"type": "auth_ok", "ha_version": home.options.ha_version}).to_string(),
                ));
                home.count_authenticated(connection);
                if !obey(home, connection, &mut socket).await {
                    return;
                }
            }
            Some(message) => {
                home.count_auth_failure();
                connection.push(Outgoing::Message(
                    json!({"type": "auth_invalid", "message": message}).to_string(),
                ));
            }
        }
    }
    // Nothing may follow the close frame.
    home.unsubscribe_all(connection);
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    let _ = socket.close(Some(frame)).await;
    let _ = timeout(CLOSE_WAIT_MAX, async {
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
}

async fn shake_hands(
    channel: Channel,
) -> Result<WebSocketStream<Channel>, tokio_tungstenite::tungstenite::Error> {
    let config = WebSocketConfig::default().max_message_size(Some(INCOMING_BYTES_MAX));
    #[expect(clippy::result_large_err, reason = "the signature is the library's")]
    let check_path = |request: &Request, response: Response| {
        if request.uri().path() == "/api/websocket" {
            return Ok(response);
        }
        let mut refused = ErrorResponse::new(Some("404: Not Found".to_owned()));
        *refused.status_mut() = StatusCode::NOT_FOUND;
        Err(refused)
    };
    accept_hdr_async_with_config(channel, check_path, Some(config)).await
}

/// Why the client is not let in.
fn refusal(message: &Value, token: &str) -> Option<String> {
    if message["type"] != "auth" {
        let got = message["type"].as_str().unwrap_or("None");
        return Some(format!(
            "Auth message incorrectly formatted: not a valid value for dictionary value @ \
             data['type']. Got '{got}'"
        ));
    }
    (message["access_token"].as_str() != Some(token))
        .then(|| "Invalid access token or password".to_owned())
}

/// The command phase. True if the server is to close the connection, false if the client did.
async fn obey(
    home: &Home,
    connection: &Arc<Connection>,
    socket: &mut WebSocketStream<Channel>,
) -> bool {
    let heartbeat = home.options.heartbeat;
    let mut commands = Commands::new(home, connection);
    let mut unanswered_ping = false;
    let mut deadline = Instant::now() + heartbeat;
    loop {
        let incoming = tokio::select! {
            () = connection.close.cancelled() => return true,
            () = sleep_until(deadline) => {
                if unanswered_ping {
                    connection.cut(false);
                    return false;
                }
                unanswered_ping = true;
                deadline = Instant::now() + heartbeat / 2;
                let _ = socket.send(Message::Ping(Default::default())).await;
                continue;
            }
            incoming = socket.next() => incoming,
        };
        unanswered_ping = false;
        deadline = Instant::now() + heartbeat;
        match incoming {
            Some(Ok(Message::Text(text))) => match serde_json::from_str::<Value>(&text) {
                Ok(Value::Array(messages)) => {
                    messages.iter().for_each(|message| commands.handle(message));
                }
                Ok(message) => commands.handle(&message),
                // As Home Assistant does with what is not JSON.
                Err(_) => return true,
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Binary(_))) => return true,
            Some(Ok(Message::Close(_))) => {
                // Our answer to the close frame goes out with the next call.
                home.unsubscribe_all(connection);
                let _ = timeout(CLOSE_WAIT_MAX, socket.next()).await;
                return false;
            }
            Some(Err(_)) | None => return false,
        }
    }
}

/// The socket as the WebSocket library sees it: it reads from the socket, but what it writes goes
/// into the outbox, behind what is there already.
struct Channel {
    read: OwnedReadHalf,
    connection: Arc<Connection>,
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(context, buffer)
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection.push(Outgoing::Bytes(bytes.to_vec()));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection {
    pub(super) fn set_coalesce(&self, on: bool) {
        self.coalesce.store(on, Ordering::Release);
    }
}
