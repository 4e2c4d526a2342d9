//! The HTTP side: paths, hosts, origins, the operator's pages.

use super::super::{Allowed, Config};
use super::clients::upgrade;
use super::rig::*;

#[tokio::test]
async fn a_plain_request_to_ws_is_told_to_upgrade() {
    let rig = Rig::start();
    let (status, answer) = get(rig.address, "/ws", "").await;
    assert_eq!(status, 426);
    assert!(answer.contains("WebSocket"), "{answer}");
    let host = rig.address;
    let post = format!("POST /ws HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert_eq!(http(rig.address, &post).await.0, 426);
    let old = upgrade(&host.to_string(), "").replace("Version: 13", "Version: 8");
    assert_eq!(
        http(
            rig.address,
            &old.replace("Connection: Upgrade", "Connection: Upgrade, close")
        )
        .await
        .0,
        426
    );
    assert_eq!(rig.counter("front_refused_upgrade_total"), 3);
    rig.stop().await;
}

/// The answer to an upgrade that is refused.
async fn refused(rig: &Rig, host: &str, headers: &str) -> u16 {
    let request =
        upgrade(host, headers).replace("Connection: Upgrade", "Connection: Upgrade, close");
    http(rig.address, &request).await.0
}

/// The head of the answer to an upgrade.
async fn accepted(rig: &Rig, headers: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = within(tokio::net::TcpStream::connect(rig.address))
        .await
        .unwrap();
    let request = upgrade(&rig.address.to_string(), headers);
    within(stream.write_all(request.as_bytes())).await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(within(stream.read_u8()).await.unwrap()));
    }
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    head.to_ascii_lowercase()
}

#[tokio::test]
async fn the_subprotocol_is_echoed_where_offered_and_others_alone_are_refused() {
    let rig = Rig::start();
    let ours = "sec-websocket-protocol: chinwag.v1\r\n";
    assert!(
        accepted(&rig, "Sec-WebSocket-Protocol: chinwag.v1\r\n")
            .await
            .contains(ours)
    );
    assert!(
        accepted(&rig, "Sec-WebSocket-Protocol: mqtt, chinwag.v1\r\n")
            .await
            .contains(ours)
    );
    assert!(!accepted(&rig, "").await.contains("sec-websocket-protocol"));
    let host = rig.address.to_string();
    assert_eq!(
        refused(&rig, &host, "Sec-WebSocket-Protocol: chinwag.v2\r\n").await,
        400
    );
    assert_eq!(rig.counter("front_refused_subprotocol_total"), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_foreign_origin_is_refused_unless_allowed() {
    let allowed = Allowed::new(&["https://chat.example".to_owned()]);
    let rig = Rig::with(Config {
        allowed,
        ..config()
    });
    let host = rig.address.to_string();
    assert_eq!(
        refused(&rig, &host, "Origin: http://evil.example\r\n").await,
        403
    );
    assert_eq!(refused(&rig, &host, "Origin: null\r\n").await, 403);
    assert_eq!(rig.counter("front_refused_origin_total"), 2);
    accepted(&rig, &format!("Origin: http://{host}\r\n")).await;
    accepted(&rig, "Origin: https://chat.example\r\n").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_loopback_listener_refuses_hosts_that_are_names() {
    let rig = Rig::start();
    for path in ["/", "/healthz", "/metrics", "/nothing"] {
        assert_eq!(
            get(rig.address, path, "Host: evil.example\r\n").await.0,
            403,
            "{path}"
        );
    }
    assert_eq!(
        refused(&rig, "evil.example", "Origin: http://evil.example\r\n").await,
        403
    );
    assert_eq!(
        get(rig.address, "/healthz", "Host: localhost:8080\r\n")
            .await
            .0,
        200
    );
    assert_eq!(rig.counter("front_refused_host_total"), 5);
    rig.stop().await;
    let open = Rig::listening(config(), "0.0.0.0:0", None);
    assert_eq!(
        get(open.address, "/healthz", "Host: chat.example\r\n")
            .await
            .0,
        200
    );
    open.stop().await;
}

#[tokio::test]
async fn each_path_answers() {
    let rig = Rig::start();
    for (path, status, part) in [
        ("/", 200, "text/html"),
        ("/mesh", 200, "text/html"),
        ("/assets/app.css", 200, "text/css"),
        ("/assets/app.js", 200, "text/javascript"),
        ("/assets/icon.svg", 200, "image/svg+xml"),
        ("/assets/nothing", 404, "no such file"),
        ("/healthz", 200, "ok"),
        ("/readyz", 503, "no peer was reached yet"),
        ("/metrics", 200, "chinwag_up 1"),
        ("/api/mesh", 200, "{\"members\":[]}"),
        ("/api/route/@bob", 200, "{\"address\":\"@bob\"}"),
        ("/api/route/%40bob", 200, "{\"address\":\"@bob\"}"),
        ("/api/route/%23room", 200, "{\"address\":\"#room\"}"),
        ("/api/route/bob", 400, "a conversation is"),
        ("/api/other", 404, "no such path"),
        ("/nothing", 404, "no such path"),
        ("/../Cargo.toml", 404, "no such path"),
    ] {
        let (got, answer) = get(rig.address, path, "").await;
        assert_eq!(got, status, "{path}: {answer}");
        assert!(answer.contains(part), "{path}: {answer}");
        assert!(
            answer
                .to_ascii_lowercase()
                .contains("x-content-type-options: nosniff")
        );
    }
    let post = format!(
        "POST /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        rig.address
    );
    let (status, answer) = http(rig.address, &post).await;
    assert_eq!(status, 405);
    assert!(answer.contains("this path is for GET"), "{answer}");
    rig.stop().await;
}

#[tokio::test]
async fn a_page_loads_nothing_from_elsewhere() {
    let rig = Rig::start();
    let (_, page) = get(rig.address, "/", "").await;
    let policy = page
        .lines()
        .find(|line| {
            line.to_ascii_lowercase()
                .starts_with("content-security-policy")
        })
        .unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(policy.contains("connect-src 'self' ws:"), "{policy}");
    rig.stop().await;
}

const ADMIN: [&str; 4] = ["/metrics", "/mesh", "/api/mesh", "/api/route/@bob"];

#[tokio::test]
async fn with_an_admin_listener_the_operators_pages_answer_there_only() {
    let rig = Rig::listening(config(), "127.0.0.1:0", Some("127.0.0.1:0"));
    let admin = rig.admin.unwrap();
    for path in ADMIN {
        assert_eq!(get(rig.address, path, "").await.0, 403, "{path}");
        assert_eq!(get(admin, path, "").await.0, 200, "{path}");
    }
    for path in ["/api/", "/api", "/api/x"] {
        assert_eq!(get(rig.address, path, "").await.0, 403, "{path}");
    }
    assert_eq!(rig.counter("front_refused_admin_total"), 7);
    for address in [rig.address, admin] {
        assert_eq!(get(address, "/healthz", "").await.0, 200);
        assert_eq!(get(address, "/readyz", "").await.0, 503);
        assert_eq!(get(address, "/assets/mesh.js", "").await.0, 200);
    }
    assert_eq!(get(rig.address, "/", "").await.0, 200);
    assert_eq!(get(admin, "/", "").await.0, 404);
    assert_eq!(get(admin, "/ws", "").await.0, 404);
    rig.stop().await;
}

#[tokio::test]
async fn off_loopback_without_an_admin_listener_the_operators_pages_answer_nowhere() {
    let rig = Rig::listening(config(), "0.0.0.0:0", None);
    for path in ADMIN {
        assert_eq!(get(rig.address, path, "").await.0, 403, "{path}");
    }
    assert_eq!(get(rig.address, "/healthz", "").await.0, 200);
    assert_eq!(get(rig.address, "/", "").await.0, 200);
    rig.stop().await;
}

#[tokio::test]
async fn a_stopping_node_takes_no_new_sessions_and_keeps_the_others() {
    let rig = Rig::start();
    let mut client = Client::hello(&rig, "@alice").await;
    rig.front.stop_accepting();
    assert_eq!(refused(&rig, &rig.address.to_string(), "").await, 503);
    assert_eq!(rig.counter("front_refused_stopping_total"), 1);
    assert_eq!(get(rig.address, "/healthz", "").await.0, 200);
    assert_eq!(get(rig.address, "/readyz", "").await.0, 503);
    client.say(r#"{"id":1,"ping":{}}"#).await;
    assert_eq!(client.line().await["id"], 1);
    rig.stop().await;
}

#[tokio::test]
async fn junk_instead_of_http_is_refused_and_counted() {
    let rig = Rig::start();
    let (status, _) = http(rig.address, "\u{1}\u{2} junk\r\n\r\n").await;
    assert_eq!(status, 400);
    assert_eq!(rig.counter("front_bad_http_total"), 1);
    rig.stop().await;
}
