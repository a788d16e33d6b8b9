//! How this host reaches the world, as it was told itself: the proxy in front of it, and the
//! certificate authorities that it was given beside the usual ones.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use egress::{control::UpstreamProxy, secret::SecretText};

/// Where an administrator puts a company's certificate authorities, on Debian's kin and Red Hat's.
const ANCHORS: [&str; 2] = ["/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors"];
/// Where distributions keep all authorities together. Gateways read them by themselves, and what was
/// added to them is in the folders above.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Authorities beyond these are left out.
const ROOTS_MAX: usize = 512;
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How gateways reach the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uplink {
    pub(crate) proxy: Option<UpstreamProxy>,
    /// DER; without those that every host has.
    pub(crate) roots: Vec<Vec<u8>>,
}

impl Uplink {
    /// From the server's environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`) and
    /// the host's own certificate authorities.
    pub(crate) fn of_host(variable: impl Fn(&str) -> Option<String>) -> Self {
        let anchors: Vec<PathBuf> = ANCHORS.iter().flat_map(|folder| files_in(folder)).collect();
        let named = variable("SSL_CERT_FILE").map(PathBuf::from);
        let bundles = BUNDLES.map(PathBuf::from);
        Self { proxy: proxy(variable), roots: roots(&anchors, named.as_slice(), &bundles) }
    }
}

/// The proxy for `https`, which all connections go through.
fn proxy(variable: impl Fn(&str) -> Option<String>) -> Option<UpstreamProxy> {
    let first = |names: &[&str]| {
        names.iter().find_map(|name| variable(name).filter(|value| !value.trim().is_empty()))
    };
    let url = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?;
    let except = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
    let except: Vec<String> =
        except.split(',').map(suffix).filter(|name| !name.is_empty()).collect();
    if except.iter().any(|name| name == "*") {
        return None;
    }
    let parsed = parse(url.trim(), except);
    if parsed.is_none() {
        // Without the URL: it may hold a password.
        tracing::error!(
            "the proxy of the environment is none that gateways can use (http://HOST:PORT)"
        );
    }
    parsed
}

/// `.example.com`, `*.example.com` and `example.com` all mean the name and what is below it.
fn suffix(entry: &str) -> String {
    let entry = entry.trim();
    let name = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
    name.trim_start_matches('.').to_ascii_lowercase()
}

fn parse(url: &str, except: Vec<String>) -> Option<UpstreamProxy> {
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => return None,
        None => url,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (credentials, place) = match authority.rsplit_once('@') {
        Some((credentials, place)) => (Some(percent_decoded(credentials)?), place),
        None => (None, authority),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (place, 80),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (!host.is_empty() && host.bytes().all(plain)).then(|| UpstreamProxy {
        host,
        port,
        credentials: credentials.map(SecretText::new),
        except,
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

fn files_in(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// The certificates in these files, each once. What an administrator named is often the usual ones
/// and one more; those that are in a bundle too are left out of it.
fn roots(anchors: &[PathBuf], named: &[PathBuf], bundles: &[PathBuf]) -> Vec<Vec<u8>> {
    let all = |files: &[PathBuf]| -> Vec<Vec<u8>> {
        files.iter().flat_map(|file| certificates(&read(file))).collect()
    };
    let usual: BTreeSet<Vec<u8>> = all(bundles).into_iter().collect();
    let beside = all(named).into_iter().filter(|certificate| !usual.contains(certificate));
    let mut seen = BTreeSet::new();
    let found = all(anchors).into_iter().chain(beside);
    found.filter(|certificate| seen.insert(certificate.clone())).take(ROOTS_MAX).collect()
}

fn read(path: &Path) -> String {
    let is_file =
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= FILE_BYTES_MAX);
    let text = is_file.then(|| std::fs::read(path).ok()).flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// The certificates of a PEM file, as DER. What is none is passed over.
fn certificates(pem: &str) -> Vec<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let blocks = pem.split(BEGIN).skip(1);
    let bodies = blocks.filter_map(|block| Some(block.split_once("-----END CERTIFICATE-----")?.0));
    let bodies = bodies.map(|body| body.split_ascii_whitespace().collect::<String>());
    bodies.filter_map(|body| BASE64_STANDARD.decode(body).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_of(variables: &[(&str, &str)]) -> Option<UpstreamProxy> {
        proxy(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_proxy_is_read_as_other_programs_read_it() {
        let place = |url: &str| proxy_of(&[("HTTPS_PROXY", url)]).map(|it| (it.host, it.port));
        let table = [
            ("http://proxy.test:3128", Some(("proxy.test", 3128))),
            ("HTTP://Proxy.Test:3128/", Some(("proxy.test", 3128))),
            ("proxy.test:3128", Some(("proxy.test", 3128))),
            ("http://proxy.test", Some(("proxy.test", 80))),
            ("http://10.0.0.1:8080", Some(("10.0.0.1", 8080))),
            ("http://[::1]:8080", Some(("::1", 8080))),
            ("http://[::1]", Some(("::1", 80))),
            ("socks5://proxy.test:1080", None),
            ("https://proxy.test:443", None),
            ("http://proxy.test:99999", None),
            ("http://:3128", None),
            ("http://a%zz@proxy.test:3128", None),
            ("http://proxy.test\r\nx:80", None),
            ("", None),
        ];
        for (url, expected) in table {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(place(url), expected, "{url}");
        }
    }

    #[test]
    fn a_password_is_taken_and_not_shown() {
        let proxy = proxy_of(&[("https_proxy", "http://me:p%40ss%C3%A4@proxy.test:3128")]).unwrap();
        assert_eq!(proxy.credentials.as_ref().unwrap().expose(), "me:p@ssä");
        assert!(!format!("{proxy:?}").contains("p@ss"));
    }

    #[test]
    fn some_names_are_reached_without_it() {
        let url = ("ALL_PROXY", "http://proxy.test:3128");
        let except = |list| proxy_of(&[url, ("NO_PROXY", list)]).map(|proxy| proxy.except);
        assert_eq!(except(""), Some(vec![]));
        assert_eq!(
            except("localhost, .Internal.test,*.corp.test,,10.0.0.1"),
            Some(["localhost", "internal.test", "corp.test", "10.0.0.1"].map(str::to_owned).into())
        );
        assert_eq!(except("*"), None);
        let lower =
            proxy_of(&[("https_proxy", "http://a.test:1"), ("HTTPS_PROXY", "http://b.test:2")]);
        assert_eq!(lower.unwrap().host, "a.test");
    }

    #[test]
    fn certificates_are_found_in_what_else_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let pem = "text\n-----BEGIN CERTIFICATE-----\nAAEC\nAwQF\n-----END CERTIFICATE-----\n\
            -----BEGIN CERTIFICATE-----\nAA=\n-----END CERTIFICATE-----\n\
            -----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n\
            -----BEGIN CERTIFICATE-----\nBwg=\r\n-----END CERTIFICATE-----\n\
            -----BEGIN CERTIFICATE-----\ncut";
        let (one, two) = (folder.path().join("one.crt"), folder.path().join("two.crt"));
        std::fs::write(&one, pem).unwrap();
        std::fs::write(&two, pem).unwrap();
        let missing = folder.path().join("three.crt");
        let files = [one.clone(), two, missing, folder.path().to_owned()];
        let found = roots(&files, &[], &[]);
        assert_eq!(found, [vec![0, 1, 2, 3, 4, 5], vec![7, 8]]);

        let company = folder.path().join("company.crt");
        let more = "-----BEGIN CERTIFICATE-----\nCQ==\n-----END CERTIFICATE-----\n";
        std::fs::write(&company, format!("{pem}{more}")).unwrap();
        assert_eq!(roots(&[], &[company], &[one]), [vec![9]], "the usual ones are known");
    }
}
