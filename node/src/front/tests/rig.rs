//! A front with a machine and an operator's side that answer what tests need, and clients to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use mesh::command::{Command, Push, Reply};
use mesh::event::{Event, EventKind, Json};
use mesh::id::{Address, Conversation, Device, EventId, NodeId, SessionId, UserName};
use mesh::proto::input::{Closing, Input};
use mesh::proto::output::{CloseCode, Output};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::super::{Allowed, Ask, Config, Deadlines, Front, Listeners, bind};
use crate::protocol::Limits;
use crate::session::{About, Sessions};

/// Every wait of a test has this deadline.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("what a test waits for comes within 20 s")
}

/// The defaults, but that clients which a test forgets are not waited for.
pub(super) fn deadlines() -> Deadlines {
    Deadlines {
        close: Duration::from_millis(200),
        ..Deadlines::default()
    }
}

pub(super) fn config() -> Config {
    Config {
        about: About {
            mesh: "default".to_owned(),
            limits: Limits::default(),
        },
        allowed: Allowed::default(),
        deadlines: deadlines(),
        max_sessions: None,
    }
}

/// A running front, its machine and what that heard.
pub(super) struct Rig {
    pub(super) front: Front,
    pub(super) address: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
    /// Everything the machine was told, in order.
    pub(super) heard: mpsc::Receiver<Input>,
    orders: mpsc::Sender<Order>,
    tasks: Vec<JoinHandle<()>>,
}

/// What a test tells the machine to do.
enum Order {
    /// Deliver these, as one batch; answered when they are flushed.
    Deliver(Vec<Output>, oneshot::Sender<()>),
    /// Answer commands no more.
    Fall(oneshot::Sender<()>),
    /// Answer what was held back, and again from now on.
    Speak(oneshot::Sender<()>),
}

impl Rig {
    pub(super) fn start() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: Config) -> Self {
        Self::listening(config, "127.0.0.1:0", None)
    }

    pub(super) fn listening(config: Config, clients: &str, admin: Option<&str>) -> Self {
        let open = |address: &str| bind(address.parse().unwrap()).unwrap();
        let listeners = Listeners {
            clients: open(clients),
            admin: admin.map(open),
        };
        let port = listeners.clients.local_addr().unwrap().port();
        let admin = listeners
            .admin
            .as_ref()
            .map(|admin| admin.local_addr().unwrap());
        let (to_mesh, inputs) = mpsc::channel(64);
        let (ask, asked) = mpsc::channel(4);
        let front = Front::start(config, listeners, to_mesh, ask).unwrap();
        let (hears, heard) = mpsc::channel(100_000);
        let (orders, ordered) = mpsc::channel(4);
        let machine = Machine {
            sessions: front.sessions(),
            users: BTreeMap::new(),
            mute: false,
            held: Vec::new(),
            hears,
        };
        let tasks = vec![
            tokio::spawn(machine.run(inputs, ordered)),
            tokio::spawn(answer(asked)),
        ];
        Self {
            front,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            admin,
            heard,
            orders,
            tasks,
        }
    }

    /// Has the machine deliver outputs as one batch, and waits until they are flushed.
    pub(super) async fn deliver(&self, outputs: Vec<Output>) {
        self.order(|done| Order::Deliver(outputs, done)).await;
    }

    pub(super) async fn fall_silent(&self) {
        self.order(Order::Fall).await;
    }

    pub(super) async fn speak_again(&self) {
        self.order(Order::Speak).await;
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, is_done) = oneshot::channel();
        let sent = within(self.orders.send(order(done))).await;
        assert!(sent.is_ok(), "the machine runs");
        within(is_done).await.expect("the machine runs");
    }

    /// The next thing that the machine hears.
    pub(super) async fn hear(&mut self) -> Input {
        within(self.heard.recv()).await.expect("the machine runs")
    }

    /// How the next session that closes does, whatever else is heard before.
    pub(super) async fn hear_closed(&mut self) -> (SessionId, Closing) {
        loop {
            if let Input::Closed { session, closing } = self.hear().await {
                return (session, closing);
            }
        }
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        let counters = self.front.counters();
        let found = counters.iter().find(|(its, _)| *its == name);
        found.unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// Stops the front and sees all tasks end.
    pub(super) async fn stop(self) {
        within(self.front.stop()).await;
        drop(self.orders);
        for task in self.tasks {
            within(task).await.expect("no task panics");
        }
    }
}

/// A machine that answers at once: as much of a chat as the front needs to be tested.
struct Machine {
    sessions: Sessions,
    users: BTreeMap<SessionId, UserName>,
    mute: bool,
    held: Vec<Output>,
    hears: mpsc::Sender<Input>,
}

impl Machine {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut orders: mpsc::Receiver<Order>) {
        let mut batch = Vec::new();
        loop {
            let told = tokio::select! {
                count = inputs.recv_many(&mut batch, 64) => if count == 0 { return } else { None },
                order = orders.recv() => order,
            };
            for input in batch.drain(..) {
                self.hears
                    .try_send(input.clone())
                    .expect("a test hears what it causes");
                for output in answers(&mut self.users, input) {
                    if self.mute {
                        self.held.push(output);
                    } else {
                        assert_eq!(self.sessions.deliver(output), None);
                    }
                }
            }
            let done = match told {
                Some(Order::Deliver(outputs, done)) => {
                    for output in outputs {
                        assert_eq!(self.sessions.deliver(output), None);
                    }
                    Some(done)
                }
                Some(Order::Fall(done)) => {
                    self.mute = true;
                    Some(done)
                }
                Some(Order::Speak(done)) => {
                    self.mute = false;
                    for output in self.held.drain(..) {
                        assert_eq!(self.sessions.deliver(output), None);
                    }
                    Some(done)
                }
                None => None,
            };
            self.sessions.flush();
            if let Some(done) = done {
                done.send(()).expect("a test waits for its order");
            }
        }
    }
}

fn answers(users: &mut BTreeMap<SessionId, UserName>, input: Input) -> Vec<Output> {
    let (session, request, command) = match input {
        Input::Command {
            session,
            request,
            command,
        } => (session, request, command),
        Input::Closed { session, .. } => {
            users.remove(&session);
            return Vec::new();
        }
        _ => return Vec::new(),
    };
    let mut outputs = Vec::new();
    let reply = match command {
        Command::Hello(hello) => {
            users.insert(session, hello.user.clone());
            Reply::Welcome {
                user: hello.user,
                device: hello
                    .device
                    .unwrap_or_else(|| Device::try_from("fresh").unwrap()),
                node: NodeId([7; 32]),
                unix_ms: 1_732_032_876_123,
            }
        }
        Command::Signal { to, kind, body } => {
            let audience = users
                .iter()
                .filter(|(_, user)| user.as_str() == to.as_str());
            outputs.push(Output::Push {
                audience: audience.map(|(session, _)| *session).collect(),
                push: Push::Signal {
                    within: Address::User(users[&session].clone()),
                    from: users[&session].clone(),
                    kind,
                    body,
                },
                bulk: false,
            });
            Reply::Reached(1)
        }
        Command::Send(send) => Reply::Sent {
            id: EventId::MIN,
            copies: send.copies.unwrap_or(1),
            duplicate: false,
        },
        Command::History { limit, .. } => Reply::History {
            events: (0..limit).map(|_| event(1000).into()).collect(),
            more: false,
            complete: true,
        },
        Command::Ping => Reply::Pong(1),
        _ => Reply::Done,
    };
    let bulk = matches!(reply, Reply::History { .. });
    outputs.push(Output::Reply {
        session,
        request,
        reply,
        bulk,
    });
    outputs
}

/// A message of `@alice` to `@bob` with a body of about that many bytes.
pub(super) fn event(bytes: usize) -> Event {
    let user = |name: &str| name.parse::<UserName>().unwrap();
    Event {
        id: EventId::MIN,
        conversation: Conversation::direct(user("@alice"), user("@bob")),
        author: user("@alice"),
        nonce: None,
        kind: EventKind::Message {
            body: Json::from_valid(format!("\"{}\"", "x".repeat(bytes))),
            reply_to: None,
        },
    }
}

/// A live signal of that many bytes to a session.
pub(super) fn signal(audience: &[SessionId], kind: &str, bytes: usize) -> Output {
    let alice: UserName = "@alice".parse().unwrap();
    Output::Push {
        audience: audience.to_vec(),
        push: Push::Signal {
            within: Address::User(alice.clone()),
            from: alice,
            kind: kind.into(),
            body: Some(Json::from_valid(format!("\"{}\"", "x".repeat(bytes)))),
        },
        bulk: false,
    }
}

pub(super) fn close(session: SessionId, code: CloseCode) -> Output {
    Output::Close { session, code }
}

/// The operator's side.
async fn answer(mut asked: mpsc::Receiver<Ask>) {
    while let Some(ask) = asked.recv().await {
        // A test that does not wait for its answer is no failure.
        let _ = match ask {
            Ask::Ready(to) => to.send(Err("no peer was reached yet".to_owned())).is_ok(),
            Ask::Metrics(to) => to.send("chinwag_up 1\n".to_owned()).is_ok(),
            Ask::Mesh(to) => to.send("{\"members\":[]}".to_owned()).is_ok(),
            Ask::Route(address, to) => to.send(format!("{{\"address\":\"{address}\"}}")).is_ok(),
        };
    }
}

/// A client with its WebSocket open.
pub(super) struct Client {
    pub(super) socket: WebSocketStream<TcpStream>,
    lines: Vec<Value>,
}

impl Client {
    pub(super) async fn open(rig: &Rig) -> Self {
        let stream = within(TcpStream::connect(rig.address)).await.unwrap();
        Self::over(stream, rig.address)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) async fn over(stream: TcpStream, to: SocketAddr) -> Result<Self, Error> {
        let request = format!("ws://{to}/ws").into_client_request().unwrap();
        let (socket, _) = within(client_async(request, stream)).await?;
        let lines = Vec::new();
        Ok(Self { socket, lines })
    }

    /// With `hello` said and answered.
    pub(super) async fn hello(rig: &Rig, user: &str) -> Self {
        let mut client = Self::open(rig).await;
        client.greet(user).await;
        client
    }

    /// Says `hello`; gives the session's id.
    pub(super) async fn greet(&mut self, user: &str) -> SessionId {
        self.say(&format!(r#"{{"id":0,"hello":{{"user":"{user}"}}}}"#))
            .await;
        let reply = self.line().await;
        let session = reply["ok"]["session"]
            .as_str()
            .unwrap_or_else(|| panic!("{reply}"));
        SessionId(u64::from_str_radix(session, 16).unwrap())
    }

    pub(super) async fn say(&mut self, frame: &str) {
        self.send(Message::text(frame)).await;
    }

    pub(super) async fn send(&mut self, message: Message) {
        within(self.socket.send(message)).await.unwrap();
    }

    /// The next message that is no ping or pong.
    pub(super) async fn message(&mut self) -> Message {
        loop {
            let message = within(self.socket.next())
                .await
                .expect("the node says something");
            match message.expect("the node speaks WebSocket") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next line.
    pub(super) async fn line(&mut self) -> Value {
        if self.lines.is_empty() {
            let frame = self.message().await.into_text().unwrap();
            assert!(frame.len() < 256 * 1024);
            self.lines = frame
                .split('\n')
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
        }
        self.lines.remove(0)
    }

    /// The code of the close frame, which is all that is still to come.
    pub(super) async fn closed(&mut self) -> u16 {
        assert_eq!(self.lines, Vec::<Value>::new());
        match self.message().await {
            Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("{other:?}"),
        }
    }
}

/// A request over a connection of its own; the status and everything that comes.
pub(super) async fn http(to: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = within(TcpStream::connect(to)).await.unwrap();
    within(stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("{answer:?}"));
    (status.parse().unwrap(), answer)
}

/// `GET`, with further header lines.
pub(super) async fn get(to: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let host = if headers.contains("Host:") {
        String::new()
    } else {
        format!("Host: {to}\r\n")
    };
    let request = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n");
    http(to, &request).await
}
