//! `watch`, `unwatch`, and who is told what.

use std::time::Duration;

use super::harness::*;
use crate::command::{Code, Command, Presence, Push, Reply};
use crate::proto::input::Closing;
use crate::proto::view::Sight;

fn state(name: &str, online: bool, certain: bool, last_seen: Option<u64>) -> Presence {
    Presence {
        user: user(name),
        online,
        certain,
        last_seen,
    }
}

fn pushed(said: &Said, session: u64) -> Vec<Presence> {
    let presence = |push| match push {
        Push::Presence(presence) => Some(presence),
        _ => None,
    };
    said.pushes(session)
        .into_iter()
        .filter_map(presence)
        .collect()
}

fn watching(users: &[&str]) -> Node {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.watch(1, users);
    assert!(node.tick().is_silent());
    node
}

fn member_changed(node: &mut Node) -> Said {
    node.act(|chat, table, _, out| chat.on_member(table, node_id(2), out));
    node.tick()
}

#[test]
fn watching_gives_the_state_at_that_moment_in_the_order_asked_for() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.table.set("@bob", node_id(2), Sight::Doubtful);
    node.table.set("@carol", node_id(2), Sight::Unknown);
    node.table.set("@carol", node_id(3), Sight::Here);
    node.table.set("@dave", node_id(2), Sight::Unknown);
    let said = node.watch(1, &["@dave", "@carol", "@bob", "@alice", "@nobody"]);
    assert_eq!(
        said.reply(1),
        Reply::Presence(vec![
            state("@dave", false, false, None),
            state("@carol", true, true, None),
            state("@bob", true, false, None),
            state("@alice", true, true, None),
            state("@nobody", false, true, None),
        ])
    );
}

#[test]
fn those_who_watch_are_told_who_comes_and_goes_on_another_node() {
    let mut node = watching(&["@bob"]);
    node.hello(2, "@eve");
    node.routes(node_id(2), &["@bob", "@carol"], &[]);
    let said = node.tick();
    assert_eq!(pushed(&said, 1), [state("@bob", true, true, None)]);
    assert_eq!(said.0.len(), 1, "{said:?}");
    node.pass(Duration::from_secs(1));
    node.routes(node_id(2), &[], &["@bob", "@carol"]);
    let seen = Some(START_MS + 1_000);
    assert_eq!(pushed(&node.tick(), 1), [state("@bob", false, true, seen)]);
    assert_eq!(node.counter("chat_presence_pushed_total"), 2);
}

#[test]
fn those_who_watch_are_told_who_comes_and_goes_on_this_node() {
    let mut node = watching(&["@bob"]);
    node.hello(2, "@bob");
    assert_eq!(pushed(&node.tick(), 1), [state("@bob", true, true, None)]);
    node.hello(3, "@bob");
    node.closed(2, Closing::Gone);
    assert!(node.tick().is_silent(), "one session is left");
    node.closed(3, Closing::Lost);
    assert!(node.tick().is_silent(), "it is in grace");
    let said = node.pass(Duration::from_secs(3));
    let seen = Some(START_MS + 3_000);
    assert_eq!(pushed(&said, 1), [state("@bob", false, true, seen)]);
}

#[test]
fn nobody_is_looked_at_before_the_table_of_routes_knows_what_changed_here() {
    let mut node = watching(&["@bob"]);
    let id = crate::id::SessionId(2);
    let said = node.act(|chat, table, clock, out| {
        let hello = Command::Hello(hello("@bob", None));
        chat.on_command(table, clock, id, None, hello, out);
        chat.on_tick(table, out);
    });
    assert_eq!(pushed(&said, 1), []);
    assert_eq!(pushed(&node.tick(), 1), [state("@bob", true, true, None)]);
}

#[test]
fn many_who_watch_one_user_share_one_push() {
    let mut node = watching(&["@bob"]);
    for session in 2..=3_000 {
        node.hello(session, "@alice");
        node.watch(session, &["@bob"]);
    }
    node.tick();
    node.routes(node_id(2), &["@bob"], &[]);
    let said = node.tick();
    assert!(said.0.len() <= 4, "slices, not sessions: {}", said.0.len());
    (1..=3_000).for_each(|session| assert_eq!(pushed(&said, session).len(), 1));
}

#[test]
fn a_change_in_the_midst_of_telling_is_told_to_those_who_were_told_before() {
    let mut node = watching(&["@bob"]);
    for session in 2..=3_000 {
        node.hello(session, "@alice");
        node.watch(session, &["@bob"]);
    }
    node.tick();
    node.routes(node_id(2), &["@bob"], &[]);
    let first = node.act(|chat, table, _, out| chat.on_tick(table, out));
    assert_eq!(pushed(&first, 1), [state("@bob", true, true, None)]);
    assert_eq!(pushed(&first, 3_000), []);
    node.routes(node_id(2), &[], &["@bob"]);
    let rest = node.tick();
    let gone = state("@bob", false, true, Some(START_MS));
    assert_eq!(pushed(&rest, 1), [gone]);
    assert_eq!(pushed(&rest, 3_000), [], "for them nothing has changed");
}

#[test]
fn a_change_that_undoes_itself_is_not_told() {
    let mut node = watching(&["@bob"]);
    node.routes(node_id(2), &["@bob"], &[]);
    node.routes(node_id(2), &[], &["@bob"]);
    assert!(node.tick().is_silent());
    node.routes(node_id(2), &["@bob"], &[]);
    node.tick();
    node.routes(node_id(3), &["@bob"], &[]);
    node.routes(node_id(2), &[], &["@bob"]);
    assert!(node.tick().is_silent(), "the user is on another node now");
}

#[test]
fn suspicion_alone_is_not_told_but_what_follows_is() {
    let mut node = watching(&["@bob", "@carol"]);
    node.routes(node_id(2), &["@bob", "@carol"], &[]);
    node.tick();
    let mut all = |sight| {
        node.table.set("@bob", node_id(2), sight);
        node.table.set("@carol", node_id(2), sight);
        let mut told = pushed(&member_changed(&mut node), 1);
        told.sort_by(|a, b| a.user.cmp(&b.user));
        told
    };
    assert_eq!(all(Sight::Doubtful), []);
    assert_eq!(all(Sight::Here), []);
    assert_eq!(all(Sight::Doubtful), []);
    let seen = Some(START_MS);
    let gone = [
        state("@bob", false, false, seen),
        state("@carol", false, false, seen),
    ];
    assert_eq!(all(Sight::Unknown), gone);
    assert_eq!(all(Sight::Doubtful).len(), 2, "that they are there is news");
    assert_eq!(all(Sight::Here).len(), 2, "and that it is certain");
}

#[test]
fn a_changed_member_is_looked_at_for_every_watched_user_in_slices() {
    let mut node = Node::new(1);
    let names: Vec<_> = (0..500).map(|i| format!("@u{i}")).collect();
    let users: Vec<_> = names.iter().map(String::as_str).collect();
    for session in 0..10 {
        node.hello(session, &format!("@w{session}"));
        node.watch(session, &users);
    }
    node.tick();
    for name in &users {
        node.table.set(name, node_id(2), Sight::Here);
    }
    node.act(|chat, table, _, out| chat.on_member(table, node_id(2), out));
    let first = node.act(|chat, table, _, out| chat.on_tick(table, out));
    assert!(first.0.len() < 500, "one step is bounded");
    let mut said = first;
    said.0.extend(node.tick().0);
    for session in 0..10 {
        assert_eq!(pushed(&said, session).len(), 500);
    }
    assert_eq!(node.chat.deadline(), None);
}

#[test]
fn a_member_that_changes_during_the_walk_is_looked_at_again() {
    let names: Vec<_> = (0..500).map(|i| format!("@u{i}")).collect();
    let users: Vec<_> = names.iter().map(String::as_str).collect();
    let mut node = watching(&users);
    node.act(|chat, table, _, out| chat.on_member(table, node_id(2), out));
    node.act(|chat, table, _, out| chat.on_tick(table, out));
    for name in &users {
        node.table.set(name, node_id(2), Sight::Here);
    }
    assert_eq!(pushed(&member_changed(&mut node), 1).len(), 500);
}

#[test]
fn a_session_watches_500_users_at_most() {
    let names: Vec<_> = (0..500).map(|i| format!("@u{i}")).collect();
    let users: Vec<_> = names.iter().map(String::as_str).collect();
    let mut node = watching(&users);
    assert_eq!(node.watch(1, &["@bob"]).code(1), Code::BadRequest);
    node.routes(node_id(2), &["@bob"], &[]);
    assert!(node.tick().is_silent(), "nothing has changed");
    assert!(matches!(node.watch(1, &users).reply(1), Reply::Presence(_)));
    node.command(1, Command::Unwatch(vec![user("@u7")]));
    assert!(
        matches!(node.watch(1, &["@bob", "@bob"]).reply(1), Reply::Presence(two) if two.len() == 2)
    );
    assert_eq!(node.counter("chat_watches"), 500);
}

#[test]
fn a_list_of_more_than_500_users_is_refused_whomever_it_names() {
    let mut node = watching(&[]);
    let list = vec![user("@bob"); 501];
    for command in [Command::Watch(list.clone()), Command::Unwatch(list)] {
        assert_eq!(node.command(1, command).code(1), Code::BadRequest);
    }
    assert_eq!(node.counter("chat_watches"), 0);
}

#[test]
fn whoever_watches_no_longer_is_told_nothing() {
    let mut node = watching(&["@bob", "@carol"]);
    let said = node.command(1, Command::Unwatch(vec![user("@bob"), user("@nobody")]));
    assert_eq!(said.reply(1), Reply::Done);
    node.routes(node_id(2), &["@bob"], &[]);
    assert_eq!(node.chat.deadline(), None);
    node.routes(node_id(2), &["@carol"], &[]);
    assert_eq!(pushed(&node.tick(), 1).len(), 1);
}

#[test]
fn a_session_that_ends_watches_nobody() {
    for closing in [Closing::Gone, Closing::Lost] {
        let mut node = watching(&["@bob", "@carol"]);
        node.closed(1, closing);
        assert_eq!(node.counter("chat_watches"), 0);
    }
}

#[test]
fn users_whose_keys_collide_are_watched_apart() {
    let mut node = Node::new(1);
    node.table.collide = true;
    node.hello(1, "@alice");
    node.watch(1, &["@bob", "@carol"]);
    node.command(1, Command::Unwatch(vec![user("@bob")]));
    node.table.clear("@alice", node.id);
    node.routes(node_id(2), &[], &["@carol"]);
    let said = node.tick();
    let names: Vec<_> = pushed(&said, 1).into_iter().map(|p| p.user).collect();
    assert_eq!(names, [user("@carol")]);
}
