//! The settings of `fedist node`: one list for the command line and for the TOML file.
//!
//! Every key of the file is a long flag without its dashes and takes the same values; a flag that
//! may be repeated is an array. A flag wins over the file. Since both are one struct, neither can
//! know a setting that the other does not.

use std::{
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
};

use fedist::registry::RegionName;
use serde::Deserialize;
use toml::de::DeTable;

use super::exit::{Exit, Failure};

mod value;

pub(crate) use value::{AdminAddress, Dial, HostPort, Place, RegionNumber, Shape, Within};

/// The arguments of `fedist node`.
#[derive(clap::Args)]
pub(crate) struct NodeArgs {
    /// Read settings from this TOML file; keys are the flags below without dashes, flags win
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: NodeSettings,
}

/// What can be set. Nothing given means the default of [`fedist::NodeBuilder`].
#[derive(Debug, Default, PartialEq, clap::Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct NodeSettings {
    /// Number of this node's region, 1..=65534
    #[arg(long, value_name = "N")]
    pub(crate) region: Option<RegionNumber>,
    /// Name of the region [default: region-N]
    #[arg(long)]
    pub(crate) name: Option<RegionName>,
    /// Parent region; the root has none
    #[arg(long, value_name = "N")]
    pub(crate) parent: Option<RegionNumber>,
    /// UDP address to listen at; port 0 takes a free one [default: 127.0.0.1:0]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<HostPort>,
    /// Address under which others reach this node, if another than it listens at (repeat for more)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Vec<HostPort>,
    /// Address of the root or of a hub to join through (repeat for more; tried in order)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) join: Vec<HostPort>,
    /// Address that is to be linked to, and to join through (repeat for more); the root and hubs need not be named by --join then
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) discover: Vec<HostPort>,
    /// Name whose addresses, all at this port, are regions; looked up again and again (repeat for more)
    #[arg(long, value_name = "NAME:PORT")]
    pub(crate) discover_dns: Vec<HostPort>,
    /// File with one address a line, `#` for comments; watched (repeat for more)
    #[arg(long, value_name = "PATH")]
    pub(crate) discover_file: Vec<PathBuf>,
    /// Environment variable with addresses, between commas or spaces (repeat for more)
    #[arg(long, value_name = "VAR")]
    pub(crate) discover_env: Vec<String>,
    /// How often names and variables are looked up, in milliseconds; files are looked at once a second [default: 5000]
    #[arg(long, value_name = "MS")]
    pub(crate) discover_every: Option<Within<10, 86_400_000>>,
    /// Keys, ids and registry copy of this node [default: $FEDIST_DATA_DIR, else ./data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the federation's ca.pem and ca.key are, if not in the data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) ca_dir: Option<PathBuf>,
    /// Keep a link to this region, besides the parent and the nearest (repeat for more)
    #[arg(long, value_name = "N")]
    pub(crate) link: Vec<RegionNumber>,
    /// At the root: the regions that elect the registry's master, 1, 3 or 5, until the registry says who [default: the root alone]
    #[arg(long, value_name = "N,N,N", value_delimiter = ',')]
    pub(crate) root_candidates: Vec<RegionNumber>,
    /// Silence of a master after which candidates elect another, in milliseconds [default: 2000]
    #[arg(long, value_name = "MS")]
    pub(crate) election_timeout_ms: Option<Within<100, 60_000>>,
    /// How many of the nearest regions to keep links to [default: 2]
    #[arg(long, value_name = "COUNT")]
    pub(crate) nearest: Option<Within<0, 64>>,
    /// Which links are kept: adaptive, full, ring, tree, torus, star, or a list such as 1-2,2-3; the
    /// same on all nodes [default: adaptive]
    #[arg(long, value_name = "SHAPE")]
    pub(crate) topology: Option<Shape>,
    /// Links that this node opens at most, those to parent and nearest aside [default: 16]
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_links_out: Option<Within<0, 128>>,
    /// Links that others may open to this node, children aside [default: 32]
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_links_in: Option<Within<0, 128>>,
    /// Nobody can dial this node (NAT): it advertises no address and opens all its links itself
    #[arg(long)]
    pub(crate) dial_only: bool,
    /// Where the region is, in degrees, north and east positive
    #[arg(long, value_name = "LAT,LON", allow_hyphen_values = true)]
    pub(crate) coordinates: Option<Place>,
    /// Dial a region at this address instead of the registry's (repeat for more)
    #[arg(long, value_name = "N=HOST:PORT")]
    pub(crate) dial: Vec<Dial>,
    /// Threads for actors [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub(crate) arbiters: Option<Within<1, 256>>,
    /// Threads for tasks of other regions [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub(crate) task_threads: Option<Within<1, 256>>,
    /// Largest UDP payload that is tried, in bytes [default: 1452, within this machine 6400]
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu_upper: Option<Within<1200, 65527>>,
    /// Silence after which a session ends, in milliseconds [default: 10000]
    #[arg(long, value_name = "MS")]
    pub(crate) session_timeout_ms: Option<Within<100, 3_600_000>>,
    /// How long a newcomer tries to join, in milliseconds [default: 30000]
    #[arg(long, value_name = "MS")]
    pub(crate) join_timeout_ms: Option<Within<100, 3_600_000>>,
    /// Loopback TCP address of the admin socket [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<AdminAddress>,
}

impl NodeSettings {
    /// Reads a file. Relative paths in it are meant from the working directory, as on the command line.
    ///
    /// # Errors
    /// [`Failure`] with the key, line, column and rule.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |why: String| Failure::new(Exit::Config, why);
        let unreadable = |error: std::io::Error| {
            failed(format!(
                "configuration file ({}) cannot be read: {error}; --config names a readable TOML file; check the path and its permissions",
                path.display()
            ))
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_LEN {
            return Err(failed(format!(
                "configuration file ({}) is longer than {MAX_LEN} bytes; a configuration is short; check the path",
                path.display()
            )));
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let before = error.as_bytes().get(..valid).unwrap_or(&[]);
                let (line, column) = line_and_column(&String::from_utf8_lossy(before), valid);
                return Err(failed(format!(
                    "configuration ({}, line {line}, column {column}); TOML is UTF-8 text; save the file as UTF-8",
                    path.display()
                )));
            }
        };
        Self::parse(&text).map_err(|wrong| {
            let key = match wrong.key {
                Some(key) => format!("configuration key `{key}`"),
                None => "configuration".to_owned(),
            };
            failed(format!(
                "{key} ({}, line {}, column {}); {}",
                path.display(),
                wrong.line,
                wrong.column,
                wrong.rule
            ))
        })
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            let (line, column) = line_and_column(text, at.start);
            Wrong {
                key: key_at(text, &at),
                line,
                column,
                rule: error.message().split('\n').collect::<Vec<_>>().join(", "),
            }
        })
    }

    /// These settings, and those of `file` where these say nothing.
    pub(crate) fn or(self, file: Self) -> Self {
        fn list<T>(flags: Vec<T>, file: Vec<T>) -> Vec<T> {
            if flags.is_empty() { file } else { flags }
        }
        Self {
            region: self.region.or(file.region),
            name: self.name.or(file.name),
            parent: self.parent.or(file.parent),
            listen: self.listen.or(file.listen),
            advertise: list(self.advertise, file.advertise),
            join: list(self.join, file.join),
            discover: list(self.discover, file.discover),
            discover_dns: list(self.discover_dns, file.discover_dns),
            discover_file: list(self.discover_file, file.discover_file),
            discover_env: list(self.discover_env, file.discover_env),
            discover_every: self.discover_every.or(file.discover_every),
            data_dir: self.data_dir.or(file.data_dir),
            ca_dir: self.ca_dir.or(file.ca_dir),
            link: list(self.link, file.link),
            root_candidates: list(self.root_candidates, file.root_candidates),
            election_timeout_ms: self.election_timeout_ms.or(file.election_timeout_ms),
            nearest: self.nearest.or(file.nearest),
            topology: self.topology.or(file.topology),
            max_links_out: self.max_links_out.or(file.max_links_out),
            max_links_in: self.max_links_in.or(file.max_links_in),
            dial_only: self.dial_only || file.dial_only,
            coordinates: self.coordinates.or(file.coordinates),
            dial: list(self.dial, file.dial),
            arbiters: self.arbiters.or(file.arbiters),
            task_threads: self.task_threads.or(file.task_threads),
            mtu_upper: self.mtu_upper.or(file.mtu_upper),
            session_timeout_ms: self.session_timeout_ms.or(file.session_timeout_ms),
            join_timeout_ms: self.join_timeout_ms.or(file.join_timeout_ms),
            admin_listen: self.admin_listen.or(file.admin_listen),
        }
    }
}

/// What is wrong with a file, and where.
#[derive(Debug)]
struct Wrong {
    key: Option<String>,
    line: usize,
    column: usize,
    rule: String,
}

/// The key that a place in the text belongs to; none where the text is no TOML at that place.
fn key_at(text: &str, at: &Range<usize>) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let holds =
        |span: Range<usize>| span.start <= at.start && at.start < span.end.max(span.start + 1);
    let mut keys = table.get_ref().iter();
    keys.find(|(key, value)| holds(key.span()) || holds(value.span()))
        .map(|(key, _)| key.get_ref().to_string())
}

/// Both counted from 1, columns in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before: String =
        text.char_indices().take_while(|(at, _)| *at < offset).map(|(_, c)| c).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

const MAX_LEN: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: &str = r#"
region = 7
name = "eu-west"
parent = 1
listen = "0.0.0.0:4433"
advertise = ["a.example:4433", "b.example:4433"]
join = ["root.example:4433"]
discover = ["hub.example:4433"]
discover-dns = ["regions.example:4433"]
discover-file = ["/etc/fedist/peers"]
discover-env = ["FEDIST_PEERS"]
discover-every = 2000
data-dir = "/var/lib/fedist"
ca-dir = "/etc/fedist"
link = [2, 3]
root-candidates = [1, 2, 3]
election-timeout-ms = 3000
nearest = 0
topology = "1-2,2-3"
max-links-out = 20
max-links-in = 40
dial-only = true
coordinates = "50.1,-8.6"
dial = ["2=127.0.0.1:5000"]
arbiters = 2
task-threads = 3
mtu-upper = 6400
session-timeout-ms = 2000
join-timeout-ms = 5000
admin-listen = "127.0.0.1:9000"
"#;

    fn wrong(text: &str) -> Wrong {
        NodeSettings::parse(text).unwrap_err()
    }

    fn check(text: &str, key: Option<&str>, line: usize, column: usize, rule: &str) {
        let wrong = wrong(text);
        let found = (wrong.key.as_deref(), wrong.line, wrong.column);
        assert_eq!(found, (key, line, column), "{text}: {}", wrong.rule);
        assert!(wrong.rule.contains(rule), "{text}: {}", wrong.rule);
    }

    #[test]
    fn every_flag_is_a_key_of_the_file() {
        let settings = NodeSettings::parse(FULL).unwrap();
        assert_eq!(settings.region.as_ref().unwrap().get().get(), 7);
        let command = <NodeSettings as clap::Args>::augment_args(clap::Command::new("node"));
        let flags: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        assert_eq!(flags.len(), 29);
        for flag in flags {
            assert!(FULL.contains(&format!("\n{flag} = ")), "{flag}");
        }
    }

    #[test]
    fn a_flag_wins_and_the_file_fills_the_rest() {
        let file = NodeSettings::parse(FULL).unwrap();
        let flags = NodeSettings {
            region: Some("9".parse().unwrap()),
            link: vec!["5".parse().unwrap()],
            ..NodeSettings::default()
        };
        let merged = flags.or(file);
        assert_eq!(merged.region, Some("9".parse().unwrap()));
        assert_eq!(merged.link, vec!["5".parse().unwrap()]);
        assert_eq!(merged.parent, Some("1".parse().unwrap()));
        assert_eq!(merged.join.len(), 1);
        let merged = NodeSettings::default().or(NodeSettings::parse(FULL).unwrap());
        assert_eq!(merged, NodeSettings::parse(FULL).unwrap());
    }

    #[test]
    fn errors_name_key_line_column_and_rule() {
        check("region = 0", Some("region"), 1, 10, "numbered 1..=65534");
        check("\nregion = 70000", Some("region"), 2, 10, "numbered 1..=65534");
        check("region = \"7\"", Some("region"), 1, 10, "a region number 1..=65534");
        check("parent = -1", Some("parent"), 1, 10, "numbered 1..=65534");
        check("region = 1\nregoin = 2", Some("regoin"), 2, 1, "unknown field `regoin`, expected");
        check("name = \"Eu\"", Some("name"), 1, 8, "a-z");
        check("link = [\n 2,\n 0\n]", Some("link"), 1, 8, "numbered 1..=65534");
        check("arbiters = 0", Some("arbiters"), 1, 12, "1..=256");
        check("arbiters = -1", Some("arbiters"), 1, 12, "1..=256");
        check("arbiters = \"x\"", Some("arbiters"), 1, 12, "1..=256");
        check("admin-listen = \"0.0.0.0:1\"", Some("admin-listen"), 1, 16, "loopback");
        check("coordinates = \"91,0\"", Some("coordinates"), 1, 15, "-90..=90");
        check("topology = \"rign\"", Some("topology"), 1, 12, "topology (rign) is unknown");
        check("topology = \"1-2,3-3\"", Some("topology"), 1, 12, "joins a region with itself");
        check("max-links-in = 500", Some("max-links-in"), 1, 16, "0..=128");
        check("dial = [\"2:x\"]", Some("dial"), 1, 8, "N=HOST:PORT");
        check("listen = \"nowhere\"", Some("listen"), 1, 10, "host:port");
        check("discover-dns = [\"regions\"]", Some("discover-dns"), 1, 16, "host:port");
        check("discover-every = 1", Some("discover-every"), 1, 18, "10..=86400000");
        check("join = \"root:1\"", Some("join"), 1, 8, "expected a sequence");
    }

    #[test]
    fn text_that_is_no_toml_is_placed_too() {
        let wrong = wrong("region = 1\nname = \"a");
        assert_eq!(wrong.line, 2, "{wrong:?}");
        assert!(!wrong.rule.is_empty());
        assert_eq!(self::wrong("a = 1\na = 2").line, 2);
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("aé\nüb", 5), (2, 2));
        assert_eq!(line_and_column("", 0), (1, 1));
        assert_eq!(line_and_column("x", 99), (1, 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_text_makes_it_panic(text in "[a-z=\\[\\]\"0-9\n.,é#{} -]{0,60}") {
            let _ = NodeSettings::parse(&text);
        }

        #[test]
        fn no_damage_to_a_good_file_makes_it_panic(at in 0..FULL.len(), to in any::<char>()) {
            let mut text: Vec<char> = FULL.chars().collect();
            text[at] = to;
            let text: String = text.into_iter().collect();
            if let Err(wrong) = NodeSettings::parse(&text) {
                prop_assert!(wrong.line <= text.lines().count() + 1);
            }
        }
    }
}
