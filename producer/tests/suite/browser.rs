//! A headless Chromium, driven over its own protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>). `services.sh install chromium` installs
//! it.

use base64::Engine;
use futures_util::{SinkExt, StreamExt};
use ha_kit::{SOON, eventually};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// One page; the browser ends with it.
pub struct Page {
    wire: Mutex<Wire>,
    session: String,
    _browser: Child,
    _profile: TempDir,
}

struct Wire {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    id: u64,
}

impl Wire {
    async fn call(&mut self, method: &str, parameters: Value, session: Option<&str>) -> Value {
        self.id += 1;
        let mut call = json!({"id": self.id, "method": method, "params": parameters});
        if let Some(session) = session {
            call["sessionId"] = session.into();
        }
        let call = Message::text(call.to_string());
        self.socket.send(call).await.unwrap();
        loop {
            let message = timeout(SOON, self.socket.next()).await.unwrap();
            let text = message.unwrap().unwrap().into_text().unwrap();
            let message: Value = serde_json::from_str(&text).unwrap_or_default();
            if message["id"] == self.id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }
}

impl Page {
    pub async fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--remote-debugging-port=0",
                "about:blank",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium; `services.sh install chromium` installs it");
        let mut lines = BufReader::new(browser.stderr.take().unwrap()).lines();
        let address = timeout(SOON, async {
            loop {
                let line = lines.next_line().await.unwrap();
                let line = line.expect("chromium ended before it listened");
                if let Some((_, address)) = line.split_once("DevTools listening on ") {
                    return address.to_owned();
                }
            }
        });
        let address = address.await.expect("the browser's address");
        // Who does not read what it says keeps it from saying more.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

        let (socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
        let mut wire = Wire { socket, id: 0 };
        let target = wire
            .call("Target.createTarget", json!({"url": "about:blank"}), None)
            .await;
        let parameters = json!({"targetId": target["targetId"], "flatten": true});
        let attached = wire.call("Target.attachToTarget", parameters, None).await;
        let page = Self {
            wire: Mutex::new(wire),
            session: attached["sessionId"].as_str().unwrap().to_owned(),
            _browser: browser,
            _profile: profile,
        };
        page.call("Page.navigate", json!({ "url": url })).await;
        page
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        let mut wire = self.wire.lock().await;
        wire.call(method, parameters, Some(&self.session)).await
    }

    /// The window, in CSS pixels.
    pub async fn resize(&self, width: u32, height: u32, is_phone: bool) {
        let parameters = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone,
        });
        self.call("Emulation.setDeviceMetricsOverride", parameters)
            .await;
    }

    /// `light` or `dark`, as the system would ask for it.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// The value of an expression.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", parameters).await;
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true; if it never is, says what the page shows.
    pub async fn wait_until(&self, expression: &str) {
        let waiting = eventually(expression, async || {
            (self.evaluate(expression).await == true).then_some(())
        });
        if timeout(SOON - Duration::from_secs(5), waiting)
            .await
            .is_err()
        {
            panic!("never {expression}:\n{}", self.text().await);
        }
    }

    /// All that can be read on the page.
    pub async fn text(&self) -> String {
        let text = self.evaluate("document.body.innerText").await;
        text.as_str().unwrap().to_owned()
    }

    /// A picture of the whole page, PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let parameters = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.call("Page.captureScreenshot", parameters).await;
        let picture = answer["data"].as_str().unwrap();
        base64::engine::general_purpose::STANDARD
            .decode(picture)
            .unwrap()
    }
}
