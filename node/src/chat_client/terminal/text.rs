//! What is printed, as text.

use std::io::Write as _;

use serde_json::Value;

use super::Mode;
use crate::chat_client::{Listed, Message, Presence};

/// Colours of a terminal, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Colours,
    Plain,
}

impl Ink {
    fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    fn code(self, code: &str, text: &str) -> String {
        match self {
            Self::Colours => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// A message as a line; `now` gives it its age where it is from history.
pub(super) fn message(
    message: &Message,
    me: &str,
    mode: Mode,
    ink: Ink,
    now_unix_ms: Option<u64>,
) -> String {
    let body = body(&message.body, mode);
    let sender = match (message.from == me, mode) {
        (true, Mode::Terminal) => format!("you → {}", message.within),
        (true, Mode::Piped) => format!("{me} → {}", message.within),
        (false, _) if message.within == message.from => message.from.clone(),
        (false, _) => format!("{} in {}", message.from, message.within),
    };
    let age = now_unix_ms.map(|now| age(now, message.id.stamp.unix_ms()));
    let age = age.map_or_else(String::new, |age| ink.dim(&format!("{age:>8}  ")));
    let late = if message.late {
        ink.dim(" (late)")
    } else {
        String::new()
    };
    format!("{age}{}: {body}{late}", ink.bold(&sender))
}

/// Text as it is, anything else as JSON; nothing in it can command the terminal.
fn body(body: &Value, mode: Mode) -> String {
    let text = match body {
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.get("text").is_some_and(Value::is_string) => {
            fields["text"].as_str().unwrap_or_default().to_owned()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            body.to_string()
        }
    };
    let newline = match mode {
        Mode::Terminal => "\n    ",
        // One message, one line.
        Mode::Piped => "\\n",
    };
    printable(&text).replace('\n', newline)
}

/// Control characters are replaced: what others write must not move the cursor or set colours.
pub(super) fn printable(text: &str) -> String {
    let replace = |c: char| match c {
        '\n' => c,
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(replace).collect()
}

/// The end of a node's id, by which people tell nodes apart: as logs have it.
pub(super) fn short(node: &str) -> String {
    let node = printable(node);
    let skipped = node.chars().count().saturating_sub(6);
    let end: String = node.chars().skip(skipped).collect();
    format!("…{end}")
}

/// How long ago, in one unit.
fn age(now_unix_ms: u64, then_unix_ms: u64) -> String {
    let seconds = now_unix_ms.saturating_sub(then_unix_ms) / 1000;
    match seconds {
        0..60 => "now".to_owned(),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Something that is no message.
pub(super) fn notice(text: &str, ink: Ink) -> String {
    ink.dim(&format!("· {text}"))
}

/// Presence as a sentence.
pub(super) fn presence(fact: &Presence, now_unix_ms: u64) -> String {
    let user = printable(&fact.user);
    match (fact.online, fact.certain, fact.last_seen) {
        (true, true, _) => format!("{user} is online"),
        (true, false, _) => format!("{user} is probably online"),
        (false, true, Some(seen)) => match age(now_unix_ms, seen).as_str() {
            "now" => format!("{user} has just gone offline"),
            age => format!("{user} is offline, last seen {age} ago"),
        },
        (false, true, None) => format!("{user} is offline"),
        (false, false, _) => {
            format!("{user}: not known, the node that knows cannot be reached")
        }
    }
}

/// A conversation in the list.
pub(super) fn listed(item: &Listed, me: &str, ink: Ink, now_unix_ms: u64) -> String {
    const PREVIEW: usize = 60;
    let name = format!("{:<16}", printable(&item.of));
    let unread = match item.unread {
        0 => String::new(),
        n => ink.bold(&format!("{n} unread  ")),
    };
    let Some(last) = &item.last else {
        return format!("  {name}  {unread}");
    };
    let text = body(&last.body, Mode::Piped);
    let mine = if last.from == me { "you: " } else { "" };
    let preview: String = format!("{mine}{text}").chars().take(PREVIEW).collect();
    let age = age(now_unix_ms, last.id.stamp.unix_ms());
    format!(
        "  {}  {unread}{}",
        ink.bold(&name),
        ink.dim(&format!("{preview} · {age}"))
    )
}

/// Tells a person what is wrong.
#[expect(
    clippy::print_stderr,
    reason = "what a person who typed a command reads"
)]
pub(super) fn complain(why: &str) {
    eprintln!("chinwag chat: {why}");
}

/// A line of the result of a script.
pub(super) fn put(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe wants no more.
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::id::{EventId, Nonce};
    use serde_json::json;

    const NOW: u64 = 1_732_032_876_123;

    fn written(from: &str, within: &str, body: Value) -> Message {
        Message {
            within: within.to_owned(),
            id: EventId {
                stamp: mesh::time::Stamp::from_unix_ms(NOW - 2 * 3_600_000),
                origin: 0,
            },
            from: from.to_owned(),
            body,
            nonce: Nonce(1),
            reply_to: None,
            late: false,
        }
    }

    fn line(from: &str, within: &str, body: Value, mode: Mode) -> String {
        message(&written(from, within, body), "@me", mode, Ink::Plain, None)
    }

    #[test]
    fn a_message_is_a_line_that_says_by_whom() {
        let bob = |body: Value| line("@bob", "@bob", body, Mode::Piped);
        assert_eq!(bob(json!("hi\nthere")), "@bob: hi\\nthere");
        assert_eq!(bob(json!({"a": [1, null]})), r#"@bob: {"a":[1,null]}"#);
        assert_eq!(bob(json!({"text": "hi", "n": 1})), "@bob: hi");
        assert_eq!(
            line("@me", "@bob", json!("x"), Mode::Piped),
            "@me → @bob: x"
        );
        assert_eq!(
            line("@bob", "#room", json!("x"), Mode::Piped),
            "@bob in #room: x"
        );
        assert_eq!(
            line("@bob", "@bob", json!("a\nb"), Mode::Terminal),
            "@bob: a\n    b"
        );
    }

    #[test]
    fn nothing_that_others_write_commands_the_terminal() {
        let evil = json!("\u{1b}[2Jgone\u{7}\u{9b}31m\r\tx");
        let shown = line("@bob", "@bob", evil, Mode::Terminal);
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }

    #[test]
    fn messages_of_history_say_how_old_they_are() {
        let old = written("@bob", "@bob", json!("hi"));
        let shown = message(&old, "@me", Mode::Terminal, Ink::Plain, Some(NOW));
        assert_eq!(shown, "     2 h  @bob: hi");
        assert_eq!(age(NOW, NOW + 5_000), "now");
        assert_eq!(age(NOW, NOW - 61_000), "1 min");
        assert_eq!(age(NOW, NOW - 90_000_000), "1 d");
    }

    #[test]
    fn presence_says_when_it_does_not_know() {
        let fact = |online, certain| Presence {
            user: "@bob".to_owned(),
            online,
            certain,
            last_seen: None,
        };
        let said = |online, certain| presence(&fact(online, certain), NOW);
        assert_eq!(said(true, true), "@bob is online");
        assert_eq!(said(false, true), "@bob is offline");
        assert!(said(true, false).contains("probably"));
        assert!(said(false, false).contains("not known"));
    }
}
