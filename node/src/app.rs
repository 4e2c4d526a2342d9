//! The composition root: builds the parts in order, runs the one machine, stops them in reverse.
//!
//! One task owns the [`Mesh`]. It waits for whatever comes first, from peers, clients, the store, the
//! clock or the operator, takes what has gathered meanwhile, hands it to the machine under one reading
//! of the clock, carries out what the machine wants, and only then lets frames and pushes leave: one
//! write per connection and batch.
//! The deciding is the machine's; here bytes move.
//!
//! | module | what |
//! | --- | --- |
//! | `start` | from a configuration to running parts |
//! | `sources` | what comes to the machine, and how much of it at a time |
//! | `answers` | what `/readyz`, `/metrics` and `/api/` say |
//! | `keeper` | what the machine keeps in the data directory |
//! | `results` | what the store has done, on its way to the machine |
//! | `notes` | the machine's notes, worded for the log |

mod answers;
mod keeper;
mod notes;
mod results;
mod sources;
mod start;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use keeper::Keeper;
use mesh::net::{Net, SystemClock};
use mesh::proto::{Halt, Input, Mesh, Output};
use mesh::time::Now;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::front::Front;
use crate::history::{Done, History};
use crate::session::Sessions;
use crate::telemetry;
use results::Results;
use sources::{Batch, Signals, Sources};

/// Inputs that may wait for the machine from peers, and as many from clients. When full, their
/// sockets are read no further: 4,096 messages are some 20 ms of work.
const INPUTS_MAX: usize = 4096;

/// Questions of the HTTP side that may wait; the asker waits when full.
const ASKS_MAX: usize = 64;

/// Why a node could not run or had to stop: the last line of its log, with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

impl Failure {
    fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// Runs a node until it is told to stop: exit status 0, or 1 and a last line that says why.
pub fn run(config: &Config) -> ExitCode {
    let ended = start_logging(config).and_then(|()| {
        let runtime = runtime()?;
        let ended = runtime.block_on(serve(config));
        // Whatever still blocks was told to stop at once: nothing waits for it.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            last_line(&failure);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last line is for people, whatever the log filter"
)]
fn last_line(failure: &Failure) {
    eprintln!("chinwag: {failure}");
}

fn start_logging(config: &Config) -> Result<(), Failure> {
    telemetry::log_to_stderr(&config.log, config.log_format).map_err(Failure::new)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| Failure(format!("cannot start the runtime: {error}")))
}

/// How stopping goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Told to stop. The machine keeps the time.
    Stopping,
    /// The mesh was told; what was said last is leaving.
    Stopped,
    /// Told twice to stop: nobody is waited for.
    Aborted,
}

/// The running parts.
struct Node {
    mesh: Mesh,
    clock: SystemClock,
    net: Net,
    front: Front,
    sessions: Sessions,
    history: History,
    keeper: Keeper,
    about: answers::About,
    stop_timeout: Duration,
    phase: Phase,
    failure: Option<Failure>,
}

async fn serve(config: &Config) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    let (to_mesh, from_peers) = mpsc::channel(INPUTS_MAX);
    let (to_front, from_clients) = mpsc::channel(INPUTS_MAX);
    let from_store = Arc::new(Results::default());
    let (ask, asks) = mpsc::channel(ASKS_MAX);
    let wires = start::Wires {
        to_mesh,
        to_front,
        results: from_store.clone(),
        ask,
    };
    let (mut node, bound) = start::node(config, wires).await?;
    start::say_ready(config, &node.mesh, bound);
    let mut sources = Sources {
        from_peers,
        from_clients,
        from_store,
        asks,
        signals,
    };
    let ended = node.run(&mut sources).await;
    // Whoever still has something to say to the machine must not wait for it.
    let mut signals = sources.into_signals();
    tokio::select! {
        () = node.close() => {}
        () = signals.next() => {
            tracing::warn!("told again to stop: stopping now, the next start puts in order what is left");
        }
    }
    ended
}

impl Node {
    async fn run(&mut self, sources: &mut Sources) -> Result<(), Failure> {
        let mut batch = Batch::default();
        // The store tells only changes.
        self.handle(Input::Room(self.history.room()));
        self.handle(Input::Tick);
        loop {
            sources.gather(&mut batch, self.wait()).await;
            let now = self.work(&mut batch);
            for _ in 0..std::mem::take(&mut batch.signals) {
                if !self.on_signal(now) {
                    return Ok(());
                }
            }
            self.tick(now);
            for ask in batch.asks.drain(..) {
                self.answer(now, ask);
            }
            self.sessions.flush();
            self.net.flush();
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.phase == Phase::Stopped {
                return Ok(());
            }
        }
    }

    /// Gives the machine all that was gathered. Timers come after it and under the same reading of the
    /// clock: a frame that waited here must not be taken for silence.
    fn work(&mut self, batch: &mut Batch) -> Now {
        let now = self.clock.now();
        for input in batch.inputs.drain(..) {
            self.handle_at(now, input);
        }
        for done in batch.done.drain(..) {
            self.on_done(now, done);
        }
        now
    }

    /// How long nothing needs to be done unless something comes.
    fn wait(&self) -> Option<Duration> {
        let deadline = self.mesh.poll_deadline()?;
        Some(deadline.since(self.clock.now().at))
    }

    fn handle(&mut self, input: Input) {
        self.handle_at(self.clock.now(), input);
    }

    fn handle_at(&mut self, now: Now, input: Input) {
        self.mesh.handle(now, input);
        while let Some(output) = self.mesh.poll_output() {
            self.carry_out(output);
        }
    }

    fn tick(&mut self, now: Now) {
        let deadline = self.mesh.poll_deadline();
        if deadline.is_some_and(|deadline| deadline <= now.at) {
            self.handle_at(now, Input::Tick);
        }
    }

    /// False: stop at once.
    fn on_signal(&mut self, now: Now) -> bool {
        if self.phase != Phase::Running {
            tracing::warn!("told twice to stop: stopping now");
            self.handle_at(now, Input::StopNow);
            self.phase = Phase::Aborted;
            return false;
        }
        tracing::info!(within = ?self.stop_timeout, "stopping: clients are told where else to go");
        self.phase = Phase::Stopping;
        self.front.stop_accepting();
        self.handle_at(now, Input::Stop);
        true
    }

    fn on_done(&mut self, now: Now, done: Done) {
        match done {
            Done::Appended { ticket, outcomes } => {
                self.handle_at(now, Input::Appended { ticket, outcomes })
            }
            Done::Loaded { ticket, answer } => {
                self.handle_at(now, Input::Loaded { ticket, answer })
            }
            Done::Room(room) => self.handle_at(now, Input::Room(room)),
            Done::Failed(error) => {
                let why = format!(
                    "the store failed and nothing after that can be trusted: {error}; look after the disk, then start again"
                );
                self.failure.get_or_insert(Failure(why));
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        let Some(output) = self.sessions.deliver(output) else {
            return;
        };
        let Some(output) = self.net.perform(output) else {
            return;
        };
        match output {
            Output::Append { ticket, events } => self.history.append(ticket, events),
            Output::List { stream } => self.history.list(stream),
            Output::Load { ticket, query } => {
                if let Err(error) = self.history.load(ticket, query) {
                    // Counted by the store; the machine answers without this part at its deadline.
                    tracing::debug!(%error, "a question was not taken");
                }
            }
            Output::Keep { members } => self.keeper.members(members),
            Output::KeepEpoch(epoch) => self.keeper.epoch(epoch),
            Output::Note(note) => notes::log(&note),
            Output::Halt(Halt::Clone { epoch }) => {
                self.failure.get_or_insert_with(|| {
                    Failure(format!(
                        "a copy of this node runs elsewhere since {}: stop one of the two, and give each its own --data directory",
                        notes::unix_time(epoch.0)
                    ))
                });
            }
            Output::Stopped => self.phase = Phase::Stopped,
            Output::Send { .. }
            | Output::Dial { .. }
            | Output::HangUp { .. }
            | Output::Reply { .. }
            | Output::Push { .. }
            | Output::Close { .. } => {}
        }
    }

    /// Stops the parts in the reverse order of their start.
    async fn close(mut self) {
        self.sessions.flush();
        self.net.flush();
        if self.phase == Phase::Aborted {
            // Clients are hung up on by the process's end; peers hear the goodbye.
            drop(self.front);
            self.net.close().await;
        } else {
            tokio::join!(self.front.stop(), self.net.close());
        }
        match tokio::task::spawn_blocking(move || self.history.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the store did not close cleanly"),
            Err(error) => tracing::error!(%error, "the store did not close"),
        }
        // Last, since it holds the lock of the data directory.
        self.keeper.close().await;
        tracing::info!("stopped");
    }
}
