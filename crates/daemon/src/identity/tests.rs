use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

use super::*;

const RECEIVER: &str = "https://proxy.example.com/base";

pub(crate) fn whom() -> Whom {
    Whom {
        project: Project::default(),
        sandbox: SandboxName::parse("one").unwrap(),
        session: SessionId::random(),
    }
}

fn bytes(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The claims, if the signature is that of the only key of the set.
fn checked(token: &str, keys: &Value) -> Option<Value> {
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { return None };
    let (message, key) = (format!("{header}.{claims}"), &keys["keys"][0]);
    let header: Value = serde_json::from_slice(&bytes(header)).unwrap();
    assert_eq!((&header["alg"], &header["kid"]), (&json!("RS256"), &key["kid"]));
    let [n, e] = ["n", "e"].map(|name| bytes(key[name].as_str().unwrap()));
    let public = RsaPublicKeyComponents { n, e };
    let form = &RSA_PKCS1_2048_8192_SHA256;
    public.verify(form, message.as_bytes(), &bytes(signature)).ok()?;
    Some(serde_json::from_slice(&bytes(claims)).unwrap())
}

#[test]
fn a_receiver_can_check_whose_request_it_gets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.key");
    let (issuer, whom) = (Issuer::new(path.clone()), whom());
    assert!(!path.exists(), "who forwards nothing needs no key");
    let token = issuer.sign(&whom, RECEIVER).unwrap();
    let claims = checked(token.expose(), &issuer.keys().unwrap()).unwrap();
    let said = |name: &str| claims[name].as_str().unwrap();
    assert_eq!((said("iss"), said("aud")), ("https://oidc.vercel.com", RECEIVER));
    assert_eq!((said("sandbox_name"), said("sandbox_id")), ("one", whom.session.as_str()));
    assert_eq!((said("project_id"), said("team_id")), (whom.project.as_str(), OWNER));
    let [from, till] = ["nbf", "exp"].map(|name| claims[name].as_u64().unwrap());
    let now = clock::now_ms() / 1000;
    assert!((now - 60..=now).contains(&from) && now + RENEWAL.as_secs() < till);

    // The next server has the same key, and another server another.
    let next = Issuer::new(path).keys().unwrap();
    assert!(checked(token.expose(), &next).is_some());
    let other = Issuer::new(folder.path().join("other.key"));
    assert_ne!(other.keys().unwrap()["keys"][0]["n"], next["keys"][0]["n"]);
    let mine = next.to_string() + token.expose() + &format!("{issuer:?}");
    assert!(!mine.contains("\"d\""), "nothing of it is private: {mine}");
}

#[test]
fn a_key_that_is_none_or_that_others_read_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.key");
    std::fs::write(&path, "x").unwrap();
    let sign = || Issuer::new(path.clone()).sign(&whom(), RECEIVER).map(drop);
    assert!(matches!(sign(), Err(IdentityError::File(KeyFileError::Open(_)))));
    key_file::keep(&path, b"no key").unwrap();
    assert!(matches!(sign(), Err(IdentityError::Use(_))));
}
