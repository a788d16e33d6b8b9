//! Templates: freezing a machine into one, and starting machines on one.

use tokio::time::{Duration, sleep, timeout};

use super::{
    launch::{Launch, Origin, remove_if_there},
    *,
};
use crate::{
    Draft, ForkPoint, Platform, Template, arguments::Memory, failure::chain, ram, template::OnDisk,
};

/// Saving and restoring move the devices only, some hundred kilobytes.
const MIGRATION: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);

/// The saved devices, in the machine's folder until they are the template's.
const STATE: &str = "state";

#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("QEMU could not save or restore the machine")]
    Control(#[from] ControlError),
    #[error("it ended as {status}: {why}")]
    Failed { status: String, why: String },
    #[error("the template cannot be put in place")]
    Io(#[from] io::Error),
}

impl Machine {
    /// Starts a machine on the memory of a template, which it reads and can never change.
    pub async fn clone_from(
        platform: &Platform,
        template: &Template,
        spec: CloneSpec,
    ) -> Result<Self, Box<BootFailure>> {
        let (ram, state) = (template.ram(), template.state());
        let saved = Saved { shape: template.shape(), state: &state, of: Of::Template };
        restored(platform, saved, &spec, Memory::CopyOnWrite(&ram)).await
    }

    /// Starts a machine that has the memory of another which runs, its processes, and its disk as it
    /// was then: the layers of `spec` are those that the fork left below the other.
    pub async fn clone_fork(
        platform: &Platform,
        point: &ForkPoint,
        spec: CloneSpec,
    ) -> Result<Self, Box<BootFailure>> {
        let saved = Saved { shape: point.shape, state: &point.state, of: Of::Fork };
        restored(platform, saved, &spec, Memory::CopyOnWrite(&point.ram)).await
    }

    /// Starts a machine on a *copy* of a template's memory, in `draft`, so that it can be changed
    /// and saved as another template.
    pub async fn thaw(
        platform: &Platform,
        template: &Template,
        draft: &Draft,
        spec: CloneSpec,
    ) -> Result<Self, Box<BootFailure>> {
        let (from, ram) = (template.ram(), draft.ram());
        let to = ram.clone();
        let copy = move || {
            // What an attempt before this one left.
            remove_if_there(&to)?;
            ram::copy(&from, &to)
        };
        let copied = spawn_blocking(copy).await;
        if let Err(error) = copied.unwrap_or_else(|error| Err(io::Error::other(error))) {
            let started = Instant::now();
            let about =
                launch::About { id: spec.id, folder: &spec.folder, arguments: &[], started };
            return Err(Box::new(about.failure(Step::Spawn, chain(&error))));
        }
        let state = template.state();
        let saved = Saved { shape: template.shape(), state: &state, of: Of::Template };
        restored(platform, saved, &spec, Memory::Shared(&ram)).await
    }

    /// Freezes the machine into a template and ends it. Its RAM must be the draft's.
    pub async fn save_template(self, draft: Draft) -> Result<Template, SaveError> {
        let saved = self.save_devices().await;
        let state = self.folder.join(STATE);
        self.kill().await;
        saved?;
        let finished = spawn_blocking(move || draft.finish(&state, OnDisk::Now)).await;
        Ok(finished.map_err(io::Error::other)??)
    }

    async fn save_devices(&self) -> Result<(), SaveError> {
        self.stop().await?;
        self.leave_ram_where_it_is().await?;
        // By a relative name: the process is in its folder.
        self.qmp.ask("migrate", json!({ "uri": format!("file:{STATE}") })).await?;
        self.migrated(MIGRATION).await
    }

    async fn load(&self, state: &Path, of: Of) -> Result<(), SaveError> {
        match of {
            Of::Template => self.leave_ram_where_it_is().await?,
            Of::Fork => {}
        }
        let uri = format!("file:{}", state.display());
        self.qmp.ask("migrate-incoming", json!({ "uri": uri })).await?;
        self.migrated(MIGRATION).await
    }

    async fn leave_ram_where_it_is(&self) -> Result<(), ControlError> {
        let capability = json!({ "capability": "x-ignore-shared", "state": true });
        let arguments = json!({ "capabilities": [capability] });
        self.qmp.ask("migrate-set-capabilities", arguments).await.map(drop)
    }

    pub(super) async fn migrated(&self, within: Duration) -> Result<(), SaveError> {
        let finished = async {
            loop {
                let told = self.qmp.ask("query-migrate", json!({})).await?;
                match told["status"].as_str().unwrap_or("none") {
                    "completed" => return Ok(()),
                    status @ ("failed" | "cancelled") => {
                        let why = told["error-desc"].as_str().unwrap_or("no reason given");
                        let (status, why) = (status.to_owned(), why.to_owned());
                        return Err(SaveError::Failed { status, why });
                    }
                    _ => sleep(POLL).await,
                }
            }
        };
        timeout(within, finished)
            .await
            .unwrap_or_else(|_| Err(ControlError::Timeout { command: "migrate".into() }.into()))
    }
}

/// A machine that is saved.
#[derive(Clone, Copy, Debug)]
struct Saved<'a> {
    shape: Shape,
    state: &'a Path,
    of: Of,
}

/// What the state is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// The devices; the memory is that of the file.
    Template,
    /// The devices, and the pages that are not as in the file.
    Fork,
}

async fn restored(
    platform: &Platform,
    saved: Saved<'_>,
    spec: &CloneSpec,
    memory: Memory<'_>,
) -> Result<Machine, Box<BootFailure>> {
    let Saved { shape, state, of } = saved;
    let machine = launch::start(&Launch {
        platform,
        id: spec.id,
        folder: &spec.folder,
        shape,
        root: &spec.root,
        memory,
        origin: match of {
            Of::Template => Origin::Restore(state),
            Of::Fork => Origin::Fork(state),
        },
    })
    .await?;
    let running = async {
        machine.load(state, of).await?;
        match spec.start {
            Start::Running => machine.cont().await?,
            Start::Parked => {}
        }
        Ok::<(), SaveError>(())
    };
    let leash = machine.leash();
    match running.await {
        Ok(()) => {
            leash.release();
            Ok(machine)
        }
        Err(error) => Err(machine.fail(Step::Restore, chain(&error)).await),
    }
}
