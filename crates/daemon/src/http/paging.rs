//! Lists in pages.

use api::{Pagination, SortOrder};

use super::error::{Failure, Reply};

const LIMIT: u32 = 20;
const LIMIT_MAX: u32 = 50;

/// What a request wants to see of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    limit: usize,
    order: SortOrder,
    cursor: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// A cursor is refused that is no place of the list.
    pub(crate) fn new(
        limit: Option<u32>,
        order: Option<SortOrder>,
        cursor: Option<&'a str>,
        is_place: impl Fn(&str) -> bool,
    ) -> Reply<Self> {
        if cursor.is_some_and(|cursor| !is_place(cursor)) {
            let text = "Invalid request: `cursor` must be the `next` of a page of this list";
            return Err(Failure::bad_request(text));
        }
        let limit = limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let text = format!("Invalid request: `limit` must be 1 to {LIMIT_MAX}");
            return Err(Failure::bad_request(text));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Self { limit, order: order.unwrap_or(SortOrder::Desc), cursor })
    }

    /// A page of what is sorted by `place`, in which no two are equal. The cursor is the place of the
    /// last of the page before, so that it holds when that one has gone meanwhile.
    pub(crate) fn page<T>(self, all: Vec<T>, place: impl Fn(&T) -> String) -> (Vec<T>, Pagination) {
        let mut placed: Vec<(String, T)> = all.into_iter().map(|one| (place(&one), one)).collect();
        placed.sort_by(|(a, _), (b, _)| a.cmp(b));
        if self.order == SortOrder::Desc {
            placed.reverse();
        }
        let is_after = |place: &str| match (self.cursor, self.order) {
            (None, _) => true,
            (Some(cursor), SortOrder::Asc) => cursor < place,
            (Some(cursor), SortOrder::Desc) => place < cursor,
        };
        placed.retain(|(place, _)| is_after(place));
        let more = self.limit < placed.len();
        placed.truncate(self.limit);
        let next = placed.last().filter(|_| more).map(|(place, _)| place.clone());
        let page: Vec<T> = placed.into_iter().map(|(_, one)| one).collect();
        let pagination = Pagination { count: page.len(), next };
        (page, pagination)
    }

    /// A page of what has its order already and is gone on with from anywhere.
    pub(crate) fn first<T>(
        self,
        mut all: Vec<T>,
        id: impl Fn(&T) -> String,
    ) -> (Vec<T>, Pagination) {
        let next = all.get(self.limit).map(id);
        all.truncate(self.limit);
        let pagination = Pagination { count: all.len(), next };
        (all, pagination)
    }
}

/// A place by a time and, where that is the same, by a name.
pub(crate) fn by_time(ms: u64, name: &str) -> String {
    format!("{ms:020}.{name}")
}

/// Whether it has the form of such a place.
pub(crate) fn is_by_time(place: &str) -> bool {
    let is_time = |ms: &str| ms.len() == 20 && ms.bytes().all(|byte| byte.is_ascii_digit());
    place.split_once('.').is_some_and(|(ms, name)| is_time(ms) && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(order: SortOrder, mut between: impl FnMut(&mut Vec<u64>)) -> Vec<Vec<u64>> {
        let mut all: Vec<u64> = vec![30, 10, 50, 20, 40];
        let (mut pages, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let wanted = Wanted::new(Some(2), Some(order), cursor.as_deref(), is_by_time).unwrap();
            let (page, pagination) = wanted.page(all.clone(), |ms| by_time(*ms, "x"));
            assert_eq!(pagination.count, page.len());
            pages.push(page);
            cursor = pagination.next;
            if cursor.is_none() {
                return pages;
            }
            between(&mut all);
        }
    }

    #[test]
    fn pages_hold_together_whatever_goes_meanwhile() {
        assert_eq!(pages(SortOrder::Asc, |_| ()), [vec![10, 20], vec![30, 40], vec![50]]);
        assert_eq!(pages(SortOrder::Desc, |_| ()), [vec![50, 40], vec![30, 20], vec![10]]);
        let without_the_last = |all: &mut Vec<u64>| all.retain(|ms| *ms != 20);
        assert_eq!(pages(SortOrder::Asc, without_the_last), [vec![10, 20], vec![30, 40], vec![50]]);
        assert!(Wanted::new(Some(0), None, None, is_by_time).is_err());
        assert!(Wanted::new(Some(51), None, None, is_by_time).is_err());
    }

    #[test]
    fn a_cursor_that_no_page_gave_is_refused() {
        let asked = |cursor: &str| Wanted::new(None, None, Some(cursor), is_by_time).map(drop);
        assert!(asked(&by_time(7, "x")).is_ok());
        let mut long = by_time(7, "x");
        long.insert(0, '0');
        for bad in ["", "zzz", ".", "7.x", "0000000000000000000x.x", &by_time(7, ""), &long] {
            let Failure(refusal) = asked(bad).unwrap_err();
            assert!(refusal.message.contains("`cursor`"), "{bad}: {refusal:?}");
        }
    }
}
