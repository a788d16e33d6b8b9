//! What a registry asks for when it answers 401: `WWW-Authenticate`, RFC 9110 section 11.

/// A way to show who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// A token from `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Longer headers are not read.
const HEADER_BYTES_MAX: usize = 8 << 10;

/// The way that we take of those that the headers offer: a token if possible. Unknown ones are
/// passed over.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut found = None;
    for header in headers.filter(|header| header.len() <= HEADER_BYTES_MAX) {
        for (scheme, parameters) in challenges(header) {
            let value = |name: &str| {
                let mut all = parameters.iter();
                all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = value("realm")
            {
                return Some(Challenge::Bearer {
                    realm,
                    service: value("service"),
                    scope: value("scope"),
                });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                found = Some(Challenge::Basic);
            }
        }
    }
    found
}

type Parameters = Vec<(String, String)>;

/// Each scheme with its parameters. Reading stops where the header makes no sense.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut all: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        let spaceless = after.trim_start_matches([' ', '\t']);
        rest = match spaceless.strip_prefix('=') {
            Some(value) => {
                let Some((value, after)) = value_of(value.trim_start_matches([' ', '\t'])) else {
                    break;
                };
                if let Some((_, parameters)) = all.last_mut() {
                    parameters.push((word.to_owned(), value));
                }
                after
            }
            None => {
                all.push((word.to_owned(), Vec::new()));
                after
            }
        };
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    all
}

/// A quoted string or a token, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: own(service),
            scope: own(scope),
        })
    }

    #[test]
    fn challenges_of_registries() {
        let table = [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/python:pull""#,
                bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/python:pull"),
                ),
            ),
            (r#"bearer  realm = "https://a" , error="x""#, bearer("https://a", None, None)),
            (r#"Bearer realm="a\"b",service=plain"#, bearer("a\"b", Some("plain"), None)),
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            (r#"Basic realm="r", Bearer realm="https://t""#, bearer("https://t", None, None)),
            (r#"Negotiate, Basic realm=r"#, Some(Challenge::Basic)),
            ("Negotiate", None),
            ("Bearer service=x", None),
            (r#"Bearer realm="unended"#, None),
            ("", None),
            ("===", None),
        ];
        for (header, expected) in table {
            assert_eq!(choose([header].into_iter()), expected, "{header}");
        }
        assert_eq!(choose(["Basic", r#"Bearer realm="r""#].into_iter()), bearer("r", None, None));
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_an_end(header in "(Bearer|Basic|[a-z]{1,3}|[ ,=\"\\\\]|\\PC){0,30}") {
            choose([header.as_str()].into_iter());
        }
    }
}
