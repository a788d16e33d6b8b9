use std::os::unix::fs::PermissionsExt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> Tokens {
        let (store, stored) = Store::open(&self.folder.path().join("store.db")).unwrap();
        Tokens::load(self.folder.path().join("token.key"), store, stored.tokens).unwrap()
    }
}

fn project() -> Project {
    Project::parse("prj_x").unwrap()
}

fn part(text: &str, at: usize) -> Value {
    let part = text.split('.').nth(at).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn encoded(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn a_token_says_what_the_clients_read_and_outlives_the_server() {
    let world = World::new();
    let (record, text) = world.open().create(project(), TokenScope::Read, None).await.unwrap();
    assert_eq!(part(&text, 0), json!({"typ": "JWT", "alg": "HS256"}));
    let claims = part(&text, 1);
    assert_eq!(claims["project_id"], "prj_x");
    assert_eq!(claims["owner_id"], "team_fumehood");
    assert_eq!(claims["exp"], 4_102_444_800_u64, "it does not end");
    let tokens = world.open();
    assert_eq!(tokens.check(&text), Ok((project(), TokenScope::Read)));
    assert_eq!(tokens.list(), [record]);
    let key = world.folder.path().join("token.key");
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_this_server_did_not_sign_lets_nobody_in() {
    let tokens = World::new().open();
    let (_, text) = tokens.create(project(), TokenScope::Full, None).await.unwrap();
    let [header, claims, tag] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let unsigned = encoded(&json!({"typ": "JWT", "alg": "none"}));
    let stronger = encoded(&json!({"typ": "JWT", "alg": "HS512"}));
    let asymmetric = encoded(&json!({"typ": "JWT", "alg": "RS256"}));
    let mut other = part(&text, 1);
    other["project_id"] = "prj_other".into();
    let other = encoded(&other);
    let elsewhere = World::new().open();
    let (_, of_another_key) = elsewhere.create(project(), TokenScope::Full, None).await.unwrap();
    for bad in [
        String::new(),
        "x".to_owned(),
        "..".to_owned(),
        format!("{header}.{claims}."),
        format!("{header}.{claims}"),
        format!("{unsigned}.{claims}."),
        format!("{unsigned}.{claims}.{tag}"),
        format!("{stronger}.{claims}.{tag}"),
        format!("{asymmetric}.{claims}.{tag}"),
        format!("{header}.{other}.{tag}"),
        format!("{text}A"),
        format!("{text}.{tag}"),
        "a".repeat(1 << 20),
        of_another_key,
    ] {
        assert_eq!(tokens.check(&bad), Err(Refused::NotOurs), "{bad}");
    }
    assert!(tokens.check(&text).is_ok());
    let shown = format!("{tokens:?}{}", serde_json::to_string(&tokens.list()).unwrap());
    assert!(!shown.contains(tag));
}

#[tokio::test]
async fn an_end_a_revocation_and_another_key_are_each_the_end() {
    let world = World::new();
    let tokens = world.open();
    let create = async |expires| tokens.create(project(), TokenScope::Full, expires).await.unwrap();
    let (_, ended) = create(Some(0)).await;
    assert_eq!(tokens.check(&ended), Err(Refused::Expired));
    let (lasting, text) = create(Some(60_000)).await;
    assert_eq!(
        tokens.list(),
        std::slice::from_ref(&lasting),
        "what has ended goes when the next one comes"
    );

    let (revoked, gone) = create(None).await;
    assert_eq!(tokens.revoke(revoked.id.as_str()).await.unwrap(), Some(revoked.clone()));
    assert_eq!(tokens.revoke(revoked.id.as_str()).await.unwrap(), None);
    assert_eq!(tokens.check(&gone), Err(Refused::Revoked));
    assert_eq!(world.open().check(&gone), Err(Refused::Revoked));

    assert!(tokens.check(&text).is_ok());
    assert_eq!(tokens.rotate_key().await.unwrap(), [lasting]);
    assert_eq!(tokens.check(&text), Err(Refused::NotOurs));
    let (_, new) = create(None).await;
    let again = world.open();
    assert_eq!(again.check(&text), Err(Refused::NotOurs));
    assert!(again.check(&new).is_ok());
    assert_eq!(again.list().len(), 1);
}
