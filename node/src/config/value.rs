//! Values of settings: from their text to their type, or what is wrong with the text.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use mesh::proto::PeerAddress;
use tracing_subscriber::EnvFilter;

use super::LogFormat;
use super::reader::Wrong;

/// Where to listen: an IP address or a name, and a port; port 0 leaves the choice to the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Without brackets.
    pub host: String,
    /// 0: any.
    pub port: u16,
}

impl HostPort {
    /// Only this machine can connect there. A name other than `localhost` counts as reachable from
    /// elsewhere, whatever it resolves to today.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.is_loopback(),
            None => self.host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// It stands for every interface of the machine.
    pub fn is_wildcard(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }

    /// Its IP address, where it is not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Both cannot be listened on at once.
    pub(super) fn collides_with(&self, other: &Self) -> bool {
        let same_host = self.host == other.host || self.is_wildcard() || other.is_wildcard();
        self.port != 0 && self.port == other.port && same_host
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

pub(super) fn host_port(text: &str) -> Result<HostPort, Wrong> {
    const EXPECTED: &str = "HOST:PORT, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080";
    let wrong = |what: &str| Wrong::new(format!("{text:?} {what}"), EXPECTED);
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
    let port = port
        .parse()
        .map_err(|_| wrong("has no port from 0 to 65535"))?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let valid = match bare {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    if !valid {
        return Err(wrong("has no valid host"));
    }
    Ok(HostPort {
        host: bare.unwrap_or(host).to_owned(),
        port,
    })
}

/// An IPv4 address or a DNS name, as far as its characters tell.
pub(super) fn is_host_name(host: &str) -> bool {
    (1..=253).contains(&host.len())
        && host
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
}

pub(super) fn peer_address(text: &str) -> Result<PeerAddress, Wrong> {
    const EXPECTED: &str =
        "HOST:PORT that other nodes can dial, such as 192.0.2.7:8090 or node1.example.org:8090";
    let parsed = host_port(text)
        .ok()
        .filter(|at| at.port != 0 && !at.is_wildcard());
    parsed
        .and_then(|at| PeerAddress::parse(&at.to_string()))
        .ok_or_else(|| Wrong::new(format!("{text:?} is no address to dial"), EXPECTED))
}

pub(super) fn client_url(text: &str) -> Result<String, Wrong> {
    let uri = text.parse::<Uri>().ok();
    let valid = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("ws" | "wss")) && uri.host().is_some_and(|h| !h.is_empty())
    });
    if valid {
        Ok(text.to_owned())
    } else {
        let expected = "a complete URL for clients, such as wss://chat.example.org/ws";
        Err(Wrong::new(format!("{text:?} is none"), expected))
    }
}

/// As browsers send it: scheme, host and port in lower case, nothing after.
pub(super) fn web_origin(text: &str) -> Result<String, Wrong> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let uri = text.parse::<Uri>().ok();
    let origin = uri.and_then(|uri| {
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        Some((uri.scheme_str()?.to_owned(), uri.authority()?.to_string())).filter(|_| bare)
    });
    match origin {
        Some((scheme, authority)) => Ok(format!("{scheme}://{authority}").to_lowercase()),
        None => Err(Wrong::new(
            format!("{text:?} is no origin of a web page"),
            "SCHEME://HOST[:PORT], such as https://chat.example.org, or * for any",
        )),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(Wrong::new(format!("{text:?} is neither"), "true or false")),
    }
}

pub(super) fn whole(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, Wrong> {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            Wrong::new(
                format!("{text:?} is out of range"),
                format!("a whole number from {least} to {most}"),
            )
        })
    }
}

const UNITS: [(&str, u64); 5] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("B", 1),
];

fn parse_bytes(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find_map(|(suffix, size)| {
        let number = text.strip_suffix(suffix)?;
        Some((number.trim_end(), *size))
    });
    let (number, size) = unit.unwrap_or((text, 1));
    number.parse::<u64>().ok()?.checked_mul(size)
}

pub(super) fn bytes_in((least, most): (u64, u64)) -> impl Fn(&str) -> Result<u64, Wrong> {
    move |text| {
        let Some(bytes) = parse_bytes(text) else {
            let expected = "bytes, such as 65536, 64KiB, 512MiB or 2GiB";
            return Err(Wrong::new(
                format!("{text:?} is no number of bytes"),
                expected,
            ));
        };
        if (least..=most).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(Wrong::new(
                format!("{text:?} is out of range"),
                format!("{least} to {most} bytes"),
            ))
        }
    }
}

pub(super) fn seconds(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, Wrong> {
    move |text| {
        let number = text.strip_suffix('s').unwrap_or(text).trim_end();
        let parsed = number.parse::<f64>().ok();
        let duration = parsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration
            .filter(|duration| range.contains(duration))
            .ok_or_else(|| {
                let (least, most) = (range.start().as_secs_f64(), range.end().as_secs_f64());
                Wrong::new(
                    format!("{text:?} is out of range"),
                    format!("seconds, {least} to {most}"),
                )
            })
    }
}

pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() {
        Err(Wrong::new("is empty", "a path"))
    } else {
        Ok(text.into())
    }
}

pub(super) fn mesh_name(text: &str) -> Result<String, Wrong> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new(
            format!("{text:?} is no name of a mesh"),
            "1 to 64 of A-Z a-z 0-9 . _ -",
        ))
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, Wrong> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Wrong::new(
            format!("{text:?} is no filter ({error})"),
            "a level (error, warn, info, debug, trace) or a filter such as info,mesh=debug",
        )),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, Wrong> {
    match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err(Wrong::new(format!("{text:?} is neither"), "human or json")),
    }
}
