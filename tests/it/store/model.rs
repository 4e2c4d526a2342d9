//! The node's store against the simulator's: whatever is done to both, they answer the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh::event::{Event, EventKind, Json, SharedEvent};
use mesh::id::{Conversation, EventId, Nonce};
use mesh::store::{End, HeadQuery, Query, Range, Store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sim::disk::Disk;
use tests::store_suite::{NOW, Rig, id, user};

use super::{HistoryRig, Size};

const USERS: [&str; 3] = ["@alice", "@bob", "@carol"];

/// An event in few words, so that ids and nonces often meet.
#[derive(Debug, Clone)]
struct Draft {
    author: usize,
    with: usize,
    ms: u64,
    nonce_ms: u64,
    bytes: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Draft>),
    List(usize, usize),
    Restart,
    Look(Look),
}

#[derive(Debug, Clone)]
struct Look {
    of: (usize, usize),
    after: u64,
    length: u64,
    limit: u32,
    newest: bool,
    nonce_ms: u64,
}

fn conversation(a: usize, b: usize) -> Conversation {
    Conversation::direct(user(USERS[a]), user(USERS[b]))
}

fn event(draft: &Draft) -> SharedEvent {
    Arc::new(Event {
        id: id(draft.ms),
        conversation: conversation(draft.author, draft.with),
        author: user(USERS[draft.author]),
        nonce: (draft.nonce_ms > 0).then(|| nonce(draft.nonce_ms)),
        kind: EventKind::Message {
            body: Json::from_valid(format!("\"{}\"", "y".repeat(draft.bytes))),
            reply_to: None,
        },
    })
}

/// Events of one append, none of which settles what becomes of another: an event that has to be
/// looked for in blocks lets the others go ahead.
fn unlike(drafts: &[Draft]) -> Vec<SharedEvent> {
    let mut ids = BTreeSet::new();
    let mut nonces = BTreeSet::new();
    let mut drafts = drafts.to_vec();
    drafts.retain(|draft| ids.insert(draft.ms) && nonces.insert(draft.nonce_ms));
    drafts.iter().map(event).collect()
}

fn nonce(ms: u64) -> Nonce {
    Nonce::new(NOW + ms, 1)
}

/// Times over ten minutes, some of them alike.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![0..40_u64, (0..60_u64).prop_map(|n| 10_000 * n)]
}

fn draft() -> impl Strategy<Value = Draft> {
    let bytes = prop_oneof![8 => 0..60_usize, 2 => 100..400_usize, 1 => 500..9_000_usize];
    (0..3_usize, 0..3_usize, time(), time(), bytes).prop_map(
        |(author, with, ms, nonce_ms, bytes)| Draft {
            author,
            with,
            ms,
            nonce_ms,
            bytes,
        },
    )
}

fn look() -> impl Strategy<Value = Look> {
    let of = (0..3_usize, 0..3_usize);
    let place = (time(), time(), 0..20_u32, any::<bool>(), time());
    (of, place).prop_map(|(of, (after, length, limit, newest, nonce_ms))| Look {
        of,
        after,
        length,
        limit,
        newest,
        nonce_ms,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(draft(), 1..12).prop_map(Step::Append),
        1 => (0..3_usize, 0..3_usize).prop_map(|(a, b)| Step::List(a, b)),
        1 => Just(Step::Restart),
        6 => look().prop_map(Step::Look),
    ]
}

fn queries(look: &Look) -> Vec<Query> {
    let (reader, other) = look.of;
    let stream = conversation(reader, other).stream();
    vec![
        Query::Range(Range {
            stream,
            after: id(look.after),
            before: id(look.after + look.length),
            limit: look.limit,
            bytes: u32::MAX,
            end: if look.newest {
                End::Newest
            } else {
                End::Oldest
            },
        }),
        Query::Nonce {
            stream,
            author: user(USERS[reader]),
            nonce: nonce(look.nonce_ms),
        },
        Query::Heads(vec![HeadQuery {
            stream,
            reader: user(USERS[reader]),
            read: id(look.after),
        }]),
    ]
}

fn everything() -> impl Iterator<Item = Query> {
    let pairs = (0..3).flat_map(|a| (a..3).map(move |b| (a, b)));
    pairs.flat_map(|(a, b)| {
        [End::Oldest, End::Newest].map(|end| {
            Query::Range(Range {
                stream: conversation(a, b).stream(),
                after: EventId::MIN,
                before: EventId::MAX,
                limit: u32::MAX,
                bytes: u32::MAX,
                end,
            })
        })
    })
}

fn agree(rig: &mut HistoryRig, model: &mut Disk, query: &Query) {
    assert_eq!(rig.store().load(query), model.load(query), "{query:?}");
}

#[test]
fn both_stores_answer_alike_whatever_is_done_to_them() {
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = prop::collection::vec(step(), 1..60);
    let run = |steps: Vec<Step>| {
        let mut rig = HistoryRig::new(Size::Tiny);
        let mut model = Disk::new();
        for step in &steps {
            match step {
                Step::Append(drafts) => {
                    let events = unlike(drafts);
                    let stored = rig.store().append(&events);
                    assert_eq!(stored, model.append(&events));
                }
                Step::List(a, b) => {
                    let stream = conversation(*a, *b).stream();
                    rig.store().list(stream).unwrap();
                    model.list(stream).unwrap();
                    // Marks alone may be lost in a restart: an append makes them durable.
                    let after = event(&Draft {
                        author: *a,
                        with: *b,
                        ms: 700_000,
                        nonce_ms: 0,
                        bytes: 1,
                    });
                    let events = std::slice::from_ref(&after);
                    assert_eq!(rig.store().append(events), model.append(events));
                }
                Step::Restart => rig.restart(),
                Step::Look(look) => {
                    for query in queries(look) {
                        agree(&mut rig, &mut model, &query);
                    }
                }
            }
        }
        rig.restart();
        assert_eq!(rig.store().newest(), model.newest());
        for query in everything() {
            agree(&mut rig, &mut model, &query);
        }
        Ok(())
    };
    TestRunner::new(config).run(&steps, run).unwrap();
}
