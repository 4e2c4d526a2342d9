//! One line of a trace, and the legend.

use mesh::proto::membership::State;
use mesh::proto::{Closing, DialFailure, Note, Target};
use mesh::time::Instant;

use super::names::{Life, Names};
use super::{Event, Fate, said};

/// What the columns and signs of a trace mean.
pub const LEGEND: &str = "     seconds who    ?? whom   what
    who, whom: h3.2 is the node of host 3 in its second life, h3.? in a life that was not seen
    ->  a frame is sent    =>  it arrives        -x  it is lost       2>  it comes twice
    ++  a link is up       --  a link is down    -!  a dial failed    ..  a note for the operator
    @+  a client comes     @-  it goes           @>  it moves         **  a fault, or its end
    ==  a phase begins     !!  an invariant is broken
    h3.2#17 n=100   the routes of h3.2 as of its batch 17, 100 of them
    +2 -1           of a batch: two routes came, one went
    h4.1~ x <       behind a member: suspect, down, has left; alive without a sign
    i3 r5 q5 a12.1  incarnation 3, probe 5, question 5, append 12 with its id changed once
";

/// What is kept of a thing that happened.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) at: Instant,
    pub(super) who: Option<Life>,
    pub(super) whom: Option<Life>,
    pub(super) event: Event,
}

impl Line {
    /// In fixed columns, without a line break.
    pub(super) fn show(&self, names: &Names) -> String {
        let (seconds, us) = (self.at.0 / 1_000_000, self.at.0 % 1_000_000);
        let life = |life: Option<Life>| life.map_or_else(String::new, |life| life.to_string());
        let (who, whom) = (life(self.who), life(self.whom));
        let (sign, what) = (self.sign(), self.what(names));
        let line = format!("{seconds:>5}.{us:06} {who:<6} {sign} {whom:<6} {what}");
        let line = line.replace(char::is_control, " ");
        line.trim_end().to_owned()
    }

    fn sign(&self) -> &'static str {
        match &self.event {
            Event::Frame { fate, .. } => match fate {
                Fate::Sent => "->",
                Fate::Arrived => "=>",
                Fate::Lost => "-x",
                Fate::Doubled => "2>",
            },
            Event::LinkUp { .. } => "++",
            Event::LinkDown { .. } => "--",
            Event::DialFailed { .. } => "-!",
            Event::Note(_) => "..",
            Event::Hello { .. } => "@+",
            Event::Closed { .. } => "@-",
            Event::Moved { .. } => "@>",
            Event::Fault { .. } => "**",
            Event::Phase(_) => "==",
            Event::Broken { .. } => "!!",
        }
    }

    fn what(&self, names: &Names) -> String {
        match &self.event {
            Event::Frame { frame, .. } => match (self.who, self.whom) {
                (Some(from), Some(to)) => said::frame(names, from.host, to.host, frame),
                (None, _) | (_, None) => "a frame from nowhere".to_owned(),
            },
            Event::LinkUp { .. } => "link up".to_owned(),
            Event::LinkDown { .. } => "link down".to_owned(),
            Event::DialFailed { failure, .. } => format!("dial failed: {}", why(failure)),
            Event::Note(note) => noted(names, note),
            Event::Hello { session, user } => format!("hello {user} s{}", session.0),
            Event::Closed { session, closing } => match closing {
                Closing::Gone => format!("gone s{}", session.0),
                Closing::Lost => format!("lost s{}", session.0),
            },
            Event::Moved { user, .. } => format!("moves {user}"),
            Event::Fault { what, .. } => what.clone(),
            Event::Phase(name) => name.clone(),
            Event::Broken { invariant, why } => format!("{invariant}: {why}"),
        }
    }
}

/// The sign of a member's state behind its name.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Alive => "",
        State::Suspect => "~",
        State::Down => "x",
        State::Left => "<",
    }
}

fn why(failure: &DialFailure) -> &str {
    match failure {
        DialFailure::Unreachable(why) | DialFailure::Refused(why) => why,
        DialFailure::Own => "it is this node",
    }
}

fn noted(names: &Names, note: &Note) -> String {
    match note {
        Note::Joined(node) => format!("joined {}", names.node(*node)),
        Note::Member { node, state, after } => {
            let node = names.node(*node);
            let state = match state {
                State::Alive => "alive",
                State::Suspect => "suspect",
                State::Down => "down",
                State::Left => "left",
            };
            let after = after.map(|after| format!(" after {} ms", after.as_millis()));
            format!("{node} {state}{}", after.unwrap_or_default())
        }
        Note::LinkBroken(node) => format!("no link to {}, which lives", names.node(*node)),
        Note::Linked(node) => format!("linked {}", names.node(*node)),
        Note::Dial {
            target,
            failure,
            retry,
        } => {
            let target = match target {
                Target::Contact(contact) => contact.address.to_string(),
                Target::Member { node, .. } => names.node(*node),
            };
            let (why, retry) = (why(failure), retry.as_millis());
            format!("dial {target}: {why}, again in {retry} ms")
        }
        Note::Refused { node, why } => format!("refused {}: {why}", names.node(*node)),
        Note::Isolated(true) => "isolated".to_owned(),
        Note::Isolated(false) => "isolated no more".to_owned(),
        Note::Mismatch(node) => format!("mismatch of the routes of {}", names.node(*node)),
        Note::EventDiffers(id) => format!("event {id} differs"),
        Note::Ready => "ready".to_owned(),
    }
}
