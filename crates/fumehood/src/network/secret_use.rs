//! What `--secret` takes: `NAME@HOST[,HOST…]`.

use std::str::FromStr;

use egress::policy::HostPattern;
use egress::secret::{InvalidSecretName, SecretName};

use super::destination::{Destination, InvalidDestination, Name};

/// A stored secret and the hosts that it is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretUse {
    pub(crate) secret: SecretName,
    pub(crate) hosts: Vec<Name>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidSecretUse {
    #[error("say where the secret goes: NAME@HOST, such as GITHUB_TOKEN@api.github.com")]
    NoHost,
    #[error(transparent)]
    Name(#[from] InvalidSecretName),
    #[error(transparent)]
    Host(#[from] InvalidDestination),
    #[error("a secret goes to hosts by name, and {0} is none")]
    NotByName(String),
    #[error("a secret for every host is a secret for nobody: name the hosts it is meant for")]
    Everybody,
}

impl FromStr for SecretUse {
    type Err = InvalidSecretUse;

    fn from_str(text: &str) -> Result<Self, InvalidSecretUse> {
        let (secret, hosts) = text.split_once('@').ok_or(InvalidSecretUse::NoHost)?;
        if hosts.is_empty() {
            return Err(InvalidSecretUse::NoHost);
        }
        let secret = SecretName::parse(secret)?;
        let hosts = hosts.split(',').map(host).collect::<Result<_, _>>()?;
        Ok(Self { secret, hosts })
    }
}

fn host(text: &str) -> Result<Name, InvalidSecretUse> {
    match text.parse()? {
        Destination::Name(name) if name.pattern == HostPattern::Any => {
            Err(InvalidSecretUse::Everybody)
        }
        Destination::Name(name) => Ok(name),
        Destination::Subnet(_) | Destination::Preset(_) => {
            Err(InvalidSecretUse::NotByName(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken() {
        let name =
            |pattern: &str, port| Name { pattern: HostPattern::parse(pattern).unwrap(), port };
        for (text, secret, hosts) in [
            ("KEY@api.example.com", "KEY", vec![name("api.example.com", None)]),
            ("K@a.test,b.test:8443", "K", vec![name("a.test", None), name("b.test", Some(8443))]),
            ("K@*.a.test", "K", vec![name("*.a.test", None)]),
        ] {
            let secret = SecretName::parse(secret).unwrap();
            assert_eq!(text.parse(), Ok(SecretUse { secret, hosts }), "{text}");
        }
    }

    #[test]
    fn what_is_refused_says_what_would_do() {
        for (text, words) in [
            ("KEY", "NAME@HOST"),
            ("KEY@", "NAME@HOST"),
            ("@a.test", "not a secret's name"),
            ("KEY=v@a.test", "not a secret's name"),
            ("KEY@*", "every host"),
            ("KEY@*:443", "every host"),
            ("KEY@10.0.0.0/8", "by name"),
            ("KEY@@registries-read", "by name"),
            ("KEY@https://a.test/x", "host alone"),
            ("KEY@a.test,", "empty"),
        ] {
            let fault = text.parse::<SecretUse>().unwrap_err().to_string();
            assert!(fault.contains(words), "{text}: {fault}");
        }
    }
}
