//! Whom a guest is told to trust, and the variables by which its programs find that out.

use protocol::network::{
    BUNDLE, BUNDLE_VARIABLES, Certificate, NODE_VARIABLE, TRUSTED_BYTES_MAX, TRUSTED_MAX,
};

/// The sandbox's own authority first, then as many of the host's as a claim has room for.
pub(super) fn trusted(own: &[u8], of_host: &[Vec<u8>]) -> Vec<Certificate> {
    let mut trusted = vec![Certificate(own.to_vec())];
    let mut bytes = own.len();
    for root in of_host {
        if trusted.len() == TRUSTED_MAX || TRUSTED_BYTES_MAX < bytes + root.len() {
            tracing::warn!(
                "the host has more certificate authorities of its own than a guest is told of"
            );
            break;
        }
        bytes += root.len();
        trusted.push(Certificate(root.clone()));
    }
    trusted
}

/// For programs that do not look at the system's store.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    let bundle = BUNDLE_VARIABLES.map(|name| (name.to_owned(), BUNDLE.to_owned()));
    bundle.into_iter().chain([(NODE_VARIABLE.to_owned(), "1".to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_told_of_no_more_than_a_claim_has_room_for() {
        let own = vec![1; 500];
        let few = [vec![2; 10], vec![3; 10]];
        let told: Vec<Vec<u8>> = trusted(&own, &few).into_iter().map(|each| each.0).collect();
        assert_eq!(told, [own.clone(), few[0].clone(), few[1].clone()]);
        assert_eq!(trusted(&own, &vec![vec![2; 10]; 200]).len(), TRUSTED_MAX);
        let large = trusted(&own, &vec![vec![2; 100 << 10]; 5]);
        assert_eq!(large.len(), 3);
        assert_eq!(large[0].0, own, "its own is always there");
    }
}
