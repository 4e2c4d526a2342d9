//! Sessions: shapes, order, closing.

use mesh::command::{Command, Push, Reply};
use mesh::id::{Address, SessionId};
use mesh::proto::input::{Closing, Input};
use mesh::proto::output::{CloseCode, Output};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, coding::CloseCode as Code};

use super::rig::*;

#[tokio::test]
async fn a_session_says_hello_and_is_answered() {
    let mut rig = Rig::start();
    let mut client = Client::open(&rig).await;
    client
        .say(r#"{"id":1,"hello":{"user":"@alice","device":"phone"}}"#)
        .await;
    let reply = client.line().await;
    assert_eq!(reply["id"], 1);
    assert_eq!(reply["ok"]["user"], "@alice");
    assert_eq!(reply["ok"]["device"], "phone");
    assert_eq!(reply["ok"]["mesh"], "default");
    assert_eq!(reply["ok"]["limits"]["frame"], 65536);
    assert_eq!(reply["ok"]["features"][0], "hello");
    assert!(matches!(
        rig.hear().await,
        Input::Command {
            request: Some(1),
            command: Command::Hello(_),
            ..
        }
    ));
    drop(client);
    rig.stop().await;
}

#[tokio::test]
async fn commands_may_be_pipelined_behind_hello_in_one_frame() {
    let rig = Rig::start();
    let mut client = Client::open(&rig).await;
    client
        .say("{\"hello\":{\"user\":\"@alice\"}}\n\n{\"id\":1,\"ping\":{}}\r\n{\"id\":2,\"ping\":{}}\n")
        .await;
    assert_eq!(client.line().await, json!({"id": 1, "ok": {"time": 1}}));
    assert_eq!(client.line().await, json!({"id": 2, "ok": {"time": 1}}));
    rig.stop().await;
}

#[tokio::test]
async fn the_first_frame_may_come_with_the_last_bytes_of_the_handshake() {
    let rig = Rig::start();
    let mut stream = within(TcpStream::connect(rig.address)).await.unwrap();
    let line = br#"{"id":1,"hello":{"user":"@alice"}}"#;
    let mut bytes = upgrade(&rig.address.to_string(), "").into_bytes();
    // Masked with zeros: masked to the rules, readable here.
    bytes.extend([0x81, 0x80 | line.len() as u8, 0, 0, 0, 0]);
    bytes.extend(line);
    within(stream.write_all(&bytes)).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("\"features\"") {
        let mut part = [0; 1024];
        let count = within(stream.read(&mut part)).await.unwrap();
        assert!(count > 0, "{answer}");
        answer += &String::from_utf8_lossy(&part[..count]);
    }
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    rig.stop().await;
}

/// The request of a WebSocket handshake.
pub(super) fn upgrade(host: &str, headers: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

#[tokio::test]
async fn a_line_that_cannot_be_read_gets_an_error_and_the_session_goes_on() {
    let rig = Rig::start();
    let mut client = Client::hello(&rig, "@alice").await;
    client
        .say("not json\n{\"id\":1,\"sned\":{}}\n{\"id\":\"x\",\"ping\":{}}\n{\"id\":2}")
        .await;
    client.say(r#"{"id":3,"ping":{}}"#).await;
    let errors = [
        client.line().await,
        client.line().await,
        client.line().await,
        client.line().await,
    ];
    assert_eq!(errors[0]["error"]["code"], "bad_request");
    assert_eq!(errors[0]["id"], json!(null));
    assert_eq!(
        errors[1],
        json!({"id": 1, "error": {"code": "unsupported", "message": "unknown command \"sned\""}})
    );
    assert_eq!(
        (&errors[2]["error"]["code"], &errors[2]["id"]),
        (&json!("bad_request"), &json!(null))
    );
    assert_eq!(
        (&errors[3]["error"]["code"], &errors[3]["id"]),
        (&json!("bad_request"), &json!(2))
    );
    assert_eq!(client.line().await["id"], 3);
    assert_eq!(rig.counter("session_refused_lines_total"), 4);
    rig.stop().await;
}

#[tokio::test]
async fn a_command_without_an_id_gets_no_reply_and_its_refusal_one_without_id() {
    let mut rig = Rig::start();
    let mut client = Client::hello(&rig, "@alice").await;
    client.say("{\"ping\":{}}\n{\"history\":{\"of\":\"@bob\"}}\n{\"send\":{\"to\":\"bob\",\"body\":1}}").await;
    let error = client.line().await;
    assert_eq!(
        (&error["error"]["code"], &error["id"]),
        (&json!("bad_request"), &json!(null))
    );
    client.say(r#"{"id":9,"ping":{}}"#).await;
    assert_eq!(client.line().await["id"], 9);
    // The history that nobody reads was a bulk reply: the machine is told of room all the same.
    while !matches!(rig.hear().await, Input::Drained { .. }) {}
    rig.stop().await;
}

#[tokio::test]
async fn a_command_before_hello_is_unauthenticated_and_closes_with_4001() {
    for line in [
        r#"{"id":5,"ping":{}}"#,
        r#"{"id":5,"sned":{}}"#,
        r#"{"id":5,"send":{}}"#,
    ] {
        let mut rig = Rig::start();
        let mut client = Client::open(&rig).await;
        client
            .say(&format!("{line}\n{{\"hello\":{{\"user\":\"@alice\"}}}}"))
            .await;
        let error = client.line().await;
        assert_eq!(
            (&error["id"], &error["error"]["code"]),
            (&json!(5), &json!("unauthenticated"))
        );
        assert_eq!(client.closed().await, 4001);
        assert_eq!(rig.counter("session_closed_no_hello_total"), 1);
        assert!(
            rig.heard.try_recv().is_err(),
            "the machine hears nothing of it"
        );
        rig.stop().await;
    }
}

#[tokio::test]
async fn junk_before_hello_gets_an_error_and_hello_may_follow() {
    let rig = Rig::start();
    let mut client = Client::open(&rig).await;
    client.say("junk\n{\"id\":4}").await;
    assert_eq!(client.line().await["error"]["code"], "bad_request");
    assert_eq!(client.line().await["id"], 4);
    client.greet("@alice").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_hello_that_fails_gets_its_error_and_closes() {
    for (fields, error, close) in [
        (r#"{"user":"alice"}"#, "bad_request", 4001),
        (r#"[]"#, "bad_request", 4001),
        (r#"{"token":"t"}"#, "unauthenticated", 4003),
    ] {
        let mut rig = Rig::start();
        let mut client = Client::open(&rig).await;
        client.say(&format!(r#"{{"id":1,"hello":{fields}}}"#)).await;
        assert_eq!(client.line().await["error"]["code"], error);
        assert_eq!(client.closed().await, close);
        assert!(rig.heard.try_recv().is_err());
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_second_hello_is_a_bad_request_and_the_session_goes_on() {
    let rig = Rig::start();
    let mut client = Client::hello(&rig, "@alice").await;
    for hello in [r#"{"user":"@eve"}"#, r#"{"token":"t"}"#, "7"] {
        client.say(&format!(r#"{{"id":3,"hello":{hello}}}"#)).await;
        assert_eq!(client.line().await["error"]["code"], "bad_request");
    }
    client.say(r#"{"id":4,"ping":{}}"#).await;
    assert_eq!(client.line().await["id"], 4);
    rig.stop().await;
}

#[tokio::test]
async fn what_the_machine_says_in_one_batch_comes_in_one_frame() {
    let rig = Rig::start();
    let mut client = Client::open(&rig).await;
    let session = client.greet("@bob").await;
    rig.deliver(vec![signal(&[session], "a", 1), signal(&[session], "b", 1)])
        .await;
    let frame = client.message().await.into_text().unwrap();
    let kinds: Vec<_> = frame
        .split('\n')
        .map(|line| line.contains(r#""kind":"b""#))
        .collect();
    assert_eq!(kinds, [false, true]);
    rig.stop().await;
}

#[tokio::test]
async fn a_push_reaches_all_its_audience_in_order_with_what_is_theirs_alone() {
    let rig = Rig::start();
    let mut clients = Vec::new();
    let mut audience = Vec::new();
    for i in 0..6 {
        let mut client = Client::open(&rig).await;
        audience.push(client.greet(&format!("@u{i}")).await);
        clients.push(client);
    }
    let gone = SessionId(1 << 40);
    let everybody: Vec<_> = audience.iter().copied().chain([gone]).collect();
    let outputs = [
        vec![signal(&audience[..1], "own", 1)],
        vec![signal(&everybody, "shared", 200)],
        vec![signal(&audience[..1], "own", 1)],
    ];
    rig.deliver(outputs.concat()).await;
    for client in &mut clients[1..] {
        assert_eq!(client.line().await["signal"]["kind"], "shared");
    }
    for kind in ["own", "shared", "own"] {
        assert_eq!(clients[0].line().await["signal"]["kind"], kind);
    }
    assert_eq!(rig.counter("session_undelivered_total"), 1);
    rig.stop().await;
}

#[tokio::test]
async fn history_names_conversations_from_the_readers_side_and_drains() {
    let mut rig = Rig::start();
    let mut client = Client::open(&rig).await;
    let session = client.greet("@bob").await;
    client
        .say(r#"{"id":1,"history":{"of":"@alice","limit":200}}"#)
        .await;
    let reply = client.line().await;
    assert_eq!(reply["ok"]["events"].as_array().unwrap().len(), 200);
    assert_eq!(reply["ok"]["events"][0]["message"]["in"], "@alice");
    while rig.hear().await != (Input::Drained { session }) {}
    client.say(r#"{"id":2,"ping":{}}"#).await;
    assert_eq!(client.line().await["id"], 2);
    assert!(matches!(
        rig.hear().await,
        Input::Command {
            command: Command::Ping,
            ..
        }
    ));
    rig.stop().await;
}

#[tokio::test]
async fn the_machine_closes_with_its_code_after_what_it_said() {
    for (code, expected) in [
        (CloseCode::Normal, 1000),
        (CloseCode::NoHello, 4001),
        (CloseCode::Replaced, 4009),
        (CloseCode::Draining, 4010),
    ] {
        let mut rig = Rig::start();
        let mut client = Client::open(&rig).await;
        let session = client.greet("@bob").await;
        let late = Output::Reply {
            session,
            request: Some(1),
            reply: Reply::Done,
            bulk: false,
        };
        rig.deliver(vec![
            signal(&[session], "last", 1),
            close(session, code),
            late,
        ])
        .await;
        assert_eq!(client.line().await["signal"]["kind"], "last");
        assert_eq!(client.closed().await, expected);
        assert_eq!(rig.hear_closed().await, (session, Closing::Lost));
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_closes_with_1000_is_gone_and_any_other_is_lost() {
    let mut rig = Rig::start();
    for (code, closing) in [(Code::Normal, Closing::Gone), (Code::Away, Closing::Lost)] {
        let mut client = Client::open(&rig).await;
        let session = client.greet("@bob").await;
        let reason = "".into();
        client
            .send(Message::Close(Some(CloseFrame { code, reason })))
            .await;
        assert_eq!(client.closed().await, u16::from(code));
        assert_eq!(rig.hear_closed().await, (session, closing));
    }
    let mut client = Client::open(&rig).await;
    let session = client.greet("@bob").await;
    drop(client);
    assert_eq!(rig.hear_closed().await, (session, Closing::Lost));
    drop(Client::open(&rig).await);
    let mut client = Client::open(&rig).await;
    client.greet("@carol").await;
    assert!(
        matches!(rig.hear().await, Input::Command { .. }),
        "a connection without hello is no session to the machine"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_session_is_told_closed_exactly_once() {
    let mut rig = Rig::start();
    let mut client = Client::open(&rig).await;
    let session = client.greet("@bob").await;
    rig.deliver(vec![
        close(session, CloseCode::Replaced),
        close(session, CloseCode::Draining),
    ])
    .await;
    assert_eq!(client.closed().await, 4009);
    drop(client);
    assert_eq!(rig.hear_closed().await.0, session);
    let mut next = Client::open(&rig).await;
    let session = next.greet("@bob").await;
    next.send(Message::Close(None)).await;
    assert_eq!(rig.hear_closed().await, (session, Closing::Lost));
    rig.stop().await;
}

#[tokio::test]
async fn stopping_closes_what_is_left_with_4010() {
    let rig = Rig::start();
    let mut client = Client::hello(&rig, "@bob").await;
    let stop = tokio::spawn(rig.stop());
    assert_eq!(client.closed().await, 4010);
    drop(client);
    within(stop).await.unwrap();
}

#[tokio::test]
async fn bye_is_told_before_the_close() {
    let rig = Rig::start();
    let mut client = Client::open(&rig).await;
    let session = client.greet("@bob").await;
    let bye = Output::Push {
        audience: vec![session],
        push: Push::Bye {
            reason: mesh::command::ByeReason::Shutdown,
            reconnect_after_ms: 100,
            urls: vec!["ws://127.0.0.1:1/ws".to_owned()],
        },
        bulk: false,
    };
    rig.deliver(vec![bye, close(session, CloseCode::Draining)])
        .await;
    assert_eq!(client.line().await["bye"]["try"][0], "ws://127.0.0.1:1/ws");
    assert_eq!(client.closed().await, 4010);
    rig.stop().await;
}

#[tokio::test]
async fn a_signal_goes_from_one_client_to_another() {
    let rig = Rig::start();
    let mut alice = Client::hello(&rig, "@alice").await;
    let mut bob = Client::hello(&rig, "@bob").await;
    alice
        .say(r#"{"id":1,"signal":{"to":"@bob","kind":"typing","body":{"a": 1.50}}}"#)
        .await;
    assert_eq!(alice.line().await, json!({"id": 1, "ok": {"reached": 1}}));
    let frame = bob.message().await.into_text().unwrap();
    assert_eq!(
        frame.as_str(),
        r#"{"signal":{"in":"@alice","from":"@alice","kind":"typing","body":{"a": 1.50}}}"#
    );
    assert_eq!("@alice".parse::<Address>().unwrap().as_str(), "@alice");
    rig.stop().await;
}

/// Many clients on several threads at once: no answer and no push is lost to a missed wake-up.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn everything_arrives_when_many_clients_talk_at_once() {
    const CLIENTS: usize = 16;
    const SIGNALS: usize = 600;
    let rig = Rig::start();
    let mut clients = Vec::new();
    for i in 0..CLIENTS {
        clients.push(Client::hello(&rig, &format!("@u{i}")).await);
    }
    let talk = |i: usize, mut client: Client| async move {
        let to = (i + 1) % CLIENTS;
        let line =
            |id| format!(r#"{{"id":{id},"signal":{{"to":"@u{to}","kind":"k","body":{id}}}}}"#);
        for part in (0..SIGNALS).collect::<Vec<_>>().chunks(150) {
            let frame: Vec<_> = part.iter().map(line).collect();
            client.say(&frame.join("\n")).await;
        }
        let (mut answered, mut signalled) = (0, 0);
        while answered < SIGNALS || signalled < SIGNALS {
            let line = client.line().await;
            if line["id"].is_null() {
                assert_eq!(
                    line["signal"]["body"], signalled,
                    "one session's signals keep their order"
                );
                signalled += 1;
            } else {
                assert_eq!(line["id"], answered);
                answered += 1;
            }
        }
        client
    };
    let talking: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(i, client)| tokio::spawn(talk(i, client)))
        .collect();
    let mut clients = Vec::new();
    for task in talking {
        clients.push(within(task).await.unwrap());
    }
    drop(clients);
    rig.stop().await;
}
