//! Frames that no session would send.

use bytes::Bytes;
use fedist_registry::Micros;
use proptest::prelude::*;

use super::world::{World, small_config};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_frames_never_panic_nor_break_the_count(
        seed in any::<u64>(),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let mut world = World::new(seed, small_config());
        for _ in 0..4 {
            world.push(0, 1, 20);
            world.push(1, 1, 20);
            world.run(Micros::from_millis(30));
        }
        world.push(0, 1, 100_000);
        world.push(0, 1, 10);
        let now = world.now;
        let [a, b] = &mut world.sides;
        for (index, value) in damages {
            let frames = std::iter::from_fn(|| a.session.poll_transmit(now));
            for frame in frames.take(20).collect::<Vec<_>>() {
                let mut bytes = frame.to_payload().to_vec();
                let place = index.index(bytes.len().min(120));
                bytes[place] ^= value;
                b.session.handle_frame(now, Bytes::from(bytes));
            }
            while let Some(frame) = b.session.poll_transmit(now) {
                let mut bytes = frame.to_payload().to_vec();
                let place = index.index(bytes.len());
                bytes[place] ^= value;
                a.session.handle_frame(now, Bytes::from(bytes));
            }
            // The conservation of records is asserted inside.
            let _ = (a.session.stats(), b.session.stats());
            let _ = a.session.push(now, &super::world::tell(1, 1), b"more");
        }
    }

    #[test]
    fn random_bytes_are_counted_and_change_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut world = World::new(1, small_config());
        let now = world.now;
        let session = &mut world.sides[0].session;
        session.handle_frame(now, Bytes::from(bytes));
        // Sixty-eight random bytes are a proper header only if lane, flags and counts agree.
        let stats = session.stats();
        prop_assert_eq!(stats.malformed_frames + stats.stale_frames, 1);
        prop_assert_eq!(session.poll_event(), None);
    }
}
