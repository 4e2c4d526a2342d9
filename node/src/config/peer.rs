//! The forms in which an operator names a node of the mesh.

use std::net::{Ipv4Addr, Ipv6Addr};

use mesh::id::NodeId;
use mesh::proto::{Contact, PeerAddress};

use super::reader::Wrong;
use super::value;

const EXPECTED: &str = "host:port, /ip4/ADDRESS/tcp/PORT (or ip6, dns, dns4, dns6; with or without \
                        /p2p/NODE after it), or dns:NAME:PORT";

/// `host:port`, a multiaddr, or `dns:NAME:PORT` for every address of a name.
pub(super) fn parse(text: &str) -> Result<Contact, Wrong> {
    if text.starts_with('/') {
        return parse_multiaddr(text);
    }
    // A single colon is the port of a host that happens to be called dns.
    let every = text.strip_prefix("dns:").filter(|rest| rest.contains(':'));
    let contact = Contact {
        address: address(every.unwrap_or(text)).ok_or_else(|| wrong(text, "is no address"))?,
        every: every.is_some(),
        node: None,
    };
    if contact.every && contact.address.ip().is_some() {
        return Err(wrong(text, "has an address where a name belongs"));
    }
    Ok(contact)
}

fn parse_multiaddr(text: &str) -> Result<Contact, Wrong> {
    let parts: Vec<&str> = text.split('/').skip(1).collect();
    let (kind, host, transport, port, node) = match parts[..] {
        [kind, host, transport, port] => (kind, host, transport, port, None),
        [kind, host, transport, port, "p2p", node] => (kind, host, transport, port, Some(node)),
        _ => return Err(wrong(text, "is no multiaddr of a node")),
    };
    if transport != "tcp" {
        return Err(wrong(text, "is not TCP, the only transport there is"));
    }
    // The family of dns4 and dns6 is dropped: a name is tried at whatever it resolves to.
    let host = match kind {
        "ip4" => host.parse::<Ipv4Addr>().ok().map(|ip| ip.to_string()),
        "ip6" => host.parse::<Ipv6Addr>().ok().map(|ip| format!("[{ip}]")),
        "dns" | "dns4" | "dns6" => Some(host.to_owned()).filter(|name| value::is_host_name(name)),
        _ => return Err(wrong(text, "is neither ip4, ip6, dns, dns4 nor dns6")),
    };
    let address = host.and_then(|host| address(&format!("{host}:{port}")));
    let node = node.map(str::parse::<NodeId>).transpose();
    Ok(Contact {
        address: address.ok_or_else(|| wrong(text, "has no valid address or port"))?,
        every: false,
        node: node.map_err(|error| wrong(text, &format!("names no node: {error}")))?,
    })
}

fn address(text: &str) -> Option<PeerAddress> {
    let at = value::host_port(text).ok().filter(|at| at.port != 0)?;
    PeerAddress::parse(&at.to_string())
}

fn wrong(text: &str, what: &str) -> Wrong {
    Wrong::new(format!("{text:?} {what}"), EXPECTED)
}
