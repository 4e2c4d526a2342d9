//! The client protocol to the letter, as a stranger's client sees it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{self, Node, chain};
use tests::ws_client::WsClient;
use tokio_tungstenite::tungstenite::Message;

fn url(node: &Node) -> String {
    format!("ws://{}/ws", node.listen)
}

async fn refused(client: &mut WsClient, line: &str, code: &str) -> Result<Value> {
    client.text(line).await?;
    let reply = client.find(|line| line.get("error").is_some()).await?;
    ensure!(reply["error"]["code"] == code, "{line}: {reply}");
    ensure!(
        reply["error"]["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{line}: {reply}"
    );
    Ok(reply)
}

#[tokio::test]
async fn hello_says_who_where_and_what_is_allowed() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    let mut client = WsClient::connect(&url(&node)).await?;
    let ok = client
        .ask(
            "hello",
            json!({"user": "@ann", "device": "phone", "unknown": 1}),
        )
        .await?;
    ensure!(
        ok["user"] == "@ann" && ok["device"] == "phone" && ok["node"] == node.id.as_str(),
        "{ok}"
    );
    ensure!(
        ok["mesh"] == "default" && ok["server"].is_string() && ok["session"].is_string(),
        "{ok}"
    );
    ensure!(ok["time"].as_u64() > Some(1_700_000_000_000), "{ok}");
    let limits =
        json!({"frame": 65536, "body": 32768, "history": 200, "resume_events": 500, "watch": 500});
    ensure!(ok["limits"] == limits, "{ok}");
    for command in [
        "hello",
        "send",
        "signal",
        "history",
        "conversations",
        "read",
        "watch",
        "unwatch",
        "ping",
    ] {
        ensure!(
            ok["features"]
                .as_array()
                .is_some_and(|names| names.contains(&json!(command))),
            "{command}: {ok}"
        );
    }
    let made_up = node.client("@bob").await?;
    drop(made_up);
    Ok(())
}

/// Lines of a wrong form, all `bad_request`, and the `id` that stands in the answer.
const WRONG: &[(&str, Option<u64>)] = &[
    ("not json", None),
    ("[]", None),
    (r#"{"id":5}"#, Some(5)),
    (r#"{"id":5,"ping":{},"send":{}}"#, Some(5)),
    (r#"{"id":5,"ping":{"#, Some(5)),
    (r#"{"id":5,"ping":{}} more"#, Some(5)),
    (r#"{"id":-1,"ping":{}}"#, None),
    (r#"{"id":1.5,"ping":{}}"#, None),
    (r#"{"id":"7","ping":{}}"#, None),
    (r#"{"id":null,"ping":{}}"#, None),
    (r#"{"id":9007199254740993,"ping":{}}"#, None),
    (r#"{"id":6,"ping":[]}"#, Some(6)),
    (r#"{"id":6,"hello":{"user":"@ann"}}"#, Some(6)),
    (r#"{"id":6,"send":{"to":"bob","body":1}}"#, Some(6)),
    (r#"{"id":6,"send":{"to":"@bob"}}"#, Some(6)),
    (
        r#"{"id":6,"send":{"to":"@bob","body":1,"nonce":"x"}}"#,
        Some(6),
    ),
    (
        r#"{"id":6,"send":{"to":"@bob","body":1,"copies":4}}"#,
        Some(6),
    ),
    (r#"{"id":6,"signal":{"to":"@bob"}}"#, Some(6)),
    (r#"{"id":6,"history":{"of":"@bob","limit":0}}"#, Some(6)),
    (r#"{"id":6,"history":{"of":"@bob","limit":201}}"#, Some(6)),
    (
        r#"{"id":6,"history":{"of":"@bob","before":"01JD2K8M3V000G7T9QW4XN5BRA","after":"01JD2K8M3V000G7T9QW4XN5BRA"}}"#,
        Some(6),
    ),
    (r#"{"id":6,"conversations":{"limit":501}}"#, Some(6)),
    (
        r#"{"id":6,"read":{"of":"@bob","upto":"01jd2k8m3v000g7t9qw4xn5bra"}}"#,
        Some(6),
    ),
    (r##"{"id":6,"watch":{"users":["#room"]}}"##, Some(6)),
];

#[tokio::test]
async fn every_line_of_a_wrong_form_gets_its_error_and_the_session_goes_on() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    let mut ann = node.client("@ann").await?;
    for (line, id) in WRONG {
        let reply = refused(&mut ann, line, "bad_request").await?;
        let got = reply.get("id").and_then(Value::as_u64);
        ensure!(got == *id, "{line}: {reply}");
    }
    for command in [
        "edit", "delete", "react", "create", "join", "leave", "invite", "kick", "ban", "unban",
        "role", "members", "call", "answer",
    ] {
        let reply = ann.exchange(command, json!({})).await?;
        ensure!(
            reply["error"]["code"] == "unsupported",
            "{command}: {reply}"
        );
    }
    let large = "x".repeat(32 * 1024);
    refused(
        &mut ann,
        &json!({"id": 8, "send": {"to": "@bob", "body": large}}).to_string(),
        "too_large",
    )
    .await?;
    ensure!(ann.ask("ping", json!({})).await?["time"].is_u64());
    Ok(())
}

#[tokio::test]
async fn unknown_command_is_named_in_the_error() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    let mut ann = node.client("@ann").await?;
    let reply = ann.exchange("sned", json!({})).await?;
    ensure!(
        reply["error"] == json!({"code": "unsupported", "message": "unknown command \"sned\""}),
        "{reply}"
    );
    Ok(())
}

#[tokio::test]
async fn a_command_before_hello_and_a_bad_hello_close_with_4001() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    for (line, code, close) in [
        (r#"{"id":1,"ping":{}}"#, "unauthenticated", 4001),
        (r#"{"id":1,"hello":{"user":"ann"}}"#, "bad_request", 4001),
        (
            r#"{"id":1,"hello":{"user":"@ann","device":"a b"}}"#,
            "bad_request",
            4001,
        ),
        (r#"{"id":1,"hello":{}}"#, "bad_request", 4001),
        (r#"{"id":1,"hello":{"token":"x"}}"#, "unauthenticated", 4003),
    ] {
        let mut client = WsClient::connect(&url(&node)).await?;
        refused(&mut client, line, code).await?;
        let closed = client.closed().await?;
        ensure!(closed == Some(close), "{line}: {closed:?}");
    }
    Ok(())
}

#[tokio::test]
async fn commands_may_be_pipelined_behind_hello_in_one_frame() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    let mut client = WsClient::connect(&url(&node)).await?;
    let lines = [
        json!({"id": 0, "hello": {"user": "@ann"}}),
        json!({"id": 1, "send": {"to": "@ann", "body": [1, 2.50, "\u{e9}"]}}),
        json!({"ping": {}}),
        json!({"id": 2, "history": {"of": "@ann"}}),
    ];
    client
        .text(lines.map(|line| line.to_string()).join("\n\n"))
        .await?;
    ensure!(client.find(|line| line["id"] == 0).await?["ok"]["user"] == "@ann");
    ensure!(client.find(|line| line["id"] == 1).await?["ok"]["copies"] == 1);
    ensure!(
        client
            .find(|line| line["id"] == 2)
            .await?
            .get("ok")
            .is_some()
    );
    ensure!(
        client.unasked().count() == 0,
        "a command without id gets no reply"
    );
    Ok(())
}

#[tokio::test]
async fn frames_that_are_not_allowed_close_with_their_codes() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    let mut ann = node.client("@ann").await?;
    ann.frame(Message::binary(vec![1, 2, 3])).await?;
    ensure!(ann.closed().await? == Some(1003));
    let mut ann = node.client("@ann").await?;
    ann.text("x".repeat(64 * 1024 + 1)).await?;
    ensure!(ann.closed().await? == Some(1009));
    Ok(())
}

#[tokio::test]
async fn a_body_comes_back_token_by_token() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    let mut ann = node.client("@ann").await?;
    let body = r#"{"z":1.00,"a":1e400,"s":"\u0041\n😀","z":[null,-0,{"x":123456789012345678901234567890}]}"#;
    ann.text(format!(
        r#"{{"id":9,"send":{{"to":"@ann","body":{body}}}}}"#
    ))
    .await?;
    ann.find(|line| line["id"] == 9).await?;
    let mut other = WsClient::connect(&url(&node)).await?;
    other.text(r#"{"id":1,"hello":{"user":"@ann"}}"#).await?;
    other.text(r#"{"id":2,"history":{"of":"@ann"}}"#).await?;
    let raw = other.raw(|line| line.contains("\"events\"")).await?;
    ensure!(raw.contains(&format!(r#""body":{body}"#)), "{raw}");
    Ok(())
}

#[tokio::test]
async fn handshakes_that_are_not_welcome_get_their_status() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    let upgrade = |more: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n",
            node.listen
        )
    };
    for (request, status) in [
        (upgrade("Sec-WebSocket-Protocol: other.v9\r\n"), 400),
        (upgrade("Origin: http://evil.example\r\n"), 403),
        (
            format!(
                "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                node.listen
            ),
            426,
        ),
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(),
            403,
        ),
        (
            format!(
                "GET /nothing HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                node.listen
            ),
            404,
        ),
    ] {
        let (got, body) = cluster::refused(&node.listen, &request).await?;
        ensure!(
            got == status && !body.trim().is_empty(),
            "{status} expected: {got} {body}\n{request}"
        );
    }
    for offered in [
        "",
        "Sec-WebSocket-Protocol: chinwag.v1\r\n",
        "Sec-WebSocket-Protocol: other.v9, chinwag.v1\r\n",
    ] {
        let head = cluster::head(&node.listen, &upgrade(offered)).await?;
        ensure!(head.starts_with("HTTP/1.1 101"), "{head}");
        let echoed = head
            .to_lowercase()
            .contains("sec-websocket-protocol: chinwag.v1");
        ensure!(echoed != offered.is_empty(), "{offered:?}: {head}");
    }
    let own = format!("Origin: http://{}\r\n", node.listen);
    ensure!(
        cluster::head(&node.listen, &upgrade(&own))
            .await?
            .starts_with("HTTP/1.1 101")
    );
    Ok(())
}

#[tokio::test]
async fn a_nonce_tried_again_is_a_duplicate_and_with_another_body_a_conflict() -> Result<()> {
    let (_folder, [node]) = chain().await?;
    let mut ann = node.client("@ann").await?;
    let now = ann.ask("ping", json!({})).await?["time"]
        .as_u64()
        .unwrap_or_default();
    let nonce = mesh::id::Nonce::new(now, 42).to_string();
    let first = ann
        .ask(
            "send",
            json!({"to": "@bob", "body": {"a": 1, "b": 2}, "nonce": nonce}),
        )
        .await?;
    ensure!(first.get("duplicate").is_none(), "{first}");
    let again = ann
        .ask(
            "send",
            json!({"to": "@bob", "body": {"b": 2, "a": 1}, "nonce": nonce}),
        )
        .await?;
    ensure!(
        again["duplicate"] == true && again["id"] == first["id"],
        "{again}"
    );
    let other = ann
        .exchange("send", json!({"to": "@bob", "body": 3, "nonce": nonce}))
        .await?;
    ensure!(other["error"]["code"] == "conflict", "{other}");
    let future = mesh::id::Nonce::new(now + 100_000, 1).to_string();
    let refused = ann
        .exchange("send", json!({"to": "@bob", "body": 3, "nonce": future}))
        .await?;
    ensure!(refused["error"]["code"] == "bad_request", "{refused}");
    Ok(())
}
