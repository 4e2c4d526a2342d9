//! Where a node's WebSocket is.

use std::fmt;
use std::str::FromStr;

use tokio_tungstenite::tungstenite::http::Uri;

/// A node's `ws://HOST:PORT/ws`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// 80 where the URL names none.
    pub port: u16,
    /// `/ws` where the URL names none.
    pub path: String,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no WebSocket URL.
    #[error("{0:?} is no URL of a node: expected ws://HOST:PORT/ws")]
    Malformed(String),
    /// TLS would be needed.
    #[error("{0:?}: wss:// is not spoken here; connect to the node itself, or through a tunnel")]
    Secure(String),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let malformed = || EndpointError::Malformed(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss" | "https") => return Err(EndpointError::Secure(text.to_owned())),
            Some(_) | None => return Err(malformed()),
        }
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(malformed());
        }
        let path = match uri.path() {
            "" | "/" => "/ws",
            path => path,
        };
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, path } = self;
        if host.contains(':') {
            write!(f, "ws://[{host}]:{port}{path}")
        } else {
            write!(f, "ws://{host}:{port}{path}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_whose_path_may_be_left_out() {
        for (text, full) in [
            ("ws://127.0.0.1:8080/ws", "ws://127.0.0.1:8080/ws"),
            ("ws://node1:8080", "ws://node1:8080/ws"),
            ("ws://node1/", "ws://node1:80/ws"),
            ("ws://[::1]:8080/chat/ws", "ws://[::1]:8080/chat/ws"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), full);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_a_reason() {
        for bad in [
            "",
            "127.0.0.1:8080",
            "http://x/ws",
            "ws://",
            "/ws",
            "ws://a b/",
        ] {
            let error = bad.parse::<Endpoint>().unwrap_err();
            assert!(
                matches!(error, EndpointError::Malformed(_)),
                "{bad}: {error}"
            );
        }
        let secure = "wss://x/ws".parse::<Endpoint>();
        assert!(matches!(secure, Err(EndpointError::Secure(_))));
    }
}
