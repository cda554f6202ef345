//! The values of settings. Each reads the same text on the command line and in the file, and is
//! refused with the same rule.

use std::{fmt, net::SocketAddr, str::FromStr};

use fedist::{
    RegionId,
    registry::{Coordinates, IdError, RegionRecord, Topology, TopologyError},
};
use serde::{Deserialize, Deserializer, de};

/// A region's number; an integer in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegionNumber(RegionId);

impl RegionNumber {
    pub(crate) fn get(self) -> RegionId {
        self.0
    }
}

impl FromStr for RegionNumber {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

impl<'de> Deserialize<'de> for RegionNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        integer(deserializer, "a region number 1..=65534", |value| {
            let id = u16::try_from(value).ok().and_then(|id| RegionId::new(id).ok());
            id.map(Self).ok_or_else(|| {
                format!("region id {value} is out of range; regions are numbered 1..=65534; choose another number")
            })
        })
    }
}

/// A whole number between two bounds, both allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Within<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Within<MIN, MAX> {
    pub(crate) fn get(self) -> u32 {
        self.0
    }

    fn check(value: i64) -> Result<Self, String> {
        match u32::try_from(value) {
            Ok(value) if (MIN..=MAX).contains(&value) => Ok(Self(value)),
            _ => Err(Self::refusal(&value)),
        }
    }

    fn refusal(value: &dyn fmt::Display) -> String {
        format!("{value} is not allowed; give a whole number in {MIN}..={MAX}")
    }
}

impl<const MIN: u32, const MAX: u32> FromStr for Within<MIN, MAX> {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let value = text.parse().map_err(|_| Malformed(Self::refusal(&text)))?;
        Self::check(value).map_err(Malformed)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = format!("a whole number in {MIN}..={MAX}");
        integer(deserializer, &expected, Self::check)
    }
}

/// `host:port`. Names are looked up when used, not here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct HostPort(String);

impl HostPort {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name and the port by themselves.
    pub(crate) fn split(&self) -> (&str, u16) {
        let (host, port) = self.0.rsplit_once(':').unwrap_or((&self.0, ""));
        (host, port.parse().unwrap_or(0))
    }
}

impl FromStr for HostPort {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let host = text
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map(|(host, _)| host);
        let bracketed = |host: &str| host.starts_with('[') && host.ends_with(']');
        let good = |host: &str| {
            !host.is_empty()
                && (!host.contains(':') || bracketed(host))
                && !host.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if host.is_some_and(good) && text.len() <= RegionRecord::MAX_ADDRESS_LEN {
            return Ok(Self(text.to_owned()));
        }
        Err(Malformed(format!(
            "malformed address '{}'; an address is host:port; write e.g. 127.0.0.1:4433 or [::1]:4433",
            text.escape_debug()
        )))
    }
}

/// `N=HOST:PORT`: where to dial a region.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Dial {
    pub(crate) region: RegionId,
    pub(crate) address: HostPort,
}

impl FromStr for Dial {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let Some((region, address)) = text.split_once('=') else {
            return Err(Malformed(format!(
                "malformed dial '{}'; expected the form N=HOST:PORT; write e.g. 2=127.0.0.1:4433",
                text.escape_debug()
            )));
        };
        Ok(Self {
            region: region.parse().map_err(|error: IdError| Malformed(error.to_string()))?,
            address: address.parse()?,
        })
    }
}

/// `LAT,LON` in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Place(Coordinates);

impl Place {
    pub(crate) fn get(self) -> Coordinates {
        self.0
    }
}

impl FromStr for Place {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let degrees = |text: &str| text.trim().parse::<f64>().ok();
        let place = text
            .split_once(',')
            .and_then(|(lat, lon)| Coordinates::new(degrees(lat)?, degrees(lon)?));
        place.map(Self).ok_or_else(|| {
            Malformed(format!(
                "malformed coordinates '{}'; expected LAT,LON in degrees, -90..=90 and -180..=180; write e.g. 50.1,8.7",
                text.escape_debug()
            ))
        })
    }
}

/// Where the admin socket listens: an address of this machine that no other can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct AdminAddress(SocketAddr);

impl AdminAddress {
    pub(crate) fn get(self) -> SocketAddr {
        self.0
    }
}

impl Default for AdminAddress {
    fn default() -> Self {
        Self(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

impl FromStr for AdminAddress {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self(address)),
            _ => Err(Malformed(format!(
                "admin address '{}' is refused; the admin socket listens on loopback only; write 127.0.0.1:PORT or [::1]:PORT",
                text.escape_debug()
            ))),
        }
    }
}

/// The shape of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Shape(Topology);

impl Shape {
    pub(crate) fn into_inner(self) -> Topology {
        self.0
    }
}

impl FromStr for Shape {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.parse().map(Self).map_err(|error: TopologyError| Malformed(error.to_string()))
    }
}

/// A value that is refused, by which rule, and what to write instead. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(String);

macro_rules! read_as_text {
    ($($value:ty)*) => {$(
        impl TryFrom<String> for $value {
            type Error = Malformed;

            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }
    )*};
}

read_as_text!(HostPort Dial Place AdminAddress Shape);

/// Reads an integer of the file; `expected` is said where it is something else.
fn integer<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    check: impl FnOnce(i64) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Visitor<'a>(&'a str);

    impl de::Visitor<'_> for Visitor<'_> {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<i64, E> {
            Ok(value)
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<i64, E> {
            Ok(i64::try_from(value).unwrap_or(i64::MAX))
        }
    }

    let value = deserializer.deserialize_i64(Visitor(expected))?;
    check(value).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["127.0.0.1:0", "root.example:4433", "[::1]:1"] {
            assert_eq!(good.parse::<HostPort>().unwrap().as_str(), good);
        }
        for bad in ["", ":1", "host", "host:", "host:70000", "::1:1", "ho st:1", "a\n:1"] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad:?}");
        }
        assert!(format!("{}:1", "x".repeat(300)).parse::<HostPort>().is_err());
    }

    #[test]
    fn the_admin_socket_is_never_reachable_from_outside() {
        for good in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:5"] {
            assert!(good.parse::<AdminAddress>().is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:0", "192.168.0.1:1", "[::]:1", "localhost:1", "127.0.0.1", ""] {
            assert!(bad.parse::<AdminAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_stay_in_their_bounds() {
        type Small = Within<1, 8>;
        assert_eq!("8".parse::<Small>().unwrap().get(), 8);
        for bad in ["0", "9", "-1", "x", "", "99999999999999999999"] {
            let error = bad.parse::<Small>().unwrap_err().to_string();
            assert!(error.contains("1..=8"), "{error}");
        }
    }

    #[test]
    fn places_and_dials_read_back() {
        assert_eq!("50.1, -8.5".parse::<Place>().unwrap().get().lon, -8.5);
        for bad in ["", "1", "1,", "91,0", "nan,0", "1,2,3"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        assert_eq!("2=a:1".parse::<Dial>().unwrap().region.get(), 2);
        for bad in ["", "2", "0=a:1", "2=", "=a:1", "2=a"] {
            assert!(bad.parse::<Dial>().is_err(), "{bad}");
        }
    }
}
