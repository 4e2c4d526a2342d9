//! The task of a client: one connection after the other.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh::id::Nonce;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::fill::Fill;
use super::held::Held;
use super::lines::{self, Bye, Incoming, Message, Page, Refusal, Resumed, Welcome};
use super::link::{Link, Received};
use super::outbox::{Outbox, SentReply};
use super::{Begin, CommandError, Draft, Endpoint, Event, Options, Reconnect, Stopped};

/// A quiet connection is asked for a sign of life after that, and given up after twice that.
const QUIET: Duration = Duration::from_secs(20);

/// A `hello` that is not answered by then is given up.
const HELLO: Duration = Duration::from_secs(10);

/// What a handle asks of the task.
#[derive(Debug)]
pub(super) enum Order {
    Command {
        name: String,
        fields: Value,
        reply: oneshot::Sender<Result<Value, CommandError>>,
    },
    Send {
        draft: Draft,
        reply: SentReply,
    },
    Close {
        done: oneshot::Sender<()>,
    },
}

/// What a reply is for.
enum Pending {
    Hello,
    Command(oneshot::Sender<Result<Value, CommandError>>),
    Send(Nonce),
    Fill { of: String },
    Ping,
}

/// Why a connection is over.
enum Ended {
    /// The handles are gone, or one asked for it.
    Wanted(Option<oneshot::Sender<()>>),
    /// Try again.
    Lost(String),
    /// Don't.
    Stopped(Stopped),
}

pub(super) struct Driver {
    options: Options,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<Event>,
    held: Held,
    outbox: Outbox,
    backoff: Backoff,
    endpoints: Vec<Endpoint>,
    /// The node's clock less this machine's, milliseconds.
    ahead_ms: i64,
    /// A `hello` was answered before.
    known: bool,
}

/// What is known of the connection that is there.
struct Talk {
    link: Link,
    next_id: u64,
    pending: BTreeMap<u64, Pending>,
    online: bool,
    bye: Option<Bye>,
    refusal: Option<Refusal>,
    began: Instant,
    heard: Instant,
    /// Conversations that are read on.
    fills: BTreeMap<String, Fill>,
}

impl Driver {
    pub(super) fn new(
        options: Options,
        orders: mpsc::Receiver<Order>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            endpoints: vec![options.endpoint.clone()],
            options,
            orders,
            events,
            held: Held::default(),
            outbox: Outbox::default(),
            backoff: Backoff::default(),
            ahead_ms: 0,
            known: false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let (ended, bye) = self.connect().await;
            self.held.interrupt();
            self.outbox.start_over(Instant::now());
            let stopped = match ended {
                Ended::Wanted(done) => {
                    // Whoever asked may have gone.
                    done.map(|done| done.send(()));
                    return;
                }
                Ended::Stopped(stopped) => Some(stopped),
                Ended::Lost(why) if self.options.reconnect == Reconnect::Never => {
                    Some(Stopped::Lost(why))
                }
                Ended::Lost(why) => match self.wait(why, bye).await {
                    Wait::Over => None,
                    Wait::Closed => return,
                },
            };
            if let Some(stopped) = stopped {
                self.tell(Event::Stopped(stopped)).await;
                return;
            }
        }
    }

    /// One connection from its beginning to its end, with the node's `bye`.
    async fn connect(&mut self) -> (Ended, Option<Bye>) {
        let turn = self.backoff.failures() as usize % self.endpoints.len();
        let link = match Link::open(&self.endpoints[turn]).await {
            Ok(link) => link,
            Err(why) => return (Ended::Lost(why), None),
        };
        let mut talk = Talk::new(link);
        let ended = match self.say_hello(&mut talk).await {
            Ok(()) => self.serve(&mut talk).await,
            Err(why) => Ended::Lost(why),
        };
        for pending in std::mem::take(&mut talk.pending).into_values() {
            if let Pending::Command(reply) = pending {
                // Whoever asked may have gone.
                reply.send(Err(CommandError::Disconnected)).ok();
            }
        }
        let bye = talk.bye.take();
        if matches!(ended, Ended::Wanted(_)) {
            talk.link.close().await;
        }
        (ended, bye)
    }

    async fn say_hello(&mut self, talk: &mut Talk) -> Result<(), String> {
        let mut hello = json!({"user": self.options.user});
        if let Some(device) = &self.options.device {
            hello["device"] = device.as_str().into();
        }
        if self.known || self.options.begin == Begin::Unread {
            let windows = self.held.begin_resume();
            hello["resume"] = windows.into_iter().collect::<Value>();
        }
        talk.ask("hello", hello, Pending::Hello).await
    }

    async fn serve(&mut self, talk: &mut Talk) -> Ended {
        loop {
            if talk.online
                && let Err(why) = self.send_what_is_due(talk).await
            {
                return Ended::Lost(why);
            }
            let wake = self.wake(talk);
            let takes_orders = talk.online && !self.outbox.is_full();
            let over = tokio::select! {
                received = talk.link.receive() => self.on_received(talk, received).await,
                order = self.orders.recv(), if takes_orders => self.on_order(talk, order).await,
                () = sleep_until(wake) => None,
            };
            if let Some(ended) = over {
                return ended;
            }
            if let Some(why) = talk.silence() {
                return Ended::Lost(why);
            }
        }
    }

    async fn on_received(&mut self, talk: &mut Talk, received: Received) -> Option<Ended> {
        talk.heard = Instant::now();
        match received {
            Received::Sign => None,
            Received::Closed { code, why } => Some(talk.explain(code, why)),
            Received::Lines(frame) => {
                for line in frame.lines().filter(|line| !line.is_empty()) {
                    match lines::parse(line) {
                        Ok(Incoming::Pushed(event)) => self.on_pushed(talk, event).await,
                        Ok(Incoming::Reply { id, result }) => {
                            self.on_reply(talk, id, result).await;
                        }
                        // A later version's line; the protocol says to ignore it.
                        Err(error) => tracing::debug!(%error, line, "a line cannot be read"),
                    }
                }
                None
            }
        }
    }

    async fn on_pushed(&mut self, talk: &mut Talk, event: Event) {
        match &event {
            Event::Message(message) if !self.take(message) => return,
            Event::Resumed(resumed) => self.on_resumed(talk, resumed),
            Event::Bye(bye) => talk.bye = Some(bye.clone()),
            Event::Message(_)
            | Event::Online(_)
            | Event::Offline { .. }
            | Event::Stopped(_)
            | Event::Presence(_)
            | Event::Receipt(_)
            | Event::Signal(_)
            | Event::Other { .. } => {}
        }
        self.tell(event).await;
    }

    fn on_resumed(&mut self, talk: &mut Talk, resumed: &Resumed) {
        for (of, after) in self.held.end_resume(resumed) {
            talk.fills.insert(of, Fill::new(Instant::now(), after));
        }
    }

    async fn on_reply(&mut self, talk: &mut Talk, id: Option<u64>, result: Result<Value, Refusal>) {
        match id.and_then(|id| talk.pending.remove(&id)) {
            Some(Pending::Hello) => self.on_hello(talk, result).await,
            Some(Pending::Command(reply)) => {
                // Whoever asked may have gone.
                reply.send(result.map_err(CommandError::Refused)).ok();
            }
            Some(Pending::Send(nonce)) => self.on_sent(nonce, result),
            Some(Pending::Fill { of }) => self.on_page(talk, of, result).await,
            Some(Pending::Ping) | None => {}
        }
    }

    async fn on_hello(&mut self, talk: &mut Talk, result: Result<Value, Refusal>) {
        let welcome = match result {
            Ok(fields) => lines::typed::<Welcome>(fields),
            Err(refusal) => {
                talk.refusal = Some(refusal);
                return;
            }
        };
        let welcome = match welcome {
            Ok(welcome) => welcome,
            Err(error) => {
                talk.refusal = Some(Refusal {
                    code: "malformed".to_owned(),
                    message: error.to_string(),
                    retry_after_ms: None,
                });
                return;
            }
        };
        self.options.device = Some(welcome.device.clone());
        self.ahead_ms = welcome.time.cast_signed() - unix_ms().cast_signed();
        self.known = true;
        self.backoff.reset();
        talk.online = true;
        self.tell(Event::Online(welcome)).await;
    }

    /// What this client sent comes back only as a reply, and is held all the same.
    fn on_sent(&mut self, nonce: Nonce, result: Result<Value, Refusal>) {
        let kept = self
            .outbox
            .on_reply(Instant::now(), nonce, result, random() as u64);
        let Some((draft, sent)) = kept else { return };
        self.held.insert(&Message {
            within: draft.to,
            id: sent.id,
            from: self.options.user.clone(),
            body: draft.body,
            nonce,
            reply_to: None,
            late: false,
        });
    }

    /// A page of what a resume left.
    async fn on_page(&mut self, talk: &mut Talk, of: String, result: Result<Value, Refusal>) {
        let Ok(page) = result
            .map_err(CommandError::Refused)
            .and_then(lines::typed::<Page>)
        else {
            // Without the page `upto` stays, and the next resume names it.
            talk.fills.remove(&of);
            return;
        };
        let last = page.messages.last().map(|message| message.id);
        for message in page.messages {
            if self.take(&message) {
                self.tell(Event::Message(message)).await;
            }
        }
        let done = |fill: &mut Fill| fill.on_page(Instant::now(), last, page.more, page.complete);
        if talk.fills.get_mut(&of).is_some_and(done) {
            talk.fills.remove(&of);
            self.held.filled(&of);
        }
    }

    /// True: a message to be told of. One that this client is still sending is told by its reply.
    fn take(&mut self, message: &Message) -> bool {
        let own = message.from == self.options.user && self.outbox.holds(message.nonce);
        self.held.insert(message) && !own
    }

    async fn on_order(&mut self, talk: &mut Talk, order: Option<Order>) -> Option<Ended> {
        let asked = match order {
            None => return Some(Ended::Wanted(None)),
            Some(Order::Close { done }) => return Some(Ended::Wanted(Some(done))),
            Some(Order::Send { draft, reply }) => {
                self.queue(draft, reply);
                return None;
            }
            Some(Order::Command {
                name,
                fields,
                reply,
            }) => talk.ask(&name, fields, Pending::Command(reply)).await,
        };
        asked.err().map(Ended::Lost)
    }

    fn queue(&mut self, draft: Draft, reply: SentReply) {
        let now = unix_ms().saturating_add_signed(self.ahead_ms);
        let nonce = draft.nonce.unwrap_or_else(|| Nonce::new(now, random()));
        self.outbox.push(Instant::now(), draft, nonce, reply);
    }

    async fn send_what_is_due(&mut self, talk: &mut Talk) -> Result<(), String> {
        let now = Instant::now();
        for (nonce, fields) in self.outbox.take_due(now) {
            talk.ask("send", fields, Pending::Send(nonce)).await?;
        }
        talk.fills.retain(|of, _| self.held.filling(of));
        let due = talk.fills.iter_mut();
        let due = due.filter_map(|(of, fill)| Some((of.clone(), fill.take_due(now)?)));
        for (of, after) in due.collect::<Vec<_>>() {
            let fields = json!({"of": of, "after": after.to_string(), "limit": 200});
            talk.ask("history", fields, Pending::Fill { of }).await?;
        }
        if now >= talk.heard + QUIET && !talk.asked_for_life() {
            talk.ask("ping", json!({}), Pending::Ping).await?;
        }
        Ok(())
    }

    /// When something is due without anything coming.
    fn wake(&self, talk: &Talk) -> Instant {
        if !talk.online {
            return talk.began + HELLO;
        }
        let quiet = if talk.asked_for_life() {
            QUIET * 2
        } else {
            QUIET
        };
        let sends = self.outbox.next_due().into_iter();
        let fills = talk.fills.values().filter_map(Fill::due);
        let earliest = sends.chain(fills).min();
        earliest.map_or(talk.heard + quiet, |due| due.min(talk.heard + quiet))
    }

    /// Waits for the next try; sends pile up, other commands fail.
    async fn wait(&mut self, why: String, bye: Option<Bye>) -> Wait {
        let retry = match bye {
            Some(bye) => {
                self.move_on(&bye);
                self.backoff.reset();
                Duration::from_millis(bye.reconnect_after_ms.min(1_000))
            }
            None => self.backoff.next(random() as u64),
        };
        self.tell(Event::Offline { why, retry }).await;
        let over = Instant::now() + retry;
        loop {
            let takes_orders = !self.outbox.is_full();
            tokio::select! {
                () = sleep_until(over) => return Wait::Over,
                order = self.orders.recv(), if takes_orders => match order {
                    None => return Wait::Closed,
                    Some(Order::Close { done }) => {
                        // Whoever asked may have gone.
                        done.send(()).ok();
                        return Wait::Closed;
                    }
                    Some(Order::Send { draft, reply }) => self.queue(draft, reply),
                    Some(Order::Command { reply, .. }) => {
                        // Whoever asked may have gone.
                        reply.send(Err(CommandError::Disconnected)).ok();
                    }
                },
            }
        }
    }

    /// The nodes that a leaving one names come first, and the one asked for stays among them.
    fn move_on(&mut self, bye: &Bye) {
        let named = bye.urls.iter().filter_map(|url| url.parse().ok());
        self.endpoints = named.collect();
        if !self.endpoints.contains(&self.options.endpoint) {
            self.endpoints.push(self.options.endpoint.clone());
        }
    }

    async fn tell(&self, event: Event) {
        // Nobody needs to listen.
        self.events.send(event).await.ok();
    }
}

enum Wait {
    Over,
    Closed,
}

impl Talk {
    fn new(link: Link) -> Self {
        Self {
            link,
            next_id: 1,
            pending: BTreeMap::new(),
            online: false,
            bye: None,
            refusal: None,
            began: Instant::now(),
            heard: Instant::now(),
            fills: BTreeMap::new(),
        }
    }

    async fn ask(&mut self, name: &str, fields: Value, pending: Pending) -> Result<(), String> {
        let id = self.next_id;
        self.next_id += 1;
        self.pending.insert(id, pending);
        self.link
            .send(json!({"id": id, name: fields}).to_string())
            .await
    }

    fn asked_for_life(&self) -> bool {
        self.pending
            .values()
            .any(|pending| matches!(pending, Pending::Ping))
    }

    /// A sentence where the node has been silent for too long.
    fn silence(&self) -> Option<String> {
        if !self.online && self.began.elapsed() >= HELLO {
            return Some("the node does not answer hello".to_owned());
        }
        let silent = self.heard.elapsed() >= QUIET * 2;
        silent.then(|| "the node is silent".to_owned())
    }

    fn explain(&mut self, code: Option<u16>, why: String) -> Ended {
        let refusal = self.refusal.take();
        match (code, refusal) {
            (Some(4009), _) => Ended::Stopped(Stopped::Replaced),
            (Some(4001 | 4003), Some(refusal)) if !refusal.is_passing() => {
                Ended::Stopped(Stopped::Refused(refusal))
            }
            (_, Some(refusal)) => Ended::Lost(refusal.to_string()),
            (_, None) => Ended::Lost(why),
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random numbers once it has started");
    u128::from_ne_bytes(bytes)
}
