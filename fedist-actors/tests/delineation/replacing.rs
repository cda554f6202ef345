//! Replacing a rule while everything runs, also by message.

use fedist_actors::ReplaceRuleError;
use fedist_registry::{RangeTable, RegionFacts, Rule};
use fedist_transport::memory::MemoryNet;

use crate::{rules::*, support::*};

fn table(text: &str) -> Rule {
    text.parse::<RangeTable>().unwrap().into()
}

#[test]
fn a_rule_is_replaced_by_message_from_the_regions_that_may() {
    run(async {
        let net = MemoryNet::new(910);
        let ruled = ready(root(&net))
            .delineated_by([id(2)])
            .delineate_with(Rules::default)
            .rule("users", Rules::default)
            .start()
            .await
            .unwrap();
        let mut nodes = vec![ruled];
        for number in [2, 3] {
            nodes.push(ready(below(&net, 1, number)).start().await.unwrap());
        }
        routed(&nodes).await;
        assert_eq!(nodes[0].home_of(&UserId(1)).await, Ok(id(2)));

        let trusted = nodes[1].delineator(id(1));
        let generation = trusted.replace(table("a..m => 1, n..z => 3")).await.unwrap().unwrap();
        assert_eq!(generation, 2);
        assert_eq!(nodes[2].delineator(id(1)).home_of("zoo").await, Ok(id(3)));
        let stranger = nodes[2].delineator(id(1));
        assert_eq!(stranger.replace(Rule::RoundRobin).await, Ok(Err(ReplaceRuleError::Denied)));
        let facts = RegionFacts::new(id(3)).capacity(9.0);
        let denied = stranger.tell([facts.clone()], []).await;
        assert_eq!(denied, Ok(Err(ReplaceRuleError::Denied)));
        assert_eq!(nodes[0].delineation().generation, 2);

        trusted.tell([facts], []).await.unwrap().unwrap();
        trusted.replace(Rule::ByCapacity).await.unwrap().unwrap();
        assert_eq!(nodes[0].home_of("zoo").await, Ok(id(3)));
        let bad = trusted.tell([RegionFacts::new(id(3)).capacity(-1.0)], []).await.unwrap();
        assert!(matches!(bad, Err(ReplaceRuleError::BadFacts(_))), "{bad:?}");
        trusted.tell([], [id(3)]).await.unwrap().unwrap();
        assert!(nodes[0].region_table().is_empty());

        // The application's own rules by their names.
        trusted.replace(Rule::Named { name: "users".into() }).await.unwrap().unwrap();
        assert_eq!(nodes[0].home_of(&UserId(1)).await, Ok(id(2)));
        let unknown = trusted.replace(Rule::Named { name: "usrs".into() }).await.unwrap();
        let text = unknown.unwrap_err().to_string();
        assert!(text.contains("usrs") && text.contains("the node lists: users"), "{text}");
        let deep = (0..9).fold(Rule::ById, |rule, _| Rule::first_of([rule]));
        assert!(matches!(trusted.replace(deep).await.unwrap(), Err(ReplaceRuleError::Build(_))));
        assert_eq!(nodes[0].home_of(&UserId(1)).await, Ok(id(2)), "the last good rule stays");
        stop(&nodes).await;
    });
}
