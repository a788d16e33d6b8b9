//! Who an image's user is, by the image's own `/etc/passwd` and `/etc/group`.

use std::io;

use crate::catalog::Account;
use crate::disk::tree::Tree;

/// Of each of the two files, as far as they are read.
const FILE_BYTES_MAX: u64 = 1 << 20;
const GROUPS_MAX: usize = 1024;
/// Linux has more, but no tool gives an image more.
const ID_MAX: u32 = i32::MAX as u32;
const NO_HOME: &str = "/";

/// The two files.
#[derive(Debug)]
pub(super) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    pub(super) fn of(tree: &Tree) -> io::Result<Self> {
        let read = |path: &str| {
            let mut bytes = tree.read(path, FILE_BYTES_MAX)?.unwrap_or_default();
            // A line that is cut says something else than it did.
            if bytes.len() as u64 == FILE_BYTES_MAX {
                bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or_default());
            }
            io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self { passwd: read("/etc/passwd")?, group: read("/etc/group")? })
    }

    /// Who `user` is, and where they are at home. `user` is a name or a number, and a group after a
    /// colon, a name or a number too. As runtimes have it, an unknown number is that user in group
    /// 0, and who has a group said belongs to no others; an unknown name is nobody.
    pub(super) fn find(&self, user: &str) -> (Option<Account>, String) {
        let (user, group) = match user.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (user, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let number = number(user);
        let entry = self.user(|name, _| name == user);
        let entry = entry.or_else(|| self.user(|_, uid| Some(uid) == number));
        let home = entry.as_ref().map_or(NO_HOME, |entry| entry.home).to_owned();
        let (name, uid, gid) = match (entry, number) {
            (Some(entry), _) => (Some(entry.name), entry.uid, entry.gid),
            (None, Some(uid)) => (None, uid, 0),
            // Whom every kernel knows.
            (None, None) if user == "root" => (None, 0, 0),
            (None, None) => return (None, home),
        };
        let account = match group {
            Some(group) => self.group(group).map(|gid| Account { uid, gid, groups: Vec::new() }),
            None => Some(Account { uid, gid, groups: self.memberships(name, gid) }),
        };
        (account, home)
    }

    fn user(&self, is_wanted: impl Fn(&str, u32) -> bool) -> Option<Entry<'_>> {
        let mut entries = self.passwd.lines().filter_map(Entry::parse);
        entries.find(|entry| is_wanted(entry.name, entry.uid))
    }

    fn group(&self, wanted: &str) -> Option<u32> {
        let groups = || self.group.lines().filter_map(group_of);
        let by_name = groups().find(|(name, ..)| *name == wanted).map(|(_, gid, _)| gid);
        by_name.or_else(|| number(wanted))
    }

    /// The groups that name the user as a member.
    fn memberships(&self, user: Option<&str>, own: u32) -> Vec<u32> {
        let Some(user) = user else { return Vec::new() };
        let mut found = Vec::new();
        for (_, gid, members) in self.group.lines().filter_map(group_of) {
            let is_member = members.split(',').any(|member| member == user);
            if is_member && gid != own && !found.contains(&gid) && found.len() < GROUPS_MAX {
                found.push(gid);
            }
        }
        found
    }
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    /// Of a line `name:password:uid:gid:comment:home:shell`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = number(fields.nth(1)?)?;
        let gid = number(fields.next()?)?;
        let home = fields.nth(1).filter(|home| home.starts_with('/')).unwrap_or(NO_HOME);
        Some(Self { name, uid, gid, home })
    }
}

/// Name, number and members of a line `name:password:gid:members`.
fn group_of(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = number(fields.nth(1)?)?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number <= ID_MAX)
}

#[cfg(test)]
mod tests;
