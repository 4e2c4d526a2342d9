//! The client against a node that does what the test says: every line checked, every reply written
//! by hand.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::*;

const M1: &str = "01JD2K8M3V000G7T9QW4XN5BRA";
const M2: &str = "01JD2K8M3V001G7T9QW4XN5BRA";
const M3: &str = "01JD2K8M3V002G7T9QW4XN5BRA";

/// A node by hand.
struct Node(TcpListener);

/// A connection to it.
struct Talk(WebSocketStream<TcpStream>);

impl Node {
    async fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> String {
        format!("ws://{}/ws", self.0.local_addr().unwrap())
    }

    fn client(&self) -> (Client, Events) {
        Client::start(Options {
            endpoint: self.url().parse().unwrap(),
            user: "@alice".to_owned(),
            device: None,
            begin: Begin::Live,
            reconnect: Reconnect::Always,
        })
    }

    async fn accept(&self) -> Talk {
        let (tcp, _) = self.0.accept().await.unwrap();
        Talk(accept_hdr_async(tcp, agree).await.unwrap())
    }

    /// Accepts, and answers `hello`; its fields.
    async fn welcome(&self) -> (Talk, Value) {
        let mut talk = self.accept().await;
        let (id, hello) = talk.command("hello").await;
        let fields = json!({"user": "@alice", "device": "made-up", "session": "s", "node": "n",
            "mesh": "m", "server": "v", "time": 1_732_032_876_123_u64});
        talk.ok(id, fields).await;
        (talk, hello)
    }
}

/// The node speaks what the client offers.
#[expect(
    clippy::result_large_err,
    reason = "the shape of tungstenite's callback"
)]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers()["Sec-WebSocket-Protocol"].clone();
    assert_eq!(offered, "chinwag.v1");
    response
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", offered);
    Ok(response)
}

impl Talk {
    /// The next command; its number and fields.
    async fn command(&mut self, name: &str) -> (u64, Value) {
        let frame = self.0.next().await.unwrap().unwrap();
        let mut line: Value = serde_json::from_str(frame.to_text().unwrap()).unwrap();
        assert!(line.get(name).is_some(), "{name}: {line}");
        (line["id"].as_u64().unwrap(), line[name].take())
    }

    async fn line(&mut self, line: Value) {
        self.0.send(Frame::text(line.to_string())).await.unwrap();
    }

    async fn ok(&mut self, id: u64, fields: Value) {
        self.line(json!({"id": id, "ok": fields})).await;
    }

    async fn message(&mut self, id: &str, body: &str) {
        let message = json!({"in": "@bob", "id": id, "from": "@bob", "body": body, "nonce": id});
        self.line(json!({"message": message})).await;
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.0.close(Some(frame)).await.unwrap();
    }
}

async fn online(events: &mut Events) -> Welcome {
    match events.recv().await {
        Some(Event::Online(welcome)) => welcome,
        other => panic!("online, not {other:?}"),
    }
}

async fn offline(events: &mut Events) -> Duration {
    match events.recv().await {
        Some(Event::Offline { retry, .. }) => retry,
        other => panic!("offline, not {other:?}"),
    }
}

async fn body(events: &mut Events) -> Value {
    match events.recv().await {
        Some(Event::Message(message)) => message.body,
        other => panic!("a message, not {other:?}"),
    }
}

#[tokio::test]
async fn a_send_that_was_not_answered_is_repeated_under_its_nonce() {
    let node = Node::listen().await;
    let (client, mut events) = node.client();
    let (mut talk, _) = node.welcome().await;
    online(&mut events).await;
    let sending = client.submit(Draft::text("@bob", "hi")).await.unwrap();
    let (_, first) = talk.command("send").await;
    drop(talk);
    offline(&mut events).await;

    let (mut talk, hello) = node.welcome().await;
    assert_eq!(hello["device"], "made-up", "the same session goes on");
    online(&mut events).await;
    let (id, again) = talk.command("send").await;
    assert_eq!(again, first);
    talk.ok(id, json!({"id": M1, "copies": 2, "duplicate": true}))
        .await;
    let sent = sending.kept().await.unwrap();
    assert_eq!((sent.id.to_string().as_str(), sent.copies), (M1, 2));
    assert!(sent.duplicate);
}

#[tokio::test]
async fn nonces_carry_the_nodes_time_and_differ() {
    let node = Node::listen().await;
    let (client, mut events) = node.client();
    let (mut talk, _) = node.welcome().await;
    online(&mut events).await;
    let mut nonces = Vec::new();
    for _ in 0..2 {
        client.submit(Draft::text("@bob", "hi")).await.unwrap();
        let (_, fields) = talk.command("send").await;
        nonces.push(fields["nonce"].as_str().unwrap().parse::<Nonce>().unwrap());
    }
    assert_ne!(nonces[0], nonces[1]);
    let off = nonces[0].unix_ms().abs_diff(1_732_032_876_123);
    assert!(off < 60_000, "{off} ms off the node's clock");
}

#[tokio::test]
async fn a_refusal_that_may_pass_is_tried_again_and_another_is_not() {
    let node = Node::listen().await;
    let (client, mut events) = node.client();
    let (mut talk, _) = node.welcome().await;
    online(&mut events).await;
    let sending = client.submit(Draft::text("@bob", "hi")).await.unwrap();
    let (id, first) = talk.command("send").await;
    let refusal = json!({"code": "unavailable", "message": "m", "retry_after_ms": 1});
    talk.line(json!({"id": id, "error": refusal})).await;
    let (id, again) = talk.command("send").await;
    assert_eq!(first, again);
    let refusal = json!({"code": "too_large", "message": "m"});
    talk.line(json!({"id": id, "error": refusal})).await;
    assert_eq!(sending.kept().await.unwrap_err().code(), Some("too_large"));
}

#[tokio::test]
async fn after_a_break_it_resumes_and_shows_nothing_twice() {
    let node = Node::listen().await;
    let (_client, mut events) = node.client();
    let (mut talk, hello) = node.welcome().await;
    assert_eq!(hello.get("resume"), None);
    online(&mut events).await;
    talk.message(M1, "one").await;
    talk.message(M1, "one").await;
    talk.message(M2, "two").await;
    assert_eq!(body(&mut events).await, "one");
    assert_eq!(body(&mut events).await, "two");
    drop(talk);
    offline(&mut events).await;

    let (mut talk, hello) = node.welcome().await;
    let window = &hello["resume"]["@bob"];
    assert_eq!(window["upto"], M2);
    assert_eq!(
        (&window["count"], &window["digest"]),
        (&json!(2), &json!("41a6a9a3f919eaca"))
    );
    online(&mut events).await;
    talk.message(M2, "two").await;
    talk.message(M3, "three").await;
    let part = json!({"sent": 2, "more": false});
    talk.line(json!({"resumed": {"in": {"@bob": part}, "complete": true}}))
        .await;
    assert_eq!(body(&mut events).await, "three");
    assert!(matches!(events.recv().await, Some(Event::Resumed(_))));
}

#[tokio::test]
async fn what_a_resume_leaves_is_paged() {
    let node = Node::listen().await;
    let (_client, mut events) = node.client();
    let (mut talk, _) = node.welcome().await;
    online(&mut events).await;
    talk.message(M1, "one").await;
    body(&mut events).await;
    drop(talk);
    offline(&mut events).await;

    let (mut talk, _) = node.welcome().await;
    online(&mut events).await;
    talk.message(M2, "two").await;
    body(&mut events).await;
    let part = json!({"sent": 1, "more": true});
    talk.line(json!({"resumed": {"in": {"@bob": part}, "complete": true}}))
        .await;
    let (id, history) = talk.command("history").await;
    assert_eq!(history, json!({"of": "@bob", "after": M2, "limit": 200}));
    let message = json!({"in": "@bob", "id": M3, "from": "@bob", "body": "three", "nonce": M3});
    talk.ok(id, json!({"events": [{"message": message}], "more": false}))
        .await;
    assert!(matches!(events.recv().await, Some(Event::Resumed(_))));
    assert_eq!(body(&mut events).await, "three");
}

#[tokio::test]
async fn a_bye_is_obeyed_and_the_nodes_it_names_are_tried() {
    let (node, other) = (Node::listen().await, Node::listen().await);
    let (_client, mut events) = node.client();
    let (mut talk, _) = node.welcome().await;
    online(&mut events).await;
    let bye = json!({"reason": "shutdown", "reconnect_after_ms": 30, "try": [other.url()]});
    talk.line(json!({"bye": bye})).await;
    talk.close(4010).await;
    assert!(matches!(events.recv().await, Some(Event::Bye(_))));
    assert_eq!(offline(&mut events).await, Duration::from_millis(30));
    let (_talk, hello) = other.welcome().await;
    assert_eq!(hello["device"], "made-up");
    online(&mut events).await;
}

#[tokio::test]
async fn a_replaced_client_stays_away() {
    let node = Node::listen().await;
    let (client, mut events) = node.client();
    let (talk, _) = node.welcome().await;
    online(&mut events).await;
    talk.close(4009).await;
    assert_eq!(events.recv().await, Some(Event::Stopped(Stopped::Replaced)));
    assert_eq!(events.recv().await, None);
    let late = client.command("ping", json!({})).await;
    assert_eq!(late, Err(CommandError::Disconnected));
}

#[tokio::test]
async fn a_refused_hello_is_the_end() {
    let node = Node::listen().await;
    let (_client, mut events) = node.client();
    let mut talk = node.accept().await;
    let (id, _) = talk.command("hello").await;
    let refusal = json!({"code": "unauthenticated", "message": "no"});
    talk.line(json!({"id": id, "error": refusal})).await;
    talk.close(4001).await;
    let Some(Event::Stopped(Stopped::Refused(refusal))) = events.recv().await else {
        panic!("stopped");
    };
    assert_eq!(refusal.code, "unauthenticated");
}

#[tokio::test]
async fn a_command_whose_connection_breaks_fails_at_once() {
    let node = Node::listen().await;
    let (client, mut events) = node.client();
    let (mut talk, _) = node.welcome().await;
    online(&mut events).await;
    let asking = tokio::spawn(async move { client.command("ping", json!({})).await });
    talk.command("ping").await;
    drop(talk);
    assert_eq!(asking.await.unwrap(), Err(CommandError::Disconnected));
}

#[tokio::test]
async fn closing_says_goodbye_with_1000() {
    let node = Node::listen().await;
    let (client, mut events) = node.client();
    let (mut talk, _) = node.welcome().await;
    online(&mut events).await;
    let closing = tokio::spawn(client.close());
    let frame = talk.0.next().await.unwrap().unwrap();
    let Frame::Close(Some(frame)) = frame else {
        panic!("{frame:?}");
    };
    assert_eq!(u16::from(frame.code), 1000);
    drop(talk);
    closing.await.unwrap();
}
