//! What clients say, and what they hear.

use std::time::Duration;

use mesh::command::{Command, Hello, Push, Reply};
use mesh::id::{Device, SessionId, UserName};
use mesh::proto::{Closing, Input};

use super::{Client, Heard, HostId, World};
use crate::trace;

impl World {
    /// Opens a session and says `hello`; whatever the answer, it is in the inbox later.
    pub fn hello(&mut self, host: HostId, user: &str, device: Option<&str>) -> Client {
        let hello = Hello {
            user: user.parse().expect("a valid user name"),
            device: device.map(|device| Device::try_from(device).expect("a valid device")),
            resume: None,
        };
        self.hello_with(host, hello)
    }

    /// Opens a session with that `hello`.
    pub fn hello_with(&mut self, host: HostId, hello: Hello) -> Client {
        let client = Client {
            host,
            session: SessionId(self.next_session),
        };
        self.next_session += 1;
        self.inboxes.insert(client, Vec::new());
        let event = || trace::Event::Hello {
            session: client.session,
            user: hello.user.clone(),
        };
        self.trace.event(self.now, Some(host), event);
        self.command(client, Command::Hello(hello));
        client
    }

    /// A client asks for something: the number of its request.
    pub fn command(&mut self, client: Client, command: Command) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.drive(
            client.host,
            Input::Command {
                session: client.session,
                request: Some(request),
                command,
            },
        );
        request
    }

    /// A client goes, or its connection is lost.
    pub fn close(&mut self, client: Client, closing: Closing) {
        let event = || trace::Event::Closed {
            session: client.session,
            closing,
        };
        self.trace.event(self.now, Some(client.host), event);
        self.drive(
            client.host,
            Input::Closed {
                session: client.session,
                closing,
            },
        );
    }

    /// All that a client has heard so far.
    pub fn heard(&self, client: Client) -> &[Heard] {
        self.inboxes.get(&client).map_or(&[], Vec::as_slice)
    }

    /// Whether a session was ended by its node, or with it.
    pub fn is_over(&self, client: Client) -> bool {
        self.heard(client).last().is_some_and(Heard::is_end)
    }

    /// Drops what a client has heard: nobody asks for it any more.
    pub fn forget(&mut self, client: Client) {
        self.inboxes.remove(&client);
    }

    /// The answer to a request, where it has come.
    pub fn reply(&self, client: Client, request: u64) -> Option<&Reply> {
        self.heard(client).iter().find_map(|heard| match heard {
            Heard::Reply(number, reply) if *number == request => Some(reply),
            Heard::Reply(..) | Heard::Push(_) | Heard::Closed(_) | Heard::Lost => None,
        })
    }

    /// Runs until a request is answered: the answer.
    ///
    /// # Panics
    /// Where none comes within 20 virtual seconds.
    pub fn ask(&mut self, client: Client, command: Command) -> Reply {
        let request = self.command(client, command);
        self.run_until(Duration::from_secs(20), |world| {
            world.reply(client, request).is_some()
        });
        self.reply(client, request)
            .cloned()
            .expect("an answer within 20 s")
    }

    /// Everything pushed to a client so far.
    pub fn pushes(&self, client: Client) -> impl Iterator<Item = &Push> {
        self.heard(client).iter().filter_map(|heard| match heard {
            Heard::Push(push) => Some(push),
            Heard::Reply(..) | Heard::Closed(_) | Heard::Lost => None,
        })
    }

    /// A name as a client writes it.
    pub fn user(name: &str) -> UserName {
        name.parse().expect("a valid user name")
    }
}

impl Heard {
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Lost)
    }
}
