//! Roots of several kinds, and what is in their places afterwards.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
};

use super::*;

const PLAIN: &str = include_str!("examples/plain.pem");
const SPACES: &str = include_str!("examples/spaces.pem");
const THEIRS: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";

pub(super) fn pem_bytes(text: &str) -> Vec<u8> {
    let lines: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64_STANDARD.decode(lines).unwrap()
}

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(self, name: &str, content: &[u8]) -> Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn with_link(self, name: &str, target: &str) -> Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        symlink(target, self.path(name)).unwrap();
        self
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Installs and tells what could not be done.
    fn install(&self, texts: &[&str]) -> Vec<String> {
        let certificates: Vec<_> = texts.iter().map(|text| Certificate(pem_bytes(text))).collect();
        install(self.0.path(), &certificates, &[], 1000)
    }

    /// Those of `texts` in place of those of `before`.
    fn change(&self, texts: &[&str], before: &[&str]) -> Vec<String> {
        let [certificates, before] = [texts, before]
            .map(|texts| texts.iter().map(|text| Certificate(pem_bytes(text))).collect::<Vec<_>>());
        install(self.0.path(), &certificates, &before, 1000)
    }

    /// The same, by names below the root.
    fn below(&self) -> Vec<(PathBuf, String)> {
        let all = self.all().into_iter();
        all.map(|(path, is)| (path.strip_prefix(self.0.path()).unwrap().to_owned(), is)).collect()
    }

    /// Every file and link, with what is in it.
    fn all(&self) -> Vec<(PathBuf, String)> {
        let mut all = Vec::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match fs::read_link(&path) {
                    Ok(target) => all.push((path, target.display().to_string())),
                    Err(_) if path.is_dir() => folders.push(path),
                    Err(_) => {
                        let content = fs::read(&path).unwrap();
                        all.push((path, format!("{content:?}")));
                    }
                }
            }
        }
        all.sort();
        all
    }
}

fn debian() -> Root {
    Root::new()
        .with("etc/ssl/certs/ca-certificates.crt", THEIRS.as_bytes())
        .with("etc/sudoers.d/README", b"")
}

#[test]
fn a_debian_has_them_where_it_looks_and_where_it_makes_its_bundle_from() {
    let root = debian();
    assert_eq!(root.install(&[PLAIN, SPACES]), [""; 0]);
    assert_eq!(root.text("usr/local/share/ca-certificates/fumehood-1.crt"), PLAIN);
    assert_eq!(root.text("usr/local/share/ca-certificates/fumehood-2.crt"), SPACES);
    let bundle = format!("{THEIRS}\n{PLAIN}{SPACES}");
    assert_eq!(root.text("etc/ssl/certs/ca-certificates.crt"), bundle);
    assert_eq!(root.text("etc/ssl/fumehood.pem"), format!("{PLAIN}{SPACES}"));
    let target = |name: &str| fs::read_link(root.path("etc/ssl/certs").join(name)).unwrap();
    let source = Path::new("/usr/local/share/ca-certificates/fumehood-2.crt");
    assert_eq!(target("fumehood-2.pem"), source);
    assert_eq!(target("ecc7d046.0"), Path::new("fumehood-1.pem"));
    assert_eq!(target("dfb73ef9.0"), Path::new("fumehood-2.pem"));
    let sudo = root.text("etc/sudoers.d/fumehood-trust");
    assert!(sudo.starts_with("Defaults env_keep += \"AWS_CA_BUNDLE "), "{sudo}");
    assert!(sudo.ends_with(" SSL_CERT_FILE\"\n"), "{sudo}");
    let mode = fs::metadata(root.path("etc/sudoers.d/fumehood-trust")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o440);
}

#[test]
fn done_again_it_changes_nothing() {
    let keystore = keystore::tests::empty();
    let root = debian()
        .with("etc/ssl/cert.pem", b"")
        .with("etc/ssl/certs/java/cacerts", &keystore)
        .with("etc/pki/ca-trust/source/anchors/own", b"");
    assert_eq!(root.install(&[PLAIN, SPACES]), [""; 0]);
    let before = root.all();
    assert_eq!(root.install(&[PLAIN, SPACES]), [""; 0]);
    assert!(root.all() == before);
    // Made anew from its sources, in another order.
    let bundle = format!("{PLAIN}{THEIRS}\n{SPACES}");
    let root = root.with("etc/ssl/certs/ca-certificates.crt", bundle.as_bytes());
    assert_eq!(root.install(&[PLAIN, SPACES]), [""; 0]);
    assert_eq!(root.text("etc/ssl/certs/ca-certificates.crt"), bundle);
}

#[test]
fn what_stands_in_gives_way_to_what_is_as_if_it_had_never_been() {
    let table = [
        (&[PLAIN][..], &[SPACES][..]),
        (&[SPACES], &[PLAIN]),
        (&[PLAIN], &[SPACES, PLAIN]),
        (&[PLAIN, SPACES], &[SPACES]),
        (&[PLAIN], &[PLAIN]),
    ];
    let red_hat = || {
        debian()
            .with("etc/pki/tls/certs/ca-bundle.crt", format!("{THEIRS}\n").as_bytes())
            .with("etc/pki/ca-trust/source/anchors/README", b"")
            .with_link("etc/ssl/cert.pem", "certs/ca-certificates.crt")
    };
    for (before, after) in table {
        for system in [Root::new, debian, red_hat] {
            let (one, other) = (system(), system());
            let stand_in_certificates: Vec<_> =
                before.iter().map(|text| Certificate(pem_bytes(text))).collect();
            assert_eq!(stand_in(one.0.path(), &stand_in_certificates), [""; 0]);
            let source = one.path("usr/local/share/ca-certificates/fumehood-1.crt");
            let file = fs::metadata(&source).unwrap().ino();
            assert_eq!(one.change(after, before), [""; 0]);
            assert_eq!(fs::metadata(&source).unwrap().ino(), file, "it is made anew");
            assert_eq!(other.install(after), [""; 0]);
            let names =
                |root: &Root| Vec::from_iter(root.below().into_iter().map(|(name, _)| name));
            assert_eq!(names(&one), names(&other));
            for ((name, is), (_, wanted)) in one.below().into_iter().zip(other.below()) {
                assert!(is == wanted, "{}", name.display());
            }
        }
    }
}

#[test]
fn what_stands_in_and_was_changed_is_replaced_or_left() {
    let root = debian();
    assert_eq!(root.install(&[PLAIN]), [""; 0]);
    let root = root
        .with("usr/local/share/ca-certificates/fumehood-1.crt", b"other")
        .with("etc/ssl/certs/ca-certificates.crt", format!("{PLAIN}{THEIRS}\n").as_bytes());
    assert_eq!(root.change(&[SPACES], &[PLAIN]), [""; 0]);
    assert_eq!(root.text("usr/local/share/ca-certificates/fumehood-1.crt"), SPACES);
    let bundle = format!("{PLAIN}{THEIRS}\n{SPACES}");
    assert_eq!(root.text("etc/ssl/certs/ca-certificates.crt"), bundle);
}

#[test]
fn java_has_no_stand_in() {
    let keystore = keystore::tests::empty();
    let root = Root::new().with("etc/ssl/certs/java/cacerts", &keystore);
    assert_eq!(stand_in(root.0.path(), &[Certificate(pem_bytes(PLAIN))]), [""; 0]);
    assert!(fs::read(root.path("etc/ssl/certs/java/cacerts")).unwrap() == keystore);
    assert_eq!(root.change(&[SPACES], &[PLAIN]), [""; 0]);
    let with = keystore::with(&keystore, &pem_bytes(SPACES), 1000).unwrap();
    assert!(fs::read(root.path("etc/ssl/certs/java/cacerts")).unwrap() == with);
}

#[test]
fn a_root_with_nothing_gets_a_bundle() {
    let root = Root::new();
    assert_eq!(root.install(&[PLAIN]), [""; 0]);
    assert_eq!(root.text("etc/ssl/certs/ca-certificates.crt"), PLAIN);
    assert!(!root.path("etc/pki").exists() && !root.path("etc/sudoers.d").exists());
    assert!(!root.path("etc/ssl/cert.pem").exists());
    let empty = Root::new();
    assert_eq!(empty.install(&[]), [""; 0]);
    assert_eq!(empty.all(), []);
}

#[test]
fn a_red_hat_and_an_alpine_have_one_bundle_under_several_names() {
    let bundle = "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem";
    let root = Root::new()
        .with(bundle, THEIRS.as_bytes())
        .with("etc/pki/ca-trust/source/anchors/README", b"")
        .with_link(
            "etc/pki/tls/certs/ca-bundle.crt",
            "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        )
        .with_link("etc/ssl/certs", "/etc/pki/tls/certs");
    assert_eq!(root.install(&[PLAIN]), [""; 0]);
    assert_eq!(root.text(bundle), format!("{THEIRS}\n{PLAIN}"));
    assert_eq!(root.text("etc/pki/ca-trust/source/anchors/fumehood-1.crt"), PLAIN);
    assert_eq!(root.text("etc/pki/tls/certs/ca-certificates.crt"), PLAIN);

    let root = Root::new()
        .with("etc/ssl/certs/ca-certificates.crt", THEIRS.as_bytes())
        .with_link("etc/ssl/cert.pem", "certs/ca-certificates.crt");
    assert_eq!(root.install(&[PLAIN]), [""; 0]);
    let bundle = root.text("etc/ssl/certs/ca-certificates.crt");
    assert_eq!(bundle, format!("{THEIRS}\n{PLAIN}"));
}

#[test]
fn nothing_outside_is_touched_and_the_rest_is_done() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    let path = outside.path().to_str().unwrap();
    let root = debian()
        .with_link("usr/local/share/ca-certificates/fumehood-1.crt", path)
        .with_link("etc/ssl/ca-bundle.pem", path)
        .with_link("etc/ssl/certs/java/cacerts", path)
        .with_link("etc/ssl/certs/ecc7d046.0", path)
        .with_link("etc/sudoers.d/fumehood-trust", path);
    fs::create_dir(root.path("etc/ssl/cert.pem")).unwrap();
    let faults = root.install(&[PLAIN]);
    assert_eq!(faults, ["etc/ssl/cert.pem: no regular file"]);
    assert_eq!(fs::metadata(outside.path()).unwrap().len(), 0);
    assert_eq!(root.text("usr/local/share/ca-certificates/fumehood-1.crt"), PLAIN);
    let link = fs::read_link(root.path("etc/ssl/certs/ecc7d046.1")).unwrap();
    assert_eq!(link, Path::new("fumehood-1.pem"));
}

#[test]
fn a_java_keystore_gets_them_and_one_of_another_form_is_left() {
    let empty = keystore::tests::empty();
    let root = Root::new()
        .with("etc/ssl/certs/java/cacerts", &empty)
        .with("etc/pki/java/cacerts", b"\x30\x82 PKCS#12 and so on");
    assert_eq!(root.install(&[PLAIN, SPACES]), [""; 0]);
    let one = keystore::with(&empty, &pem_bytes(PLAIN), 1000).unwrap();
    let both = keystore::with(&one, &pem_bytes(SPACES), 1000).unwrap();
    assert_eq!(fs::read(root.path("etc/ssl/certs/java/cacerts")).unwrap(), both);
    assert_eq!(fs::read(root.path("etc/pki/java/cacerts")).unwrap().len(), 20);
}
