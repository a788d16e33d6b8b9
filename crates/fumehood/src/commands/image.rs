//! `fumehood image …`.

use std::env;

use api::client::Download;
use api::{
    CommitImage, Image as Here, PruneImages, PullImage, PullPolicy, PushImage, RemovedImages,
    Resources,
};

use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Context, ls, worst};
use crate::cli::{
    Commit, Image, ImageImport, ImagePrune, ImagePull, ImagePush, ImageRm, ImageSave, ImageWarm,
    SandboxOptions,
};
use crate::failure::{Exit, Failure};
use crate::server::Server;
use crate::table::Table;
use crate::{arrival, duration, say, size};

/// So much of a digest tells images apart for people.
const DIGEST_SHOWN: usize = 12;

/// For whom an answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Words,
    Json,
}

impl Form {
    #[expect(clippy::fn_params_excessive_bools, reason = "a flag is a bool")]
    fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Words }
    }
}

pub(crate) async fn run(args: Image, context: &Context) -> Result<Exit, Failure> {
    if let Image::Build(args) = args {
        return super::build::run(*args, context).await;
    }
    let server = Server::reach(&context.server).await?;
    match args {
        // Done above, since it has more to do before and after.
        Image::Build(_) => Ok(Exit::Command(0)),
        Image::Pull(args) => pull(&server, args).await,
        Image::Warm(args) => warm(&server, args).await,
        Image::Ls { json } => list(&server, Form::of(json)).await,
        Image::Inspect { name } => {
            let image = server.client().image(&named(&name)?).await?;
            say::out(&format!("{}\n", ls::json(&image)?))?;
            Ok(Exit::Command(0))
        }
        Image::Rm(args) => remove(&server, &args).await,
        Image::Prune(args) => prune(&server, &args).await,
        Image::Push(args) => push(&server, args).await,
        Image::Import(args) => import(&server, args).await,
        Image::Save(args) => save(&server, &args).await,
    }
}

/// An image as the server is told of it: a file of this computer by its whole path.
pub(crate) fn named(text: &str) -> Result<String, Failure> {
    let folder = env::current_dir();
    let folder = folder.map_err(|fault| Failure::host("finding the working folder", fault))?;
    Ok(daemon::image_name(text, &folder))
}

/// What a new sandbox asks for, if it asks for an image.
pub(crate) fn wanted(options: &SandboxOptions) -> Result<Option<PullImage>, Failure> {
    let Some(image) = &options.image else { return Ok(None) };
    Ok(Some(PullImage { image: named(image)?, pull: options.pull.into(), ..PullImage::default() }))
}

async fn pull(server: &Server, args: ImagePull) -> Result<Exit, Failure> {
    let (image, pull) = (named(&args.name)?, PullPolicy::Always);
    let asked = PullImage { image, pull, ..PullImage::default() };
    tell(&arrival::bring(server, &asked).await?, Form::of(args.json))
}

pub(crate) async fn commit(args: Commit, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let Commit { json, env, workdir, user, cmd, entrypoint, sandbox, name } = args;
    let asked = CommitImage {
        sandbox,
        image: name,
        env: env.request()?.0,
        user,
        cwd: workdir,
        entrypoint: entrypoint.map(|words| words.0),
        cmd: cmd.map(|words| words.0),
    };
    tell(&arrival::commit(&server, &asked).await?, Form::of(json))
}

async fn push(server: &Server, args: ImagePush) -> Result<Exit, Failure> {
    let asked = PushImage { image: named(&args.name)?, target: args.target };
    let pushed = arrival::push(server, &asked).await?;
    let text = if args.json { ls::json(&pushed)? } else { pushed.digest };
    say::out(&format!("{text}\n"))?;
    Ok(Exit::Command(0))
}

fn tell(image: &Here, form: Form) -> Result<Exit, Failure> {
    if form == Form::Json {
        say::out(&format!("{}\n", ls::json(image)?))?;
    } else {
        say::out(&format!("{}\n", image.manifest.as_ref().unwrap_or(&image.digest)))?;
    }
    Ok(Exit::Command(0))
}

async fn import(server: &Server, args: ImageImport) -> Result<Exit, Failure> {
    // A bare name is a file's here, and never a registry's.
    let is_plain = !args.source.contains(':') && !args.source.starts_with(['.', '/']);
    let source = if is_plain { format!("./{}", args.source) } else { args.source };
    let (image, name, form) = (named(&source)?, args.name, Form::of(args.json));
    let asked = PullImage { image, name, ..PullImage::default() };
    tell(&arrival::bring(server, &asked).await?, form)
}

async fn save(server: &Server, args: &ImageSave) -> Result<Exit, Failure> {
    let mut pieces = server.client().save_image(&named(&args.name)?).await?;
    let Some(path) = &args.output else {
        let mut out = tokio::io::stdout();
        copy(&mut pieces, &mut out, "stdout").await?;
        return Ok(Exit::Command(0));
    };
    let shown = path.display().to_string();
    let fault = |fault| Failure::host(format!("writing {shown}"), fault);
    // Whole, or not there at all.
    let draft = path.with_added_extension("partial");
    let mut file = File::create(&draft).await.map_err(fault)?;
    let saved = copy(&mut pieces, &mut file, &shown).await;
    if saved.is_err() {
        drop(tokio::fs::remove_file(&draft).await);
        return saved.map(|()| Exit::Command(0));
    }
    tokio::fs::rename(&draft, path).await.map_err(fault)?;
    Ok(Exit::Command(0))
}

async fn copy(
    pieces: &mut Download,
    out: &mut (impl AsyncWrite + Unpin),
    shown: &str,
) -> Result<(), Failure> {
    let fault = |fault| Failure::host(format!("writing {shown}"), fault);
    while let Some(piece) = pieces.chunk().await? {
        out.write_all(&piece).await.map_err(fault)?;
    }
    out.flush().await.map_err(fault)
}

async fn warm(server: &Server, args: ImageWarm) -> Result<Exit, Failure> {
    let (image, pull) = (named(&args.name)?, args.pull.into());
    let warm = Some(Resources { vcpus: args.vcpus, memory: args.memory });
    arrival::bring(server, &PullImage { image, pull, warm, name: None }).await?;
    Ok(Exit::Command(0))
}

async fn list(server: &Server, form: Form) -> Result<Exit, Failure> {
    let list = server.client().images().await?;
    if form == Form::Json {
        say::out(&format!("{}\n", ls::json(&list.images)?))?;
        return Ok(Exit::Command(0));
    }
    let now = ls::now_ms();
    let mut table = Table::new(["NAME", "DIGEST", "DISK", "TEMPLATES", "MADE", "USED"]);
    for image in &list.images {
        for row in rows(image, now) {
            table.row(row);
        }
    }
    say::out(&table.text())?;
    let disks: u64 = list.images.iter().map(|it| it.size_bytes + it.templates_bytes).sum();
    let (all, layers) = (size::short(disks + list.blobs_bytes), size::short(list.blobs_bytes));
    say::note(&format!("{all} in all, of it {layers} in layers that are kept"));
    Ok(Exit::Command(0))
}

/// One for each name; what an image takes is told once.
fn rows(image: &Here, now_ms: u64) -> Vec<[String; 6]> {
    let digest = image.manifest.as_deref().unwrap_or(&image.digest);
    let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
    let digest: String = digest.chars().take(DIGEST_SHOWN).collect();
    let ago = |at: u64| {
        let age = std::time::Duration::from_millis(now_ms.saturating_sub(at));
        format!("{} ago", duration::short(age))
    };
    let used = image.last_used_at.map(ago).filter(|_| !image.in_use);
    let mut names = image.names.clone();
    if names.is_empty() {
        // One that is made of packages has its name by itself; another has lost its own.
        names.push(if image.manifest.is_some() { "-".to_owned() } else { image.name.clone() });
    }
    let mut rows = vec![[
        names.remove(0),
        digest.clone(),
        size::short(image.size_bytes),
        size::short(image.templates_bytes),
        ago(image.created_at),
        used.unwrap_or_else(|| if image.in_use { "now".to_owned() } else { String::new() }),
    ]];
    let further =
        |name| [name, digest.clone(), String::new(), String::new(), String::new(), String::new()];
    rows.extend(names.into_iter().map(further));
    rows
}

async fn remove(server: &Server, args: &ImageRm) -> Result<Exit, Failure> {
    let mut exits = Vec::new();
    for name in &args.names {
        match server.client().delete_image(&named(name)?).await {
            Ok(removed) => {
                if !removed.images.is_empty() {
                    say::note(&freed(&removed));
                }
                exits.push(Exit::Command(0));
            }
            Err(fault) => exits.push(super::stop::told(name, Err(fault.into()))),
        }
    }
    Ok(worst(exits))
}

async fn prune(server: &Server, args: &ImagePrune) -> Result<Exit, Failure> {
    let older_than = args.older_than.map(duration::millis);
    let asked = PruneImages { older_than, keep_bytes: args.keep_bytes };
    let removed = server.client().prune_images(&asked).await?;
    if args.json {
        say::out(&format!("{}\n", ls::json(&removed)?))?;
    } else {
        for image in &removed.images {
            say::out(&format!("{}\n", image.name))?;
        }
        say::note(&freed(&removed));
    }
    Ok(Exit::Command(0))
}

fn freed(removed: &RemovedImages) -> String {
    let count = removed.images.len();
    let images = if count == 1 { "image" } else { "images" };
    format!("{count} {images} removed, {} freed", size::short(removed.freed_bytes))
}
