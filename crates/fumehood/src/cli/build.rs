//! `fumehood image build`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::NetworkOptions;
use crate::duration;

/// Build an image of a Dockerfile, in a sandbox
///
/// A stock buildah does it, in a sandbox that is held to the network options: base images are pulled
/// and RUN steps work through the sandbox's gateway. A base that is here by the name that FROM has for
/// it is sent in and not pulled: so one of a registry that wants a login is got by image pull. The
/// context goes in without what .dockerignore names. What comes out is an image here, for run, create,
/// image push and image save. stdout gets its digest alone.
#[derive(Debug, Args)]
#[command(after_help = super::with_network("\
Examples:
  fumehood image build -t me/app .
  fumehood image build -t me/app --allow docker.io,*.docker.io,*.docker.com,@registries-read .
  fumehood image build -t me/app --build-arg VERSION=2 -f deploy/Dockerfile .
  fumehood image build -t me/app --allow-all --allow-host-port 5000 .
                       FROM host.fumehood.internal:5000/base takes it from this computer
"))]
pub(crate) struct ImageBuild {
    /// What to call it, such as me/app:1 [default: the name of the context's folder]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Option<String>,

    /// The Dockerfile [default: Dockerfile in the context, or Containerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Give an ARG of the Dockerfile a value; KEY alone takes the one it has here
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) build_arg: Vec<String>,

    /// Build up to this stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// Keep layers and base images on this drive between builds; it is made if it is not there
    /// [default: image-build, unless another build has it]
    #[arg(long, value_name = "DRIVE")]
    pub(crate) cache: Option<String>,

    /// Take nothing from earlier builds, and keep nothing for later ones
    #[arg(long, conflicts_with = "cache")]
    pub(crate) no_cache: bool,

    /// How many virtual processors the build has, 8 at most [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) vcpus: Option<u32>,

    /// How much memory it has, in MiB [default: 2048 for each processor]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,

    /// Give it up after this long [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,

    #[command(flatten)]
    pub(crate) network: NetworkOptions,

    /// The folder that COPY copies from
    #[arg(value_name = "CONTEXT")]
    pub(crate) folder: PathBuf,
}
