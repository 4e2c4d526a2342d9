//! The trace of a run: one line for each thing that happens, with a legend.
//!
//! A trace is off, keeps the last lines for the case that something breaks, or hands out each line as
//! it happens. Off it costs one comparison; a line that is kept is worked out only when it is shown.

mod line;
mod names;
mod said;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use mesh::id::{Epoch, NodeId, SessionId, UserName};
use mesh::proto::{Closing, DialFailure, Note};
use mesh::time::Instant;
use mesh::wire::{Envelope, Frame};

use crate::world::HostId;
pub use line::LEGEND;
use line::Line;
use names::Names;

/// Lines that are kept where nothing else is asked for: a page or two, and at 100 nodes the last
/// milliseconds. Where there are more, the oldest go.
pub const LINES: usize = 200;

/// What happens in a run, line by line. See the module.
#[derive(Debug, Default)]
pub struct Trace {
    sink: Sink,
    names: Names,
    /// What happens at another time is left out; `None`: nothing is.
    window: Option<(Instant, Instant)>,
}

#[derive(Default)]
enum Sink {
    #[default]
    Off,
    Ring(Ring),
    Print(Box<dyn FnMut(&str) + Send>),
}

#[derive(Debug)]
struct Ring {
    lines: VecDeque<Line>,
    bound: usize,
    gone: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A frame on its way.
    Frame {
        /// Where it goes.
        to: HostId,
        /// How far it came.
        fate: Fate,
        /// What it says.
        frame: Frame,
    },
    /// A connection is open.
    LinkUp {
        /// Its other end.
        peer: HostId,
    },
    /// A connection is gone.
    LinkDown {
        /// Its other end.
        peer: HostId,
    },
    /// A dial led nowhere.
    DialFailed {
        /// Whom it was for, where that is a host.
        peer: Option<HostId>,
        /// Why.
        failure: DialFailure,
    },
    /// A machine noted something for its operator.
    Note(Note),
    /// A client said `hello`.
    Hello {
        /// In which session.
        session: SessionId,
        /// Who it is.
        user: UserName,
    },
    /// A client's session ended.
    Closed {
        /// Which.
        session: SessionId,
        /// How.
        closing: Closing,
    },
    /// A client goes on at another host.
    Moved {
        /// Who it is.
        user: UserName,
        /// Where it goes.
        to: HostId,
    },
    /// Something goes wrong on purpose, or is put right.
    Fault {
        /// What: `crash`, `cut`, `heal`.
        what: String,
        /// The other host, where there is one.
        other: Option<HostId>,
    },
    /// A part of the scenario begins.
    Phase(String),
    /// Something happened that must never happen.
    Broken {
        /// The name of what was broken.
        invariant: String,
        /// A sentence.
        why: String,
    },
}

/// How far a frame came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It left its sender.
    Sent,
    /// It reached its receiver.
    Arrived,
    /// It is gone: by chance, in a cut or with its connection.
    Lost,
    /// It comes once more.
    Doubled,
}

impl Trace {
    /// Nothing is traced.
    pub fn off() -> Self {
        Self::default()
    }

    /// The last `bound` lines are kept, at least one; [`LINES`] is a good number. Read them by
    /// printing the trace.
    pub fn ring(bound: usize) -> Self {
        let bound = bound.max(1);
        let ring = Ring {
            lines: VecDeque::with_capacity(bound.min(LINES)),
            bound,
            gone: 0,
        };
        Self {
            sink: Sink::Ring(ring),
            ..Self::default()
        }
    }

    /// Each line is given to `print` as it happens, without a line break; the legend first.
    pub fn print(mut print: impl FnMut(&str) + Send + 'static) -> Self {
        LEGEND.lines().for_each(&mut print);
        Self {
            sink: Sink::Print(Box::new(print)),
            ..Self::default()
        }
    }

    /// Only what happens from one instant to before the other.
    #[must_use]
    pub fn within(mut self, from: Instant, until: Instant) -> Self {
        self.window = Some((from, until));
        self
    }

    /// Whether anything is traced.
    #[inline]
    pub fn is_on(&self) -> bool {
        !matches!(self.sink, Sink::Off)
    }

    /// A host's node starts: the next life of it, under that epoch.
    pub fn started(&mut self, now: Instant, host: HostId, node: NodeId, epoch: Epoch) {
        if self.is_on() {
            self.names.start(host, node, epoch);
            let what = "start".to_owned();
            self.event(now, Some(host), || Event::Fault { what, other: None });
        }
    }

    /// A node raised its epoch within its present life.
    pub fn raised(&mut self, host: HostId, epoch: Epoch) {
        if self.is_on() {
            self.names.raise(host, epoch);
        }
    }

    /// A frame was sent, arrived, was lost or doubled.
    #[inline]
    pub fn frame(
        &mut self,
        now: Instant,
        from: HostId,
        to: HostId,
        envelope: &Envelope,
        fate: Fate,
    ) {
        self.event(now, Some(from), || Event::Frame {
            to,
            fate,
            frame: envelope.frame.clone(),
        });
    }

    /// Something happened on a host, or to the whole run. `event` is called only where it is traced.
    #[inline]
    pub fn event(&mut self, now: Instant, host: Option<HostId>, event: impl FnOnce() -> Event) {
        let seen = self
            .window
            .is_none_or(|(from, until)| from <= now && now < until);
        if seen && self.is_on() {
            self.add(now, host, event());
        }
    }

    fn add(&mut self, at: Instant, host: Option<HostId>, event: Event) {
        let line = Line {
            at,
            who: host.map(|host| self.names.life(host)),
            whom: event.other().map(|host| self.names.life(host)),
            event,
        };
        match &mut self.sink {
            Sink::Off => {}
            Sink::Ring(ring) => ring.push(line),
            Sink::Print(print) => print(&line.show(&self.names)),
        }
    }
}

impl Ring {
    fn push(&mut self, line: Line) {
        if self.lines.len() == self.bound {
            self.lines.pop_front();
            self.gone += 1;
        }
        self.lines.push_back(line);
    }
}

impl Event {
    /// The other host that it is about.
    fn other(&self) -> Option<HostId> {
        match self {
            Self::Frame { to, .. } | Self::Moved { to, .. } => Some(*to),
            Self::LinkUp { peer } | Self::LinkDown { peer } => Some(*peer),
            Self::DialFailed { peer, .. } => *peer,
            Self::Fault { other, .. } => *other,
            Self::Note(_)
            | Self::Hello { .. }
            | Self::Closed { .. }
            | Self::Phase(_)
            | Self::Broken { .. } => None,
        }
    }
}

/// The legend and the lines that are kept; nothing where none are.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sink::Ring(ring) = &self.sink else {
            return Ok(());
        };
        f.write_str(LEGEND)?;
        if ring.gone > 0 {
            writeln!(f, "({} earlier lines were not kept)", ring.gone)?;
        }
        let mut lines = ring.lines.iter();
        lines.try_for_each(|line| writeln!(f, "{}", line.show(&self.names)))
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::Ring(ring) => ring.fmt(f),
            Self::Print(_) => f.write_str("Print"),
        }
    }
}
