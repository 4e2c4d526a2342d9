//! The fields of each command, as they stand in the text, and their way into checked types.
//!
//! An optional field that is `null` counts as left out, but for a body, where `null` is a value.

use std::collections::BTreeMap;
use std::str::FromStr;

use mesh::command::{
    Code, Command, ExactWindow, Hello, Page, Refusal, Send, Window, limits as most,
};
use mesh::event::Json;
use mesh::id::{Device, EventId, ParseIdError, UserName};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::parse::{Refused, Subject, Text, reason};
use super::{Identity, Limits};

/// The command of that name with these fields; `None` where this node has no such command.
pub(super) fn command(
    name: &str,
    fields: &RawValue,
    limits: &Limits,
) -> Option<Result<Command, Refused>> {
    let subject = Subject::Command;
    Some(match name {
        "send" => send(fields, limits),
        "signal" => signal(fields, limits),
        "hello" => return Some(hello(fields, limits)),
        "history" => history(fields),
        "conversations" => conversations(fields),
        "read" => read(fields),
        "watch" => users(fields).map(Command::Watch),
        "unwatch" => users(fields).map(Command::Unwatch),
        "ping" => object::<Nothing>(fields).map(|_| Command::Ping),
        _ => return None,
    })
    .map(|result| result.map_err(|refusal| Refused { refusal, subject }))
}

type Checked<T> = Result<T, Refusal>;

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}

/// The fields as their type; an array is no substitute for an object.
fn object<'a, T: Deserialize<'a>>(fields: &'a RawValue) -> Checked<T> {
    if !fields.get().starts_with('{') {
        return Err(bad("the fields of a command are a JSON object"));
    }
    serde_json::from_str(fields.get()).map_err(|error| bad(reason(&error)))
}

/// A name or id in its checked form.
fn checked<T: FromStr<Err = ParseIdError>>(field: &str, text: &Text<'_>) -> Checked<T> {
    text.0
        .parse()
        .map_err(|error: ParseIdError| bad(format!("{field}: {error}")))
}

fn optional<T: FromStr<Err = ParseIdError>>(
    field: &str,
    text: Option<&Text<'_>>,
) -> Checked<Option<T>> {
    text.map(|text| checked(field, text)).transpose()
}

fn body(raw: &RawValue, limits: &Limits) -> Checked<Json> {
    let length = raw.get().len();
    if length > limits.body {
        return Err(Refusal::new(
            Code::TooLarge,
            format!(
                "a body is at most {} bytes of JSON text, this one has {length}",
                limits.body
            ),
        ));
    }
    Ok(Json::from_valid(raw.get()))
}

/// A limit that the client may leave out.
fn limit(given: Option<u32>, default: u32, max: u32) -> Checked<u32> {
    match given.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        limit => Err(bad(format!("limit is 1 to {max}, got {limit}"))),
    }
}

/// A value that is there, whatever it is: `null` is a body too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct SendFields<'a> {
    #[serde(borrow)]
    to: Text<'a>,
    body: &'a RawValue,
    nonce: Option<Text<'a>>,
    reply_to: Option<Text<'a>>,
    copies: Option<u8>,
}

fn send(fields: &RawValue, limits: &Limits) -> Checked<Command> {
    let fields: SendFields<'_> = object(fields)?;
    if let Some(copies) = fields.copies.filter(|copies| !(1..=3).contains(copies)) {
        return Err(bad(format!("copies is 1 to 3, got {copies}")));
    }
    Ok(Command::Send(Send {
        to: checked("to", &fields.to)?,
        body: body(fields.body, limits)?,
        nonce: optional("nonce", fields.nonce.as_ref())?,
        reply_to: optional("reply_to", fields.reply_to.as_ref())?,
        copies: fields.copies,
    }))
}

#[derive(Deserialize)]
struct SignalFields<'a> {
    #[serde(borrow)]
    to: Text<'a>,
    kind: Text<'a>,
    #[serde(default, deserialize_with = "present")]
    body: Option<&'a RawValue>,
}

fn signal(fields: &RawValue, limits: &Limits) -> Checked<Command> {
    let fields: SignalFields<'_> = object(fields)?;
    Ok(Command::Signal {
        to: checked("to", &fields.to)?,
        kind: fields.kind.0.into(),
        body: fields.body.map(|raw| body(raw, limits)).transpose()?,
    })
}

#[derive(Deserialize)]
struct HistoryFields<'a> {
    #[serde(borrow)]
    of: Text<'a>,
    before: Option<Text<'a>>,
    after: Option<Text<'a>>,
    limit: Option<u32>,
}

fn history(fields: &RawValue) -> Checked<Command> {
    let fields: HistoryFields<'_> = object(fields)?;
    let from = match (&fields.before, &fields.after) {
        (None, None) => Page::Newest,
        (Some(before), None) => Page::Before(checked("before", before)?),
        (None, Some(after)) => Page::After(checked("after", after)?),
        (Some(_), Some(_)) => return Err(bad("history takes before or after, not both")),
    };
    Ok(Command::History {
        of: checked("of", &fields.of)?,
        from,
        limit: limit(fields.limit, most::HISTORY_DEFAULT, most::HISTORY)?,
    })
}

#[derive(Deserialize)]
struct ConversationsFields<'a> {
    limit: Option<u32>,
    #[serde(borrow)]
    before: Option<Text<'a>>,
}

fn conversations(fields: &RawValue) -> Checked<Command> {
    let fields: ConversationsFields<'_> = object(fields)?;
    Ok(Command::Conversations {
        limit: limit(
            fields.limit,
            most::CONVERSATIONS_DEFAULT,
            most::CONVERSATIONS,
        )?,
        before: optional("before", fields.before.as_ref())?,
    })
}

#[derive(Deserialize)]
struct ReadFields<'a> {
    #[serde(borrow)]
    of: Text<'a>,
    upto: Text<'a>,
}

fn read(fields: &RawValue) -> Checked<Command> {
    let fields: ReadFields<'_> = object(fields)?;
    Ok(Command::Read {
        of: checked("of", &fields.of)?,
        upto: checked("upto", &fields.upto)?,
    })
}

#[derive(Deserialize)]
struct UsersFields<'a> {
    #[serde(borrow)]
    users: Vec<Text<'a>>,
}

fn users(fields: &RawValue) -> Checked<Vec<UserName>> {
    let fields: UsersFields<'_> = object(fields)?;
    if fields.users.len() > most::WATCH {
        let (max, got) = (most::WATCH, fields.users.len());
        return Err(bad(format!("users names at most {max}, got {got}")));
    }
    let user = |text: &Text<'_>| checked("users", text);
    fields.users.iter().map(user).collect()
}

#[derive(Deserialize)]
struct HelloFields<'a> {
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    user: Option<Text<'a>>,
    device: Option<Text<'a>>,
    resume: Option<&'a RawValue>,
}

fn hello(fields: &RawValue, limits: &Limits) -> Result<Command, Refused> {
    let refused = |subject| move |refusal| Refused { refusal, subject };
    let fields: HelloFields<'_> = object(fields).map_err(refused(Subject::Hello))?;
    if fields.token.is_some() {
        let refusal = unauthenticated("this node takes no tokens yet");
        return Err(refused(Subject::Token)(refusal));
    }
    greeting(&fields, limits)
        .map(Command::Hello)
        .map_err(refused(Subject::Hello))
}

fn unauthenticated(message: &str) -> Refusal {
    Refusal::new(Code::Unauthenticated, message)
}

fn greeting(fields: &HelloFields<'_>, limits: &Limits) -> Checked<Hello> {
    if limits.identity == Identity::Closed {
        return Err(unauthenticated(
            "this node does not run open: a user name alone is not enough",
        ));
    }
    let Some(user) = &fields.user else {
        return Err(bad("hello names a user"));
    };
    Ok(Hello {
        user: checked("user", user)?,
        device: fields.device.as_ref().map(device).transpose()?,
        resume: fields.resume.map(resume).transpose()?,
    })
}

fn device(text: &Text<'_>) -> Checked<Device> {
    Device::try_from(text.0.as_ref()).map_err(|error| bad(format!("device: {error}")))
}

#[derive(Deserialize)]
struct WindowFields<'a> {
    #[serde(borrow)]
    upto: Text<'a>,
    after: Option<Text<'a>>,
    count: Option<u32>,
    digest: Option<Text<'a>>,
}

fn resume(named: &RawValue) -> Checked<BTreeMap<mesh::id::Address, Window>> {
    let named: BTreeMap<String, &RawValue> = object(named)?;
    if named.len() > most::RESUME_NAMED {
        let (max, got) = (most::RESUME_NAMED, named.len());
        return Err(bad(format!(
            "resume names at most {max} conversations, got {got}"
        )));
    }
    named
        .iter()
        .map(|(of, fields)| {
            let of = of
                .parse()
                .map_err(|error| bad(format!("resume: {error}")))?;
            Ok((of, window(fields)?))
        })
        .collect()
}

fn window(fields: &RawValue) -> Checked<Window> {
    let fields: WindowFields<'_> = object(fields)?;
    let upto = checked("upto", &fields.upto)?;
    let exact = match (&fields.after, fields.count, &fields.digest) {
        (None, None, None) => None,
        (Some(after), Some(count), Some(digest)) => {
            Some(exact_window(upto, checked("after", after)?, count, digest)?)
        }
        _ => {
            return Err(bad(
                "a resume window has after, count and digest, or none of them",
            ));
        }
    };
    Ok(Window { upto, exact })
}

fn exact_window(
    upto: EventId,
    after: EventId,
    count: u32,
    digest: &Text<'_>,
) -> Checked<ExactWindow> {
    if after > upto {
        return Err(bad("after is not above upto in a resume window"));
    }
    if count > most::WINDOW {
        let max = most::WINDOW;
        return Err(bad(format!(
            "a resume window holds at most {max} ids, got {count}"
        )));
    }
    let hex = digest.0.as_ref();
    let digest = (hex.len() == 16 && hex.bytes().all(|c| c.is_ascii_hexdigit()))
        .then(|| u64::from_str_radix(hex, 16).ok())
        .flatten()
        .ok_or_else(|| bad("a digest is 16 hex digits"))?;
    Ok(ExactWindow {
        after,
        count,
        digest,
    })
}
