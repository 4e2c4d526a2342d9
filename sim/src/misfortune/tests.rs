//! Every fault happens, ends by itself, and is undone by healing.

use super::*;

const LASTING: Duration = Duration::from_secs(2);

fn misfortune() -> Misfortune {
    let rates = Rates {
        every: BTreeMap::new(),
        lasting: (LASTING, LASTING),
    };
    Misfortune::new(rates, Chance::new(1, "misfortune"), Instant(0))
}

fn met(seed: u64) -> World {
    let mut world = World::chain(seed, 5);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.converged(), Ok(()));
    world
}

/// For so long, and whatever is due is done when it is.
fn go_on(world: &mut World, misfortune: &mut Misfortune, duration: Duration) {
    let end = world.now() + duration;
    while world.now() < end {
        let soon = world.now() + Duration::from_millis(100);
        let next = misfortune.next_at().map_or(soon, |next| next.min(soon));
        world.run_for(next.min(end).since(world.now()));
        misfortune.act(world);
    }
}

/// Nothing is wrong any more.
fn is_well(world: &World) -> bool {
    let runs =
        |host| world.runs(host) && world.clock(host).unix_ms == world.clock(HostId(0)).unix_ms;
    world.hosts().all(runs) && world.network().cuts().is_empty()
}

#[test]
fn every_fault_ends_by_itself_and_all_agree_again() {
    for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::Skew) {
        let (mut world, mut misfortune) = (met(1), misfortune());
        misfortune.strike(&mut world, fault);
        // A node that is told to stop takes its time first.
        go_on(
            &mut world,
            &mut misfortune,
            LASTING + Duration::from_secs(30),
        );
        assert!(is_well(&world), "{fault:?}");
        assert_eq!(misfortune.next_at(), None, "{fault:?}");
        let agreed = world.run_until(Duration::from_secs(75), |world| world.converged().is_ok());
        assert!(agreed, "{fault:?}: {:?}", world.converged());
    }
}

#[test]
fn a_fault_is_counted_where_it_struck() {
    for fault in Fault::ALL {
        let (mut world, mut misfortune) = (met(2), misfortune());
        misfortune.strike(&mut world, fault);
        let mass = fault == Fault::MassCrash;
        let name = if mass { Fault::Crash } else { fault }.name();
        assert!(misfortune.counts()[name] >= 1, "{fault:?}");
        world
            .hosts()
            .filter(|host| world.is_up(*host))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|host| world.crash(host));
        let before = misfortune.counts().clone();
        let other = [
            Fault::MassCrash,
            Fault::Pause,
            Fault::Stop,
            Fault::Cut,
            Fault::OldData,
        ];
        other
            .into_iter()
            .for_each(|fault| misfortune.strike(&mut world, fault));
        assert_eq!(*misfortune.counts(), before, "nobody is there to be struck");
    }
}

#[test]
fn healing_ends_all_that_goes_on_and_nothing_goes_wrong_after_it() {
    let (mut world, mut misfortune) = (met(3), misfortune());
    for _ in 0..3 {
        for fault in Fault::ALL {
            misfortune.strike(&mut world, fault);
        }
        go_on(&mut world, &mut misfortune, Duration::from_millis(300));
    }
    assert!(!is_well(&world));
    misfortune.heal(&mut world);
    assert!(is_well(&world));
    assert_eq!(misfortune.next_at(), None);
    assert_eq!(*world.network().config(), world.network().config().calm());
    let agreed = world.run_until(Duration::from_secs(75), |world| world.converged().is_ok());
    assert!(agreed, "{:?}", world.converged());
    assert!(is_well(&world));
}

#[test]
fn a_share_of_the_nodes_is_rounded_up_and_they_come_back_in_time() {
    let (mut world, mut misfortune) = (met(4), misfortune());
    let up = |world: &World| world.hosts().filter(|host| world.is_up(*host)).count();
    misfortune.kill_share(&mut world, Fault::Crash, Probability::percent(41), LASTING);
    assert_eq!((up(&world), misfortune.counts()["crash"]), (2, 3));
    go_on(
        &mut world,
        &mut misfortune,
        LASTING - Duration::from_millis(1),
    );
    assert_eq!(up(&world), 2);
    go_on(&mut world, &mut misfortune, Duration::from_millis(1));
    assert_eq!((up(&world), misfortune.counts()["start"]), (5, 3));
    misfortune.kill_share(
        &mut world,
        Fault::Crash,
        Probability::millionths(1),
        LASTING,
    );
    assert_eq!(up(&world), 4);
}

#[test]
fn who_is_told_to_stop_says_so_to_the_others_before_it_is_gone() {
    let (mut world, mut misfortune) = (met(5), misfortune());
    let host = HostId(3);
    misfortune.stop(&mut world, host, LASTING);
    misfortune.stop(&mut world, host, LASTING);
    assert_eq!(misfortune.counts()["stop"], 1, "it is told once");
    assert!(world.is_up(host));
    let gone = |world: &World| !world.is_up(host);
    while !gone(&world) {
        go_on(&mut world, &mut misfortune, Duration::from_millis(100));
    }
    assert!(world.checks().detection().deaths[0].unaware.is_empty());
    go_on(&mut world, &mut misfortune, LASTING);
    assert!(world.runs(host));
}

#[test]
fn a_cut_lasts_its_time_in_both_directions() {
    let (mut world, mut misfortune) = (met(6), misfortune());
    let (a, b) = (HostId(0), HostId(1));
    misfortune.cut(&mut world, a, b, LASTING);
    assert_eq!(world.network().cuts(), [(a, b), (b, a)]);
    go_on(
        &mut world,
        &mut misfortune,
        LASTING - Duration::from_millis(1),
    );
    assert!(!world.network().passes(b, a));
    go_on(&mut world, &mut misfortune, Duration::from_millis(1));
    assert!(is_well(&world));
}

#[test]
fn without_faults_nothing_is_ever_due_and_light_ones_leave_data_and_the_whole_mesh_alone() {
    let none = Rates::draw(Level::None, &mut Chance::new(1, "rates"));
    let now = Instant(0);
    assert_eq!(
        Misfortune::new(none, Chance::new(1, "x"), now).next_at(),
        None
    );
    let kinds = |level| {
        let draw = |seed| Rates::draw(level, &mut Chance::new(seed, "rates"));
        let drawn =
            (0..100).flat_map(|seed| draw(seed).all().map(|(fault, _)| fault).collect::<Vec<_>>());
        drawn.collect::<std::collections::BTreeSet<Fault>>()
    };
    let harsh = [
        Fault::LostData,
        Fault::OldData,
        Fault::Split,
        Fault::MassCrash,
    ];
    assert_eq!(kinds(Level::Heavy).len(), Fault::ALL.len());
    assert!(
        harsh
            .iter()
            .all(|fault| !kinds(Level::Light).contains(fault))
    );
}

#[test]
fn who_is_quick_again_takes_what_waits_before_what_comes() {
    let mut world = met(7);
    let host = HostId(2);
    world.slow_down(host, Duration::from_secs(1));
    let first = world.hello(host, "@ann", None);
    world.run_for(Duration::from_millis(1));
    assert!(!world.heard(first).is_empty());
    let second = world.hello(host, "@bob", None);
    world.run_for(Duration::from_millis(1));
    assert!(world.heard(second).is_empty(), "it is at work");
    world.slow_down(host, Duration::ZERO);
    assert!(!world.heard(second).is_empty());
}
