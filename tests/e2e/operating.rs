//! Flags, endpoints, signals and exit statuses, as operators and their scripts rely on them.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::cluster::{self, Node, eventually, program};

fn run(args: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = Command::new(program())
        .args(args)
        .env_remove("CHINWAG_MESH_KEY")
        .output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    ))
}

#[tokio::test]
async fn the_endpoints_answer_as_documented() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(&folder.path().join("data"), &[]).await?;
    node.ready().await?;
    ensure!(node.get("/healthz").await?.0 == 200);
    let (status, metrics) = node.get("/metrics").await?;
    ensure!(
        status == 200 && metrics.contains("# TYPE ") && metrics.contains("chinwag_"),
        "{metrics}"
    );
    for page in ["/", "/mesh"] {
        let (status, body) = node.get(page).await?;
        ensure!(
            status == 200 && body.contains("<!doctype html") || body.contains("<!DOCTYPE html"),
            "{page}: {status}"
        );
    }
    let _ann = node.client("@ann").await?;
    let view = node.mesh_view().await?;
    for field in [
        "node",
        "mesh",
        "version",
        "epoch",
        "members",
        "routes",
        "sessions",
        "under_replicated",
    ] {
        ensure!(
            view.get(field).is_some() || field == "under_replicated",
            "{field}: {view}"
        );
    }
    let member = &view["members"][0];
    for field in [
        "node", "state", "link", "epoch", "routes", "address", "version",
    ] {
        ensure!(member.get(field).is_some(), "{field}: {view}");
    }
    ensure!(
        member["node"] == node.id.as_str() && member["state"] == "alive" && view["sessions"] == 1,
        "{view}"
    );
    let (_, route) = node.get("/api/route/@ann").await?;
    ensure!(
        serde_json::from_str::<serde_json::Value>(&route)?["certain"] == true,
        "{route}"
    );
    Ok(())
}

#[tokio::test]
async fn every_path_answers_other_methods_and_names_as_it_should() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(&folder.path().join("data"), &[]).await?;
    for (request, host, want) in [
        ("HEAD /", "127.0.0.1", 200),
        ("HEAD /readyz", "localhost:1", 200),
        ("HEAD /ws", "127.0.0.1", 426),
        ("POST /ws", "127.0.0.1", 426),
        ("POST /healthz", "127.0.0.1", 405),
        ("DELETE /api/mesh", "127.0.0.1", 405),
        ("GET /api/route/@ann", "[::1]:80", 200),
        ("GET /api/route/%40ann", "127.0.0.1", 200),
        ("GET /api/route/ann", "127.0.0.1", 400),
        ("GET /api/route/@", "127.0.0.1", 400),
        ("GET /api/route/", "127.0.0.1", 404),
        ("GET /api", "127.0.0.1", 404),
        ("GET /healthz/", "127.0.0.1", 404),
        ("GET /healthz", "chat.example", 403),
        ("GET /healthz", "localhost.chat.example", 403),
    ] {
        let text = format!("{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, body) = cluster::request(&node.listen, &text).await?;
        ensure!(status == want, "{request} {host}: {status} {body}");
        let told = request.starts_with("HEAD") || !body.trim().is_empty();
        ensure!(told, "{request} {host}: no sentence");
    }
    Ok(())
}

#[tokio::test]
async fn beyond_loopback_nobody_is_told_about_the_node_without_an_admin_listener() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let args = ["--listen", "0.0.0.0:0", "--open"].map(str::to_owned);
    let node = Node::start_with(&folder.path().join("data"), &args).await?;
    let port = node.listen.rsplit(':').next().context("a port")?;
    let reachable = format!("127.0.0.1:{port}");
    for path in ["/metrics", "/mesh", "/api/mesh", "/api/route/@ann"] {
        let (status, why) = cluster::get(&reachable, path).await?;
        ensure!(
            status == 403 && why.contains("--admin-listen"),
            "{path}: {status} {why}"
        );
    }
    for path in ["/", "/healthz", "/readyz"] {
        ensure!(cluster::get(&reachable, path).await?.0 == 200, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn with_an_admin_listener_only_that_one_tells_about_the_node() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let admin = cluster::free_address()?;
    let args = ["--admin-listen".to_owned(), admin.clone()];
    let node = Node::start_with(&folder.path().join("data"), &args).await?;
    for path in ["/metrics", "/mesh", "/api/mesh", "/api/route/@ann"] {
        ensure!(node.get(path).await?.0 == 403, "{path}");
        ensure!(cluster::get(&admin, path).await?.0 == 200, "{path}");
    }
    ensure!(
        node.get("/healthz").await?.0 == 200 && cluster::get(&admin, "/healthz").await?.0 == 200
    );
    Ok(())
}

#[tokio::test]
async fn a_node_that_knows_a_dead_peer_is_unready_and_goes_on_alone_after_a_while() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let dead = cluster::free_address()?;
    let node = Node::start(&folder.path().join("data"), &[&dead]).await?;
    let (status, why) = node.get("/readyz").await?;
    ensure!(status == 503 && why.trim().contains(' '), "{status} {why}");
    node.client("@ann").await?;
    ensure!(eventually(async || matches!(node.get("/readyz").await, Ok((200, _)))).await);
    Ok(())
}

#[tokio::test]
async fn a_stopped_node_exits_0_and_takes_its_ports_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let node = Node::start(&folder.path().join("data"), &[]).await?;
    let (listen, mesh, id) = (node.listen.clone(), node.mesh.clone(), node.id.clone());
    let stopped = node.stop().await?;
    ensure!(
        stopped.status.context("a status")?.code() == Some(0),
        "{}",
        stopped.log
    );
    let node = stopped.restart().await?;
    ensure!((&node.listen, &node.mesh, &node.id) == (&listen, &mesh, &id));
    Ok(())
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused_with_what_to_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let _node = Node::start(&data, &[]).await?;
    let (status, log) = Node::run_to_end(&data, &[]).await?;
    ensure!(status.code() == Some(1), "{log}");
    let last = log.lines().last().unwrap_or_default();
    ensure!(
        last.contains("--data") || last.contains("data directory"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn a_disk_that_is_too_full_at_the_start_makes_a_node_unready() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let args = ["--min-free", "1000000GiB"].map(str::to_owned);
    let node = Node::start_with(&folder.path().join("data"), &args).await?;
    let (status, why) = node.get("/readyz").await?;
    ensure!(
        status == 503 && why.contains("--min-free"),
        "{status} {why}"
    );
    let mut ann = node.client("@ann").await?;
    let fields = serde_json::json!({"to": "@bob", "body": 1});
    let refused = ann.exchange("send", fields).await?;
    ensure!(refused["error"]["code"] == "unavailable", "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_ends_it_with_what_to_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "")?;
    let (status, log) = Node::run_to_end(&file.join("data"), &[]).await?;
    ensure!(status.code() == Some(1), "{log}");
    let last = log.lines().last().unwrap_or_default();
    ensure!(last.contains("--data"), "{log}");
    Ok(())
}

#[test]
fn wrong_usage_exits_2_and_lists_every_mistake() -> Result<()> {
    let (status, out, log) = run(&[
        "run",
        "--listen",
        "nowhere",
        "--min-copies",
        "9",
        "--weight",
        "-1",
    ])?;
    ensure!(status == Some(2) && out.is_empty(), "{status:?} {log}");
    for flag in ["--listen", "--min-copies", "--weight"] {
        ensure!(log.contains(flag), "{flag}: {log}");
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("chinwag.toml");
    std::fs::write(&file, "lisen = \"127.0.0.1:0\"\nweight = \"many\"\n")?;
    let (status, _, log) = run(&["run", "--config", file.to_str().context("UTF-8")?])?;
    ensure!(
        status == Some(2) && log.contains("lisen") && log.contains("weight"),
        "{log}"
    );
    Ok(())
}

#[test]
fn listening_beyond_loopback_needs_a_word_on_purpose() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().to_str().context("UTF-8")?;
    let (status, _, log) = run(&[
        "run",
        "--data",
        data,
        "--mesh-listen",
        "0.0.0.0:0",
        "--listen",
        "127.0.0.1:0",
    ])?;
    ensure!(
        status == Some(2) && log.contains("--mesh-key-file"),
        "{status:?} {log}"
    );
    let (status, _, log) = run(&[
        "run",
        "--data",
        data,
        "--listen",
        "0.0.0.0:0",
        "--mesh-listen",
        "127.0.0.1:0",
    ])?;
    ensure!(
        status == Some(2) && log.contains("--open"),
        "{status:?} {log}"
    );
    Ok(())
}

#[test]
fn the_small_commands_do_what_they_say() -> Result<()> {
    let (status, key, _) = run(&["key"])?;
    ensure!(
        status == Some(0)
            && key.trim().len() == 64
            && key.trim().bytes().all(|c| c.is_ascii_hexdigit()),
        "{key}"
    );
    let output = Command::new(program())
        .arg("config")
        .env("CHINWAG_MESH_KEY", key.trim())
        .output()?;
    let config = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success()
            && config.contains("CHINWAG_MESH_KEY")
            && !config.contains(key.trim()),
        "{config}"
    );
    let (status, script, _) = run(&["completions", "bash"])?;
    ensure!(status == Some(0) && script.contains("chinwag"));
    let (status, help, _) = run(&["--help"])?;
    ensure!(status == Some(0) && help.contains("--peer"), "{help}");
    Ok(())
}
