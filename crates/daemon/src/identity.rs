//! Who a forwarded request comes from, in a form that its receiver can check: a JWT with the claims of
//! Vercel's, for one receiver alone, signed with a key whose public half anybody may ask for. What
//! `defineSandboxProxy` of `@vercel/sandbox` reads.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use egress::secret::SecretText;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::rsa::PublicKeyComponents;
use rsa::pkcs8::EncodePrivateKey;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    clock,
    ids::{Project, SandboxName, SessionId},
    jws,
    key_file::{self, KeyFileError},
    tokens::OWNER,
};

/// Receivers take no other. Who asks the real one is not misled: it does not have our key.
const ISSUER: &str = "https://oidc.vercel.com";
/// RS256 is all that receivers take; of fewer bits no key is safe, of more signing takes longer.
const KEY_BITS: usize = 2048;
/// How long a token holds.
const LIFETIME: Duration = Duration::from_secs(2 * 3600);
/// So often it is to be signed anew.
pub(crate) const RENEWAL: Duration = Duration::from_secs(3600);

/// A sandbox, as the receivers of its requests are to know it.
#[derive(Clone, Debug)]
pub(crate) struct Whom {
    pub(crate) project: Project,
    pub(crate) sandbox: SandboxName,
    pub(crate) session: SessionId,
}

/// Why an identity is not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("no key pair could be made")]
    Make(#[source] rsa::Error),
    #[error("a new key pair could not be written down")]
    Encode(#[source] rsa::pkcs8::Error),
    #[error("the key pair cannot be used")]
    Use(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    aud: &'a str,
    sub: String,
    owner_id: &'static str,
    team_id: &'static str,
    project_id: &'a str,
    sandbox_id: &'a str,
    sandbox_name: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
}

/// Signs identities, with a key pair that is made when the first is asked for.
pub(crate) struct Issuer {
    path: PathBuf,
    pair: Mutex<Option<Arc<Pair>>>,
}

struct Pair {
    private: EncodingKey,
    id: String,
    public: Value,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuer(…)")
    }
}

impl Issuer {
    /// With the key pair in this file.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, pair: Mutex::default() }
    }

    /// For the receiver at this URL alone.
    pub(crate) fn sign(&self, whom: &Whom, receiver: &str) -> Result<SecretText, IdentityError> {
        let pair = self.pair()?;
        let now = clock::now_ms() / 1000;
        let Whom { project, sandbox, session } = whom;
        let claims = Claims {
            iss: ISSUER,
            aud: receiver,
            sub: format!("owner:{OWNER}:project:{project}:sandbox:{sandbox}"),
            owner_id: OWNER,
            team_id: OWNER,
            project_id: project.as_str(),
            sandbox_id: session.as_str(),
            sandbox_name: sandbox.as_str(),
            iat: now,
            nbf: now,
            exp: now + LIFETIME.as_secs(),
        };
        let header = Header { kid: Some(pair.id.clone()), ..Header::new(Algorithm::RS256) };
        Ok(SecretText::new(jsonwebtoken::encode(&header, &claims, &pair.private)?))
    }

    /// What receivers check with: a JSON Web Key Set.
    pub(crate) fn keys(&self) -> Result<Value, IdentityError> {
        Ok(json!({ "keys": [self.pair()?.public] }))
    }

    /// The first time of all it takes some tens of milliseconds.
    fn pair(&self) -> Result<Arc<Pair>, IdentityError> {
        let mut pair = self.pair.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = &*pair {
            return Ok(Arc::clone(pair));
        }
        if !self.path.exists() {
            let made = rsa::PrivateKey::new(&mut getrandom::SysRng, KEY_BITS);
            let made = made.map_err(IdentityError::Make)?;
            let content = made.to_pkcs8_der().map_err(IdentityError::Encode)?;
            key_file::keep(&self.path, content.as_bytes())?;
        }
        let content = key_file::content(&self.path, key_file::is_private)?;
        Ok(Arc::clone(pair.insert(Arc::new(Pair::of(&content)?))))
    }
}

impl Pair {
    fn of(pkcs8: &Zeroizing<Vec<u8>>) -> Result<Self, IdentityError> {
        jws::install();
        let public = PublicKeyComponents::<Vec<u8>>::from(jws::rsa(pkcs8)?.public());
        let id = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(&public.n)[..12]);
        let [n, e] = [public.n, public.e].map(|number| BASE64_URL_SAFE_NO_PAD.encode(number));
        let public = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": n, "e": e});
        Ok(Self { private: EncodingKey::from_rsa_der(pkcs8), id, public })
    }
}

#[cfg(test)]
pub(crate) mod tests;
