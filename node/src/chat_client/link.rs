//! One WebSocket to a node.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::Endpoint;

/// A connection that is not open by then is given up.
const CONNECT: Duration = Duration::from_secs(10);

/// A goodbye that is not answered by then is enough.
const GOODBYE: Duration = Duration::from_secs(1);

/// The largest frame taken, bytes: four times what a node may send.
const FRAME: usize = 1024 * 1024;

pub(super) struct Link {
    socket: WebSocketStream<TcpStream>,
}

/// What came over a connection.
pub(super) enum Received {
    /// Lines of the protocol.
    Lines(Utf8Bytes),
    /// Nothing but a sign of life.
    Sign,
    /// The end.
    Closed {
        /// The close code, where there was a close frame.
        code: Option<u16>,
        /// A sentence.
        why: String,
    },
}

impl Link {
    /// Connects. An error is a sentence.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, String> {
        match timeout(CONNECT, Self::dial(endpoint)).await {
            Ok(opened) => opened.map_err(|why| format!("cannot connect to {endpoint}: {why}")),
            Err(_) => Err(format!("{endpoint} does not answer")),
        }
    }

    async fn dial(endpoint: &Endpoint) -> Result<Self, String> {
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
        let tcp = tcp.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let request = endpoint.to_string().into_client_request();
        let mut request = request.map_err(|error| error.to_string())?;
        let protocol = HeaderValue::from_static("chinwag.v1");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME))
            .max_frame_size(Some(FRAME))
            .read_buffer_size(16 * 1024);
        let shaken = client_async_with_config(request, tcp, Some(config)).await;
        let (socket, _) = shaken.map_err(|error| describe(&error))?;
        Ok(Self { socket })
    }

    pub(super) async fn send(&mut self, line: String) -> Result<(), String> {
        let sent = self.socket.send(Message::text(line)).await;
        sent.map_err(|error| describe(&error))
    }

    /// Safe to cancel: nothing is lost.
    pub(super) async fn receive(&mut self) -> Received {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => Received::Lines(text),
            Some(Ok(Message::Close(frame))) => Received::Closed {
                code: frame.as_ref().map(|frame| frame.code.into()),
                why: match frame {
                    Some(frame) => format!("the node closed: {} {}", frame.code, frame.reason)
                        .trim_end()
                        .to_owned(),
                    None => "the node closed".to_owned(),
                },
            },
            Some(Ok(
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
            )) => Received::Sign,
            Some(Err(error)) => Received::Closed {
                code: None,
                why: describe(&error),
            },
            None => Received::Closed {
                code: None,
                why: "the connection is gone".to_owned(),
            },
        }
    }

    /// Closes with 1000.
    pub(super) async fn close(mut self) {
        let goodbye = CloseFrame {
            code: CloseCode::Normal,
            reason: Utf8Bytes::from_static(""),
        };
        let closing = async {
            if self.socket.close(Some(goodbye)).await.is_ok() {
                // What still comes is not wanted any more.
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        // A node that does not answer the goodbye has heard it or is gone.
        timeout(GOODBYE, closing).await.ok();
    }
}

fn describe(error: &tungstenite::Error) -> String {
    if let tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) = error {
        return "the connection broke".to_owned();
    }
    if let tungstenite::Error::Http(response) = error {
        let body = response.body().as_deref().unwrap_or_default();
        let body = String::from_utf8_lossy(body);
        return format!("HTTP {} {}", response.status(), body.trim())
            .trim_end()
            .to_owned();
    }
    error.to_string()
}
