//! A headless Chromium, driven over its DevTools protocol.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// How long the browser may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a page is asked whether something holds.
const LOOK: Duration = Duration::from_millis(50);

/// Flags that keep it from asking the network for anything.
const QUIET: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-port=0",
];

/// One browser process. Killed when dropped.
#[derive(Debug)]
pub struct Browser {
    _child: Child,
    _profile: tempfile::TempDir,
    socket: WebSocketStream<TcpStream>,
    next_id: u64,
}

/// One page of a browser, of a person with storage of its own.
#[derive(Debug, Clone)]
pub struct Page(String);

impl Browser {
    /// Starts `chromium`.
    ///
    /// # Errors
    /// It is not installed (`tests/run` installs it), or does not start.
    pub async fn start() -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new("chromium");
        let data = format!("--user-data-dir={}", profile.path().display());
        command.args(QUIET).arg(data).arg("about:blank");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command
            .spawn()
            .context("no chromium: tests/run e2e installs it")?;
        let mut lines = BufReader::new(child.stderr.take().context("standard error")?).lines();
        let url = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.strip_prefix("DevTools listening on ") {
                    return anyhow::Ok(url.to_owned());
                }
            }
            bail!("chromium ended")
        };
        let url = timeout(PATIENCE, url)
            .await
            .context("chromium did not start")??;
        // What it writes further must be read, or it would block one day; ends with the browser.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let rest = url
            .strip_prefix("ws://")
            .and_then(|rest| rest.split('/').next());
        let stream = TcpStream::connect(rest.context("a ws:// URL")?).await?;
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let (socket, _) = client_async_with_config(&url, stream, Some(config)).await?;
        Ok(Self {
            _child: child,
            _profile: profile,
            socket,
            next_id: 1,
        })
    }

    /// Opens a page for a new person.
    ///
    /// # Errors
    /// The browser refuses.
    pub async fn open(&mut self, url: &str) -> Result<Page> {
        let context = self
            .call(None, "Target.createBrowserContext", json!({}))
            .await?;
        let target = json!({"url": url, "browserContextId": context["browserContextId"]});
        let target = self.call(None, "Target.createTarget", target).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call(None, "Target.attachToTarget", attach).await?;
        let page = Page(
            session["sessionId"]
                .as_str()
                .context("a session id")?
                .to_owned(),
        );
        self.wait(&page, "document.readyState === 'complete'")
            .await?;
        Ok(page)
    }

    /// Evaluates a JavaScript expression in a page; promises are awaited.
    ///
    /// # Errors
    /// It throws.
    pub async fn eval(&mut self, page: &Page, expression: &str) -> Result<Value> {
        let call = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.call(Some(page), "Runtime.evaluate", call).await?;
        let thrown = result.get("exceptionDetails");
        ensure!(thrown.is_none(), "{expression}: {thrown:?}");
        Ok(result["result"]["value"].clone())
    }

    /// Waits until an expression is true in a page.
    ///
    /// # Errors
    /// It does not become true in time; the text of the page is given.
    pub async fn wait(&mut self, page: &Page, expression: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // While a page loads, evaluation may fail.
            let value = self.eval(page, &format!("!!({expression})")).await;
            if value.is_ok_and(|value| value == true) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let text = self.eval(page, "document.body.innerText").await?;
                bail!("never true: {expression}\nthe page says: {text}");
            }
            sleep(LOOK).await;
        }
    }

    /// Gives an element the focus, types a text into it and presses Enter, as a person would.
    ///
    /// # Errors
    /// There is no such element.
    pub async fn type_into(&mut self, page: &Page, testid: &str, text: &str) -> Result<()> {
        let find = format!("document.querySelector('[data-testid=\"{testid}\"]')");
        self.wait(page, &format!("{find}?.offsetParent")).await?;
        self.eval(page, &format!("{find}.focus()")).await?;
        self.call(Some(page), "Input.insertText", json!({ "text": text }))
            .await?;
        for kind in ["keyDown", "keyUp"] {
            let key = json!({
                "type": kind, "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13,
            });
            self.call(Some(page), "Input.dispatchKeyEvent", key).await?;
        }
        Ok(())
    }

    async fn call(&mut self, page: Option<&Page>, method: &str, params: Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        let mut call = json!({"id": id, "method": method, "params": params});
        if let Some(Page(session)) = page {
            call["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(call.to_string())).await?;
        let answer = async {
            loop {
                let message = self.socket.next().await.context("the browser is gone")??;
                let Message::Text(text) = message else {
                    continue;
                };
                let answer: Value = serde_json::from_str(&text)?;
                if answer["id"] == id {
                    return anyhow::Ok(answer);
                }
            }
        };
        let answer = timeout(PATIENCE, answer)
            .await
            .with_context(|| format!("{method}: no answer"))??;
        ensure!(
            answer.get("error").is_none(),
            "{method}: {}",
            answer["error"]
        );
        Ok(answer["result"].clone())
    }
}
