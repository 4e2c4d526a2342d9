//! Between the addresses of libp2p and those of sockets: only IP and TCP are used.

use std::net::SocketAddr;

use libp2p::core::Multiaddr;
use libp2p::core::multiaddr::Protocol;

/// `/ip4/…/tcp/…` or `/ip6/…/tcp/…`.
pub(crate) fn to_multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::empty()
        .with(address.ip().into())
        .with(Protocol::Tcp(address.port()))
}

/// The inverse, whatever follows the port; `None` where it does not begin with IP and TCP.
pub(crate) fn from_multiaddr(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    match (parts.next()?, parts.next()?) {
        (Protocol::Ip4(ip), Protocol::Tcp(port)) => Some(SocketAddr::new(ip.into(), port)),
        (Protocol::Ip6(ip), Protocol::Tcp(port)) => Some(SocketAddr::new(ip.into(), port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_went() {
        for text in ["127.0.0.1:8090", "[2001:db8::7]:1"] {
            let address = text.parse().unwrap();
            assert_eq!(from_multiaddr(&to_multiaddr(address)), Some(address));
        }
    }

    #[test]
    fn what_is_not_ip_and_tcp_is_no_address() {
        for text in [
            "/dns4/example.org/tcp/1",
            "/ip4/127.0.0.1/udp/1",
            "/ip4/127.0.0.1",
        ] {
            assert_eq!(from_multiaddr(&text.parse().unwrap()), None, "{text}");
        }
    }
}
