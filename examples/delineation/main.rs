//! One program, many rules: 1,000 files of a source tree are hashed in four regions, and only the rule that says which piece
//! belongs where is replaced, by message, between the runs and in the middle of one.
//!
//! ```text
//! cargo run --release --example delineation                  # half a minute
//! cargo run --release --example delineation -- --quick       # a few seconds
//! cargo run --release --example delineation -- --tree PATH   # your own tree in place of cargo's registry
//! ```
//!
//! The regions have capacities of 1:1:2:4: each does one piece at a time and takes a known time for each byte. Every file lies
//! in one region; another one has to fetch it over the links. What is checked: the same result by all rules, the time by
//! capacity against taking turns, the bytes between regions by privilege against chance, and that no piece is lost or done
//! twice while the rule is replaced and its actor killed.

mod pieces;
mod work;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fedist::{
    Scattered,
    prelude::*,
    registry::{PlaceKey, RegionFacts, Rule, service},
};
use pieces::{Piece, Tree};
use work::{Digests, hash_piece};

/// How fast each region works.
const CAPACITIES: [f64; 4] = [1.0, 1.0, 2.0, 4.0];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

struct Settings {
    tree: Option<String>,
    quick: bool,
}

fn settings() -> anyhow::Result<Settings> {
    let mut settings = Settings { tree: None, quick: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => settings.quick = true,
            "--tree" => settings.tree = Some(args.next().context("--tree needs a path")?),
            other => {
                anyhow::bail!("argument ({other}) is not known; there are --quick and --tree PATH")
            }
        }
    }
    Ok(settings)
}

async fn run() -> anyhow::Result<bool> {
    let settings = settings()?;
    let tree = Tree::find(settings.tree.as_deref(), 1_000, CAPACITIES.len())?;
    println!(
        "{} pieces, {:.1} MB of {}, the largest {} KB, the smallest {} bytes",
        tree.pieces.len(),
        tree.bytes() as f64 / 1e6,
        tree.root.display(),
        tree.pieces.iter().map(|piece| piece.len).max().unwrap_or(0) / 1_000,
        tree.pieces.iter().map(|piece| piece.len).min().unwrap_or(0),
    );
    // Alone, a region of capacity 1 would need this long for everything.
    let alone = Duration::from_secs(if settings.quick { 3 } else { 16 });
    let dir = tempfile::tempdir()?;
    let nodes = start(&tree, alone, dir.path()).await?;
    let asker = &nodes[0];
    asker.tell_regions(
        nodes
            .iter()
            .zip(CAPACITIES)
            .map(|(node, capacity)| RegionFacts::new(node.region()).capacity(capacity)),
    )?;

    println!(
        "{:<36} {:>9} {:>12} {:>22}  result",
        "rule", "makespan", "between", "pieces in 1/2/3/4"
    );
    let mut seen = Vec::new();
    for rule in [
        Rule::RoundRobin,
        Rule::Random { seed: None },
        Rule::ConsistentHash { weights: Vec::new(), by_capacity: false },
        Rule::ConsistentHash { weights: Vec::new(), by_capacity: true },
        Rule::ByCapacity,
        Rule::first_of([Rule::ByPrivilege, Rule::ByCapacity]),
    ] {
        let name = rule.to_string();
        // As anybody would do it, from another region too.
        nodes[1].delineator(asker.region()).replace(rule).await??;
        let run = one_run(&nodes, &tree, |_| {}).await?;
        println!("{name:<36} {run}");
        seen.push((name, run));
    }

    let meddled = meddle(&nodes, &tree).await?;
    println!("{:<36} {meddled}", "replaced and killed meanwhile");

    let of =
        |begin: &str| seen.iter().find(|(name, _)| name.starts_with(begin)).map(|(_, run)| run);
    let (turns, capacity) =
        (of("round robin").context("no run")?, of("by capacity").context("no run")?);
    let (chance, privilege) = (of("random").context("no run")?, of("first of").context("no run")?);
    let makespan = capacity.makespan.as_secs_f64() / turns.makespan.as_secs_f64();
    let between = privilege.between as f64 / chance.between as f64;
    let first = &turns.result;
    let alike = seen.iter().all(|(_, run)| run.result == *first) && meddled.result == *first;
    let once = seen.iter().all(|(_, run)| run.once) && meddled.once;
    let checks = [
        (alike, "the result is the same by every rule".to_owned()),
        (
            once,
            "every piece was done once, while the rule was replaced and its actor killed too"
                .to_owned(),
        ),
        (
            makespan <= 0.75,
            format!("by capacity takes {makespan:.2} of the time of round robin; at most 0.75"),
        ),
        (
            between <= 0.10,
            format!(
                "by privilege {:.1} % of the bytes of random pass between regions; at most 10 %",
                100.0 * between
            ),
        ),
    ];
    for (holds, what) in &checks {
        println!("  {} {what}", if *holds { '✓' } else { '✗' });
    }
    for node in nodes.iter().rev() {
        node.stop().await;
    }
    Ok(checks.iter().all(|(holds, _)| *holds))
}

/// Four regions in this process, over QUIC on loopback.
async fn start(tree: &Tree, alone: Duration, dir: &std::path::Path) -> anyhow::Result<Vec<Node>> {
    work::set_pace(alone.as_secs_f64() / tree.bytes() as f64, &CAPACITIES);
    let mut nodes: Vec<Node> = Vec::new();
    for number in 1..=CAPACITIES.len() {
        let mut builder = Node::builder(RegionId::new(u16::try_from(number)?)?)
            .data_dir(dir.join(number.to_string()))
            .task(hash_piece)
            .delineated_by([RegionId::new(2)?]);
        if let Some(root) = nodes.first() {
            builder = builder.under(root);
        }
        let node = builder.start().await?;
        work::open_store(&node, tree)?;
        nodes.push(node);
    }
    let all_see_all = async {
        while nodes.iter().any(|node| node.view().routes.len() < nodes.len() - 1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_see_all).await?;
    Ok(nodes)
}

/// What one run gave.
struct Run {
    makespan: Duration,
    /// Bytes that the nodes sent over their links.
    between: u64,
    result: String,
    once: bool,
    shares: String,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, megabytes) = (self.makespan.as_secs_f64(), self.between as f64 / 1e6);
        let result = &self.result[..12];
        write!(f, "{seconds:>7.2} s {megabytes:>9.2} MB {:>22}  {result}", self.shares)
    }
}

/// The program. It does not know by which rule its pieces are placed.
async fn one_run(
    nodes: &[Node],
    tree: &Tree,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> anyhow::Result<Run> {
    let before = bytes_sent(nodes).await;
    work::forget_runs();
    let begun = Instant::now();
    let gathered: Scattered<Digests> = nodes[0]
        .scatter(tree.pieces.clone())
        .keyed(|piece: &Piece| {
            PlaceKey::named(&piece.path).work(piece.len).data_at(piece.home, piece.len)
        })
        .task(hash_piece)
        .max_in_flight(2)
        .on_progress(move |now| progress(now.done))
        .gather(Digests::add)
        .await?;
    let makespan = begun.elapsed();
    let shares: Vec<String> = nodes
        .iter()
        .map(|node| {
            gathered.regions.get(&node.region()).map_or(0, |share| share.pieces).to_string()
        })
        .collect();
    Ok(Run {
        makespan,
        between: bytes_sent(nodes).await - before,
        result: gathered.value.result(),
        once: gathered.pieces == tree.pieces.len() as u64 && work::each_ran_once(tree.pieces.len()),
        shares: shares.join("/"),
    })
}

/// The same program, while its rule is replaced four times and the actor that holds it is killed thirty times.
async fn meddle(nodes: &[Node], tree: &Tree) -> anyhow::Result<Run> {
    let done = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&done);
    let run = one_run(nodes, tree, move |now| seen.store(now, Ordering::Relaxed));
    let delineator = RegionPid::new(nodes[0].region(), service::DELINEATOR);
    let meddling = async {
        let rules =
            [Rule::RoundRobin, Rule::ByPrivilege, Rule::Random { seed: None }, Rule::ByCapacity];
        let step = tree.pieces.len() as u64 / 32;
        for (kill, rule) in (1..=30).zip(rules.iter().cycle()) {
            while done.load(Ordering::Relaxed) < kill * step {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            nodes[0].kill(delineator);
            if kill % 7 == 0 {
                nodes[1].delineator(nodes[0].region()).replace(rule.clone()).await??;
            }
        }
        anyhow::Ok(())
    };
    let (run, meddled) = futures_util::future::join(run, meddling).await;
    meddled?;
    run
}

async fn bytes_sent(nodes: &[Node]) -> u64 {
    let mut sent = 0;
    for node in nodes {
        if let Some(status) = node.status().await {
            sent += status.links.iter().map(|link| link.bytes_sent).sum::<u64>();
        }
    }
    sent
}
