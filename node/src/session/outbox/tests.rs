//! The rules of the outbox, against a socket that takes what the test lets it.

use super::*;

/// A socket that takes so many bytes and then no more.
struct Socket {
    taken: Vec<u8>,
    takes: usize,
    calls: usize,
}

impl Socket {
    fn taking(takes: usize) -> Self {
        Self {
            taken: Vec::new(),
            takes,
            calls: 0,
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls += 1;
        if self.takes == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut written = 0;
        for slice in slices {
            let part = slice.len().min(self.takes);
            self.taken.extend_from_slice(&slice[..part]);
            self.takes -= part;
            written += part;
        }
        Ok(written)
    }

    /// The payloads of the complete frames that came.
    fn frames(&self) -> Vec<String> {
        let mut rest = self.taken.as_slice();
        let mut frames = Vec::new();
        while let [opcode, length, tail @ ..] = rest {
            assert_eq!(*opcode, 0x81);
            let (length, tail) = match length {
                126 => (u16::from_be_bytes([tail[0], tail[1]]) as usize, &tail[2..]),
                127 => (
                    u64::from_be_bytes(tail[..8].try_into().unwrap()) as usize,
                    &tail[8..],
                ),
                short => (*short as usize, tail),
            };
            let Some(payload) = tail.get(..length) else {
                break;
            };
            frames.push(String::from_utf8(payload.to_vec()).unwrap());
            rest = &tail[length..];
        }
        frames
    }
}

fn write(outbox: &mut Outbox, socket: &mut Socket) -> Written {
    outbox.write(&mut Pool::keeping(4), |slices| socket.write(slices))
}

fn line(outbox: &mut Outbox, text: &str) -> Queued {
    outbox.line(text.as_bytes(), Class::Live, &mut Pool::default())
}

#[test]
fn lines_between_two_writes_share_a_frame_and_one_call() {
    let (mut outbox, mut socket) = (Outbox::default(), Socket::taking(1000));
    assert_eq!(line(&mut outbox, "a"), Queued::ToWrite);
    assert_eq!(line(&mut outbox, "b"), Queued::Waiting);
    assert_eq!(write(&mut outbox, &mut socket), Written::All);
    assert_eq!(
        (socket.frames(), socket.calls),
        (vec!["a\nb".to_owned()], 1)
    );
    assert_eq!((outbox.bytes, outbox.live), (0, 0));
    assert_eq!(line(&mut outbox, "c"), Queued::ToWrite);
}

#[test]
fn shared_frames_and_own_lines_keep_their_order() {
    let (mut outbox, mut socket) = (Outbox::default(), Socket::taking(1000));
    let _ = line(&mut outbox, "1");
    let _ = outbox.shared(frame::text(b"2"));
    let _ = line(&mut outbox, "3");
    let _ = line(&mut outbox, "4");
    let _ = outbox.control(&frame::text(b"5"));
    assert_eq!(write(&mut outbox, &mut socket), Written::All);
    assert_eq!(
        (socket.frames().join("|"), socket.calls),
        ("1|2|3\n4|5".to_owned(), 1)
    );
}

#[test]
fn a_long_line_has_a_frame_of_its_own() {
    let (mut outbox, mut socket) = (Outbox::default(), Socket::taking(usize::MAX));
    let long = "x".repeat(GATHERED_MAX);
    let longer = "y".repeat(70_000);
    for text in ["a", &long, "b", &longer] {
        let _ = line(&mut outbox, text);
    }
    assert_eq!(write(&mut outbox, &mut socket), Written::All);
    assert_eq!(socket.frames(), ["a", &long, "b", &longer]);
}

#[test]
fn what_the_socket_does_not_take_is_written_later_from_where_it_stopped() {
    for takes in 1..60 {
        let (mut outbox, mut socket) = (Outbox::default(), Socket::taking(takes));
        let _ = line(&mut outbox, "one");
        let _ = outbox.shared(frame::text(&[b't'; 20]));
        let total = outbox.bytes;
        while write(&mut outbox, &mut socket) == Written::Blocked {
            assert!(outbox.is_blocked());
            assert!(outbox.bytes < total);
            assert_eq!(line(&mut outbox, "x"), Queued::Waiting);
            socket.takes = takes.max(10);
        }
        assert_eq!((outbox.bytes, outbox.live), (0, 0));
        let lines = socket.frames().join("\n");
        assert!(lines.starts_with("one\ntttttttttttttttttttt"), "{lines}");
        assert!(lines.split('\n').skip(2).all(|line| line == "x"), "{lines}");
    }
}

#[test]
fn lines_after_a_blocked_write_do_not_touch_the_frame_on_its_way() {
    let (mut outbox, mut socket) = (Outbox::default(), Socket::taking(2));
    let _ = line(&mut outbox, "abc");
    assert_eq!(write(&mut outbox, &mut socket), Written::Blocked);
    let _ = line(&mut outbox, "d");
    let _ = line(&mut outbox, "e");
    socket.takes = 100;
    assert_eq!(write(&mut outbox, &mut socket), Written::All);
    assert_eq!(socket.frames(), ["abc", "d\ne"]);
}

#[test]
fn live_bytes_above_the_bound_are_over_and_bulk_bytes_are_not() {
    let mut outbox = Outbox::default();
    let bulk = vec![b'b'; 250 * 1024];
    let pool = &mut Pool::default();
    assert_eq!(outbox.line(&bulk, Class::Bulk, pool), Queued::ToWrite);
    assert_eq!(outbox.line(&bulk, Class::Bulk, pool), Queued::Waiting);
    assert!(!outbox.is_over());
    let kib = "x".repeat(1024);
    let mut lines = 0;
    while line(&mut outbox, &kib) == Queued::Waiting {
        lines += 1;
    }
    assert!((250..=256).contains(&lines), "{lines}");
    assert!(outbox.is_over());
}

#[test]
fn control_frames_count_towards_the_bound() {
    let mut outbox = Outbox::default();
    let pong = [0x8a; 127];
    let pongs = (0..)
        .find(|_| outbox.control(&pong) == Queued::Over)
        .unwrap();
    assert_eq!(pongs, LIVE_MAX / 127);
}

#[test]
fn a_slow_reader_keeps_only_the_frame_on_its_way_and_gets_nothing_new() {
    let (mut outbox, mut socket) = (Outbox::default(), Socket::taking(2));
    let _ = line(&mut outbox, "abc");
    let _ = outbox.shared(frame::text(b"dropped"));
    assert_eq!(write(&mut outbox, &mut socket), Written::Blocked);
    let _ = line(&mut outbox, "dropped too");
    outbox.end(Ending::TooSlow);
    assert_eq!((outbox.bytes, outbox.live), (3, 3));
    assert_eq!(line(&mut outbox, "late"), Queued::Ended);
    assert_eq!(outbox.shared(frame::text(b"late")), Queued::Ended);
    let _ = outbox.control(&frame::text(b"close"));
    socket.takes = 100;
    assert_eq!(write(&mut outbox, &mut socket), Written::All);
    assert_eq!(socket.frames(), ["abc", "close"]);
}

#[test]
fn an_ending_session_is_still_sent_what_waits() {
    let (mut outbox, mut socket) = (Outbox::default(), Socket::taking(100));
    let _ = line(&mut outbox, "bye");
    outbox.end(Ending::Code(4010));
    outbox.end(Ending::TooSlow);
    assert_eq!(outbox.ending(), Some(Ending::Code(4010)));
    assert_eq!(line(&mut outbox, "late"), Queued::Ended);
    assert_eq!(write(&mut outbox, &mut socket), Written::All);
    assert_eq!(socket.frames(), ["bye"]);
}

#[test]
fn a_dead_connection_keeps_nothing() {
    let mut outbox = Outbox::default();
    let _ = line(&mut outbox, "abc");
    outbox.end(Ending::Code(1000));
    outbox.end(Ending::Dead);
    assert_eq!(outbox.ending(), Some(Ending::Dead));
    assert_eq!((outbox.bytes, outbox.live, outbox.queue.len()), (0, 0, 0));
    outbox.end(Ending::Code(1000));
    assert_eq!(outbox.ending(), Some(Ending::Dead));
}

#[test]
fn a_bulk_frame_is_told_drained_once_there_is_room_again() {
    let (mut outbox, mut socket) = (Outbox::default(), Socket::taking(0));
    let bulk = vec![b'b'; 2 * LOW_WATER];
    let _ = outbox.line(&bulk, Class::Bulk, &mut Pool::default());
    assert!(!outbox.take_drained());
    assert_eq!(write(&mut outbox, &mut socket), Written::Blocked);
    socket.takes = LOW_WATER + 10;
    assert_eq!(write(&mut outbox, &mut socket), Written::Blocked);
    assert!(outbox.has_room());
    assert!(outbox.take_drained());
    assert!(!outbox.take_drained());
    socket.takes = usize::MAX;
    assert_eq!(write(&mut outbox, &mut socket), Written::All);
    assert!(!outbox.take_drained());
}

#[test]
fn a_short_bulk_frame_is_told_drained_too() {
    let mut outbox = Outbox::default();
    let _ = outbox.line(b"b", Class::Bulk, &mut Pool::default());
    assert!(outbox.take_drained());
}

#[test]
fn a_broken_socket_is_told() {
    let mut outbox = Outbox::default();
    let _ = line(&mut outbox, "a");
    let pool = &mut Pool::default();
    let broken = outbox.write(pool, |_| Err(io::ErrorKind::BrokenPipe.into()));
    assert_eq!(broken, Written::Broken);
    assert_eq!(outbox.write(pool, |_| Ok(0)), Written::Broken);
}

#[test]
fn many_frames_go_in_few_calls_and_leave_no_memory_behind() {
    let (mut outbox, mut socket) = (Outbox::default(), Socket::taking(usize::MAX));
    for _ in 0..160 {
        let _ = outbox.shared(frame::text(b"x"));
    }
    assert_eq!(write(&mut outbox, &mut socket), Written::All);
    assert_eq!((socket.calls, socket.frames().len()), (160 / SLICES, 160));
    assert!(outbox.queue.capacity() <= SLOTS_KEPT);
}

#[test]
fn buffers_are_used_again_up_to_a_bound() {
    let mut pool = Pool::keeping(2);
    for _ in 0..3 {
        pool.give(Vec::with_capacity(100));
    }
    pool.give(Vec::with_capacity(2 * GATHERED_MAX));
    assert_eq!(pool.buffers.len(), 2);
    let buffer = pool.take();
    assert_eq!((buffer.len(), buffer.capacity()), (frame::HEADER_MAX, 100));
}
