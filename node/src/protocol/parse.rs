//! One line of a client's frame → what it asks for.
//!
//! The line is scanned once for its outline (the `id` and the one command), the command's fields once
//! more by their own type. Every way in which that fails is a [`Refused`]: junk is legal input.

use std::borrow::Cow;
use std::fmt;

use mesh::command::{Code, Command, Refusal};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Limits, NOT_OFFERED, fields};

/// The largest number that a client may give a command, 2^53: what every JSON library keeps exact.
pub const REQUEST_MAX: u64 = 1 << 53;

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The client's number for it; `None`: left out, malformed, or not to be found.
    pub request: Option<u64>,
    /// The command, or why there is none.
    pub asked: Result<Command, Refused>,
}

/// Why a line is not handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the client is told.
    pub refusal: Refusal,
    /// What was refused: before `hello` that decides what becomes of the session.
    pub subject: Subject,
}

/// What a refused line was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// No command at all: it cannot be read as one.
    Line,
    /// A command.
    Command,
    /// A `hello`.
    Hello,
    /// A `hello` with a token.
    Token,
}

/// The lines of a frame that are not empty.
pub fn lines(frame: &str) -> impl Iterator<Item = &str> {
    frame.split('\n').filter(|line| !is_empty(line))
}

/// Whether a receiver ignores the line: it holds nothing but white space.
pub fn is_empty(line: &str) -> bool {
    line.bytes().all(|c| matches!(c, b' ' | b'\t' | b'\r'))
}

/// Reads one line, which holds no line feed.
pub fn parse(line: &str, limits: &Limits) -> Parsed {
    let mut outline = Outline {
        id: Id::Absent,
        command: Found::None,
    };
    let mut text = serde_json::Deserializer::from_str(line);
    let read = outline.deserialize(&mut text).and_then(|()| text.end());
    let request = match outline.id {
        Id::Given(number) => Some(number),
        Id::Absent | Id::Malformed => None,
    };
    if let Err(error) = read {
        let why = format!("the line is not one JSON object: {}", reason(&error));
        return unreadable(request, why);
    }
    if matches!(outline.id, Id::Malformed) {
        let why = format!("an id is a whole number from 0 to {REQUEST_MAX}, given once");
        return unreadable(None, why);
    }
    let (name, value) = match outline.command {
        Found::One(name, value) => (name, value),
        Found::None => return unreadable(request, "the line holds no command"),
        Found::Several => return unreadable(request, "the line holds more than one command"),
    };
    let asked = match fields::command(&name, value, limits) {
        Some(asked) => asked,
        None => Err(not_a_feature(&name)),
    };
    Parsed { request, asked }
}

fn unreadable(request: Option<u64>, why: impl Into<String>) -> Parsed {
    Parsed {
        request,
        asked: Err(Refused {
            refusal: Refusal::new(Code::BadRequest, why),
            subject: Subject::Line,
        }),
    }
}

/// What an error quotes of an unknown command's name, characters.
const QUOTED: usize = 64;

fn not_a_feature(name: &str) -> Refused {
    let message = if NOT_OFFERED.contains(&name) {
        format!(
            "this node does not offer {name:?} yet; features in the answer to hello lists what it does"
        )
    } else {
        let quoted: String = name.chars().take(QUOTED).collect();
        format!("unknown command {quoted:?}")
    };
    Refused {
        refusal: Refusal::new(Code::Unsupported, message),
        subject: Subject::Command,
    }
}

/// Characters of the JSON reader's reason that a client is told: it quotes what it did not expect,
/// which may be a whole body.
const REASON_MAX: usize = 200;

/// What the JSON reader found wrong, without its line and column: a client sees one line, and the
/// column counts from the start of a field's value.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" at line ") {
        text.truncate(end);
    }
    match text.char_indices().nth(REASON_MAX) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

/// The `id` and the command of a line, before the command's fields are looked at. Of a line that
/// breaks off or goes wrong it holds what came before.
struct Outline<'a> {
    id: Id,
    command: Found<'a>,
}

enum Id {
    Absent,
    Given(u64),
    Malformed,
}

enum Found<'a> {
    None,
    One(Cow<'a, str>, &'a RawValue),
    Several,
}

impl<'a> Found<'a> {
    /// Takes note of one more field beside the `id`. A field that no command is called and that holds
    /// no object is an unknown field, to be ignored; alone on its line it is a misspelt command.
    fn add(&mut self, name: Cow<'a, str>, value: &'a RawValue) {
        match self {
            Self::None => *self = Self::One(name, value),
            Self::One(first, first_value) => {
                if !is_command(first, first_value) {
                    *self = Self::One(name, value);
                } else if is_command(&name, value) {
                    *self = Self::Several;
                }
            }
            Self::Several => {}
        }
    }
}

fn is_command(name: &str, value: &RawValue) -> bool {
    value.get().starts_with('{') || super::FEATURES.contains(&name) || NOT_OFFERED.contains(&name)
}

impl Id {
    fn add(&mut self, value: &RawValue) {
        *self = match self {
            Self::Absent => Self::read(value.get()),
            Self::Given(_) | Self::Malformed => Self::Malformed,
        };
    }

    fn read(text: &str) -> Self {
        // `parse` takes a leading plus sign, which JSON does not have.
        match text.parse() {
            Ok(number) if number <= REQUEST_MAX => Self::Given(number),
            _ => Self::Malformed,
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Outline<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Outline<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            if name == "id" {
                self.id.add(value);
            } else {
                self.command.add(name, value);
            }
        }
        Ok(())
    }
}

/// A string that is borrowed from the line wherever it holds no escape.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}
