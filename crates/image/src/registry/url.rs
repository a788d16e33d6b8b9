//! Addresses of registries, and of what they lead to.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// Longer ones are not followed; those of blob stores, with their signatures, have some 2000.
const URL_BYTES_MAX: usize = 16 << 10;

/// An `http` or `https` address, without a user and without a fragment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    scheme: Scheme,
    /// In lowercase, an IPv6 address with its brackets.
    host: String,
    port: u16,
    /// With its query; begins with a slash.
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("an address has more than {URL_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0:?} is no address of a registry (https://HOST[:PORT])")]
    Form(String),
}

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Url {
    /// An absolute address.
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        // Only what cannot be a secret goes into the error.
        let fault = || UrlError::Form(text.split(['?', '@']).next().unwrap_or_default().to_owned());
        let text = text.split('#').next().unwrap_or_default();
        let uri: Uri = text.parse().map_err(|_invalid| fault())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) | None => return Err(fault()),
        };
        let authority = uri.authority().ok_or_else(fault)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(fault());
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => scheme.default_port(),
            Some(port) => port[1..].parse().map_err(|_invalid| fault())?,
            None => return Err(fault()),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, host: authority.host().to_ascii_lowercase(), port, path })
    }

    /// The root of a registry, which is named as in a reference.
    pub(super) fn of_registry(name: &str, scheme: Scheme) -> Result<Self, UrlError> {
        Self::parse(&format!("{}://{name}/", scheme.name()))
    }

    /// Where a `Location` leads from here.
    pub(super) fn join(&self, location: &str) -> Result<Self, UrlError> {
        if location.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme.name()));
        }
        if location.starts_with('/') {
            return Self::parse(&format!("{}{location}", self.origin()));
        }
        Self::parse(location)
    }

    /// The same place with this path, which begins with a slash, below the path that it has.
    pub(super) fn below(&self, path: &str) -> Result<Self, UrlError> {
        Self::parse(&format!("{}{}{path}", self.origin(), self.path.trim_end_matches('/')))
    }

    /// The same place with one more field in its query.
    pub(super) fn with_field(&self, name: &str, value: &str) -> Result<Self, UrlError> {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        Self::parse(&format!("{}{}{mark}{name}={}", self.origin(), self.path, encoded(value)))
    }

    pub(super) fn with_scheme(&self, scheme: Scheme) -> Self {
        // A port that was written stays.
        let is_default = self.port == self.scheme.default_port();
        let port = if is_default { scheme.default_port() } else { self.port };
        Self { scheme, port, ..self.clone() }
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Without brackets.
    pub(super) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// For the `Host` header and for messages: with the port where it is not the scheme's.
    pub(super) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Path and query.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn origin(&self) -> String {
        format!("{}://{}", self.scheme.name(), self.authority())
    }

    /// Whether credentials for one may go to the other.
    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        (self.scheme, self.port, &self.host) == (other.scheme, other.port, &other.host)
    }

    /// Whether the address by itself says that it is this computer.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }
}

/// `localhost`, 127.0.0.0/8 and ::1; other names are not looked up.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Without the query, which may be a signature that opens what it leads to.
impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(out, "{}{path}", self.origin())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A value of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        // What is parsed, authority, path, and where it leads with what is behind the arrow.
        let table = [
            ("https://a.b", "a.b", "/"),
            ("https://A.b:443/x?y=z#w", "a.b", "/x?y=z"),
            ("http://a.b:443", "a.b:443", "/"),
            ("http://[::1]:5000/v2/", "[::1]:5000", "/v2/"),
            ("https://a.b?x=1", "a.b", "/?x=1"),
        ];
        for (text, authority, path) in table {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.authority().as_str(), url.path()), (authority, path), "{text}");
        }
        for text in [
            "",
            "a.b",
            "ftp://a",
            "https://",
            "https://u:p@a.b/",
            "https://a.b:",
            "https://a.b:x",
            "/x",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        let fault = Url::parse("https://user:pass@a.b/").unwrap_err().to_string();
        assert!(!fault.contains("pass@"), "{fault}");
    }

    #[test]
    fn where_a_location_leads() {
        let from = Url::parse("https://r.example:5000/v2/x/blobs/d").unwrap();
        let table = [
            ("/y?z=1", Some("https://r.example:5000/y?z=1"), true),
            ("https://r.example:5000/y", Some("https://r.example:5000/y"), true),
            ("https://r.example/y", Some("https://r.example/y"), false),
            ("http://r.example:5000/y", Some("http://r.example:5000/y"), false),
            ("//cdn.example/y", Some("https://cdn.example/y"), false),
            ("y", None, false),
            ("file:///etc/passwd", None, false),
        ];
        for (location, to, same) in table {
            let found = from.join(location).ok();
            let shown = found.as_ref().map(|url| format!("{}{}", url.origin(), url.path()));
            assert_eq!(shown.as_deref(), to, "{location}");
            assert_eq!(found.is_some_and(|url| url.is_same_origin(&from)), same, "{location}");
        }
        let signed = from.join("https://cdn.example/y?sig=secret").unwrap();
        assert!(!format!("{signed} {signed:?}").contains("secret"));
    }

    #[test]
    fn who_is_this_computer() {
        for (host, expected) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("localhost.example", false),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
