//! `fedist connect` and `fedist disconnect`: a node's links by hand.

use std::{fmt, process::ExitCode, str::FromStr};

use clap::Args;
use serde_json::json;

use super::{
    AdminArgs,
    admin::Client,
    config::HostPort,
    say, say_json,
    target::{Names, RegionRef},
};

/// The arguments of `fedist connect`.
#[derive(Args)]
pub(crate) struct ConnectArgs {
    /// The address of a region, as HOST:PORT, or a region of the registry by number or name
    #[arg(value_name = "ADDRESS|REGION")]
    to: Contact,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The arguments of `fedist disconnect`.
#[derive(Args)]
pub(crate) struct DisconnectArgs {
    /// The region to part from, by number or name
    #[arg(value_name = "REGION")]
    region: RegionRef,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Whom to connect to. No name of a region has a colon, and every address has one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Contact {
    Address(HostPort),
    Region(RegionRef),
}

impl FromStr for Contact {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        fn say(error: impl fmt::Display) -> String {
            error.to_string()
        }
        match text.contains(':') {
            true => text.parse().map(Self::Address).map_err(say),
            false => text.parse().map(Self::Region).map_err(say),
        }
    }
}

/// `fedist connect`.
pub(crate) fn connect(args: &ConnectArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let peer = match &args.to {
        Contact::Address(address) => client.connect_to(address.as_str().to_owned())?,
        Contact::Region(region) => client.connect_region(region.resolve(&status)?)?,
    };
    if args.admin.json {
        say_json(&json!({ "region": status.region, "name": status.name, "peer": peer }))?;
    } else {
        let peer = Names::of(&status).label(peer);
        say(&format!("region {} {} is linked to region {peer}\n", status.region, status.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `fedist disconnect`.
pub(crate) fn disconnect(args: &DisconnectArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&args.admin.data_dir())?;
    let status = client.status()?;
    let peer = client.disconnect(args.region.resolve(&status)?)?;
    if args.admin.json {
        say_json(&json!({ "region": status.region, "name": status.name, "peer": peer }))?;
    } else {
        let label = Names::of(&status).label(peer);
        say(&format!(
            "region {} {} has no link to region {label} and takes none, until `fedist connect {peer}`\n",
            status.region, status.name
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_regions_are_told_apart() {
        for address in ["127.0.0.1:4433", "root.example:1", "[::1]:1"] {
            assert!(matches!(address.parse(), Ok(Contact::Address(_))), "{address}");
        }
        for region in ["7", "eu-west"] {
            assert!(matches!(region.parse(), Ok(Contact::Region(_))), "{region}");
        }
        let refused = |text: &str| text.parse::<Contact>().unwrap_err();
        assert!(refused("host:").contains("host:port"));
        assert!(refused("0").contains("regions are numbered 1..=65534"));
        assert!(refused("").contains("empty"));
    }
}
