//! Which images a prune takes away.

use std::collections::BTreeSet;

use super::upkeep::Prune;

/// What is known of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) bytes: u64,
    /// In seconds since 1970.
    pub(super) last_used: u64,
    pub(super) hold: Hold,
}

/// What holds it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Sandboxes, or that it is the default.
    Fast,
    /// Somebody may ask for it again.
    Name,
    /// Nobody can.
    None,
}

/// The images to take away, by their places: all that nobody can ask for, and of the others those
/// that fit what is asked, the one used longest ago first.
pub(super) fn choose(images: &[Candidate], asked: Prune, now: u64) -> BTreeSet<usize> {
    let of_hold = |hold| images.iter().enumerate().filter(move |(_, it)| it.hold == hold);
    let mut chosen: BTreeSet<usize> = of_hold(Hold::None).map(|(index, _)| index).collect();
    let mut left: u64 = images.iter().filter(|it| it.hold != Hold::None).map(|it| it.bytes).sum();
    let mut named: Vec<(usize, &Candidate)> = of_hold(Hold::Name).collect();
    named.sort_by_key(|(_, it)| it.last_used);
    for (index, image) in named {
        let age = now.saturating_sub(image.last_used);
        let fits = match (asked.older_than, asked.keep_bytes) {
            (None, None) => false,
            (older_than, keep_bytes) => {
                older_than.is_none_or(|least| age >= least.as_secs())
                    && keep_bytes.is_none_or(|most| left > most)
            }
        };
        if fits {
            chosen.insert(index);
            left -= image.bytes;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_prune_takes_away() {
        use Hold::{Fast, Name, None as Nothing};
        let image = |bytes, last_used, hold| Candidate { bytes, last_used, hold };
        // At 100: held and old, nameless, used at 10, 50 and 90.
        let images = [
            image(7, 1, Fast),
            image(5, 99, Nothing),
            image(10, 50, Name),
            image(20, 90, Name),
            image(30, 10, Name),
        ];
        let table: [(Option<u64>, Option<u64>, &[usize]); 9] = [
            (None, None, &[1]),
            (Some(50), None, &[1, 2, 4]),
            (Some(51), None, &[1, 4]),
            (Some(0), None, &[1, 2, 3, 4]),
            (Some(1000), None, &[1]),
            // 67 bytes without the nameless one.
            (None, Some(67), &[1]),
            (None, Some(37), &[1, 4]),
            (None, Some(36), &[1, 2, 4]),
            (Some(60), Some(0), &[1, 4]),
        ];
        for (older_than, keep_bytes, expected) in table {
            let asked = Prune { older_than: older_than.map(Duration::from_secs), keep_bytes };
            let found: Vec<usize> = choose(&images, asked, 100).into_iter().collect();
            assert_eq!(found, expected, "{older_than:?} {keep_bytes:?}");
        }
    }
}
