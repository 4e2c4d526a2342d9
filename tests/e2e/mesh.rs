//! Nodes that meet, chat, die and come back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Node, chain, eventually};

async fn presence_of(client: &mut tests::ws_client::WsClient, user: &str) -> Result<Value> {
    let seen = client.ask("watch", json!({"users": [user]})).await?;
    Ok(seen["presence"][0].clone())
}

#[tokio::test]
async fn people_on_three_chained_nodes_chat_across_them() -> Result<()> {
    let (_folder, [a, b, c]) = chain().await?;
    let mut alice = a.client("@alice").await?;
    let mut bob = c.client("@bob").await?;
    let mut carol = b.client("@carol").await?;
    eventually(async || {
        presence_of(&mut alice, "@bob")
            .await
            .is_ok_and(|seen| seen["online"] == true)
    })
    .await;

    let sent = alice
        .ask(
            "send",
            json!({"to": "@bob", "body": {"text": "hi", "n": 1.0}}),
        )
        .await?;
    ensure!(
        sent["copies"].as_u64() >= Some(2),
        "on two disks at least: {sent}"
    );
    let message = bob.event("message").await?;
    ensure!(
        message["in"] == "@alice" && message["from"] == "@alice" && message["id"] == sent["id"],
        "{message}"
    );
    let body = message["body"].to_string();
    ensure!(body == r#"{"n":1.0,"text":"hi"}"#, "{message}");

    let answer = bob
        .ask(
            "send",
            json!({"to": "@alice", "body": "hello", "reply_to": message["id"]}),
        )
        .await?;
    ensure!(
        answer["id"].as_str() > sent["id"].as_str(),
        "an answer sorts after what it answers"
    );
    ensure!(alice.event("message").await?["reply_to"] == message["id"]);

    let history = alice.ask("history", json!({"of": "@bob"})).await?;
    let bodies: Vec<String> = history["events"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| e["message"]["body"].to_string())
        .collect();
    ensure!(
        bodies == [r#"{"n":1.0,"text":"hi"}"#, r#""hello""#],
        "{history}"
    );
    ensure!(history.get("complete").is_none(), "{history}");

    let reached = carol
        .ask("signal", json!({"to": "@bob", "kind": "typing"}))
        .await?;
    ensure!(reached["reached"] == 1, "{reached}");
    ensure!(bob.event("signal").await?["from"] == "@carol");
    Ok(())
}

#[tokio::test]
async fn who_was_away_finds_messages_on_any_node_at_the_next_hello() -> Result<()> {
    let (_folder, [a, _b, c]) = chain().await?;
    let mut alice = a.client("@alice").await?;
    for n in 1..=3 {
        alice.ask("send", json!({"to": "@bob", "body": n})).await?;
    }
    let mut bob = c.client("@bob").await?;
    let list = bob.ask("conversations", json!({})).await?;
    let entry = &list["conversations"][0];
    ensure!(
        entry["of"] == "@alice" && entry["unread"] == 3 && entry["last"]["message"]["body"] == 3,
        "{list}"
    );
    bob.ask(
        "read",
        json!({"of": "@alice", "upto": entry["last"]["message"]["id"]}),
    )
    .await?;
    let list = bob.ask("conversations", json!({})).await?;
    ensure!(list["conversations"][0]["unread"] == 0, "{list}");
    Ok(())
}

#[tokio::test]
async fn users_of_a_killed_node_are_uncertain_within_seconds_and_back_after_its_restart()
-> Result<()> {
    let (_folder, [a, b, c]) = chain().await?;
    let mut alice = a.client("@alice").await?;
    let _bob = c.client("@bob").await?;
    ensure!(
        eventually(async || presence_of(&mut alice, "@bob")
            .await
            .is_ok_and(|seen| seen["online"] == true))
        .await
    );

    let killed = Instant::now();
    let dead = c.kill().await?;
    let seen = alice
        .find(|line| line["presence"]["user"] == "@bob" && line["presence"]["online"] == false)
        .await?;
    // Silence is noticed at once (the link closed), and two observers of three members make it down.
    ensure!(
        killed.elapsed() < Duration::from_secs(4),
        "after {:?}",
        killed.elapsed()
    );
    ensure!(
        seen["presence"]["certain"] == false,
        "not known dead: {seen}"
    );
    b.sees("down", 1).await?;

    let c = dead.restart().await?;
    a.sees("alive", 3).await?;
    // The new life of the node does not have the user: now that is certain.
    ensure!(
        eventually(async || presence_of(&mut alice, "@bob")
            .await
            .is_ok_and(|seen| seen["certain"] == true))
        .await
    );
    let _bob = c.client("@bob").await?;
    ensure!(
        eventually(async || presence_of(&mut alice, "@bob")
            .await
            .is_ok_and(|seen| seen["online"] == true))
        .await
    );
    Ok(())
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_death_of_any_one_node() -> Result<()> {
    let (_folder, [a, b, c]) = chain().await?;
    let mut alice = a.client("@alice").await?;
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(alice.ask("send", json!({"to": "@bob", "body": n})).await?["id"].clone());
    }
    a.kill().await?;
    for survivor in [&b, &c] {
        survivor.sees("down", 1).await?;
        let mut bob = survivor.client("@bob").await?;
        let history = bob
            .ask("history", json!({"of": "@alice", "limit": 200}))
            .await?;
        let found: Vec<Value> = history["events"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| e["message"]["id"].clone())
            .collect();
        ensure!(found == ids, "{} of {} are there", found.len(), ids.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_late_joiner_takes_the_whole_table() -> Result<()> {
    let (folder, [a, b, c]) = chain().await?;
    let mut clients = Vec::new();
    for n in 0..60 {
        let node = [&a, &b, &c][n % 3];
        clients.push(node.client(&format!("@user{n}")).await?);
    }
    let late = Node::start(&folder.path().join("late"), &[&a.mesh]).await?;
    late.ready().await?;
    ensure!(
        eventually(async || late
            .mesh_view()
            .await
            .is_ok_and(|view| view["routes"] == 60))
        .await,
        "{:#}",
        late.mesh_view().await?
    );
    for n in 0..60 {
        let (status, route) = late.get(&format!("/api/route/@user{n}")).await?;
        let route: Value = serde_json::from_str(&route)?;
        let node = [&a, &b, &c][n % 3];
        ensure!(
            status == 200 && route["nodes"] == json!([node.id]) && route["certain"] == true,
            "{route}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn nodes_that_were_all_restarted_at_once_meet_again_from_what_they_kept() -> Result<()> {
    let (_folder, [a, b, c]) = chain().await?;
    let mut alice = a.client("@alice").await?;
    let sent = alice
        .ask("send", json!({"to": "@bob", "body": "before"}))
        .await?;
    let (a, b, c) = (a.kill().await?, b.kill().await?, c.kill().await?);
    // The ports of the last start are taken again where they are free, so the kept addresses hold.
    let (a, b, c) = tokio::try_join!(a.restart(), b.restart(), c.restart())?;
    for node in [&a, &b, &c] {
        node.sees("alive", 3).await?;
        node.ready().await?;
    }
    let mut bob = b.client("@bob").await?;
    let history = bob.ask("history", json!({"of": "@alice"})).await?;
    ensure!(
        history["events"][0]["message"]["id"] == sent["id"],
        "{history}"
    );
    Ok(())
}

#[tokio::test]
async fn a_node_with_another_mesh_key_is_refused_and_says_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let key = |name: &str, digit: &str| -> Result<Vec<String>> {
        let file = folder.path().join(name);
        std::fs::write(&file, digit.repeat(64))?;
        Ok(vec![
            "--mesh-key-file".to_owned(),
            file.display().to_string(),
        ])
    };
    let a = Node::start_with(&folder.path().join("a"), &key("key-a", "1")?).await?;
    let mut args = key("key-b", "2")?;
    args.extend(["--peer".to_owned(), a.mesh.clone()]);
    let b = Node::start_with(&folder.path().join("b"), &args).await?;
    let refused = eventually(async || {
        b.get("/readyz")
            .await
            .is_ok_and(|(status, reason)| status == 503 && reason.contains("key"))
    })
    .await;
    ensure!(refused, "{:?}", b.get("/readyz").await?);
    a.sees("alive", 1).await?;
    ensure!(b.stop().await?.log.contains("key"));
    Ok(())
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_says_bye_and_where_else_to_go() -> Result<()> {
    let (_folder, [a, b, _c]) = chain().await?;
    let mut alice = a.client("@alice").await?;
    let stopping = tokio::spawn(a.stop());
    let bye = alice.event("bye").await?;
    ensure!(
        bye["reason"] == "shutdown" && bye["reconnect_after_ms"].as_u64() <= Some(1000),
        "{bye}"
    );
    let urls: Vec<&str> = bye["try"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    ensure!(
        urls.contains(&format!("ws://{}/ws", b.listen).as_str()),
        "{bye}"
    );
    ensure!(alice.closed().await? == Some(4010));
    let stopped = stopping.await??;
    ensure!(
        stopped.status.is_some_and(|status| status.success()),
        "{}",
        stopped.log
    );
    b.sees("down", 1).await?;
    Ok(())
}
