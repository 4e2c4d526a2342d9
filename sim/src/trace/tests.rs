//! Every kind of line as it is shown, and what is kept of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh::event::{Event as Stored, EventKind, Json, SharedEvent};
use mesh::id::{Conversation, EventId, Nonce, RouteKey, StreamId};
use mesh::proto::membership::{Greeting, Known, Phase, Record, State, Vitals};
use mesh::proto::routes::{Batch, Keys, Part, Pulse, Summary};
use mesh::proto::streams::{Ack, AppendId, Purpose, Verdict};
use mesh::proto::{Contact, PeerAddress, Target, chat, membership, routes, streams};
use mesh::store::{Answer, End, Query, Range};
use mesh::time::Stamp;
use mesh::wire::Relay;

use super::*;

const H1: HostId = HostId(1);
const H2: HostId = HostId(2);
const H3: HostId = HostId(3);

fn node(host: HostId) -> NodeId {
    NodeId([u8::try_from(host.0).unwrap(); 32])
}

/// When the n-th life of a host began.
fn epoch(host: HostId, life: u64) -> Epoch {
    Epoch(1_732_000_000_000 + 1_000 * life + u64::from(host.0))
}

/// Hosts 1 to 3 run, host 3 in its second life.
fn begin(trace: &mut Trace) {
    for (host, life) in [(H1, 1), (H2, 1), (H3, 1), (H3, 2)] {
        trace.started(Instant(0), host, node(host), epoch(host, life));
    }
}

/// The lines that are shown for what `happen` traces, without their times.
fn lines(happen: impl FnOnce(&mut Trace)) -> Vec<String> {
    let mut trace = Trace::ring(LINES);
    begin(&mut trace);
    happen(&mut trace);
    let lines = trace.to_string();
    let started = LEGEND.lines().count() + 4;
    lines
        .lines()
        .skip(started)
        .map(|line| line[13..].to_owned())
        .collect()
}

/// What is shown of frames from host 3 to host 1.
fn said(frames: Vec<Frame>) -> Vec<String> {
    let trace = |trace: &mut Trace| {
        for frame in frames {
            let stamp = Stamp(0);
            trace.frame(Instant(0), H3, H1, &Envelope { stamp, frame }, Fate::Sent);
        }
    };
    let shown = |line: String| line.strip_prefix("h3.2   -> h1.1   ").unwrap().to_owned();
    lines(trace).into_iter().map(shown).collect()
}

fn summary(epoch: Epoch, seq: u64) -> Summary {
    Summary {
        epoch,
        seq,
        count: 100,
        fingerprint: 9,
    }
}

fn keys(keys: &[u64]) -> Keys {
    Keys::pack(&keys.iter().copied().map(RouteKey).collect::<Vec<_>>())
}

fn record(host: HostId, life: u64) -> Record {
    Record {
        node: node(host),
        epoch: epoch(host, life),
        incarnation: 4,
        addresses: Vec::new(),
        url: None,
        weight: 1,
        version: "sim".to_owned(),
    }
}

fn vitals() -> Vitals {
    Vitals {
        sent_us: 1,
        echo_us: None,
        digest: 7,
        phase: Phase::Serving,
    }
}

/// What is said on links.
fn greetings() -> [membership::Message; 4] {
    use membership::Message;
    let routes = Pulse {
        seq: 17,
        check: [9; 4],
    };
    let greeting = Greeting {
        record: record(H3, 2),
        phase: Phase::Stopping,
        known: epoch(H1, 1),
        linked: true,
        answered: true,
        digest: 1,
    };
    let first = Greeting {
        phase: Phase::Serving,
        known: Epoch(0),
        linked: false,
        answered: false,
        ..greeting.clone()
    };
    let (none, vitals) = (Pulse::default(), Some(vitals()));
    [
        Message::Heartbeat {
            routes,
            vitals: None,
        },
        Message::Heartbeat {
            routes: none,
            vitals,
        },
        Message::Greeting(Box::new(greeting)),
        Message::Greeting(Box::new(first)),
    ]
}

#[test]
fn what_is_said_on_links_is_shown_with_lives_instead_of_epochs() {
    let golden = [
        "heartbeat #17",
        "heartbeat #0 vitals",
        "greeting h3.2 i4, stopping, knows h1.1, linked, answered",
        "greeting h3.2 i4",
    ];
    assert_eq!(said(greetings().map(Frame::from).into()), golden);
}

#[test]
fn members_are_listed_with_their_states_up_to_a_bound() {
    use membership::Message;
    let known = |(host, life, state)| Known {
        record: record(host, life),
        state,
        phase: Phase::Serving,
        down_ms: 0,
        seen_at: None,
    };
    let states = [
        (H1, 1, State::Alive),
        (H2, 1, State::Suspect),
        (H3, 1, State::Down),
        (H2, 9, State::Left),
    ];
    let many = vec![known(states[0]); 13];
    let why = "another\nmesh".to_owned();
    let messages = [
        Message::Members(states.map(known).into()),
        Message::Members(many),
        Message::Refused { why },
    ];
    let golden = [
        "members 4 h1.1 h2.1~ h3.1x h2.?<",
        "members 13 h1.1 h1.1 h1.1 h1.1 h1.1 h1.1 h1.1 h1.1 h1.1 h1.1 h1.1 h1.1 …",
        "refused: another mesh",
    ];
    assert_eq!(said(messages.map(Frame::from).into()), golden);
}

#[test]
fn probes_suspicions_and_ends_are_shown_by_number_and_life() {
    use membership::Message;
    let (round, node, incarnation) = (5, node(H2), 3);
    let (own, other) = (epoch(H3, 2), epoch(H2, 1));
    let stranger = NodeId([77; 32]);
    let messages = [
        Message::Probe {
            round,
            target: node,
        },
        Message::Check {
            origin: node,
            epoch: other,
            round,
        },
        Message::Checked {
            origin: node,
            round,
            epoch: own,
        },
        Message::Probed {
            round,
            target: node,
            epoch: other,
        },
        Message::Suspect {
            node,
            epoch: other,
            incarnation,
        },
        Message::Suspect {
            node: stranger,
            epoch: Epoch(1),
            incarnation,
        },
        Message::Stopping { epoch: own },
        Message::Stopped { epoch: own },
    ];
    let golden = [
        "probe r5 h2",
        "check r5 for h2.1",
        "checked r5 for h2: h3.2 lives",
        "probed r5: h2.1 lives",
        "suspect h2.1 i3",
        "suspect …c2RbZN.? i3",
        "stopping h3.2",
        "stopped h3.2",
    ];
    assert_eq!(said(messages.map(Frame::from).into()), golden);
}

#[test]
fn what_is_said_of_routes_is_shown_by_set_and_batch() {
    use routes::Message;
    let batch = |seq| {
        Arc::new(Batch {
            after: summary(epoch(H3, 2), seq),
            attached: keys(&[1, 2]),
            detached: keys(&[3]),
        })
    };
    let of = summary(epoch(H3, 2), 17);
    let part = Part {
        of,
        index: 1,
        parts: 7,
        keys: keys(&[1, 2, 3]),
    };
    let log = |batches| Message::Log { batches, head: of };
    let messages = vec![
        Message::Batch(batch(17)),
        Message::Resume(summary(epoch(H1, 1), 12)),
        Message::Resume(Summary::default()),
        Message::Resume(summary(Epoch(5), 12)),
        log(vec![batch(15), batch(16), batch(17)]),
        log(Vec::new()),
        Message::Part(part),
        Message::Ack {
            epoch: epoch(H1, 1),
            seq: 12,
            parts: 3,
        },
        Message::Have { seq: 16 },
    ];
    let golden = [
        "batch h3.2#17 n=100 +2 -1",
        "resume h1.1#12 n=100",
        "resume nothing",
        "resume h1.?#12 n=100",
        "log of 3 #15..17, head h3.2#17 n=100",
        "log of 0, head h3.2#17 n=100",
        "part 2/7 of h3.2#17 n=100: 3 keys",
        "ack 3 parts of h1.1#12",
        "have #16",
    ];
    assert_eq!(
        said(messages.into_iter().map(Frame::from).collect()),
        golden
    );
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

fn stored() -> SharedEvent {
    let kind = EventKind::Message {
        body: Json::from_valid("1"),
        reply_to: None,
    };
    Arc::new(Stored {
        id: EventId::MIN,
        conversation: Conversation::direct(user("@a"), user("@b")),
        author: user("@a"),
        nonce: Some(Nonce(1)),
        kind,
    })
}

#[test]
fn offers_and_what_became_of_them_are_shown_by_append() {
    use streams::Message;
    let append = AppendId {
        number: 12,
        round: 1,
    };
    let offer = |purpose| Message::Offer {
        event: stored(),
        purpose,
    };
    let verdicts = [
        Verdict::Flushed,
        Verdict::Flushed,
        Verdict::Full,
        Verdict::Twin(stored()),
    ];
    let acks = verdicts.map(|verdict| Ack { append, verdict });
    let messages = [
        offer(Purpose::Show),
        offer(Purpose::Keep(append)),
        offer(Purpose::KeepAndShow(append)),
        Message::Acks(acks.into()),
    ];
    let what = format!("{} by @a in @a @b", EventId::MIN);
    let golden = [
        format!("offer to show {what}"),
        format!("offer to keep a12.1 {what}"),
        format!("offer to keep and show a12.1 {what}"),
        "acks 4 flushed 2 twin 1 full 1".to_owned(),
    ];
    assert_eq!(said(messages.map(Frame::from).into()), golden);
}

#[test]
fn questions_and_answers_are_shown_by_number_and_kind() {
    use streams::{Message, Part};
    let (question, heads) = (5, Vec::new());
    let ask = |query| Message::Ask { question, query };
    let answer = |part| Message::Answer { question, part };
    let whole = |found| answer(Part::Whole(found));
    let (stream, author, nonce) = (StreamId(5), user("@a"), Nonce(1));
    let range = Range {
        stream,
        after: EventId::MIN,
        before: EventId::MAX,
        limit: 50,
        bytes: 1,
        end: End::Newest,
    };
    let (events, more) = (vec![stored()], true);
    let messages = [
        ask(Query::Nonce {
            stream,
            author,
            nonce,
        }),
        ask(Query::Range(range)),
        ask(Query::Heads(Vec::new())),
        whole(Answer::Events { events, more }),
        whole(Answer::Nonce(None)),
        whole(Answer::Heads(Vec::new())),
        answer(Part::Heads {
            index: 0,
            of: 2,
            heads,
        }),
        answer(Part::Refused),
    ];
    let golden = [
        "ask q5 nonce of @a",
        "ask q5 range of at most 50",
        "ask q5 heads 0",
        "answer q5 events 1 and more",
        "answer q5 no such nonce",
        "answer q5 heads 0",
        "answer q5 part 1/2: heads 0",
        "answer q5 refused",
    ];
    assert_eq!(said(messages.map(Frame::from).into()), golden);
}

#[test]
fn what_is_said_of_sessions_and_through_helpers_is_shown() {
    use chat::Message;
    let devices = Vec::new();
    let signal = Message::Signal {
        to: user("@b"),
        from: user("@a"),
        kind: "typing".into(),
        body: None,
    };
    let resume = Frame::from(routes::Message::Resume(summary(epoch(H2, 1), 3)));
    let relay = Relay::pack(node(H1), node(H2), &resume);
    let junk = Relay {
        frame: vec![255; 3].into(),
        ..relay.clone()
    };
    let strange = Relay {
        from: NodeId([77; 32]),
        ..relay.clone()
    };
    let frames = vec![
        Message::Devices {
            user: user("@a"),
            devices: devices.clone(),
        }
        .into(),
        Message::DevicesHeld {
            user: user("@a"),
            devices,
        }
        .into(),
        signal.into(),
        Frame::Relay(relay),
        Frame::Relay(junk),
        Frame::Relay(strange),
    ];
    let golden = [
        "devices @a 0",
        "devices held @a 0",
        "signal @a to @b: typing",
        "relay h1->h2: resume h2.1#3 n=100",
        "relay h1->h2: junk",
        "relay …c2RbZN->h2",
    ];
    assert_eq!(said(frames), golden);
}

/// What is shown of events, each with its host.
fn shown<const N: usize>(events: [(Option<HostId>, Event); N]) -> Vec<String> {
    lines(|trace| {
        for (host, event) in events {
            trace.event(Instant(0), host, || event);
        }
    })
}

#[test]
fn links_and_clients_have_their_signs() {
    let refused = DialFailure::Unreachable("connection refused".to_owned());
    let failed = |peer, failure| Event::DialFailed { peer, failure };
    let session = SessionId(7);
    let closed = |closing| Event::Closed { session, closing };
    let (alice, to) = (user("@alice"), H2);
    let hello = Event::Hello {
        session,
        user: alice.clone(),
    };
    let events = [
        Event::LinkUp { peer: H3 },
        Event::LinkDown { peer: H3 },
        failed(Some(H3), refused),
        failed(None, DialFailure::Own),
        hello,
        closed(Closing::Gone),
        closed(Closing::Lost),
        Event::Moved { user: alice, to },
    ];
    let golden = [
        "h1.1   ++ h3.2   link up",
        "h1.1   -- h3.2   link down",
        "h1.1   -! h3.2   dial failed: connection refused",
        "h1.1   -!        dial failed: it is this node",
        "h1.1   @+        hello @alice s7",
        "h1.1   @-        gone s7",
        "h1.1   @-        lost s7",
        "h1.1   @> h2.1   moves @alice",
    ];
    assert_eq!(shown(events.map(|event| (Some(H1), event))), golden);
}

#[test]
fn faults_phases_and_broken_invariants_have_their_signs() {
    let fault = |what: &str, other| {
        let what = what.to_owned();
        Event::Fault { what, other }
    };
    let (invariant, why) = ("no_lost_route".to_owned(), "h3 has no\nroute".to_owned());
    let events = [
        (Some(H3), fault("crash", None)),
        (Some(H3), fault("cut", Some(H1))),
        (Some(HostId(9)), fault("pause", None)),
        (None, fault("loss 30 %", None)),
        (None, Event::Phase("healed".to_owned())),
        (Some(H3), Event::Broken { invariant, why }),
    ];
    let golden = [
        "h3.2   **        crash",
        "h3.2   ** h1.1   cut",
        "h9.?   **        pause",
        "       **        loss 30 %",
        "       ==        healed",
        "h3.2   !!        no_lost_route: h3 has no route",
    ];
    assert_eq!(shown(events), golden);
}

/// What is shown of notes of host 1.
fn noted<const N: usize>(notes: [Note; N]) -> Vec<String> {
    let lines = shown(notes.map(|note| (Some(H1), Event::Note(note))));
    let what = |line: String| line.strip_prefix("h1.1   ..        ").unwrap().to_owned();
    lines.into_iter().map(what).collect()
}

#[test]
fn notes_on_members_are_shown_with_hosts_instead_of_keys() {
    let node = node(H2);
    let member = |state, after| Note::Member { node, state, after };
    let notes = [
        Note::Joined(node),
        member(State::Alive, None),
        member(State::Suspect, None),
        member(State::Down, Some(Duration::from_millis(1_250))),
        member(State::Left, None),
        Note::LinkBroken(node),
        Note::Linked(node),
        Note::Mismatch(node),
    ];
    let golden = [
        "joined h2",
        "h2 alive",
        "h2 suspect",
        "h2 down after 1250 ms",
        "h2 left",
        "no link to h2, which lives",
        "linked h2",
        "mismatch of the routes of h2",
    ];
    assert_eq!(noted(notes), golden);
}

#[test]
fn notes_on_dials_and_on_the_node_itself_are_shown() {
    let (node, addresses) = (node(H2), Vec::new());
    let (address, every) = (PeerAddress::parse("10.0.0.2:8090").unwrap(), false);
    let contact = Target::Contact(Contact {
        address,
        every,
        node: None,
    });
    let dial = |target| Note::Dial {
        target,
        failure: DialFailure::Refused("another key".to_owned()),
        retry: Duration::from_secs(2),
    };
    let why = "clone".to_owned();
    let notes = [
        dial(contact),
        dial(Target::Member { node, addresses }),
        Note::Refused { node, why },
        Note::Isolated(true),
        Note::Isolated(false),
        Note::EventDiffers(EventId::MIN),
        Note::Ready,
    ];
    let differs = format!("event {} differs", EventId::MIN);
    let golden = [
        "dial 10.0.0.2:8090: another key, again in 2000 ms",
        "dial h2: another key, again in 2000 ms",
        "refused h2: clone",
        "isolated",
        "isolated no more",
        &differs,
        "ready",
    ];
    assert_eq!(noted(notes), golden);
}

#[test]
fn each_fate_of_a_frame_has_its_sign() {
    let frame = Frame::from(membership::Message::Stopped {
        epoch: epoch(H3, 2),
    });
    let envelope = Envelope {
        stamp: Stamp(0),
        frame,
    };
    let shown = lines(|trace| {
        for fate in [Fate::Sent, Fate::Arrived, Fate::Lost, Fate::Doubled] {
            trace.frame(Instant(0), H3, H1, &envelope, fate);
        }
    });
    let golden = ["->", "=>", "-x", "2>"].map(|sign| format!("h3.2   {sign} h1.1   stopped h3.2"));
    assert_eq!(shown, golden);
}

#[test]
fn the_lives_of_a_node_are_counted_and_an_epoch_raised_is_the_same_life() {
    let stopped = |epoch| membership::Message::Stopped { epoch };
    let shown = lines(|trace| {
        trace.raised(H3, Epoch(7));
        for (host, epoch) in [(H3, Epoch(7)), (H3, epoch(H3, 1)), (HostId(8), Epoch(1))] {
            let envelope = Envelope {
                stamp: Stamp(0),
                frame: stopped(epoch).into(),
            };
            trace.frame(Instant(0), host, H1, &envelope, Fate::Sent);
        }
    });
    let golden = [
        "h3.2   -> h1.1   stopped h3.2",
        "h3.2   -> h1.1   stopped h3.1",
        "h8.?   -> h1.1   stopped h8.?",
    ];
    assert_eq!(shown, golden);
}

#[test]
fn a_ring_keeps_the_last_lines_and_says_how_many_are_gone() {
    let mut trace = Trace::ring(2);
    for n in 0..5 {
        trace.event(Instant(1_500_000 * n), None, || {
            Event::Phase(format!("phase {n}"))
        });
    }
    let golden = "(3 earlier lines were not kept)
    4.500000        ==        phase 3
    6.000000        ==        phase 4
";
    assert_eq!(trace.to_string(), format!("{LEGEND}{golden}"));
}

#[test]
fn a_printing_trace_gives_the_legend_and_then_each_line_as_it_happens() {
    let printed = Arc::new(Mutex::new(Vec::new()));
    let sink = printed.clone();
    let mut trace = Trace::print(move |line| sink.lock().unwrap().push(line.to_owned()));
    let legend = LEGEND.lines().count();
    assert_eq!(printed.lock().unwrap().len(), legend);
    trace.started(Instant(1), H2, node(H2), epoch(H2, 1));
    let line = printed.lock().unwrap()[legend].clone();
    assert_eq!(line, "    0.000001 h2.1   **        start");
    assert_eq!(trace.to_string(), "");
}

#[test]
fn a_trace_that_is_off_asks_for_nothing_and_keeps_nothing() {
    let mut trace = Trace::off();
    begin(&mut trace);
    trace.event(Instant(0), None, || panic!("nobody reads it"));
    assert!(!trace.is_on());
    assert_eq!(trace.to_string(), "");
}

#[test]
fn the_legend_names_every_sign() {
    for sign in [
        "->", "=>", "-x", "2>", "++", "--", "-!", "..", "@+", "@-", "@>", "**", "==", "!!",
    ] {
        assert!(LEGEND.contains(&format!(" {sign}  ")), "{sign}");
    }
    assert!(LEGEND.lines().all(|line| line.chars().count() <= 100));
}
