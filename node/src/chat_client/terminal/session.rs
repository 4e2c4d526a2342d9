//! One chat: what was typed and what came, in the order in which they happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use mesh::id::EventId;
use tokio::time::{Instant, sleep_until};

use super::input::Console;
use super::text::{self, Ink};
use super::{Mode, Options, parse_address};
use crate::chat_client::{
    Begin, Client, CommandError, Draft, Event, Events, Listed, Message, Presence, Reconnect,
    Sending, Sent, Welcome,
};

const HELP: &str = "\
What can be typed:
  /to NAME      write to somebody else from now on
  /list         your conversations, with unread messages
  /history [N]  earlier messages of this conversation, 20 or N at a time
  /who          who of those you write with is there
  /help         this
  /quit         say goodbye (so does Ctrl-D)
  //text        a message that begins with a slash
Anything else is a message.";

/// Messages of a conversation that is opened.
const OPENING: u32 = 10;

/// Messages of one `/history`.
const PAGE: u32 = 20;

/// Conversations of one `/list`.
const LIST: u32 = 50;

/// Read marks are told at most that often.
const MARK: Duration = Duration::from_millis(500);

/// A chat; an error is a sentence.
pub(super) async fn chat(options: Options, mode: Mode) -> Result<(), String> {
    let console = Console::open(mode)?;
    let colours = mode == Mode::Terminal && std::env::var_os("NO_COLOR").is_none();
    let (client, mut events) = Client::start(crate::chat_client::Options {
        endpoint: options.url.clone(),
        user: options.user.clone(),
        device: None,
        begin: match mode {
            // A person sees unread messages in the list and the history.
            Mode::Terminal => Begin::Live,
            Mode::Piped => Begin::Unread,
        },
        reconnect: Reconnect::Always,
    });
    let mut chat = Chat {
        console,
        client: client.clone(),
        mode,
        ink: if colours { Ink::Colours } else { Ink::Plain },
        me: options.user,
        to: options.to,
        known: BTreeSet::new(),
        oldest: BTreeMap::new(),
        marks: BTreeMap::new(),
        mark_at: None,
        sending: FuturesUnordered::new(),
        greeted: false,
        caught_up: false,
        failed: 0,
    };
    loop {
        let mark_at = chat.mark_at.unwrap_or_else(|| Instant::now() + MARK);
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => chat.on_event(event).await?,
                None => return Err("the client has stopped".to_owned()),
            },
            line = chat.console.line() => match line {
                Some(line) if chat.on_line(&line).await => chat.prompt(),
                Some(_) | None => break,
            },
            Some(kept) = chat.sending.next() => chat.on_kept(kept),
            () = sleep_until(mark_at), if chat.mark_at.is_some() => {
                let marks = chat.take_marks();
                tokio::spawn(tell_marks(client.clone(), marks));
            }
        }
    }
    chat.finish(&mut events).await?;
    tell_marks(client.clone(), chat.take_marks()).await;
    client.close().await;
    match chat.failed {
        0 => Ok(()),
        n => Err(format!("{n} of the lines did not work")),
    }
}

struct Chat {
    console: Console,
    client: Client,
    mode: Mode,
    ink: Ink,
    me: String,
    /// Whom messages go to.
    to: Option<String>,
    /// Users whose presence is shown.
    known: BTreeSet<String>,
    /// The oldest message shown of each conversation.
    oldest: BTreeMap<String, EventId>,
    /// Read marks to be told.
    marks: BTreeMap<String, EventId>,
    mark_at: Option<Instant>,
    sending: FuturesUnordered<BoxFuture<'static, (String, Result<Sent, CommandError>)>>,
    /// The first connection was made.
    greeted: bool,
    /// What was unread at the start has been shown.
    caught_up: bool,
    /// Lines of a script that were not kept.
    failed: u32,
}

impl Chat {
    fn prompt(&self) {
        let to = self.to.as_deref().unwrap_or("");
        self.console.prompt(format!("{to}> "));
    }

    fn say(&mut self, remark: &str) {
        let line = match self.mode {
            Mode::Terminal => text::notice(remark, self.ink),
            Mode::Piped => remark.to_owned(),
        };
        self.console.remark(line);
    }

    /// An error is the end, and a sentence.
    async fn on_event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Stopped(stopped) => return Err(stopped.to_string()),
            // A script would rather know now that there is no node.
            Event::Offline { why, .. } if self.mode == Mode::Piped && !self.greeted => {
                return Err(why);
            }
            Event::Online(welcome) => self.on_online(&welcome).await,
            Event::Offline { why, retry } => {
                let seconds = retry.as_secs_f32();
                self.say(&format!("{why}; trying again in {seconds:.1} s"));
            }
            Event::Message(message) => self.show(&message),
            Event::Presence(fact) => self.show_presence(&fact),
            Event::Bye(bye) => {
                self.say(&format!(
                    "the node says goodbye ({})",
                    text::printable(&bye.reason)
                ));
            }
            Event::Resumed(_) => self.caught_up = true,
            Event::Receipt(_) | Event::Signal(_) | Event::Other { .. } => {}
        }
        Ok(())
    }

    async fn on_online(&mut self, welcome: &Welcome) {
        if self.mode == Mode::Piped {
            self.greeted = true;
            return;
        }
        let (mesh, node) = (text::printable(&welcome.mesh), text::short(&welcome.node));
        let me = self.me.clone();
        let back = if self.greeted { "again " } else { "" };
        self.say(&format!(
            "connected {back}as {me} to node {node} of mesh {mesh}"
        ));
        if self.greeted {
            self.watch_all().await;
            return;
        }
        self.greeted = true;
        self.say("/help tells what can be typed");
        self.list().await;
        if let Some(to) = self.to.clone() {
            self.open(&to).await;
        }
        self.prompt();
    }

    fn show(&mut self, message: &Message) {
        self.mark(&message.within, message.id);
        // A script knows what it has written, also when it was another run of it.
        if self.mode == Mode::Terminal || message.from != self.me {
            let line = text::message(message, &self.me, self.mode, self.ink, None);
            self.console.show(line);
        }
    }

    /// What was shown has been read.
    fn mark(&mut self, of: &str, id: EventId) {
        let mark = self.marks.entry(of.to_owned()).or_insert(id);
        *mark = id.max(*mark);
        self.mark_at.get_or_insert_with(|| Instant::now() + MARK);
    }

    fn take_marks(&mut self) -> BTreeMap<String, EventId> {
        self.mark_at = None;
        std::mem::take(&mut self.marks)
    }

    fn show_presence(&mut self, fact: &Presence) {
        self.say(&text::presence(fact, unix_ms()));
    }

    /// False: that was all.
    async fn on_line(&mut self, line: &str) -> bool {
        let line = line.trim_end();
        let Some(rest) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
            let message = line.strip_prefix('/').unwrap_or(line);
            if !message.trim().is_empty() {
                self.send(message).await;
            }
            return true;
        };
        let (command, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        match (command, argument.trim()) {
            ("quit" | "exit" | "q", _) => return false,
            ("help" | "h" | "?", _) => self.say_lines(HELP),
            ("to", name) => match parse_address(name) {
                Ok(to) => self.turn_to(to).await,
                Err(error) => self.fail(&error),
            },
            ("list", _) => self.list().await,
            ("who", _) => self.who().await,
            ("history", "") => self.page(PAGE).await,
            ("history", number) => match number.parse() {
                Ok(limit @ 1..=200) => self.page(limit).await,
                Ok(_) | Err(_) => self.fail("/history takes a number from 1 to 200"),
            },
            (other, _) => self.fail(&format!("there is no /{other}; /help tells what there is")),
        }
        true
    }

    fn say_lines(&mut self, lines: &str) {
        lines
            .lines()
            .for_each(|line| self.console.remark(line.to_owned()));
    }

    /// Something typed that does not work.
    fn fail(&mut self, why: &str) {
        self.failed += u32::from(self.mode == Mode::Piped);
        self.console.remark(format!("! {}", text::printable(why)));
    }

    async fn send(&mut self, message: &str) {
        let Some(to) = self.to.clone() else {
            self.fail("whom to? /to NAME says it, or --to NAME at the start");
            return;
        };
        match self.client.submit(Draft::text(&to, message)).await {
            Ok(sending) => self.sending.push(Box::pin(kept(to, sending))),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    fn on_kept(&mut self, (to, result): (String, Result<Sent, CommandError>)) {
        if let Err(error) = result {
            self.fail(&format!(
                "a message to {to} may not have been kept: {error}"
            ));
        }
    }

    async fn turn_to(&mut self, to: String) {
        self.to = Some(to.clone());
        if self.mode == Mode::Terminal {
            self.open(&to).await;
        }
    }

    /// Shows a conversation's newest messages and whether the other is there.
    async fn open(&mut self, of: &str) {
        self.oldest.remove(of);
        self.page_of(of, OPENING).await;
        if of.starts_with('@') && self.known.insert(of.to_owned()) {
            self.watch_all().await;
        }
    }

    async fn page(&mut self, limit: u32) {
        match self.to.clone() {
            Some(of) => self.page_of(&of, limit).await,
            None => self.fail("of whom? /to NAME says it"),
        }
    }

    async fn page_of(&mut self, of: &str, limit: u32) {
        let before = self.oldest.get(of).copied();
        let page = match self.client.history(of, before, limit).await {
            Ok(page) => page,
            Err(error) => return self.fail(&error.to_string()),
        };
        if !page.complete {
            self.say("not all nodes could be asked: messages may be missing");
        }
        if page.messages.is_empty() {
            self.say(&format!("no earlier messages with {of}"));
        } else if !page.more {
            self.say(&format!("the beginning of {of}"));
        }
        for message in &page.messages {
            let now = Some(unix_ms());
            let line = text::message(message, &self.me, self.mode, self.ink, now);
            self.console.show(line);
        }
        if let Some(first) = page.messages.first() {
            self.oldest.insert(of.to_owned(), first.id);
        }
        if let Some(last) = page.messages.last() {
            self.mark(of, last.id);
        }
    }

    async fn list(&mut self) {
        let conversations = match self.client.conversations(LIST).await {
            Ok(conversations) => conversations,
            Err(error) => return self.fail(&error.to_string()),
        };
        if conversations.is_empty() {
            self.say("nobody has written yet; /to NAME begins");
        }
        let now = unix_ms();
        for item in &conversations {
            let line = text::listed(item, &self.me, self.ink, now);
            self.console.remark(line);
        }
        let others = |item: &&Listed| item.of.starts_with('@') && item.of != self.me;
        let users = conversations.iter().filter(others);
        self.known.extend(users.map(|item| item.of.clone()));
        let latest = conversations.into_iter().next().map(|item| item.of);
        self.to = self
            .to
            .take()
            .or_else(|| latest.filter(|_| self.mode == Mode::Terminal));
        self.watch_all().await;
    }

    async fn watch_all(&mut self) {
        for fact in self.watched().await {
            if fact.online || Some(&fact.user) == self.to.as_ref() {
                self.show_presence(&fact);
            }
        }
    }

    async fn who(&mut self) {
        self.known
            .extend(self.to.clone().filter(|to| to.starts_with('@')));
        for fact in self.watched().await {
            self.show_presence(&fact);
        }
    }

    async fn watched(&mut self) -> Vec<Presence> {
        const MOST: usize = mesh::command::limits::WATCH;
        let users: Vec<String> = self.known.iter().take(MOST).cloned().collect();
        if users.is_empty() {
            return Vec::new();
        }
        match self.client.watch(&users).await {
            Ok(presence) => presence,
            Err(error) => {
                self.fail(&error.to_string());
                Vec::new()
            }
        }
    }

    /// Waits until all that was typed is kept, and in a script until what was unread is shown.
    async fn finish(&mut self, events: &mut Events) -> Result<(), String> {
        if self.mode == Mode::Terminal && !self.sending.is_empty() {
            self.say("waiting until everything is kept; Ctrl-C gives up");
        }
        while !self.sending.is_empty() || self.mode == Mode::Piped && !self.caught_up {
            tokio::select! {
                Some(kept) = self.sending.next() => self.on_kept(kept),
                event = events.recv() => match event {
                    Some(event) => self.on_event(event).await?,
                    None => return Err("the client has stopped".to_owned()),
                },
            }
        }
        Ok(())
    }
}

async fn tell_marks(client: Client, marks: BTreeMap<String, EventId>) {
    for (of, upto) in marks {
        // A mark that is lost only makes a message unread again.
        client.read(&of, upto).await.ok();
    }
}

async fn kept(to: String, sending: Sending) -> (String, Result<Sent, CommandError>) {
    (to, sending.kept().await)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
