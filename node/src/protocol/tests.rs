//! The shapes of the client protocol, as rules.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects; anything else fails it"
)]

use std::sync::Arc;

use mesh::command::*;
use mesh::event::{Event, EventKind, Json};
use mesh::id::{Address, Conversation, Device, EventId, NodeId, Nonce, SessionId, UserName};
use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};

use super::encode::{self, Reader};
use super::parse::{Parsed, Subject, lines, parse};
use super::{Identity, Limits};

const ID: &str = "01JD2K8M3V000G7T9QW4XN5BRA";
const NEXT: &str = "01JD2K8M3V001G7T9QW4XN5BRA";

fn id(text: &str) -> EventId {
    text.parse().unwrap()
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

fn address(name: &str) -> Address {
    name.parse().unwrap()
}

fn read(line: &str) -> Parsed {
    parse(line, &Limits::default())
}

/// The command of a line that is fine.
fn command(line: &str) -> Command {
    read(line)
        .asked
        .unwrap_or_else(|refused| panic!("{line}: {refused:?}"))
}

/// Number, code and message of a line that is not.
fn refused(line: &str) -> (Option<u64>, Code, String) {
    let parsed = read(line);
    match parsed.asked {
        Ok(command) => panic!("{line}: {command:?}"),
        Err(refused) => (
            parsed.request,
            refused.refusal.code,
            refused.refusal.message,
        ),
    }
}

fn is_bad(line: &str, request: Option<u64>) {
    let (got, code, message) = refused(line);
    assert_eq!(
        (got, code),
        (request, Code::BadRequest),
        "{line}: {message}"
    );
    assert!(!message.contains(" at line "), "{message}");
}

#[test]
fn an_id_is_a_whole_number_up_to_two_to_the_53rd() {
    assert_eq!(read(r#"{"id":0,"ping":{}}"#).request, Some(0));
    assert_eq!(
        read(r#"{"id":9007199254740992,"ping":{}}"#).request,
        Some(1 << 53)
    );
    assert_eq!(read(r#"{"ping":{},"id":7}"#).request, Some(7));
    assert_eq!(read(r#"{"ping":{}}"#).request, None);
    for id in [
        "9007199254740993",
        "-1",
        "1.5",
        "1e2",
        "\"1\"",
        "null",
        "{}",
        "99999999999999999999",
    ] {
        is_bad(&format!(r#"{{"id":{id},"ping":{{}}}}"#), None);
    }
    is_bad(r#"{"id":1,"id":2,"ping":{}}"#, None);
}

#[test]
fn a_line_has_exactly_one_command() {
    is_bad(r#"{"id":1}"#, Some(1));
    is_bad("{}", None);
    is_bad(r#"{"id":1,"ping":{},"watch":{"users":[]}}"#, Some(1));
    is_bad(r#"{"id":1,"ping":{},"ping":{}}"#, Some(1));
    is_bad(r#"{"id":1,"ping":{},"edit":{}}"#, Some(1));
    is_bad(r#"{"id":1,"ping":{},"sned":{}}"#, Some(1));
}

#[test]
fn unknown_fields_are_ignored() {
    assert_eq!(command(r#"{"id":1,"ping":{"a":[1]}}"#), Command::Ping);
    assert_eq!(command(r#"{"id":1,"trace":"x","ping":{}}"#), Command::Ping);
    assert_eq!(command(r#"{"id":1,"ping":{},"v":2}"#), Command::Ping);
}

#[test]
fn a_line_that_cannot_be_read_is_refused_with_its_id_where_one_came_before() {
    for line in [
        "not json",
        "[]",
        "7",
        "\"a\"",
        "null",
        "{",
        r#"{"id":-1,"ping":"#,
        r#"{"ping":{,"id":1}"#,
        "\u{0}",
    ] {
        is_bad(line, None);
        assert_eq!(read(line).asked.unwrap_err().subject, Subject::Line);
    }
    for line in [
        r#"{"id":1,"ping":{}"#,
        r#"{"id":1,"ping":{"a":"#,
        r#"{"id":1,"ping":{}} and more"#,
        r#"{"id":1,"ping":{}}{"id":2,"ping":{}}"#,
        r#"{"id":1,}"#,
    ] {
        is_bad(line, Some(1));
        assert_eq!(read(line).asked.unwrap_err().subject, Subject::Line);
    }
}

#[test]
fn a_frame_has_several_lines_and_empty_ones_are_ignored() {
    let frame = "{\"a\":1}\r\n\n \n{\"b\":2}\n";
    assert_eq!(
        lines(frame).collect::<Vec<_>>(),
        ["{\"a\":1}\r", "{\"b\":2}"]
    );
    assert_eq!(command("{\"ping\":{}}\r"), Command::Ping);
}

#[test]
fn an_unknown_command_is_unsupported_by_name() {
    let (request, code, message) = refused(r#"{"id":5,"sned":{}}"#);
    assert_eq!((request, code), (Some(5), Code::Unsupported));
    assert_eq!(message, r#"unknown command "sned""#);
    assert_eq!(refused(r#"{"sned":7}"#).1, Code::Unsupported);
    let long = format!(r#"{{"{}":{{}}}}"#, "x".repeat(10_000));
    assert!(refused(&long).2.len() < 100);
}

#[test]
fn a_command_that_is_not_offered_is_unsupported_with_a_sentence() {
    for name in super::NOT_OFFERED {
        let (request, code, message) = refused(&format!(r#"{{"id":5,"{name}":{{}}}}"#));
        assert_eq!((request, code), (Some(5), Code::Unsupported));
        assert!(message.contains("does not offer"), "{message}");
    }
}

#[test]
fn the_fields_of_a_command_are_an_object() {
    for fields in ["null", "[]", "7", r#"["@bob","hi"]"#, "true"] {
        is_bad(&format!(r#"{{"id":1,"send":{fields}}}"#), Some(1));
        is_bad(&format!(r#"{{"id":1,"ping":{fields}}}"#), Some(1));
    }
}

#[test]
fn send_is_read_in_full_and_with_the_least() {
    let nonce = "01JD2K8M3T9V5Z0C4R8M1K2P7Q";
    let line = format!(
        r##"{{"send":{{"to":"#general","body":{{"a":1.0}},"nonce":"{nonce}","reply_to":"{ID}","copies":3}}}}"##
    );
    assert_eq!(
        command(&line),
        Command::Send(Send {
            to: address("#general"),
            body: Json::from_valid(r#"{"a":1.0}"#),
            nonce: Some(nonce.parse::<Nonce>().unwrap()),
            reply_to: Some(id(ID)),
            copies: Some(3),
        })
    );
    assert_eq!(
        command(r#"{"send":{"to":"@bob","body":null,"nonce":null}}"#),
        Command::Send(Send {
            to: address("@bob"),
            body: Json::from_valid("null"),
            nonce: None,
            reply_to: None,
            copies: None,
        })
    );
}

#[test]
fn send_refuses_what_is_malformed() {
    for fields in [
        r#""body":1"#,
        r#""to":"@bob""#,
        r#""to":"bob","body":1"#,
        r#""to":"@","body":1"#,
        r#""to":7,"body":1"#,
        r#""to":"@bob","to":"@carol","body":1"#,
        r##""to":"#General","body":1"##,
        r#""to":"@bob","body":1,"copies":0"#,
        r#""to":"@bob","body":1,"copies":4"#,
        r#""to":"@bob","body":1,"copies":1.0"#,
        r#""to":"@bob","body":1,"nonce":"01jd2k8m3t9v5z0c4r8m1k2p7q""#,
        r#""to":"@bob","body":1,"nonce":"81JD2K8M3T9V5Z0C4R8M1K2P7Q""#,
        r#""to":"@bob","body":1,"nonce":"""#,
        r#""to":"@bob","body":1,"reply_to":"x""#,
        r#""to":"@bob","body":01"#,
    ] {
        let line = format!(r#"{{"id":3,"send":{{{fields}}}}}"#);
        is_bad(&line, Some(3));
    }
}

#[test]
fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
    let limits = Limits {
        body: 10,
        ..Limits::default()
    };
    for (command, rest) in [("send", ""), ("signal", r#","kind":"k""#)] {
        let line =
            |body: &str| format!(r#"{{"id":1,"{command}":{{"to":"@b","body":{body}{rest}}}}}"#);
        assert!(parse(&line("\"12345678\""), &limits).asked.is_ok());
        assert!(parse(&line("    \"12345678\"   "), &limits).asked.is_ok());
        let refused = parse(&line("\"123456789\""), &limits).asked.unwrap_err();
        assert_eq!(refused.refusal.code, Code::TooLarge);
    }
}

#[test]
fn signal_has_a_kind_and_perhaps_a_body() {
    let signal = |body: Option<&str>| Command::Signal {
        to: address("@bob"),
        kind: "typ\"ing".into(),
        body: body.map(Json::from_valid),
    };
    let line = |rest: &str| format!(r#"{{"signal":{{"to":"@bob","kind":"typ\"ing"{rest}}}}}"#);
    assert_eq!(command(&line("")), signal(None));
    assert_eq!(command(&line(r#","body":null"#)), signal(Some("null")));
    assert_eq!(command(&line(r#","body":[1]"#)), signal(Some("[1]")));
    is_bad(r#"{"signal":{"to":"@bob"}}"#, None);
}

#[test]
fn history_is_read_from_one_side_and_within_its_limit() {
    let history = |from, limit| Command::History {
        of: address("@bob"),
        from,
        limit,
    };
    let line = |rest: &str| format!(r#"{{"id":1,"history":{{"of":"@bob"{rest}}}}}"#);
    let with = |field: &str| line(&format!(r#","{field}":"{ID}""#));
    assert_eq!(command(&line("")), history(Page::Newest, 50));
    assert_eq!(command(&with("before")), history(Page::Before(id(ID)), 50));
    assert_eq!(command(&with("after")), history(Page::After(id(ID)), 50));
    assert_eq!(
        command(&line(r#","limit":200"#)),
        history(Page::Newest, 200)
    );
    assert_eq!(command(&line(r#","limit":1"#)), history(Page::Newest, 1));
    for rest in [
        r#","limit":201"#,
        r#","limit":0"#,
        r#","limit":-1"#,
        r#","limit":"5""#,
        r#","limit":99999999999"#,
        r#","before":"x""#,
    ] {
        is_bad(&line(rest), Some(1));
    }
    is_bad(
        &line(&format!(r#","before":"{ID}","after":"{ID}""#)),
        Some(1),
    );
}

#[test]
fn conversations_are_limited_to_500() {
    let conversations = |limit, before| Command::Conversations { limit, before };
    assert_eq!(command(r#"{"conversations":{}}"#), conversations(50, None));
    let line = format!(r#"{{"conversations":{{"limit":500,"before":"{ID}"}}}}"#);
    assert_eq!(command(&line), conversations(500, Some(id(ID))));
    is_bad(r#"{"conversations":{"limit":501}}"#, None);
}

#[test]
fn read_watch_and_unwatch_name_what_they_mean() {
    assert_eq!(
        command(&format!(r#"{{"read":{{"of":"@bob","upto":"{ID}"}}}}"#)),
        Command::Read {
            of: address("@bob"),
            upto: id(ID)
        }
    );
    is_bad(r#"{"read":{"of":"@bob"}}"#, None);
    assert_eq!(
        command(r#"{"watch":{"users":["@a","@b"]}}"#),
        Command::Watch(vec![user("@a"), user("@b")])
    );
    assert_eq!(
        command(r#"{"unwatch":{"users":[]}}"#),
        Command::Unwatch(vec![])
    );
    is_bad(r##"{"watch":{"users":["#room"]}}"##, None);
    let many = |count| json!({"watch": {"users": vec!["@a"; count]}}).to_string();
    assert!(read(&many(500)).asked.is_ok());
    is_bad(&many(501), None);
}

#[test]
fn hello_names_a_user_and_perhaps_a_device() {
    let hello = |device: Option<&str>, resume| {
        Command::Hello(Hello {
            user: user("@alice"),
            device: device.map(|device| Device::try_from(device).unwrap()),
            resume,
        })
    };
    assert_eq!(command(r#"{"hello":{"user":"@alice"}}"#), hello(None, None));
    assert_eq!(
        command(r#"{"hello":{"user":"@alice","device":"phone","resume":{}}}"#),
        hello(Some("phone"), Some([].into()))
    );
    for fields in [
        "{}",
        "[]",
        r#"{"user":"alice"}"#,
        r##"{"user":"#alice"}"##,
        r#"{"user":"@alice","device":""}"#,
        r#"{"user":"@alice","device":"a b"}"#,
        r#"{"user":"@alice","resume":[]}"#,
        r#"{"user":"@alice","resume":{"bob":{}}}"#,
    ] {
        let line = format!(r#"{{"id":1,"hello":{fields}}}"#);
        is_bad(&line, Some(1));
        assert_eq!(read(&line).asked.unwrap_err().subject, Subject::Hello);
    }
}

#[test]
fn a_name_is_not_enough_where_the_node_is_not_open_and_a_token_nowhere() {
    let closed = Limits {
        identity: Identity::Closed,
        ..Limits::default()
    };
    let line = r#"{"id":1,"hello":{"user":"@alice"}}"#;
    let refused = parse(line, &closed).asked.unwrap_err();
    assert_eq!(refused.refusal.code, Code::Unauthenticated);
    assert_eq!(refused.subject, Subject::Hello);
    for limits in [closed, Limits::default()] {
        for token in ["\"t\"", "7", "{}"] {
            let line = format!(r#"{{"id":1,"hello":{{"token":{token},"user":"@alice"}}}}"#);
            let refused = parse(&line, &limits).asked.unwrap_err();
            assert_eq!(refused.refusal.code, Code::Unauthenticated);
            assert_eq!(refused.subject, Subject::Token);
        }
    }
    let none = r#"{"hello":{"token":null,"user":"@alice","device":null,"resume":null}}"#;
    assert!(matches!(command(none), Command::Hello(Hello { .. })));
}

#[test]
fn a_resume_window_is_described_in_full_or_by_its_end() {
    let resume =
        |window: &str| format!(r#"{{"hello":{{"user":"@a","resume":{{"@bob":{window}}}}}}}"#);
    let window = |text: &str| match command(&resume(text)) {
        Command::Hello(Hello {
            resume: Some(windows),
            ..
        }) => windows[&address("@bob")],
        other => panic!("{other:?}"),
    };
    let upto = format!(r#"{{"upto":"{NEXT}"}}"#);
    assert_eq!(
        window(&upto),
        Window {
            upto: id(NEXT),
            exact: None
        }
    );
    let exact = |count: &str, digest: &str, after: &str| {
        format!(r#"{{"after":"{after}","upto":"{NEXT}","count":{count},"digest":"{digest}"}}"#)
    };
    assert_eq!(
        window(&exact("1000", "c4e08c34E8f18dd4", ID)).exact,
        Some(ExactWindow {
            after: id(ID),
            count: 1000,
            digest: 0xc4e0_8c34_e8f1_8dd4
        })
    );
    let digest = "c4e08c34e8f18dd4";
    for bad in [
        "{}".to_owned(),
        "[]".to_owned(),
        format!(r#"["{NEXT}"]"#),
        format!(r#"{{"upto":"{NEXT}","count":1}}"#),
        format!(r#"{{"upto":"{NEXT}","after":"{ID}"}}"#),
        exact("1001", digest, ID),
        exact("-1", digest, ID),
        exact("1", "c4e08c34e8f18dd", ID),
        exact("1", "+4e08c34e8f18dd4", ID),
        exact("1", digest, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
    ] {
        is_bad(&resume(&bad), None);
    }
}

#[test]
fn a_resume_names_at_most_a_thousand_conversations() {
    let resume = |count: usize| {
        let windows: serde_json::Map<String, Value> = (0..count)
            .map(|i| (format!("@u{i}"), json!({"upto": ID})))
            .collect();
        json!({"hello": {"user": "@a", "resume": windows}}).to_string()
    };
    assert!(read(&resume(1000)).asked.is_ok());
    is_bad(&resume(1001), None);
}

fn message(body: &str, nonce: Option<&str>, reply_to: Option<EventId>) -> Arc<Event> {
    Arc::new(Event {
        id: id(ID),
        conversation: Conversation::direct(user("@alice"), user("@bob")),
        author: user("@alice"),
        nonce: nonce.map(|nonce| nonce.parse().unwrap()),
        kind: EventKind::Message {
            body: Json::from_valid(body),
            reply_to,
        },
    })
}

/// The line of a reply, as text.
fn reply_text(reply: &Reply) -> String {
    let mut out = Vec::new();
    let bob = user("@bob");
    let reader = Reader {
        user: Some(&bob),
        session: SessionId(0x5f0c),
        mesh: "def\"ault",
        limits: &Limits::default(),
    };
    encode::reply(&mut out, 7, reply, &reader);
    String::from_utf8(out).unwrap()
}

fn push_text(push: &Push) -> String {
    let mut out = Vec::new();
    encode::push(&mut out, push);
    String::from_utf8(out).unwrap()
}

fn value(text: &str) -> Value {
    assert!(!text.contains('\n'), "{text}");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_welcome_holds_what_the_node_is_and_allows() {
    let node = NodeId([7; 32]);
    let welcome = Reply::Welcome {
        user: user("@bob"),
        device: Device::try_from("phone").unwrap(),
        node,
        unix_ms: 1_732_032_876_123,
    };
    assert_eq!(
        value(&reply_text(&welcome)),
        json!({"id": 7, "ok": {
            "user": "@bob", "device": "phone", "session": "0000000000005f0c", "node": node.to_string(),
            "mesh": "def\"ault", "server": env!("CARGO_PKG_VERSION"), "time": 1_732_032_876_123_u64,
            "limits": {"frame": 65536, "body": 32768, "history": 200, "resume_events": 500, "watch": 500},
            "features": super::FEATURES,
        }})
    );
}

#[test]
fn replies_have_the_fields_of_the_protocol_and_no_others() {
    let sent = |duplicate| Reply::Sent {
        id: id(ID),
        copies: 2,
        duplicate,
    };
    for (reply, expected) in [
        (sent(false), json!({"id": ID, "copies": 2})),
        (
            sent(true),
            json!({"id": ID, "copies": 2, "duplicate": true}),
        ),
        (Reply::Reached(3), json!({"reached": 3})),
        (Reply::Done, json!({})),
        (Reply::Pong(5), json!({"time": 5})),
        (
            Reply::Presence(vec![presence(true, None), presence(false, Some(9))]),
            json!({"presence": [
                {"user": "@carol", "online": true, "certain": true},
                {"user": "@carol", "online": false, "certain": true, "last_seen": 9},
            ]}),
        ),
    ] {
        assert_eq!(value(&reply_text(&reply)), json!({"id": 7, "ok": expected}));
    }
}

fn presence(online: bool, last_seen: Option<u64>) -> Presence {
    Presence {
        user: user("@carol"),
        online,
        certain: true,
        last_seen,
    }
}

#[test]
fn history_wraps_events_by_name_and_says_more_always_and_complete_when_false() {
    let nonce = "01JD2K8M3T9V5Z0C4R8M1K2P7Q";
    let history = |complete| Reply::History {
        events: vec![message("\"hi\"", Some(nonce), None)],
        more: false,
        complete,
    };
    let event = json!({"message": {"in": "@alice", "id": ID, "from": "@alice", "body": "hi", "nonce": nonce}});
    assert_eq!(
        value(&reply_text(&history(true))),
        json!({"id": 7, "ok": {"events": [event], "more": false}})
    );
    assert_eq!(
        value(&reply_text(&history(false))),
        json!({"id": 7, "ok": {"events": [event], "more": false, "complete": false}})
    );
}

#[test]
fn conversations_hold_the_last_message_as_in_history() {
    let listed = |read| Listed {
        of: address("@alice"),
        last: message("[1]", None, None),
        unread: 4,
        read,
    };
    let reply = Reply::Conversations {
        conversations: vec![listed(None), listed(Some(id(NEXT)))],
        more: true,
        complete: false,
    };
    let last = json!({"message": {"in": "@alice", "id": ID, "from": "@alice", "body": [1]}});
    assert_eq!(
        value(&reply_text(&reply)),
        json!({"id": 7, "ok": {"conversations": [
            {"of": "@alice", "last": last, "unread": 4},
            {"of": "@alice", "last": last, "unread": 4, "read": NEXT},
        ], "more": true, "complete": false}})
    );
}

#[test]
fn a_refusal_carries_the_number_where_there_is_one() {
    let refusal = Refusal::new(Code::NotMember, "a \"quoted\"\nline");
    let error = json!({"code": "not_member", "message": "a \"quoted\"\nline"});
    let reply = Reply::Error(refusal.clone());
    assert_eq!(value(&reply_text(&reply)), json!({"id": 7, "error": error}));
    let mut out = Vec::new();
    encode::refusal(&mut out, None, &refusal);
    assert_eq!(
        value(&String::from_utf8(out).unwrap()),
        json!({"error": error})
    );
}

#[test]
fn a_refusal_says_when_to_try_again_where_that_helps() {
    let mut refusal = Refusal::new(Code::RateLimited, "wait");
    refusal.retry_after_ms = Some(250);
    let error = json!({"code": "rate_limited", "message": "wait", "retry_after_ms": 250});
    assert_eq!(
        value(&reply_text(&Reply::Error(refusal))),
        json!({"id": 7, "error": error})
    );
}

#[test]
fn a_pushed_message_says_late_only_when_it_is() {
    let event = |late, reply_to| Push::Event {
        event: message("\"hi\"", None, reply_to),
        within: address("@alice"),
        late,
    };
    let fields = json!({"in": "@alice", "id": ID, "from": "@alice", "body": "hi"});
    assert_eq!(
        value(&push_text(&event(false, None))),
        json!({"message": fields})
    );
    let mut late = fields;
    late["late"] = json!(true);
    late["reply_to"] = json!(NEXT);
    assert_eq!(
        value(&push_text(&event(true, Some(id(NEXT))))),
        json!({"message": late})
    );
}

#[test]
fn pushes_have_the_fields_of_the_protocol_and_no_others() {
    let signal = |body: Option<&str>| Push::Signal {
        within: address("@alice"),
        from: user("@alice"),
        kind: "a\"b".into(),
        body: body.map(Json::from_valid),
    };
    let receipt = Push::Receipt {
        within: address("@alice"),
        user: user("@bob"),
        read: id(ID),
    };
    for (push, expected) in [
        (
            signal(None),
            json!({"signal": {"in": "@alice", "from": "@alice", "kind": "a\"b"}}),
        ),
        (
            signal(Some("null")),
            json!({"signal": {"in": "@alice", "from": "@alice", "kind": "a\"b", "body": null}}),
        ),
        (
            receipt,
            json!({"receipt": {"in": "@alice", "user": "@bob", "read": ID}}),
        ),
        (
            Push::Presence(presence(false, Some(1))),
            json!({"presence": {"user": "@carol", "online": false, "certain": true, "last_seen": 1}}),
        ),
    ] {
        assert_eq!(value(&push_text(&push)), expected);
    }
}

#[test]
fn resumed_gives_a_window_only_where_it_differed() {
    let resumed = |window| Resumed {
        sent: 3,
        more: false,
        window,
    };
    let push = Push::Resumed {
        conversations: [
            (address("@a"), resumed(None)),
            (address("#r"), resumed(Some((12, 0xab)))),
        ]
        .into(),
        complete: true,
    };
    assert_eq!(
        value(&push_text(&push)),
        json!({"resumed": {"in": {
            "@a": {"sent": 3, "more": false},
            "#r": {"sent": 3, "more": false, "count": 12, "digest": "00000000000000ab"},
        }, "complete": true}})
    );
}

#[test]
fn bye_says_where_else_to_go_only_where_there_is_one() {
    for (reason, name) in [
        (ByeReason::Shutdown, "shutdown"),
        (ByeReason::Drain, "drain"),
        (ByeReason::Replaced, "replaced"),
    ] {
        let bye = |urls| Push::Bye {
            reason,
            reconnect_after_ms: 250,
            urls,
        };
        let fields = json!({"reason": name, "reconnect_after_ms": 250});
        assert_eq!(value(&push_text(&bye(vec![]))), json!({"bye": fields}));
        let mut fields = fields;
        fields["try"] = json!(["ws://a/ws"]);
        let urls = vec!["ws://a/ws".to_owned()];
        assert_eq!(value(&push_text(&bye(urls))), json!({"bye": fields}));
    }
}

#[test]
fn the_protocols_own_conversation_is_spoken_to_the_letter() {
    let nonce = "01JD2K8M3T9V5Z0C4R8M1K2P7Q";
    let push = Push::Event {
        event: message("\"hi\"", Some(nonce), None),
        within: address("@alice"),
        late: false,
    };
    assert_eq!(
        push_text(&push),
        r#"{"message":{"in":"@alice","id":"01JD2K8M3V000G7T9QW4XN5BRA","from":"@alice","body":"hi","nonce":"01JD2K8M3T9V5Z0C4R8M1K2P7Q"}}"#
    );
    let sent = Reply::Sent {
        id: id(ID),
        copies: 2,
        duplicate: true,
    };
    assert_eq!(
        reply_text(&sent),
        r#"{"id":7,"ok":{"id":"01JD2K8M3V000G7T9QW4XN5BRA","copies":2,"duplicate":true}}"#
    );
}

/// JSON as clients may write it: any tokens, white space anywhere but line feeds.
fn json_text() -> impl Strategy<Value = String> {
    let space = "[ \t\r]{0,2}";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-0.0e+07".to_owned()),
        Just("12345678901234567890123".to_owned()),
        Just(r#""\u0041\/\ud83d\ude00\ud800""#.to_owned()),
        any::<f64>()
            .prop_filter("JSON has no infinity", |n| n.is_finite())
            .prop_map(|n| format!("{n:e}")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let item = (space, inner.clone(), space).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        let field = (any::<String>(), item.clone())
            .prop_map(|(key, value)| format!("{}:{value}", serde_json::to_string(&key).unwrap()));
        prop_oneof![
            prop::collection::vec(item, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(field, 0..5)
                .prop_map(|fields| format!("{{{}}}", fields.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn junk_is_refused_or_read_but_never_a_panic(frame in any::<String>()) {
        for line in lines(&frame) {
            let _ = read(line);
        }
    }

    #[test]
    fn what_looks_like_a_command_is_never_a_panic(
        name in "hello|send|signal|history|conversations|read|watch|ping|sned",
        fields in prop::collection::vec(("to|of|body|user|users|nonce|limit|resume|upto|id", json_text()), 0..4),
        id in json_text(),
    ) {
        let fields: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let line = format!("{{\"id\":{id},\"{name}\":{{{}}}}}", fields.join(","));
        let _ = read(&line);
        for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
            prop_assert!(read(&line[..end]).asked.is_err());
        }
    }

    #[test]
    fn a_body_is_given_back_as_it_came(body in json_text()) {
        let line = format!(r#"{{"send":{{"body": {body} ,"to":"@bob"}}}}"#);
        let Command::Send(send) = command(&line) else { panic!("{line}") };
        prop_assert_eq!(send.body.as_str(), &body);
        let pushed = push_text(&Push::Event {
            event: message(&body, None, None),
            within: address("@alice"),
            late: false,
        });
        #[derive(serde::Deserialize)]
        struct Pushed<'a> { #[serde(borrow)] message: Message<'a> }
        #[derive(serde::Deserialize)]
        struct Message<'a> { #[serde(borrow)] body: &'a RawValue }
        let pushed: Pushed<'_> = serde_json::from_str(&pushed).unwrap();
        prop_assert_eq!(pushed.message.body.get(), body);
    }

    #[test]
    fn whatever_people_write_is_escaped(kind in any::<String>(), message in any::<String>()) {
        let signal = Push::Signal {
            within: address("@a"),
            from: user("@a"),
            kind: kind.as_str().into(),
            body: None,
        };
        prop_assert_eq!(&value(&push_text(&signal))["signal"]["kind"], &json!(kind));
        let error = Reply::Error(Refusal::new(Code::Internal, message.clone()));
        prop_assert_eq!(&value(&reply_text(&error))["error"]["message"], &json!(message));
    }
}
