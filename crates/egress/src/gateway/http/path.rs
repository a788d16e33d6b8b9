//! Paths in one form, so that the path that a rule saw is the path that the host sees.

use http::Uri;

use super::query::{encoded_byte, is_unreserved};

/// The path has parts that a host may resolve to another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path has . or .. in it, or a backslash or NUL")]
pub(crate) struct Ambiguous;

/// Writes characters plainly that are encoded without need (`%61` is `a`, RFC 3986, 6.2.2.2).
/// `None` if there are none. Dots that lead up and down are refused, however they are written:
/// clients resolve them themselves.
pub(crate) fn normal(uri: &Uri) -> Result<Option<Uri>, Ambiguous> {
    let path = uri.path();
    let plain = plainly(path);
    let read = plain.as_deref().unwrap_or(path);
    let lower = read.to_ascii_lowercase();
    let dots = lower.replace("%2f", "/").split('/').any(|part| {
        // What is behind a semicolon is no part of the name for some hosts.
        let name = part.split(';').next().unwrap_or(part);
        name == "." || name == ".."
    });
    if dots || read.contains('\\') || lower.contains("%5c") || lower.contains("%00") {
        return Err(Ambiguous);
    }
    let Some(plain) = plain else { return Ok(None) };
    let mut parts = uri.clone().into_parts();
    let text = match uri.query() {
        Some(query) => format!("{plain}?{query}"),
        None => plain,
    };
    parts.path_and_query = Some(text.parse().map_err(|_error| Ambiguous)?);
    Uri::from_parts(parts).map(Some).map_err(|_error| Ambiguous)
}

fn plainly(path: &str) -> Option<String> {
    let mut bytes = path.as_bytes();
    let mut out = Vec::new();
    let mut changed = false;
    while let Some((&first, rest)) = bytes.split_first() {
        match encoded_byte(bytes).filter(|&byte| is_unreserved(byte)) {
            Some(byte) => {
                out.push(byte);
                bytes = &bytes[3..];
                changed = true;
            }
            None => {
                out.push(first);
                bytes = rest;
            }
        }
    }
    changed.then(|| String::from_utf8(out).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_form() {
        for (uri, form) in [
            ("/v1/files", Ok(None)),
            ("/@scope%2fname/-/name-1.0.0.tgz", Ok(None)),
            ("/a%20b?x=%61", Ok(None)),
            ("/%61dmin?x=%61", Ok(Some("/admin?x=%61"))),
            ("/%7euser/%2E%2e%2ex", Ok(Some("/~user/...x"))),
            ("/...", Ok(None)),
            ("/a//b", Ok(None)),
            ("*", Ok(None)),
            ("/a/../b", Err(Ambiguous)),
            ("/a/%2e%2E/b", Err(Ambiguous)),
            ("/a/..", Err(Ambiguous)),
            ("/./a", Err(Ambiguous)),
            ("/a/..;x/b", Err(Ambiguous)),
            ("/a%2f..%2Fb", Err(Ambiguous)),
            ("/a%5c..%5cb", Err(Ambiguous)),
            ("/a%00", Err(Ambiguous)),
            ("https://a.test/%61/..", Err(Ambiguous)),
        ] {
            let uri: Uri = uri.parse().unwrap();
            let form = form.map(|form| form.map(|text: &str| text.parse::<Uri>().unwrap()));
            assert_eq!(normal(&uri), form, "{uri}");
        }
    }
}
