use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

const LABEL: Label<'static> = Label { kind: "secret", id: "local\0NAME" };

fn seal() -> Seal {
    Seal::with_key(&[7; KEY_BYTES])
}

proptest! {
    #[test]
    fn what_is_sealed_opens_and_whatever_is_changed_does_not(
        plain: Vec<u8>,
        at: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let seal = seal();
        let mut sealed = seal.seal(LABEL, &plain);
        prop_assert_eq!(&*seal.open(LABEL, &sealed).unwrap(), &plain);
        let at = at.index(sealed.0.len());
        sealed.0[at] ^= 1 << bit;
        prop_assert_eq!(seal.open(LABEL, &sealed), Err(Unopened));
        sealed.0.truncate(at);
        prop_assert_eq!(seal.open(LABEL, &sealed), Err(Unopened));
    }
}

#[test]
fn one_is_not_taken_for_another() {
    let sealed = seal().seal(LABEL, b"value");
    for label in [
        Label { kind: "secret", id: "local\0OTHER" },
        Label { kind: "policy", id: LABEL.id },
        Label { kind: "secret", id: "" },
    ] {
        assert_eq!(seal().open(label, &sealed), Err(Unopened), "{label:?}");
    }
    let other = Seal::with_key(&[8; KEY_BYTES]);
    assert_eq!(other.open(LABEL, &sealed), Err(Unopened));
    assert_ne!(seal().seal(LABEL, b"value"), sealed, "no nonce comes twice");
}

#[test]
fn a_key_is_made_once_and_for_this_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seal.key");
    let source = KeySource::find(Some(folder.path()), path.clone());
    assert_eq!(source, KeySource::File(path.clone()));
    let sealed = Seal::load(&source).unwrap().seal(LABEL, b"value");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(&**Seal::load(&source).unwrap().open(LABEL, &sealed).unwrap(), b"value");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Seal::load(&source), Err(KeyFileError::Open(_))));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for wrong in [31, 33] {
        std::fs::write(&path, vec![1; wrong]).unwrap();
        assert!(matches!(Seal::load(&source), Err(KeyFileError::Length(_))), "{wrong}");
    }
}

#[test]
fn the_service_managers_key_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let credential = folder.path().join(CREDENTIAL);
    std::fs::write(&credential, [9; KEY_BYTES]).unwrap();
    // systemd gives the group what an access list allows the service's user.
    std::fs::set_permissions(&credential, std::fs::Permissions::from_mode(0o440)).unwrap();
    let file = folder.path().join("seal.key");
    let source = KeySource::find(Some(folder.path()), file.clone());
    let sealed = Seal::load(&source).unwrap().seal(LABEL, b"value");
    assert!(Seal::with_key(&[9; KEY_BYTES]).open(LABEL, &sealed).is_ok());
    assert!(!file.exists());
}

#[test]
fn nothing_shows_what_is_sealed() {
    let seal = seal();
    let sealed = seal.seal_json(LABEL, &"a value").unwrap();
    assert_eq!(seal.open_json::<String>(LABEL, &sealed).unwrap(), "a value");
    assert_eq!(seal.open_json::<u32>(LABEL, &sealed), Err(Unopened));
    let shown = format!("{seal:?} {sealed:?} {}", serde_json::to_string(&sealed).unwrap());
    assert!(!shown.contains("value"), "{shown}");
    let again: Sealed = serde_json::from_str(&serde_json::to_string(&sealed).unwrap()).unwrap();
    assert_eq!(again, sealed);
}
