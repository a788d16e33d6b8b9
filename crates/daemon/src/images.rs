//! Images of sandboxes: from what a client calls one to a disk that is here.
//!
//! An image that is not here is brought here by one task, whoever asks for it meanwhile. All who ask
//! watch how far it is; when the last of them goes away it is broken off, and what has come is kept.

mod choice;
mod commit;
mod error;
mod obtain;
mod origin;
mod outgoing;
mod push;
mod remembered;
mod turns;
mod upkeep;
mod usage;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use api::PullPolicy;
use image::{
    catalog::{self, Image},
    reference::{Local, Reference},
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use commit::{CopyError, Disk};
pub(crate) use error::ImageError;
pub(crate) use obtain::Progress;
pub(crate) use origin::parse;
pub use origin::{image_name, is_image_tag};
pub(crate) use remembered::Remembered;
pub(crate) use upkeep::{Described, Prune, Removed, Stood, Upkeep};

use crate::{config::Paths, ids::Project, platform, uplink::Uplink};
use turns::Turns;

/// All images of one server, and those on their way.
#[derive(Debug)]
pub(crate) struct Images {
    paths: Paths,
    uplink: Uplink,
    coming: Mutex<BTreeMap<(Reference, Reach), Weak<Coming>>>,
    turns: Arc<Turns>,
}

/// For whom an image is brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whose {
    /// In whose turn.
    pub(crate) project: Project,
    pub(crate) reach: Reach,
}

/// Which registries are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    #[default]
    All,
    /// Those that lead to no network of the host's own.
    Public,
}

/// An image on its way. Dropped by all who wait for it, it is broken off.
#[derive(Debug)]
pub(crate) struct Coming {
    state: watch::Receiver<State>,
    _stop: DropGuard,
}

#[derive(Clone, Debug)]
enum State {
    Underway(Progress),
    Here(Arc<Image>),
    Failed(Arc<ImageError>),
}

impl Coming {
    /// The next that is new, and the image at the end.
    pub(crate) async fn next(
        &self,
        state: &mut Watcher,
    ) -> Result<std::ops::ControlFlow<Image, Progress>, Arc<ImageError>> {
        use std::ops::ControlFlow::{Break, Continue};
        if state.changed().await.is_err() {
            return Err(Arc::new(ImageError::Closing));
        }
        match &*state.0.borrow_and_update() {
            State::Underway(progress) => Ok(Continue(progress.clone())),
            State::Here(image) => Ok(Break(Image::clone(image))),
            State::Failed(error) => Err(Arc::clone(error)),
        }
    }

    pub(crate) fn watch(&self) -> Watcher {
        let mut state = self.state.clone();
        state.mark_changed();
        Watcher(state)
    }

    /// The image, once it is here.
    async fn arrived(&self) -> Result<Image, Arc<ImageError>> {
        let mut watcher = self.watch();
        loop {
            if let std::ops::ControlFlow::Break(image) = self.next(&mut watcher).await? {
                return Ok(image);
            }
        }
    }
}

/// What one caller has seen of an image on its way.
#[derive(Debug)]
pub(crate) struct Watcher(watch::Receiver<State>);

impl Watcher {
    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.0.changed().await
    }
}

/// Where an image is.
#[derive(Debug)]
pub(crate) enum Found {
    Here(Box<Image>),
    Coming(Arc<Coming>),
}

impl Found {
    /// The image, waited for if it has to come first.
    pub(crate) async fn arrived(self) -> Result<Image, Arc<ImageError>> {
        match self {
            Self::Here(image) => Ok(*image),
            Self::Coming(coming) => coming.arrived().await,
        }
    }
}

impl Images {
    pub(crate) fn new(paths: Paths, uplink: Uplink) -> Self {
        Self { paths, uplink, coming: Mutex::default(), turns: Arc::new(Turns::new()) }
    }

    /// The image here, or on its way.
    pub(crate) async fn find(
        &self,
        whose: Whose,
        reference: &Reference,
        policy: PullPolicy,
    ) -> Result<Found, ImageError> {
        if policy != PullPolicy::Always || origin::is_only_here(reference) {
            match self.here(reference).await? {
                Some(image) => return Ok(Found::Here(Box::new(image))),
                None if origin::is_only_here(reference) => return Err(ImageError::NotSetUp),
                None if policy == PullPolicy::Never => {
                    return Err(ImageError::NotHere(reference.clone()));
                }
                None => {}
            }
        }
        Ok(Found::Coming(self.fetch(whose, reference)))
    }

    /// An image in a file or folder, to be called so from now on.
    pub(crate) fn import(&self, whose: Whose, local: Local, name: &Reference) -> Found {
        let name = origin::name_of(name);
        Found::Coming(self.start(whose, Reference::Local(local), name))
    }

    /// The image in the cache that has the reference's name.
    async fn here(&self, reference: &Reference) -> Result<Option<Image>, ImageError> {
        let Some(name) = origin::name_of(reference) else { return Ok(None) };
        self.blocking(move |paths| match catalog::open(&platform::cache(paths)?, &name) {
            Ok(image) => Ok(Some(image)),
            Err(catalog::OpenError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }

    /// The very image that is remembered.
    pub(crate) async fn recall(&self, of: Remembered) -> Result<Image, ImageError> {
        self.blocking(move |paths| of.find(&platform::cache(paths)?)).await
    }

    fn fetch(&self, whose: Whose, reference: &Reference) -> Arc<Coming> {
        let mut coming = self.coming();
        coming.retain(|_, task| task.strong_count() > 0);
        let wanted = (reference.clone(), whose.reach);
        let underway = coming.get(&wanted).and_then(Weak::upgrade);
        // One that has ended is asked for anew: what it found may be another one by now.
        if let Some(task) = underway.filter(|task| task.is_underway()) {
            return task;
        }
        let task = self.start(whose, reference.clone(), None);
        coming.insert(wanted, Arc::downgrade(&task));
        task
    }

    fn start(&self, whose: Whose, reference: Reference, name: Option<String>) -> Arc<Coming> {
        let (out, state) = watch::channel(State::Underway(Progress::default()));
        let stop = CancellationToken::new();
        let job = obtain::Job {
            paths: self.paths.clone(),
            settings: origin::settings(&self.uplink, whose.reach, |name| std::env::var(name).ok()),
            reference,
            name,
            stop: stop.clone(),
        };
        let (turns, given_up) = (Arc::clone(&self.turns), stop.clone());
        tokio::spawn(async move {
            let turn = tokio::select! {
                turn = turns.take(whose.project) => turn,
                () = given_up.cancelled() => return,
            };
            let work = move || {
                work(job, &out);
                // Until here it was somebody's turn.
                drop(turn);
            };
            // Who waits finds the channel closed where this did not come to its end.
            drop(tokio::task::spawn_blocking(work).await);
        });
        Arc::new(Coming { state, _stop: stop.drop_guard() })
    }

    /// Notes that a sandbox is made of the image.
    pub(crate) async fn note_use(&self, digest: &str) {
        let digest = digest.to_owned();
        let now = std::time::UNIX_EPOCH + crate::clock::since_1970();
        let note = move |paths: &Paths| {
            usage::note(paths, &digest, now)
                .map_err(|source| ImageError::Io { what: "its use could not be noted", source })
        };
        if let Err(error) = self.blocking(note).await {
            tracing::warn!(%error, "when an image was used is not known");
        }
    }

    /// Work on the cache, which blocks.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Paths) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let paths = self.paths.clone();
        let done = tokio::task::spawn_blocking(move || work(&paths)).await;
        done.unwrap_or(Err(ImageError::Closing))
    }

    fn coming(&self) -> MutexGuard<'_, BTreeMap<(Reference, Reach), Weak<Coming>>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(job: obtain::Job, out: &watch::Sender<State>) {
    let report = |progress| drop(out.send(State::Underway(progress)));
    let ended = match obtain::obtain(job, &report) {
        Ok(image) => State::Here(Arc::new(image)),
        Err(error) => State::Failed(Arc::new(error)),
    };
    // Nobody may be waiting any more.
    drop(out.send(ended));
}

impl Coming {
    fn is_underway(&self) -> bool {
        matches!(&*self.state.borrow(), State::Underway(_))
    }
}
