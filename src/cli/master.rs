//! `fedist candidates`, `delegate` and `promote`: who writes the federation's registry, and who may admit newcomers.

use std::{ops::RangeInclusive, process::ExitCode};

use clap::Args;
use fedist::registry::RegionId;
use serde_json::json;

use super::{
    AdminArgs,
    admin::{ChangeOf, Client},
    exit::{Exit, Failure},
    region::answer,
    say, say_json,
    target::{Names, RegionRef},
};

/// The arguments of `fedist candidates`.
#[derive(Args)]
pub(crate) struct CandidatesArgs {
    /// The regions that elect the registry's master, 1, 3 or 5 of them, by number or name
    #[arg(value_name = "REGION", required = true)]
    regions: Vec<RegionRef>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The arguments of `fedist delegate`.
#[derive(Args)]
pub(crate) struct DelegateArgs {
    /// The first and the last region number, e.g. 100..=199
    #[arg(value_name = "FIRST..=LAST", value_parser = block)]
    block: RangeInclusive<RegionId>,
    /// The region that admits newcomers with these numbers while the master is away, by number or name
    #[arg(long, value_name = "REGION")]
    to: RegionRef,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The arguments of `fedist promote`.
#[derive(Args)]
pub(crate) struct PromoteArgs {
    /// The region to promote, by number or name: the one whose node is asked
    #[arg(value_name = "REGION")]
    region: RegionRef,
    /// The master, or a majority of the candidates, will never come back: what it wrote and this region has not heard is lost
    #[arg(long)]
    yes_the_root_is_gone: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn candidates(args: &CandidatesArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let regions: Vec<RegionId> =
        args.regions.iter().map(|region| region.resolve(&status)).collect::<Result<_, _>>()?;
    let index = client.change(ChangeOf::Candidates(regions.clone()))?;
    let names = Names::of(&status);
    let listed: Vec<String> = regions.iter().map(|region| names.label(*region)).collect();
    let told = format!("has had regions {} set as candidates", listed.join(", "));
    answer(&args.admin, &status, index, &told)
}

pub(crate) fn delegate(args: &DelegateArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let to = args.to.resolve(&status)?;
    let (first, last) = (*args.block.start(), *args.block.end());
    let index = client.change(ChangeOf::Delegate { to, first, last })?;
    let told = format!(
        "has had region numbers {first} to {last} delegated to region {}",
        Names::of(&status).label(to)
    );
    answer(&args.admin, &status, index, &told)
}

pub(crate) fn promote(args: &PromoteArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let region = args.region.resolve(&status)?;
    if region != status.region {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "region ({region}) is not the one of this node, which is {}; a region is promoted on its own node; name its data directory",
                status.region
            ),
        )
        .into());
    }
    if !args.yes_the_root_is_gone {
        return Err(Failure::new(
            Exit::Usage,
            "confirmation (missing); a master that still runs somewhere goes on writing, and what it writes will be lost; if it is gone for good, add --yes-the-root-is-gone".to_owned(),
        )
        .into());
    }
    let index = client.change(ChangeOf::Promote)?;
    if args.admin.json {
        say_json(&json!({
            "region": status.region, "name": status.name, "registry_index": index, "master": true,
        }))?;
    } else {
        say(&format!(
            "region {} {} is the registry's master now, and its only candidate (registry entry {index}); set others with `fedist candidates`\n",
            status.region, status.name
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn block(text: &str) -> Result<RangeInclusive<RegionId>, Failure> {
    let bad = |why: String| {
        Failure::new(
            Exit::Usage,
            format!(
                "block ({text}) {why}; it is two region numbers, the first not above the last; write e.g. 100..=199"
            ),
        )
    };
    let (first, last) = text.split_once("..=").ok_or_else(|| bad("has no '..='".to_owned()))?;
    let number = |text: &str| text.parse::<RegionId>().map_err(|error| bad(error.to_string()));
    let (first, last) = (number(first)?, number(last)?);
    match first <= last {
        true => Ok(first..=last),
        false => Err(bad("is empty".to_owned())),
    }
}
