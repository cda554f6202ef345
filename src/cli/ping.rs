//! `fedist ping`: the way to a region or an actor, measured.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use fedist::{NodeStatus, RegionId, RouteStatus};
use serde_json::json;

use super::{
    AdminArgs,
    admin::{Client, PingOf, Pinged},
    config::Within,
    exit::{Exit, Failure},
    say, say_json,
    table::millis,
    target::{Names, Target},
};

/// The arguments of `fedist ping`.
#[derive(clap::Args)]
pub(crate) struct PingArgs {
    /// A region by number or name, or an actor by its pid (7.42)
    target: Target,
    /// How many pings to send
    #[arg(long, default_value = "10")]
    count: Within<1, 1_000_000>,
    /// How long to wait for each answer
    #[arg(long, value_name = "MS", default_value = "2000")]
    deadline_ms: Within<1, 60_000>,
    /// Pause between the start of one ping and the next
    #[arg(long, value_name = "MS", default_value = "100")]
    interval_ms: Within<0, 60_000>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What came of all pings.
#[derive(Default)]
struct Outcome {
    sent: u32,
    /// Ascending once all are in.
    rtts: Vec<Duration>,
    last_loss: Option<String>,
    alive: Option<bool>,
    boot: Option<u32>,
    /// Start of the last ping.
    started: Option<Instant>,
}

pub(crate) fn run(args: &PingArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let (region, of) = match &args.target {
        Target::Region(region) => {
            let region = region.resolve(&status)?;
            (region, PingOf::Region(region))
        }
        Target::Actor(pid) => (pid.region(), PingOf::Actor(*pid)),
    };
    let outcome = measure(&mut client, of, args)?;
    // The route as it is after the traffic, when its costs are measured rather than guessed.
    let status = client.status().unwrap_or(status);
    let route = status.routes.iter().find(|route| route.to == region);
    if args.admin.json {
        say_json(&outcome.json(args, region, route, &status))?;
    } else {
        say(&outcome.render(args, region, route, &status))?;
    }
    if outcome.rtts.is_empty() {
        return Err(Failure::new(
            Exit::Network,
            format!(
                "no answer from region {} (to any of {} pings): {}",
                Names::of(&status).label(region),
                outcome.sent,
                outcome.last_loss.as_deref().unwrap_or("no reason given")
            ),
        )
        .into());
    }
    Ok(match outcome.alive {
        Some(false) => Exit::Other.into(),
        _ => ExitCode::SUCCESS,
    })
}

fn measure(client: &mut Client, of: PingOf, args: &PingArgs) -> anyhow::Result<Outcome> {
    let interval = Duration::from_millis(u64::from(args.interval_ms.get()));
    let mut outcome = Outcome::default();
    for _ in 0..args.count.get() {
        if outcome.sent > 0 {
            let due =
                outcome.started.map_or(Duration::ZERO, |at| interval.saturating_sub(at.elapsed()));
            thread::sleep(due);
        }
        outcome.started = Some(Instant::now());
        outcome.sent += 1;
        match client.ping(of, args.deadline_ms.get())? {
            Pinged::Pong { rtt, alive, boot } => {
                outcome.rtts.push(rtt);
                outcome.boot = Some(boot);
                if matches!(of, PingOf::Actor(_)) {
                    outcome.alive = Some(alive);
                }
            }
            Pinged::Lost { reason, lasting } => {
                if !args.admin.json {
                    say(&format!("ping {}: {reason}\n", outcome.sent))?;
                }
                outcome.last_loss = Some(reason);
                if lasting {
                    break;
                }
            }
        }
    }
    outcome.rtts.sort_unstable();
    Ok(outcome)
}

impl Outcome {
    fn lost(&self) -> usize {
        (self.sent as usize).saturating_sub(self.rtts.len())
    }

    fn loss_percent(&self) -> f64 {
        match self.sent {
            0 => 0.0,
            sent => 100.0 * self.lost() as f64 / f64::from(sent),
        }
    }

    /// The smallest round trip that `percent` of all do not exceed.
    fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.rtts.len() * percent).div_ceil(100).max(1);
        let rtt = self.rtts.get(rank - 1)?;
        Some(rtt.as_micros() as f64 / 1e3)
    }

    fn json(
        &self,
        args: &PingArgs,
        region: RegionId,
        route: Option<&RouteStatus>,
        status: &NodeStatus,
    ) -> serde_json::Value {
        let rtt = self.percentile(0).map(|min| {
            json!({
                "min": min,
                "median": self.percentile(50),
                "p99": self.percentile(99),
                "max": self.percentile(100),
            })
        });
        json!({
            "target": args.target.to_string(),
            "from": status.region,
            "region": region,
            "name": Names::of(status).get(region),
            "path": route.map(|route| &route.path),
            "cost_ms": route.map(|route| route.cost_ms),
            "sent": self.sent,
            "answered": self.rtts.len(),
            "lost": self.lost(),
            "loss_percent": self.loss_percent(),
            "rtt_ms": rtt,
            "actor": self.alive.map(|alive| if alive { "alive" } else { "none" }),
            "boot": self.boot,
            "reason": self.last_loss,
        })
    }

    fn render(
        &self,
        args: &PingArgs,
        region: RegionId,
        route: Option<&RouteStatus>,
        status: &NodeStatus,
    ) -> String {
        let names = Names::of(status);
        let path = match route {
            _ if region == status.region => {
                format!("{}, this node itself", names.label(region))
            }
            Some(route) => format!(
                "{} (cost one way {})",
                names.path(&route.path),
                millis(Some(route.cost_ms))
            ),
            None => "no route now".to_owned(),
        };
        let mut text = format!("path    {path}\n");
        if !self.rtts.is_empty() {
            text += &format!(
                "rtt     min {}, median {}, p99 {}\n",
                millis(self.percentile(0)),
                millis(self.percentile(50)),
                millis(self.percentile(99)),
            );
        }
        text +=
            &format!("loss    {} of {} ({:.1} %)\n", self.lost(), self.sent, self.loss_percent());
        match self.alive {
            Some(true) => text += &format!("actor   {} is alive\n", args.target),
            Some(false) => {
                text += &format!("actor   {}: no actor; it never lived or has ended\n", args.target)
            }
            None => {}
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(sent: u32, millis: &[u64]) -> Outcome {
        Outcome {
            sent,
            rtts: millis.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            ..Outcome::default()
        }
    }

    #[test]
    fn percentiles_are_measured_values() {
        let one = outcome(1, &[5]);
        assert_eq!([0, 50, 99, 100].map(|p| one.percentile(p)), [Some(5.0); 4]);
        let even = outcome(4, &[1, 2, 3, 4]);
        assert_eq!([0, 50, 99].map(|p| even.percentile(p)), [Some(1.0), Some(2.0), Some(4.0)]);
        let many: Vec<u64> = (1..=200).collect();
        assert_eq!(outcome(200, &many).percentile(99), Some(198.0));
        assert_eq!(outcome(3, &[]).percentile(50), None);
    }

    #[test]
    fn loss_counts_what_was_sent_and_not_answered() {
        assert_eq!(outcome(4, &[1]).loss_percent(), 75.0);
        assert_eq!(outcome(4, &[1, 1, 1, 1]).lost(), 0);
        assert_eq!(outcome(0, &[]).loss_percent(), 0.0);
    }
}
