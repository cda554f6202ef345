//! From the outcomes of the rounds to the lines of the table.

use std::fmt::Write;

use serde::Serialize;

use crate::peer::Peer;
use crate::run::Outcome;
use crate::work::{Figure, Work};

/// One figure of FeDist and of a peer, medians over the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// `work/key`.
    name: String,
    fedist: Option<f64>,
    peer: &'static str,
    value: Option<f64>,
    unit: &'static str,
    /// FeDist by peer: the median of the rounds' own ratios.
    ratio: Option<f64>,
    encrypted: bool,
    /// Lowest and highest ratio of a round.
    spread: Option<(f64, f64)>,
}

/// A line of the table: a figure of FeDist and of all peers that have it.
pub(crate) struct Row {
    figure: &'static Figure,
    /// Between two processes, where it matters whether a peer encrypts.
    remote: bool,
    fedist: Option<f64>,
    pub(crate) peers: Vec<Measured>,
}

impl Row {
    /// `rounds` has an outcome per round and peer, FeDist's first; a peer without the work has none.
    pub(crate) fn new(
        work: &'static Work,
        figure: &'static Figure,
        peers: &[&'static dyn Peer],
        rounds: &[Vec<Option<Outcome>>],
    ) -> Self {
        let values = |peer: usize| {
            rounds.iter().filter_map(move |round| round[peer].as_ref()?.get(figure.key).copied())
        };
        let fedist = median(&sorted(values(0)));
        let peers = peers.iter().enumerate().skip(1).filter_map(|(index, peer)| {
            let value = median(&sorted(values(index)))?;
            let ratios = sorted(rounds.iter().filter_map(|round| {
                let of = |peer: usize| round[peer].as_ref()?.get(figure.key).copied();
                Some(of(0)? / of(index)?)
            }));
            Some(Measured {
                name: format!("{}/{}", work.name, figure.key),
                fedist,
                peer: peer.name(),
                value: Some(value),
                unit: figure.unit,
                ratio: median(&ratios),
                encrypted: peer.encrypted(),
                spread: ratios.first().copied().zip(ratios.last().copied()),
            })
        });
        Self { figure, remote: work.task.needs_a_server(), fedist, peers: peers.collect() }
    }

    /// The best peer, of the encrypted ones only if so asked.
    fn best(&self, encrypted_only: bool) -> Option<&Measured> {
        let better = |a: &&Measured, b: &&Measured| {
            let order = a.value.unwrap_or(f64::NAN).total_cmp(&b.value.unwrap_or(f64::NAN));
            if self.figure.rate { order } else { order.reverse() }
        };
        self.peers.iter().filter(|peer| peer.encrypted || !encrypted_only).max_by(better)
    }

    /// `0.93 (0.91 to 0.97) erlang-tls`, in bold where FeDist is behind.
    fn against(&self, peer: Option<&Measured>) -> String {
        let Some(peer) = peer else { return "-".to_owned() };
        let (Some(ratio), Some((low, high))) = (peer.ratio, peer.spread) else {
            return "-".to_owned();
        };
        let behind = if self.figure.rate { ratio < 1.0 } else { ratio > 1.0 };
        let mark = if behind { "**" } else { "" };
        format!("{mark}{ratio:.2}{mark} ({low:.2} to {high:.2}) {}", peer.peer)
    }
}

/// The figures as two Markdown tables, within a process and between two.
pub(crate) fn tables(rows: &[Row], peers: &[&'static dyn Peer]) -> String {
    [false, true].map(|remote| table(rows, peers, remote)).join("\n")
}

fn table(rows: &[Row], peers: &[&'static dyn Peer], remote: bool) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.remote == remote).collect();
    let columns: Vec<&&dyn Peer> = peers
        .iter()
        .skip(1)
        .filter(|peer| rows.iter().any(|row| row.peers.iter().any(|one| one.peer == peer.name())))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text =
        String::from(if remote { "| between two processes" } else { "| in one process" });
    text += " | unit | FeDist";
    text += if remote { " (e)" } else { "" };
    for peer in &columns {
        let mark = if remote && peer.encrypted() { " (e)" } else { "" };
        let _ = write!(text, " | {}{mark}", peer.name());
    }
    text += " | FeDist / best";
    text += if remote { " | FeDist / best encrypted |\n" } else { " |\n" };
    text += "|---|---|---:|";
    text += &"---:|".repeat(columns.len());
    text += if remote { "---|---|\n" } else { "---|\n" };
    for row in rows {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), readable);
        let Figure { label, unit, .. } = row.figure;
        let _ = write!(text, "| {label} | {unit} | {}", number(row.fedist));
        for peer in &columns {
            let of = row.peers.iter().find(|one| one.peer == peer.name());
            let _ = write!(text, " | {}", number(of.and_then(|one| one.value)));
        }
        let _ = write!(text, " | {}", row.against(row.best(false)));
        if remote {
            let _ = write!(text, " | {}", row.against(row.best(true)));
        }
        text += " |\n";
    }
    text
}

/// Three digits that count.
fn readable(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.1.. => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted.get(middle.checked_sub(1)?).map(|lower| (lower + upper) / 2.0)
}
