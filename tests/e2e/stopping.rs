//! SIGTERM and what follows: who is told what, who is waited for, and for how long.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::{self, Node, chain, eventually};
use tests::ws_client::WsClient;

/// Far above what a stop needs that waits for nobody, and below the grace of three seconds that a
/// session told `bye` has where it may move.
const AT_ONCE: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn a_node_that_is_alone_waits_for_no_client_that_was_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(&folder.path().join("data"), &[]).await?;
    let mut hangs_up = node.client("@ann").await?;
    let _does_not = node.client("@bob").await?;
    let begun = Instant::now();
    let stopping = tokio::spawn(node.stop());
    let bye = hangs_up.event("bye").await?;
    ensure!(bye["reason"] == "shutdown", "{bye}");
    ensure!(bye.get("try").is_none(), "there is no other node: {bye}");
    ensure!(bye["reconnect_after_ms"].as_u64() <= Some(1_000), "{bye}");
    ensure!(hangs_up.closed().await? == Some(4010));
    let stopped = stopping.await??;
    ensure!(stopped.status.and_then(|status| status.code()) == Some(0));
    ensure!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_stop_is_over_when_the_last_user_has_arrived_elsewhere() -> Result<()> {
    let (_folder, [a, b]) = chain().await?;
    let mut ann = a.client("@ann").await?;
    let mut bob = b.client("@bob").await?;
    let watch = json!({"users": ["@ann"]});
    let known = eventually(async || {
        let watched = bob.ask("watch", watch.clone()).await;
        watched.is_ok_and(|watched| watched["presence"][0]["online"] == true)
    });
    ensure!(known.await, "she is seen");
    let begun = Instant::now();
    let stopping = tokio::spawn(a.stop());
    let bye = ann.event("bye").await?;
    let url = format!("ws://{}/ws", b.listen);
    ensure!(bye["try"] == json!([url]), "{bye}");
    ensure!(ann.closed().await? == Some(4010));
    let mut ann = WsClient::hello(&url, "@ann").await?;
    stopping.await??;
    ensure!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    b.sees("down", 1).await?;
    ann.ask("send", json!({"to": "@bob", "body": "here"}))
        .await?;
    bob.event("message").await?;
    let went = bob
        .unasked()
        .any(|line| line["presence"]["online"] == false);
    ensure!(!went, "nobody saw her go");
    Ok(())
}

#[tokio::test]
async fn a_stopping_node_turns_new_sessions_away_and_still_answers_the_operator() -> Result<()> {
    let (_folder, [a, b]) = chain().await?;
    let mut ann = a.client("@ann").await?;
    let listen = a.listen.clone();
    let id = a.id.clone();
    let stopping = tokio::spawn(a.stop());
    ensure!(ann.closed().await? == Some(4010));
    // Ann may move for three seconds.
    let (status, why) = cluster::get(&listen, "/readyz").await?;
    ensure!(status == 503 && why.contains("stopping"), "{status} {why}");
    ensure!(cluster::get(&listen, "/healthz").await?.0 == 200);
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: {listen}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let (status, why) = cluster::refused(&listen, &upgrade).await?;
    ensure!(status == 503 && !why.trim().is_empty(), "{status} {why}");
    let view = b.mesh_view().await?;
    let members = view["members"].as_array().into_iter().flatten();
    let states: Vec<_> = members.filter(|m| m["node"] == id.as_str()).collect();
    ensure!(
        states[0]["state"] == "alive",
        "stopping shows as alive: {view}"
    );
    stopping.await??;
    b.sees("down", 1).await?;
    Ok(())
}

#[tokio::test]
async fn told_twice_a_node_waits_for_nobody() -> Result<()> {
    let (_folder, [a, _b]) = chain().await?;
    let mut ann = a.client("@ann").await?;
    a.signal("INT").await?;
    ensure!(ann.closed().await? == Some(4010));
    let begun = Instant::now();
    let stopped = a.stop().await?;
    ensure!(stopped.status.and_then(|status| status.code()) == Some(0));
    ensure!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    Ok(())
}
