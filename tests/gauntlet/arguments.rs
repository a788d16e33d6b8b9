//! What `cargo test` hands on.

/// Which cases are run.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    names: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    pub(crate) what: What,
}

/// What is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum What {
    #[default]
    Run,
    /// Tells the names of the cases.
    List,
    /// Makes the world and keeps it until standard input ends, for trials by hand.
    Stay,
}

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => arguments.what = What::List,
                "--stay" => arguments.what = What::Stay,
                "--exact" => arguments.exact = true,
                "--skip" => arguments.skipped.extend(words.next()),
                // Cases are run one after another whatever is said, and nothing is captured.
                "--test-threads" | "--format" | "--color" => drop(words.next()),
                "--nocapture" | "--no-capture" | "--quiet" | "-q" | "--show-output" => {}
                _ if word.starts_with("--skip=") => {
                    arguments.skipped.extend(word.strip_prefix("--skip=").map(str::to_owned));
                }
                _ if word.starts_with("--test-threads=")
                    || word.starts_with("--format=")
                    || word.starts_with("--color=") => {}
                _ if word.starts_with('-') => return Err(format!("unknown option {word}")),
                _ => arguments.names.push(word),
            }
        }
        Ok(arguments)
    }

    pub(crate) fn select(&self, name: &str) -> bool {
        let fits = |wanted: &String| {
            if self.exact { name == wanted } else { name.contains(wanted.as_str()) }
        };
        let wanted = self.names.is_empty() || self.names.iter().any(fits);
        wanted && !self.skipped.iter().any(fits)
    }
}
