//! Counts the words of files with tasks in three regions, placed by a delineation rule and gathered again.
//!
//! Run it with `cargo run --release --example word_count -- README.md docs/architecture.md`.

use std::{collections::BTreeMap, time::Duration};

use fedist::{
    prelude::*,
    registry::{PlaceKey, Rule},
};

type Counts = BTreeMap<String, u64>;

#[fedist::task(name = "example.words", version = 1)]
async fn count_words(_cx: TaskCx, (_, text): (usize, String)) -> Counts {
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

    let mut texts = Vec::new();
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
        texts.push((PlaceKey::named(&file).work(text.len() as u64), text));
    }
    // The application says what belongs where: here the file's name decides.
    let keys: Vec<PlaceKey> = texts.iter().map(|(key, _)| key.clone()).collect();
    let counted = root
        .scatter(texts.into_iter().map(|(_, text)| text).enumerate())
        .keyed(move |(at, _): &(usize, String)| keys[*at].clone())
        .by(Rule::ConsistentHash { weights: Vec::new(), by_capacity: false })
        .task(count_words)
        .gather(|total: &mut Counts, part| {
            for (word, n) in part {
                *total.entry(word).or_default() += n;
            }
        })
        .await?;
    for (region, share) in &counted.regions {
        println!("region {region} counted {} files, {} bytes", share.pieces, share.work);
    }
    let total = counted.value;
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
