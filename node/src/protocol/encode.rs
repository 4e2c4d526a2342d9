//! Replies, refusals and pushes → lines, written by hand into one buffer.
//!
//! Names, ids and codes hold no character that JSON escapes; whatever a person or a client wrote goes
//! through the JSON writer, and a body is copied as it came. Lines end without a line feed.

use mesh::command::{
    ByeReason, Code, Listed, Presence, Push, Refusal, Reply, Resumed, limits as most,
};
use mesh::event::{Event, EventKind, Json};
use mesh::id::{Address, Device, EventId, NodeId, Nonce, SessionId, UserName, ulid_text};
use serde::Serialize;

use super::{FEATURES, Limits};

/// What a reply needs beside what the machine said.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Whose session it is: names the conversations; `None` before `hello`.
    pub user: Option<&'a UserName>,
    /// Which session it is.
    pub session: SessionId,
    /// Name of the mesh.
    pub mesh: &'a str,
    /// What the operator set.
    pub limits: &'a Limits,
}

/// Appends the line that answers a command. A `request` is the client's number for it.
pub fn reply(out: &mut Vec<u8>, request: u64, reply: &Reply, reader: &Reader<'_>) {
    if let Reply::Error(refusal) = reply {
        return self::refusal(out, Some(request), refusal);
    }
    text(out, "{\"id\":");
    number(out, request);
    text(out, ",\"ok\":{");
    match reply {
        Reply::Welcome {
            user,
            device,
            node,
            unix_ms,
        } => welcome(out, user, device, *node, *unix_ms, reader),
        Reply::Sent {
            id,
            copies,
            duplicate,
        } => {
            text(out, "\"id\":");
            ulid(out, *id);
            text(out, ",\"copies\":");
            number(out, u64::from(*copies));
            if *duplicate {
                text(out, ",\"duplicate\":true");
            }
        }
        Reply::Reached(nodes) => {
            text(out, "\"reached\":");
            number(out, u64::from(*nodes));
        }
        Reply::History {
            events,
            more,
            complete,
        } => {
            text(out, "\"events\":");
            let events = events
                .iter()
                .filter_map(|event| Some((event, named(event, reader)?)));
            list(out, events, |out, (event, within)| {
                wrapped(out, event, &within, Arrival::InTime);
            });
            page(out, *more, *complete);
        }
        Reply::Conversations {
            conversations,
            more,
            complete,
        } => {
            text(out, "\"conversations\":");
            list(out, conversations.iter(), listed);
            page(out, *more, *complete);
        }
        Reply::Presence(users) => {
            text(out, "\"presence\":");
            list(out, users.iter(), presence);
        }
        Reply::Pong(unix_ms) => {
            text(out, "\"time\":");
            number(out, *unix_ms);
        }
        Reply::Done | Reply::Error(_) => {}
    }
    text(out, "}}");
}

/// Appends the line that refuses a command, with its number where one could be found.
pub fn refusal(out: &mut Vec<u8>, request: Option<u64>, refusal: &Refusal) {
    out.push(b'{');
    if let Some(request) = request {
        text(out, "\"id\":");
        number(out, request);
        out.push(b',');
    }
    text(out, "\"error\":{\"code\":\"");
    text(out, code(refusal.code));
    text(out, "\",\"message\":");
    escaped(out, &refusal.message);
    if let Some(retry_after_ms) = refusal.retry_after_ms {
        text(out, ",\"retry_after_ms\":");
        number(out, u64::from(retry_after_ms));
    }
    text(out, "}}");
}

/// Appends the line that tells a push.
pub fn push(out: &mut Vec<u8>, push: &Push) {
    match push {
        Push::Event {
            event,
            within,
            late,
        } => wrapped(
            out,
            event,
            within,
            if *late {
                Arrival::Late
            } else {
                Arrival::InTime
            },
        ),
        Push::Signal {
            within,
            from,
            kind,
            body,
        } => signal(out, within, from, kind, body.as_ref()),
        Push::Receipt { within, user, read } => {
            text(out, "{\"receipt\":{\"in\":");
            name(out, within.as_str());
            text(out, ",\"user\":");
            name(out, user.as_str());
            text(out, ",\"read\":");
            ulid(out, *read);
            text(out, "}}");
        }
        Push::Presence(user) => {
            text(out, "{\"presence\":");
            presence(out, user);
            out.push(b'}');
        }
        Push::Resumed {
            conversations,
            complete,
        } => {
            text(out, "{\"resumed\":{\"in\":{");
            for (i, (of, resumed)) in conversations.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                name(out, of.as_str());
                out.push(b':');
                resumed_part(out, resumed);
            }
            text(out, "},\"complete\":");
            boolean(out, *complete);
            text(out, "}}");
        }
        Push::Bye {
            reason,
            reconnect_after_ms,
            urls,
        } => bye(out, *reason, *reconnect_after_ms, urls),
    }
}

/// Whether an event is pushed long after its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    InTime,
    Late,
}

/// The conversation of an event as the session's user names it; `None` for entries that are no events
/// to a client.
fn named(event: &Event, reader: &Reader<'_>) -> Option<Address> {
    match event.kind {
        EventKind::Message { .. } => event.conversation.seen_by(reader.user?),
        EventKind::Contact { .. } | EventKind::Read { .. } => None,
    }
}

/// An event, wrapped by its event name. What is no event to a client is an object without one, which
/// a client ignores.
fn wrapped(out: &mut Vec<u8>, event: &Event, within: &Address, arrival: Arrival) {
    let EventKind::Message { body, reply_to } = &event.kind else {
        return text(out, "{}");
    };
    text(out, "{\"message\":{\"in\":");
    name(out, within.as_str());
    text(out, ",\"id\":");
    ulid(out, event.id);
    text(out, ",\"from\":");
    name(out, event.author.as_str());
    text(out, ",\"body\":");
    text(out, body.as_str());
    if let Some(Nonce(nonce)) = event.nonce {
        text(out, ",\"nonce\":");
        quoted(out, &ulid_text(nonce));
    }
    if let Some(reply_to) = reply_to {
        text(out, ",\"reply_to\":");
        ulid(out, *reply_to);
    }
    if arrival == Arrival::Late {
        text(out, ",\"late\":true");
    }
    text(out, "}}");
}

fn welcome(
    out: &mut Vec<u8>,
    user: &UserName,
    device: &Device,
    node: NodeId,
    unix_ms: u64,
    reader: &Reader<'_>,
) {
    text(out, "\"user\":");
    name(out, user.as_str());
    text(out, ",\"device\":");
    name(out, device.as_str());
    text(out, ",\"session\":");
    hex(out, reader.session.0);
    text(out, ",\"node\":");
    name(out, &node.to_string());
    text(out, ",\"mesh\":");
    escaped(out, reader.mesh);
    text(out, ",\"server\":");
    escaped(out, env!("CARGO_PKG_VERSION"));
    text(out, ",\"time\":");
    number(out, unix_ms);
    text(out, ",\"limits\":{\"frame\":");
    number(out, reader.limits.frame as u64);
    text(out, ",\"body\":");
    number(out, reader.limits.body as u64);
    text(out, ",\"history\":");
    number(out, u64::from(most::HISTORY));
    text(out, ",\"resume_events\":");
    number(out, u64::from(most::RESUME_EVENTS));
    text(out, ",\"watch\":");
    number(out, most::WATCH as u64);
    text(out, "},\"features\":");
    list(out, FEATURES.iter(), |out, feature| name(out, feature));
}

fn listed(out: &mut Vec<u8>, listed: &Listed) {
    text(out, "{\"of\":");
    name(out, listed.of.as_str());
    text(out, ",\"last\":");
    wrapped(out, &listed.last, &listed.of, Arrival::InTime);
    text(out, ",\"unread\":");
    number(out, u64::from(listed.unread));
    if let Some(read) = listed.read {
        text(out, ",\"read\":");
        ulid(out, read);
    }
    out.push(b'}');
}

fn page(out: &mut Vec<u8>, more: bool, complete: bool) {
    text(out, ",\"more\":");
    boolean(out, more);
    if !complete {
        text(out, ",\"complete\":false");
    }
}

fn presence(out: &mut Vec<u8>, presence: &Presence) {
    text(out, "{\"user\":");
    name(out, presence.user.as_str());
    text(out, ",\"online\":");
    boolean(out, presence.online);
    text(out, ",\"certain\":");
    boolean(out, presence.certain);
    if let Some(last_seen) = presence.last_seen {
        text(out, ",\"last_seen\":");
        number(out, last_seen);
    }
    out.push(b'}');
}

fn signal(out: &mut Vec<u8>, within: &Address, from: &UserName, kind: &str, body: Option<&Json>) {
    text(out, "{\"signal\":{\"in\":");
    name(out, within.as_str());
    text(out, ",\"from\":");
    name(out, from.as_str());
    text(out, ",\"kind\":");
    escaped(out, kind);
    if let Some(body) = body {
        text(out, ",\"body\":");
        text(out, body.as_str());
    }
    text(out, "}}");
}

fn resumed_part(out: &mut Vec<u8>, resumed: &Resumed) {
    text(out, "{\"sent\":");
    number(out, u64::from(resumed.sent));
    text(out, ",\"more\":");
    boolean(out, resumed.more);
    if let Some((count, digest)) = resumed.window {
        text(out, ",\"count\":");
        number(out, u64::from(count));
        text(out, ",\"digest\":");
        hex(out, digest);
    }
    out.push(b'}');
}

fn bye(out: &mut Vec<u8>, reason: ByeReason, reconnect_after_ms: u32, urls: &[String]) {
    text(out, "{\"bye\":{\"reason\":\"");
    text(
        out,
        match reason {
            ByeReason::Shutdown => "shutdown",
            ByeReason::Drain => "drain",
            ByeReason::Replaced => "replaced",
        },
    );
    text(out, "\",\"reconnect_after_ms\":");
    number(out, u64::from(reconnect_after_ms));
    if !urls.is_empty() {
        text(out, ",\"try\":");
        list(out, urls.iter(), |out, url| escaped(out, url));
    }
    text(out, "}}");
}

/// An error code's name in the protocol.
fn code(code: Code) -> &'static str {
    match code {
        Code::BadRequest => "bad_request",
        Code::Unauthenticated => "unauthenticated",
        Code::Forbidden => "forbidden",
        Code::NotFound => "not_found",
        Code::NotMember => "not_member",
        Code::Conflict => "conflict",
        Code::TooLarge => "too_large",
        Code::RateLimited => "rate_limited",
        Code::Unavailable => "unavailable",
        Code::Timeout => "timeout",
        Code::Unsupported => "unsupported",
        Code::Internal => "internal",
    }
}

fn list<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut item: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, value) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        item(out, value);
    }
    out.push(b']');
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// A string of characters that JSON does not escape: the alphabets of names and of base 58.
fn name(out: &mut Vec<u8>, name: &str) {
    debug_assert!(
        name.bytes()
            .all(|c| c.is_ascii_graphic() && c != b'"' && c != b'\\'),
        "a name needs no escape"
    );
    quoted(out, name.as_bytes());
}

fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

fn ulid(out: &mut Vec<u8>, id: EventId) {
    quoted(out, &ulid_text(id.to_u128()));
}

/// Sixteen hex digits as a string.
fn hex(out: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits: [u8; 16] =
        std::array::from_fn(|i| DIGITS[(number >> (4 * (15 - i))) as usize & 15]);
    quoted(out, &digits);
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    text(out, if value { "true" } else { "false" });
}

fn number(out: &mut Vec<u8>, number: u64) {
    json(out, &number);
}

fn escaped(out: &mut Vec<u8>, text: &str) {
    json(out, text);
}

fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("a number or a string is JSON, and a Vec takes all");
}
