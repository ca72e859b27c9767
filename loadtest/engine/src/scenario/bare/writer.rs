//! The line writer: the database's write address, and nothing else.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::bail;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::lines::Lines;
use super::target::WriteTarget;

#[derive(Debug)]
pub(super) struct Writer {
    client: reqwest::Client,
    target: WriteTarget,
}

impl Writer {
    pub(super) fn new(target: WriteTarget) -> Self {
        Self {
            client: reqwest::Client::new(),
            target,
        }
    }

    /// Takes the next `count` lines now, and writes them.
    pub(super) fn write(
        self: &Arc<Self>,
        lines: &mut Lines,
        count: u64,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        let mut body = Vec::new();
        lines.append(count, &mut body);
        let writer = Arc::clone(self);
        let task = tokio::spawn(async move { writer.post(body).await });
        async move { task.await? }.boxed()
    }

    async fn post(&self, body: Vec<u8>) -> anyhow::Result<()> {
        let compressing = tokio::task::spawn_blocking(move || {
            let room = Vec::with_capacity(body.len() / 4);
            let mut encoder = GzEncoder::new(room, Compression::new(1));
            encoder.write_all(&body)?;
            encoder.finish()
        });
        let request = self.client.post(self.target.url.clone());
        let request = match &self.target.authorization {
            Some(value) => request.header(reqwest::header::AUTHORIZATION, value),
            None => request,
        };
        let request = request.header(reqwest::header::CONTENT_ENCODING, "gzip");
        let response = request.body(compressing.await??).send().await?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            bail!("the database answers the bare writer with {status}: {text}");
        }
        Ok(())
    }
}
