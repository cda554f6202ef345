//! Counts the words of files with tasks in three regions, placed by a delineation rule.
//!
//! Run it with `cargo run --release --example word_count -- README.md docs/architecture.md`.

use std::{collections::BTreeMap, time::Duration};

use fedist::{
    prelude::*,
    registry::{ConsistentHash, Delineator, FederationView},
};

type Counts = BTreeMap<String, u64>;

#[fedist::task(name = "example.words", version = 1)]
async fn count_words(_cx: TaskCx, text: String) -> Counts {
    let mut counts = Counts::new();
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    counts
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        files.push("README.md".to_owned());
    }
    let dir = tempfile::tempdir()?;
    let root_id = RegionId::new(1)?;
    let root =
        Node::builder(root_id).data_dir(dir.path().join("1")).task(count_words).start().await?;
    let mut nodes = vec![root.clone()];
    for n in [2, 3] {
        nodes.push(
            Node::builder(RegionId::new(n)?)
                .under(&root)
                .data_dir(dir.path().join(n.to_string()))
                .task(count_words)
                .start()
                .await?,
        );
    }
    while root.view().routes.len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let mut total = Counts::new();
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
        // The application says what belongs where: here the file's name decides.
        let view = root.view();
        let home = ConsistentHash::default().home(
            &file,
            &FederationView { here: root_id, registry: &view.registry, routes: Some(&view.routes) },
        )?;
        let spare = view.registry.live_regions().map(|record| record.id).filter(|id| *id != home);
        let regions: Vec<RegionId> = std::iter::once(home).chain(spare).collect();
        let done =
            root.tasks().supervised(count_words, text, regions, Duration::from_secs(30)).await?;
        println!(
            "{file}: {} words, counted in region {}",
            done.value.values().sum::<u64>(),
            done.region
        );
        for (word, n) in done.value {
            *total.entry(word).or_default() += n;
        }
    }
    let mut top: Vec<(String, u64)> = total.into_iter().collect();
    top.sort_by_key(|(word, n)| (std::cmp::Reverse(*n), word.clone()));
    for (word, n) in top.iter().take(10) {
        println!("{n:>8}  {word}");
    }
    for node in &nodes {
        node.stop().await;
    }
    Ok(())
}
