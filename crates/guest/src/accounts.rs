//! Users and groups of the guest, read from `/etc/passwd` and `/etc/group`: a static program has no
//! name service.

use std::path::Path;

use crate::guest_file::read;

const GROUPS_MAX: usize = 1024;

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
    pub(crate) shell: String,
}

impl Account {
    /// A user by name or by number. A number without an entry is a user without a name.
    pub(crate) fn find(root: &Path, user: &str) -> Option<Self> {
        let passwd = read(&root.join("etc/passwd"));
        let number = user.parse().ok();
        let entries = || passwd.lines().filter_map(Self::parse);
        let mut account = entries()
            .find(|account| account.name == user)
            .or_else(|| entries().find(|account| Some(account.uid) == number))
            .or_else(|| number.map(|uid| Self::nameless(user, uid)))?;
        account.groups = groups(&read(&root.join("etc/group")), &account);
        Some(account)
    }

    pub(crate) fn root() -> Self {
        Self {
            name: "root".into(),
            uid: 0,
            gid: 0,
            groups: vec![0],
            home: "/root".into(),
            shell: "/bin/sh".into(),
        }
    }

    fn nameless(user: &str, uid: u32) -> Self {
        Self {
            name: user.to_owned(),
            uid,
            gid: uid,
            groups: Vec::new(),
            home: "/".into(),
            shell: "/bin/sh".into(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let or = |field: Option<&str>, default: &str| {
            field.filter(|field| !field.is_empty()).unwrap_or(default).to_owned()
        };
        let home = or(fields.nth(1), "/");
        let shell = or(fields.next(), "/bin/sh");
        Some(Self { name: name.to_owned(), uid, gid, groups: Vec::new(), home, shell })
    }
}

/// The account's own group first, then those that name it as a member.
fn groups(group: &str, account: &Account) -> Vec<u32> {
    let mut groups = vec![account.gid];
    for line in group.lines() {
        let mut fields = line.split(':');
        let Some(gid) = fields.nth(2).and_then(|gid| gid.parse().ok()) else { continue };
        let members = fields.next().unwrap_or_default();
        let is_member = members.split(',').any(|member| member == account.name);
        if is_member && !groups.contains(&gid) && groups.len() < GROUPS_MAX {
            groups.push(gid);
        }
    }
    groups
}

#[cfg(test)]
mod tests;
