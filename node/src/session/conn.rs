//! What the node's tasks share of one client's connection.
//!
//! The outbox is written by whoever has a reason to: after a batch by the task that delivers, when the
//! socket takes bytes again by the connection's own task. Nothing here allocates for an idle client.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use mesh::id::{SessionId, UserName};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::outbox::{Class, Ending, Outbox, Pool, Queued, Written};

/// Commands of one session that may be unanswered; its next ones are not read before. Enough to fill
/// any batch, little enough that one client cannot fill the machine's queue.
pub(crate) const UNANSWERED_MAX: u32 = 64;

/// Unanswered commands at which a session that was stopped is read again: a wake-up per batch and not
/// per answer.
const UNANSWERED_LOW: u32 = 32;

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: SessionId,
    socket: OwnedWriteHalf,
    outbox: Mutex<Outbox>,
    /// The connection's own task.
    task: AtomicWaker,
    /// Who said `hello` here.
    user: OnceLock<UserName>,
    unanswered: AtomicU32,
    /// The task waits for answers.
    waits_for_answers: AtomicBool,
    /// The task waits for room in the outbox.
    waits_for_room: AtomicBool,
    /// When the connection was made, in the sweeper's time.
    pub(crate) opened: u32,
    /// When the client last said something.
    seen: AtomicU32,
    /// When the client was last pinged; the sweeper's own.
    pub(crate) pinged: AtomicU32,
}

impl Conn {
    /// A connection made at that time.
    pub(crate) fn new(id: SessionId, socket: OwnedWriteHalf, opened: u32) -> Self {
        Self {
            id,
            socket,
            outbox: Mutex::default(),
            task: AtomicWaker::new(),
            user: OnceLock::new(),
            unanswered: AtomicU32::new(0),
            waits_for_answers: AtomicBool::new(false),
            waits_for_room: AtomicBool::new(false),
            opened,
            seen: AtomicU32::new(opened),
            pinged: AtomicU32::new(opened),
        }
    }

    /// The outbox. Held for a few copies or one system call, never across an await.
    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // Nothing between lock and unlock leaves the outbox half changed.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a line of this session's own into the outbox.
    pub(crate) fn line(&self, line: &[u8], class: Class, pool: &mut Pool) -> Queued {
        let mut outbox = self.outbox();
        let queued = outbox.line(line, class, pool);
        self.keep_bound(outbox, queued, pool)
    }

    /// Puts a frame that others are given too into the outbox.
    pub(crate) fn shared(&self, frame: Bytes, pool: &mut Pool) -> Queued {
        let mut outbox = self.outbox();
        let queued = outbox.shared(frame);
        self.keep_bound(outbox, queued, pool)
    }

    /// Puts in what the WebSocket library writes.
    pub(crate) fn control(&self, bytes: &[u8]) -> Queued {
        let mut outbox = self.outbox();
        let queued = outbox.control(bytes);
        self.keep_bound(outbox, queued, &mut Pool::default())
    }

    /// A client is too slow only when its socket has been offered what waits: a burst within one batch
    /// is not its fault.
    fn keep_bound(
        &self,
        mut outbox: MutexGuard<'_, Outbox>,
        queued: Queued,
        pool: &mut Pool,
    ) -> Queued {
        if queued != Queued::Over {
            return queued;
        }
        let written = self.write(&mut outbox, pool);
        let queued = if outbox.is_over() {
            outbox.end(Ending::TooSlow);
            Queued::Ended
        } else {
            Queued::Waiting
        };
        drop(outbox);
        if written != Written::All {
            self.wake();
        }
        queued
    }

    /// Writes what waits, unless the socket is known to take nothing.
    pub(crate) fn flush(&self, pool: &mut Pool) {
        let mut outbox = self.outbox();
        if outbox.is_blocked() {
            return;
        }
        let written = self.write(&mut outbox, pool);
        let wake = written != Written::All
            || outbox.is_drained()
            || self.waits_for_room.load(Ordering::SeqCst);
        drop(outbox);
        if wake {
            self.wake();
        }
    }

    /// Writes what waits; for the connection's own task, which then waits for the socket.
    pub(crate) fn write(&self, outbox: &mut Outbox, pool: &mut Pool) -> Written {
        let written = outbox.write(pool, |slices| match slices {
            [one] => self.socket.try_write(one),
            several => self.socket.try_write_vectored(several),
        });
        if written == Written::Broken {
            outbox.end(Ending::Dead);
        }
        written
    }

    /// In place of a bulk frame that nobody wants: the session is told of room as if it had been sent.
    pub(crate) fn skip_bulk(&self) {
        self.outbox().skip_bulk();
        self.wake();
    }

    /// Closes the session.
    pub(crate) fn end(&self, ending: Ending) {
        self.outbox().end(ending);
        self.wake();
    }

    /// The socket, for readiness.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.socket.as_ref()
    }

    /// Tells the client that nothing more will come.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        socket2::SockRef::from(self.socket()).shutdown(std::net::Shutdown::Write)
    }

    /// Who said `hello` here.
    pub(crate) fn user(&self) -> Option<&UserName> {
        self.user.get()
    }

    /// Notes who says `hello`. False where somebody did before.
    pub(crate) fn greet(&self, user: UserName) -> bool {
        self.user.set(user).is_ok()
    }

    /// One more command is with the machine.
    pub(crate) fn asked(&self) {
        self.unanswered.fetch_add(1, Ordering::SeqCst);
    }

    /// The machine has answered one.
    pub(crate) fn answered(&self) {
        let subtract = |unanswered: u32| unanswered.checked_sub(1);
        let before = self
            .unanswered
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, subtract)
            .unwrap_or(0);
        if before <= UNANSWERED_LOW + 1 && self.waits_for_answers.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Whether the task may hand on a further command; where not, it is woken when it may.
    pub(crate) fn may_ask(&self) -> bool {
        let unanswered = || self.unanswered.load(Ordering::SeqCst);
        let waits = self.waits_for_answers.load(Ordering::SeqCst);
        if !waits && unanswered() < UNANSWERED_MAX {
            return true;
        }
        self.waits_for_answers.store(true, Ordering::SeqCst);
        // Looked at after the note was made: the answers may all have come before it.
        let may = unanswered() <= UNANSWERED_LOW;
        if may {
            self.waits_for_answers.store(false, Ordering::SeqCst);
        }
        may
    }

    /// Notes whether the task waits for room; to be called with the outbox locked.
    pub(crate) fn wait_for_room(&self, wait: bool) {
        self.waits_for_room.store(wait, Ordering::SeqCst);
    }

    /// Whether the node itself keeps this client from being heard.
    pub(crate) fn is_held(&self) -> bool {
        self.waits_for_answers.load(Ordering::Relaxed)
    }

    /// The client said something.
    pub(crate) fn saw(&self, now: u32) {
        self.seen.store(now, Ordering::Relaxed);
    }

    /// When the client last said something.
    pub(crate) fn seen(&self) -> u32 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Registers the connection's task for being woken.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.task.register(waker);
    }

    /// Wakes the connection's task.
    pub(crate) fn wake(&self) {
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use futures_util::task::{ArcWake, waker};
    use tokio::net::TcpListener;

    use super::*;
    use crate::session::outbox::LOW_WATER;

    /// A task that only counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl ArcWake for Task {
        fn wake_by_ref(task: &Arc<Self>) {
            task.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Task {
        /// Has the connection wake it, as a task does whenever it is polled.
        fn watch(self: &Arc<Self>, conn: &Conn) {
            conn.register(&waker(self.clone()));
        }

        fn woken(&self) -> usize {
            self.0.swap(0, Ordering::SeqCst)
        }
    }

    /// A connection, and the client's end of it.
    async fn conn() -> (Conn, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_, writer) = accepted.unwrap().0.into_split();
        writer.writable().await.unwrap();
        (Conn::new(SessionId(1), writer, 0), client.unwrap())
    }

    #[tokio::test]
    async fn a_task_that_waits_for_answers_is_woken_once_half_of_them_are_there() {
        let ((conn, _client), task) = (conn().await, Arc::new(Task::default()));
        for _ in 0..UNANSWERED_MAX {
            assert!(conn.may_ask());
            conn.asked();
        }
        task.watch(&conn);
        assert!(!conn.may_ask() && conn.is_held());
        for _ in UNANSWERED_LOW + 1..UNANSWERED_MAX {
            conn.answered();
            assert!(!conn.may_ask());
        }
        assert_eq!(task.woken(), 0);
        conn.answered();
        assert_eq!(task.woken(), 1);
        assert!(conn.may_ask() && !conn.is_held());
    }

    #[tokio::test]
    async fn more_answers_than_commands_do_no_harm() {
        let (conn, _client) = conn().await;
        conn.answered();
        conn.asked();
        assert!(conn.may_ask());
    }

    #[tokio::test]
    async fn a_task_that_waits_for_room_is_woken_by_the_write_that_makes_it() {
        let ((conn, _client), task) = (conn().await, Arc::new(Task::default()));
        let pool = &mut Pool::default();
        let line = vec![b'x'; LOW_WATER + 1];
        assert_eq!(conn.line(&line, Class::Live, pool), Queued::ToWrite);
        task.watch(&conn);
        let outbox = conn.outbox();
        assert!(!outbox.has_room());
        conn.wait_for_room(true);
        drop(outbox);
        conn.flush(pool);
        assert!(conn.outbox().has_room());
        assert_eq!(task.woken(), 1);
    }

    #[tokio::test]
    async fn a_write_that_nobody_waits_for_wakes_nobody() {
        let ((conn, _client), task) = (conn().await, Arc::new(Task::default()));
        let pool = &mut Pool::default();
        task.watch(&conn);
        assert_eq!(conn.line(b"x", Class::Live, pool), Queued::ToWrite);
        conn.flush(pool);
        assert_eq!(task.woken(), 0);
        assert_eq!(conn.line(b"x", Class::Bulk, pool), Queued::ToWrite);
        conn.flush(pool);
        assert_eq!(task.woken(), 1, "the session is told of room");
    }
}
