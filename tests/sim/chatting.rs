//! What clients are promised, on a simulated mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::command::{ByeReason, Code, Command, Hello, Page, Push, Reply, Send, Window};
use mesh::event::{Event, EventKind, Json};
use mesh::id::{Address, Device, EventId, Nonce};
use mesh::proto::{CloseCode, Closing, Config};
use sim::network;
use sim::world::{Client, Heard, HostId, World};
use tests::expect::{self, HEALED, settle};

const SECOND: Duration = Duration::from_secs(1);

fn settled(seed: u64, count: u16) -> World {
    let usual = network::Config::default();
    let mut world = expect::settled(seed, usual, count, &Config::default());
    world.run_for(SECOND);
    world
}

fn address(text: &str) -> Address {
    text.parse().expect("a valid address")
}

fn send_of(to: &str, body: &str) -> Send {
    Send {
        to: address(to),
        body: Json::from_valid(body),
        nonce: None,
        reply_to: None,
        copies: None,
    }
}

/// Sends a message and gives its id and copies.
pub(crate) fn say(world: &mut World, client: Client, to: &str, body: &str) -> (EventId, u8) {
    match world.ask(client, Command::Send(send_of(to, body))) {
        Reply::Sent { id, copies, .. } => (id, copies),
        other => panic!("{body:?} to {to}: {other:?}"),
    }
}

fn body_of(event: &Event) -> Option<String> {
    match &event.kind {
        EventKind::Message { body, .. } => Some(body.as_str().to_owned()),
        EventKind::Contact { .. } | EventKind::Read { .. } => None,
    }
}

/// The bodies of all messages pushed to a client, in the order they came.
pub(crate) fn bodies(world: &World, client: Client) -> Vec<String> {
    let events = world.pushes(client).filter_map(|push| match push {
        Push::Event { event, .. } => body_of(event),
        _ => None,
    });
    events.collect()
}

fn history(world: &mut World, client: Client, of: &str) -> (Vec<String>, bool, bool) {
    match world.ask(
        client,
        Command::History {
            of: address(of),
            from: Page::Newest,
            limit: 200,
        },
    ) {
        Reply::History {
            events,
            more,
            complete,
        } => (
            events.iter().filter_map(|event| body_of(event)).collect(),
            more,
            complete,
        ),
        other => panic!("history of {of}: {other:?}"),
    }
}

fn refusal(reply: &Reply) -> Option<Code> {
    match reply {
        Reply::Error(refusal) => Some(refusal.code),
        _ => None,
    }
}

#[test]
fn a_message_reaches_every_session_of_both_users_on_any_node_once() {
    let mut world = settled(1, 3);
    let ann = world.hello(HostId(0), "@ann", None);
    let ann_too = world.hello(HostId(1), "@ann", None);
    let bob = world.hello(HostId(1), "@bob", None);
    let bob_too = world.hello(HostId(2), "@bob", None);
    world.run_for(SECOND);
    let (id, copies) = say(&mut world, ann, "@bob", "\"hi\"");
    assert!(copies >= 2, "{copies}");
    world.run_for(SECOND);
    for (client, within) in [(ann_too, "@bob"), (bob, "@ann"), (bob_too, "@ann")] {
        let pushes: Vec<&Push> = world.pushes(client).collect();
        let [
            Push::Event {
                event,
                within: seen,
                late: false,
            },
        ] = pushes.as_slice()
        else {
            panic!("{pushes:?}")
        };
        assert_eq!((event.id, seen), (id, &address(within)));
    }
    assert_eq!(
        world.pushes(ann).count(),
        0,
        "the sender gets only its reply"
    );
}

#[test]
fn an_acknowledged_message_is_on_as_many_disks_as_it_says() {
    let mut world = settled(2, 5);
    let ann = world.hello(HostId(0), "@ann", None);
    world.run_for(SECOND);
    let command = Send {
        copies: Some(3),
        ..send_of("@bob", "1")
    };
    let Reply::Sent { copies: 3, .. } = world.ask(ann, Command::Send(command)) else {
        panic!("three disks are there")
    };
    // Whoever dies now, two at once even: it is found.
    for dead in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)] {
        let mut world = settled(2, 5);
        let ann = world.hello(HostId(0), "@ann", None);
        world.run_for(SECOND);
        let command = Send {
            copies: Some(3),
            ..send_of("@bob", "1")
        };
        world.ask(ann, Command::Send(command));
        world.crash(HostId(dead.0));
        world.crash(HostId(dead.1));
        world.run_for(5 * SECOND);
        let left = (0..5)
            .find(|n| *n != dead.0 && *n != dead.1)
            .expect("three are left");
        let bob = world.hello(HostId(left), "@bob", None);
        let (found, _, complete) = history(&mut world, bob, "@ann");
        assert_eq!(found, ["1"], "without {dead:?}");
        assert!(!complete, "two that have not left cannot be reached");
    }
}

#[test]
fn one_unreachable_member_leaves_answers_complete() {
    let mut world = settled(3, 4);
    let ann = world.hello(HostId(0), "@ann", None);
    say(&mut world, ann, "@bob", "1");
    world.crash(HostId(3));
    world.run_for(5 * SECOND);
    assert_eq!(
        history(&mut world, ann, "@bob"),
        (vec!["1".to_owned()], false, true)
    );
}

#[test]
fn a_lone_node_acknowledges_on_its_one_disk_unless_more_are_asked_for() {
    let mut world = settled(4, 1);
    world.run_for(11 * SECOND);
    let ann = world.hello(HostId(0), "@ann", None);
    assert_eq!(say(&mut world, ann, "@bob", "1").1, 1);
    let reply = world.ask(
        ann,
        Command::Send(Send {
            copies: Some(2),
            ..send_of("@bob", "2")
        }),
    );
    assert_eq!(refusal(&reply), Some(Code::Unavailable));
}

#[test]
fn below_min_copies_nothing_is_acknowledged_whatever_a_sender_asks() {
    let mut world = World::new(5, network::Config::default());
    let mut config = Config::default();
    config.streams.min_copies = 2;
    let host = world.add_host(config, &[]);
    world.start(host);
    world.run_for(11 * SECOND);
    let ann = world.hello(host, "@ann", None);
    let reply = world.ask(
        ann,
        Command::Send(Send {
            copies: Some(1),
            ..send_of("@bob", "1")
        }),
    );
    assert_eq!(refusal(&reply), Some(Code::Unavailable));
}

#[test]
fn the_same_nonce_through_any_node_at_any_time_is_the_same_message() {
    let mut world = settled(6, 4);
    let ann = world.hello(HostId(0), "@ann", Some("a"));
    let bob = world.hello(HostId(3), "@bob", None);
    world.run_for(SECOND);
    let nonce = Nonce::new(world.clock(HostId(0)).unix_ms, 77);
    let again = Send {
        nonce: Some(nonce),
        ..send_of("@bob", r#"{"a":1}"#)
    };
    let Reply::Sent {
        id,
        duplicate: false,
        ..
    } = world.ask(ann, Command::Send(again.clone()))
    else {
        panic!("stored")
    };
    for host in [0, 1, 2, 3] {
        world.run_for(Duration::from_secs(30));
        let ann = world.hello(HostId(host), "@ann", Some("a"));
        world.run_for(SECOND);
        let spelled = Send {
            body: Json::from_valid(r#"{ "a":1 }"#),
            ..again.clone()
        };
        let reply = world.ask(ann, Command::Send(spelled));
        assert!(
            matches!(reply, Reply::Sent { id: same, duplicate: true, copies } if same == id && copies >= 2),
            "{reply:?}"
        );
        let other = world.ask(
            ann,
            Command::Send(Send {
                body: Json::from_valid("2"),
                ..again.clone()
            }),
        );
        assert_eq!(refusal(&other), Some(Code::Conflict));
    }
    world.run_for(SECOND);
    assert_eq!(bodies(&world, bob), [r#"{"a":1}"#], "shown once");
}

#[test]
fn a_nonce_from_the_future_is_refused_with_the_nodes_time() {
    let mut world = settled(7, 1);
    let ann = world.hello(HostId(0), "@ann", None);
    let now = world.clock(HostId(0)).unix_ms;
    let send = Send {
        nonce: Some(Nonce::new(now + 61_000, 1)),
        ..send_of("@bob", "1")
    };
    let Reply::Error(refusal) = world.ask(ann, Command::Send(send)) else {
        panic!("refused")
    };
    assert_eq!(refusal.code, Code::BadRequest);
    assert!(
        refusal.message.contains(&now.to_string()[..7]),
        "{}",
        refusal.message
    );
}

#[test]
fn messages_of_one_session_to_one_conversation_get_rising_ids_in_the_order_sent() {
    let mut world = settled(8, 3);
    let ann = world.hello(HostId(0), "@ann", None);
    world.run_for(SECOND);
    // The second names an old nonce, so it is looked up first; the third must not overtake it.
    let old = Nonce::new(world.clock(HostId(0)).unix_ms - 60_000, 5);
    let commands = [None, Some(old), None].map(|nonce| {
        Command::Send(Send {
            nonce,
            ..send_of("@bob", "1")
        })
    });
    let requests = commands.map(|command| world.command(ann, command));
    world.run_for(2 * SECOND);
    let ids = requests.map(|request| match world.reply(ann, request) {
        Some(Reply::Sent { id, .. }) => *id,
        other => panic!("{other:?}"),
    });
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn what_is_sent_after_an_event_was_seen_sorts_after_it_though_clocks_differ() {
    let mut world = settled(9, 2);
    world.skew(HostId(0), 15_000);
    let ann = world.hello(HostId(0), "@ann", None);
    let bob = world.hello(HostId(1), "@bob", None);
    world.run_for(SECOND);
    let (first, _) = say(&mut world, ann, "@bob", "1");
    world.run_until(SECOND, |world| !bodies(world, bob).is_empty());
    let (second, _) = say(&mut world, bob, "@ann", "2");
    assert!(first < second);
}

/// What `conversations` lists: with whom, how many unread, the last message.
fn listed(world: &mut World, reader: Client) -> Vec<(String, u32, String)> {
    let all = Command::Conversations {
        limit: 50,
        before: None,
    };
    let Reply::Conversations {
        conversations,
        more: false,
        complete: true,
    } = world.ask(reader, all)
    else {
        panic!("not all conversations");
    };
    let row = |entry: &mesh::command::Listed| {
        let last = body_of(&entry.last).unwrap_or_default();
        (entry.of.to_string(), entry.unread, last)
    };
    conversations.iter().map(row).collect()
}

#[test]
fn who_was_away_finds_everything_by_conversations_and_history() {
    let mut world = settled(10, 4);
    let ann = world.hello(HostId(0), "@ann", None);
    let carol = world.hello(HostId(1), "@carol", None);
    for n in 1..=3 {
        say(&mut world, ann, "@bob", &n.to_string());
    }
    say(&mut world, carol, "@bob", "9");
    let bob = world.hello(HostId(2), "@bob", None);
    let row = |of: &str, unread, last: &str| (of.to_owned(), unread, last.to_owned());
    assert_eq!(
        listed(&mut world, bob),
        [row("@carol", 1, "9"), row("@ann", 3, "3")],
        "newest first"
    );
    assert_eq!(history(&mut world, bob, "@ann").0, ["1", "2", "3"]);
    let Reply::History { events, .. } = world.ask(
        bob,
        Command::History {
            of: address("@ann"),
            from: Page::Newest,
            limit: 2,
        },
    ) else {
        panic!("history");
    };
    let upto = events[0].id;
    assert_eq!(
        world.ask(
            bob,
            Command::Read {
                of: address("@ann"),
                upto
            }
        ),
        Reply::Done
    );
    assert_eq!(
        listed(&mut world, bob),
        [row("@carol", 1, "9"), row("@ann", 1, "3")],
        "one after the mark"
    );
    assert_eq!(
        history(&mut world, bob, "@nobody"),
        (vec![], false, true),
        "an unknown conversation is empty"
    );
}

#[test]
fn pages_of_history_meet_without_gap_or_overlap() {
    let mut world = settled(11, 3);
    let ann = world.hello(HostId(0), "@ann", None);
    let all: Vec<String> = (0..23).map(|n| n.to_string()).collect();
    for body in &all {
        say(&mut world, ann, "@bob", body);
    }
    let mut forward = Vec::new();
    let mut from = Page::After(EventId::MIN);
    loop {
        let Reply::History { events, more, .. } = world.ask(
            ann,
            Command::History {
                of: address("@bob"),
                from,
                limit: 5,
            },
        ) else {
            panic!("history");
        };
        forward.extend(events.iter().filter_map(|event| body_of(event)));
        from = Page::After(events.last().expect("at least one").id);
        if !more {
            break;
        }
    }
    assert_eq!(forward, all);
    let mut backward: Vec<Vec<String>> = Vec::new();
    let mut from = Page::Newest;
    loop {
        let Reply::History { events, more, .. } = world.ask(
            ann,
            Command::History {
                of: address("@bob"),
                from,
                limit: 5,
            },
        ) else {
            panic!("history");
        };
        from = Page::Before(events.first().expect("at least one").id);
        backward.push(events.iter().filter_map(|event| body_of(event)).collect());
        if !more {
            break;
        }
    }
    backward.reverse();
    assert_eq!(backward.concat(), all);
}

#[test]
fn a_resume_on_another_node_sends_what_is_newer_and_what_is_new_elsewhere() {
    let mut world = settled(12, 3);
    let ann = world.hello(HostId(0), "@ann", None);
    let carol = world.hello(HostId(1), "@carol", None);
    let bob = world.hello(HostId(2), "@bob", None);
    world.run_for(SECOND);
    let (held, _) = say(&mut world, ann, "@bob", "1");
    world.run_for(Duration::from_secs(150));
    world.close(bob, Closing::Lost);
    let (_, _) = say(&mut world, ann, "@bob", "2");
    let (_, _) = say(&mut world, carol, "@bob", "3");
    let resume = BTreeMap::from([(
        address("@ann"),
        Window {
            upto: held,
            exact: None,
        },
    )]);
    let hello = Hello {
        user: World::user("@bob"),
        device: None,
        resume: Some(resume),
    };
    let bob = world.hello_with(HostId(0), hello);
    let ended = |world: &World| {
        world
            .pushes(bob)
            .any(|push| matches!(push, Push::Resumed { .. }))
    };
    assert!(
        world.run_until(10 * SECOND, ended),
        "{:?}",
        world.heard(bob)
    );
    let mut got = bodies(&world, bob);
    got.sort();
    // What lies within two minutes below `upto` may be sent again; the client ignores an id it has.
    got.retain(|body| body != "1");
    assert_eq!(got, ["2", "3"]);
    let Some(Push::Resumed {
        conversations,
        complete: true,
    }) = world.pushes(bob).last()
    else {
        panic!("resumed is last")
    };
    assert_eq!(
        conversations
            .keys()
            .map(Address::as_str)
            .collect::<Vec<_>>(),
        ["@ann", "@carol"]
    );
    assert!(conversations.values().all(|resumed| !resumed.more));
}

#[test]
fn who_asks_a_node_at_the_moment_of_its_restart_gets_what_others_kept_meanwhile() {
    let mut world = settled(23, 2);
    let ann = world.hello(HostId(0), "@ann", None);
    say(&mut world, ann, "@bob", "1");
    world.crash(HostId(1));
    world.run_for(10 * SECOND);
    let (_, copies) = say(&mut world, ann, "@bob", "2");
    assert_eq!(copies, 1, "nobody else can be reached");
    world.start(HostId(1));
    let bob = world.hello(HostId(1), "@bob", None);
    assert_eq!(
        history(&mut world, bob, "@ann"),
        (vec!["1".to_owned(), "2".to_owned()], false, true)
    );
}

#[test]
fn hello_without_resume_gets_no_resumed_and_an_empty_one_does() {
    let mut world = settled(13, 2);
    let plain = world.hello(HostId(0), "@ann", None);
    let hello = Hello {
        user: World::user("@ann"),
        device: None,
        resume: Some(BTreeMap::new()),
    };
    let resuming = world.hello_with(HostId(1), hello);
    world.run_for(5 * SECOND);
    assert_eq!(world.pushes(plain).count(), 0);
    assert!(matches!(
        world.pushes(resuming).last(),
        Some(Push::Resumed { complete: true, .. })
    ));
}

#[test]
fn a_named_device_has_one_session_in_the_mesh_the_newest() {
    let mut world = settled(14, 3);
    let old = world.hello(HostId(0), "@ann", Some("phone"));
    let other = world.hello(HostId(0), "@ann", Some("laptop"));
    world.run_for(SECOND);
    let new = world.hello(HostId(1), "@ann", Some("phone"));
    world.run_for(2 * SECOND);
    assert_eq!(
        world.heard(old).last(),
        Some(&Heard::Closed(CloseCode::Replaced))
    );
    let bye = world.pushes(old).any(|push| {
        matches!(
            push,
            Push::Bye {
                reason: ByeReason::Replaced,
                ..
            }
        )
    });
    assert!(bye, "{:?}", world.heard(old));
    for client in [other, new] {
        assert!(!matches!(
            world.heard(client).last(),
            Some(Heard::Closed(_))
        ));
    }
    let here = world.hello(HostId(1), "@ann", Some("phone"));
    world.run_for(SECOND);
    assert_eq!(
        world.heard(new).last(),
        Some(&Heard::Closed(CloseCode::Replaced))
    );
    assert!(!matches!(world.heard(here).last(), Some(Heard::Closed(_))));
}

#[test]
fn a_device_that_said_hello_on_both_sides_of_a_cut_keeps_the_newer_session_after_it() {
    let mut world = settled(15, 4);
    let (left, right) = ([0, 1].map(HostId), [2, 3].map(HostId));
    world.split(&left, &right);
    world.run_for(10 * SECOND);
    let old = world.hello(HostId(0), "@ann", Some("phone"));
    world.run_for(SECOND);
    let new = world.hello(HostId(2), "@ann", Some("phone"));
    world.run_for(SECOND);
    assert!(!matches!(world.heard(old).last(), Some(Heard::Closed(_))));
    world.heal_all();
    let closed =
        |world: &World| world.heard(old).last() == Some(&Heard::Closed(CloseCode::Replaced));
    assert!(world.run_until(HEALED, closed), "{:?}", world.heard(old));
    assert!(!matches!(world.heard(new).last(), Some(Heard::Closed(_))));
}

#[test]
fn watchers_are_told_when_somebody_comes_goes_or_becomes_uncertain() {
    let mut world = settled(16, 4);
    let ann = world.hello(HostId(0), "@ann", None);
    let Reply::Presence(seen) = world.ask(ann, Command::Watch(vec![World::user("@bob")])) else {
        panic!("watch")
    };
    assert!(
        !seen[0].online && seen[0].certain,
        "nobody has ever seen him: {seen:?}"
    );
    let told = |world: &World| -> Vec<(bool, bool)> {
        let presence = world.pushes(ann).filter_map(|push| match push {
            Push::Presence(presence) => Some((presence.online, presence.certain)),
            _ => None,
        });
        presence.collect()
    };
    let bob = world.hello(HostId(1), "@bob", None);
    world.run_for(SECOND);
    assert_eq!(told(&world), [(true, true)]);
    world.close(bob, Closing::Gone);
    world.run_for(SECOND);
    assert_eq!(told(&world)[1..], [(false, true)]);
    world.hello(HostId(3), "@bob", None);
    world.run_for(SECOND);
    world.crash(HostId(3));
    world.run_for(5 * SECOND);
    assert_eq!(
        told(&world)[2..],
        [(true, true), (false, false)],
        "his node is down, not known dead"
    );
    world.start(HostId(3));
    world.run_until(HEALED, |world| told(world).len() > 4);
    assert_eq!(
        told(&world)[4..],
        [(false, true)],
        "its new life does not have him"
    );
}

#[test]
fn a_signal_reaches_the_sessions_of_its_user_and_nobody_keeps_it() {
    let mut world = settled(17, 3);
    let ann = world.hello(HostId(0), "@ann", None);
    let ann_too = world.hello(HostId(2), "@ann", None);
    let bob = world.hello(HostId(1), "@bob", None);
    let bob_too = world.hello(HostId(2), "@bob", None);
    world.run_for(SECOND);
    let signal = Command::Signal {
        to: address("@bob"),
        kind: "typing".into(),
        body: None,
    };
    assert_eq!(world.ask(ann, signal), Reply::Reached(2));
    world.run_for(SECOND);
    for client in [bob, bob_too] {
        assert!(
            matches!(world.pushes(client).last(), Some(Push::Signal { .. })),
            "{:?}",
            world.heard(client)
        );
    }
    assert_eq!(world.pushes(ann_too).count(), 0, "only those of `to`");
    assert_eq!(history(&mut world, ann, "@bob").0, Vec::<String>::new());
}

#[test]
fn who_attaches_while_a_message_is_under_way_gets_it() {
    for delay in 0..40 {
        let mut world = settled(18, 3);
        let ann = world.hello(HostId(0), "@ann", None);
        world.run_for(SECOND);
        let bob = world.hello(HostId(2), "@bob", None);
        world.run_for(Duration::from_micros(delay * 50));
        say(&mut world, ann, "@bob", "1");
        world.run_for(SECOND);
        let (found, _, _) = history(&mut world, bob, "@ann");
        assert_eq!(found, ["1"]);
        assert_eq!(bodies(&world, bob), ["1"], "{delay} × 50 µs after hello");
    }
}

#[test]
fn a_command_before_hello_is_refused_and_a_second_hello_too() {
    let mut world = settled(19, 1);
    let ann = world.hello(HostId(0), "@ann", None);
    let again = Hello {
        user: World::user("@ann"),
        device: Some(Device::try_from("x").expect("valid")),
        resume: None,
    };
    assert_eq!(
        refusal(&world.ask(ann, Command::Hello(again))),
        Some(Code::BadRequest)
    );
    assert!(
        matches!(world.ask(ann, Command::Ping), Reply::Pong(_)),
        "the session goes on"
    );
}

#[test]
fn notes_to_oneself_are_a_conversation() {
    let mut world = settled(20, 2);
    let phone = world.hello(HostId(0), "@ann", Some("phone"));
    let laptop = world.hello(HostId(1), "@ann", Some("laptop"));
    world.run_for(SECOND);
    say(&mut world, phone, "@ann", "1");
    world.run_for(SECOND);
    assert_eq!(bodies(&world, laptop), ["1"]);
    assert_eq!(history(&mut world, laptop, "@ann").0, ["1"]);
    let Reply::Conversations { conversations, .. } = world.ask(
        phone,
        Command::Conversations {
            limit: 9,
            before: None,
        },
    ) else {
        panic!("conversations");
    };
    assert_eq!(
        conversations
            .iter()
            .map(|entry| (entry.of.as_str(), entry.unread))
            .collect::<Vec<_>>(),
        [("@ann", 0)]
    );
}

#[test]
fn a_full_disk_is_never_acknowledged_and_others_stand_in() {
    let mut world = settled(21, 4);
    world.disk_mut(HostId(1)).set_full(true);
    world.disk_mut(HostId(2)).set_full(true);
    let ann = world.hello(HostId(0), "@ann", None);
    world.run_for(SECOND);
    for n in 0..20 {
        let (_, copies) = say(&mut world, ann, &format!("@user{n}"), "1");
        assert_eq!(copies, 2, "two disks are left");
    }
}

#[test]
fn a_partition_heals_and_late_events_are_found_on_both_sides() {
    let mut world = settled(22, 4);
    let ann = world.hello(HostId(0), "@ann", None);
    let bob = world.hello(HostId(3), "@bob", None);
    world.run_for(SECOND);
    world.split(&[0, 1].map(HostId), &[2, 3].map(HostId));
    world.run_for(10 * SECOND);
    say(&mut world, ann, "@bob", "1");
    say(&mut world, bob, "@ann", "2");
    world.heal_all();
    settle(&mut world, &[0, 1, 2, 3].map(HostId));
    for client in [ann, bob] {
        assert_eq!(
            history(
                &mut world,
                client,
                if client == ann { "@bob" } else { "@ann" }
            )
            .0,
            ["1", "2"]
        );
    }
}
