//! What a frame says, in a few words.

use mesh::event::Event;
use mesh::id::{Conversation, Epoch};
use mesh::proto::chat;
use mesh::proto::membership::{self, Greeting, Known, Phase};
use mesh::proto::routes::{self, Batch, Keys, Summary};
use mesh::proto::streams::{self, AppendId, Purpose, Verdict};
use mesh::store::{Answer, Query};
use mesh::wire::{Frame, Relay};

use super::line::state;
use super::names::Names;
use crate::world::HostId;

/// The most members that are named in one line.
const MEMBERS_SHOWN: usize = 12;

/// A frame from one host to another.
pub(super) fn frame(names: &Names, from: HostId, to: HostId, frame: &Frame) -> String {
    match frame {
        Frame::Membership(message) => membership(names, from, to, message),
        Frame::Routes(message) => routes(names, from, to, message),
        Frame::Streams(message) => streams(message),
        Frame::Chat(message) => chat(message),
        Frame::Relay(relay) => relayed(names, relay),
    }
}

fn relayed(names: &Names, relay: &Relay) -> String {
    let ends = format!("{}->{}", names.node(relay.from), names.node(relay.to));
    let hosts = (names.host(relay.from), names.host(relay.to));
    match (relay.unpack(), hosts) {
        (Some(inner), (Some(from), Some(to))) => {
            format!("relay {ends}: {}", frame(names, from, to, &inner))
        }
        (Some(_), _) => format!("relay {ends}"),
        (None, _) => format!("relay {ends}: junk"),
    }
}

fn membership(names: &Names, from: HostId, to: HostId, message: &membership::Message) -> String {
    use membership::Message;
    let own = |epoch: &Epoch| names.at(from, *epoch);
    match message {
        Message::Heartbeat { routes, vitals } => {
            let vitals = if vitals.is_some() { " vitals" } else { "" };
            format!("heartbeat #{}{vitals}", routes.seq)
        }
        Message::Greeting(greeting) => greeted(names, from, to, greeting),
        Message::Refused { why } => format!("refused: {why}"),
        Message::Members(members) => listed(names, members),
        Message::Probe { round, target } => format!("probe r{round} {}", names.node(*target)),
        Message::Check {
            origin,
            epoch,
            round,
        } => {
            format!("check r{round} for {}", names.node_at(*origin, *epoch))
        }
        Message::Checked {
            origin,
            round,
            epoch,
        } => {
            format!(
                "checked r{round} for {}: {} lives",
                names.node(*origin),
                own(epoch)
            )
        }
        Message::Probed {
            round,
            target,
            epoch,
        } => {
            format!("probed r{round}: {} lives", names.node_at(*target, *epoch))
        }
        Message::Suspect {
            node,
            epoch,
            incarnation,
        } => {
            format!("suspect {} i{incarnation}", names.node_at(*node, *epoch))
        }
        Message::Stopping { epoch } => format!("stopping {}", own(epoch)),
        Message::Stopped { epoch } => format!("stopped {}", own(epoch)),
    }
}

fn greeted(names: &Names, from: HostId, to: HostId, greeting: &Greeting) -> String {
    let record = &greeting.record;
    let mut text = format!(
        "greeting {} i{}",
        names.at(from, record.epoch),
        record.incarnation
    );
    text += match greeting.phase {
        Phase::Serving => "",
        Phase::Stopping => ", stopping",
        Phase::Stopped => ", stopped",
    };
    if greeting.known > Epoch(0) {
        text += &format!(", knows {}", names.at(to, greeting.known));
    }
    let flags = [
        (greeting.linked, ", linked"),
        (greeting.answered, ", answered"),
    ];
    text.extend(flags.iter().filter(|(is, _)| *is).map(|(_, flag)| *flag));
    text
}

fn listed(names: &Names, members: &[Known]) -> String {
    let mut text = format!("members {}", members.len());
    for known in members.iter().take(MEMBERS_SHOWN) {
        let name = names.node_at(known.record.node, known.record.epoch);
        text += &format!(" {name}{}", state(known.state));
    }
    if members.len() > MEMBERS_SHOWN {
        text += " …";
    }
    text
}

fn routes(names: &Names, from: HostId, to: HostId, message: &routes::Message) -> String {
    use routes::Message;
    match message {
        Message::Resume(held) => format!("resume {}", set(names, to, held)),
        Message::Batch(batch) => {
            let Batch {
                after,
                attached,
                detached,
            } = &**batch;
            let (came, went) = (count(attached), count(detached));
            format!("batch {} +{came} -{went}", set(names, from, after))
        }
        Message::Log { batches, head } => {
            let seqs = match (batches.first(), batches.last()) {
                (Some(first), Some(last)) => format!(" #{}..{}", first.after.seq, last.after.seq),
                (None, _) | (_, None) => String::new(),
            };
            format!(
                "log of {}{seqs}, head {}",
                batches.len(),
                set(names, from, head)
            )
        }
        Message::Part(part) => {
            let (number, of) = (u64::from(part.index) + 1, set(names, from, &part.of));
            format!(
                "part {number}/{} of {of}: {} keys",
                part.parts,
                count(&part.keys)
            )
        }
        Message::Ack { epoch, seq, parts } => {
            format!("ack {parts} parts of {}#{seq}", names.at(to, *epoch))
        }
        Message::Have { seq } => format!("have #{seq}"),
    }
}

/// A set of routes of a host.
fn set(names: &Names, host: HostId, summary: &Summary) -> String {
    if summary.epoch == Epoch(0) {
        return "nothing".to_owned();
    }
    let life = names.at(host, summary.epoch);
    format!("{life}#{} n={}", summary.seq, summary.count)
}

fn count(keys: &Keys) -> String {
    let keys = keys.unpack(usize::MAX);
    keys.map_or_else(|| "junk".to_owned(), |keys| keys.len().to_string())
}

fn streams(message: &streams::Message) -> String {
    use streams::{Message, Part};
    match message {
        Message::Offer { event, purpose } => format!("offer {} {}", meant(*purpose), named(event)),
        Message::Acks(acks) => {
            let mut text = format!("acks {}", acks.len());
            let kinds = acks.iter().fold([0_u32; 3], |mut kinds, ack| {
                kinds[match ack.verdict {
                    Verdict::Flushed => 0,
                    Verdict::Twin(_) => 1,
                    Verdict::Full => 2,
                }] += 1;
                kinds
            });
            let kinds = kinds.into_iter().zip(["flushed", "twin", "full"]);
            let kinds = kinds.filter(|(count, _)| *count > 0);
            kinds.for_each(|(count, kind)| text += &format!(" {kind} {count}"));
            text
        }
        Message::Ask { question, query } => match query {
            Query::Range(range) => format!("ask q{question} range of at most {}", range.limit),
            Query::Nonce { author, .. } => format!("ask q{question} nonce of {author}"),
            Query::Heads(heads) => format!("ask q{question} heads {}", heads.len()),
        },
        Message::Answer { question, part } => match part {
            Part::Whole(answer) => format!("answer q{question} {}", found(answer)),
            Part::Heads { index, of, heads } => {
                let number = u32::from(*index) + 1;
                format!(
                    "answer q{question} part {number}/{of}: heads {}",
                    heads.len()
                )
            }
            Part::Refused => format!("answer q{question} refused"),
        },
    }
}

fn meant(purpose: Purpose) -> String {
    let append = |AppendId { number, round }| format!("a{number}.{round}");
    match purpose {
        Purpose::Show => "to show".to_owned(),
        Purpose::Keep(id) => format!("to keep {}", append(id)),
        Purpose::KeepAndShow(id) => format!("to keep and show {}", append(id)),
    }
}

fn named(event: &Event) -> String {
    let within = match &event.conversation {
        Conversation::Direct(a, b) => format!("{a} {b}"),
        Conversation::Room(room) => room.to_string(),
        Conversation::User(user) => user.to_string(),
    };
    format!("{} by {} in {within}", event.id, event.author)
}

fn found(answer: &Answer) -> String {
    match answer {
        Answer::Events { events, more } => {
            format!(
                "events {}{}",
                events.len(),
                if *more { " and more" } else { "" }
            )
        }
        Answer::Nonce(Some(event)) => format!("nonce of {}", event.id),
        Answer::Nonce(None) => "no such nonce".to_owned(),
        Answer::Heads(heads) => format!("heads {}", heads.len()),
    }
}

fn chat(message: &chat::Message) -> String {
    use chat::Message;
    match message {
        Message::Devices { user, devices } => format!("devices {user} {}", devices.len()),
        Message::DevicesHeld { user, devices } => format!("devices held {user} {}", devices.len()),
        Message::Signal { to, from, kind, .. } => format!("signal {from} to {to}: {kind}"),
    }
}
