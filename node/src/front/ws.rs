//! From an HTTP request to a session: checks the upgrade, answers it, and takes the socket back out of
//! hyper.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::connection::{Connection, TOO_MANY};
use super::http::{Site, sentence};
use super::{Held, Shared};
use crate::protocol::SUBPROTOCOL;
use crate::session::conn::Conn;
use crate::session::counters::Count;
use crate::session::outbox::Ending;

/// Answers a request to `/ws`.
pub(super) async fn upgrade(State(site): State<Arc<Site>>, mut request: Request) -> Response {
    let shared = &site.shared;
    let mut response = match create_response_with_body(&request, Body::empty) {
        Ok(response) => response,
        Err(error) => {
            shared.counters.add(Count::RefusedUpgrade);
            return no_upgrade(&error);
        }
    };
    let headers = request.headers();
    if !shared.allowed.takes_origin(headers) {
        shared.counters.add(Count::RefusedOrigin);
        let text = "pages of this origin are not allowed here; see --allow-origin";
        return sentence(StatusCode::FORBIDDEN, text);
    }
    match subprotocol(headers) {
        Offer::None => {}
        Offer::Ours => {
            let name = HeaderValue::from_static(SUBPROTOCOL);
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        Offer::Others => {
            shared.counters.add(Count::RefusedSubprotocol);
            let text = "this node speaks the subprotocol chinwag.v1";
            return sentence(StatusCode::BAD_REQUEST, text);
        }
    }
    if shared.is_stopping() {
        shared.counters.add(Count::RefusedStopping);
        let text = "this node is stopping and takes no new sessions";
        return sentence(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(adopt(upgrade, shared.clone(), shared.hold()));
    response
}

/// What a client offers to speak.
#[derive(Debug, PartialEq, Eq)]
enum Offer {
    None,
    Ours,
    Others,
}

fn subprotocol(headers: &HeaderMap) -> Offer {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    let is_ours = |offer: &HeaderValue| {
        let names = offer.to_str().unwrap_or_default().split(',');
        names.map(str::trim).any(|name| name == SUBPROTOCOL)
    };
    if offers.iter().next().is_none() {
        Offer::None
    } else if offers.iter().any(is_ours) {
        Offer::Ours
    } else {
        Offer::Others
    }
}

fn no_upgrade(error: &Error) -> Response {
    if let Error::Protocol(
        ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey,
    ) = error
    {
        let text = "Sec-WebSocket-Key is missing or malformed";
        return sentence(StatusCode::BAD_REQUEST, text);
    }
    let text = "this address speaks WebSocket, version 13: GET with an Upgrade";
    let mut response = sentence(StatusCode::UPGRADE_REQUIRED, text);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

/// Waits for hyper to let the socket go and serves it as a task of its own, so that what the handshake
/// took is given back.
async fn adopt(upgrade: OnUpgrade, shared: Arc<Shared>, held: Held) {
    // Fails where the client went away during the handshake.
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    let Parts { io, read_buf, .. } = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .expect("the listener hands hyper nothing else");
    let (reader, writer) = io.into_inner().into_split();
    let full = shared.registry.len() >= shared.max_sessions;
    let now = shared.clock.read();
    let conn = shared.registry.insert(|id| Conn::new(id, writer, now));
    if full {
        shared.counters.add(Count::ClosedTooMany);
        conn.end(Ending::Code(TOO_MANY));
    } else {
        shared.counters.add(Count::Opened);
    }
    let connection = Connection::new(reader, conn, shared, read_buf.into()).await;
    tokio::spawn(async move {
        connection.run().await;
        drop(held);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(values: &[&str]) -> Offer {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SEC_WEBSOCKET_PROTOCOL, value.parse().unwrap());
        }
        subprotocol(&headers)
    }

    #[test]
    fn our_subprotocol_is_found_among_others() {
        assert_eq!(offer(&[]), Offer::None);
        assert_eq!(offer(&["chinwag.v1"]), Offer::Ours);
        assert_eq!(offer(&["mqtt, chinwag.v1"]), Offer::Ours);
        assert_eq!(offer(&["mqtt", "chinwag.v1"]), Offer::Ours);
        assert_eq!(offer(&["chinwag.v2, mqtt"]), Offer::Others);
        assert_eq!(offer(&[""]), Offer::Others);
    }
}
