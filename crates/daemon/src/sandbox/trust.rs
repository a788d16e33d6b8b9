//! Whom a guest is told to trust, and the variables by which its programs find that out.

use protocol::{
    network::{Certificate, TRUSTED_BYTES_MAX, TRUSTED_MAX},
    trust::TRUST_VARIABLES,
};

/// The sandbox's own authority first, then as many of the host's as a claim has room for.
pub(crate) fn trusted(own: &[u8], of_host: &[Vec<u8>]) -> Vec<Certificate> {
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
    TRUST_VARIABLES.into_iter().map(|(name, file)| (name.to_owned(), file.to_owned()))
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

    #[test]
    fn a_claim_with_all_that_may_be_trusted_fits_into_a_frame() {
        let most = vec![vec![2; TRUSTED_BYTES_MAX / 8 - 100]; 8];
        let mut env: Vec<_> = variables().collect();
        env.push(("NAME".into(), "x".repeat(crate::limits::COMMAND_BYTES_MAX)));
        let claim = protocol::Claim {
            hostname: "h".repeat(63),
            machine_id: [0; 16],
            entropy: protocol::Entropy([0; 32]),
            unix_nanos: u64::MAX,
            user: "user".into(),
            cwd: "/".into(),
            env,
            network: protocol::network::Network { trust: trusted(&[1; 700], &most) },
        };
        assert_eq!(claim.network.trust.len(), 9);
        assert!(protocol::Request::Claim(claim).fits());
    }

    /// Guest, machine and gateway do not know each other, and have to agree.
    #[test]
    fn all_that_know_the_guests_link_say_the_same() {
        use egress::address as gateway;
        use protocol::network as guest;
        let mac = gateway::GUEST_MAC.map(|byte| format!("{byte:02x}")).join(":");
        assert_eq!((machine::GUEST_MAC, machine::MTU), (mac.as_str(), gateway::MTU));
        assert_eq!(guest::GATEWAY_MAC, gateway::GATEWAY_MAC);
        assert_eq!((guest::GUEST_V4, guest::GUEST_V6), (gateway::GUEST_V4, gateway::GUEST_V6));
        let others = (guest::GATEWAY_V4, guest::GATEWAY_V6);
        assert_eq!(others, (gateway::GATEWAY_V4, gateway::GATEWAY_V6));
        assert_eq!((guest::PREFIX_V4, guest::PREFIX_V6), (gateway::PREFIX_V4, gateway::PREFIX_V6));
    }
}
