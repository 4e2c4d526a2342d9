//! Messages on their way: each under its nonce until it is answered, in the order in which they were
//! handed over.

use std::collections::VecDeque;
use std::time::Duration;

use mesh::id::Nonce;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lines::Refusal;
use super::{CommandError, Draft, OUTBOX, Sent};

/// A refused message is tried so many times in all.
const TRIES: u32 = 5;

/// Where what became of a message is told.
pub(super) type SentReply = oneshot::Sender<Result<Sent, CommandError>>;

/// The messages that wait to be kept; at most [`OUTBOX`], further ones wait at the door.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    draft: Draft,
    nonce: Nonce,
    reply: SentReply,
    tries: u32,
    /// When to send it; `None`: it was sent over this connection and waits for its reply.
    due: Option<Instant>,
}

impl Outbox {
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= OUTBOX
    }

    /// Due at once.
    pub(super) fn push(&mut self, now: Instant, draft: Draft, nonce: Nonce, reply: SentReply) {
        self.queue.push_back(Outgoing {
            draft,
            nonce,
            reply,
            tries: 0,
            due: Some(now),
        });
    }

    /// The connection is gone, and with it the replies: everything is due again.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.queue.iter_mut().for_each(|out| out.due = Some(now));
    }

    /// What is to be sent now: nonces, and fields of `send`.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(Nonce, Value)> {
        let due = |out: &&mut Outgoing| out.due.is_some_and(|due| due <= now);
        let taken = self.queue.iter_mut().filter(due).map(|out| {
            out.due = None;
            (out.nonce, out.fields())
        });
        taken.collect()
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.iter().filter_map(|out| out.due).min()
    }

    pub(super) fn holds(&self, nonce: Nonce) -> bool {
        self.queue.iter().any(|out| out.nonce == nonce)
    }

    /// A reply. What it was about where it was kept; refused messages are told to whoever handed them
    /// over, or tried again after a wait with `random` in it.
    pub(super) fn on_reply(
        &mut self,
        now: Instant,
        nonce: Nonce,
        result: Result<Value, Refusal>,
        random: u64,
    ) -> Option<(Draft, Sent)> {
        let position = self.queue.iter().position(|out| out.nonce == nonce)?;
        let outcome = match result {
            Ok(fields) => read_sent(&fields),
            Err(refusal) => {
                let outgoing = &mut self.queue[position];
                outgoing.tries += 1;
                if refusal.is_passing() && outgoing.tries < TRIES {
                    let longest = 1000 << outgoing.tries;
                    let wait = refusal.retry_after_ms.unwrap_or(random % longest);
                    outgoing.due = Some(now + Duration::from_millis(wait));
                    return None;
                }
                Err(CommandError::Refused(refusal))
            }
        };
        let outgoing = self.queue.remove(position).expect("found there");
        let sent = outcome.as_ref().ok().copied();
        // Whoever asked may have gone.
        outgoing.reply.send(outcome).ok();
        Some((outgoing.draft, sent?))
    }
}

impl Outgoing {
    fn fields(&self) -> Value {
        let Draft {
            to, body, copies, ..
        } = &self.draft;
        let mut fields = json!({"to": to, "body": body, "nonce": self.nonce.to_string()});
        if let Some(copies) = copies {
            fields["copies"] = (*copies).into();
        }
        fields
    }
}

fn read_sent(fields: &Value) -> Result<Sent, CommandError> {
    let malformed = || CommandError::Malformed(fields.to_string());
    let id = fields["id"].as_str().and_then(|id| id.parse().ok());
    let copies = fields["copies"].as_u64();
    let copies = copies.and_then(|copies| u8::try_from(copies).ok());
    Ok(Sent {
        id: id.ok_or_else(malformed)?,
        copies: copies.ok_or_else(malformed)?,
        duplicate: fields["duplicate"].as_bool().unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01JD2K8M3V000G7T9QW4XN5BRA";

    type Answer = oneshot::Receiver<Result<Sent, CommandError>>;

    fn push(outbox: &mut Outbox, now: Instant, n: u128) -> Answer {
        let (reply, answer) = oneshot::channel();
        outbox.push(now, Draft::text("@bob", "hi"), Nonce(n), reply);
        answer
    }

    fn taken(outbox: &mut Outbox, now: Instant) -> Vec<u128> {
        let due = outbox.take_due(now);
        due.iter().map(|(nonce, _)| nonce.0).collect()
    }

    fn refused(code: &str) -> Result<Value, Refusal> {
        Err(Refusal {
            code: code.to_owned(),
            message: String::new(),
            retry_after_ms: None,
        })
    }

    #[test]
    fn messages_leave_in_order_and_once_until_the_connection_breaks() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let _answers: Vec<Answer> = [1, 2, 3].map(|n| push(&mut outbox, now, n)).into();
        assert_eq!(taken(&mut outbox, now), [1, 2, 3]);
        assert_eq!(taken(&mut outbox, now), []);
        outbox.on_reply(now, Nonce(2), Ok(json!({"id": ID, "copies": 2})), 0);
        outbox.start_over(now);
        assert_eq!(taken(&mut outbox, now), [1, 3]);
    }

    #[test]
    fn a_passing_refusal_is_tried_again_later_and_at_last_told() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let mut answer = push(&mut outbox, now, 1);
        for _ in 1..TRIES {
            assert_eq!(taken(&mut outbox, now + Duration::from_secs(60)), [1]);
            outbox.on_reply(now, Nonce(1), refused("unavailable"), 700);
            assert_eq!(outbox.next_due(), Some(now + Duration::from_millis(700)));
            assert_eq!(taken(&mut outbox, now), []);
            assert!(answer.try_recv().is_err());
        }
        outbox.on_reply(now, Nonce(1), refused("unavailable"), 700);
        assert_eq!(
            answer.try_recv().unwrap().unwrap_err().code(),
            Some("unavailable")
        );
        assert!(!outbox.holds(Nonce(1)));
    }

    #[test]
    fn another_refusal_is_told_at_once() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let mut answer = push(&mut outbox, now, 1);
        assert_eq!(outbox.on_reply(now, Nonce(1), refused("conflict"), 0), None);
        assert_eq!(
            answer.try_recv().unwrap().unwrap_err().code(),
            Some("conflict")
        );
        assert_eq!(outbox.next_due(), None);
    }

    #[test]
    fn a_reply_that_nobody_waits_for_changes_nothing() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let _answer = push(&mut outbox, now, 1);
        assert_eq!(outbox.on_reply(now, Nonce(9), Ok(json!({})), 0), None);
        assert!(outbox.holds(Nonce(1)));
    }

    #[test]
    fn a_reply_without_its_fields_is_told_as_such() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let mut answer = push(&mut outbox, now, 1);
        outbox.on_reply(now, Nonce(1), Ok(json!({"id": ID})), 0);
        let told = answer.try_recv().unwrap();
        assert!(matches!(told, Err(CommandError::Malformed(_))), "{told:?}");
    }

    #[test]
    fn it_is_bounded() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        for n in 0..OUTBOX as u128 {
            assert!(!outbox.is_full());
            push(&mut outbox, now, n);
        }
        assert!(outbox.is_full());
    }
}
