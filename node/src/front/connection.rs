//! One client's connection as one task: frames in, commands out to the machine, and whatever of the
//! outbox the socket did not take at once.
//!
//! tokio-tungstenite parses, unmasks and answers pings; what it writes goes through the session's outbox
//! like everything else, so that frames never mix. The task reads only while the client takes what it
//! is sent and has not too many commands unanswered. It has no timer: the sweeper minds deadlines.

use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{SinkExt as _, Stream as _, future::poll_fn};
use mesh::command::{Code, Command, Refusal};
use mesh::proto::input::{Closing, Input};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Utf8Bytes};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Shared;
use crate::protocol::encode;
use crate::protocol::parse::{Parsed, Refused, Subject, is_empty, parse};
use crate::session::UNNUMBERED;
use crate::session::conn::Conn;
use crate::session::counters::Count;
use crate::session::outbox::{Class, Ending, Pool, Queued, Written};

/// Bytes that are read at a time, allocated for every connection: chat messages are small. The
/// library's default of 128 KiB costs 46 times the memory and, being cleared before every read, 5 times
/// the CPU of a message.
pub(super) const READ_BUFFER: usize = 1024;

/// Bytes that the library buffers before it writes: of it only pongs and close frames come.
const WRITE_BUFFER: usize = 4 * 1024;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client closed it, with that code where it gave one.
    Client(Option<u16>),
    /// The node closes it with that code.
    Node(u16),
    /// It is dead.
    Dead,
}

/// What the connection does next.
enum Step {
    /// The machine's queue is full: this has to wait.
    Hand(Input),
    /// The connection ended.
    End(End),
}

/// A client's connection.
pub(super) struct Connection {
    pub(super) socket: WebSocketStream<Wire>,
    conn: Arc<Conn>,
    shared: Arc<Shared>,
    /// What of the last frame is not read yet: the frame, and where its next line begins.
    frame: Option<(Utf8Bytes, usize)>,
}

impl Connection {
    /// A connection after its handshake; `read` is what came with the handshake's last bytes.
    pub(super) async fn new(
        reader: OwnedReadHalf,
        conn: Arc<Conn>,
        shared: Arc<Shared>,
        read: Vec<u8>,
    ) -> Self {
        let config = config(shared.about.limits.frame);
        let wire = Wire {
            reader,
            conn: conn.clone(),
        };
        let socket = if read.is_empty() {
            WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await
        } else {
            WebSocketStream::from_partially_read(wire, read, Role::Server, Some(config)).await
        };
        Self {
            socket,
            conn,
            shared,
            frame: None,
        }
    }

    /// Serves the client until the connection is gone.
    pub(super) async fn run(mut self) {
        let end = loop {
            match poll_fn(|cx| self.poll(cx)).await {
                // Boxed, as it is rare and an input is large: a connection is mostly idle.
                Step::Hand(input) => {
                    if Box::pin(self.shared.to_mesh.send(input)).await.is_err() {
                        break End::Dead;
                    }
                }
                Step::End(end) => break end,
            }
        };
        Box::pin(self.finish(end)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.conn.register(cx.waker());
        loop {
            let room = match self.poll_outbox(cx) {
                ControlFlow::Continue(room) => room,
                ControlFlow::Break(step) => return Poll::Ready(step),
            };
            if !room {
                return Poll::Pending;
            }
            if self.frame.is_some() {
                match self.read_lines() {
                    Lines::Done => continue,
                    Lines::Waiting => return Poll::Pending,
                    Lines::Step(step) => return Poll::Ready(step),
                }
            }
            let message = ready!(Pin::new(&mut self.socket).poll_next(cx));
            if let Some(end) = self.on_message(message) {
                return Poll::Ready(Step::End(end));
            }
        }
    }

    /// Writes what the socket did not take before, where it does now. Says whether there is room for
    /// the answers to further commands.
    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> ControlFlow<Step, bool> {
        let mut outbox = self.conn.outbox();
        while outbox.is_blocked() && self.conn.socket().poll_write_ready(cx).is_ready() {
            let before = outbox.bytes();
            let written = self.conn.write(&mut outbox, &mut Pool::default());
            if outbox.bytes() < before {
                // What it says may wait unread meanwhile, but it reads.
                self.conn.saw(self.shared.clock.now());
            }
            if written != Written::Blocked {
                break;
            }
        }
        match outbox.ending() {
            Some(Ending::Code(code)) => return ControlFlow::Break(Step::End(End::Node(code))),
            Some(Ending::TooSlow) => {
                self.shared.counters.add(Count::ClosedTooSlow);
                return ControlFlow::Break(Step::End(End::Node(TOO_SLOW)));
            }
            Some(Ending::Dead) => return ControlFlow::Break(Step::End(End::Dead)),
            None => {}
        }
        let room = outbox.has_room();
        self.conn.wait_for_room(!room);
        let drained = outbox.take_drained();
        drop(outbox);
        if drained {
            let session = self.conn.id;
            if let Some(waits) = self.hand(Input::Drained { session }) {
                return ControlFlow::Break(Step::Hand(waits));
            }
        }
        ControlFlow::Continue(room)
    }

    /// Reads the lines of the frame that is there, as far as may be now.
    fn read_lines(&mut self) -> Lines {
        let mut refused = Vec::new();
        let lines = self.hand_lines(&mut refused);
        if !refused.is_empty() {
            let queued = self.conn.line(&refused, Class::Live, &mut Pool::default());
            if queued == Queued::ToWrite {
                self.conn.flush(&mut Pool::default());
            }
        }
        lines
    }

    /// Hands on commands until the frame is read, or something has to be waited for. Lines that are
    /// refused are answered in `refused`.
    fn hand_lines(&mut self, refused: &mut Vec<u8>) -> Lines {
        let Some((frame, mut start)) = self.frame.take() else {
            return Lines::Done;
        };
        while start < frame.len() {
            if refused.len() > REFUSED_MAX {
                self.frame = Some((frame, start));
                return Lines::Done;
            }
            if !self.conn.may_ask() {
                self.frame = Some((frame, start));
                return Lines::Waiting;
            }
            let rest = &frame[start..];
            let end = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
            let line = &rest[..end];
            start += end + 1;
            if is_empty(line) {
                continue;
            }
            let parsed = parse(line, &self.shared.about.limits);
            let step = match self.admit(parsed) {
                Verdict::Hand(request, command) => self.command(request, command).map(Step::Hand),
                Verdict::Refuse(request, refusal, end) => {
                    self.shared.counters.add(Count::RefusedLines);
                    answer(refused, request, &refusal);
                    end.map(|code| {
                        self.shared.counters.add(Count::ClosedNoHello);
                        Step::End(End::Node(code))
                    })
                }
            };
            if let Some(step) = step {
                self.frame = Some((frame, start));
                return Lines::Step(step);
            }
        }
        Lines::Done
    }

    /// Whether a line is handed on: `hello` first and once. The front keeps this rule itself, so that
    /// the machine hears only of sessions with a user.
    fn admit(&self, parsed: Parsed) -> Verdict {
        let Parsed { request, asked } = parsed;
        let greeted = self.conn.user().is_some();
        match asked {
            Ok(Command::Hello(_)) if greeted => Verdict::Refuse(request, second_hello(), None),
            Ok(command @ Command::Hello(_)) => Verdict::Hand(request, command),
            Ok(command) if greeted => Verdict::Hand(request, command),
            Ok(_) => Verdict::Refuse(request, hello_first(), Some(NO_HELLO)),
            Err(Refused { refusal, subject }) => match subject {
                Subject::Line => Verdict::Refuse(request, refusal, None),
                Subject::Command if greeted => Verdict::Refuse(request, refusal, None),
                Subject::Command => Verdict::Refuse(request, hello_first(), Some(NO_HELLO)),
                Subject::Hello | Subject::Token if greeted => {
                    Verdict::Refuse(request, second_hello(), None)
                }
                Subject::Hello => Verdict::Refuse(request, refusal, Some(NO_HELLO)),
                Subject::Token => Verdict::Refuse(request, refusal, Some(TOKEN_REFUSED)),
            },
        }
    }

    fn command(&mut self, request: Option<u64>, command: Command) -> Option<Input> {
        if let Command::Hello(hello) = &command {
            self.conn.greet(hello.user.clone());
        }
        self.conn.asked();
        self.shared.counters.add(Count::Commands);
        self.hand(Input::Command {
            session: self.conn.id,
            request: Some(request.unwrap_or(UNNUMBERED)),
            command,
        })
    }

    /// Gives the machine an input; gives it back where that has to wait.
    fn hand(&self, input: Input) -> Option<Input> {
        match self.shared.to_mesh.try_send(input) {
            Ok(()) => None,
            // Where the machine is gone the connection ends when it tries to wait for it.
            Err(TrySendError::Full(input) | TrySendError::Closed(input)) => Some(input),
        }
    }

    fn on_message(&mut self, message: Option<Result<Message, Error>>) -> Option<End> {
        self.conn.saw(self.shared.clock.now());
        match message {
            Some(Ok(Message::Text(frame))) => {
                self.frame = Some((frame, 0));
                None
            }
            Some(Ok(Message::Binary(_))) => {
                self.shared.counters.add(Count::ClosedBinary);
                Some(End::Node(BINARY))
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
            Some(Ok(Message::Close(frame))) => Some(End::Client(frame.map(|f| f.code.into()))),
            Some(Err(Error::Capacity(_))) => {
                self.shared.counters.add(Count::ClosedTooLarge);
                Some(End::Node(TOO_LARGE))
            }
            Some(Err(Error::Protocol(error))) if !is_reset(&error) => {
                self.shared.counters.add(Count::ClosedProtocol);
                Some(End::Node(PROTOCOL))
            }
            Some(Err(Error::Utf8(_))) => {
                self.shared.counters.add(Count::ClosedProtocol);
                Some(End::Node(NOT_UTF8))
            }
            Some(Err(_)) | None => Some(End::Dead),
        }
    }

    /// Takes leave: of the machine at once, as nothing is delivered any more, and then of the client.
    async fn finish(mut self, end: End) {
        self.conn.outbox().end(match end {
            End::Client(_) => Ending::Code(NORMAL),
            End::Node(code) => Ending::Code(code),
            End::Dead => Ending::Dead,
        });
        self.shared.registry.remove(self.conn.id);
        if self.conn.user().is_some() {
            let closed = Input::Closed {
                session: self.conn.id,
                closing: match end {
                    End::Client(Some(NORMAL)) => Closing::Gone,
                    End::Client(_) | End::Node(_) | End::Dead => Closing::Lost,
                },
            };
            // Fails only where the machine is gone, and then nobody has to know.
            let _ = self.shared.to_mesh.send(closed).await;
        }
        if end != End::Dead {
            let limit = self.shared.deadlines.close;
            // A client that does not take its leave in time is hung up on.
            let _ = timeout(limit, self.close(end)).await;
        }
    }

    /// Writes what waits and the close frame, then waits for the client to hang up.
    async fn close(&mut self, end: End) -> io::Result<()> {
        let closing = match end {
            End::Node(code) => self.socket.close(Some(close_frame(code))).await,
            End::Client(_) | End::Dead => self.socket.flush().await,
        };
        if closing.is_err() {
            return Ok(());
        }
        loop {
            match self
                .conn
                .write(&mut self.conn.outbox(), &mut Pool::default())
            {
                Written::All => break,
                Written::Broken => return Ok(()),
                Written::Blocked => {}
            }
            poll_fn(|cx| self.conn.socket().poll_write_ready(cx)).await?;
        }
        self.conn.shut_down()?;
        // Bytes that were not read would make the kernel reset the connection, and the client might
        // lose the close frame.
        let mut unread = [0; 512];
        while self.socket.get_mut().reader.read(&mut unread).await? > 0 {}
        Ok(())
    }
}

/// How far the lines of a frame were read.
enum Lines {
    /// To the end, or far enough that the outbox has to be looked after first.
    Done,
    /// Until too many commands were unanswered.
    Waiting,
    /// Until something has to be done first.
    Step(Step),
}

enum Verdict {
    Hand(Option<u64>, Command),
    /// Answer with the refusal; close with the code where there is one.
    Refuse(Option<u64>, Refusal, Option<u16>),
}

/// Bytes of refusals after which the outbox is looked after: a client that sends junk waits for room
/// like any other.
const REFUSED_MAX: usize = 16 * 1024;

fn answer(refused: &mut Vec<u8>, request: Option<u64>, refusal: &Refusal) {
    if !refused.is_empty() {
        refused.push(b'\n');
    }
    encode::refusal(refused, request, refusal);
}

fn hello_first() -> Refusal {
    Refusal::new(Code::Unauthenticated, "the first command is hello")
}

fn second_hello() -> Refusal {
    Refusal::new(Code::BadRequest, "hello was said before; it comes once")
}

const NORMAL: u16 = 1000;
const PROTOCOL: u16 = 1002;
const BINARY: u16 = 1003;
const NOT_UTF8: u16 = 1007;
const TOO_LARGE: u16 = 1009;
/// No or bad `hello`.
pub(super) const NO_HELLO: u16 = 4001;
const TOKEN_REFUSED: u16 = 4003;
const TOO_SLOW: u16 = 4008;
/// Too many connections.
pub(super) const TOO_MANY: u16 = 4029;

/// What a person who looks at the close frame reads.
fn close_frame(code: u16) -> CloseFrame {
    let reason = match code {
        PROTOCOL => "the WebSocket protocol was broken",
        BINARY => "binary frames have no meaning yet",
        NOT_UTF8 => "a text frame was not UTF-8",
        TOO_LARGE => "the frame is larger than limits.frame",
        NO_HELLO => "no or bad hello",
        TOKEN_REFUSED => "the token was refused",
        TOO_SLOW => "read too slowly; resume",
        4009 => "the same device said hello again",
        4010 => "the node stops",
        TOO_MANY => "too many connections",
        _ => "",
    };
    CloseFrame {
        code: code.into(),
        reason: Utf8Bytes::from_static(reason),
    }
}

/// Whether the client only vanished.
fn is_reset(error: &tokio_tungstenite::tungstenite::error::ProtocolError) -> bool {
    matches!(
        error,
        tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake
    )
}

/// How the library is to behave for clients' frames of at most that many bytes.
fn config(max_frame: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(2 * WRITE_BUFFER)
        .max_message_size(Some(max_frame))
        .max_frame_size(Some(max_frame))
}

/// The stream that the WebSocket library sees: reads from the socket, writes into the outbox.
pub(super) struct Wire {
    reader: OwnedReadHalf,
    conn: Arc<Conn>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.conn.control(bytes) {
            // `poll_flush` writes, or the connection's task finds out that the session ends.
            Queued::ToWrite | Queued::Waiting | Queued::Over | Queued::Ended => {}
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.flush(&mut Pool::default());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
