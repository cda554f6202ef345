//! Addresses in an environment variable.

use super::{Discovery, DiscoveryError};

/// An environment variable with addresses, between commas or white space. It is read anew each time; a process may change its
/// own environment. One that is not set has no address.
#[derive(Clone, Debug)]
pub struct EnvVar {
    variable: String,
    name: String,
}

impl EnvVar {
    /// The variable of this name.
    pub fn new(variable: impl Into<String>) -> Self {
        let variable = variable.into();
        Self { name: format!("env {variable}"), variable }
    }
}

impl Discovery for EnvVar {
    fn name(&self) -> &str {
        &self.name
    }

    async fn discover(&mut self) -> Result<Vec<String>, DiscoveryError> {
        // The system's call panics on a name that no variable can have.
        let nameless = self.variable.is_empty() || self.variable.contains(['=', '\0']);
        let value = if nameless { None } else { std::env::var_os(&self.variable) };
        match value.map(|value| value.into_string()) {
            None => Ok(Vec::new()),
            Some(Ok(text)) => Ok(listed(&text)),
            Some(Err(_)) => Err(DiscoveryError::Unreadable {
                what: format!("environment variable {}", self.variable),
                detail: "it is not UTF-8".to_owned(),
            }),
        }
    }

    fn gone_after(&self) -> u32 {
        1
    }
}

fn listed(text: &str) -> Vec<String> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_between_commas_and_white_space() {
        assert_eq!(listed("a:1,b:2 c:3\n, d:4,,"), ["a:1", "b:2", "c:3", "d:4"]);
        assert!(listed(" , \t").is_empty());
    }

    #[tokio::test]
    async fn a_variable_that_is_not_set_or_cannot_be_has_no_address() {
        for variable in ["FEDIST_NO_SUCH_VARIABLE", "", "A=B", "a\0b"] {
            assert!(EnvVar::new(variable).discover().await.unwrap().is_empty(), "{variable:?}");
        }
        let text = EnvVar::new("CARGO_PKG_NAME").discover().await.unwrap();
        assert_eq!(
            text,
            ["fedist-actors"],
            "it is read; whether it is an address is not asked here"
        );
    }
}
