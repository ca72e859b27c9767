//! A way to a service that a test closes and opens: what is under way waits, nothing is cut.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The way; it serves for as long as the test's runtime.
pub struct Gate {
    pub url: String,
    is_open: watch::Sender<bool>,
}

impl Gate {
    /// Open, in front of `http://host:port`.
    pub async fn start(url: &str) -> Self {
        let to = url.strip_prefix("http://").unwrap().trim_end_matches('/');
        let to = to.to_owned();
        let (is_open, seen) = watch::channel(true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, to.clone(), seen.clone()));
            }
        });
        Self { url, is_open }
    }

    /// From now on nothing gets through to the service.
    pub fn close(&self) {
        self.is_open.send_replace(false);
    }

    /// What waits goes on.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }
}

async fn pass_on(
    stream: TcpStream,
    to: String,
    mut is_open: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (mut requests, mut answers) = stream.into_split();
    let (mut from_service, mut to_service) = TcpStream::connect(to).await?.into_split();
    let answering = tokio::io::copy(&mut from_service, &mut answers);
    let asking = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = requests.read(&mut buffer).await?;
            if read == 0 || is_open.wait_for(|is_open| *is_open).await.is_err() {
                return to_service.shutdown().await;
            }
            to_service.write_all(&buffer[..read]).await?;
        }
    };
    tokio::try_join!(answering, asking).map(|_| ())
}
