//! What the facade itself decides: which way a frame takes.

use super::*;
use crate::proto::membership::{Greeting, Message, Phase, Record};
use crate::proto::output::PeerAddress;
use crate::wire::Frame;

const ME: NodeId = NodeId([1; 32]);
const ANN: NodeId = NodeId([2; 32]);
const BOB: NodeId = NodeId([3; 32]);
const STRANGER: NodeId = NodeId([4; 32]);

const NOW: Now = Now {
    at: Instant(1_000_000),
    unix_ms: 1_700_000_000_000,
};

fn record(node: NodeId) -> Record {
    Record {
        node,
        epoch: Epoch(100),
        incarnation: 0,
        addresses: Vec::new(),
        url: None,
        weight: 1,
        version: "test".to_owned(),
    }
}

/// Hands a frame to a machine: what it sends.
fn hear(mesh: &mut Mesh, link: LinkId, frame: impl Into<Frame>) -> Vec<(LinkId, Frame)> {
    let envelope = Envelope {
        stamp: Stamp::from_unix_ms(NOW.unix_ms),
        frame: frame.into(),
    };
    handle(mesh, Input::Frame { link, envelope })
}

fn handle(mesh: &mut Mesh, input: Input) -> Vec<(LinkId, Frame)> {
    mesh.handle(NOW, input);
    let outputs = std::iter::from_fn(|| mesh.poll_output());
    let sent = outputs.filter_map(|output| {
        let Output::Send { link, envelope } = output else {
            return None;
        };
        Some((link, envelope.frame))
    });
    sent.collect()
}

/// A machine with an open link to each of two peers.
fn between(peers: [(LinkId, NodeId); 2]) -> Mesh {
    let start = Start {
        membership: membership::Start {
            me: record(ME),
            kept: Vec::new(),
            contacts: Vec::new(),
            seed: 1,
        },
        route_key: [7; 16],
        newest: Stamp(0),
        seed: 1,
    };
    let mut mesh = Mesh::new(Config::default(), start, NOW);
    for (link, peer) in peers {
        let up = Input::LinkUp {
            link,
            peer,
            dial: None,
            remote: PeerAddress::parse("10.0.0.1:90").unwrap(),
        };
        handle(&mut mesh, up);
        let greeting = Greeting {
            record: record(peer),
            phase: Phase::Serving,
            known: Epoch(0),
            linked: false,
            answered: true,
            digest: 0,
        };
        hear(&mut mesh, link, Message::Greeting(Box::new(greeting)));
        assert_eq!(mesh.ground.membership.reach(peer), Reach::Direct(link));
    }
    mesh
}

#[test]
fn a_helper_hands_a_frame_on_only_from_its_author_and_only_over_a_link_of_its_own() {
    let (ann, bob) = (LinkId(1), LinkId(2));
    let mut mesh = between([(ann, ANN), (bob, BOB)]);
    let frame = Frame::from(Message::Stopping { epoch: Epoch(100) });
    let relay = |from, to| Frame::Relay(Relay::pack(from, to, &frame));
    let written = relay(ANN, BOB);
    assert_eq!(hear(&mut mesh, ann, written.clone()), [(bob, written)]);
    for (from, to) in [(BOB, BOB), (STRANGER, BOB), (ANN, STRANGER)] {
        assert_eq!(hear(&mut mesh, ann, relay(from, to)), []);
    }
    assert_eq!(mesh.stats.relayed, 1);
    assert_eq!(mesh.stats.relays_refused, 3);
}

#[test]
fn a_frame_through_a_helper_counts_only_from_a_member() {
    let (ann, bob) = (LinkId(1), LinkId(2));
    let mut mesh = between([(ann, ANN), (bob, BOB)]);
    let stopping = Frame::from(Message::Stopping { epoch: Epoch(100) });
    let relay = |from| Frame::Relay(Relay::pack(from, ME, &stopping));
    hear(&mut mesh, ann, relay(STRANGER));
    assert_eq!(mesh.stats.relays_refused, 1);
    hear(&mut mesh, ann, relay(BOB));
    let bob = mesh.ground.membership.member(BOB).expect("a member");
    assert!(bob.stopping);
}
