//! The settings: flags, and a TOML file with the same names.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use fedist::{RegionId, registry::RangeTable};
use serde::Deserialize;

use super::{
    exit::{Exit, Failure},
    front::Manners,
    store::MAX_BYTES,
};

/// The key-value store of the Elixir guide, distributed over regions.
///
/// Clients speak lines to a front: CREATE b, PUT b k v, GET b k, DELETE b k, SUBSCRIBE b. Which region a bucket is at home in is
/// said by a routing table over the beginning of its name.
#[derive(Debug, Parser)]
#[command(name = "kv", after_help = AFTER)]
pub(crate) struct Options {
    /// Start two regions at once for a try, with fronts at 4040 and 4041, and everything thrown away at the end
    #[arg(long, conflicts_with_all = ["region", "parent", "join", "listen", "advertise", "data_dir", "ca_dir"])]
    pub(crate) local: bool,
    /// Measure GETs, local and routed, beside a plain server on this machine
    #[arg(long, conflicts_with_all = ["local", "region", "config"])]
    pub(crate) bench: bool,
    /// With --bench: short rounds
    #[arg(long, requires = "bench")]
    pub(crate) quick: bool,
    /// With --bench: one JSON value on the last line
    #[arg(long, requires = "bench")]
    pub(crate) json: bool,
    /// Read settings from this TOML file; keys are the flags below without dashes, flags win
    #[arg(long, value_name = "FILE", conflicts_with = "local")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// What --bench compares with: a plain server at this address
    #[arg(long, hide = true)]
    pub(crate) bench_plain: Option<SocketAddr>,
    /// What --bench compares with: a forwarder to this address
    #[arg(long, hide = true)]
    pub(crate) bench_proxy: Option<SocketAddr>,
}

/// What can be set in either place.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Number of this region, 1..=65534 [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) region: Option<RegionId>,
    /// Parent region; the root has none
    #[arg(long, value_name = "N")]
    pub(crate) parent: Option<RegionId>,
    /// Address of a region to join through (repeat for more)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) join: Vec<String>,
    /// UDP address for other regions [default: 127.0.0.1:0]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Address under which other regions reach this one, if another than it listens at (repeat for more)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Vec<String>,
    /// TCP address for clients [default: 127.0.0.1:4040]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) front: Option<SocketAddr>,
    /// Keys and ids of this region [default: kv-data/region-N]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The federation's ca.pem and ca.key, made by the first start of the root [default: kv-data/ca]
    #[arg(long, value_name = "DIR")]
    pub(crate) ca_dir: Option<PathBuf>,
    /// Which names belong to which region, such as "a..m => 1, n..z => 2" [default: all to this one]
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<RangeTable>,
    /// Connections of clients at once [default: 4096]
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_connections: Option<u32>,
    /// What the buckets of this region hold together, in bytes [default: 1 GiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<u64>,
    /// Close a connection that says nothing for so long; subscribers may be silent [default: 600]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle_secs: Option<u32>,
    /// How long a line may take from its first byte, and an answer to be taken [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) line_secs: Option<u32>,
    /// Let clients say CRASH b, which makes the bucket panic; --local does
    #[arg(long)]
    pub(crate) allow_crash: bool,
}

impl Options {
    /// The settings with those of the file behind them.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let Some(path) = &self.config else { return Ok(self.settings.clone()) };
        let refused = |what: String| {
            let rule = "it is TOML with the names of the flags; correct it or give another one";
            Failure::new(
                Exit::Config,
                format!("configuration file ({}: {what}); {rule}", path.display()),
            )
        };
        let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        let file: Settings = toml::from_str(&text)
            .map_err(|error| refused(error.to_string().trim().replace('\n', " ")))?;
        Ok(self.settings.clone().or(file))
    }
}

impl Settings {
    fn or(self, file: Settings) -> Settings {
        Settings {
            region: self.region.or(file.region),
            parent: self.parent.or(file.parent),
            join: if self.join.is_empty() { file.join } else { self.join },
            listen: self.listen.or(file.listen),
            advertise: if self.advertise.is_empty() { file.advertise } else { self.advertise },
            front: self.front.or(file.front),
            data_dir: self.data_dir.or(file.data_dir),
            ca_dir: self.ca_dir.or(file.ca_dir),
            table: self.table.or(file.table),
            max_connections: self.max_connections.or(file.max_connections),
            max_bytes: self.max_bytes.or(file.max_bytes),
            idle_secs: self.idle_secs.or(file.idle_secs),
            line_secs: self.line_secs.or(file.line_secs),
            allow_crash: self.allow_crash || file.allow_crash,
        }
    }

    pub(crate) fn front(&self) -> SocketAddr {
        self.front.unwrap_or(SocketAddr::from(([127, 0, 0, 1], PORT)))
    }

    pub(crate) fn manners(&self) -> Manners {
        let default = Manners::default();
        let secs = |given: Option<u32>| given.map(|secs| Duration::from_secs(secs.max(1).into()));
        Manners {
            max_connections: self
                .max_connections
                .map_or(default.max_connections, |count| count.max(1) as usize),
            idle: secs(self.idle_secs).unwrap_or(default.idle),
            patience: secs(self.line_secs).unwrap_or(default.patience),
            may_crash: self.allow_crash,
        }
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(MAX_BYTES)
    }
}

/// The guide's port.
const PORT: u16 = 4040;

const AFTER: &str = "\
Two regions by hand, in two terminals:
  kv --region 1 --listen 127.0.0.1:4433 --table 'a..m => 1, n..z => 2'
  kv --region 2 --parent 1 --join 127.0.0.1:4433 --front 127.0.0.1:4041 --table 'a..m => 1, n..z => 2'
In a file: table = [{ keys = \"a..m\", region = 1 }, { keys = \"n..z\", region = 2 }].
On another machine: copy the root's ca directory there, and --listen and --advertise its address.

Exit codes: 0 done, 1 other, 2 usage, 3 configuration, 4 security, 5 storage, 6 network.
Environment: FEDIST_LOG filters the log (e.g. FEDIST_LOG=kv=debug,fedist=debug).";
