//! Every history that ever failed, shrunk, with what it taught.

use mesh::proto::Config;
use tests::faults::{Fault, Wear};

use super::{convergence, durability};

const CLEAN: Wear = Wear {
    loss: 0,
    burst: 1,
    duplicate: 0,
    reorder: 0,
    late_ms: 20,
    latency_ms: 0,
    rate: None,
};

/// A history of routes: the sentence, the seed, how many hosts, how worn all links are, and what
/// happens.
type OfRoutes = (
    &'static str,
    u64,
    u16,
    Option<Wear>,
    fn() -> Vec<convergence::Operation>,
);

const OF_ROUTES: [OfRoutes; 3] = [
    (
        "a request for routes that came twice, the second time late, leaves its author fed",
        2_944_486_720_057_011_629,
        3,
        None,
        || {
            use convergence::Operation;
            let wear = Wear {
                duplicate: 27,
                reorder: 1,
                late_ms: 114,
                latency_ms: 6,
                ..CLEAN
            };
            vec![
                Operation::Fault(Fault::Wear {
                    from: 2,
                    to: 1,
                    wear,
                }),
                Operation::Fault(Fault::Wait { ms: 4_033 }),
                Operation::Calm,
                Operation::Fault(Fault::Wait { ms: 581 }),
                Operation::Fault(Fault::Join { contact: 2 }),
                Operation::Attach { host: 1, user: 0 },
                Operation::Fault(Fault::Wait { ms: 203 }),
            ]
        },
    ),
    (
        "a node that lost what it kept, and whose clock is behind, finds itself known by a later life after \
     somebody took its first frame: it halts as a copy would, and its next start is above",
        0,
        5,
        None,
        || {
            use convergence::Operation;
            vec![
                Operation::Fault(Fault::Crash { host: 0 }),
                Operation::Fault(Fault::Join { contact: 0 }),
                Operation::Fault(Fault::Skew { host: 1, ms: -876 }),
                Operation::Fault(Fault::Wait { ms: 2 }),
                Operation::Fault(Fault::RestartEmpty { host: 1 }),
            ]
        },
    ),
    (
        "of a connection that breaks while it opens, both ends hear: that it is there, then that it is gone",
        9_532_398_725_541_618_004,
        3,
        Some(Wear {
            late_ms: 1,
            latency_ms: 42,
            ..CLEAN
        }),
        || {
            use convergence::Operation;
            vec![
                Operation::Fault(Fault::RestartEmpty { host: 1 }),
                Operation::Fault(Fault::Wait { ms: 19 }),
                Operation::Fault(Fault::RestartEmpty { host: 0 }),
            ]
        },
    ),
];

/// A history of messages: the sentence, the seed, how many hosts, and what happens.
type OfMessages = (&'static str, u64, u16, fn() -> Vec<durability::Operation>);

const OF_MESSAGES: [OfMessages; 1] = [(
    "a message that was stored, but not listed before its node died, is listed before its retry is answered",
    0,
    1,
    || {
        use durability::Operation;
        let write = |from| Operation::Write {
            host: 0,
            from,
            to: 0,
            copies: None,
        };
        vec![
            write(0),
            Operation::Fault(Fault::Wait { ms: 1 }),
            write(1),
            Operation::Fault(Fault::Pause { host: 0 }),
            Operation::Fault(Fault::Wait { ms: 1 }),
            Operation::Fault(Fault::Crash { host: 0 }),
            Operation::Fault(Fault::Restart { host: 0 }),
            Operation::Retry {
                message: 1,
                host: 0,
            },
        ]
    },
)];

#[test]
fn what_failed_once_does_not_fail_again() {
    for (lesson, seed, hosts, wear, operations) in OF_ROUTES {
        let config = Config::default();
        if let Err(failure) = convergence::run(seed, hosts, &config, wear, &operations()) {
            panic!("{lesson}: {failure}");
        }
    }
    for (lesson, seed, hosts, operations) in OF_MESSAGES {
        if let Err(failure) = durability::run(seed, hosts, &operations()) {
            panic!("{lesson}: {failure}");
        }
    }
}
