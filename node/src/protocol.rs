//! The text of the client protocol: JSON lines to and from the words of [`mesh::command`].
//!
//! Nothing here knows a socket, a session or a conversation. A body is never taken apart: it goes
//! through as the text it came as, and everything else is read into checked types once, here, so that
//! what reaches the machine is valid by its type.
//!
//! | module | what |
//! | --- | --- |
//! | [`parse`] | a line of a client's frame → a command, or why not |
//! | `fields` | the fields of each command |
//! | [`encode`] | replies, refusals and pushes → lines |

pub mod encode;
mod fields;
pub mod parse;

/// The subprotocol that clients offer.
pub const SUBPROTOCOL: &str = "chinwag.v1";

/// The commands that this node carries out, as `hello` lists them.
pub const FEATURES: [&str; 9] = [
    "hello",
    "send",
    "signal",
    "history",
    "conversations",
    "read",
    "watch",
    "unwatch",
    "ping",
];

/// Commands of the protocol that this node does not carry out: told apart from misspelt ones.
const NOT_OFFERED: [&str; 14] = [
    "edit", "delete", "react", "create", "join", "leave", "invite", "kick", "ban", "unban", "role",
    "members", "call", "answer",
];

/// What an operator may set of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a client's frame. Default 64 KiB (`--max-frame`).
    pub frame: usize,
    /// Bytes of a body, JSON text as it came. Default 32 KiB (`--max-body`).
    pub body: usize,
    /// Who may say `hello` as whom.
    pub identity: Identity,
}

/// Who may say `hello` as whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Anybody with any user name (`--open`).
    Open,
    /// Nobody by name alone.
    Closed,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 64 * 1024,
            body: 32 * 1024,
            identity: Identity::Open,
        }
    }
}

#[cfg(test)]
mod tests;
