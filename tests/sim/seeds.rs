//! Every history that ever failed, shrunk, with what it taught.

use mesh::proto::Config;
use tests::faults::{Fault, Wear};

use super::convergence::{Operation, run};

const CLEAN: Wear = Wear {
    loss: 0,
    burst: 1,
    duplicate: 0,
    reorder: 0,
    late_ms: 20,
    latency_ms: 0,
    rate: None,
};

/// A history: the sentence, the seed, how many hosts, and what happens.
type History = (&'static str, u64, u16, fn() -> Vec<Operation>);

const HISTORIES: [History; 1] = [(
    "a request for routes that came twice, the second time late, leaves its author fed",
    2_944_486_720_057_011_629,
    3,
    || {
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
)];

#[test]
fn what_failed_once_does_not_fail_again() {
    for (lesson, seed, hosts, operations) in HISTORIES {
        if let Err(failure) = run(seed, hosts, &Config::default(), None, &operations()) {
            panic!("{lesson}: {failure}");
        }
    }
}
