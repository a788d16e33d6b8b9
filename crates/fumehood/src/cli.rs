//! What a person types. The doc comments are the help.
#![expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]

mod audit;
mod build;
mod context;
mod drive;
mod env;
mod fork;
mod image;
mod network;
mod pause;
mod policy;
mod ports;
mod secret;
mod serve;
mod snapshot;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use egress::secret::SecretText;

use crate::duration;
use crate::failure::EXIT_CODES;
use crate::place::Place;
pub(crate) use audit::Audit;
pub(crate) use build::ImageBuild;
pub(crate) use context::Contexts;
pub(crate) use drive::{Drive, DriveCreate, DriveRm, MountOptions};
pub(crate) use env::{EnvArgs, EnvShell};
pub(crate) use fork::Fork;
pub(crate) use image::{
    Commit, Image, ImageImport, ImagePrune, ImagePull, ImagePush, ImageRm, ImageSave, ImageWarm,
    Pull,
};
pub(crate) use network::{NetworkOptions, PolicyOptions};
pub(crate) use pause::{Pause, Resume};
pub(crate) use policy::{Policy, PolicyExplain, PolicyGet, PolicyPresets, PolicySet};
pub(crate) use ports::{Forward, PortOptions, Ports, Url};
pub(crate) use secret::{Secret, SecretRm, SecretSet};
pub(crate) use serve::Serve;
pub(crate) use snapshot::{Keep, KeepOptions, Snapshot, SnapshotCommand, SnapshotTake};
pub(crate) use token::{Scope, Token, TokenCreate};

/// Run code nobody has read in a microVM of its own.
///
/// Every sandbox is a virtual machine with its own kernel. It sees nothing of this computer but
/// what you hand it. A server of your own starts by itself when the first command needs it.
#[derive(Debug, Parser)]
#[command(name = "fumehood", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Say more on stderr
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    pub(crate) server: ServerOptions,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which server to speak to.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerOptions {
    /// Use the server at this URL (http[s]://HOST:PORT) instead of your own
    #[arg(long, global = true, value_name = "URL", env = "FUMEHOOD_SERVER")]
    pub(crate) server: Option<String>,

    /// Use the server of this context; see `fumehood context --help`
    #[arg(long, global = true, value_name = "NAME", env = "FUMEHOOD_CONTEXT")]
    pub(crate) context: Option<String>,

    /// Work in this project [default: the context's or the token's, or `local`]
    #[arg(long, global = true, value_name = "PROJECT", env = "FUMEHOOD_PROJECT")]
    pub(crate) project: Option<String>,

    /// Read the token for --server from this file [default: the variable FUMEHOOD_TOKEN]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Trust the certificates in this PEM file, and no others, to vouch for an https server
    #[arg(long, alias = "tls-ca", global = true, value_name = "FILE", env = "FUMEHOOD_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    // A variable and not an option, since everybody sees the arguments of a process.
    #[arg(skip = token_from_environment())]
    pub(crate) token: Option<SecretText>,
}

fn token_from_environment() -> Option<SecretText> {
    std::env::var("FUMEHOOD_TOKEN").ok().filter(|text| !text.is_empty()).map(SecretText::new)
}

/// What follows the options in the help of a command that makes a sandbox.
fn with_network(examples: &str) -> String {
    with_exit_codes(&format!("{}\n\n{}", examples.trim_end(), network::NETWORK))
}

fn with_exit_codes(examples: &str) -> String {
    format!("{}\n\n{EXIT_CODES}", examples.trim_end())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Create(Create),
    Exec(Exec),
    Connect(Connect),
    Cp(Cp),
    Ls(Ls),
    Logs(Logs),
    Ports(Ports),
    Url(Url),
    Forward(Forward),
    Stop(Stop),
    Pause(Pause),
    Resume(Resume),
    Fork(Fork),
    Rm(Rm),
    Commit(Commit),
    Snapshot(Snapshot),
    #[command(subcommand)]
    Policy(Policy),
    Audit(Audit),
    #[command(subcommand)]
    Secret(Secret),
    #[command(subcommand)]
    Token(Token),
    #[command(subcommand, name = "context")]
    Contexts(Contexts),
    #[command(subcommand)]
    Drive(Drive),
    #[command(subcommand)]
    Image(Image),
    Env(EnvArgs),
    Serve(Serve),
    /// Make this computer ready for sandboxes
    ///
    /// Fetches the guest's kernel, builds the default image and makes the first template. That takes
    /// some minutes the first time and a moment afterwards. Nothing is installed on this computer.
    Setup,
    Doctor(Doctor),
    Pool(Pool),
    Version(Version),
    Completions(Completions),
    Man(Man),
}

/// What a new sandbox is like.
#[derive(Clone, Debug, Args)]
pub(crate) struct SandboxOptions {
    /// The image to start from, such as python:3.13; see `fumehood image pull --help` [default:
    /// default]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,

    /// When to fetch the image from its registry
    #[arg(long, value_name = "WHEN", default_value = "missing", requires = "image")]
    pub(crate) pull: Pull,

    #[command(flatten)]
    pub(crate) mounts: MountOptions,

    /// How many virtual processors it has, 8 at most [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) vcpus: Option<u32>,

    /// How much memory it has, in MiB [default: 2048 for each processor]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,

    /// End it this long after its start, such as 90s, 5m, 1h30m or 2d; 30 days at most [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,

    /// Pause it, memory and all, once nobody has used it for so long; what needs it next resumes it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) idle_timeout: Option<Duration>,

    /// Name it: letters, digits, - and _, at most 128 [default: made up]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) ports: PortOptions,
}

/// Variables for the command.
#[derive(Clone, Debug, Args)]
pub(crate) struct EnvOptions {
    /// Set a variable in the guest; KEY alone takes the value it has here
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
}

/// How a command runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct CommandOptions {
    #[command(flatten)]
    pub(crate) env: EnvOptions,

    /// Start in this folder of the guest [default: the image's]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// Run as this user of the guest [default: the image's]
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Give the command our stdin; without it, it reads end-of-file
    #[arg(short, long)]
    pub(crate) interactive: bool,
}

/// Run a command in a fresh sandbox and remove the sandbox
///
/// stdout and stderr of the command come out apart, and its exit code is ours. Ctrl-C stops and
/// removes the sandbox; twice leaves at once.
#[derive(Debug, Args)]
#[command(after_help = with_network("\
Examples:
  fumehood run -- uname -r                      the guest's kernel, not yours
  echo hi | fumehood run -i -- cat              stdin goes in with -i
  fumehood run -it -- bash                      a shell in a terminal of its own
  fumehood run --image python:3.13 -- python -V  any image of a registry
  fumehood run -e CI --timeout 1h -- ./job      CI as it is set here, one hour; for keys see Network
  fumehood run --json -- node -v                one JSON object, also when it fails: name,
                                                exitCode, stdout, stderr (the first 16 MiB of
                                                each, as text), startMs, durationMs, error
"))]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) sandbox: SandboxOptions,

    #[command(flatten)]
    pub(crate) network: NetworkOptions,

    #[command(flatten)]
    pub(crate) command: CommandOptions,

    /// Run it in a terminal; with -i, keys go to the guest as they are pressed
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Leave the sandbox running when the command has ended, and keep its disk when it stops
    #[arg(long)]
    pub(crate) keep: bool,

    /// Print one JSON object at the end instead of the output
    #[arg(long, conflicts_with = "tty")]
    pub(crate) json: bool,

    /// Give the command to the image's entrypoint, as `docker run` does
    #[arg(long, requires = "image")]
    pub(crate) entrypoint: bool,

    /// The command and its arguments [default: the entrypoint and command of --image]
    #[arg(required_unless_present = "image", trailing_var_arg = true, value_name = "CMD")]
    pub(crate) argv: Vec<String>,
}

/// Make a sandbox and print its name
///
/// It runs until its time is over or `fumehood stop`. Its disk is kept, and the next command of any
/// kind starts it again, until `fumehood rm`. Processes and memory are kept by `fumehood pause` alone.
#[derive(Debug, Args)]
#[command(after_help = with_network("\
Examples:
  box=$(fumehood create --memory 1024 --timeout 2h)
  fumehood exec $box -- npm test
  fumehood create --snapshot snap_...           from `fumehood snapshot`; its name does too
"))]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) sandbox: SandboxOptions,

    #[command(flatten)]
    pub(crate) keep: KeepOptions,

    /// Start from this snapshot instead of an image: from its disk, and from its memory if it has one
    ///
    /// The network policy of the snapshot's sandbox is taken over with memory alone, and where no option
    /// says another: from a disk the policy is that of the options here, every public address without any.
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "image")]
    pub(crate) snapshot: Option<String>,

    /// Start from the snapshot's disk alone
    #[arg(long, requires = "snapshot")]
    pub(crate) cold: bool,

    #[command(flatten)]
    pub(crate) network: NetworkOptions,

    #[command(flatten)]
    pub(crate) env: EnvOptions,

    /// Commands run as this user of the guest [default: the image's]
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Print the sandbox as JSON instead of its name
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run a command in a sandbox
///
/// One that has stopped, and whose disk was kept, is resumed first.
///
/// The first Ctrl-C goes to the command, the second leaves it behind.
#[derive(Debug, Args)]
#[command(after_help = with_exit_codes("\
Examples:
  fumehood exec box -- ls -l
  fumehood exec --sudo box -- apt-get install -y jq
  fumehood exec -d box -- python3 -m http.server   prints the command's id and returns
  fumehood logs -f box cmd_...                     its output, from the start
"))]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) command: CommandOptions,

    /// Run it in a terminal; with -i, keys go to the guest as they are pressed
    #[arg(short, long, conflicts_with = "detach")]
    pub(crate) tty: bool,

    /// Run it as root
    #[arg(long)]
    pub(crate) sudo: bool,

    /// Print the command's id and do not wait for it
    #[arg(short, long, conflicts_with = "interactive")]
    pub(crate) detach: bool,

    /// Kill it (137) when it takes longer than this, such as 90s or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,

    /// The sandbox
    pub(crate) name: String,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(crate) argv: Vec<String>,
}

/// Open a login shell in a sandbox; one that has stopped is resumed
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Run the shell as root
    #[arg(long)]
    pub(crate) sudo: bool,

    /// The sandbox
    pub(crate) name: String,
}

/// Copy files and folders into or out of a sandbox
///
/// One side is NAME:PATH, the other a path here or `-`. A relative PATH starts from the sandbox's
/// working folder. If the target is a folder, the copy goes into it; otherwise it becomes the
/// target. SOURCE/. stands for what is in a folder, without the folder.
///
/// With `-`, a tar stream is unpacked into the folder PATH, or PATH is printed as one.
///
/// What comes out of a sandbox is not trusted: nothing is written outside the target, no device
/// nodes are made, set-user-ID bits are dropped and files belong to you.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood cp ./project box:                  into box's working folder
  fumehood cp box:report.html .
  fumehood cp box:/var/log/. ./logs           the contents of /var/log
  tar -c src | fumehood cp - box:/work
  fumehood cp box:/etc - | tar -t")]
pub(crate) struct Cp {
    /// Keep owners and groups by number (into a sandbox only) [default: its default user's]
    #[arg(short, long)]
    pub(crate) archive: bool,

    /// What to copy: NAME:PATH, PATH or -
    pub(crate) source: Place,

    /// Where to: NAME:PATH, PATH or -
    pub(crate) target: Place,
}

/// List sandboxes
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Those that have ended for good too
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Print an array of JSON objects, as the API has them
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the output of a sandbox's command, from its start
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on until the command ends
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// The console of the machine instead: its kernel and what went wrong early
    #[arg(long, conflicts_with = "command")]
    pub(crate) console: bool,

    /// The sandbox
    pub(crate) name: String,

    /// Which command, as `exec -d` printed it [default: the last one started]
    #[arg(value_name = "CMD-ID")]
    pub(crate) command: Option<String>,
}

/// Stop sandboxes
///
/// Returns when their machines are gone and their disks are kept; those made with --no-persistent keep
/// nothing. One that has stopped already is no fault.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The sandboxes
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Remove sandboxes and their files
///
/// Snapshots that were taken with `fumehood snapshot` stay.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Those that still run too; one that does not exist is no fault
    #[arg(short, long)]
    pub(crate) force: bool,

    /// The sandboxes
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Say what this computer can do, and what to do about what it cannot
///
/// Ends with 0 when sandboxes can run.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the machines that are ready before anybody asks for them
///
/// A sandbox of a kind that is ready starts in a tenth of the time. How many are kept follows what was
/// asked for lately; see `fumehood serve --pool`.
#[derive(Debug, Args)]
pub(crate) struct Pool {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the version
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// With build and API generation, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood completions bash > ~/.local/share/bash-completion/completions/fumehood
  fumehood completions zsh > ~/.zfunc/_fumehood
  fumehood completions fish > ~/.config/fish/completions/fumehood.fish")]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: Shell,
}

/// Write the man pages into a folder
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder; made if it is not there
    pub(crate) folder: PathBuf,
}

#[cfg(test)]
mod tests;
