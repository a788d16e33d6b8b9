//! Calls about drives and snapshots.

use http::Method;

use super::{
    Client, ClientError,
    exchange::Exchange,
    path::{query_string, segment, session_path},
};
use crate::drive::{CreateDrive, DriveList, DriveQuery, DriveReply, ForkDrive};
use crate::snapshot::{
    CreateSnapshot, CreateSnapshotReply, PageQuery, SnapshotList, SnapshotReply,
};

impl Client {
    pub async fn drives(&self, query: &DriveQuery) -> Result<DriveList, ClientError> {
        self.get(&format!("/v2/sandboxes/drives{}", query_string(query))).reply().await
    }

    /// Makes a drive, if it is not there.
    pub async fn create_drive(
        &self,
        name: &str,
        spec: &CreateDrive,
    ) -> Result<DriveReply, ClientError> {
        self.post(&drive_path(name, "")).json(spec).reply().await
    }

    pub async fn delete_drive(&self, name: &str) -> Result<DriveReply, ClientError> {
        Exchange::new(self, Method::DELETE, &drive_path(name, "")).reply().await
    }

    pub async fn fork_drive(&self, name: &str, fork: &str) -> Result<DriveReply, ClientError> {
        let asked = ForkDrive { name: fork.to_owned(), project_id: None };
        self.post(&drive_path(name, "/fork")).json(&asked).reply().await
    }

    /// Makes the disk of a session a snapshot, which ends the session, unless its memory is kept too.
    pub async fn take_snapshot(
        &self,
        session: &str,
        asked: &CreateSnapshot,
    ) -> Result<CreateSnapshotReply, ClientError> {
        let path = session_path(session, "/snapshot");
        self.post(&path).json(asked).reply().await
    }

    pub async fn snapshots(&self, query: &PageQuery) -> Result<SnapshotList, ClientError> {
        self.get(&format!("/v2/sandboxes/snapshots{}", query_string(query))).reply().await
    }

    pub async fn snapshot(&self, id: &str) -> Result<SnapshotReply, ClientError> {
        self.get(&snapshot_path(id)).reply().await
    }

    pub async fn delete_snapshot(&self, id: &str) -> Result<SnapshotReply, ClientError> {
        Exchange::new(self, Method::DELETE, &snapshot_path(id)).reply().await
    }
}

fn drive_path(name: &str, rest: &str) -> String {
    format!("/v2/sandboxes/drives/{}{rest}", segment(name))
}

fn snapshot_path(id: &str) -> String {
    format!("/v2/sandboxes/snapshots/{}", segment(id))
}
