//! Headers that many servers take for one another: in names `_` and `.` for `-`.

use http::{HeaderMap, HeaderName};

use crate::policy::with_dashes;

/// Takes out each header whose name, in lower case and with dashes, is one.
pub(super) fn take_out(headers: &mut HeaderMap, is_one: impl Fn(&str) -> bool) {
    let named = |name: &&HeaderName| is_one(&with_dashes(name.as_str()));
    let names: Vec<HeaderName> = headers.keys().filter(named).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
