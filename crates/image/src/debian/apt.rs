//! The host's apt at work in folders of its own: no root needed, nothing of the host changed.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{SUITE, Sources, SourcesError};
use crate::architecture::Architecture;
use crate::program::{APT_CACHE, APT_GET, ProgramError};
use crate::progress::{Event, Progress};

/// apt itself tries again this often.
const RETRIES: u32 = 3;

/// See the module. The folders go when this is dropped.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: TempDir,
    options: Vec<String>,
}

/// What a package says of itself.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) version: String,
    pub(crate) depends: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum AptError {
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("could not prepare folders for apt")]
    Folders(#[source] io::Error),
    #[error("Debian's archive has no usable entry for the package {package}")]
    Package { package: String },
    #[error("apt downloaded no file for the package {package}")]
    NoFile { package: String },
}

impl Apt {
    /// Reads the package lists.
    pub(crate) fn new(
        architecture: Architecture,
        progress: Progress<'_>,
    ) -> Result<Self, AptError> {
        let sources = Sources::of_host()?;
        let folder = prepare_folders(&sources).map_err(AptError::Folders)?;
        let options = options(folder.path(), architecture);
        let apt = Self { folder, options };
        apt.get(&["update"], progress)?;
        Ok(apt)
    }

    pub(crate) fn show(&self, package: &str) -> Result<Package, AptError> {
        let arguments = self.options.iter().map(String::as_str);
        let arguments = arguments.chain(["show", "--no-all-versions", package]);
        let text = APT_CACHE.run(self.folder.path(), arguments)?;
        Package::parse(&text).ok_or_else(|| AptError::Package { package: package.to_owned() })
    }

    /// The `.deb` of a package, checked against the signed lists. It lives as long as `self`.
    pub(crate) fn download(
        &self,
        package: &str,
        version: &str,
        progress: Progress<'_>,
    ) -> Result<PathBuf, AptError> {
        self.get(&["download", &format!("{package}={version}")], progress)?;
        let prefix = format!("{package}_");
        let files = fs::read_dir(self.folder.path()).map_err(AptError::Folders)?;
        let mut names = files.filter_map(Result::ok).map(|item| item.path());
        let is_it = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&prefix) && name.ends_with(".deb")
        };
        names.find(is_it).ok_or_else(|| AptError::NoFile { package: package.to_owned() })
    }

    fn get(&self, words: &[&str], progress: Progress<'_>) -> Result<(), ProgramError> {
        let prepare = |command: &mut std::process::Command| {
            command.current_dir(self.folder.path());
            command.args(&self.options).args(["-q", "-o", "APT::Status-Fd=1"]).args(words);
        };
        APT_GET.stream(
            prepare,
            |_| {},
            |stdout| {
                for line in BufReader::new(stdout).lines() {
                    let line =
                        line.map_err(|source| ProgramError::Read { name: "apt-get", source })?;
                    if let Some(percent) = percent(&line) {
                        progress(Event::Percent(percent));
                    }
                }
                Ok(())
            },
        )
    }
}

/// Out of `dlstatus:1:42.5000:Retrieving file 1 of 1`.
fn percent(line: &str) -> Option<u8> {
    let share = line.strip_prefix("dlstatus:")?.split(':').nth(1)?;
    share.split('.').next()?.parse().ok()
}

/// In the system's folder for temporary files, where apt's own unprivileged user can go too.
fn prepare_folders(sources: &Sources) -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("fumehood-apt-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    for name in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.path().join(name))?;
    }
    fs::write(folder.path().join("status"), "")?;
    fs::write(folder.path().join("sources.list"), sources.list(SUITE))?;
    Ok(folder)
}

/// The host's own settings hold where these say nothing: proxies, certificates, credentials.
fn options(folder: &Path, architecture: Architecture) -> Vec<String> {
    let folder = folder.display();
    let debian = architecture.debian();
    let settings = [
        format!("Dir::State={folder}"),
        format!("Dir::State::status={folder}/status"),
        format!("Dir::State::lists={folder}/lists"),
        format!("Dir::Cache={folder}/cache"),
        format!("Dir::Etc::sourcelist={folder}/sources.list"),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        "Dir::Etc::preferences=/dev/null".to_owned(),
        "Dir::Etc::preferencesparts=/dev/null".to_owned(),
        format!("APT::Architecture={debian}"),
        format!("APT::Architectures={debian}"),
        "APT::Update::Error-Mode=any".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".to_owned(),
        format!("Acquire::Retries={RETRIES}"),
    ];
    settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect()
}

impl Package {
    /// The first paragraph of `apt-cache show`; alternatives and versions of dependencies are cut.
    fn parse(text: &str) -> Option<Self> {
        let paragraph = text.split("\n\n").next()?;
        let field = |name: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let depends = field("Depends").unwrap_or_default().split(',');
        let names = depends.filter_map(|item| item.split_whitespace().next());
        Some(Self {
            version: field("Version")?.to_owned(),
            depends: names.map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_is_read_from_its_first_paragraph() {
        let text = "Package: a\nVersion: 6.12.1-1\nDepends: b (= 6.12.1-1), c | d\n\n\
                    Package: a\nVersion: 5\n";
        let package = Package::parse(text).unwrap();
        assert_eq!(package.version, "6.12.1-1");
        assert_eq!(package.depends, ["b", "c"]);
        assert!(Package::parse("Package: a\n").is_none());
    }

    #[test]
    fn percent_is_read_from_status_lines_alone() {
        assert_eq!(percent("dlstatus:1:42.5000:Retrieving file 1 of 1"), Some(42));
        assert_eq!(percent("Get:1 http://example.org trixie"), None);
        assert_eq!(percent("dlstatus:1"), None);
    }
}
