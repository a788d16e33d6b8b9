//! `fumehood image build`: a Dockerfile, a sandbox with buildah in it, and an image here.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use api::attach::Start;
use api::client::{Owner, Packing, Unpack};
use api::{CreateDrive, CreateSandbox, FsPath, Mount, MountMode, PullImage, Resources};
use tokio::io::AsyncWriteExt;

use super::Context;
use super::run::{Hint, Job};
use crate::archive::{self, Content};
use crate::attached::{Attached, Ending, OnSignal, Output, Target};
use crate::cli::ImageBuild;
use crate::dockerignore::Ignored;
use crate::failure::{Exit, Failure};
use crate::network::Stdin;
use crate::server::Server;
use crate::signals::Signals;
use crate::{duration, ids, say};

const BUILDER: &str = "fumehood:builder";
/// Where buildah keeps layers and base images.
const STORAGE: &str = "/var/lib/containers";
const CACHE: &str = "image-build";
/// Layers of every build there was; they take space as they are written.
const CACHE_BYTES: u64 = 64 << 30;
const TIMEOUT_MS: u64 = 3_600_000;
/// More does not come out: an image has 32 GiB at most.
const ARCHIVE_BYTES_MAX: u64 = 34 << 30;

/// Registries of this computer have no TLS, as on this computer itself. All that is said goes to stderr.
const BUILD: &str = r#"for port in $PORTS; do
  printf '[[registry]]\nlocation = "host.fumehood.internal:%s"\ninsecure = true\n' "$port"
done >/etc/containers/registries.conf.d/host.conf
exec buildah bud "$@" >&2"#;
const ARCHIVE: &str = "/build/image.tar";
const BUILT: &str = "localhost/fumehood-build:latest";

pub(crate) async fn run(args: ImageBuild, context: &Context) -> Result<Exit, Failure> {
    let plan = Plan::new(&args)?;
    let policy = args.network.policy.request(Stdin::Free)?;
    let server = Server::reach(&context.server).await?;
    if !server.is_own() {
        let message =
            "an image is built by a server of your own: it reads what comes out as a file";
        return Err(Failure::new(Exit::Usage, message));
    }
    let mut signals =
        Signals::listen().map_err(|fault| Failure::host("listening for signals", fault))?;
    let name = ids::sandbox_name()?;
    let job = Job { server: &server, name: &name, context };
    let builder = PullImage { image: BUILDER.to_owned(), ..PullImage::default() };
    job.bring(&builder, &mut signals).await?;
    let resources = Resources { vcpus: args.vcpus, memory: args.memory };
    let request = CreateSandbox {
        name: Some(name.clone()),
        image: Some(BUILDER.to_owned()),
        timeout: Some(args.timeout.map_or(TIMEOUT_MS, duration::millis)),
        resources: (resources != Resources::default()).then_some(resources),
        network_policy: policy,
        trust_host_ca: args.network.trust_host_ca,
        mounts: mounts(&server, &args).await?,
        persistent: Some(false),
        ..CreateSandbox::default()
    };
    let made = job.make(&request, &mut signals).await?;
    let mut build = Build { server: &server, session: &made.session.id, signals: &mut signals };
    // Whatever comes of it, the sandbox is removed.
    let built = build.run(&plan, &args).await;
    let archive = match built {
        Ok(archive) => archive,
        Err(failure) => {
            if failure.exit() == Exit::Build {
                job.hint(&made.session.id, Hint::Allow, &mut signals).await;
            }
            job.remove(&mut signals).await;
            return Err(failure);
        }
    };
    // The drive is free for the next build before the image is made.
    job.remove(&mut signals).await;
    let image = format!("oci-archive:{}", archive.path().display());
    let asked = PullImage { image, name: Some(plan.tag), ..PullImage::default() };
    let image = job.bring(&asked, &mut signals).await?;
    say::out(&format!("{}\n", image.manifest.as_ref().unwrap_or(&image.digest)))?;
    Ok(Exit::Command(0))
}

/// The drive with what earlier builds left. The one that every build takes may be another's just now.
async fn mounts(server: &Server, args: &ImageBuild) -> Result<BTreeMap<String, Mount>, Failure> {
    if args.no_cache {
        return Ok(BTreeMap::new());
    }
    let name = args.cache.as_deref().unwrap_or(CACHE);
    let spec = CreateDrive { max_size_bytes: Some(CACHE_BYTES), ..CreateDrive::default() };
    let drive = server.client().create_drive(name, &spec).await?.drive;
    if args.cache.is_none() && drive.current_session_id.is_some() {
        say::note("another build has the cache: this one goes without");
        return Ok(BTreeMap::new());
    }
    let mount = Mount { drive: name.to_owned(), mode: MountMode::ReadWrite };
    Ok(BTreeMap::from([(STORAGE.to_owned(), mount)]))
}

/// What is to be built, looked at before anything is made.
#[derive(Debug)]
struct Plan {
    context: PathBuf,
    dockerfile: PathBuf,
    ignored: Ignored,
    /// What it names as bases.
    bases: Vec<String>,
    tag: String,
    build_args: Vec<String>,
}

impl Plan {
    fn new(args: &ImageBuild) -> Result<Self, Failure> {
        let shown = args.folder.display();
        let context = args.folder.canonicalize().map_err(|fault| Failure::host(shown, fault))?;
        if !context.is_dir() {
            let message = format!("{} is no folder", context.display());
            return Err(Failure::new(Exit::Usage, message));
        }
        let dockerfile = dockerfile(args, &context)?;
        let build_args =
            args.build_arg.iter().map(|text| argument(text)).collect::<Result<_, _>>()?;
        let tag = args.tag.clone().map_or_else(|| name_of(&context), Ok)?;
        if !daemon::is_image_tag(&tag) {
            let message = format!("{tag:?} is no name for an image, such as me/app:1");
            return Err(Failure::new(Exit::Usage, message));
        }
        let text = fs::read(&dockerfile);
        let text = text.map_err(|fault| Failure::host(dockerfile.display(), fault))?;
        let bases = bases(&String::from_utf8_lossy(&text));
        let ignored = ignored(&context, &dockerfile)?;
        Ok(Self { ignored, bases, tag, context, dockerfile, build_args })
    }
}

fn dockerfile(args: &ImageBuild, context: &Path) -> Result<PathBuf, Failure> {
    let found = match &args.file {
        Some(file) => Some(file.clone()).filter(|file| file.is_file()),
        None => {
            let names = ["Dockerfile", "Containerfile"];
            names.map(|name| context.join(name)).into_iter().find(|file| file.is_file())
        }
    };
    found.ok_or_else(|| {
        let at = args.file.clone().unwrap_or_else(|| context.join("Dockerfile"));
        Failure::new(Exit::NotFound, format!("there is no Dockerfile {}", at.display()))
    })
}

/// The images of `FROM` lines, as far as they are plain names of images. `debian:trixie` and its like
/// are Docker's in a Dockerfile.
fn bases(dockerfile: &str) -> Vec<String> {
    let mut bases: Vec<String> = Vec::new();
    let mut stages = vec!["scratch"];
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace().filter(|word| !word.starts_with("--"));
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("FROM")) {
            continue;
        }
        let Some(base) = words.next() else { continue };
        let is_plain = !base.contains('$') && !base.starts_with("debian:");
        if is_plain && !stages.contains(&base) && !bases.iter().any(|known| known == base) {
            bases.push(base.to_owned());
        }
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("AS")) {
            stages.extend(words.next());
        }
    }
    bases
}

/// One beside the Dockerfile that is called after it counts before that of the context.
fn ignored(context: &Path, dockerfile: &Path) -> Result<Ignored, Failure> {
    let files = [dockerfile.with_added_extension("dockerignore"), context.join(".dockerignore")];
    let Some(file) = files.into_iter().find(|file| file.is_file()) else {
        return Ok(Ignored::default());
    };
    let text = fs::read_to_string(&file).map_err(|fault| Failure::host(file.display(), fault))?;
    Ignored::parse(&text).map_err(|fault| Failure::new(Exit::Usage, fault).about(file.display()))
}

fn argument(text: &str) -> Result<String, Failure> {
    if text.contains('=') {
        return Ok(text.to_owned());
    }
    let value = std::env::var(text)
        .map_err(|fault| Failure::new(Exit::Usage, format!("--build-arg {text}: {fault}")))?;
    Ok(format!("{text}={value}"))
}

/// After its folder, in letters that a name may have.
fn name_of(context: &Path) -> Result<String, Failure> {
    let name = context.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let name: String = name.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    match name.trim_matches('-') {
        "" => Err(Failure::new(Exit::Usage, "name the image with -t")),
        name => Ok(name.to_owned()),
    }
}

/// One build in its sandbox.
struct Build<'a> {
    server: &'a Server,
    session: &'a str,
    signals: &'a mut Signals,
}

impl Build<'_> {
    async fn run(
        &mut self,
        plan: &Plan,
        args: &ImageBuild,
    ) -> Result<tempfile::NamedTempFile, Failure> {
        let here = self.send(plan).await?;
        let mut words = vec!["bud".to_owned()];
        for (base, folder) in here {
            words.extend([
                "--build-context".to_owned(),
                format!("{base}=container-image://oci:{folder}"),
            ]);
        }
        words.extend(options(plan, args));
        let ports: Vec<String> =
            args.network.policy.allow_host_port.iter().map(ToString::to_string).collect();
        let code = self.execute(BUILD, words, &ports.join(" "), Output::passed()).await?;
        if code != 0 {
            let message = format!("the build failed: buildah ended with {code}");
            return Err(Failure::new(Exit::Build, message));
        }
        let target = format!("oci-archive:{ARCHIVE}:latest");
        let words = ["sh", "push", "--quiet", BUILT, target.as_str()].map(str::to_owned).to_vec();
        let code = self.execute("exec buildah \"$@\" >&2", words, "", Output::passed()).await?;
        if code != 0 {
            let message = format!("the image was built and not written: buildah ended with {code}");
            return Err(Failure::new(Exit::Build, message));
        }
        self.fetch().await
    }

    /// The Dockerfile by itself, since `.dockerignore` may name it, the context, and those bases that
    /// are here: gives their names and where they are.
    async fn send(&mut self, plan: &Plan) -> Result<Vec<(String, String)>, Failure> {
        let client = self.server.client();
        let session = self.session;
        let file = archive::pack(plan.dockerfile.clone(), Content::Whole("Dockerfile".into()));
        let ignored = plan.ignored.clone();
        let context = archive::pack_some(plan.context.clone(), move |path: &Path| {
            match (ignored.stays(path), ignored.has_exceptions()) {
                (false, _) => archive::Pick::Take,
                (true, true) => archive::Pick::LookInside,
                (true, false) => archive::Pick::Leave,
            }
        });
        let sent = async {
            client.unpack(session, into("/build"), file).await?;
            client.unpack(session, into("/build/context"), context).await?;
            let mut here = Vec::new();
            for base in &plan.bases {
                let image = match client.save_image(base).await {
                    Ok(image) => image,
                    Err(refused) if refused.code() == Some(api::Code::ImageNotFound) => continue,
                    Err(fault) => return Err(fault.into()),
                };
                say::note(&format!("{base} is the one that is here"));
                let folder = format!("/build/base-{}", here.len());
                client.unpack(session, into(&folder), image.into_stream()).await?;
                here.push((base.clone(), folder));
            }
            Ok(here)
        };
        interruptible(self.signals, sent).await
    }

    /// Runs a script in the guest and gives its exit code.
    async fn execute(
        &mut self,
        script: &str,
        words: Vec<String>,
        ports: &str,
        output: Output,
    ) -> Result<i32, Failure> {
        let start = Start {
            command: "sh".to_owned(),
            args: ["-c".to_owned(), script.to_owned()].into_iter().chain(words).collect(),
            env: [("PORTS".to_owned(), ports.to_owned())].into_iter().collect(),
            cwd: Some("/build".to_owned()),
            cmd_id: Some(ids::command_id()?),
            ..Start::default()
        };
        let target = Target::New(Box::new(start));
        let mut attached = Attached::new(self.server, self.session, target, output);
        match attached.run(self.signals, OnSignal::Leave).await? {
            Ending::Exited(exit) => Ok(exit.code),
            Ending::Left(signal) => Err(Failure::silent(Exit::Signal(signal))),
        }
    }

    /// Brings the archive here. A guest wrote it: it is checked as any other is when it is imported.
    async fn fetch(&mut self) -> Result<tempfile::NamedTempFile, Failure> {
        let fault = |fault| Failure::host("writing the image", fault);
        let kept = tempfile::Builder::new().prefix("fumehood-build-").suffix(".tar").tempfile();
        let kept = kept.map_err(fault)?;
        let mut file = tokio::fs::File::from_std(kept.reopen().map_err(fault)?);
        let client = self.server.client();
        let path = FsPath { path: ARCHIVE.to_owned(), cwd: None };
        let session = self.session;
        let copied = async {
            let mut pieces = client.read_file(session, &path).await?;
            let mut bytes = 0;
            while let Some(piece) = pieces.chunk().await? {
                bytes += piece.len() as u64;
                if ARCHIVE_BYTES_MAX < bytes {
                    return Err(Failure::new(Exit::Limit, "the image is larger than 32 GiB"));
                }
                file.write_all(&piece).await.map_err(fault)?;
            }
            file.flush().await.map_err(fault)
        };
        interruptible(self.signals, copied).await?;
        Ok(kept)
    }
}

fn options(plan: &Plan, args: &ImageBuild) -> Vec<String> {
    // The sandbox is what holds the build; within it, steps run as root in a root of their own.
    let mut words: Vec<String> =
        ["--isolation", "chroot", "--network", "host", "-f", "/build/Dockerfile", "-t", BUILT]
            .map(str::to_owned)
            .to_vec();
    // For steps that need it, where the policy has TLS opened; nothing of it stays in the image.
    words.extend([
        "--secret".to_owned(),
        "id=fumehood-ca,src=/etc/ssl/certs/ca-certificates.crt".to_owned(),
    ]);
    words.push(if args.no_cache { "--no-cache" } else { "--layers" }.to_owned());
    for argument in &plan.build_args {
        words.extend(["--build-arg".to_owned(), argument.clone()]);
    }
    if let Some(stage) = &args.target {
        words.extend(["--target".to_owned(), stage.clone()]);
    }
    words.push("/build/context".to_owned());
    words
}

fn into(folder: &str) -> Unpack<'_> {
    Unpack { folder, packing: Packing::Tar, owner: Owner::DefaultUser }
}

async fn interruptible<T>(
    signals: &mut Signals,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        signal = signals.next() => Err(Failure::silent(Exit::Signal(signal))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dockerfile_stands_on() {
        let table = [
            ("FROM me/base:1\nRUN x", &["me/base:1"][..]),
            ("# FROM x\nfrom --platform=linux/amd64 a AS b\nFROM b\nFROM scratch\nFROM a", &["a"]),
            ("ARG X=y\nFROM $X\nFROM debian:trixie\nFROM\nCOPY --from=z . .", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(bases(text), expected, "{text}");
        }
    }

    #[test]
    fn an_image_is_called_after_its_folder() {
        for (folder, expected) in
            [("/a/app", Some("app")), ("/a/My App_2", Some("my-app-2")), ("/", None), ("/ä", None)]
        {
            assert_eq!(name_of(Path::new(folder)).ok().as_deref(), expected, "{folder}");
        }
    }
}
