//! Random faults, then none: whatever happened, the mesh finds together again, in bounds all the while.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::world::{World, ms, secs};
use crate::proto::output::Halt;

/// How many meshes are tried.
const SEEDS: u64 = 40;

#[derive(Debug, Clone, Copy)]
enum Fault {
    Crash,
    PowerOff,
    Restart,
    Pause,
    Cut,
    CutOneWay,
    CutOff,
    Reset,
    Forget,
    Heal,
}

const FAULTS: [Fault; 10] = [
    Fault::Crash,
    Fault::PowerOff,
    Fault::Restart,
    Fault::Pause,
    Fault::Cut,
    Fault::CutOneWay,
    Fault::CutOff,
    Fault::Reset,
    Fault::Forget,
    Fault::Heal,
];

fn below(random: &mut ChaCha8Rng, limit: usize) -> usize {
    usize::try_from(random.next_u64() % limit as u64).unwrap()
}

fn inflict(world: &mut World, random: &mut ChaCha8Rng) {
    let nodes = world.nodes.len();
    let a = below(random, nodes);
    let b = (a + 1 + below(random, nodes - 1)) % nodes;
    match FAULTS[below(random, FAULTS.len())] {
        Fault::Crash => world.crash(a),
        Fault::PowerOff => world.power_off(a),
        Fault::Restart => {
            world.crash(a);
            world.restart(a);
        }
        Fault::Pause => world.pause(a, ms(random.next_u64() % 6_000)),
        Fault::Cut => world.cut(a, b),
        Fault::CutOneWay => world.cut_one_way(a, b),
        Fault::CutOff => world.cut_off(a),
        Fault::Reset => world.reset(a, b),
        Fault::Forget => world.forget_wires(a, b),
        Fault::Heal => world.heal(),
    }
}

#[test]
fn a_mesh_finds_together_after_any_faults() {
    for seed in 0..SEEDS {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::meshed(2 + below(&mut random, 6));
        world.half_open = seed % 2 == 0;
        // Everybody has written down whom he knows.
        world.run(secs(2));
        for _ in 0..20 {
            inflict(&mut world, &mut random);
            world.run(ms(random.next_u64() % 3_000));
            world.assert_sound(seed);
        }
        world.heal();
        for at in 0..world.nodes.len() {
            if world.nodes[at].machine.is_none() {
                world.restart(at);
            }
        }
        world.run(secs(100));
        assert!(world.is_meshed(), "seed {seed}");
        world.run(secs(8));
        world.assert_sound(seed);
        for (at, node) in world.nodes.iter().enumerate() {
            assert_eq!(node.halt, None::<Halt>, "seed {seed}");
            for other in 0..at {
                assert_eq!(
                    world.wires_between(at, other),
                    1,
                    "seed {seed}: {at} {other}"
                );
                assert_eq!(
                    world.life(at, other).unwrap().epoch,
                    world.machine(other).epoch(),
                );
            }
        }
    }
}
