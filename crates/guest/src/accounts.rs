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
    /// A user by name or by number, with `:GROUP` in another group than its own, as images have it.
    /// A number without an entry is a user without a name; root needs no entry.
    pub(crate) fn find(root: &Path, user: &str) -> Option<Self> {
        let (user, group) = match user.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (user, None),
        };
        let passwd = read(&root.join("etc/passwd"));
        let number = user.parse().ok();
        let entries = || passwd.lines().filter_map(Self::parse);
        let mut account = entries()
            .find(|account| account.name == user)
            .or_else(|| entries().find(|account| Some(account.uid) == number))
            .or_else(|| Self::without_entry(user, number))?;
        let groups_file = read(&root.join("etc/group"));
        match group {
            None => account.groups = groups(&groups_file, &account),
            // As containers have it: a group that is named is the only one.
            Some(group) => {
                account.gid = group_number(&groups_file, group)?;
                account.groups = vec![account.gid];
            }
        }
        Some(account)
    }

    fn without_entry(user: &str, number: Option<u32>) -> Option<Self> {
        if user == "root" || number == Some(0) {
            return Some(Self { home: "/".into(), ..Self::root() });
        }
        number.map(|uid| Self::nameless(user, uid))
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
            // As containers have it.
            gid: 0,
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

/// A group by name or by number.
fn group_number(file: &str, group: &str) -> Option<u32> {
    let mut lines = file.lines().map(|line| line.split(':'));
    let named = lines.find_map(|mut fields| {
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    named.or_else(|| group.parse().ok())
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
