//! Asking a delineator, from its own region and from others.

use std::sync::atomic::Ordering;

use fedist_actors::HomeError;
use fedist_registry::{
    Caching, Delineator, FederationView, NoHome, PlaceKey, RegionId, RegionPid, Rule, service,
};
use fedist_transport::memory::MemoryNet;

use crate::{rules::*, support::*};

#[test]
fn without_a_rule_ids_have_a_home_and_other_keys_are_refused() {
    run(async {
        let net = MemoryNet::new(900);
        let nodes = star(&net, 2).await;
        let pid: RegionPid = "2.777".parse().unwrap();
        assert_eq!(nodes[0].home_of(&pid).await, Ok(id(2)));
        let refused = nodes[0].home_of("user-1").await;
        assert!(matches!(refused, Err(HomeError::NoHome(NoHome::WrongKey { .. }))), "{refused:?}");
        let unknown: RegionPid = "77.1".parse().unwrap();
        let unknown = nodes[0].home_of(&unknown).await;
        assert_eq!(unknown, Err(NoHome::UnknownRegion { region: id(77) }.into()));
        stop(&nodes).await;
    });
}

#[test]
fn a_rule_is_asked_from_any_region() {
    run(async {
        let net = MemoryNet::new(901);
        let nodes = star(&net, 3).await;
        nodes[1].delineate(Rules::default());
        assert_eq!(nodes[1].home_of(&UserId(4)).await, Ok(id(2)));
        for asker in &nodes {
            let delineator = asker.delineator(id(2));
            for (user, home) in [(1, 2), (2, 3), (3, 1)] {
                assert_eq!(delineator.home_of(&UserId(user)).await, Ok(id(home)));
            }
            let refused = delineator.home_of(&UserId(0)).await;
            assert_eq!(refused, Err(NoHome::refused("nobody is user 0").into()));
            // A key that is encoded alike is the same key, and one that is not is told so.
            assert_eq!(delineator.home_of(&1_u64).await, Ok(id(2)));
            let wrong = delineator.home_of("one").await;
            assert!(matches!(wrong, Err(HomeError::NoHome(NoHome::WrongKey { .. }))), "{wrong:?}");
        }
        // Each region has a rule of its own.
        let other = nodes[0].delineator(id(3)).home_of("one").await;
        assert!(other.is_err(), "{other:?}");
        stop(&nodes).await;
    });
}

#[test]
fn an_answer_is_remembered_until_the_rule_the_table_or_the_registry_change() {
    run(async {
        let net = MemoryNet::new(902);
        let mut nodes = star(&net, 2).await;
        let rules = Rules::default();
        let asked = std::sync::Arc::clone(&rules.asked);
        let asked = || asked.load(Ordering::Relaxed);
        nodes[0].delineate(rules.clone());
        for _ in 0..100 {
            assert_eq!(nodes[0].home_of(&UserId(3)).await, Ok(id(2)));
        }
        assert_eq!(asked(), 1);
        assert_eq!(nodes[1].delineator(id(1)).home_of(&UserId(3)).await, Ok(id(2)));
        assert_eq!(asked(), 1, "others get what is remembered too");
        nodes[0].set_region_table(Default::default());
        nodes[0].home_of(&UserId(3)).await.unwrap();
        assert_eq!(asked(), 2);
        nodes.push(ready(below(&net, 1, 3)).start().await.unwrap());
        routed(&nodes).await;
        assert_eq!(nodes[0].home_of(&UserId(3)).await, Ok(id(1)), "three regions now");
        assert_eq!(asked(), 3);
        nodes[0].delineate(rules);
        nodes[0].home_of(&UserId(3)).await.unwrap();
        assert_eq!(asked(), 4);
        let seen = nodes[0].delineation();
        assert_eq!((seen.rule.as_str(), seen.generation), ("Rules", 3));
        assert!(seen.cached >= 99 && seen.asked == 4, "{seen:?}");
        stop(&nodes).await;
    });
}

#[test]
fn a_rule_that_takes_turns_is_asked_each_time() {
    run(async {
        let net = MemoryNet::new(903);
        let nodes = star(&net, 2).await;
        nodes[0].delineate_by(&Rule::RoundRobin).unwrap();
        let mut homes = Vec::new();
        for _ in 0..4 {
            homes.push(nodes[0].home_of("same").await.unwrap().get());
        }
        assert_eq!(homes, [1, 2, 1, 2]);
        stop(&nodes).await;
    });
}

#[test]
fn a_rule_that_panics_or_answers_nonsense_is_made_anew_and_others_have_homes() {
    run(async {
        let net = MemoryNet::new(904);
        let nodes = star(&net, 2).await;
        nodes[0].delineate(Rules::default());
        for asker in &nodes {
            let delineator = asker.delineator(id(1));
            let panicked = delineator.home_of(&UserId(666)).await;
            let text = panicked.unwrap_err().to_string();
            assert!(text.contains("panicked (not that one)"), "{text}");
            let nonsense = delineator.home_of(&UserId(404)).await.unwrap_err().to_string();
            assert!(nonsense.contains("region 9999, which is not in the registry"), "{nonsense}");
            assert_eq!(delineator.home_of(&UserId(3)).await, Ok(id(2)));
        }
        assert_eq!(nodes[0].delineation().restarted, 4);
        stop(&nodes).await;
    });
}

#[test]
fn a_rule_is_made_from_its_beginning_each_time_it_has_failed() {
    /// Remembers what it was asked, and fails at the third question.
    struct Moody(std::sync::atomic::AtomicU64);
    impl Delineator for Moody {
        type Key = PlaceKey;
        fn home(&self, _: &PlaceKey, view: &FederationView<'_>) -> Result<RegionId, NoHome> {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) < 2, "tired");
            Ok(view.here)
        }
        fn caching(&self) -> Caching {
            Caching::Never
        }
    }
    run(async {
        let net = MemoryNet::new(905);
        let nodes = star(&net, 1).await;
        nodes[0].delineate_with(|| Moody(Default::default()));
        for turn in 0..9 {
            let home = nodes[0].home_of("x").await;
            assert_eq!(home.is_ok(), turn % 3 < 2, "{turn}: {home:?}");
        }
        // One that cannot even be made.
        nodes[0].delineate_with(|| -> Moody { panic!("no paper") });
        let text = nodes[0].home_of("x").await.unwrap_err().to_string();
        assert!(text.contains("while it was made: no paper"), "{text}");
        nodes[0].delineate_by(&Rule::Fixed { region: id(1) }).unwrap();
        assert_eq!(nodes[0].home_of("x").await, Ok(id(1)));
        stop(&nodes).await;
    });
}

#[test]
fn a_killed_delineator_is_started_again_with_its_rule_and_nobody_notices() {
    run(async {
        let net = MemoryNet::new(906);
        let nodes = star(&net, 2).await;
        nodes[0].delineate(Rules::default());
        for round in 1..=50_u64 {
            nodes[0].kill(RegionPid::new(id(1), service::DELINEATOR));
            let user = UserId(round);
            let expected = id(u16::try_from(round % 2).unwrap() + 1);
            assert_eq!(nodes[0].home_of(&user).await, Ok(expected), "{round}");
        }
        stop(&nodes).await;
    });
}

#[test]
fn what_is_told_about_regions_and_what_is_measured_is_seen_from_everywhere() {
    run(async {
        let net = MemoryNet::new(907);
        net.default_latency(std::time::Duration::from_millis(3));
        let nodes = star(&net, 3).await;
        let table = "[[region]]\nregion = 2\ncapacity = 5.0\n";
        let table = fedist_registry::RegionTable::from_toml(table).unwrap();
        let source = move || {
            let table = table.clone();
            async move { Ok(table) }
        };
        nodes[0].seed_regions(source, std::time::Duration::ZERO).await.unwrap();
        nodes[0].delineate_by(&Rule::ByCapacity).unwrap();
        assert_eq!(nodes[0].home_of("x").await, Ok(id(2)));
        let reports = nodes[2].delineator(id(1)).reports().await.unwrap();
        let shown: Vec<_> = reports.iter().map(|it| (it.region.get(), it.capacity)).collect();
        assert_eq!(shown, [(1, None), (2, Some(5.0)), (3, None)]);
        assert_eq!((reports[0].cost_ms, reports[0].links), (Some(0.0), 0));
        assert!(reports[1].cost_ms.is_some_and(|ms| ms >= 2.9), "{reports:?}");
        let failing = || async { Err(fedist_actors::SeedError::Source("no database".into())) };
        let failed = nodes[0].seed_regions(failing, std::time::Duration::ZERO).await;
        assert!(failed.unwrap_err().to_string().contains("no database"));
        assert_eq!(nodes[0].region_table().len(), 1, "the last good table stays");
        stop(&nodes).await;
    });
}
