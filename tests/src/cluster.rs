//! Real nodes as processes on loopback, each with its own data directory.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::ws_client::WsClient;

/// How long a node may take until it prints its `ready` line, stops, or answers: far above what it
/// needs, so that only a defect reaches it on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often something is looked at that nobody tells us about.
const LOOK: Duration = Duration::from_millis(20);

/// The program under test, built once.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = std::process::Command::new(env!("CARGO"));
        let built = cargo
            .args([
                "build",
                "--quiet",
                "--package",
                "chinwag",
                "--bin",
                "chinwag",
            ])
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "`cargo build -p chinwag` failed"
        );
        let test = std::env::current_exe().expect("a test has a path");
        let folder = test
            .parent()
            .and_then(Path::parent)
            .expect("target/<profile>/deps/<test>");
        folder.join("chinwag")
    })
}

/// One node process. Killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    log: JoinHandle<String>,
    /// Where clients connect, `ip:port`.
    pub listen: String,
    /// Where peers connect, `ip:port`.
    pub mesh: String,
    /// Its id, as the `ready` line gives it.
    pub id: String,
    /// Its data directory.
    pub data: PathBuf,
    args: Vec<String>,
}

impl Node {
    /// Starts a node on free ports with this data directory and these peers, and waits for its
    /// `ready` line.
    ///
    /// # Errors
    /// It ends first, or takes too long; the text holds its log.
    pub async fn start(data: &Path, peers: &[&str]) -> Result<Self> {
        let peers: Vec<String> = peers
            .iter()
            .flat_map(|peer| ["--peer".to_owned(), (*peer).to_owned()])
            .collect();
        Self::start_with(data, &peers).await
    }

    /// Starts a node with further flags.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with(data: &Path, args: &[String]) -> Result<Self> {
        let mut child = Self::command(data, args).spawn().context("start chinwag")?;
        let mut stdout = BufReader::new(child.stdout.take().context("standard output")?).lines();
        let mut stderr = child.stderr.take().context("standard error")?;
        let log = tokio::spawn(async move {
            let mut text = String::new();
            // What could be read of a log that ends early is all that can be shown.
            let _ = stderr.read_to_string(&mut text).await;
            text
        });
        let line = timeout(PATIENCE, stdout.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            child.start_kill().ok();
            bail!("no ready line, but: {}", log.await.unwrap_or_default());
        };
        let field = |name: &str| {
            let found = line
                .split(' ')
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found
                .map(str::to_owned)
                .with_context(|| format!("{name}= in {line:?}"))
        };
        ensure!(line.starts_with("ready "), "not a ready line: {line:?}");
        let (listen, mesh, id) = (field("listen")?, field("mesh")?, field("node")?);
        Ok(Self {
            child,
            stdout,
            log,
            listen,
            mesh,
            id,
            data: data.to_owned(),
            args: args.to_vec(),
        })
    }

    fn command(data: &Path, args: &[String]) -> Command {
        let mut command = Command::new(program());
        command.arg("run");
        for (flag, value) in [
            ("--listen", "127.0.0.1:0"),
            ("--mesh-listen", "127.0.0.1:0"),
            ("--min-free", "1MiB"),
        ] {
            if !args.iter().any(|arg| arg == flag) {
                command.args([flag, value]);
            }
        }
        command.arg("--data").arg(data).args(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a node that is expected to end by itself: its status and its log.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn run_to_end(data: &Path, args: &[String]) -> Result<(ExitStatus, String)> {
        let output = timeout(PATIENCE, Self::command(data, args).output())
            .await
            .context("it did not end")??;
        Ok((
            output.status,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }

    /// Kills it as a power cut would: SIGKILL. Its data directory stays.
    ///
    /// # Errors
    /// It could not be killed.
    pub async fn kill(mut self) -> Result<Stopped> {
        self.child.kill().await?;
        Ok(Stopped {
            data: self.data,
            args: self.args,
            status: None,
            log: self.log.await?,
        })
    }

    /// Sends a signal by name, such as `TERM`.
    ///
    /// # Errors
    /// There is no such process any more.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.child.id().context("the node has ended")?;
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status()
            .await?;
        ensure!(sent.success(), "kill -{name} {pid}");
        Ok(())
    }

    /// Asks it to stop by SIGTERM and waits.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn stop(self) -> Result<Stopped> {
        self.signal("TERM").await?;
        self.wait().await
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn wait(mut self) -> Result<Stopped> {
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .context("it did not end")??;
        let further = self.stdout.next_line().await?;
        ensure!(
            further.is_none(),
            "a second line on standard output: {further:?}"
        );
        Ok(Stopped {
            data: self.data,
            args: self.args,
            status: Some(status),
            log: self.log.await?,
        })
    }

    /// The process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// A client of this node that has said `hello` as that user.
    ///
    /// # Errors
    /// It is refused.
    pub async fn client(&self, user: &str) -> Result<WsClient> {
        WsClient::hello(&format!("ws://{}/ws", self.listen), user).await
    }

    /// The answer to a plain GET: status and body.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        get(&self.listen, path).await
    }

    /// `/api/mesh`, parsed.
    ///
    /// # Errors
    /// Nobody answers, or not with JSON.
    pub async fn mesh_view(&self) -> Result<serde_json::Value> {
        let (status, body) = self.get("/api/mesh").await?;
        ensure!(status == 200, "/api/mesh: {status} {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// It does not in time; the text gives its last reason.
    pub async fn ready(&self) -> Result<()> {
        let mut last = String::new();
        let ready = eventually(async || match self.get("/readyz").await {
            Ok((200, _)) => true,
            Ok((_, reason)) => {
                last = reason;
                false
            }
            Err(error) => {
                last = error.to_string();
                false
            }
        });
        let ready = ready.await;
        ensure!(ready, "not ready: {last}");
        Ok(())
    }

    /// Waits until this node sees that many members in that state.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn sees(&self, state: &str, count: usize) -> Result<()> {
        let mut last = serde_json::Value::Null;
        let seen = eventually(async || {
            last = self.mesh_view().await.unwrap_or_default();
            let members = last["members"].as_array().cloned().unwrap_or_default();
            members
                .iter()
                .filter(|member| member["state"] == state)
                .count()
                == count
        });
        let seen = seen.await;
        ensure!(seen, "{count} members {state} expected, but: {last:#}");
        Ok(())
    }
}

/// A node that no longer runs, and what is needed to start it again.
#[derive(Debug)]
pub struct Stopped {
    data: PathBuf,
    args: Vec<String>,
    /// Its exit status; `None` where it was killed.
    pub status: Option<ExitStatus>,
    /// All that it logged.
    pub log: String,
}

impl Stopped {
    /// Starts it again on the same data directory with the same flags.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn restart(self) -> Result<Node> {
        Node::start_with(&self.data, &self.args).await
    }
}

/// Starts nodes, each pointed at the one before, and waits until all see each other and are ready.
/// Their data directories are in the folder that is returned.
///
/// # Errors
/// As [`Node::start`], or they do not meet in time.
pub async fn chain<const N: usize>() -> Result<(tempfile::TempDir, [Node; N])> {
    let folder = tempfile::tempdir()?;
    let mut nodes: Vec<Node> = Vec::new();
    for n in 0..N {
        let before: Vec<&str> = nodes.last().iter().map(|node| node.mesh.as_str()).collect();
        let node = Node::start(&folder.path().join(n.to_string()), &before).await?;
        nodes.push(node);
    }
    for node in &nodes {
        node.sees("alive", N).await?;
        node.ready().await?;
    }
    let nodes = nodes.try_into();
    Ok((folder, nodes.map_err(|_| anyhow!("as many as started"))?))
}

/// An address on which nobody listens.
///
/// # Errors
/// No port is free.
pub fn free_address() -> Result<String> {
    let probe = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(probe.local_addr()?.to_string())
}

/// Looks again and again until something holds; false where it does not within [`PATIENCE`].
pub async fn eventually(mut holds: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if holds().await {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        sleep(LOOK).await;
    }
}

/// A plain HTTP GET: status and body.
///
/// # Errors
/// Nobody answers, or with something that is not HTTP.
pub async fn get(address: &str, path: &str) -> Result<(u16, String)> {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// Sends a whole HTTP request and reads the answer to its end: status and body.
///
/// # Errors
/// Nobody answers, or with something that is not HTTP.
pub async fn request(address: &str, request: &str) -> Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.context("no answer")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
    Ok((status(head)?, body.to_owned()))
}

/// Sends a whole HTTP request and reads the head of the answer.
///
/// # Errors
/// Nobody answers.
pub async fn head(address: &str, request: &str) -> Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    stream.write_all(request.as_bytes()).await?;
    let read = async {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {}
        anyhow::Ok(head)
    };
    timeout(PATIENCE, read).await.context("no answer")?
}

/// Sends a request that is refused on a connection that may stay open: status and body.
///
/// # Errors
/// Nobody answers, or with something that is not HTTP.
pub async fn refused(address: &str, request: &str) -> Result<(u16, String)> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    stream.write_all(request.as_bytes()).await?;
    let read = async {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {}
        let length = head.lines().find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        anyhow::Ok((status(&head)?, String::from_utf8_lossy(&body).into_owned()))
    };
    timeout(PATIENCE, read).await.context("no answer")?
}

fn status(head: &str) -> Result<u16> {
    head.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("an HTTP status in {head:?}"))
}
