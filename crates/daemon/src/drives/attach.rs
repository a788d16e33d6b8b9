//! Drives in the hands of sessions: from before the machine is made until it is gone.

use std::{collections::BTreeMap, io, sync::Arc};

use machine::Drive;
use protocol::Access;

use super::{DriveError, Drives, Known};
use crate::{
    clock, failpoint,
    ids::{LayerId, Project, SandboxName, SessionId},
    limits,
    store::{
        AttachmentRecord, DriveChange, DriveRecord, Hold, LayerForm, LayerRecord, MountRecord,
    },
};

/// A drive as a machine and its guest are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Plug {
    pub(crate) drive: Drive,
    pub(crate) mount: protocol::Mount,
}

impl Drives {
    /// Gives a session its drives, all or none; from here on they are its own until
    /// [`Drives::detach`].
    pub(crate) async fn attach(
        &self,
        (project, sandbox, session): (&Project, &SandboxName, &SessionId),
        mounts: &BTreeMap<String, MountRecord>,
    ) -> Result<Vec<Plug>, DriveError> {
        if mounts.is_empty() {
            return Ok(Vec::new());
        }
        let mut plugs = Vec::new();
        let mut taken: Vec<(AttachmentRecord, DriveRecord)> = Vec::new();
        {
            let _one_at_a_time = self.changing.lock().await;
            for (number, (path, mount)) in mounts.iter().enumerate() {
                let drive = self.known().find(project, &mount.drive)?.clone();
                let hold = hold(&self.known(), &taken, &drive, mount.mode)?;
                let held = AttachmentRecord {
                    session: session.clone(),
                    sandbox: sandbox.clone(),
                    path: path.clone(),
                    drive: drive.id.clone(),
                    layers: drive.layers.clone(),
                    head: LayerId::random(),
                    hold,
                };
                plugs.push(self.plug(number, &drive, &held));
                taken.push((held, drive));
            }
            let held = taken.iter().map(|(held, _)| DriveChange::Attachment(held.clone()));
            self.commit(held.collect()).await?;
        }
        failpoint::pass("drives-recorded");
        for (held, drive) in taken {
            self.format(&drive).await?;
            self.make_head(&held.head, drive.bytes).await?;
        }
        Ok(plugs)
    }

    fn plug(&self, number: usize, drive: &DriveRecord, held: &AttachmentRecord) -> Plug {
        let serial = format!("drive{number}");
        let access = match held.hold {
            Hold::Reader => Access::ReadOnly,
            Hold::Writer { .. } if drive.initialized => Access::Writable,
            Hold::Writer { .. } => Access::New,
        };
        Plug {
            drive: Drive::Overlay {
                file: self.path(&held.head, LayerForm::Qcow2),
                layers: self.stack(&held.layers),
                serial: serial.clone(),
            },
            mount: protocol::Mount { serial, path: held.path.clone(), access },
        }
    }

    /// The guest is about to mount them: from here on what is written may be somebody's work.
    pub(crate) async fn note_mounted(&self, session: &SessionId) -> Result<(), DriveError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut held = self.held_by(session);
        held.retain(|held| matches!(held.hold, Hold::Writer { .. }));
        held.iter_mut().for_each(|held| held.hold = Hold::Writer { mounted: true });
        Ok(self.commit(held.into_iter().map(DriveChange::Attachment).collect()).await?)
    }

    /// Whether the session has any, whatever its sandbox is to mount next time.
    pub(crate) fn are_with(&self, session: &SessionId) -> bool {
        self.known().attachments.iter().any(|held| held.session == *session)
    }

    /// Whether the session writes to a drive.
    pub(crate) fn has_writer(&self, session: &SessionId) -> bool {
        self.held_by(session).iter().any(|held| matches!(held.hold, Hold::Writer { .. }))
    }

    /// Takes its drives from a session whose machine is gone. What it wrote is theirs now.
    pub(crate) async fn detach(self: &Arc<Self>, session: &SessionId) -> Result<(), DriveError> {
        let mut written = Vec::new();
        let held = {
            let _one_at_a_time = self.changing.lock().await;
            let held = self.held_by(session);
            let mut changes = Vec::new();
            for held in &held {
                changes.push(DriveChange::RemoveAttachment(held.clone()));
                let drive = self.known().drives.get(&held.drive).cloned();
                if let (Hold::Writer { mounted: true }, Some(drive)) = (held.hold, drive) {
                    changes.push(DriveChange::Drive(with_head(drive, &held.head)));
                    written.push(held.drive.clone());
                }
            }
            if !changes.is_empty() {
                self.commit(changes).await?;
            }
            held
        };
        if !held.is_empty() {
            failpoint::pass("drives-detached");
        }
        let mut layers = Vec::new();
        for held in held {
            layers.extend(held.layers.into_iter().map(|layer| layer.id));
            layers.push(held.head);
        }
        self.remove_unused(layers).await;
        written.into_iter().for_each(|drive| self.merge_in_background(drive));
        Ok(())
    }

    /// After a start: takes the drives from sessions that are over, and removes what was left.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        is_over: impl Fn(&SessionId) -> bool,
    ) -> io::Result<()> {
        let sessions: Vec<SessionId> =
            self.known().attachments.iter().map(|held| held.session.clone()).collect();
        for session in sessions.iter().filter(|session| is_over(session)) {
            self.detach(session).await.map_err(io::Error::other)?;
        }
        self.sweep().await
    }

    fn held_by(&self, session: &SessionId) -> Vec<AttachmentRecord> {
        let known = self.known();
        known.attachments.iter().filter(|held| held.session == *session).cloned().collect()
    }
}

/// What a session may have of a drive, beside what it has `taken` already.
fn hold(
    known: &Known,
    taken: &[(AttachmentRecord, DriveRecord)],
    drive: &DriveRecord,
    mode: api::MountMode,
) -> Result<Hold, DriveError> {
    if limits::DRIVE_LAYERS_MAX <= drive.layers.len() {
        return Err(DriveError::TooDeep(drive.name.clone()));
    }
    match mode {
        api::MountMode::Snapshot | api::MountMode::ReadOnly if drive.initialized => {
            Ok(Hold::Reader)
        }
        api::MountMode::Snapshot | api::MountMode::ReadOnly => {
            Err(DriveError::NotInitialized(drive.name.clone()))
        }
        api::MountMode::ReadWrite => {
            let taken = taken.iter().map(|(held, _)| held);
            let writes = |held: &&AttachmentRecord| {
                held.drive == drive.id && matches!(held.hold, Hold::Writer { .. })
            };
            match known.attachments.iter().chain(taken).find(writes) {
                None => Ok(Hold::Writer { mounted: false }),
                Some(writer) => Err(DriveError::Attached {
                    name: drive.name.clone(),
                    sandbox: writer.sandbox.clone(),
                }),
            }
        }
    }
}

fn with_head(mut drive: DriveRecord, head: &LayerId) -> DriveRecord {
    drive.layers.push(LayerRecord { id: head.clone(), form: LayerForm::Qcow2 });
    drive.initialized = true;
    drive.updated_at = clock::now_ms();
    drive
}
