//! How a request says that disks are to be kept, and what holds where it says nothing.

use api::KeepLastSnapshots;

use super::error::{Failure, Reply};
use crate::store::{Counted, Evicted, KeepLast, Keeping};

const DAY_MS: u64 = 24 * 3600 * 1000;
const COUNT_MAX: u32 = 10;

/// By the version of a route, which decides nothing but these defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defaults {
    /// Snapshots are kept for 30 days, and all of them.
    KeepAll,
    /// Snapshots are kept for 7 days, and of a persistent sandbox one.
    KeepOne,
}

/// What a request says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) persistent: Option<bool>,
    pub(crate) expiration: Option<u64>,
    pub(crate) last: Option<Option<KeepLastSnapshots>>,
}

impl Defaults {
    /// Of a sandbox that is persistent, for which nothing else is asked.
    fn keeping(self) -> Keeping {
        let one =
            KeepLast { count: 1, expiration_ms: None, evicted: Evicted::Delete, of: Counted::All };
        let (days, last) = match self {
            Self::KeepAll => (30, None),
            Self::KeepOne => (7, Some(one)),
        };
        Keeping { persistent: true, expiration_ms: days * DAY_MS, last }
    }
}

impl Asked {
    /// Of a new sandbox.
    pub(crate) fn with(self, defaults: Defaults) -> Reply<Keeping> {
        let mut keeping = defaults.keeping();
        if self.persistent == Some(false) {
            keeping.last = None;
        }
        self.over(keeping)
    }

    /// With what is there where it says nothing.
    pub(crate) fn over(self, before: Keeping) -> Reply<Keeping> {
        let expiration_ms = self.expiration.map(|ms| expiration("snapshotExpiration", ms));
        let last = self.last.map(|last| last.map(keep_last).transpose());
        Ok(Keeping {
            persistent: self.persistent.unwrap_or(before.persistent),
            expiration_ms: expiration_ms.transpose()?.unwrap_or(before.expiration_ms),
            last: last.transpose()?.unwrap_or(before.last),
        })
    }
}

fn keep_last(asked: KeepLastSnapshots) -> Reply<KeepLast> {
    if !(1..=COUNT_MAX).contains(&asked.count) {
        let text = format!("Invalid request: `keepLastSnapshots.count` must be 1 to {COUNT_MAX}");
        return Err(Failure::bad_request(text));
    }
    let of_kept = asked.expiration.map(|ms| expiration("keepLastSnapshots.expiration", ms));
    Ok(KeepLast {
        count: asked.count,
        expiration_ms: of_kept.transpose()?,
        evicted: match asked.delete_evicted {
            None | Some(true) => Evicted::Delete,
            Some(false) => Evicted::Expire,
        },
        of: match asked.automatic_only {
            None | Some(false) => Counted::All,
            Some(true) => Counted::Automatic,
        },
    })
}

/// Never, or not too soon.
pub(crate) fn expiration(field: &str, ms: u64) -> Reply<u64> {
    match ms {
        0 | DAY_MS.. => Ok(ms),
        1..DAY_MS => Err(Failure::bad_request(format!(
            "Invalid request: `{field}` must be 0 (no expiration) or >= {DAY_MS} ms (1 day)."
        ))),
    }
}

pub(crate) fn shown(last: KeepLast) -> KeepLastSnapshots {
    KeepLastSnapshots {
        count: last.count,
        expiration: last.expiration_ms,
        delete_evicted: Some(last.evicted == Evicted::Delete),
        automatic_only: (last.of == Counted::Automatic).then_some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_by_the_version() {
        let last = |count| KeepLast {
            count,
            expiration_ms: None,
            evicted: Evicted::Delete,
            of: Counted::All,
        };
        let asked = KeepLastSnapshots::of;
        let nothing = Asked::default();
        let ephemeral = Asked { persistent: Some(false), ..nothing };
        let table = [
            (nothing, Defaults::KeepAll, (true, 30, None)),
            (nothing, Defaults::KeepOne, (true, 7, Some(last(1)))),
            (ephemeral, Defaults::KeepOne, (false, 7, None)),
            (Asked { last: Some(None), ..nothing }, Defaults::KeepOne, (true, 7, None)),
            (
                Asked { last: Some(Some(asked(3))), expiration: Some(0), ..nothing },
                Defaults::KeepAll,
                (true, 0, Some(last(3))),
            ),
        ];
        for (asked, defaults, (persistent, days, last)) in table {
            let expected = Keeping { persistent, expiration_ms: days * DAY_MS, last };
            assert_eq!(asked.with(defaults).unwrap(), expected, "{asked:?} {defaults:?}");
        }
    }

    #[test]
    fn bounds_are_held() {
        let last = |count, expiration| Asked {
            last: Some(Some(KeepLastSnapshots { expiration, ..KeepLastSnapshots::of(count) })),
            ..Asked::default()
        };
        let soon = Asked { expiration: Some(DAY_MS - 1), ..Asked::default() };
        for bad in [soon, last(0, None), last(11, None), last(1, Some(1))] {
            assert!(bad.with(Defaults::KeepAll).is_err(), "{bad:?}");
        }
        for good in [last(1, Some(0)), last(10, Some(DAY_MS)), last(10, Some(u64::MAX))] {
            assert!(good.with(Defaults::KeepAll).is_ok(), "{good:?}");
        }
    }
}
