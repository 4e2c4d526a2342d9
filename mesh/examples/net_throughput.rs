//! How many messages per second one link carries, and what they cost: two nodes in this process, on
//! loopback, each message an event with a body of 128 bytes.
//!
//! `cargo run --release -p chinwag-mesh --features net --example net_throughput -- MILLIONS THREADS`

use std::sync::Arc;

use mesh::event::{Event, EventKind, Json};
use mesh::id::{Conversation, EventId, LinkId, Nonce};
use mesh::net::{Config, Identity, Keys, Limits, Net, SystemClock};
use mesh::proto::{Contact, DialId, Input, Output, Target, streams};
use mesh::time::Stamp;
use mesh::wire::{Envelope, Frame};
use tokio::sync::mpsc;

/// How many messages the sender puts in before it flushes, as a busy machine would in one round.
const ROUNDS: [u64; 4] = [1, 4, 16, 64];

/// How many messages may be on their way, so that no outbox is ever full.
const WINDOW: u64 = 8192;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: u64| {
        arguments
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let (messages, threads) = (next(2) * 1_000_000, next(2));
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(usize::try_from(threads).expect("a small number"));
    }
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for round in ROUNDS {
            tokio::spawn(measure(messages, round))
                .await
                .expect("no panic");
        }
    });
}

async fn measure(messages: u64, round: u64) {
    let (a, mut from_a) = start().await;
    let (b, mut from_b) = start().await;
    let target = Target::Contact(Contact {
        address: b.listen_addr().into(),
        every: false,
        node: None,
    });
    perform(
        &a,
        Output::Dial {
            dial: DialId(1),
            target,
        },
    );
    let link = up(from_a.recv().await);
    let back = up(from_b.recv().await);
    let clock = SystemClock::start();
    let (cpu, begin) = (cpu_seconds(), clock.now());
    let receiving = tokio::spawn(receive(b, from_b, back, messages));
    let mut acknowledged = 0;
    for number in 1..=messages {
        while number > acknowledged + WINDOW {
            if let Some(Input::Frame { envelope, .. }) = from_a.recv().await {
                acknowledged = envelope.stamp.0;
            }
        }
        perform(
            &a,
            Output::Send {
                link,
                envelope: message(number),
            },
        );
        if number % round == 0 {
            a.flush();
            tokio::task::yield_now().await;
        }
    }
    a.flush();
    let b = receiving.await.expect("no panic");
    let seconds = clock.now().at.since(begin.at).as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    let count = |name| {
        a.counters()
            .into_iter()
            .find(|(n, _)| *n == name)
            .map_or(0, |(_, n)| n)
    };
    #[expect(clippy::print_stdout, reason = "this is what it is for")]
    {
        println!(
            "flush every {round:2}: {:9.0} messages/s, {:5.2} µs of CPU each (both nodes), {:5.1} per write",
            messages as f64 / seconds,
            cpu * 1e6 / messages as f64,
            messages as f64 / count("net_batches_sent_total") as f64,
        );
    }
    a.close().await;
    b.close().await;
}

/// Takes that many frames, and says now and then how many have come.
async fn receive(b: Net, mut from_b: mpsc::Receiver<Input>, back: LinkId, messages: u64) -> Net {
    let mut came = 0;
    let mut inputs = Vec::new();
    while came < messages {
        from_b.recv_many(&mut inputs, 256).await;
        for input in inputs.drain(..) {
            assert!(matches!(input, Input::Frame { .. }), "{input:?}");
            came += 1;
            if came % (WINDOW / 4) == 0 {
                let envelope = message(came);
                perform(
                    &b,
                    Output::Send {
                        link: back,
                        envelope,
                    },
                );
                b.flush();
            }
        }
    }
    b
}

async fn start() -> (Net, mpsc::Receiver<Input>) {
    let (sender, inputs) = mpsc::channel(1024);
    let config = Config {
        identity: Identity::generate(),
        listen: "127.0.0.1:0".parse().expect("an address"),
        mesh_name: "bench".to_owned(),
        keys: Keys::derive(None),
        mdns: false,
        limits: Limits::default(),
    };
    (
        Net::bind(config, sender).await.expect("a free port"),
        inputs,
    )
}

fn perform(net: &Net, output: Output) {
    assert!(net.perform(output).is_none(), "it is for the network");
}

fn up(input: Option<Input>) -> LinkId {
    match input {
        Some(Input::LinkUp { link, .. }) => link,
        other => panic!("not a link: {other:?}"),
    }
}

fn message(number: u64) -> Envelope {
    let name = |name: &str| name.parse().expect("a user");
    let event = Event {
        id: EventId {
            stamp: Stamp(number),
            origin: 7,
        },
        conversation: Conversation::direct(name("@alice"), name("@bob")),
        author: name("@alice"),
        nonce: Some(Nonce(u128::from(number))),
        kind: EventKind::Message {
            body: Json::from_valid(format!("\"{}\"", "x".repeat(126))),
            reply_to: None,
        },
    };
    Envelope {
        stamp: Stamp(number),
        frame: Frame::Streams(streams::Message::Offer {
            event: Arc::new(event),
            purpose: streams::Purpose::Show,
        }),
    }
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}
