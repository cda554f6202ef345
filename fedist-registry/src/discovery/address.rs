//! What an address looks like.

use thiserror::Error;

use crate::{RegionRecord, id_error::Excerpt};

/// Why a text is no address. Never retry.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "malformed address ({text}); an address is host:port, an IPv6 host in brackets, the port not 0; write e.g. 192.0.2.7:4433 or [2001:db8::7]:4433"
)]
pub struct BadAddress {
    /// The beginning of the text.
    pub text: Excerpt,
}

/// Whether a text can be dialed: `host:port`. Names are not looked up.
///
/// # Errors
/// [`BadAddress`].
pub fn check_address(text: &str) -> Result<(), BadAddress> {
    let host = text
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()))
        .filter(|(_, port)| matches!(port.parse::<u16>(), Ok(1..)))
        .map(|(host, _)| host);
    let bracketed = |host: &str| host.len() > 2 && host.starts_with('[') && host.ends_with(']');
    let good = |host: &str| {
        !host.is_empty()
            && (!host.contains([':', '[', ']']) || bracketed(host))
            && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',')
    };
    match host.is_some_and(good) && text.len() <= RegionRecord::MAX_ADDRESS_LEN {
        true => Ok(()),
        false => Err(BadAddress { text: Excerpt::new(text) }),
    }
}
