//! `fedist region` and `fedist leave`: a region changes its own place in the federation, while its node runs.

use std::{ops::RangeInclusive, process::ExitCode};

use clap::{Args, Subcommand};
use fedist::{NodeStatus, registry::LocalId};
use serde_json::json;

use super::{
    AdminArgs,
    admin::{ChangeOf, Client},
    exit::{Exit, Failure},
    say, say_json,
    target::{Names, RegionRef},
};

/// The arguments of `fedist region`.
#[derive(Args)]
pub(crate) struct RegionArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Give it another parent, or other addresses for the others to dial.
    Set(SetArgs),
    /// Hand a range of its ids over to another region; pids and record ids stay what they are.
    Split(SplitArgs),
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
struct SetArgs {
    /// The region to be below, by number or name
    #[arg(long, value_name = "REGION", group = "what")]
    parent: Option<RegionRef>,
    /// Where the others dial it; several times for several, best first; takes the place of all before
    #[arg(long = "address", value_name = "HOST:PORT", group = "what")]
    addresses: Vec<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Args)]
struct SplitArgs {
    /// The first and the last local id, e.g. 1000..=1999
    #[arg(value_name = "FIRST..=LAST", value_parser = range)]
    ids: RangeInclusive<LocalId>,
    /// The region that serves them from now on, by number or name
    #[arg(long, value_name = "REGION")]
    to: RegionRef,
    /// The region in the ids' upper bits, by number or name [default: the node's own]
    #[arg(long, value_name = "REGION")]
    of: Option<RegionRef>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(args: &RegionArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Set(args) => set(args),
        Command::Split(args) => split(args),
    }
}

/// `fedist leave`.
pub(crate) fn leave(args: &AdminArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.data_dir())?;
    let status = client.status()?;
    client.leave()?;
    if args.json {
        say_json(&json!({ "region": status.region, "name": status.name, "left": true }))?;
    } else {
        say(&format!("region {} {} has left its federation\n", status.region, status.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn set(args: &SetArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let (mut index, mut told) = (status.registry_index, Vec::new());
    if let Some(parent) = &args.parent {
        let parent = parent.resolve(&status)?;
        index = client.change(ChangeOf::Parent(parent))?;
        told.push(format!("is below region {} now", Names::of(&status).label(parent)));
    }
    if !args.addresses.is_empty() {
        index = client.change(ChangeOf::Addresses(args.addresses.clone()))?;
        told.push(format!("is at {} now", args.addresses.join(" ")));
    }
    answer(&args.admin, &status, index, &told.join(", and "))
}

fn split(args: &SplitArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let of = match &args.of {
        Some(of) => of.resolve(&status)?,
        None => status.region,
    };
    let to = args.to.resolve(&status)?;
    let (first, last) = (*args.ids.start(), *args.ids.end());
    let index = client.change(ChangeOf::Split { of, first, last, to })?;
    let names = Names::of(&status);
    let told = format!(
        "has handed ids {first} to {last} of region {} over to region {}",
        names.label(of),
        names.label(to)
    );
    answer(&args.admin, &status, index, &told)
}

pub(super) fn answer(
    args: &AdminArgs,
    status: &NodeStatus,
    index: u64,
    told: &str,
) -> anyhow::Result<ExitCode> {
    if args.json {
        say_json(&json!({
            "region": status.region, "name": status.name, "registry_index": index,
        }))?;
    } else {
        say(&format!(
            "region {} {} {told} (registry entry {index})\n",
            status.region, status.name
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn range(text: &str) -> Result<RangeInclusive<LocalId>, Failure> {
    let bad = |why: String| {
        Failure::new(
            Exit::Usage,
            format!(
                "range ({text}) {why}; it is two local ids, the first not above the last; write e.g. 1000..=1999"
            ),
        )
    };
    let (first, last) = text.split_once("..=").ok_or_else(|| bad("has no '..='".to_owned()))?;
    let local = |text: &str| text.parse::<LocalId>().map_err(|error| bad(error.to_string()));
    let (first, last) = (local(first)?, local(last)?);
    match first <= last {
        true => Ok(first..=last),
        false => Err(bad("is empty".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_local_ids_in_order() {
        assert_eq!(
            range("1000..=1999").unwrap(),
            LocalId::new(1000).unwrap()..=LocalId::new(1999).unwrap()
        );
        assert!(range("7..=7").is_ok());
        for bad in ["", "1000", "1000..1999", "2..=1", "0..=9", "a..=b", "1..=281474976710656"] {
            let error = range(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("range ({bad})")), "{error}");
        }
    }
}
