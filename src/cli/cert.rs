//! `fedist cert`: identities for regions on other machines.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use fedist::{
    RegionId,
    transport::identity::{CertificateAuthority, Identity},
};

use super::{config::Within, say};

/// The arguments of `fedist cert`.
#[derive(clap::Args)]
pub(crate) struct CertArgs {
    /// Where the federation's ca.pem and ca.key are: the data directory of its first region
    #[arg(long, value_name = "DIR")]
    ca_dir: PathBuf,
    /// Number of the region
    #[arg(long, value_name = "N")]
    region: RegionId,
    /// Where to write region.key, region.pem and ca.pem; a key that is there stays
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Days for which the first certificate is valid; later ones are for 90
    #[arg(long, default_value = "90")]
    days: Within<1, 3650>,
}

pub(crate) fn run(args: &CertArgs) -> anyhow::Result<ExitCode> {
    let ca = CertificateAuthority::load(&args.ca_dir)?;
    let certificate = args.out.join("region.pem");
    let before = fs::read(&certificate).ok();
    let has_key = args.out.join("region.key").exists();
    let identity = if before.is_some() || has_key {
        Identity::load_or_issue(&args.out, args.region, Some(&ca))?
    } else {
        let days = u64::from(args.days.get());
        let identity = ca.issue(args.region, Duration::from_secs(days * 24 * 3600))?;
        identity.save(&args.out)?;
        identity
    };
    let done = match before {
        None => "issued",
        Some(before) if fs::read(&certificate).is_ok_and(|now| now == before) => {
            "kept (less than two thirds of its life have passed)"
        }
        Some(_) => "renewed",
    };
    let (region, out) = (args.region, args.out.display());
    say(&format!(
        "certificate of region {region} {done}: federation {}, key {}\n\
         \n\
         Copy {out}/region.key, {out}/region.pem and {out}/ca.pem to the data directory on the\n\
         region's machine (directory mode 0700, region.key mode 0600), then start it there:\n\
         \n  fedist node --region {region} --parent PARENT --join HOST:PORT --data-dir DIR\n\
         \n\
         Delete region.key here afterwards. Never copy ca.key: whoever has it decides who is a region.\n",
        identity.federation(),
        identity.key_hash(),
    ))?;
    Ok(ExitCode::SUCCESS)
}
