//! What is too large, too many, too slow or too silent.

use std::time::Duration;

use mesh::command::Command;
use mesh::id::SessionId;
use mesh::proto::input::{Closing, Input};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::super::connection::{Connection, READ_BUFFER};
use super::super::{Config, Deadlines};
use super::clients::upgrade;
use super::rig::*;
use crate::session::conn::{Conn, UNANSWERED_MAX};

#[tokio::test]
async fn a_frame_as_large_as_the_limit_is_read_and_a_larger_one_closes_with_1009() {
    let rig = Rig::start();
    let mut client = Client::hello(&rig, "@alice").await;
    let mut frame = r#"{"id":1,"ping":{}}"#.to_owned();
    frame.extend(std::iter::repeat_n(' ', 65_536 - frame.len()));
    client.say(&frame).await;
    assert_eq!(client.line().await["id"], 1);
    frame.push(' ');
    client.say(&frame).await;
    assert_eq!(client.closed().await, 1009);
    assert_eq!(rig.counter("session_closed_too_large_total"), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_binary_frame_closes_with_1003() {
    let mut rig = Rig::start();
    let mut client = Client::open(&rig).await;
    let session = client.greet("@alice").await;
    client.send(Message::binary(b"{}".to_vec())).await;
    assert_eq!(client.closed().await, 1003);
    assert_eq!(rig.hear_closed().await, (session, Closing::Lost));
    assert_eq!(rig.counter("session_closed_binary_total"), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_broken_frame_closes_with_1002() {
    let mut rig = Rig::start();
    let mut client = Client::open(&rig).await;
    let session = client.greet("@alice").await;
    // An unmasked frame, which no client may send.
    within(client.socket.get_mut().write_all(&[0x81, 0]))
        .await
        .unwrap();
    assert_eq!(client.closed().await, 1002);
    assert_eq!(rig.hear_closed().await, (session, Closing::Lost));
    rig.stop().await;
}

fn hurried(ping: u64, hello: u64) -> Config {
    let deadlines = Deadlines {
        ping: Duration::from_millis(ping),
        hello: Duration::from_millis(hello),
        ..deadlines()
    };
    Config {
        deadlines,
        ..config()
    }
}

#[tokio::test]
async fn a_connection_without_hello_closes_with_4001() {
    let rig = Rig::with(hurried(25_000, 200));
    let opened = tokio::time::Instant::now();
    let mut client = Client::open(&rig).await;
    let mut greeted = Client::hello(&rig, "@alice").await;
    assert_eq!(client.closed().await, 4001);
    assert!(opened.elapsed() >= Duration::from_millis(200), "not early");
    greeted.say(r#"{"id":1,"ping":{}}"#).await;
    assert_eq!(greeted.line().await["id"], 1);
    assert_eq!(rig.counter("session_closed_no_hello_total"), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_dropped_and_one_that_answers_is_not() {
    let mut rig = Rig::with(hurried(200, 10_000));
    let mut answering = Client::hello(&rig, "@alice").await;
    let answers = tokio::spawn(async move {
        let pings = |message: &Message| matches!(message, Message::Ping(_));
        let mut count = 0;
        while count < 6 {
            use futures_util::StreamExt as _;
            let message = within(answering.socket.next()).await.unwrap().unwrap();
            count += u32::from(pings(&message));
        }
        answering
    });
    let mut silent = within(TcpStream::connect(rig.address)).await.unwrap();
    let line = br#"{"hello":{"user":"@bob"}}"#;
    let mut bytes = upgrade(&rig.address.to_string(), "").into_bytes();
    bytes.extend([0x81, 0x80 | line.len() as u8, 0, 0, 0, 0]);
    bytes.extend(line);
    within(silent.write_all(&bytes)).await.unwrap();
    let mut got = Vec::new();
    // Reset or closed: a dead client is told nothing.
    let _ = within(silent.read_to_end(&mut got)).await;
    assert!(got.ends_with(&[0x89, 0]), "it was pinged: {got:?}");
    assert_eq!(rig.hear_closed().await.1, Closing::Lost);
    assert_eq!(rig.counter("session_dropped_silent_total"), 1);
    let mut answering = within(answers).await.unwrap();
    answering.say(r#"{"id":1,"ping":{}}"#).await;
    assert_eq!(answering.line().await["id"], 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_ping_of_the_client_is_answered() {
    let rig = Rig::start();
    let mut client = Client::hello(&rig, "@alice").await;
    client.send(Message::Ping(b"hi".to_vec().into())).await;
    use futures_util::StreamExt as _;
    let pong = within(client.socket.next()).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(b"hi".to_vec().into()));
    rig.stop().await;
}

#[tokio::test]
async fn a_connection_that_sends_no_request_in_time_is_hung_up_on() {
    let head = Duration::from_millis(200);
    let deadlines = Deadlines {
        head,
        ..deadlines()
    };
    let rig = Rig::with(Config {
        deadlines,
        ..config()
    });
    let slow = [
        "",
        "GET /healthz HTTP/1.1\r\nHost: lo",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for request in slow {
        // Ends only because the node hangs up.
        let mut stream = within(TcpStream::connect(rig.address)).await.unwrap();
        within(stream.write_all(request.as_bytes())).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
    }
    let mut client = Client::hello(&rig, "@alice").await;
    client.say(r#"{"id":1,"ping":{}}"#).await;
    assert_eq!(client.line().await["id"], 1);
    rig.stop().await;
}

/// A client whose system takes little unread.
async fn narrow(rig: &Rig, user: &str) -> (Client, SessionId) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = within(socket.connect(rig.address)).await.unwrap();
    let mut client = Client::over(stream, rig.address).await.unwrap();
    let session = client.greet(user).await;
    (client, session)
}

#[tokio::test]
async fn a_slow_reader_is_closed_with_4008_and_nobody_else_is() {
    let patient = Config {
        deadlines: Deadlines::default(),
        ..config()
    };
    let mut rig = Rig::with(patient);
    let mut reader = Client::open(&rig).await;
    let reads = reader.greet("@bob").await;
    let (mut slow, session) = narrow(&rig, "@alice").await;
    let mut sent = 0_u32;
    let closed = loop {
        rig.deliver(
            (0..16)
                .map(|_| signal(&[session, reads], "x", 4096))
                .collect(),
        )
        .await;
        for _ in 0..16 {
            assert_eq!(reader.line().await["signal"]["kind"], "x");
        }
        sent += 16;
        assert!(
            sent < 10_000,
            "a client that reads nothing is closed within 40 MB"
        );
        if let Ok(Input::Closed { session, closing }) = rig.heard.try_recv() {
            break (session, closing);
        }
    };
    assert_eq!(closed, (session, Closing::Lost));
    assert_eq!(rig.counter("session_closed_too_slow_total"), 1);
    let mut received = 0;
    let code = loop {
        match slow.message().await {
            Message::Text(lines) => received += lines.split('\n').count() as u32,
            Message::Close(frame) => break u16::from(frame.unwrap().code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 4008);
    assert!(received < sent, "what waited was dropped");
    reader.say(r#"{"id":1,"ping":{}}"#).await;
    assert_eq!(reader.line().await["id"], 1);
    drop((slow, reader));
    rig.stop().await;
}

#[tokio::test]
async fn a_burst_that_the_socket_takes_closes_nobody() {
    let rig = Rig::start();
    let mut client = Client::open(&rig).await;
    let session = client.greet("@alice").await;
    rig.deliver((0..100).map(|_| signal(&[session], "x", 4096)).collect())
        .await;
    for _ in 0..100 {
        assert_eq!(client.line().await["signal"]["kind"], "x");
    }
    rig.stop().await;
}

#[tokio::test]
async fn histories_wait_for_room_and_never_close_a_slow_reader() {
    let mut rig = Rig::start();
    let (mut slow, session) = narrow(&rig, "@bob").await;
    for id in 0..40 {
        slow.say(&format!(
            r#"{{"id":{id},"history":{{"of":"@alice","limit":200}}}}"#
        ))
        .await;
    }
    // The machine of this test does not wait to be told of room, so what waits is above any bound for
    // live lines: 40 replies of 200 KiB.
    while !matches!(rig.hear().await, Input::Drained { session: its } if its == session) {}
    for _ in 0..40 {
        assert_eq!(
            slow.line().await["ok"]["events"].as_array().unwrap().len(),
            200
        );
    }
    assert_eq!(rig.counter("session_closed_too_slow_total"), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_not_read_either() {
    let mut rig = Rig::start();
    let (mut slow, _) = narrow(&rig, "@bob").await;
    const LINES: usize = 10_000;
    const FRAMES: usize = 8;
    // Junk is answered by the front alone, each line with more than it took to send.
    let junk = "x\n".repeat(LINES);
    let mut sending = tokio::spawn(async move {
        for _ in 0..FRAMES {
            slow.say(&junk).await;
        }
        for _ in 0..FRAMES * LINES {
            assert_eq!(slow.line().await["error"]["code"], "bad_request");
        }
        slow
    });
    let mut slow = within(&mut sending).await.unwrap();
    slow.say(r#"{"id":1,"ping":{}}"#).await;
    assert_eq!(slow.line().await["id"], 1);
    assert_eq!(rig.counter("session_closed_too_slow_total"), 0);
    assert!(matches!(
        rig.hear().await,
        Input::Command {
            command: Command::Hello(_),
            ..
        }
    ));
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
async fn no_more_commands_are_handed_on_than_may_be_unanswered() {
    let mut rig = Rig::start();
    let mut greedy = Client::open(&rig).await;
    let session = greedy.greet("@alice").await;
    let mut other = Client::hello(&rig, "@bob").await;
    rig.fall_silent().await;
    let pings: Vec<_> = (0..200)
        .map(|id| match id % 2 {
            0 => format!(r#"{{"id":{id},"ping":{{}}}}"#),
            _ => r#"{"ping":{}}"#.to_owned(),
        })
        .collect();
    greedy.say(&pings.join("\n")).await;
    let mut greedys = 0;
    while greedys < UNANSWERED_MAX {
        greedys += u32::from(is_ping(&rig.hear().await, session));
    }
    other.say(r#"{"id":1,"ping":{}}"#).await;
    assert!(
        !is_ping(&rig.hear().await, session),
        "the other client is heard next"
    );
    rig.speak_again().await;
    assert_eq!(other.line().await["id"], 1);
    for id in (0..200).step_by(2) {
        assert_eq!(greedy.line().await["id"], id);
    }
    rig.stop().await;
}

fn is_ping(input: &Input, of: SessionId) -> bool {
    matches!(input, Input::Command { session, command: Command::Ping, .. } if *session == of)
}

#[tokio::test]
async fn one_session_too_many_is_closed_with_4029() {
    let config = Config {
        max_sessions: Some(1),
        ..config()
    };
    let mut rig = Rig::with(config);
    let mut first = Client::open(&rig).await;
    let mut second = Client::open(&rig).await;
    assert_eq!(second.closed().await, 4029);
    assert_eq!(rig.counter("session_closed_too_many_total"), 1);
    let session = first.greet("@alice").await;
    drop(first);
    assert_eq!(rig.hear_closed().await.0, session);
    Client::hello(&rig, "@bob").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_connection_reads_with_a_small_buffer() {
    let rig = Rig::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (reader, writer) = within(listener.accept()).await.unwrap().0.into_split();
    let shared = rig.front.shared.clone();
    let conn = shared.registry.insert(|id| Conn::new(id, writer, 0));
    let connection = Connection::new(reader, conn, shared, Vec::new()).await;
    assert_eq!(connection.socket.get_config().read_buffer_size, READ_BUFFER);
    assert_eq!(READ_BUFFER, 1024);
    drop(client);
    within(connection.run()).await;
    rig.stop().await;
}
