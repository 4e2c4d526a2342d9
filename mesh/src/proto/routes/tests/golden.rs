//! The bytes of this layer's messages never change.

use std::sync::Arc;

use super::*;
use crate::golden::assert_pinned;

fn summary() -> Summary {
    Summary {
        epoch: Epoch(300),
        seq: 2,
        count: 1,
        fingerprint: 128,
    }
}

fn keys() -> Keys {
    Keys::pack(&[RouteKey(1), RouteKey(0x0102), RouteKey(0x0304)])
}

fn messages() -> [(Message, &'static str); 7] {
    let batch = || {
        Arc::new(Batch {
            after: summary(),
            attached: keys(),
            detached: Keys::pack(&[RouteKey(7)]),
        })
    };
    let head = Summary {
        seq: 3,
        ..summary()
    };
    let part = Part {
        of: summary(),
        index: 1,
        parts: 2,
        keys: keys(),
    };
    let ack = Message::Ack {
        epoch: Epoch(300),
        seq: 2,
        parts: 129,
    };
    [
        (
            Message::Resume(Summary::default()),
            "000000000000000000000000",
        ),
        (Message::Resume(summary()), "00ac0202018000000000000000"),
        (
            Message::Batch(batch()),
            "01ac02020180000000000000000a0000000000010a00050806000000000007",
        ),
        (
            Message::Log {
                batches: vec![batch()],
                head,
            },
            "0201ac02020180000000000000000a0000000000010a00050806000000000007ac0203018000000000000000",
        ),
        (
            Message::Part(part),
            "03ac020201800000000000000001020a0000000000010a000508",
        ),
        (ack, "04ac02028101"),
        (Message::Have { seq: 300 }, "05ac02"),
    ]
}

#[test]
fn the_bytes_of_every_message_are_pinned() {
    assert_pinned(messages());
}

#[test]
fn parts_go_on_the_bulk_lane_and_all_else_on_control() {
    for (message, _) in messages() {
        let bulk = matches!(message, Message::Part(_));
        let lane = if bulk { Lane::Bulk } else { Lane::Control };
        assert_eq!(Frame::from(message).lane(), lane);
    }
}

#[test]
fn the_check_of_a_pulse_is_pinned_and_moves_with_seq_count_and_fingerprint() {
    let pulse = summary().pulse();
    let bytes = postcard::to_stdvec(&pulse).unwrap();
    assert_eq!(bytes, [2, 216, 1, 200, 16]);
    let later = Summary {
        seq: 3,
        ..summary()
    };
    let more = Summary {
        count: 2,
        ..summary()
    };
    let other = Summary {
        fingerprint: 129,
        ..summary()
    };
    for changed in [later, more, other] {
        assert_ne!(changed.pulse().check, pulse.check);
    }
    let reborn = Summary {
        epoch: Epoch(301),
        ..summary()
    };
    assert_eq!(reborn.pulse(), pulse, "the life is that of the link");
}
