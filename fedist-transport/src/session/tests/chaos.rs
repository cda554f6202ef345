//! Random traffic over an adversarial network, by seed.

use fedist_registry::Micros;

use super::world::{Faults, World, small_config};

const SIDES: [usize; 2] = [0, 1];

/// Runs `test` for some seeds; `FEDIST_SEEDS=1000` runs more. A failing seed is named.
#[allow(clippy::print_stderr, reason = "a failing seed must be seen")]
fn for_seeds(test: impl Fn(u64)) {
    struct Named(u64);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the failing seed is {}", self.0);
            }
        }
    }
    let seeds = std::env::var("FEDIST_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(12) {
        let _named = Named(seed);
        test(seed);
    }
}

fn ms(ms: u64) -> Micros {
    Micros::from_millis(ms)
}

/// A few records of both sides to few receivers, some of them large, so that lanes mix.
fn push_some(world: &mut World) {
    for side in SIDES {
        for _ in 0..world.rng.usize(0..6) {
            let to = world.rng.u64(1..5);
            let len = match world.rng.u32(0..100) {
                0 => world.rng.usize(60_000..300_000),
                1..10 => world.rng.usize(500..5_000),
                _ => world.rng.usize(0..100),
            };
            world.push(side, to, len);
        }
    }
}

fn lossy(rng: &mut fastrand::Rng) -> Faults {
    let delay_min = rng.u64(1..100);
    Faults {
        loss: rng.f64() * 0.15,
        duplication: rng.f64() * 0.3,
        delay_min: ms(delay_min),
        delay_max: ms(delay_min + rng.u64(0..200)),
        late: rng.f64() * 0.05,
        late_max: ms(rng.u64(300..5_000)),
        cut: [false; 2],
    }
}

#[test]
fn nothing_is_lost_while_cuts_are_shorter_than_the_timeout() {
    for_seeds(|seed| {
        let mut world = World::new(seed, small_config());
        world.faults = lossy(&mut world.rng.fork());
        for _ in 0..6 {
            for _ in 0..25 {
                push_some(&mut world);
                let span = ms(world.rng.u64(1..60));
                world.run(span);
            }
            world.faults.cut = [world.rng.bool(), world.rng.bool()];
            let span = ms(world.rng.u64(0..3_000));
            push_some(&mut world);
            world.run(span);
            world.faults.cut = [false; 2];
            for side in SIDES {
                if world.rng.bool() {
                    let now = world.now;
                    // With a guess at the time of the loss, right or wrong: it may change the order only.
                    let guess = now.0.is_multiple_of(2).then(|| now - Micros(now.0 % 400_000));
                    world.sides[side].session.handle_path_change(now, guess);
                }
            }
        }
        world.run(ms(60_000));
        for side in SIDES {
            assert_eq!(world.sides[side].ends, [], "an end without a reason");
        }
        world.check_nothing_lost();
    });
}

/// One of the things that go wrong in the world.
fn disturb(world: &mut World, restarts: bool) {
    match world.rng.u32(0..12) {
        0 if restarts => world.restart(0),
        1 if restarts => world.restart(1),
        2 => world.faults.cut = [true, true],
        3 => world.faults.cut = [true, false],
        4 => world.faults.cut = [false, true],
        5 | 6 => world.faults.cut = [false, false],
        7 => world.faults.loss = world.rng.f64(),
        8 => world.faults.late_max = ms(world.rng.u64(300..30_000)),
        9 | 10 => {
            let side = world.rng.usize(0..2);
            let now = world.now;
            world.sides[side].session.handle_path_change(now, None);
        }
        _ => {
            let side = world.rng.usize(0..2);
            let watched = world.rng.bool();
            world.sides[side].session.set_watched(watched);
        }
    }
}

fn chaos(seed: u64, restarts: bool) {
    let mut world = World::new(seed, small_config());
    world.faults = lossy(&mut world.rng.fork());
    for _ in 0..60 {
        disturb(&mut world, restarts);
        for _ in 0..world.rng.usize(1..6) {
            push_some(&mut world);
            let span = ms(match world.rng.u32(0..20) {
                0 => world.rng.u64(5_000..25_000),
                1..5 => world.rng.u64(200..3_000),
                _ => world.rng.u64(0..100),
            });
            world.run(span);
        }
    }
    // Heal, and let the last of the old frames arrive and the last of the ends happen.
    world.faults = Faults::none();
    for side in SIDES {
        let now = world.now;
        world.sides[side].session.handle_path_change(now, None);
    }
    world.run(ms(60_000));
    world.check_nothing_lost();
    let ends = world.sides.each_ref().map(|side| side.ends.len());
    let got = SIDES.map(|side| world.got(side));
    for _ in 0..20 {
        for side in SIDES {
            world.push(side, 1, 10).expect("a healed session has room");
            world.push(side, 2, 100_000).expect("a healed session has room");
        }
        world.run(ms(50));
    }
    world.run(ms(3_000));
    world.check_nothing_lost();
    for side in SIDES {
        assert_eq!(world.sides[side].ends.len(), ends[side], "an end after healing");
        assert_eq!(world.got(side), got[side] + 40, "not alive after healing");
    }
}

#[test]
fn both_sides_agree_again_after_cuts_longer_than_the_timeout() {
    for_seeds(|seed| chaos(seed, false));
}

#[test]
fn both_sides_agree_again_after_restarts() {
    for_seeds(|seed| chaos(seed, true));
}
