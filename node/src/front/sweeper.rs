//! Deadlines of all connections, kept by one task: no connection has a timer of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::connection::NO_HELLO;
use super::{Deadlines, Shared};
use crate::session::conn::Conn;
use crate::session::counters::Count;
use crate::session::frame;
use crate::session::outbox::{Ending, Pool, Queued};

/// Connections that are looked at before other tasks get their turn.
const SLICE: usize = 1024;

/// The time that connections are stamped with: advanced by the sweeper, so that a message costs no
/// look at the clock. Hundredths of a second; it wraps after 497 days, and so do its differences.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    swept: AtomicU32,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            swept: AtomicU32::new(0),
        }
    }

    /// As of the last sweep.
    pub(super) fn now(&self) -> u32 {
        self.swept.load(Ordering::Relaxed)
    }

    /// Looks at the clock: a deadline that is counted from here does not come early.
    pub(super) fn read(&self) -> u32 {
        hundredths(self.start.elapsed())
    }
}

fn hundredths(duration: Duration) -> u32 {
    // Truncated on purpose: the clock wraps.
    (duration.as_millis() / 10) as u32
}

/// Looks after all connections, for ever.
pub(super) async fn sweep(shared: Arc<Shared>) {
    let deadlines = shared.deadlines;
    let shortest = deadlines.ping.min(deadlines.hello);
    let period = (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = shared.clock.read();
        shared.clock.swept.store(now, Ordering::Relaxed);
        let mut first = 0;
        while let Some(part) = shared.registry.part(first, SLICE) {
            for conn in part {
                look_after(&shared, &deadlines, &conn, now);
            }
            first += SLICE;
            tokio::task::yield_now().await;
        }
    }
}

fn look_after(shared: &Shared, deadlines: &Deadlines, conn: &Conn, now: u32) {
    // A connection that began during the sweep began after `now`: less than nothing has passed.
    let since = |then: u32| now.wrapping_sub(then).cast_signed();
    let passed = |then: u32, duration| since(then) >= hundredths(duration).cast_signed();
    if conn.user().is_none() && passed(conn.opened, deadlines.hello) {
        shared.counters.add(Count::ClosedNoHello);
        return conn.end(Ending::Code(NO_HELLO));
    }
    if conn.is_held() {
        // The node itself keeps it from being heard.
        conn.saw(now);
    } else if passed(conn.seen(), 2 * deadlines.ping) {
        shared.counters.add(Count::DroppedSilent);
        return conn.end(Ending::Dead);
    }
    if passed(conn.pinged.load(Ordering::Relaxed), deadlines.ping) {
        conn.pinged.store(now, Ordering::Relaxed);
        let pool = &mut Pool::default();
        match conn.shared(Bytes::from_static(frame::PING), pool) {
            Queued::ToWrite => conn.flush(pool),
            // Somebody else writes it, or nobody has to.
            Queued::Waiting | Queued::Over | Queued::Ended => {}
        }
    }
}
