//! Which `Host` and which `Origin` are let in.
//!
//! A page of another site can make a browser connect to a node that listens on this machine only: by
//! its address, and then the browser names the page in `Origin`, or by a name of its own that resolves
//! to 127.0.0.1 (DNS rebinding), and then it names that in `Host`. A node on loopback takes only hosts
//! that cannot be such a name, and every node only origins that are its own or allowed.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, ORIGIN};

/// The origins besides a node's own that the operator allows (`--allow-origin`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed(Vec<String>);

impl Allowed {
    /// From the operator's list: `scheme://host[:port]`, or `*` for any.
    pub fn new(origins: &[String]) -> Self {
        let tidy = |origin: &String| origin.trim_end_matches('/').to_ascii_lowercase();
        Self(origins.iter().map(tidy).collect())
    }

    fn any(&self) -> bool {
        self.0.iter().any(|origin| origin == "*")
    }

    /// Whether a request to a loopback listener may name that host; none at all may, since a browser
    /// always names one.
    pub(super) fn takes_host(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let Some(host) = hosts.next() else {
            return true;
        };
        let Ok(host) = host.to_str() else {
            return false;
        };
        let host = name(host).to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        hosts.next().is_none()
            && (host == "localhost"
                || address.parse::<IpAddr>().is_ok()
                || self.any()
                || self.0.iter().any(|origin| name(authority(origin)) == host))
    }

    /// Whether a session may come from the page that the request names, if it names one.
    pub(super) fn takes_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = text(headers, ORIGIN) else {
            return !headers.contains_key(ORIGIN) || self.any();
        };
        let origin = origin.to_ascii_lowercase();
        let own = text(headers, HOST).is_some_and(|host| is_own(&origin, host));
        own || self.any()
            || self
                .0
                .iter()
                .any(|allowed| *allowed == origin || *allowed == authority(&origin))
    }
}

/// Whether an origin is the host that the request went to. A port that the scheme implies may be
/// missing on either side.
fn is_own(origin: &str, host: &str) -> bool {
    let (default, origin) = if let Some(rest) = origin.strip_prefix("http://") {
        (":80", rest)
    } else if let Some(rest) = origin.strip_prefix("https://") {
        (":443", rest)
    } else {
        return false;
    };
    let host = host.to_ascii_lowercase();
    let bare = |name: &str| name.strip_suffix(default).unwrap_or(name).to_owned();
    bare(origin) == bare(&host)
}

fn text(headers: &HeaderMap, header: HeaderName) -> Option<&str> {
    headers.get(header)?.to_str().ok()
}

/// An origin without its scheme.
fn authority(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, rest)| rest)
}

/// A host without its port.
fn name(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn allowing(origins: &[&str]) -> Allowed {
        Allowed::new(&origins.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_host_is_an_address_or_localhost_or_an_allowed_one() {
        let takes =
            |allowed: &[&str], host: &str| allowing(allowed).takes_host(&headers(&[(HOST, host)]));
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "LocalHost:1",
            "10.0.0.1",
        ] {
            assert!(takes(&[], host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8080",
            "127.0.0.1.nip.io",
            "",
        ] {
            assert!(!takes(&[], host), "{host}");
        }
        assert!(takes(&["https://chat.example"], "chat.example:8080"));
        assert!(takes(&["*"], "anything.example"));
        assert!(allowing(&[]).takes_host(&headers(&[])));
        assert!(!allowing(&[]).takes_host(&headers(&[(HOST, "localhost"), (HOST, "a.example")])));
    }

    #[test]
    fn an_origin_is_the_nodes_own_host_or_an_allowed_one() {
        let takes = |allowed: &[&str], origin: &str| {
            let headers = headers(&[(HOST, "127.0.0.1:8080"), (ORIGIN, origin)]);
            allowing(allowed).takes_origin(&headers)
        };
        assert!(takes(&[], "http://127.0.0.1:8080"));
        assert!(takes(&[], "HTTP://127.0.0.1:8080"));
        for origin in [
            "http://127.0.0.1:3000",
            "http://evil.example",
            "null",
            "file://",
            "",
        ] {
            assert!(!takes(&[], origin), "{origin}");
        }
        assert!(takes(&["https://chat.example/"], "https://chat.example"));
        assert!(!takes(&["https://chat.example"], "http://chat.example"));
        assert!(takes(&["*"], "null"));
        assert!(allowing(&[]).takes_origin(&headers(&[(HOST, "a")])));
    }

    #[test]
    fn the_port_that_a_scheme_implies_may_be_missing() {
        let own = |host: &str, origin: &str| {
            allowing(&[]).takes_origin(&headers(&[(HOST, host), (ORIGIN, origin)]))
        };
        assert!(own("chat.example:443", "https://chat.example"));
        assert!(own("chat.example", "http://chat.example:80"));
        assert!(!own("chat.example:80", "https://chat.example"));
    }
}
