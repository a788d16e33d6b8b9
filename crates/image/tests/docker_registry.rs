//! Against Debian's `docker-registry`, with images made and pushed by `umoci` and `skopeo`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::architecture::Architecture;
use image::cache::Cache;
use image::oci::blob::Blobs;
use image::oci::digest::Digest;
use image::progress::silent;
use image::registry::credentials::CredentialFiles;
use image::registry::{Proxy, Pull, Push, Pushed, RegistryError, Secret, Settings, pull, push};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

/// What it may take to begin to listen, on a busy computer.
const STARTS: u32 = 600;

/// A registry that runs until it is dropped.
struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    place: String,
}

/// What it asks of who comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Tls,
    /// Name `user`, password `pass`.
    TlsAndPassword,
}

impl Registry {
    fn start(door: Door) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = free.local_addr().unwrap().to_string();
        drop(free);
        let at = folder.path().display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {at}/data}}}}\n\
             http:\n  addr: {place}\n"
        );
        if door != Door::Open {
            make_certificates(folder.path());
            config.push_str(&format!("  tls: {{certificate: {at}/cert.pem, key: {at}/key.pem}}\n"));
        }
        if door == Door::TlsAndPassword {
            run("htpasswd", &["-Bbc", &format!("{at}/htpasswd"), "user", "pass"]);
            config.push_str(&format!("auth: {{htpasswd: {{realm: r, path: {at}/htpasswd}}}}\n"));
        }
        let path = folder.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { child, folder, place };
        registry.wait();
        registry
    }

    fn wait(&self) {
        for _ in 0..STARTS {
            if TcpStream::connect(&self.place).is_ok() {
                return;
            }
            run("sleep", &["0.1"]);
        }
        panic!("the registry does not listen");
    }

    /// Puts an image there and gives the digest of its manifest.
    fn push(&self, layout: &Path, options: &[&str]) -> Digest {
        let source = format!("oci:{}:it", layout.display());
        let target = format!("docker://{}/some/app:1", self.place);
        let digest = self.folder.path().join("digest");
        let digest_file = format!("--digestfile={}", digest.display());
        let mut arguments = vec!["copy", "-q", "--dest-tls-verify=false", &digest_file];
        arguments.extend(["--dest-creds=user:pass"]);
        arguments.extend(options);
        arguments.extend([source.as_str(), target.as_str()]);
        run("skopeo", &arguments);
        fs::read_to_string(digest).unwrap().trim().parse().unwrap()
    }

    fn authority(&self) -> Vec<CertificateDer<'static>> {
        vec![fs::read(self.folder.path().join("ca.der")).unwrap().into()]
    }

    fn login(&self, password: &str) -> CredentialFiles {
        let path = self.folder.path().join("config.json");
        let entry = format!(r#"{{"username":"user","password":"{password}"}}"#);
        fs::write(&path, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, self.place)).unwrap();
        CredentialFiles::new(vec![path])
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn make_certificates(folder: &Path) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["127.0.0.1".to_owned()];
    let own = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(folder.join("ca.der"), authority.der()).unwrap();
    fs::write(folder.join("cert.pem"), pem("CERTIFICATE", own.der())).unwrap();
    fs::write(folder.join("key.pem"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// An image of two layers.
fn layout(folder: &Path) -> PathBuf {
    let layout = folder.join("layout");
    let image = format!("{}:it", layout.display());
    let content = folder.join("content");
    fs::write(&content, vec![7; 1 << 20]).unwrap();
    run("umoci", &["init", "--layout", &layout.display().to_string()]);
    run("umoci", &["new", "--image", &image]);
    for target in ["/one", "/two"] {
        let from = content.display().to_string();
        run("umoci", &["insert", "--rootless", "--image", &image, &from, target]);
        fs::write(&content, vec![8; 2 << 20]).unwrap();
    }
    layout
}

struct Store {
    _folder: tempfile::TempDir,
    blobs: Blobs,
}

fn store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::of(&Cache::open(folder.path()).unwrap());
    Store { _folder: folder, blobs }
}

fn fetch(place: &str, store: &Store, settings: &Settings) -> Result<Digest, RegistryError> {
    fetch_tag(place, "1", store, settings)
}

fn fetch_tag(
    place: &str,
    tag: &str,
    store: &Store,
    settings: &Settings,
) -> Result<Digest, RegistryError> {
    let image = &format!("{place}/some/app:{tag}").parse().unwrap();
    let job = Pull { settings, image, blobs: &store.blobs, architecture: Architecture::X86_64 };
    pull(job, &silent, &CancellationToken::new())
}

#[test]
fn over_plain_http_on_this_computer() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let registry = Registry::start(Door::Open);
    for options in
        [&[][..], &["--dest-compress-format=zstd", "--dest-compress"], &["--format=v2s2"]]
    {
        let (pushed, store) = (registry.push(&layout, options), store());
        assert_eq!(fetch(&registry.place, &store, &Settings::default()).unwrap(), pushed);
        let kept = store.blobs.list().unwrap();
        assert_eq!(kept.len(), 4, "manifest, configuration, two layers");
        let manifest = store.blobs.read(&pushed, 1 << 20).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let digest = layer["digest"].as_str().unwrap().parse().unwrap();
            assert_eq!(store.blobs.size(&digest).unwrap(), layer["size"].as_u64());
        }
    }
    let missing = fetch_tag(&registry.place, "2", &store(), &Settings::default());
    assert!(matches!(missing, Err(RegistryError::NoTag { .. })), "{missing:?}");
}

#[test]
fn over_tls_with_an_authority_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let registry = Registry::start(Door::Tls);
    let pushed = registry.push(&layout, &[]);
    let stranger = fetch(&registry.place, &store(), &Settings::default());
    assert!(matches!(stranger, Err(RegistryError::Untrusted { .. })), "{stranger:?}");
    let trusting = Settings { roots: registry.authority(), ..Settings::default() };
    assert_eq!(fetch(&registry.place, &store(), &trusting).unwrap(), pushed);
    let careless = format!(r#"{{"insecure":["{}"]}}"#, registry.place);
    let careless =
        Settings { registries: serde_json::from_str(&careless).unwrap(), ..Settings::default() };
    assert_eq!(fetch(&registry.place, &store(), &careless).unwrap(), pushed);
}

#[test]
fn with_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let registry = Registry::start(Door::TlsAndPassword);
    let pushed = registry.push(&layout, &[]);
    let roots = registry.authority();
    let settings =
        |credentials| Settings { roots: roots.clone(), credentials, ..Settings::default() };
    let nobody = fetch(&registry.place, &store(), &settings(CredentialFiles::default()));
    assert!(matches!(nobody, Err(RegistryError::LogIn { .. })), "{nobody:?}");
    let wrong = fetch(&registry.place, &store(), &settings(registry.login("wrong-one")));
    let Err(wrong @ RegistryError::Forbidden { .. }) = wrong else { panic!("{wrong:?}") };
    assert!(!format!("{wrong} {wrong:?}").contains("wrong-one"));
    let right = fetch(&registry.place, &store(), &settings(registry.login("pass")));
    assert_eq!(right.unwrap(), pushed);
}

fn send(
    target: &str,
    (store, manifest): (&Store, Digest),
    settings: &Settings,
    neighbours: &BTreeMap<Digest, String>,
) -> Result<Pushed, RegistryError> {
    let (target, blobs) = (&target.parse().unwrap(), &store.blobs);
    let job = Push { settings, target, blobs, manifest, neighbours };
    push(job, &silent, &CancellationToken::new())
}

#[test]
fn what_is_pushed_is_what_others_pull() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let registry = Registry::start(Door::TlsAndPassword);
    let pulled = registry.push(&layout, &[]);
    let settings = |password| Settings {
        roots: registry.authority(),
        credentials: registry.login(password),
        ..Settings::default()
    };
    let store = store();
    fetch(&registry.place, &store, &settings("pass")).unwrap();
    let kept = store.blobs.list().unwrap().into_iter().map(|kept| kept.digest);
    let neighbours: BTreeMap<Digest, String> =
        kept.map(|digest| (digest, "some/app".to_owned())).collect();
    let target = |name: &str| format!("{}/{name}", registry.place);
    let to = |name: &str, neighbours: &BTreeMap<_, _>| {
        send(&target(name), (&store, pulled), &settings("pass"), neighbours)
    };
    let mounted = to("neighbour/app:2", &neighbours).unwrap();
    assert_eq!(mounted, Pushed { mounted: 3, ..Pushed::default() });
    let sent = to("other/app:2", &BTreeMap::new()).unwrap();
    assert_eq!((sent.sent, sent.mounted, sent.present), (3, 0, 0));
    let again = to("other/app:3", &BTreeMap::new()).unwrap();
    assert_eq!(again, Pushed { present: 3, ..Pushed::default() });
    let pinned = to(&format!("other/app@{pulled}"), &BTreeMap::new()).unwrap();
    assert_eq!(pinned.present, 3);

    for name in ["neighbour/app:2", "other/app:2", "other/app:3"] {
        let out = format!("oci:{}:it", folder.path().join(name.replace(['/', ':'], "-")).display());
        let from = format!("docker://{}", target(name));
        let options = ["--src-tls-verify=false", "--src-creds=user:pass"];
        run("skopeo", &[&["copy", "-q"], &options[..], &[&from, &out]].concat());
        let raw = Command::new("skopeo").args(["inspect", "--raw", &out]).output().unwrap();
        assert_eq!(Digest::of(&raw.stdout), pulled, "{name}");
    }

    let wrong = send(&target("x:1"), (&store, pulled), &settings("wrong-one"), &BTreeMap::new());
    let Err(wrong @ RegistryError::PushForbidden { .. }) = wrong else { panic!("{wrong:?}") };
    assert!(!format!("{wrong} {wrong:?}").contains("wrong-one"));
    let nobody = Settings { roots: registry.authority(), ..Settings::default() };
    let nobody = send(&target("x:1"), (&store, pulled), &nobody, &BTreeMap::new());
    assert!(matches!(nobody, Err(RegistryError::PushLogIn { .. })), "{nobody:?}");
}

/// Lets connections through, of which each of the first `breaks` that carry much breaks off.
fn breaking(to: &str, breaks: u32) -> String {
    const CARRIED: u64 = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (place, to) = (listener.local_addr().unwrap().to_string(), to.to_owned());
    let left: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(breaks)));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            let ends = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || drop(std::io::copy(&mut &ends.1, &mut &ends.0)));
            thread::spawn(move || carry(&client, &server, (CARRIED, left)));
        }
    });
    place
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, (most, breaks): (u64, &AtomicU32)) {
    let mut carried = 0;
    let mut piece = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        carried += count as u64;
        let ends = |left: u32| left.checked_sub(1);
        if carried > most && breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, ends).is_ok() {
            break;
        }
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    drop((from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both)));
}

#[test]
fn a_push_goes_on_where_connections_break() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(Door::Open);
    // Layers that do not compress.
    let layout = folder.path().join("layout");
    let image = format!("{}:it", layout.display());
    run("umoci", &["init", "--layout", &layout.display().to_string()]);
    run("umoci", &["new", "--image", &image]);
    let content = folder.path().join("content");
    let noise = fs::File::open("/dev/urandom").unwrap();
    let mut bytes = Vec::new();
    noise.take(4 << 20).read_to_end(&mut bytes).unwrap();
    fs::write(&content, bytes).unwrap();
    let from = content.display().to_string();
    run("umoci", &["insert", "--rootless", "--image", &image, &from, "/it"]);
    let pulled = registry.push(&layout, &[]);
    let store = store();
    fetch(&registry.place, &store, &Settings::default()).unwrap();

    let place = breaking(&registry.place, 2);
    let mut settings = Settings::default();
    settings.patience.pause = std::time::Duration::from_millis(10);
    let target = format!("{place}/broken/app:1");
    let sent = send(&target, (&store, pulled), &settings, &BTreeMap::new()).unwrap();
    assert_eq!(sent.sent, 2);
    let out = format!("oci:{}:it", folder.path().join("out").display());
    let from = format!("docker://{}/broken/app:1", registry.place);
    run("skopeo", &["copy", "-q", "--src-tls-verify=false", &from, &out]);
    let raw = Command::new("skopeo").args(["inspect", "--raw", &out]).output().unwrap();
    assert_eq!(Digest::of(&raw.stdout), pulled);
}

/// A proxy that leads everybody to the registry, and tells whom it was asked for.
fn proxy(to: &str) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, to) = (listener.local_addr().unwrap().port(), to.to_owned());
    let (tell, told) = channel();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            tell.send(String::from_utf8(head).unwrap()).unwrap();
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let back = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || drop(std::io::copy(&mut &back.1, &mut &back.0)));
            thread::spawn(move || drop(std::io::copy(&mut &client, &mut &server)));
        }
    });
    (port, told)
}

#[test]
fn through_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let registry = Registry::start(Door::Open);
    let pushed = registry.push(&layout, &[]);
    let (port, told) = proxy(&registry.place);
    let registries = r#"{"insecure":["registry.test:5000"]}"#;
    let settings = Settings {
        registries: serde_json::from_str(registries).unwrap(),
        proxy: Some(Proxy {
            host: "127.0.0.1".to_owned(),
            port,
            credentials: Some(Secret::new("u:p".to_owned())),
            except: Vec::new(),
        }),
        ..Settings::default()
    };
    assert_eq!(fetch("registry.test:5000", &store(), &settings).unwrap(), pushed);
    let head = told.recv().unwrap();
    assert!(head.starts_with("CONNECT registry.test:5000 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic dTpw\r\n"), "{head}");
}

/// Where the program that keeps the login is found by its name: this test again, with another `PATH`.
const AGAIN: &str = "FUMEHOOD_TEST_HELPED";

#[test]
fn a_program_has_the_login() {
    if let Ok(config) = std::env::var(AGAIN) {
        let path = PathBuf::from(&config);
        let (place, roots) = (fs::read_to_string(path.join("place")).unwrap(), path.join("ca.der"));
        let credentials = CredentialFiles::new(vec![path.join("helped.json")]);
        let roots = vec![fs::read(roots).unwrap().into()];
        let settings = Settings { roots, credentials, ..Settings::default() };
        fetch(&place, &store(), &settings).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let registry = Registry::start(Door::TlsAndPassword);
    registry.push(&layout, &[]);
    let at = |name: &str| registry.folder.path().join(name);
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = {} ] || exit 1\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"user\",\"Secret\":\"pass\"}}'\n",
        registry.place
    );
    fs::write(at("docker-credential-test"), script).unwrap();
    fs::set_permissions(at("docker-credential-test"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(at("helped.json"), r#"{"credsStore":"test"}"#).unwrap();
    fs::write(at("place"), &registry.place).unwrap();
    let path = format!("{}:{}", registry.folder.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_has_the_login"])
        .env("PATH", path)
        .env(AGAIN, registry.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
