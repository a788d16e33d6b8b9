//! How TLS is encrypted, with hosts and with guests.

use std::sync::{Arc, LazyLock};

use rustls::{
    CipherSuite, SupportedCipherSuite,
    crypto::{CryptoProvider, ring},
};

/// ring's, with AES-128 first. rustls would have AES-256 first, which takes 14 rounds a block instead
/// of 10, each of them some twenty instructions of the host's in a guest that is emulated; nobody is
/// known to come near to breaking either (RFC 8446 has AES-128 as the one that everybody must have).
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = ring::default_provider();
        // Stable: what ranks the same stays in rustls's order.
        provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), !is_aes_128(*suite)));
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

fn is_aes_128(suite: SupportedCipherSuite) -> bool {
    [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ]
    .contains(&suite.suite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_suites_are_there_the_shortest_first() {
        let ours: Vec<_> = provider().cipher_suites.iter().map(|one| one.suite()).collect();
        let theirs: Vec<_> = ring::ALL_CIPHER_SUITES.iter().map(|one| one.suite()).collect();
        assert_eq!(ours.len(), theirs.len());
        assert!(theirs.iter().all(|suite| ours.contains(suite)));
        assert_eq!(ours[..2], [theirs[1], theirs[0]]);
        assert_eq!(ours[3], CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    }
}
