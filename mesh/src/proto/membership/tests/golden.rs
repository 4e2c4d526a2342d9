//! The bytes of this layer's messages never change.

use crate::golden::assert_pinned;
use crate::id::{Epoch, NodeId};
use crate::proto::membership::{Greeting, Known, Message, Phase, Record, State, Vitals};
use crate::proto::output::PeerAddress;
use crate::proto::routes::Pulse;
use crate::wire::{Frame, Lane};

const NODE: NodeId = NodeId([0xaa; 32]);

fn record() -> Record {
    Record {
        node: NODE,
        epoch: Epoch(300),
        incarnation: 1,
        addresses: PeerAddress::parse("10.0.0.1:90").into_iter().collect(),
        url: Some("ws://a".to_owned()),
        weight: 1,
        version: "1.0".to_owned(),
    }
}

fn known(state: State, phase: Phase) -> Known {
    Known {
        record: record(),
        state,
        phase,
        down_ms: 128,
        seen_at: None,
    }
}

fn about_links() -> [(Message, &'static str); 4] {
    let routes = Pulse {
        seq: 128,
        check: [1, 2, 3, 255],
    };
    let vitals = Some(Vitals {
        sent_us: 1,
        echo_us: Some(2),
        digest: 3,
        phase: Phase::Serving,
    });
    let greeting = Greeting {
        record: record(),
        phase: Phase::Stopping,
        known: Epoch(299),
        linked: true,
        answered: false,
        digest: 7,
    };
    let plain = Message::Heartbeat {
        routes,
        vitals: None,
    };
    [
        (plain, "008001010203ff00"),
        (
            Message::Heartbeat { routes, vitals },
            "008001010203ff010101020300",
        ),
        (Message::Greeting(Box::new(greeting)), "01 R 01ab02010007"),
        (
            Message::Refused {
                why: "full".to_owned(),
            },
            "020466756c6c",
        ),
    ]
}

fn about_members() -> [(Message, &'static str); 6] {
    let (node, epoch, incarnation) = (NODE, Epoch(300), 1);
    let mut seen = known(State::Left, Phase::Stopped);
    seen.seen_at = PeerAddress::parse("h:1");
    [
        (Message::Members(Vec::new()), "0300"),
        (
            Message::Members(vec![
                known(State::Alive, Phase::Serving),
                known(State::Suspect, Phase::Stopping),
                known(State::Down, Phase::Stopped),
                seen,
            ]),
            "0304 R 0000800100 R 0101800100 R 0202800100 R 030280010103683a31",
        ),
        (
            Message::Suspect {
                node,
                epoch,
                incarnation,
            },
            "08 N ac0201",
        ),
        (Message::Stopping { epoch }, "09ac02"),
        (Message::Stopped { epoch }, "0aac02"),
        (
            Message::Probe {
                round: 9,
                target: NODE,
            },
            "0409 N",
        ),
    ]
}

fn about_probes() -> [(Message, &'static str); 3] {
    let (origin, round, target, epoch) = (NODE, 9, NODE, Epoch(300));
    [
        (
            Message::Check {
                origin,
                epoch,
                round,
            },
            "05 N ac0209",
        ),
        (
            Message::Checked {
                origin,
                round,
                epoch,
            },
            "06 N 09ac02",
        ),
        (
            Message::Probed {
                round,
                target,
                epoch,
            },
            "0709 N ac02",
        ),
    ]
}

/// Every message and its bytes; `N` stands for the 32 bytes of [`NODE`], `R` for those of [`record`].
fn messages() -> impl Iterator<Item = (Message, String)> {
    let record = "N ac02 01 01 0b 31302e302e302e313a3930 01 06 77733a2f2f61 01 03 312e30";
    let spelt = move |golden: &str| golden.replace('R', record).replace('N', &"aa".repeat(32));
    let all = about_links().into_iter().chain(about_members());
    all.chain(about_probes())
        .map(move |(message, golden)| (message, spelt(golden)))
}

#[test]
fn the_bytes_of_every_message_are_pinned() {
    assert_pinned(messages());
}

#[test]
fn every_message_goes_on_the_control_lane() {
    for (message, _) in messages() {
        assert_eq!(Frame::from(message).lane(), Lane::Control);
    }
}
