//! The names of things: nodes, users, rooms, streams, events.
//!
//! Each is a newtype with one checked way in ([`FromStr`] or `TryFrom`), so that what is inside the
//! machine is valid by its type. Order and text form are those of the client protocol; nothing here
//! knows a clock or a socket.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::time::Stamp;

/// Why a text is not a valid name or id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// A user name is `@` and 1 to 64 of `A-Z a-z 0-9 . _ - :`.
    #[error("a user is @ and 1 to 64 of A-Z a-z 0-9 . _ - :, got {0:?}")]
    User(String),
    /// A room name is `#` and 1 to 64 of `a-z 0-9 . _ -`.
    #[error("a room is # and 1 to 64 of a-z 0-9 . _ -, got {0:?}")]
    Room(String),
    /// An address starts with `@` or `#`.
    #[error("a conversation is a user (@name) or a room (#name), got {0:?}")]
    Address(String),
    /// A device is 1 to 32 of `A-Z a-z 0-9 . _ -`.
    #[error("a device is 1 to 32 of A-Z a-z 0-9 . _ -, got {0:?}")]
    Device(String),
    /// A ULID is 26 characters of Crockford's base 32 in upper case, the first of them 0 to 7.
    #[error("an id is a ULID of 26 characters, Crockford base 32, upper case, got {0:?}")]
    Ulid(String),
    /// A node id is the text form of an Ed25519 peer id.
    #[error("a node id is an Ed25519 peer id (12D3Koo…), got {0:?}")]
    Node(String),
}

/// What an error quotes of a bad name, characters: enough to recognise it, never a client's whole frame.
const QUOTED: usize = 80;

fn quote(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

/// A node: its Ed25519 public key. Printed as the libp2p peer id (`12D3Koo…`), ordered like it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// Identity multihash of a protobuf-encoded Ed25519 key: the constant head of every such peer id.
    const PEER_ID_HEAD: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

    /// The bytes of the libp2p peer id.
    pub fn to_peer_id_bytes(self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&Self::PEER_ID_HEAD);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// The node of a libp2p peer id; `None` where that is not an Ed25519 key in place.
    pub fn from_peer_id_bytes(bytes: &[u8]) -> Option<Self> {
        let key = bytes.strip_prefix(&Self::PEER_ID_HEAD)?;
        key.try_into().ok().map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_peer_id_bytes()).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        write!(f, "…{}", &text[text.len() - 6..])
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let bytes = bs58::decode(text).into_vec().ok();
        bytes
            .and_then(|bytes| Self::from_peer_id_bytes(&bytes))
            .ok_or_else(|| ParseIdError::Node(quote(text)))
    }
}

/// One life of a node: Unix milliseconds at its start, raised above every earlier life.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

fn is_name(text: &str, max: usize, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(allowed)
}

/// A user: `@` and 1 to 64 characters. Kept with its `@`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "&str", into = "String")]
pub struct UserName(Arc<str>);

impl UserName {
    /// With the `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for UserName {
    type Error = ParseIdError;

    fn try_from(text: &str) -> Result<Self, ParseIdError> {
        let valid = text.strip_prefix('@').is_some_and(|name| {
            is_name(name, 64, |c| {
                c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':')
            })
        });
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(ParseIdError::User(quote(text)))
        }
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl FromStr for UserName {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.try_into()
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A room: `#` and 1 to 64 characters. Kept with its `#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "&str", into = "String")]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// With the `#`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for RoomName {
    type Error = ParseIdError;

    fn try_from(text: &str) -> Result<Self, ParseIdError> {
        let valid = text.strip_prefix('#').is_some_and(|name| {
            is_name(name, 64, |c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'_' | b'-')
            })
        });
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(ParseIdError::Room(quote(text)))
        }
    }
}

impl From<RoomName> for String {
    fn from(name: RoomName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What messages are sent to: a user or a room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Address {
    /// All sessions of a user.
    User(UserName),
    /// All members of a room.
    Room(RoomName),
}

impl Address {
    /// With its `@` or `#`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::User(user) => user.as_str(),
            Self::Room(room) => room.as_str(),
        }
    }
}

impl FromStr for Address {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        match text.as_bytes().first() {
            Some(b'@') => text.try_into().map(Self::User),
            Some(b'#') => text.try_into().map(Self::Room),
            _ => Err(ParseIdError::Address(quote(text))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One of a user's devices: 1 to 32 characters. A named device has one session in the mesh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "&str", into = "String")]
pub struct Device(Arc<str>);

impl Device {
    /// As the client gave it, or as the node made it up.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Device {
    type Error = ParseIdError;

    fn try_from(text: &str) -> Result<Self, ParseIdError> {
        let valid = is_name(text, 32, |c| {
            c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-')
        });
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(ParseIdError::Device(quote(text)))
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.0.as_ref().to_owned()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose stream it is: what the name of a stream is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Conversation {
    /// Between two users, the smaller name first; made by [`Conversation::direct`].
    Direct(UserName, UserName),
    /// A room.
    Room(RoomName),
    /// A user's own stream: its list of conversations, read marks, blocks. No conversation that a
    /// client can name.
    User(UserName),
}

impl Conversation {
    /// The direct conversation of two users, in whichever order; a user may write to itself.
    pub fn direct(a: UserName, b: UserName) -> Self {
        if a <= b {
            Self::Direct(a, b)
        } else {
            Self::Direct(b, a)
        }
    }

    /// The stream of this conversation: the first 128 bits of SHA-256 over kind and names.
    ///
    /// Not keyed: a stream must keep its place when the mesh key changes. 128 bits of a
    /// cryptographic hash leave nobody a second conversation with the same stream.
    pub fn stream(&self) -> StreamId {
        let mut hash = Sha256::new();
        match self {
            Self::Direct(a, b) => {
                hash.update([0]);
                hash.update(a.as_str());
                // No name holds a NUL, so the pair can be read in one way only.
                hash.update([0]);
                hash.update(b.as_str());
            }
            Self::Room(room) => {
                hash.update([1]);
                hash.update(room.as_str());
            }
            Self::User(user) => {
                hash.update([2]);
                hash.update(user.as_str());
            }
        }
        let hash: [u8; 32] = hash.finalize().into();
        StreamId(u128::from_be_bytes(
            hash[..16].try_into().expect("16 of 32 bytes"),
        ))
    }

    /// How `reader` names this conversation; `None` for a user's own stream, which has no such name.
    pub fn seen_by(&self, reader: &UserName) -> Option<Address> {
        match self {
            Self::Direct(a, b) => Some(Address::User(if a == reader {
                b.clone()
            } else {
                a.clone()
            })),
            Self::Room(room) => Some(Address::Room(room.clone())),
            Self::User(_) => None,
        }
    }

    /// With whom a user talks in a direct conversation: nobody in its own notes, nor where it takes no
    /// part.
    pub fn other(&self, user: &UserName) -> Option<&UserName> {
        match self {
            Self::Direct(a, b) if a == user && b != user => Some(b),
            Self::Direct(a, b) if b == user && a != user => Some(a),
            Self::Direct(..) | Self::Room(_) | Self::User(_) => None,
        }
    }
}

/// A stream: a 128-bit hash of the names in its [`Conversation`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub u128);

impl StreamId {
    /// The partition that this stream belongs to: its first 12 bits.
    pub fn slot(self) -> Slot {
        Slot((self.0 >> 116) as u16)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One of 4,096 partitions of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u16);

impl Slot {
    /// How many slots there are.
    pub const COUNT: u16 = 4096;
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Each byte's value as a Crockford digit, `0xff` where it is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut value = 0;
    while value < 32 {
        digits[CROCKFORD[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// The 26 characters of a ULID.
pub fn ulid_text(ulid: u128) -> [u8; 26] {
    std::array::from_fn(|i| CROCKFORD[(ulid >> (5 * (25 - i))) as usize & 31])
}

fn parse_ulid(text: &str) -> Result<u128, ParseIdError> {
    let bad = || ParseIdError::Ulid(quote(text));
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return Err(bad());
    }
    text.bytes()
        .try_fold(0, |ulid: u128, c| match DIGITS[usize::from(c)] {
            0xff => Err(bad()),
            digit => Ok(ulid << 5 | u128::from(digit)),
        })
}

macro_rules! ulid {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = ulid_text(self.to_u128());
                f.write_str(std::str::from_utf8(&text).expect("Crockford digits are ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_ulid(text).map(Self::from_u128)
            }
        }
    };
}

/// An event: when its coordinator stamped it, and a hash of that coordinator's life. Their order is
/// the order of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// Hybrid logical clock reading of the coordinator.
    pub stamp: Stamp,
    /// Hash of the coordinator's node id, epoch and a random number of its start: no clock step,
    /// restored backup or lost store can make an id twice.
    pub origin: u64,
}

impl EventId {
    /// Below every id.
    pub const MIN: Self = Self {
        stamp: Stamp(0),
        origin: 0,
    };
    /// Above every id.
    pub const MAX: Self = Self {
        stamp: Stamp(u64::MAX),
        origin: u64::MAX,
    };

    /// As a 128-bit number, the stamp in the upper half: ordered like the id.
    pub fn to_u128(self) -> u128 {
        u128::from(self.stamp.0) << 64 | u128::from(self.origin)
    }

    /// The inverse of [`EventId::to_u128`].
    pub fn from_u128(id: u128) -> Self {
        Self {
            stamp: Stamp((id >> 64) as u64),
            origin: id as u64,
        }
    }

    /// This id's share in the digest of a set: `s(hi ^ s(lo))` with splitmix64, as the client
    /// protocol gives it. A digest is the XOR over the set; raw ids XORed would collide.
    pub fn mix(self) -> u64 {
        splitmix64(self.stamp.0 ^ splitmix64(self.origin))
    }
}

ulid!(EventId);

/// The splitmix64 generator's output function (Steele, Lea, Flood 2014).
pub fn splitmix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

/// A message's name, made by its client at the first try: 48 bits of Unix milliseconds as the node
/// tells them, then 80 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nonce(pub u128);

impl Nonce {
    /// A nonce of that Unix millisecond with 80 of the given random bits.
    pub fn new(unix_ms: u64, random: u128) -> Self {
        Self(u128::from(unix_ms & 0xffff_ffff_ffff) << 80 | random & ((1 << 80) - 1))
    }

    /// Unix milliseconds at which the client first tried.
    pub fn unix_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    fn to_u128(self) -> u128 {
        self.0
    }

    fn from_u128(nonce: u128) -> Self {
        Self(nonce)
    }
}

ulid!(Nonce);

/// The keyed hash of an address under which routes to it are kept: 48 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteKey(pub u64);

impl RouteKey {
    /// How many bits a key has.
    pub const BITS: u32 = 48;
}

impl fmt::Debug for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// Makes route keys: SipHash-2-4 under a key derived from the mesh key, so that a stranger cannot
/// make addresses collide.
#[derive(Clone)]
pub struct RouteHasher(siphasher::sip::SipHasher24);

impl RouteHasher {
    /// From 16 secret bytes that all nodes of a mesh share.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(siphasher::sip::SipHasher24::new_with_key(key))
    }

    /// The key of a user's address.
    pub fn user(&self, user: &UserName) -> RouteKey {
        RouteKey(self.0.hash(user.as_str().as_bytes()) & ((1 << RouteKey::BITS) - 1))
    }

    /// The key of an address.
    pub fn address(&self, address: &Address) -> RouteKey {
        RouteKey(self.0.hash(address.as_str().as_bytes()) & ((1 << RouteKey::BITS) - 1))
    }
}

impl fmt::Debug for RouteHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouteHasher(secret)")
    }
}

/// One client's connection, on this node and in this life of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// One connection to a peer, numbered by the driver, never twice in a life of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01JD2K8M3V000G7T9QW4XN5BRA";
    const NEXT: &str = "01JD2K8M3V001G7T9QW4XN5BRA";

    fn mix(id: &str) -> u64 {
        id.parse::<EventId>().unwrap().mix()
    }

    #[test]
    fn mix_agrees_with_the_protocols_test_vectors() {
        assert_eq!(mix("00000000000000000000000000"), 0xa706_dd2f_4d19_7e6f);
        assert_eq!(mix(ID), 0x8546_2597_11e8_671e);
        assert_eq!(mix(NEXT), 0xc4e0_8c34_e8f1_8dd4);
        assert_eq!(mix(ID) ^ mix(NEXT), 0x41a6_a9a3_f919_eaca);
    }

    #[test]
    fn an_id_reads_back_as_it_was_printed_and_sorts_like_its_text() {
        let (a, b): (EventId, EventId) = (ID.parse().unwrap(), NEXT.parse().unwrap());
        assert_eq!((a.to_string().as_str(), b.to_string().as_str()), (ID, NEXT));
        assert!(a < b && ID < NEXT);
        assert_eq!(EventId::MAX.to_string().parse(), Ok(EventId::MAX));
    }

    #[test]
    fn no_other_spelling_of_an_id_is_taken() {
        for bad in [
            "",
            "01jd2k8m3v000g7t9qw4xn5bra",
            "81JD2K8M3V000G7T9QW4XN5BRA",
            "01JD2K8M3V000G7T9QW4XN5BRI",
        ] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
        assert!("é1JD2K8M3V000G7T9QW4XN5BR".parse::<EventId>().is_err());
    }

    #[test]
    fn names_are_bounded_and_of_their_alphabet() {
        assert!("@Alice.b_c-d:9".parse::<UserName>().is_ok());
        assert!(format!("@{}", "a".repeat(64)).parse::<UserName>().is_ok());
        for bad in ["@", "alice", "@é", "@a b", &format!("@{}", "a".repeat(65))] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
        }
        assert!(matches!("#general".parse(), Ok(Address::Room(_))));
        assert!("#General".parse::<Address>().is_err());
        assert!("general".parse::<Address>().is_err());
        assert!(Device::try_from("phone-1").is_ok() && Device::try_from("a:b").is_err());
    }

    #[test]
    fn both_ends_of_a_direct_conversation_find_the_same_stream() {
        let user = |name: &str| name.parse::<UserName>().unwrap();
        let ab = Conversation::direct(user("@a"), user("@b"));
        assert_eq!(ab, Conversation::direct(user("@b"), user("@a")));
        assert_ne!(ab.stream(), Conversation::User(user("@a")).stream());
        assert_eq!(ab.seen_by(&user("@a")), Some(Address::User(user("@b"))));
        assert_eq!(ab.seen_by(&user("@b")), Some(Address::User(user("@a"))));
        assert_eq!(ab.other(&user("@a")), Some(&user("@b")));
        assert_eq!(ab.other(&user("@c")), None);
        assert!(ab.stream().slot().0 < Slot::COUNT);
    }

    #[test]
    fn a_node_id_prints_as_its_peer_id() {
        let node = NodeId([7; 32]);
        assert!(node.to_string().starts_with("12D3Koo"), "{node}");
        assert_eq!(node.to_string().parse(), Ok(node));
        assert!("12D3KooNonsense".parse::<NodeId>().is_err());
    }
}
