//! The lines of the protocol, as a client reads and writes them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mesh::id::{EventId, Nonce};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{CommandError, Event};

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Message {
    /// The conversation, as this client names it.
    #[serde(rename = "in")]
    pub within: String,
    /// Its place in the order.
    #[serde(deserialize_with = "from_text")]
    pub id: EventId,
    /// By whom.
    pub from: String,
    /// What; `null` where it was deleted.
    #[serde(default)]
    pub body: Value,
    /// Its author's name for it.
    #[serde(deserialize_with = "from_text")]
    pub nonce: Nonce,
    /// What it answers.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// It came more than five seconds after it was written.
    #[serde(default)]
    pub late: bool,
}

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Welcome {
    /// As whom.
    pub user: String,
    /// As which device.
    pub device: String,
    /// On which node.
    pub node: String,
    /// Of which mesh.
    pub mesh: String,
    /// The node's version.
    pub server: String,
    /// The node's Unix milliseconds.
    pub time: u64,
    /// Commands that the node knows.
    #[serde(default)]
    pub features: Vec<String>,
}

/// Whether a user is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Presence {
    /// Who.
    pub user: String,
    /// Has a session, as far as is known.
    pub online: bool,
    /// False: the node that knew cannot be reached.
    pub certain: bool,
    /// Unix milliseconds.
    #[serde(default)]
    pub last_seen: Option<u64>,
}

/// A read mark rose.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Receipt {
    /// In which conversation.
    #[serde(rename = "in")]
    pub within: String,
    /// Whose.
    pub user: String,
    /// Read up to here.
    #[serde(default)]
    pub read: Option<String>,
}

/// Something that nobody keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Signal {
    /// In which conversation.
    #[serde(rename = "in")]
    pub within: String,
    /// By whom.
    pub from: String,
    /// What kind.
    pub kind: String,
    /// Anything.
    #[serde(default)]
    pub body: Value,
}

/// The end of the answer to `resume`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resumed {
    /// By conversation.
    #[serde(rename = "in")]
    pub within: BTreeMap<String, ResumedPart>,
    /// False: not enough replicas could be asked.
    pub complete: bool,
}

/// What a resume sent of one conversation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResumedPart {
    /// How many events.
    pub sent: u64,
    /// There are more.
    pub more: bool,
    /// Of the window, where it differed.
    #[serde(default)]
    pub count: Option<u64>,
    /// Of the window, where it differed.
    #[serde(default)]
    pub digest: Option<String>,
}

/// The node will close.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bye {
    /// Why.
    pub reason: String,
    /// Come back after so many milliseconds.
    #[serde(default)]
    pub reconnect_after_ms: u64,
    /// Other nodes' URLs.
    #[serde(default, rename = "try")]
    pub urls: Vec<String>,
}

/// A page of history, oldest first. Events other than messages are left out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Page {
    /// The messages.
    #[serde(rename = "events", deserialize_with = "only_messages")]
    pub messages: Vec<Message>,
    /// There are more in that direction.
    pub more: bool,
    /// False: not enough replicas could be asked.
    #[serde(default = "yes")]
    pub complete: bool,
}

/// One conversation in a list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Listed {
    /// As this client names it.
    pub of: String,
    /// Its last message.
    #[serde(deserialize_with = "unwrapped")]
    pub last: Option<Message>,
    /// Messages by others after the read mark.
    pub unread: u64,
    /// The read mark.
    #[serde(default)]
    pub read: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct List {
    pub(super) conversations: Vec<Listed>,
}

#[derive(Deserialize)]
pub(super) struct Watched {
    pub(super) presence: Vec<Presence>,
}

/// An error of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// Its code.
    pub code: String,
    /// A sentence.
    #[serde(default)]
    pub message: String,
    /// Try again after so many milliseconds.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// The same command may succeed a little later.
    pub fn is_passing(&self) -> bool {
        let passing = ["unavailable", "timeout", "rate_limited", "internal"];
        passing.contains(&self.code.as_str())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// One line from a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Incoming {
    /// To a command.
    Reply {
        /// The command's number; `None`: the node could not read it.
        id: Option<u64>,
        /// What came of it.
        result: Result<Value, Refusal>,
    },
    /// Not asked for.
    Pushed(Event),
}

/// Reads a line.
pub(super) fn parse(line: &str) -> Result<Incoming, serde_json::Error> {
    let mut object: Map<String, Value> = serde_json::from_str(line)?;
    let id = object.remove("id").as_ref().and_then(Value::as_u64);
    if let Some(fields) = object.remove("ok") {
        return Ok(Incoming::Reply {
            id,
            result: Ok(fields),
        });
    }
    if let Some(refusal) = object.remove("error") {
        let result = Err(serde_json::from_value(refusal)?);
        return Ok(Incoming::Reply { id, result });
    }
    let Some((name, fact)) = object.into_iter().next() else {
        return Err(serde_json::Error::custom("an object without an event"));
    };
    Ok(Incoming::Pushed(match name.as_str() {
        "message" => Event::Message(serde_json::from_value(fact)?),
        "presence" => Event::Presence(serde_json::from_value(fact)?),
        "receipt" => Event::Receipt(serde_json::from_value(fact)?),
        "signal" => Event::Signal(serde_json::from_value(fact)?),
        "resumed" => Event::Resumed(serde_json::from_value(fact)?),
        "bye" => Event::Bye(serde_json::from_value(fact)?),
        _ => Event::Other { name, fact },
    }))
}

/// A reply's fields.
pub(super) fn typed<T: DeserializeOwned>(reply: Value) -> Result<T, CommandError> {
    serde_json::from_value(reply).map_err(|error| CommandError::Malformed(error.to_string()))
}

fn yes() -> bool {
    true
}

fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

/// An event as history wraps it: by its name.
#[derive(Deserialize)]
struct Wrapped {
    message: Option<Message>,
}

fn only_messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Message>, D::Error> {
    let events = Vec::<Wrapped>::deserialize(deserializer)?;
    Ok(events
        .into_iter()
        .filter_map(|event| event.message)
        .collect())
}

fn unwrapped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Message>, D::Error> {
    let event = Option::<Wrapped>::deserialize(deserializer)?;
    Ok(event.and_then(|event| event.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"message":{"in":"@alice","id":"01JD2K8M3V000G7T9QW4XN5BRA","from":"@alice","body":{"n":1.50},"nonce":"01JD2K8M3T9V5Z0C4R8M1K2P7Q","new_field":1}}"#;

    #[test]
    fn a_message_is_read_with_its_numbers_as_they_came() {
        let Incoming::Pushed(Event::Message(message)) = parse(MESSAGE).unwrap() else {
            panic!("a message");
        };
        assert_eq!(message.body.to_string(), r#"{"n":1.50}"#);
        assert_eq!(message.id.to_string(), "01JD2K8M3V000G7T9QW4XN5BRA");
        assert!(!message.late);
    }

    #[test]
    fn replies_and_errors_are_told_apart() {
        let ok = parse(r#"{"id":7,"ok":{"id":"x"}}"#).unwrap();
        assert!(matches!(
            ok,
            Incoming::Reply {
                id: Some(7),
                result: Ok(_)
            }
        ));
        let error = parse(r#"{"id":7,"error":{"code":"unavailable","message":"m"}}"#).unwrap();
        let Incoming::Reply {
            result: Err(refusal),
            ..
        } = error
        else {
            panic!("a refusal");
        };
        assert!(refusal.is_passing());
        assert_eq!(refusal.to_string(), "m (unavailable)");
        let unread = parse(r#"{"error":{"code":"bad_request","message":"m"}}"#).unwrap();
        assert!(matches!(
            unread,
            Incoming::Reply {
                id: None,
                result: Err(_)
            }
        ));
    }

    #[test]
    fn events_of_later_versions_are_passed_on_and_junk_is_an_error() {
        let later = parse(r#"{"parade":{"a":1}}"#).unwrap();
        assert!(matches!(later, Incoming::Pushed(Event::Other { name, .. }) if name == "parade"));
        for junk in ["", "{}", "[]", "7", r#"{"message":{}}"#, r#"{"id":1}"#] {
            assert!(parse(junk).is_err(), "{junk}");
        }
    }

    #[test]
    fn history_is_read_without_the_events_that_are_no_messages() {
        let page = format!(r#"{{"events":[{MESSAGE},{{"member":{{"in":"x"}}}}],"more":true}}"#);
        let page: Page = typed(serde_json::from_str(&page).unwrap()).unwrap();
        assert_eq!(page.messages.len(), 1);
        assert!(page.more && page.complete);
    }
}
