//! How this server signs what is a JWT: HS256 for what it checks itself, RS256 for what others check.
//! Both are done by the library that does all the other cryptography here.

use std::sync::Once;

use jsonwebtoken::{
    Algorithm,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature,
};
use ring::{hmac, rand::SystemRandom, rsa::KeyPair, signature as ring_signature};

/// Before anything is signed or checked.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| match *algorithm == Algorithm::RS256 {
            true => Ok(Box::new(Rs256(rsa(key.as_bytes())?))),
            false => Ok(Box::new(Hs256::new(*algorithm, key.as_bytes())?)),
        },
        verifier_factory: |algorithm, key| {
            Ok(Box::new(Hs256::new(*algorithm, key.try_get_as_bytes()?)?))
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    INSTALLED.call_once(|| {
        PROVIDER.install_default().expect("nobody else in this program installs one");
    });
}

/// A private key in PKCS#8.
pub(crate) fn rsa(pkcs8: &[u8]) -> Result<KeyPair, Error> {
    KeyPair::from_pkcs8(pkcs8).map_err(|_rejected| ErrorKind::InvalidKeyFormat.into())
}

struct Hs256(hmac::Key);

impl Hs256 {
    fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, Error> {
        match algorithm == Algorithm::HS256 {
            true => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key))),
            false => Err(ErrorKind::InvalidAlgorithm.into()),
        }
    }
}

impl signature::Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl signature::Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), signature::Error> {
        hmac::verify(&self.0, message, tag).map_err(|_unspecified| signature::Error::new())
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

struct Rs256(KeyPair);

impl signature::Signer<Vec<u8>> for Rs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let mut signed = vec![0; self.0.public().modulus_len()];
        let (form, random) = (&ring_signature::RSA_PKCS1_SHA256, SystemRandom::new());
        let done = self.0.sign(form, &random, message, &mut signed);
        done.map_err(|_unspecified| signature::Error::new())?;
        Ok(signed)
    }
}

impl JwtSigner for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}
