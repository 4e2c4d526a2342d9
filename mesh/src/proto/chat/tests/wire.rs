//! The bytes of this layer's messages never change.

use super::harness::*;
use crate::golden::assert_pinned;
use crate::proto::chat::Message;
use crate::time::Stamp;
use crate::wire::{Frame, Lane};

fn messages() -> [(Message, &'static str); 3] {
    let devices = || vec![(device("phone"), Stamp(0x1234_5678))];
    [
        (
            Message::Devices {
                user: user("@alice"),
                devices: devices(),
            },
            "00 06 40616c696365 01 05 70686f6e65 f8acd19101",
        ),
        (
            Message::DevicesHeld {
                user: user("@alice"),
                devices: devices(),
            },
            "01 06 40616c696365 01 05 70686f6e65 f8acd19101",
        ),
        (
            Message::Signal {
                to: user("@bob"),
                from: user("@alice"),
                kind: "typing".into(),
                body: Some(json("[1]")),
            },
            "02 04 40626f62 06 40616c696365 06 747970696e67 01 03 5b315d",
        ),
    ]
}

#[test]
fn the_bytes_of_every_message_are_pinned() {
    assert_pinned(messages());
}

#[test]
fn a_message_with_a_bad_name_is_no_message() {
    for (message, _) in messages() {
        let mut bad = postcard::to_stdvec(&message).unwrap();
        bad[2] = b'!';
        assert!(postcard::from_bytes::<Message>(&bad).is_err());
    }
}

#[test]
fn signals_and_claims_go_on_the_data_lane() {
    for (message, _) in messages() {
        assert_eq!(Frame::from(message).lane(), Lane::Data);
    }
}
