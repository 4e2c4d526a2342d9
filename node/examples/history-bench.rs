//! Measures the store against its budget: durable appends per second, CPU and disk per event.
//!
//! `cargo run --release --example history-bench -- DIR [EVENTS] [CONVERSATIONS]`
//!
//! One writer appends batches of 1 and of 64 events of 200 bytes over 20,000 conversations, chosen
//! by Zipf's law, folding and all flushes of the database included; beside it the same batches are
//! appended raw to a preallocated file, with one `fdatasync` each. CPU is that of the whole process
//! without the making of the events.

#![expect(clippy::print_stdout, reason = "a tool that prints a table")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use chinwag::history::{Config, Done, History};
use mesh::event::{Event, EventKind, Json, SharedEvent};
use mesh::id::{Conversation, EventId, NodeId, Nonce, splitmix64};
use mesh::proto::output::Ticket;
use mesh::store::Outcome;
use mesh::time::Stamp;

/// As in the node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Characters of a body, so that an encoded event takes about 200 bytes.
const BODY: usize = 120;

/// Events made at a time, outside of what is measured.
const SLICE: usize = 64 * 1024;

/// Makes events, always the same ones but for their time.
struct Maker {
    /// Sums of the shares of the conversations before and with each.
    shares: Vec<f64>,
    random: u64,
    start_ms: u64,
    made: u64,
    /// CPU that making them took.
    cpu: Duration,
}

impl Maker {
    fn new(conversations: usize) -> anyhow::Result<Self> {
        let mut sum = 0.0;
        let shares = (1..=conversations).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Ok(Self {
            shares: shares.collect(),
            random: 1,
            start_ms: SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64,
            made: 0,
            cpu: Duration::ZERO,
        })
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        splitmix64(self.random)
    }

    fn event(&mut self) -> anyhow::Result<SharedEvent> {
        let all = *self.shares.last().context("no conversations")?;
        let at = self.random() as f64 / u64::MAX as f64 * all;
        let rank = self.shares.partition_point(|sum| *sum < at);
        let name = |n: usize| format!("@user-{n:06}").parse();
        let (author, other) = (name(rank)?, name(rank + 500_000)?);
        let mut body = String::from("\"");
        while body.len() < BODY {
            let letters = self.random();
            for i in 0..8 {
                let letter = b'`' + (letters >> (8 * i) & 0xff) as u8 % 27;
                body.push(if letter == b'`' {
                    ' '
                } else {
                    char::from(letter)
                });
            }
        }
        body.push('"');
        let ms = self.start_ms + self.made / 64;
        let event = Event {
            id: EventId {
                stamp: Stamp(Stamp::from_unix_ms(ms).0 + self.made % 64),
                origin: 0x1234_5678_9abc_def0,
            },
            conversation: Conversation::direct(Clone::clone(&author), other),
            author,
            nonce: Some(Nonce::new(ms, u128::from(self.random()))),
            kind: EventKind::Message {
                body: Json::from_valid(body),
                reply_to: None,
            },
        };
        self.made += 1;
        Ok(Arc::new(event))
    }

    fn slice(&mut self, events: usize) -> anyhow::Result<Vec<SharedEvent>> {
        let before = thread_cpu()?;
        let made = (0..events).map(|_| self.event()).collect();
        self.cpu += thread_cpu()? - before;
        made
    }
}

/// What one run gave.
struct Measured {
    events: usize,
    batches: usize,
    /// Time of the appends alone.
    wall: Duration,
    cpu: Duration,
    worst: Duration,
}

impl Measured {
    fn print(&self, what: &str) {
        let per_event = |duration: Duration| duration.as_secs_f64() * 1e6 / self.events as f64;
        println!(
            "{what:34} {:>9.0} events/s  {:>7.1} us/batch  {:>6.2} us CPU/event  worst batch {:.1} ms",
            self.events as f64 / self.wall.as_secs_f64(),
            self.wall.as_secs_f64() * 1e6 / self.batches as f64,
            per_event(self.cpu),
            self.worst.as_secs_f64() * 1e3,
        );
    }
}

/// CPU of this process: all threads, also those that ended.
fn process_cpu() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn thread_cpu() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns = stat.split(' ').next().context("empty")?;
    Ok(Duration::from_nanos(ns.parse()?))
}

/// CPU of each thread that is there.
fn print_threads() -> anyhow::Result<()> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let stat = fs::read_to_string(task.join("schedstat"))?;
        let ns: u64 = stat.split(' ').next().context("empty")?.parse()?;
        let name = fs::read_to_string(task.join("comm"))?;
        println!("  {:6.2} s CPU: {}", ns as f64 / 1e9, name.trim());
    }
    Ok(())
}

fn measure(
    maker: &mut Maker,
    events: usize,
    batch: usize,
    mut append: impl FnMut(&[SharedEvent]) -> anyhow::Result<()>,
) -> anyhow::Result<Measured> {
    let (cpu, making) = (process_cpu()?, maker.cpu);
    let mut measured = Measured {
        events,
        batches: events.div_ceil(batch),
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        worst: Duration::ZERO,
    };
    let mut left = events;
    while left > 0 {
        let slice = maker.slice(left.min(SLICE))?;
        left -= slice.len();
        let began = Instant::now();
        for batch in slice.chunks(batch) {
            let began = Instant::now();
            append(batch)?;
            measured.worst = measured.worst.max(began.elapsed());
        }
        measured.wall += began.elapsed();
    }
    measured.cpu = (process_cpu()? - cpu).saturating_sub(maker.cpu - making);
    Ok(measured)
}

/// Appends to a file that was written before, one `fdatasync` per batch.
fn raw(dir: &Path, maker: &mut Maker, events: usize, batch: usize) -> anyhow::Result<Measured> {
    let path = dir.join("raw");
    let file = File::create(&path)?;
    let zeroes = vec![0; 1 << 20];
    let size = (events as u64 * 300).next_multiple_of(1 << 20);
    for at in (0..size).step_by(1 << 20) {
        file.write_all_at(&zeroes, at)?;
    }
    file.sync_all()?;
    let mut at = 0;
    let mut bytes = Vec::new();
    let measured = measure(maker, events, batch, |events| {
        bytes.clear();
        for event in events {
            bytes = postcard::to_extend(event.as_ref(), std::mem::take(&mut bytes))?;
        }
        file.write_all_at(&bytes, at)?;
        at += bytes.len() as u64;
        file.sync_data()?;
        Ok(())
    })?;
    println!("  (an encoded event: {} bytes)", at / events as u64);
    fs::remove_file(path)?;
    Ok(measured)
}

fn open(dir: &Path) -> anyhow::Result<(History, Receiver<Vec<Done>>)> {
    let (sender, reports) = sync_channel(1024);
    let report = move |done| {
        // The benchmark has ended.
        let _ = sender.try_send(done);
    };
    let config = Config {
        min_free: 0,
        ..Config::new(dir)
    };
    let history = History::open(config, NodeId([1; 32]), Box::new(report))?;
    Ok((history, reports))
}

fn wait(reports: &Receiver<Vec<Done>>) -> anyhow::Result<usize> {
    let mut appends = 0;
    for done in reports.recv()? {
        let Done::Appended { outcomes, .. } = done else {
            bail!("unexpected: {done:?}");
        };
        appends += 1;
        let stored = |outcome: &Outcome| matches!(outcome, Outcome::Stored { .. });
        if !outcomes.iter().all(stored) {
            bail!("not all events were stored");
        }
    }
    Ok(appends)
}

/// `window`: appends under way at a time.
fn store(
    history: &History,
    reports: &Receiver<Vec<Done>>,
    maker: &mut Maker,
    (events, batch, window): (usize, usize, usize),
) -> anyhow::Result<Measured> {
    let mut under_way = 0;
    let measured = measure(maker, events, batch, |events| {
        history.append(Ticket(0), events.to_vec());
        under_way += 1;
        while under_way >= window {
            under_way -= wait(reports)?;
        }
        Ok(())
    })?;
    while under_way > 0 {
        under_way -= wait(reports)?;
    }
    Ok(measured)
}

fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            meta.blocks() * 512
        };
    }
    Ok(bytes)
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args
        .next()
        .context("usage: history-bench DIR [EVENTS] [CONVERSATIONS]")?;
    let dir = Path::new(&dir);
    let events = args.next().map_or(Ok(2_000_000), |n| n.parse())?;
    let conversations = args.next().map_or(Ok(20_000), |n| n.parse())?;
    fs::create_dir_all(dir)?;
    let mut maker = Maker::new(conversations)?;
    raw(dir, &mut maker, events / 100, 1)?.print("raw, batches of 1");
    raw(dir, &mut maker, events / 2, 64)?.print("raw, batches of 64");
    let home = dir.join("history");
    let (history, reports) = open(&home)?;
    let singles = events / 100;
    store(&history, &reports, &mut maker, (singles, 1, 1))?.print("store, batches of 1");
    let rest = events - singles;
    // Tails fill up first: from then on as much is folded as comes.
    let filling = store(&history, &reports, &mut maker, (rest / 4, 64, 8))?;
    filling.print("store, batches of 64, filling up");
    for window in [1, 2, 8] {
        let measured = store(&history, &reports, &mut maker, (rest / 4, 64, window))?;
        measured.print(&format!("store, batches of 64, {window} at a time"));
    }
    print_threads()?;
    let (began, cpu) = (Instant::now(), process_cpu()?);
    for (name, value) in history.counters() {
        if value > 0 {
            println!("  {name} {value}");
        }
    }
    history.close()?;
    println!(
        "closing: {:.2} s, {:.2} s CPU",
        began.elapsed().as_secs_f64(),
        (process_cpu()? - cpu).as_secs_f64(),
    );
    let status = fs::read_to_string("/proc/self/status")?;
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("{line}");
    }
    println!(
        "on disk: {} bytes/event, {} of them journal",
        disk_bytes(&home)? / events as u64,
        disk_bytes(&home.join("journal"))? / events as u64,
    );
    let began = Instant::now();
    let (history, _reports) = open(&home)?;
    println!("opening again: {:.2} s", began.elapsed().as_secs_f64());
    history.close()?;
    Ok(())
}
