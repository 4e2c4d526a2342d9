//! Whole worlds that stay green, and each oracle seen to find what it is there for: what it knows, or
//! what it is shown, is doctored.

use std::time::Duration;

use mesh::id::SessionId;
use mesh::proto::routes::{self, Message};
use mesh::proto::{Closing, Halt, Note};
use mesh::time::Stamp;
use mesh::wire::{Envelope, Frame};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::cause::Layer;
use super::*;
use crate::world::{Client, World};

const A: HostId = HostId(0);
const B: HostId = HostId(1);
const C: HostId = HostId(2);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Hosts that have met and have two users each, checked from here on without a panic.
fn met(hosts: u16) -> World {
    let mut world = World::chain(1, hosts);
    world.run_for(seconds(2));
    for n in 0..2 * hosts {
        world.hello(HostId(n % hosts), &format!("@user{n}"), None);
    }
    world.run_for(seconds(2));
    world.collect_broken();
    assert_eq!(world.converged(), Ok(()));
    world
}

/// What an audit finds after this was done to the oracles.
fn audited(mut world: World, doctor: impl FnOnce(&mut Checks)) -> Invariant {
    world.audit_all();
    assert_eq!(world.broken(), None);
    doctor(world.checks_mut());
    world.audit_all();
    world.broken().expect("it is broken").invariant
}

/// What is found where a machine gives these outputs in answer to a frame about routes.
fn given(outputs: &[Output]) -> Option<Invariant> {
    let mut world = met(2);
    let mut checks = std::mem::take(world.checks_mut());
    let cause = Cause(Kind::Frame {
        link: LinkId(1),
        relayed: None,
        layer: Layer::Routes,
    });
    let mesh = world.mesh(A).unwrap();
    checks.after_step(world.now(), A, mesh, cause, outputs);
    checks.broken().map(|broken| broken.invariant)
}

fn sent(message: Message) -> Output {
    Output::Send {
        link: LinkId(1),
        envelope: Envelope {
            stamp: Stamp::default(),
            frame: Frame::Routes(message),
        },
    }
}

fn turned(world: &World, of: HostId, state: State) -> Output {
    Output::Note(Note::Member {
        node: world.node(of),
        state,
        after: None,
    })
}

#[test]
fn a_world_of_crashes_restarts_cuts_and_heals_breaks_no_invariant() {
    let mut world = World::chain(3, 5);
    world.run_for(seconds(2));
    let clients: Vec<Client> = (0..20)
        .map(|n| world.hello(HostId(n % 5), &format!("@user{n}"), None))
        .collect();
    world.run_for(seconds(1));
    world.cut(A, B);
    world.crash(HostId(4));
    for (n, client) in clients.iter().enumerate().take(6) {
        world.run_for(Duration::from_millis(200));
        let closing = if n % 2 == 0 {
            Closing::Gone
        } else {
            Closing::Lost
        };
        world.close(*client, closing);
    }
    world.run_for(seconds(10));
    world.start(HostId(4));
    world.split(&[C], &[A, B, HostId(3), HostId(4)]);
    world.hello(C, "@lonely", None);
    world.run_for(seconds(20));
    world.heal_all();
    assert!(
        world.run_until(seconds(75), |world| world.converged().is_ok()),
        "{:?}",
        world.converged()
    );
    world.run_for(seconds(90));
    world.audit_all();
    let checks = world.checks();
    assert_eq!((checks.broken(), checks.uncompared()), (None, 0));
    assert!(checks.convergence().measured.len() > 10);
    assert_eq!(checks.convergence().outstanding(), 0);
    assert_eq!(checks.detection().deaths[0].unaware, BTreeSet::new());
    assert_eq!(checks.detection().false_deaths, []);
}

#[test]
fn random_faults_break_no_invariant() {
    for seed in 0..24 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = move |below: u64| rng.next_u64() % below;
        let hosts = 2 + u16::try_from(seed % 4).unwrap();
        let mut world = World::chain(seed, hosts);
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..40 {
            let a = HostId(u16::try_from(draw(u64::from(hosts))).unwrap());
            let b = HostId(u16::try_from(draw(u64::from(hosts))).unwrap());
            match (draw(9), world.mesh(a).is_some()) {
                (0..=2, true) => {
                    let user = format!("@user{}", draw(6));
                    clients.push(world.hello(a, &user, None));
                }
                (3, _) if !clients.is_empty() => {
                    let client =
                        clients.swap_remove(usize::try_from(draw(clients.len() as u64)).unwrap());
                    let closing = if draw(2) == 0 {
                        Closing::Gone
                    } else {
                        Closing::Lost
                    };
                    world.close(client, closing);
                }
                (4, true) => world.crash(a),
                (4, false) => world.start(a),
                (5, _) => world.cut(a, b),
                (6, _) => world.cut_one_way(a, b),
                (7, _) => world.heal(a, b),
                _ => world.run_for(Duration::from_millis(1 + draw(4_000))),
            }
        }
        world.heal_all();
        for host in world.hosts() {
            if world.mesh(host).is_none() {
                world.start(host);
            }
        }
        let converged = world.run_until(seconds(80), |world| world.converged().is_ok());
        assert!(converged, "seed {seed}: {:?}", world.converged());
        world.run_for(seconds(85));
        world.audit_all();
        assert_eq!(world.converged(), Ok(()), "seed {seed}");
    }
}

#[test]
fn a_set_that_the_origin_never_had_is_found() {
    let found = audited(met(3), |checks| {
        let node = checks.host(B).node;
        let life = checks.lives[node].values_mut().next().unwrap();
        life.doctor();
    });
    assert_eq!(found, Invariant::PrefixEquality);
}

#[test]
fn a_step_that_shows_other_keys_than_the_origin_changed_is_found() {
    let mut world = met(3);
    let node = world.checks_mut().host(B).node;
    // The replica seems to be one batch behind; that batch announced another key.
    let seen = &mut world.checks_mut().host_mut(A).seen[node];
    let held = seen.held.as_mut().unwrap();
    (held.seq, seen.mark.1) = (held.seq - 1, held.seq - 1);
    world.checks_mut().lives[node]
        .values_mut()
        .next()
        .unwrap()
        .doctor_changes();
    world.audit_all();
    let broken = world.broken().unwrap();
    assert_eq!(broken.invariant, Invariant::PrefixEquality);
    assert!(broken.what.contains("missing"), "{broken}");
}

#[test]
fn a_replica_that_goes_back_is_found() {
    let found = audited(met(3), |checks| {
        let node = checks.host(B).node;
        let seen = &mut checks.host_mut(A).seen[node];
        seen.held.as_mut().unwrap().seq += 1;
        seen.mark.1 += 1;
    });
    assert_eq!(found, Invariant::Rises);
}

#[test]
fn an_origin_that_goes_back_is_found() {
    let mut world = met(2);
    world.checks_mut().host_mut(A).summary.seq += 5;
    world.run_for(seconds(1));
    assert_eq!(world.broken().unwrap().invariant, Invariant::Rises);
}

#[test]
fn a_batch_that_left_one_out_is_found() {
    let mut world = met(2);
    world.checks_mut().host_mut(A).summary.seq -= 1;
    world.run_for(seconds(1));
    assert_eq!(world.broken().unwrap().invariant, Invariant::Contiguous);
}

#[test]
fn routes_of_a_life_that_is_over_are_found() {
    let found = audited(met(3), |checks| {
        let node = checks.host(B).node;
        let oldest = *checks.lives[node].first_key_value().unwrap().0;
        let seen = &mut checks.host_mut(A).seen[node];
        seen.ended = oldest;
        seen.held = None;
    });
    assert_eq!(found, Invariant::Rises);
    let mut world = met(3);
    let node = world.checks_mut().host(B).node;
    let shown = world.mesh(A).unwrap().held(world.node(B));
    let checks = std::mem::take(world.checks_mut());
    let gone = checks.check_gone(world.mesh(A).unwrap(), node, shown, None);
    assert_eq!(gone.unwrap_err().0, Invariant::Superseded);
}

#[test]
fn a_user_who_is_there_for_long_and_not_found_is_found() {
    let mut world = met(3);
    world.run_for(seconds(10));
    let now = world.now();
    let checks = world.checks_mut();
    checks.sessions.on_hello(B, SessionId(999), RouteKey(42));
    checks.sessions.on_welcome(now, B, SessionId(999));
    world.run_for(seconds(4));
    assert_eq!(world.broken(), None);
    world.run_for(seconds(4));
    assert_eq!(world.broken().unwrap().invariant, Invariant::Explained);
}

#[test]
fn a_cut_explains_that_a_user_is_not_found() {
    let mut world = met(2);
    world.run_for(seconds(10));
    world.cut(A, B);
    world.hello(B, "@lonely", None);
    world.run_for(seconds(60));
    world.heal_all();
    world.run_for(seconds(90));
    world.audit_all();
    assert_eq!(world.broken(), None);
}

#[test]
fn more_than_a_bound_allows_is_found() {
    let found = audited(met(2), |checks| {
        checks.host_mut(A).config.routes.log_ops = 1;
    });
    assert_eq!(found, Invariant::Bounded);
}

#[test]
fn two_answers_to_one_frame_are_found_and_an_answer_beside_a_batch_is_none() {
    let resume = || sent(Message::Resume(Summary::default()));
    let batch = routes::Batch {
        after: Summary::default(),
        attached: routes::Keys::default(),
        detached: routes::Keys::default(),
    };
    assert_eq!(given(&[resume(), sent(Message::Batch(batch.into()))]), None);
    assert_eq!(given(&[resume(), resume()]), Some(Invariant::Bounded));
}

#[test]
fn a_mismatch_is_a_defect() {
    let node = met(2).node(B);
    let note = Output::Note(Note::Mismatch(node));
    assert_eq!(given(&[note]), Some(Invariant::Carried));
}

#[test]
fn a_machine_that_speaks_after_its_halt_or_halts_for_an_older_life_is_found() {
    let halt = |epoch| Output::Halt(Halt::Clone { epoch });
    let resume = sent(Message::Resume(Summary::default()));
    let late = halt(Epoch(u64::MAX));
    assert_eq!(given(std::slice::from_ref(&late)), None);
    assert_eq!(given(&[late, resume]), Some(Invariant::OneLife));
    assert_eq!(given(&[halt(Epoch(1))]), Some(Invariant::OneLife));
}

#[test]
fn a_node_that_counts_itself_among_the_others_is_found() {
    let world = met(2);
    assert_eq!(
        given(&[turned(&world, A, State::Down)]),
        Some(Invariant::Transitions)
    );
}

#[test]
fn a_state_that_may_not_follow_another_is_found() {
    let world = met(2);
    let [down, suspect] = [State::Down, State::Suspect].map(|state| turned(&world, B, state));
    assert_eq!(given(&[suspect.clone(), down.clone()]), None);
    assert_eq!(given(&[down, suspect]), Some(Invariant::Transitions));
}

#[test]
fn a_state_that_changed_untold_is_found() {
    let found = audited(met(2), |checks| {
        let node = checks.host(B).node;
        checks.host_mut(A).states[node] = Some(State::Suspect);
    });
    assert_eq!(found, Invariant::Transitions);
}

#[test]
fn what_is_not_converged_is_said() {
    let mut world = met(3);
    world.cut(A, B);
    world.hello(A, "@late", None);
    world.run_for(Duration::from_millis(100));
    assert_eq!(
        world.converged(),
        Ok(()),
        "who cannot reach each other need not agree"
    );
    world.heal(A, B);
    assert!(world.converged().is_err());
    let mut world = met(2);
    world
        .checks_mut()
        .sessions
        .on_hello(B, SessionId(999), RouteKey(42));
    let now = world.now();
    world
        .checks_mut()
        .sessions
        .on_welcome(now, B, SessionId(999));
    assert!(world.converged().unwrap_err().contains("clients"));
}

#[test]
fn the_later_of_two_processes_of_one_node_stays() {
    let mut world = met(3);
    let clone = world.add_host(Config::default(), &[A]);
    world.clone_identity(clone, B);
    world.start(clone);
    assert!(world.converged().is_err());
    assert!(world.run_until(seconds(60), |world| world.mesh(B).is_none()));
    world.run_for(seconds(10));
    world.audit_all();
    assert_eq!((world.broken(), world.converged()), (None, Ok(())));
}

#[test]
fn a_death_and_its_witnesses_are_measured() {
    let mut world = met(4);
    world.run_for(seconds(3));
    world.crash(C);
    world.run_for(seconds(8));
    let detection = world.checks().detection();
    assert_eq!(detection.deaths[0].noticed.len(), 3);
    assert!(detection.last_noticed().next().unwrap() < seconds(2));
    assert_eq!(detection.false_deaths, []);
}

#[test]
fn a_death_told_of_a_node_that_runs_and_is_reached_is_a_false_one() {
    let mut world = met(3);
    world.run_for(seconds(3));
    let note = turned(&world, B, State::Down);
    let mut checks = std::mem::take(world.checks_mut());
    checks.after_step(
        world.now(),
        A,
        world.mesh(A).unwrap(),
        Cause(Kind::Other),
        &[note],
    );
    let FalseDeath { by, of, .. } = checks.detection().false_deaths[0];
    assert_eq!((by, of), (A, B));
}

#[test]
fn a_batch_is_measured_from_the_session_that_it_announces_and_sent_once_to_each() {
    let mut world = met(4);
    let before = world.checks().convergence().measured.len();
    world.hello(A, "@late", None);
    world.run_for(seconds(1));
    let convergence = world.checks().convergence();
    assert_eq!(convergence.measured.len(), before + 1);
    assert!(convergence.measured[before].1 < Duration::from_millis(30));
    assert_eq!(convergence.copies_per_replica(), Some(1.0));
}
