//! Images: what there is, bringing one here, taking one away.

use std::{ops::ControlFlow, time::Duration};

use api::{
    Code, CommitImage, ImageQuery, NDJSON, PruneImages, PullEvent, PullImage, PullPolicy,
    PullProgress, PushEvent, PushImage, PushedImage,
};
use axum::{
    Json,
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use image::{oci::commit::Changes, reference::Reference, registry::Pushed};
use tokio::sync::mpsc;

use super::{
    Administrator, Reader, Server,
    access::Caller,
    error::{Failure, Reply},
    host_reach,
    json::{Body400, Query400},
    output::{body, line},
    sandboxes,
};
use crate::{
    images::{
        Described, Disk, Found, ImageError, Progress, Prune, Removed, Stood, Upkeep, Whose, parse,
    },
    platform,
    registry::Awake,
    sandbox::{View, overlay_of},
    store::Phase,
    templates::collect::Others,
};

/// Lines that wait for a client that reads slowly.
const QUEUE: usize = 16;

/// What a request calls an image; the default one if it says nothing. Files of this computer are for
/// who is on it.
pub(crate) fn reference(text: Option<&str>, caller: Caller) -> Reply<Reference> {
    let Some(text) = text else { return Ok(Reference::Default) };
    let reference = parse(text).map_err(|error| Failure::from(error).about("image"))?;
    if matches!(reference, Reference::Local(_)) && caller != Caller::Local {
        return Err(ImageError::Elsewhere.into());
    }
    Ok(reference)
}

/// The image here, or on its way. Whoever may not open what is the host's has of the registries there
/// what is here already.
pub(crate) async fn find(server: &Server, wanted: &Reference, policy: PullPolicy) -> Reply<Found> {
    let images = &server.context().images;
    let Err(refused) = host_reach::check_registry(server, wanted) else {
        let whose = Whose { project: server.project(None)?, reach: host_reach::of(server) };
        return Ok(images.find(whose, wanted, policy).await?);
    };
    if policy == PullPolicy::Always {
        return Err(refused);
    }
    match images.find(Whose::default(), wanted, PullPolicy::Never).await {
        Err(ImageError::NotHere(_)) => Err(refused),
        found => Ok(found?),
    }
}

/// An image's name for people.
pub(crate) fn shown(reference: &Reference) -> String {
    match reference {
        Reference::Registry(remote) => remote.familiar(),
        Reference::Default | Reference::Builder | Reference::Debian(_) | Reference::Local(_) => {
            reference.to_string()
        }
    }
}

/// The images here, and what holds them.
fn upkeep(server: &Server) -> Upkeep<'_> {
    let context = server.context();
    let sandboxes = server.registry().list().into_iter();
    let alive = sandboxes.filter(|sandbox| sandbox.current().phase() != Phase::Stopped);
    let mut digests = context.snapshots.images();
    digests.extend(alive.filter_map(|sandbox| sandbox.durable.record().image_digest));
    Upkeep { context, stood: Stood(digests) }
}

fn described(it: Described) -> api::Image {
    let Described { image, size_bytes, templates_bytes, in_use, last_used, .. } = it;
    let config = image.config();
    let familiar = |name: &str| name.parse().map_or_else(|_| name.to_owned(), |name| shown(&name));
    api::Image {
        name: familiar(image.name()),
        names: image.names().iter().map(|name| familiar(name)).collect(),
        digest: image.digest().to_owned(),
        manifest: image.manifest().map(|digest| digest.to_string()),
        size_bytes,
        templates_bytes,
        created_at: image.created() * 1000,
        last_used_at: last_used.map(|seconds| seconds * 1000),
        in_use,
        config: api::ImageConfig {
            user: config.user.clone(),
            cwd: config.cwd.clone(),
            env: config.env.iter().cloned().collect(),
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
        },
    }
}

pub(crate) async fn list(Reader(server): Reader) -> Reply<Json<api::ImageList>> {
    let listing = upkeep(&server).list().await?;
    let images = listing.images.into_iter().map(described).collect();
    Ok(Json(api::ImageList { images, blobs_bytes: listing.blobs_bytes }))
}

pub(crate) async fn inspect(
    Reader(server): Reader,
    Query400(query): Query400<ImageQuery>,
) -> Reply<Json<api::Image>> {
    Ok(Json(described(upkeep(&server).inspect(&query.name).await?)))
}

pub(crate) async fn remove(
    Administrator(server): Administrator,
    Query400(query): Query400<ImageQuery>,
) -> Reply<Json<api::RemovedImages>> {
    let all = upkeep(&server).remove(&query.name).await?;
    give_back(&server).await;
    Ok(Json(removed(all)))
}

pub(crate) async fn prune(
    Administrator(server): Administrator,
    Body400(asked): Body400<PruneImages>,
) -> Reply<Json<api::RemovedImages>> {
    let older_than = asked.older_than.map(Duration::from_millis);
    let asked = Prune { older_than, keep_bytes: asked.keep_bytes };
    let mut all = upkeep(&server).prune(asked).await?;
    // Without a platform nobody knows whose templates these are.
    if let Ok(platform) = server.context().platform().await {
        let templates = &server.context().templates;
        let collected = templates.collected(platform.clone(), Others::KeptAnHour).await;
        all.freed_bytes += collected.map_err(ImageError::from)?;
    }
    give_back(&server).await;
    Ok(Json(removed(all)))
}

/// The room of an image is free once no machine holds it that nobody has asked for yet.
async fn give_back(server: &Server) {
    let context = server.registry().context();
    context.pool.drain(context).await;
}

fn removed(all: Removed) -> api::RemovedImages {
    let images = all.images.into_iter().map(described).collect();
    api::RemovedImages { images, freed_bytes: all.freed_bytes }
}

/// Says how far it is, line by line. When the client goes away nobody waits for the image any more.
pub(crate) async fn pull(server: Server, Body400(asked): Body400<PullImage>) -> Reply<Response> {
    let wanted = reference(Some(&asked.image), server.visitor.caller)?;
    let shape = asked.warm.map(sandboxes::shape).transpose()?;
    // A refusal is the answer, and no line of it. Nothing begins to come here.
    if host_reach::check_registry(&server, &wanted).is_err() {
        find(&server, &wanted, asked.pull).await?;
    }
    let (out, lines) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let work = bring(&server, &wanted, &asked, &out);
        let work = async {
            let image = work.await?;
            if let Some(shape) = shape {
                warm(&server, shape, &image, &out).await?;
            }
            Ok(described(upkeep(&server).describe(image).await?))
        };
        let last = tokio::select! {
            done = work => match done {
                Ok(image) => PullEvent::Done { image: Box::new(image) },
                Err(Failure(refusal)) => PullEvent::Error(refusal),
            },
            () = out.closed() => return,
        };
        // Nobody may be there to read it.
        drop(out.send(last).await);
    });
    Ok(in_lines(lines))
}

fn in_lines<T: serde::Serialize + Send + 'static>(lines: mpsc::Receiver<T>) -> Response {
    let lines = stream::unfold(lines, |mut lines| async {
        let next = lines.recv().await?;
        Some((line(&next), lines))
    });
    ([(header::CONTENT_TYPE, NDJSON)], body(lines)).into_response()
}

/// As [`pull`], the other way.
pub(crate) async fn push(
    Administrator(server): Administrator,
    Body400(asked): Body400<PushImage>,
) -> Reply<Response> {
    let image = upkeep(&server).inspect(&asked.image).await?.image;
    // What it is called with may be its digest.
    let own = || parse(&asked.image).ok().map(|name| name.to_string());
    let own = || own().filter(|name| image.names().contains(name));
    let text = asked.target.or_else(own).unwrap_or_else(|| image.name().to_owned());
    let Reference::Registry(target) = parse(&text)? else {
        return Err(ImageError::NoTarget(text).into());
    };
    let (out, lines) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let told = out.clone();
        let report = move |progress: Progress| {
            // A word that finds no room is not missed.
            drop(told.try_send(PushEvent::Progress(wire_progress(progress))));
        };
        let images = &server.context().images;
        let shown = target.to_string();
        let last = tokio::select! {
            pushed = images.push(image, target, report) => match pushed {
                Ok((digest, Pushed { sent_bytes, sent, mounted, present })) => {
                    let (target, digest) = (shown, digest.to_string());
                    PushEvent::Done(PushedImage { target, digest, sent_bytes, sent, mounted, present })
                }
                Err(error) => PushEvent::Error(Failure::from(error).0),
            },
            () = out.closed() => return,
        };
        // Nobody may be there to read it.
        drop(out.send(last).await);
    });
    Ok(in_lines(lines))
}

/// The image is called so once it is there. When the client goes away it comes to be all the same: what
/// the guest was held for is not to be in vain.
pub(crate) async fn commit(
    Administrator(server): Administrator,
    Body400(asked): Body400<CommitImage>,
) -> Reply<Response> {
    let CommitImage { sandbox, image, env, user, cwd, entrypoint, cmd } = asked;
    let name = match parse(&image)? {
        Reference::Registry(remote) if remote.digest().is_none() => remote.to_string(),
        Reference::Default
        | Reference::Builder
        | Reference::Debian(_)
        | Reference::Registry(_)
        | Reference::Local(_) => {
            let text = "Invalid request: `image` is a name that no registry could have";
            return Err(Failure::bad_request(text));
        }
    };
    let sandbox = server.sandbox(&sandbox)?;
    let session = sandbox.current();
    let Awake { agent, in_use } = server.awake(&session).await?;
    let context = server.context();
    let record = sandbox.durable.record();
    let base = context.images.recall((&record).into()).await?;
    let View { network, session: record, .. } = session.view();
    if record.forking.is_some() {
        let text = "its disk is being forked; try again";
        return Err(Failure::new(Code::Conflict, text));
    }
    let own = network.map(|network| network.certificate().to_vec());
    let disk = Disk {
        base,
        overlay: overlay_of(context, &record),
        layers: record.layers.iter().map(|layer| context.snapshots.file(layer)).collect(),
        trusted: own.into_iter().chain(context.egress.uplink.roots.clone()).collect(),
    };
    let changes = Changes { env: env.into_iter().collect(), user, cwd, entrypoint, cmd };
    let (out, lines) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let _in_use = in_use;
        let told = out.clone();
        let report = move |progress: Progress| {
            // A word that finds no room is not missed.
            drop(told.try_send(PullEvent::Progress(wire_progress(progress))));
        };
        let work = async {
            let images = &server.context().images;
            let image = images.commit((agent, disk), name, changes, report).await?;
            Reply::Ok(described(upkeep(&server).describe(image).await?))
        };
        let last = match work.await {
            Ok(image) => PullEvent::Done { image: Box::new(image) },
            Err(Failure(refusal)) => PullEvent::Error(refusal),
        };
        // Nobody may be there to read it.
        drop(out.send(last).await);
    });
    Ok(in_lines(lines))
}

fn wire_progress(progress: Progress) -> PullProgress {
    let (bytes, total) = progress.bytes.unzip();
    PullProgress { step: progress.step, bytes, total: total.flatten() }
}

type Lines = mpsc::Sender<PullEvent>;

async fn bring(
    server: &Server,
    wanted: &Reference,
    asked: &PullImage,
    out: &Lines,
) -> Reply<image::catalog::Image> {
    let images = &server.context().images;
    let found = match (&asked.name, wanted) {
        (None, _) => find(server, wanted, asked.pull).await?,
        (Some(name), Reference::Local(local)) => match parse(name)? {
            name @ Reference::Registry(_) => images.import(Whose::default(), local.clone(), &name),
            Reference::Default
            | Reference::Builder
            | Reference::Debian(_)
            | Reference::Local(_) => {
                let text = "Invalid request: `name` is one that no registry could have";
                return Err(Failure::bad_request(text));
            }
        },
        (
            Some(_),
            Reference::Default | Reference::Builder | Reference::Debian(_) | Reference::Registry(_),
        ) => {
            let text = "Invalid request: `name` is for images of files";
            return Err(Failure::bad_request(text));
        }
    };
    let coming = match found {
        Found::Here(image) => return Ok(*image),
        Found::Coming(coming) => coming,
    };
    let mut watcher = coming.watch();
    loop {
        match coming.next(&mut watcher).await? {
            ControlFlow::Break(image) => return Ok(image),
            ControlFlow::Continue(progress) if progress.step.is_empty() => {}
            ControlFlow::Continue(progress) => {
                // One who has gone away is found at the select.
                drop(out.send(PullEvent::Progress(wire_progress(progress))).await);
            }
        }
    }
}

/// The image as a tar file in OCI's layout, under the name that was asked for. What goes wrong before its first byte is refused; after
/// that the body breaks off.
pub(crate) async fn save(
    Reader(server): Reader,
    Query400(query): Query400<ImageQuery>,
) -> Reply<Response> {
    let image = upkeep(&server).inspect(&query.name).await?.image;
    // It may be called by its digest, which is no name.
    let image = match parse(&query.name) {
        Ok(name) => image.called(&name.to_string()),
        Err(_) => image,
    };
    let mut pieces = server.context().images.save(image);
    let first = pieces.recv().await.transpose()?;
    let rest = stream::unfold(pieces, |mut pieces| async {
        let next = pieces.recv().await?;
        Some((next.map_err(|error| std::io::Error::other(crate::causes(&error))), pieces))
    });
    let all = stream::iter(first.map(Ok)).chain(rest);
    Ok(([(header::CONTENT_TYPE, api::TAR)], Body::from_stream(all)).into_response())
}

/// Makes the template of an image, if there is room for a machine of this shape.
async fn warm(
    server: &Server,
    shape: machine::Shape,
    image: &image::catalog::Image,
    out: &Lines,
) -> Reply<()> {
    let context = server.context();
    let _room = server.registry().room_for(shape)?;
    let platform = context.platform().await?;
    let notice = |step: &str| {
        let progress = PullProgress { step: step.to_owned(), ..PullProgress::default() };
        // A word that finds no room is not missed.
        drop(out.try_send(PullEvent::Progress(progress)));
    };
    let image = platform::base_image(image);
    let made = Box::pin(context.templates.warm(platform, shape, &image, &notice)).await;
    made.map(drop).map_err(|error| Failure::new(Code::MachineFailed, crate::causes(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_computer_are_for_who_is_on_it() {
        for text in ["./x.tar", "/etc/shadow", "oci:/x", "docker-archive:/x"] {
            assert!(matches!(reference(Some(text), Caller::Local), Ok(Reference::Local(_))));
            let Err(Failure(refusal)) = reference(Some(text), Caller::Remote) else {
                panic!("{text}");
            };
            assert_eq!(refusal.code, Code::BadRequest, "{text}");
        }
        let remote = reference(Some("python:3.13"), Caller::Remote).unwrap();
        assert_eq!(shown(&remote), "python:3.13");
        assert!(matches!(reference(None, Caller::Remote), Ok(Reference::Default)));
    }
}
