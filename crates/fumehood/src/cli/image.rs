//! `fumehood image …`, and how a sandbox's image is named.

use std::path::PathBuf;
use std::time::Duration;

use api::PullPolicy;
use clap::{Args, Subcommand, ValueEnum};

use super::EnvOptions;
use crate::{duration, size};

/// What the help of a command that takes an image says of its name.
const NAMES: &str = "\
An image is named as with Docker (python:3.13, ghcr.io/org/app@sha256:...), or is one of these:
  default                  what `fumehood setup` makes
  debian:trixie            made of Debian's packages (bookworm, trixie, forky, sid)
  ./saved.tar              a file that `docker save` wrote, or OCI's layout as a tar file
  oci:./folder[:TAG]       a folder in OCI's layout

Credentials are those of `docker login`. Mirrors and registries without TLS are configured in
~/.config/fumehood/registries.json; registries on this computer need no TLS.";

/// Build, fetch, look at and remove images
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    Build(Box<super::ImageBuild>),
    Pull(ImagePull),
    Warm(ImageWarm),
    /// List the images here, and what they take of the disk
    Ls {
        /// Print an array of JSON objects, as the API has them
        #[arg(long)]
        json: bool,
    },
    /// Print all that is known of an image, as JSON
    Inspect {
        /// The image
        name: String,
    },
    Rm(ImageRm),
    Prune(ImagePrune),
    Push(ImagePush),
    Import(ImageImport),
    Save(ImageSave),
}

/// Make an image of a running sandbox's disk
///
/// The sandbox goes on; its programs wait to write while the disk is copied. The image has the layers
/// of the one that the sandbox stands on, and one of what is new; who the machine is (machine id, host
/// names, SSH host keys) and the certificates that it was given do not come along.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood commit $box me/app:2
  fumehood commit $box ghcr.io/me/app:2 --cmd 'python3 app.py' && fumehood image push ghcr.io/me/app:2

WORDS are words with spaces between them, or a JSON array of strings.")]
pub(crate) struct Commit {
    /// Print the image as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Variables of every command in it, over those that the image has
    #[command(flatten)]
    pub(crate) env: EnvOptions,

    /// Commands start in this folder [default: as before]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// Commands run as this user [default: as before]
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// The command of `run` without one [default: as before; none with --entrypoint]
    #[arg(long, value_name = "WORDS", value_parser = words)]
    pub(crate) cmd: Option<Words>,

    /// What commands are given to where that is asked for [default: as before]
    #[arg(long, value_name = "WORDS", value_parser = words)]
    pub(crate) entrypoint: Option<Words>,

    /// The sandbox
    pub(crate) sandbox: String,

    /// What to call the image, such as me/app:2
    pub(crate) name: String,
}

/// A command, word by word.
#[derive(Clone, Debug)]
pub(crate) struct Words(pub(crate) Vec<String>);

fn words(text: &str) -> Result<Words, serde_json::Error> {
    match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).map(Words),
        false => Ok(Words(text.split_whitespace().map(str::to_owned).collect())),
    }
}

/// Send an image to a registry
///
/// What the registry has is not sent again. Interrupted, it leaves what has been sent, and the next
/// push sends the rest. Prints the digest of the manifest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood image push ghcr.io/me/app:1
  fumehood image push me/app registry.example.com/team/app:2

Credentials are those of `docker login`. Mirrors are not asked.")]
pub(crate) struct ImagePush {
    /// Print what was pushed as JSON: target, digest, and how many bytes were sent
    #[arg(long)]
    pub(crate) json: bool,

    /// The image, by name or by the first digits of its digest
    pub(crate) name: String,

    /// What to call it, and where [default: its name]
    #[arg(value_name = "TARGET")]
    pub(crate) target: Option<String>,
}

/// Take in an image of a file or folder, under a name
///
/// Without a name it is called after its file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  docker save me/app | gzip > app.tar.gz; fumehood image import app.tar.gz me/app
  fumehood image import oci:./layout:v1 me/app:v1")]
pub(crate) struct ImageImport {
    /// Print the image as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The file or folder; also as oci:FOLDER[:TAG], oci-archive:FILE or docker-archive:FILE
    pub(crate) source: String,

    /// What to call it, such as me/app:1
    pub(crate) name: Option<String>,
}

/// Write an image into a tar file that `docker load`, podman and skopeo read
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood image save me/app -o app.tar
  fumehood image save me/app | ssh box docker load")]
pub(crate) struct ImageSave {
    /// Write it there [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// The image
    pub(crate) name: String,
}

/// Bring an image here, or up to date
///
/// Interrupted, it leaves what has come, and the next pull goes on from there.
#[derive(Debug, Args)]
#[command(after_help = NAMES)]
pub(crate) struct ImagePull {
    /// Print the image as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The image
    pub(crate) name: String,
}

/// Make the template of an image, so that its first sandbox starts as fast as any other
#[derive(Debug, Args)]
#[command(after_help = NAMES)]
pub(crate) struct ImageWarm {
    /// For sandboxes with so many virtual processors [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) vcpus: Option<u32>,

    /// For sandboxes with so much memory, in MiB [default: 2048 for each processor]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,

    /// When to fetch it first
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(crate) pull: Pull,

    /// The image
    pub(crate) name: String,
}

/// Remove images, with their templates and layers
///
/// One that a sandbox stands on is kept. Of an image with several names only the name goes.
#[derive(Debug, Args)]
pub(crate) struct ImageRm {
    /// The images, by name or by the first digits of their digest
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Remove images that are not used
///
/// Without options, what nobody can ask for any more: images that have lost their name to a newer
/// one, layers without an image, and templates of other versions that were not used for an hour.
/// With options named images too, the one used longest ago first.
/// The default image and those that sandboxes stand on are kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood image prune --older-than 7d
  fumehood image prune --keep-bytes 20G
  fumehood image prune --older-than 1d --keep-bytes 20G   only as much as needed, none of today")]
pub(crate) struct ImagePrune {
    /// Those that no sandbox was made of for so long, such as 12h or 30d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) older_than: Option<Duration>,

    /// Until all images together take so much, such as 500M or 20G
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) keep_bytes: Option<u64>,

    /// Print what was removed as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// When an image is fetched from its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// What the registry has now is what is used
    Always,
    /// It is fetched when it is not here
    Missing,
    /// It has to be here
    Never,
}

impl From<Pull> for PullPolicy {
    fn from(pull: Pull) -> Self {
        match pull {
            Pull::Always => Self::Always,
            Pull::Missing => Self::Missing,
            Pull::Never => Self::Never,
        }
    }
}
