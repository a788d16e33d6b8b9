//! What of a build's context stays here, as `.dockerignore` says it.

use std::path::Path;

use regex::Regex;

/// The lines of a `.dockerignore`. The last that matches a path, or a folder that it is in, decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignored {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    path: Regex,
    /// `!`: what it matches goes along after all.
    goes: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("line {line} of the .dockerignore is no pattern")]
pub(crate) struct IgnoredError {
    line: usize,
    source: regex::Error,
}

impl Ignored {
    pub(crate) fn parse(text: &str) -> Result<Self, IgnoredError> {
        let mut rules = Vec::new();
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (goes, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (true, pattern.trim()),
                None => (false, line),
            };
            let names = pattern.split('/').filter(|name| !matches!(*name, "" | "."));
            let pattern = names.collect::<Vec<_>>().join("/");
            if pattern.is_empty() {
                continue;
            }
            let path = Regex::new(&expression(&pattern));
            let path = path.map_err(|source| IgnoredError { line: at + 1, source })?;
            rules.push(Rule { path, goes });
        }
        Ok(Self { rules })
    }

    /// Whether a path, relative to the context, stays here.
    pub(crate) fn stays(&self, path: &Path) -> bool {
        let whole = path.to_string_lossy();
        let ends = whole.match_indices('/').map(|(at, _)| at).chain([whole.len()]);
        let all: Vec<&str> = ends.map(|end| &whole[..end]).collect();
        let mut stays = false;
        for rule in &self.rules {
            if all.iter().any(|path| rule.path.is_match(path)) {
                stays = !rule.goes;
            }
        }
        stays
    }

    /// Whether something in a folder that stays here may go along after all.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.goes)
    }
}

/// `*` and `?` stop at a slash; `**` does not.
fn expression(pattern: &str) -> String {
    let mut text = String::from("^");
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let taken = if let Some(after) = rest.strip_prefix("**/") {
            text.push_str("(?:.*/)?");
            rest.len() - after.len()
        } else if rest.starts_with("**") {
            text.push_str(".*");
            2
        } else {
            match first {
                '*' => text.push_str("[^/]*"),
                '?' => text.push_str("[^/]"),
                '[' | ']' => text.push(first),
                '\\' => {
                    let next = rest[1..].chars().next().unwrap_or('\\');
                    text.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
                    rest = &rest[1..];
                    rest = rest.strip_prefix(next).unwrap_or(rest);
                    continue;
                }
                other => text.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
            }
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    text + "$"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays() {
        let text = "# comment\n\n/node_modules/\n*.log\n**/*.tmp\n!keep.log\ndocs/**\n!docs/README.md\n\
                    a?c\n[xy]z\ntemp*/one\n./b\\*r\n";
        let ignored = Ignored::parse(text).unwrap();
        for path in [
            "node_modules",
            "node_modules/a/b.js",
            "a.log",
            "a.tmp",
            "src/deep/a.tmp",
            "docs/a",
            "docs/sub/README.md",
            "abc",
            "xz",
            "yz/in",
            "temporary/one",
            "b*r",
        ] {
            assert!(ignored.stays(Path::new(path)), "{path}");
        }
        for path in [
            "src/node_modules",
            "src/a.log",
            "keep.log",
            "docs/README.md",
            "ac",
            "abbc",
            "zz",
            "temporary/two",
            "bar",
            "# comment",
        ] {
            assert!(!ignored.stays(Path::new(path)), "{path}");
        }
        assert!(ignored.has_exceptions());
        assert!(!Ignored::parse("a\nb").unwrap().has_exceptions());
        assert!(Ignored::parse("*").unwrap().stays(Path::new("Dockerfile")));
        assert!(Ignored::parse("[").is_err());
    }
}
