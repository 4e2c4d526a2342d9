//! What a session reads: one thing after another, at its own pace.
//!
//! A read goes step by step: it asks the replicas, and says something to the client. What it says is
//! marked as bulk, so that it waits for room in the client's outbox, and the next step comes when it
//! has found it. So a client that does not read costs one page and a short queue, never more.

use std::collections::VecDeque;

use crate::command::{Push, Reply};
use crate::event::SharedEvent;
use crate::proto::chat::listing::{Conversations, History};
use crate::proto::chat::resume::Resume;
use crate::proto::output::Ticket;
use crate::store::{Answer, Query};

/// Reads of one session that wait for those before them; above it they are refused as
/// `rate_limited`. A page of any client asks for a handful at once.
const QUEUE_MAX: usize = 64;

/// What a read does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the replicas, and go on with their answer.
    Ask(Query),
    /// Answer the command: that was all.
    Reply(Reply),
    /// Tell the client, and go on once that has found room.
    Push(Push),
    /// That was all.
    Done,
}

/// Something that a session reads.
#[derive(Debug)]
pub(super) enum Job {
    /// A `history`.
    History(Box<History>),
    /// A `conversations`.
    Conversations(Box<Conversations>),
    /// The `resume` of a `hello`.
    Resume(Box<Resume>),
}

impl Job {
    fn start(&mut self, live: &mut Vec<Push>) -> Step {
        match self {
            Self::History(history) => history.start(),
            Self::Conversations(conversations) => conversations.step(),
            Self::Resume(resume) => resume.start(live),
        }
    }

    fn on_answer(&mut self, answer: Answer, complete: bool, live: &mut Vec<Push>) -> Step {
        match self {
            Self::History(history) => history.on_answer(answer, complete),
            Self::Conversations(conversations) => conversations.on_answer(answer, complete),
            Self::Resume(resume) => resume.on_answer(answer, complete, live),
        }
    }

    fn on_drained(&mut self, live: &mut Vec<Push>) -> Step {
        match self {
            Self::History(_) | Self::Conversations(_) => Step::Done,
            Self::Resume(resume) => resume.on_drained(live),
        }
    }

    fn left_out(&self) -> u64 {
        match self {
            Self::History(_) => 0,
            Self::Conversations(conversations) => conversations.left_out(),
            Self::Resume(resume) => resume.left_out(),
        }
    }
}

/// A read and the command that it answers.
#[derive(Debug)]
struct Queued {
    request: Option<u64>,
    job: Job,
}

/// What the first job of a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Nothing: there is none, or it is not begun.
    Nothing,
    /// An answer of the replicas.
    Answer(Ticket),
    /// Room in the client's outbox.
    Room,
}

/// All that a session reads.
#[derive(Debug)]
pub(super) struct Work {
    /// The first one is under way.
    jobs: VecDeque<Queued>,
    waiting: Waiting,
}

/// What is to be done for a session now, besides pushing what was held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Ask; then [`Work::asked`].
    Ask(Query),
    /// Answer this command, as bulk.
    Reply(Option<u64>, Reply),
    /// Push, as bulk.
    Push(Push),
}

impl Work {
    /// Nothing to do.
    pub(super) fn new() -> Self {
        Self {
            jobs: VecDeque::new(),
            waiting: Waiting::Nothing,
        }
    }

    /// Puts a job behind the others. False: too many wait.
    pub(super) fn queue(&mut self, request: Option<u64>, job: Job) -> bool {
        let room = self.jobs.len() <= QUEUE_MAX;
        if room {
            self.jobs.push_back(Queued { request, job });
        }
        room
    }

    /// Begins the next job where none is under way.
    pub(super) fn begin(&mut self, live: &mut Vec<Push>) -> Option<Act> {
        if self.waiting != Waiting::Nothing {
            return None;
        }
        let step = self.jobs.front_mut()?.job.start(live);
        self.act(step, live)
    }

    /// A question has been put under this ticket.
    pub(super) fn asked(&mut self, ticket: Ticket) {
        self.waiting = Waiting::Answer(ticket);
    }

    /// A question is answered.
    pub(super) fn on_answer(
        &mut self,
        ticket: Ticket,
        answer: Answer,
        complete: bool,
        live: &mut Vec<Push>,
    ) -> Option<Act> {
        if self.waiting != Waiting::Answer(ticket) {
            return None;
        }
        self.waiting = Waiting::Nothing;
        let step = self.jobs.front_mut()?.job.on_answer(answer, complete, live);
        self.act(step, live)
    }

    /// The client has room again.
    pub(super) fn on_drained(&mut self, live: &mut Vec<Push>) -> Option<Act> {
        if self.waiting != Waiting::Room {
            return None;
        }
        self.waiting = Waiting::Nothing;
        let step = self.jobs.front_mut()?.job.on_drained(live);
        self.act(step, live)
    }

    /// A live event comes: true where the resume under way takes it.
    pub(super) fn takes(&mut self, event: &SharedEvent, late: bool) -> bool {
        match self.jobs.front_mut().map(|queued| &mut queued.job) {
            Some(Job::Resume(resume)) => resume.takes(event, late),
            Some(Job::History(_) | Job::Conversations(_)) | None => false,
        }
    }

    /// Nothing is under way, nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Conversations that the first job leaves out for want of room.
    pub(super) fn left_out(&self) -> u64 {
        self.jobs.front().map_or(0, |queued| queued.job.left_out())
    }

    fn act(&mut self, step: Step, live: &mut Vec<Push>) -> Option<Act> {
        match step {
            Step::Ask(query) => Some(Act::Ask(query)),
            Step::Reply(reply) => {
                self.waiting = Waiting::Room;
                let request = self.jobs.front().and_then(|queued| queued.request);
                Some(Act::Reply(request, reply))
            }
            Step::Push(push) => {
                self.waiting = Waiting::Room;
                Some(Act::Push(push))
            }
            Step::Done => {
                self.jobs.pop_front();
                self.begin(live)
            }
        }
    }
}
