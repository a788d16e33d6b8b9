use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::fake::{Answer, Asked, Fake, Image};
use crate::architecture::Architecture;
use crate::cache::Cache;
use crate::oci::blob::{BlobError, Blobs};
use crate::oci::digest::Digest;
use crate::progress::{Event, silent};
use crate::registry::credentials::CredentialFiles;
use crate::registry::settings::{Addresses, Patience, Settings};
use crate::registry::{Pull, RegistryError, pull};

/// A store and what is needed to pull into it.
struct Here {
    folder: tempfile::TempDir,
    blobs: Blobs,
    settings: Settings,
}

impl Here {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::of(&Cache::open(folder.path()).unwrap());
        let second = Duration::from_secs(1);
        let patience = Patience {
            connect: 10 * second,
            reply: second,
            pause: Duration::from_millis(1),
            pause_max: second,
            tries: 3,
        };
        let settings = Settings { patience, ..Settings::default() };
        Self { folder, blobs, settings }
    }

    fn with_login(mut self, place: &str, entry: &str) -> Self {
        let path = self.folder.path().join("config.json");
        fs::write(&path, format!(r#"{{"auths":{{"{place}":{entry}}}}}"#)).unwrap();
        self.settings.credentials = CredentialFiles::new(vec![path]);
        self
    }

    fn pull(&self, name: &str) -> Result<Digest, RegistryError> {
        let image = &name.parse().unwrap();
        let (settings, blobs) = (&self.settings, &self.blobs);
        let job = Pull { settings, image, blobs, architecture: Architecture::X86_64 };
        pull(job, &silent, &CancellationToken::new())
    }

    /// The error and all that is behind it.
    fn fault(&self, name: &str) -> String {
        let error = self.pull(name).unwrap_err();
        let mut text = format!("{error} {error:?}");
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        text
    }
}

fn plain(_: &Asked) -> Option<Answer> {
    None
}

#[test]
fn no_name_leads_into_the_hosts_networks_but_where_the_administrator_says_so() {
    let (image, mut here) = (Image::new(), Here::new());
    here.settings.addresses = Addresses::NotAt(|address| address.is_loopback());
    let fake = Fake::start(&image, plain);
    let (_, port) = fake.place.rsplit_once(':').unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let error = here.pull(&format!("{host}:{port}/app:1")).unwrap_err();
        assert!(matches!(error, RegistryError::Reserved { .. }), "{host}: {error}");
    }
    assert!(fake.asked().is_empty());
    let place = &fake.place;
    for (configured, name) in [
        (format!(r#"{{"internal": ["{place}"]}}"#), format!("{place}/app:1")),
        (format!(r#"{{"insecure": ["{place}"]}}"#), format!("{place}/app:1")),
        (
            format!(r#"{{"mirrors": {{"r.example": ["http://{place}"]}}}}"#),
            "r.example/app:1".into(),
        ),
    ] {
        here.settings.registries = serde_json::from_str(&configured).unwrap();
        assert_eq!(here.pull(&name).unwrap(), image.digest(), "{configured}");
    }
}

#[test]
fn no_registry_leads_into_the_hosts_networks() {
    let image = Image::new();
    let elsewhere = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let there = format!("http://{}", elsewhere.local_addr().unwrap());
    let (realm, blob) = (format!(r#"Bearer realm="{there}/token""#), format!("{there}/blob"));
    let log_in = move |_: &Asked| Some(Answer::new(401, "").with("www-authenticate", &realm));
    let redirect = move |asked: &Asked| {
        let is_blob = asked.path().contains("/blobs/");
        is_blob.then(|| Answer::new(307, "").with("location", &blob))
    };
    let mut here = Here::new();
    here.settings.addresses =
        Addresses::NotAt(|address| address == std::net::Ipv4Addr::new(127, 0, 0, 2));
    for fake in [Fake::start(&image, log_in), Fake::start(&image, redirect)] {
        let error = here.pull(&format!("{}/app:1", fake.place)).unwrap_err();
        assert!(matches!(error, RegistryError::Reserved { .. }), "{error}");
    }
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "it was connected to");
}

#[test]
fn an_image_is_pulled_once_and_then_is_here() {
    let (image, here) = (Image::new(), Here::new());
    let fake = Fake::start(&image, plain);
    let name = format!("{}/app:1", fake.place);
    assert_eq!(here.pull(&name).unwrap(), image.digest());
    for (digest, bytes) in &image.blobs {
        let kept = here.blobs.read(&digest.parse().unwrap(), u64::MAX - 1).unwrap();
        assert!(kept == *bytes);
    }
    assert_eq!(fake.paths().len(), 4, "a manifest, a configuration, two layers");
    here.pull(&name).unwrap();
    assert_eq!(fake.paths().len(), 5, "the manifest alone is asked for again");
    let pinned = format!("{}/app@{}", fake.place, image.digest());
    assert_eq!(here.pull(&pinned).unwrap(), image.digest());
    let another = format!("{}/app@{}", fake.place, Digest::of(b"another"));
    assert!(here.fault(&another).contains("another content than its digest says"));
}

#[test]
fn progress_counts_bytes() {
    let (image, here) = (Image::new(), Here::new());
    let fake = Fake::start(&image, plain);
    let name = format!("{}/app:1", fake.place).parse().unwrap();
    let last = std::sync::Mutex::new(None);
    let progress = |event: Event<'_>| {
        if let Event::Advanced { bytes, total } = event {
            *last.lock().unwrap() = Some((bytes, total));
        }
    };
    let (settings, blobs) = (&here.settings, &here.blobs);
    let job = Pull { settings, image: &name, blobs, architecture: Architecture::X86_64 };
    pull(job, &progress, &CancellationToken::new()).unwrap();
    assert_eq!(last.into_inner().unwrap(), Some((370_000, Some(370_000))));
}

#[test]
fn what_breaks_off_goes_on_where_it_was() {
    let (image, here) = (Image::new(), Here::new());
    let layer = format!("/v2/app/blobs/{}", image.layers[0]);
    let (blob, path) = (image.blobs[&image.layers[0].to_string()].clone(), layer.clone());
    let fake = Fake::start(&image, move |asked| {
        (asked.path() == path && asked.from() == 0)
            .then(|| Answer::new(200, blob.clone()).cut(100_000))
    });
    here.pull(&format!("{}/app:1", fake.place)).unwrap();
    let of_layer = fake.asked().into_iter().filter(|asked| asked.path() == layer);
    let from: Vec<usize> = of_layer.map(|asked| asked.from()).collect();
    assert_eq!(from, [0, 100_000]);
}

#[test]
fn a_server_that_knows_no_ranges_sends_all_again() {
    let (image, here) = (Image::new(), Here::new());
    let path = format!("/v2/app/blobs/{}", image.layers[0]);
    let blob = image.blobs[&image.layers[0].to_string()].clone();
    let tries = AtomicU32::new(0);
    let fake = Fake::start(&image, move |asked| {
        (asked.path() == path).then(|| match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::new(200, blob.clone()).cut(100_000),
            _ => Answer::new(200, blob.clone()),
        })
    });
    here.pull(&format!("{}/app:1", fake.place)).unwrap();
}

#[test]
fn a_pull_that_is_stopped_leaves_what_has_come() {
    let (image, here) = (Image::new(), Here::new());
    let path = format!("/v2/app/blobs/{}", image.layers[0]);
    let blob = image.blobs[&image.layers[0].to_string()].clone();
    let stop = CancellationToken::new();
    let asked_again = stop.clone();
    // It stops when it asks for the rest.
    let fake = Fake::start(&image, move |asked| {
        (asked.path() == path).then(|| {
            if asked.from() > 0 {
                asked_again.cancel();
                return Answer::new(500, "");
            }
            Answer::new(200, blob.clone()).cut(100_000)
        })
    });
    let name = format!("{}/app:1", fake.place).parse().unwrap();
    let (settings, blobs) = (&here.settings, &here.blobs);
    let job = Pull { settings, image: &name, blobs, architecture: Architecture::X86_64 };
    assert!(matches!(pull(job, &silent, &stop), Err(RegistryError::Cancelled)));
    let partial =
        here.blobs.partials().unwrap().into_iter().find(|it| it.digest == image.layers[0]);
    assert_eq!(partial.map(|partial| partial.bytes), Some(100_000));
    assert!(matches!(here.blobs.open(&image.digest()), Err(BlobError::Missing { .. })));
    // Another goes on from there, with another server.
    let fake = Fake::start(&image, plain);
    here.pull(&format!("{}/app:1", fake.place)).unwrap();
    assert!(fake.asked().iter().any(|asked| asked.from() == 100_000));
}

#[test]
fn wrong_bytes_are_refused() {
    let layer = |image: &Image| format!("/v2/app/blobs/{}", image.layers[0]);
    let right = vec![1; 300_000];
    let mut wrong = right.clone();
    wrong[7] = 9;
    for (body, fault) in [
        (wrong, "another content than its digest says"),
        (vec![1; 300_001], "longer than its manifest says"),
        (vec![1; 100], "it ended too early"),
    ] {
        let (image, here) = (Image::new(), Here::new());
        let path = layer(&image);
        let fake = Fake::start(&image, move |asked| {
            (asked.path() == path).then(|| Answer::new(200, body.clone()))
        });
        let found = here.fault(&format!("{}/app:1", fake.place));
        assert!(found.contains(fault), "{found}");
        assert!(matches!(here.blobs.open(&image.layers[0]), Err(BlobError::Missing { .. })));
    }
}

#[test]
fn who_is_not_logged_in_gets_a_token() {
    let (image, here) = (Image::new(), Here::new());
    let fake = Fake::start(&image, |asked| {
        if asked.path().starts_with("/token") {
            assert_eq!(asked.path(), "/token?scope=repository%3Aapp%3Apull&service=s");
            assert_eq!(asked.header("authorization"), None);
            return Some(Answer::new(200, r#"{"access_token":"T"}"#));
        }
        (asked.header("authorization") != Some("Bearer T")).then(|| {
            let challenge = r#"Bearer realm="/token",service="s",scope="repository:app:pull""#;
            Answer::new(401, "").with("www-authenticate", challenge)
        })
    });
    here.pull(&format!("{}/app:1", fake.place)).unwrap();
    let tokens = fake.paths().iter().filter(|path| path.starts_with("/token")).count();
    assert_eq!(tokens, 1, "one does for all");
}

#[test]
fn a_login_goes_to_who_gives_tokens() {
    let image = Image::new();
    let challenge = r#"Bearer realm="/token",service="s""#;
    let needs_token = move |asked: &Asked| {
        (asked.header("authorization") != Some("Bearer T"))
            .then(|| Answer::new(401, "").with("www-authenticate", challenge))
    };
    let fake = Fake::start(&image, move |asked| {
        if !asked.path().starts_with("/token") {
            return needs_token(asked);
        }
        let by_password = asked.header("authorization") == Some("Basic dTpw");
        let by_identity = asked.line.starts_with("POST")
            && asked.body
                == "scope=repository%3Aapp%3Apull&service=s&grant_type=refresh_token\
                    &client_id=fumehood&refresh_token=I";
        Some(match by_password || by_identity {
            true => Answer::new(200, r#"{"token":"T"}"#),
            false => Answer::new(401, ""),
        })
    });
    let name = format!("{}/app:1", fake.place);
    for entry in [r#"{"auth":"dTpw"}"#, r#"{"identitytoken":"I"}"#] {
        Here::new().with_login(&fake.place, entry).pull(&name).unwrap();
    }
    let wrong = Here::new().with_login(&fake.place, r#"{"auth":"dTpodW50ZXIy"}"#).fault(&name);
    assert!(wrong.contains("does not give") && wrong.contains("to u (credentials from"), "{wrong}");
    assert!(!wrong.contains("hunter2") && !wrong.contains("dTpodW50ZXIy"), "{wrong}");
    let nobody = Here::new().fault(&name);
    assert!(nobody.contains(&format!("docker login {}", fake.place)), "{nobody}");
}

#[test]
fn a_login_is_not_sent_where_others_can_listen() {
    let fake = Fake::start(&Image::new(), |_| {
        let challenge = r#"Bearer realm="http://tokens.example/token""#;
        Some(Answer::new(401, "").with("www-authenticate", challenge))
    });
    let here = Here::new().with_login(&fake.place, r#"{"auth":"dTpw"}"#);
    let found = here.fault(&format!("{}/app:1", fake.place));
    assert!(found.contains("credentials would not be encrypted"), "{found}");
}

#[test]
fn credentials_go_to_the_registry_alone() {
    let image = Image::new();
    let store = Fake::start(&image, |asked| {
        asked.path().strip_prefix("/store/").map(|digest| {
            let blob = Image::new().blobs[digest].clone();
            Answer::new(200, blob)
        })
    });
    let place = store.place.clone();
    let fake = Fake::start(&image, move |asked| {
        if asked.header("authorization") != Some("Basic dTpw") {
            return Some(Answer::new(401, "").with("www-authenticate", "Basic realm=x"));
        }
        asked.path().strip_prefix("/v2/app/blobs/").map(|digest| {
            Answer::new(307, "").with("location", &format!("http://{place}/store/{digest}"))
        })
    });
    let here = Here::new().with_login(&fake.place, r#"{"auth":"dTpw"}"#);
    here.pull(&format!("{}/app:1", fake.place)).unwrap();
    let asked = store.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|asked| asked.header("authorization").is_none()), "{asked:?}");
}

#[test]
fn registries_that_cannot_are_asked_again_and_those_that_will_not_are_not() {
    let image = Image::new();
    // How often it fails, with what, and whether the pull then succeeds.
    let table = [
        (2, Answer::new(503, ""), None),
        (3, Answer::new(503, ""), Some("answered 503")),
        (1, Answer::new(429, "").with("retry-after", "1"), None),
        (9, Answer::new(429, ""), Some("gives out no more for now (429); who is logged in")),
        (1, Answer::new(429, "").with("retry-after", "7200"), Some("wait for 7200 seconds")),
        (1, Answer::new(404, ""), Some("has no 1 of app")),
        (
            1,
            Answer::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
            Some("has no repository app"),
        ),
        (
            1,
            Answer::new(418, r#"{"errors":[{"code":"TEAPOT"}]}"#),
            Some("answered 418 to the manifest 1: TEAPOT"),
        ),
        (
            1,
            Answer::new(302, "").with("location", "https://x.example:y/"),
            Some("no address of the web"),
        ),
        (1, Answer::new(302, ""), Some("does not say where to")),
        (99, Answer::new(302, "").with("location", "/again"), Some("leads on and on")),
        (1, Answer::new(200, "{}"), Some("cannot be used")),
        (1, Answer::new(200, vec![b' '; 5 << 20]), Some("is larger than the 4194304 bytes")),
        (
            1,
            Answer::new(200, "{}").with("docker-content-digest", &Digest::of(b"x").to_string()),
            Some("another content"),
        ),
    ];
    for (times, answer, expected) in table {
        let (here, count) = (Here::new(), AtomicU32::new(0));
        let given = answer.clone();
        let fake = Fake::start(&image, move |asked| {
            let is_manifest = asked.path().contains("manifests") || asked.path() == "/again";
            (is_manifest && count.fetch_add(1, Ordering::SeqCst) < times).then(|| given.clone())
        });
        let name = format!("{}/app:1", fake.place);
        match expected {
            None => drop(here.pull(&name).unwrap()),
            Some(fault) => {
                let found = here.fault(&name);
                assert!(found.contains(fault), "{} {found}", answer.status);
            }
        }
    }
}

#[test]
fn mirrors_come_first_and_the_registry_last() {
    let image = Image::new();
    let mirror = Fake::start(&image, plain);
    let empty = Fake::start(&image, |_| Some(Answer::new(404, "")));
    let own = Fake::start(&image, plain);
    let mut here = Here::new();
    let text = format!(
        r#"{{"mirrors":{{"{}":["http://{}","http://{}"]}}}}"#,
        own.place, empty.place, mirror.place
    );
    here.settings.registries = serde_json::from_str(&text).unwrap();
    here.pull(&format!("{}/app:1", own.place)).unwrap();
    assert_eq!((empty.paths().len(), mirror.paths().len(), own.paths().len()), (1, 4, 0));
    let text = format!(r#"{{"mirrors":{{"{}":["http://{}"]}}}}"#, own.place, empty.place);
    here.settings.registries = serde_json::from_str(&text).unwrap();
    here.pull(&format!("{}/app:1", own.place)).unwrap();
    assert_eq!(own.paths().len(), 1);
}

#[test]
fn nobody_is_there() {
    let here = Here::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    drop(listener);
    let found = here.fault(&format!("{place}/app:1"));
    assert!(found.contains(&format!("{place} cannot be reached")), "{found}");
    let found = here.fault("no-such-registry.invalid/app:1");
    assert!(found.contains("no-such-registry.invalid cannot be reached"), "{found}");
}
