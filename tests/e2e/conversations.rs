//! Reading, marks, presence and resume to the letter, on one node and across two.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Node, chain, eventually};
use tests::ws_client::WsClient;

/// Waits until a client's node knows that somebody has that many nodes.
async fn nodes_of(node: &Node, user: &str, count: usize) -> Result<()> {
    let path = format!("/api/route/{user}");
    let known = eventually(async || {
        let answer = node.get(&path).await.unwrap_or_default().1;
        let route: Value = serde_json::from_str(&answer).unwrap_or_default();
        route["nodes"].as_array().map(Vec::len) == Some(count)
    });
    ensure!(known.await, "{count} nodes of {user}");
    Ok(())
}

/// An id of that time, which no event has.
fn id_at(unix_ms: u64) -> String {
    mesh::id::Nonce::new(unix_ms, 7).to_string()
}

async fn time(client: &mut WsClient) -> Result<u64> {
    let pong = client.ask("ping", json!({})).await?;
    pong["time"].as_u64().context("a time")
}

async fn send(client: &mut WsClient, to: &str, body: Value) -> Result<String> {
    let sent = client.ask("send", json!({"to": to, "body": body})).await?;
    Ok(sent["id"].as_str().context("an id")?.to_owned())
}

fn bodies(page: &Value) -> Vec<Value> {
    let events = page["events"].as_array().into_iter().flatten();
    events
        .map(|event| event["message"]["body"].clone())
        .collect()
}

#[tokio::test]
async fn history_pages_in_both_directions_from_any_place_in_the_order() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    let mut ann = node.client("@ann").await?;
    let mut ids = Vec::new();
    for i in 0..5 {
        ids.push(send(&mut ann, "@bob", json!(i)).await?);
    }
    for (fields, want, more) in [
        (json!({"of": "@bob"}), vec![0, 1, 2, 3, 4], false),
        (
            json!({"of": "@bob", "limit": 5}),
            vec![0, 1, 2, 3, 4],
            false,
        ),
        (json!({"of": "@bob", "limit": 2}), vec![3, 4], true),
        (
            json!({"of": "@bob", "before": ids[2], "limit": 1}),
            vec![1],
            true,
        ),
        (
            json!({"of": "@bob", "before": ids[2], "limit": 2}),
            vec![0, 1],
            false,
        ),
        (
            json!({"of": "@bob", "after": ids[1], "limit": 2}),
            vec![2, 3],
            true,
        ),
        (json!({"of": "@bob", "after": ids[4]}), vec![], false),
        (
            json!({"of": "@bob", "after": "00000000000000000000000000", "limit": 1}),
            vec![0],
            true,
        ),
        (
            json!({"of": "@bob", "before": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "limit": 1}),
            vec![4],
            true,
        ),
        (json!({"of": "@nobody"}), vec![], false),
    ] {
        let page = ann.ask("history", fields.clone()).await?;
        let want: Vec<Value> = want.into_iter().map(Value::from).collect();
        ensure!(
            bodies(&page) == want && page["more"] == more,
            "{fields}: {page}"
        );
        ensure!(page.get("complete").is_none(), "{fields}: {page}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_client_saw_sorts_before_what_it_sends_but_a_far_future_moves_nothing() -> Result<()>
{
    let (_folder, [node]) = chain().await?;
    let mut ann = node.client("@ann").await?;
    let now = time(&mut ann).await?;
    let far = id_at(now + 300_000);
    for (command, fields) in [
        ("history", json!({"of": "@bob", "before": far})),
        ("read", json!({"of": "@bob", "upto": far})),
        ("send", json!({"to": "@bob", "body": 1, "reply_to": far})),
    ] {
        ann.ask(command, fields).await?;
    }
    ensure!(send(&mut ann, "@bob", json!(2)).await? < id_at(now + 60_000));
    let seen = id_at(now + 80_000);
    let fields = json!({"to": "@bob", "body": 3, "reply_to": seen});
    let sent = ann.ask("send", fields).await?;
    ensure!(sent["id"].as_str() > Some(&seen), "{sent}");
    Ok(())
}

#[tokio::test]
async fn a_read_mark_is_told_to_the_readers_other_sessions_and_to_the_other_side() -> Result<()> {
    let (_folder, [a, b]) = chain().await?;
    let mut ann = a.client("@ann").await?;
    let mut bob = b.client("@bob").await?;
    let mut bob_too = a.client("@bob").await?;
    nodes_of(&b, "@ann", 1).await?;
    nodes_of(&b, "@bob", 2).await?;
    let id = send(&mut ann, "@bob", json!("hi")).await?;
    bob.event("message").await?;
    let listed = bob.ask("conversations", json!({})).await?;
    ensure!(listed["conversations"][0]["unread"] == 1, "{listed}");
    ensure!(listed["conversations"][0].get("read").is_none(), "{listed}");
    ensure!(bob.ask("read", json!({"of": "@ann", "upto": id})).await? == json!({}));
    let receipt = |within: &str| json!({"in": within, "user": "@bob", "read": id});
    ensure!(bob_too.event("receipt").await? == receipt("@ann"));
    ensure!(ann.event("receipt").await? == receipt("@bob"));
    let lower = json!({"of": "@ann", "upto": "01JD2K8M3V000G7T9QW4XN5BRA"});
    bob.ask("read", lower).await?;
    let listed = bob.ask("conversations", json!({})).await?;
    let entry = &listed["conversations"][0];
    ensure!(
        entry["unread"] == 0 && entry["read"] == id.as_str(),
        "marks only rise: {listed}"
    );
    ensure!(bob.unasked().all(|line| line.get("receipt").is_none()));
    Ok(())
}

#[tokio::test]
async fn a_signal_reaches_the_sessions_of_its_user_alone() -> Result<()> {
    let (_folder, [a, b]) = chain().await?;
    let mut ann = a.client("@ann").await?;
    let mut ann_too = b.client("@ann").await?;
    let mut bob = b.client("@bob").await?;
    nodes_of(&a, "@bob", 1).await?;
    nodes_of(&b, "@ann", 2).await?;
    let fields = json!({"to": "@bob", "kind": "typing", "body": null});
    ensure!(ann.ask("signal", fields).await? == json!({"reached": 1}));
    let signal = json!({"in": "@ann", "from": "@ann", "kind": "typing", "body": null});
    ensure!(bob.event("signal").await? == signal);
    let fields = json!({"to": "@ann", "kind": "seen"});
    ensure!(bob.ask("signal", fields).await? == json!({"reached": 2}));
    let signal = json!({"in": "@bob", "from": "@bob", "kind": "seen"});
    ensure!(ann.event("signal").await? == signal && ann_too.event("signal").await? == signal);
    let fields = json!({"to": "@nobody", "kind": "seen"});
    ensure!(ann.ask("signal", fields).await? == json!({"reached": 0}));
    ensure!(ann_too.unasked().count() == 0);
    Ok(())
}

#[tokio::test]
async fn presence_says_when_somebody_was_last_seen_only_where_that_is_known() -> Result<()> {
    let (_folder, [a, b]) = chain().await?;
    let mut ann = a.client("@ann").await?;
    let bob = b.client("@bob").await?;
    nodes_of(&a, "@bob", 1).await?;
    let states = json!({"presence": [
        {"user": "@bob", "online": true, "certain": true},
        {"user": "@nobody", "online": false, "certain": true},
    ]});
    let users = json!({"users": ["@bob", "@nobody"]});
    ensure!(ann.ask("watch", users).await? == states);
    bob.close().await?;
    let gone = ann.event("presence").await?;
    ensure!(
        gone["user"] == "@bob" && gone["online"] == false && gone["certain"] == true,
        "{gone}"
    );
    ensure!(
        gone["last_seen"].as_u64() > Some(1_700_000_000_000),
        "{gone}"
    );
    ensure!(ann.ask("unwatch", json!({"users": ["@bob"]})).await? == json!({}));
    let users: Vec<String> = (0..501).map(|i| format!("@u{i}")).collect();
    let refused = ann.exchange("watch", json!({"users": users})).await?;
    ensure!(refused["error"]["code"] == "bad_request", "{refused}");
    let watched = ann.ask("watch", json!({"users": users[..499]})).await?;
    ensure!(watched["presence"].as_array().map(Vec::len) == Some(499));
    Ok(())
}

#[tokio::test]
async fn a_resume_ends_with_what_was_sent_of_each_conversation() -> Result<()> {
    let (_folder, [a, b]) = chain().await?;
    let mut ann = a.client("@ann").await?;
    for body in ["one", "two"] {
        send(&mut ann, "@bob", json!(body)).await?;
    }
    send(&mut ann, "@carol", json!("elsewhere")).await?;
    let url = format!("ws://{}/ws", b.listen);
    for (resume, want) in [
        (json!({}), json!({"@ann": {"sent": 2, "more": false}})),
        (
            json!({"@ann": {"upto": "01JD2K8M3V000G7T9QW4XN5BRA"}, "@zoe": {"upto": "01JD2K8M3V000G7T9QW4XN5BRA"}}),
            json!({"@ann": {"sent": 2, "more": false}, "@zoe": {"sent": 0, "more": false}}),
        ),
    ] {
        let hello = json!({"user": "@bob", "resume": resume});
        let mut bob = WsClient::hello_with(&url, hello).await?;
        for body in ["one", "two"] {
            ensure!(bob.event("message").await?["body"] == body);
        }
        let resumed = bob.event("resumed").await?;
        ensure!(
            resumed == json!({"in": want, "complete": true}),
            "{resumed}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_device_has_one_session_on_whatever_node() -> Result<()> {
    let (_folder, [a, b]) = chain().await?;
    let hello = || json!({"user": "@ann", "device": "phone"});
    let mut first = WsClient::hello_with(&format!("ws://{}/ws", a.listen), hello()).await?;
    let mut second = WsClient::hello_with(&format!("ws://{}/ws", b.listen), hello()).await?;
    let bye = first.event("bye").await?;
    ensure!(
        bye["reason"] == "replaced" && bye.get("try").is_none(),
        "{bye}"
    );
    ensure!(first.closed().await? == Some(4009));
    ensure!(second.ask("ping", json!({})).await?["time"].is_u64());
    Ok(())
}
