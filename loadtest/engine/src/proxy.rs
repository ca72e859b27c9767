//! A TCP proxy between a process and what it talks to, that can behave as a bad network does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const CHUNK_BYTES: usize = 64 * 1024;
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Out of descriptors, or the client is gone already.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Bytes pass.
    Open,
    /// Connections are reset, new ones at once too.
    Cut,
    /// The far end of every connection is gone, and the near end never hears of it, not even when
    /// the network is open again: no reset, no answer (a half-open connection).
    Silent,
    /// Nothing passes for now; connections stay.
    Stalled,
}

/// Listens on a loopback port of its own and passes on what comes to the first of its targets that
/// takes connections. Ends when it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    accepting: JoinHandle<()>,
}

impl TcpProxy {
    /// Listens on `port`, which must be below the ephemeral range: a client that connects to a free
    /// port of its own range may be given that very port.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, targets: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let (network, watching) = watch::channel(Network::Open);
        let accepting = tokio::spawn(accept(listener, targets.into(), watching));
        Ok(Self {
            address,
            network,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The network behaves so from now on.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    targets: Arc<[SocketAddr]>,
    network: watch::Receiver<Network>,
) {
    loop {
        match listener.accept().await {
            Ok((near, _)) => {
                let _ = near.set_nodelay(true);
                tokio::spawn(carry(near, Arc::clone(&targets), network.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection, to its end.
async fn carry(near: TcpStream, targets: Arc<[SocketAddr]>, mut network: watch::Receiver<Network>) {
    let now = *network.borrow_and_update();
    match now {
        Network::Cut => return reset(&near),
        Network::Silent => return say_nothing(near).await,
        Network::Open | Network::Stalled => {}
    }
    let Some(far) = connect(&targets).await else {
        return reset(&near);
    };
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let (mut out_network, mut back_network) = (network.clone(), network.clone());
    let ended = tokio::select! {
        () = both(
            pump(&mut near_read, &mut far_write, &mut out_network),
            pump(&mut far_read, &mut near_write, &mut back_network),
        ) => None,
        ended = network.wait_for(|network| matches!(network, Network::Cut | Network::Silent)) => {
            ended.ok().map(|network| *network)
        }
    };
    match ended {
        Some(Network::Silent) => {
            drop((far_read, far_write));
            if let Ok(near) = near_read.reunite(near_write) {
                say_nothing(near).await;
            }
        }
        Some(_) => {
            for stream in [near_read.reunite(near_write), far_read.reunite(far_write)] {
                stream.iter().for_each(reset);
            }
        }
        None => {}
    }
}

async fn both(out: impl Future<Output = ()>, back: impl Future<Output = ()>) {
    tokio::join!(out, back);
}

async fn connect(targets: &[SocketAddr]) -> Option<TcpStream> {
    for target in targets {
        let connected = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(target)).await;
        if let Ok(Ok(far)) = connected {
            let _ = far.set_nodelay(true);
            return Some(far);
        }
    }
    None
}

/// Passes bytes on until the end of the stream, which it passes on too.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    network: &mut watch::Receiver<Network>,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let open = network.wait_for(|network| *network != Network::Stalled);
        if open.await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Reads on, so that the near end sees its bytes taken, and never answers.
async fn say_nothing(mut near: TcpStream) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(1..) = near.read(&mut buffer).await {}
}

/// Closes by a reset instead of in good order.
fn reset(stream: &TcpStream) {
    // Best effort: without it the close is an ordinary one. (Zero seconds never block.)
    #[allow(deprecated, reason = "only a linger of more than zero blocks")]
    let _ = stream.set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn answers(stream: &mut TcpStream) -> std::io::Result<bool> {
        stream.write_all(b"x").await?;
        let mut byte = [0];
        let read = stream.read_exact(&mut byte);
        match tokio::time::timeout(Duration::from_millis(200), read).await {
            Ok(read) => read.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    #[tokio::test]
    async fn the_network_does_what_it_is_told() {
        // The first target refuses: nothing listens on it.
        let refusing = "127.0.0.1:1".parse().unwrap();
        let proxy = TcpProxy::start(0, vec![refusing, echo().await])
            .await
            .unwrap();
        let connect = || TcpStream::connect(proxy.address());
        let mut stream = connect().await.unwrap();
        assert!(answers(&mut stream).await.unwrap());

        proxy.set(Network::Stalled);
        assert!(!answers(&mut stream).await.unwrap(), "stalled");
        proxy.set(Network::Open);
        let mut late = [0];
        stream.read_exact(&mut late).await.unwrap();
        assert!(
            answers(&mut stream).await.unwrap(),
            "nothing was lost by the stall"
        );

        proxy.set(Network::Silent);
        assert!(!answers(&mut stream).await.unwrap(), "silent");
        proxy.set(Network::Open);
        assert!(!answers(&mut stream).await.unwrap(), "silent for ever");
        let mut stream = connect().await.unwrap();
        assert!(
            answers(&mut stream).await.unwrap(),
            "a new connection is sound"
        );

        proxy.set(Network::Cut);
        assert!(answers(&mut stream).await.is_err(), "reset");
        let mut refused = connect().await.unwrap();
        assert!(answers(&mut refused).await.is_err(), "reset at once");
        proxy.set(Network::Open);
        assert!(answers(&mut connect().await.unwrap()).await.unwrap());
    }
}
