//! Drives: create, list, get, fork, delete; and how a sandbox asks for them.

use std::collections::{BTreeMap, HashSet};

use api::{CreateDrive, DriveQuery, DriveSort, ForkDrive, Mount, MountMode};
use axum::{Json, extract::Path, http::StatusCode};

use super::{
    Reader, Server,
    error::{Failure, Reply},
    json::{Body400, Query400},
    paging::{Wanted, by_time, is_by_time},
    placement,
    wire::region,
};
use crate::{
    drives::{DriveView, Made, NewDrive},
    ids::{DriveName, Project},
    store::MountRecord,
};

/// Where no drive is mounted: the kernel's own file systems, and what the clients keep to themselves.
const RESERVED: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/boot", "/lib/modules"];

type DriveReply = Json<api::DriveReply>;

pub(crate) async fn create(
    server: Server,
    Path(name): Path<String>,
    Body400(body): Body400<CreateDrive>,
) -> Reply<(StatusCode, DriveReply)> {
    let name = parse(&name)?;
    let project = server.project(body.project_id.as_deref())?;
    let bytes = body.max_size_bytes.unwrap_or(api::DRIVE_BYTES);
    let allowed = api::DRIVE_BYTES_MIN..=api::DRIVE_BYTES_MAX;
    if !allowed.contains(&bytes) {
        let (min, max) = (allowed.start(), allowed.end());
        return Err(Failure::invalid(format!("`maxSizeBytes` must be {min} to {max}")));
    }
    // Whole mebibytes: a file system is made of whole groups of blocks.
    let bytes = bytes.next_multiple_of(1 << 20);
    let region = body.region.map(|region| placement::parse("region", &region)).transpose()?;
    let new = NewDrive { project, name, region, bytes };
    let (drive, made) = server.context().drives.create(new).await?;
    let status = if made == Made::Now { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, reply(drive)))
}

pub(crate) async fn get(Reader(server): Reader, Path(name): Path<String>) -> Reply<DriveReply> {
    Ok(reply(server.context().drives.find(&server.project(None)?, &parse(&name)?)?))
}

pub(crate) async fn remove(server: Server, Path(name): Path<String>) -> Reply<DriveReply> {
    let project = server.project(None)?;
    Ok(reply(server.context().drives.remove(&project, &parse(&name)?).await?))
}

pub(crate) async fn fork(
    server: Server,
    Path(name): Path<String>,
    Body400(body): Body400<ForkDrive>,
) -> Reply<(StatusCode, DriveReply)> {
    let (name, fork) = (parse(&name)?, parse(&body.name)?);
    let project = server.project(body.project_id.as_deref())?;
    let drive = server.context().drives.fork(&project, &name, fork).await?;
    Ok((StatusCode::CREATED, reply(drive)))
}

pub(crate) async fn list(
    Reader(server): Reader,
    Query400(query): Query400<DriveQuery>,
) -> Reply<Json<api::DriveList>> {
    let sort_by = query.sort_by.unwrap_or(DriveSort::CreatedAt);
    let is_place = |text: &str| match sort_by {
        DriveSort::CreatedAt | DriveSort::UpdatedAt => is_by_time(text),
        DriveSort::Name => DriveName::parse(text).is_ok(),
    };
    let wanted = Wanted::new(query.limit, query.sort_order, query.cursor.as_deref(), is_place)?;
    let all = server.context().drives.list(&server.project(None)?);
    let mut all: Vec<api::Drive> = all.into_iter().map(told).collect();
    if let Some(prefix) = &query.name_prefix {
        all.retain(|drive| drive.name.starts_with(prefix));
    }
    let (drives, pagination) = wanted.page(all, |drive| match sort_by {
        DriveSort::CreatedAt => by_time(drive.created_at, &drive.name),
        DriveSort::UpdatedAt => by_time(drive.updated_at, &drive.name),
        DriveSort::Name => drive.name.clone(),
    });
    Ok(Json(api::DriveList { drives, pagination }))
}

fn parse(name: &str) -> Reply<DriveName> {
    DriveName::parse(name).map_err(Failure::invalid)
}

fn reply(drive: DriveView) -> DriveReply {
    Json(api::DriveReply { drive: told(drive) })
}

fn told(view: DriveView) -> api::Drive {
    let DriveView { record, writer, used_bytes } = view;
    let (session, sandbox) = writer.unzip();
    api::Drive {
        id: record.id.to_string(),
        name: record.name.to_string(),
        project_id: record.project.to_string(),
        region: region(record.region.as_deref()),
        max_size_bytes: record.bytes,
        used_bytes,
        current_session_id: session.map(|id| id.to_string()),
        current_sandbox_name: sandbox.map(|name| name.to_string()),
        parent_drive_id: record.parent.map(|id| id.to_string()),
        root_drive_id: record.root.map(|id| id.to_string()),
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

/// What a sandbox asks to have mounted, as it is stored.
pub(crate) fn asked(mounts: &BTreeMap<String, Mount>) -> Reply<BTreeMap<String, MountRecord>> {
    let max = api::MOUNTS_MAX;
    if max < mounts.len() {
        return Err(Failure::invalid(format!("`mounts` may be {max} at most")));
    }
    let record = |(path, mount): (&String, &Mount)| {
        let why = path_fault(path).or_else(|| {
            let others = mounts.keys().filter(|other| *other != path);
            let above = others.clone().find(|other| is_below(path, other))?;
            Some(format!("lies below {above}, where another drive is mounted"))
        });
        if let Some(why) = why {
            return Err(Failure::invalid(format!("`mounts`: the path {path:?} {why}")));
        }
        let drive = DriveName::parse(&mount.drive)
            .map_err(|error| Failure::invalid(format!("`mounts`: {:?}: {error}", mount.drive)))?;
        Ok((path.clone(), MountRecord { drive, mode: mount.mode }))
    };
    let records = mounts.iter().map(record).collect::<Reply<BTreeMap<_, _>>>()?;
    let mut written = HashSet::new();
    let writes = |mount: &&MountRecord| mount.mode == MountMode::ReadWrite;
    match records.values().filter(writes).find(|mount| !written.insert(&mount.drive)) {
        Some(MountRecord { drive, .. }) => Err(Failure::invalid(format!(
            "`mounts`: the drive '{drive}' is to be written at two paths"
        ))),
        None => Ok(records),
    }
}

/// Finds the drives that are to be mounted later: what is not there now would keep a session from
/// starting.
pub(crate) fn find_all<'a>(
    server: &Server,
    project: &Project,
    mounts: impl Iterator<Item = (&'a String, &'a Mount)>,
) -> Reply<()> {
    for (_, mount) in mounts {
        server.context().drives.find(project, &parse(&mount.drive)?)?;
    }
    Ok(())
}

/// Why nothing is mounted at this path.
fn path_fault(path: &str) -> Option<String> {
    let max = api::MOUNT_PATH_BYTES_MAX;
    if max < path.len() {
        return Some(format!("is longer than {max} bytes"));
    }
    let Some(names) = path.strip_prefix('/') else { return Some("is not absolute".to_owned()) };
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(char::is_control);
    if !names.split('/').all(is_name) {
        return Some("is not of the form /a/b, or the root itself".to_owned());
    }
    let taken = RESERVED.iter().find(|taken| path == **taken || is_below(path, taken))?;
    Some(format!("is in {taken}, which is the system's"))
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

pub(crate) fn shown((path, mount): (&String, &MountRecord)) -> (String, Mount) {
    (path.clone(), Mount { drive: mount.drive.to_string(), mode: mount.mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_are_mounted_where_nothing_of_the_system_is() {
        for good in ["/data", "/a/b", "/home/u/.cache", "/runner", "/var/lib/docker", "/ä"] {
            assert_eq!(path_fault(good), None, "{good}");
        }
        let long = format!("/{}", "x".repeat(256));
        for bad in [
            "",
            "/",
            "data",
            "./data",
            "/a/",
            "//a",
            "/a//b",
            "/a/../b",
            "/.",
            "/a\n",
            "/proc",
            "/proc/1",
            "/sys/fs",
            "/dev/shm",
            "/run/cell",
            "/run/vercel/share",
            "/lib/modules/6",
            &long,
        ] {
            assert!(path_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn no_drive_is_mounted_in_another_and_there_are_four() {
        let read = |path: &&str| {
            let mount = Mount { drive: "d".to_owned(), mode: MountMode::ReadOnly };
            ((*path).to_owned(), mount)
        };
        let mounts = |paths: &[&str]| -> BTreeMap<_, _> { paths.iter().map(read).collect() };
        assert!(asked(&mounts(&["/a", "/ab", "/b/c", "/b/d"])).is_ok());
        assert!(asked(&mounts(&["/a", "/a/b"])).is_err());
        assert!(asked(&mounts(&["/a", "/b", "/c", "/d", "/e"])).is_err());
    }

    #[test]
    fn a_drive_is_written_at_one_path() {
        let mounts = |modes: [MountMode; 2]| -> BTreeMap<_, _> {
            let mount = |mode| Mount { drive: "d".to_owned(), mode };
            ["/a", "/b"].map(str::to_owned).into_iter().zip(modes.map(mount)).collect()
        };
        assert!(asked(&mounts([MountMode::ReadWrite, MountMode::Snapshot])).is_ok());
        let Failure(twice) = asked(&mounts([MountMode::ReadWrite; 2])).unwrap_err();
        assert!(twice.message.contains("`mounts`"), "{twice:?}");
    }
}
