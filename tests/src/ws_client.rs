//! A small client that speaks the protocol as text, so that tests see exactly what a stranger's
//! client would.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long an answer may take: far above what it needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// One WebSocket to a node, with what it said so far.
#[derive(Debug)]
pub struct WsClient {
    socket: WebSocketStream<TcpStream>,
    /// Lines that came and were not asked for yet, in order.
    heard: std::collections::VecDeque<Value>,
    next_id: u64,
}

impl WsClient {
    /// Connects without saying anything.
    ///
    /// # Errors
    /// Nobody answers, or refuses.
    pub async fn connect(url: &str) -> Result<Self> {
        let address = url
            .strip_prefix("ws://")
            .and_then(|rest| rest.split('/').next())
            .context("a ws:// URL")?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = timeout(PATIENCE, client_async(url, stream))
            .await
            .context("no handshake")??;
        Ok(Self {
            socket,
            heard: std::collections::VecDeque::new(),
            next_id: 1,
        })
    }

    /// Connects and says `hello` as that user.
    ///
    /// # Errors
    /// Nobody answers, or refuses.
    pub async fn hello(url: &str, user: &str) -> Result<Self> {
        Self::hello_with(url, json!({ "user": user })).await
    }

    /// Connects and says `hello` with these fields.
    ///
    /// # Errors
    /// Nobody answers, or refuses.
    pub async fn hello_with(url: &str, hello: Value) -> Result<Self> {
        let mut client = Self::connect(url).await?;
        client.ask("hello", hello).await?;
        Ok(client)
    }

    /// Sends a text frame as it is.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn text(&mut self, text: impl Into<String>) -> Result<()> {
        Ok(self.socket.send(Message::text(text.into())).await?)
    }

    /// Sends any frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn frame(&mut self, message: Message) -> Result<()> {
        Ok(self.socket.send(message).await?)
    }

    /// Sends a command and waits for its answer: what stands under `ok`.
    ///
    /// # Errors
    /// The answer is an error, whose text is given, or the connection ends.
    pub async fn ask(&mut self, command: &str, fields: Value) -> Result<Value> {
        let reply = self.exchange(command, fields).await?;
        match reply.get("ok") {
            Some(ok) => Ok(ok.clone()),
            None => bail!("{command}: {}", reply["error"]),
        }
    }

    /// Sends a command and waits for its answer, whatever it is.
    ///
    /// # Errors
    /// The connection ends.
    pub async fn exchange(&mut self, command: &str, fields: Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        self.text(json!({"id": id, command: fields}).to_string())
            .await?;
        self.find(|line| line["id"] == id).await
    }

    /// Waits for the next event of that name: its fields.
    ///
    /// # Errors
    /// The connection ends.
    pub async fn event(&mut self, name: &str) -> Result<Value> {
        let line = self.find(|line| line.get(name).is_some()).await?;
        Ok(line[name].clone())
    }

    /// Waits for a line that fits; others are kept for later.
    ///
    /// # Errors
    /// The connection ends, or nothing fits in time.
    pub async fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        if let Some(at) = self.heard.iter().position(&fits) {
            return Ok(self.heard.remove(at).expect("found there"));
        }
        let search = async {
            loop {
                self.read().await?;
                let Some(at) = self.heard.iter().position(&fits) else {
                    continue;
                };
                return Ok(self.heard.remove(at).expect("found there"));
            }
        };
        timeout(PATIENCE, search).await.context("nothing came")?
    }

    /// Waits for a line that fits, as its very text; everything read meanwhile is dropped.
    ///
    /// # Errors
    /// The connection ends, or nothing fits in time.
    pub async fn raw(&mut self, fits: impl Fn(&str) -> bool) -> Result<String> {
        let search = async {
            loop {
                let Some(message) = self.socket.next().await else {
                    bail!("closed")
                };
                let text = message?.into_text()?;
                if let Some(line) = text.split('\n').find(|line| fits(line)) {
                    return Ok(line.to_owned());
                }
            }
        };
        timeout(PATIENCE, search).await.context("nothing came")?
    }

    /// What came and was not asked for, without waiting.
    pub fn unasked(&self) -> impl Iterator<Item = &Value> {
        self.heard.iter()
    }

    async fn read(&mut self) -> Result<()> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => {
                for line in text.split('\n').filter(|line| !line.is_empty()) {
                    self.heard
                        .push_back(serde_json::from_str(line).with_context(|| line.to_owned())?);
                }
                Ok(())
            }
            Some(Ok(Message::Close(close))) => bail!("closed: {close:?}"),
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
            None => bail!("closed"),
        }
    }

    /// Waits for the end of the connection: the close code, where there was one.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn closed(&mut self) -> Result<Option<u16>> {
        let end = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(close))) => return close.map(|close| close.code.into()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        timeout(PATIENCE, end).await.context("it did not close")
    }

    /// Closes it as a client that goes: with 1000.
    ///
    /// # Errors
    /// The connection is gone already.
    pub async fn close(mut self) -> Result<()> {
        self.socket
            .close(Some(tokio_tungstenite::tungstenite::protocol::CloseFrame {
                code: 1000.into(),
                reason: "".into(),
            }))
            .await?;
        Ok(())
    }
}
