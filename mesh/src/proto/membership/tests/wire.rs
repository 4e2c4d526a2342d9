//! How long messages get.

use super::world::{World, address, id};
use crate::id::Epoch;
use crate::proto::membership::{
    ADDRESSES_MAX, Known, MEMBERS_MAX, Message, Phase, State, URL_MAX, VERSION_MAX, Vitals,
};
use crate::proto::output::PeerAddress;
use crate::proto::routes::Pulse;
use crate::time::Stamp;
use crate::wire::{Envelope, FRAME_MAX, decode, encode};

fn bytes(message: Message) -> Vec<u8> {
    let envelope = Envelope {
        stamp: Stamp::from_unix_ms(super::world::WALL),
        frame: message.into(),
    };
    let mut buffer = Vec::new();
    assert!(encode(&envelope, &mut buffer));
    assert_eq!(decode(&buffer), Ok(Some((envelope, buffer.len()))));
    buffer
}

#[test]
fn the_longest_list_of_the_longest_records_fits_into_a_frame() {
    let mut record = World::new(1).record(0);
    record.node = id(255);
    record.epoch = Epoch(u64::MAX);
    record.incarnation = u64::MAX;
    let host = "x".repeat(PeerAddress::MAX - 6);
    record.addresses = vec![address(&format!("{host}:65535")); ADDRESSES_MAX];
    record.url = Some("x".repeat(URL_MAX));
    record.version = "x".repeat(VERSION_MAX);
    assert!(record.is_valid());
    let known = Known {
        seen_at: record.addresses.first().cloned(),
        record,
        state: State::Suspect,
        phase: Phase::Stopped,
        down_ms: u64::MAX,
    };
    let length = bytes(Message::Members(vec![known; MEMBERS_MAX])).len();
    assert!(length < FRAME_MAX / 2, "{length}");
}

#[test]
fn a_heartbeat_costs_little() {
    let routes = Pulse {
        seq: 1_000,
        check: [u8::MAX; 4],
    };
    let plain = bytes(Message::Heartbeat {
        routes,
        vitals: None,
    })
    .len();
    let vitals = Some(Vitals {
        sent_us: u32::MAX,
        echo_us: Some(u32::MAX),
        digest: u32::MAX,
        phase: Phase::Serving,
    });
    let vital = bytes(Message::Heartbeat { routes, vitals }).len();
    let average = (3 * plain + vital) / 4;
    assert!(average <= 24, "{plain} {vital} {average}");
}
