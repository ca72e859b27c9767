//! Opening the socket, and what its two tasks share.

use crate::coalesced::Coalesced;
use crate::options::SourceOptions;
use crate::state::Ended;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

/// Read at one time. The crate fills this much with zeros before each read, 128 KiB by default, and a
/// home's message has one or two.
const READ_BYTES: usize = 16 << 10;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<Coalesced>>;

pub(crate) async fn connect(options: &SourceOptions, url: &Url) -> Result<Socket, Ended> {
    // One limit only: Home Assistant sends a message as one frame.
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(options.message_bytes_max))
        .max_frame_size(Some(options.message_bytes_max));
    let connector = Connector::Rustls(Arc::clone(&options.tls));
    let connecting = async {
        let stream = dial(url).await?;
        let stream = Coalesced::new(stream, options.read_interval);
        client_async_tls_with_config(url.as_str(), stream, Some(config), Some(connector)).await
    };
    match timeout(options.connect_timeout, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(Ended::Unreachable(error.to_string())),
        Err(_) => Err(Ended::TimedOut("connecting")),
    }
}

async fn dial(url: &Url) -> Result<TcpStream, Error> {
    let no_host = || Error::Url(UrlError::NoHostName);
    let port = url.port_or_known_default().ok_or_else(no_host)?;
    let stream = match url.host().ok_or_else(no_host)? {
        Host::Domain(name) => TcpStream::connect((name, port)).await?,
        Host::Ipv4(address) => TcpStream::connect((address, port)).await?,
        Host::Ipv6(address) => TcpStream::connect((address, port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What reader, writer and driver of one connection share: the first reason to end, and the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    ended: Arc<OnceLock<Ended>>,
    pub(crate) closed: CancellationToken,
}

impl Link {
    /// Ends the connection for this reason, unless it has ended for another.
    pub(crate) fn end(&self, reason: Ended) {
        self.name(reason);
        self.closed.cancel();
    }

    /// Names the reason of an end that is on its way.
    pub(crate) fn name(&self, reason: Ended) {
        // A later reason is a consequence of the first.
        let _ = self.ended.set(reason);
    }

    pub(crate) fn reason(&self) -> Option<Ended> {
        self.ended.get().cloned()
    }
}
