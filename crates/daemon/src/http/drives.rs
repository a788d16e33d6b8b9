//! Drives: create, list, get, fork, delete; and how a sandbox asks for them.

use std::collections::BTreeMap;

use api::{CreateDrive, DriveQuery, DriveSort, ForkDrive, Mount, SortOrder};
use axum::{Json, extract::Path, http::StatusCode};

use super::{
    Reader, Server,
    error::{Failure, Reply},
    json::{Body400, Query400},
    wire::REGION,
};
use crate::{
    drives::{DriveView, Made, NewDrive},
    ids::DriveName,
    store::MountRecord,
};

const LIST_LIMIT: u32 = 20;
const LIST_LIMIT_MAX: u32 = 50;

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
        return Err(fault(&format!("`maxSizeBytes` must be {min} to {max}")));
    }
    // Whole mebibytes: a file system is made of whole groups of blocks.
    let bytes = bytes.next_multiple_of(1 << 20);
    let new = NewDrive { project, name, region: body.region, bytes };
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
    let limit = query.limit.unwrap_or(LIST_LIMIT);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        return Err(fault(&format!("`limit` must be 1 to {LIST_LIMIT_MAX}")));
    }
    let sort_by = query.sort_by.unwrap_or(DriveSort::CreatedAt);
    let all = server.context().drives.list(&server.project(None)?);
    let mut all: Vec<api::Drive> = all.into_iter().map(told).collect();
    if let Some(prefix) = &query.name_prefix {
        all.retain(|drive| drive.name.starts_with(prefix));
    }
    all.sort_by_cached_key(|drive| {
        let first = match sort_by {
            DriveSort::CreatedAt => drive.created_at,
            DriveSort::UpdatedAt => drive.updated_at,
            DriveSort::Name => 0,
        };
        (first, drive.name.clone())
    });
    if query.sort_order.unwrap_or(SortOrder::Desc) == SortOrder::Desc {
        all.reverse();
    }
    Ok(Json(page(all, limit, query.cursor.as_deref())))
}

/// A cursor is the id of the last drive of the page before.
fn page(all: Vec<api::Drive>, limit: u32, cursor: Option<&str>) -> api::DriveList {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let after = cursor.and_then(|id| all.iter().position(|each| each.id == id));
    let from = after.map_or(0, |at| at + 1);
    let more = from + limit < all.len();
    let drives: Vec<_> = all.into_iter().skip(from).take(limit).collect();
    let next = drives.last().filter(|_| more).map(|last| last.id.clone());
    api::DriveList { pagination: api::Pagination { count: drives.len(), next }, drives }
}

fn parse(name: &str) -> Reply<DriveName> {
    DriveName::parse(name).map_err(|error| fault(&error.to_string()))
}

fn fault(text: &str) -> Failure {
    Failure::bad_request(format!("Invalid request: {text}"))
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
        region: record.region.unwrap_or_else(|| REGION.to_owned()),
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

/// What a sandbox asks to have mounted.
pub(crate) fn check(mounts: &BTreeMap<String, Mount>) -> Reply<()> {
    let max = api::MOUNTS_MAX;
    if max < mounts.len() {
        return Err(fault(&format!("`mounts` may be {max} at most")));
    }
    for (path, mount) in mounts {
        let why = path_fault(path).or_else(|| {
            let others = mounts.keys().filter(|other| *other != path);
            let above = others.clone().find(|other| is_below(path, other))?;
            Some(format!("lies below {above}, where another drive is mounted"))
        });
        if let Some(why) = why {
            return Err(fault(&format!("`mounts`: the path {path:?} {why}")));
        }
        DriveName::parse(&mount.drive)
            .map_err(|error| fault(&format!("`mounts`: {:?}: {error}", mount.drive)))?;
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

/// As it is stored; its name was checked.
pub(crate) fn recorded((path, mount): (String, Mount)) -> Option<(String, MountRecord)> {
    let drive = DriveName::parse(&mount.drive).ok()?;
    Some((path, MountRecord { drive, mode: mount.mode }))
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
        let mounts = |paths: &[&str]| -> BTreeMap<String, Mount> {
            let mount = Mount { drive: "d".to_owned(), mode: api::MountMode::ReadWrite };
            paths.iter().map(|path| ((*path).to_owned(), mount.clone())).collect()
        };
        assert!(check(&mounts(&["/a", "/ab", "/b/c", "/b/d"])).is_ok());
        assert!(check(&mounts(&["/a", "/a/b"])).is_err());
        assert!(check(&mounts(&["/a", "/b", "/c", "/d", "/e"])).is_err());
    }
}
