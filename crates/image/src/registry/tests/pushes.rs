use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::fake::{Answer, Asked, Fake, Image};
use crate::cache::Cache;
use crate::oci::blob::Blobs;
use crate::oci::digest::Digest;
use crate::progress::{Event, silent};
use crate::registry::credentials::CredentialFiles;
use crate::registry::settings::{Patience, Settings};
use crate::registry::{Push, Pushed, RegistryError, push};

/// A store that has the image, and what is needed to push out of it.
struct Here {
    folder: tempfile::TempDir,
    blobs: Blobs,
    settings: Settings,
    neighbours: BTreeMap<Digest, String>,
    image: Image,
}

impl Here {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (blobs, image) = (Blobs::of(&Cache::open(folder.path()).unwrap()), Image::new());
        image
            .blobs
            .values()
            .for_each(|bytes| assert_eq!(blobs.put(bytes).unwrap(), Digest::of(bytes)));
        blobs.put(&image.manifest).unwrap();
        let second = Duration::from_secs(1);
        let patience = Patience {
            connect: 10 * second,
            reply: 10 * second,
            pause: Duration::from_millis(1),
            pause_max: second,
            tries: 3,
        };
        let settings = Settings { patience, ..Settings::default() };
        Self { folder, blobs, settings, neighbours: BTreeMap::new(), image }
    }

    fn push(&self, place: &str) -> Result<Pushed, RegistryError> {
        self.push_telling(place, &silent)
    }

    fn push_telling(
        &self,
        place: &str,
        progress: crate::progress::Progress<'_>,
    ) -> Result<Pushed, RegistryError> {
        let target = &format!("{place}/app:1").parse().unwrap();
        let manifest = self.image.digest();
        let (settings, blobs, neighbours) = (&self.settings, &self.blobs, &self.neighbours);
        let job = Push { settings, target, blobs, manifest, neighbours };
        push(job, progress, &CancellationToken::new())
    }
}

/// A registry that keeps what it is given; what `special` does not answer.
#[derive(Default)]
struct Kept {
    blobs: BTreeSet<String>,
    manifest: Option<String>,
}

type Shared = Arc<Mutex<Kept>>;

fn taker(
    special: impl Fn(&Asked, &mut Kept) -> Option<Answer> + Send + Sync + 'static,
) -> (Fake, Shared) {
    let kept = Shared::default();
    let shared = Arc::clone(&kept);
    let fake = Fake::start(&Image::new(), move |asked| {
        let mut kept = shared.lock().unwrap();
        Some(special(asked, &mut kept).unwrap_or_else(|| kept.answer(asked)))
    });
    (fake, kept)
}

impl Kept {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let (method, path) = (asked.line.split(' ').next().unwrap(), asked.path());
        match method {
            "HEAD" => {
                let digest = path.strip_prefix("/v2/app/blobs/").unwrap();
                Answer::new(if self.blobs.contains(digest) { 200 } else { 404 }, "")
            }
            "POST" => Answer::new(202, "").with("location", "/v2/app/blobs/uploads/u?state=s"),
            "PUT" if path.contains("/manifests/") => {
                assert_eq!(path, "/v2/app/manifests/1");
                let kind = "application/vnd.oci.image.manifest.v1+json";
                assert_eq!(asked.header("content-type"), Some(kind));
                self.manifest = Some(asked.body.clone());
                Answer::new(201, "")
            }
            "PUT" => {
                let digest = path.strip_prefix("/v2/app/blobs/uploads/u?state=s&digest=").unwrap();
                let digest = digest.replace("%3A", ":");
                assert_eq!(Digest::of(asked.body.as_bytes()).to_string(), digest);
                self.blobs.insert(digest);
                Answer::new(201, "")
            }
            _ => panic!("{asked:?}"),
        }
    }
}

fn fault(error: &RegistryError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[test]
fn what_is_there_is_not_sent_again_and_the_manifest_comes_last() {
    let (here, (fake, kept)) = (Here::new(), taker(|_, _| None));
    let last = Mutex::new(None);
    let progress = |event: Event<'_>| {
        if let Event::Advanced { bytes, total } = event {
            *last.lock().unwrap() = Some((bytes, total));
        }
    };
    let config = 37;
    let pushed = here.push_telling(&fake.place, &progress).unwrap();
    let expected = Pushed { sent: 3, sent_bytes: 370_000 + config, ..Pushed::default() };
    assert_eq!(pushed, expected);
    assert_eq!(last.into_inner().unwrap(), Some((370_000 + config, Some(370_000 + config))));
    assert_eq!(kept.lock().unwrap().manifest.as_deref().unwrap().as_bytes(), here.image.manifest);
    assert!(fake.asked().last().unwrap().line.starts_with("PUT /v2/app/manifests/1 "));
    let pushed = here.push(&fake.place).unwrap();
    assert_eq!(pushed, Pushed { present: 3, ..Pushed::default() });
}

#[test]
fn a_neighbour_has_it() {
    let mut here = Here::new();
    let layers = here.image.layers.clone();
    here.neighbours.insert(layers[0], "base/it".into());
    here.neighbours.insert(layers[1], "gone/it".into());
    let (fake, _) = taker(|asked, _| {
        (asked.line.starts_with("POST") && asked.path().contains("from=base%2Fit"))
            .then(|| Answer::new(201, ""))
    });
    let pushed = here.push(&fake.place).unwrap();
    assert_eq!((pushed.mounted, pushed.sent), (1, 2), "what the other has not is sent");
    let mounts = fake.paths().into_iter().filter(|path| path.contains("mount=sha256%3A"));
    assert_eq!(mounts.count(), 2);
}

#[test]
fn what_breaks_off_goes_on_where_the_registry_stands() {
    let here = Here::new();
    let first = here.image.layers[0].to_string();
    let digest = first.replace(':', "%3A");
    // What came is kept as far as this.
    const HAS: usize = 100_000;
    let whole = here.image.blobs[&first].clone();
    let (fake, kept) = taker(move |asked, kept| {
        let is_first = asked.path().ends_with(&digest);
        match asked.line.split(' ').next().unwrap() {
            "PUT" if is_first && !asked.body.is_empty() => Some(Answer::new(503, "")),
            "GET" => Some(
                Answer::new(204, "")
                    .with("range", &format!("0-{}", HAS - 1))
                    .with("location", "/v2/app/blobs/uploads/again"),
            ),
            "PATCH" => {
                assert_eq!(asked.path(), "/v2/app/blobs/uploads/again");
                let range = format!("{HAS}-{}", whole.len() - 1);
                assert_eq!(asked.header("content-range"), Some(range.as_str()));
                assert_eq!(asked.body.as_bytes(), &whole[HAS..]);
                Some(Answer::new(202, "").with("location", "/v2/app/blobs/uploads/end"))
            }
            "PUT" if asked.path().starts_with("/v2/app/blobs/uploads/end?digest=") => {
                kept.blobs.insert(Digest::of(&whole).to_string());
                Some(Answer::new(201, ""))
            }
            _ => None,
        }
    });
    let last = Mutex::new(0);
    let progress = |event: Event<'_>| {
        if let Event::Advanced { bytes, .. } = event {
            *last.lock().unwrap() = bytes;
        }
    };
    here.push_telling(&fake.place, &progress).unwrap();
    assert_eq!(*last.lock().unwrap(), 370_037, "each byte counts once");
    assert!(kept.lock().unwrap().blobs.contains(&first));
}

#[test]
fn a_registry_that_forgets_begins_anew_and_one_that_never_can_is_left() {
    let here = Here::new();
    // Every whole is turned away, and pieces are taken.
    let pieces = Mutex::new(BTreeMap::<String, String>::new());
    let count = Mutex::new(0);
    let (fake, kept) = taker(move |asked, kept| {
        let mut pieces = pieces.lock().unwrap();
        let id = asked.path().split('?').next().unwrap().to_owned();
        match asked.line.split(' ').next().unwrap() {
            "POST" => {
                let mut count = count.lock().unwrap();
                *count += 1;
                Some(Answer::new(202, "").with("location", &format!("/v2/app/u{count}")))
            }
            "PUT" if asked.path().contains("/u") && !asked.body.is_empty() => {
                Some(Answer::new(502, ""))
            }
            "GET" => Some(Answer::new(404, "")),
            "PATCH" => {
                pieces.entry(id.clone()).or_default().push_str(&asked.body);
                Some(Answer::new(202, "").with("location", &id))
            }
            "PUT" if asked.path().contains("/u") => {
                kept.blobs.insert(Digest::of(pieces[&id].as_bytes()).to_string());
                Some(Answer::new(201, ""))
            }
            _ => None,
        }
    });
    here.push(&fake.place).unwrap();
    assert_eq!(kept.lock().unwrap().blobs.len(), 3);

    let (fake, _) = taker(|asked, _| match asked.line.split(' ').next().unwrap() {
        "PUT" | "PATCH" => Some(Answer::new(503, "")),
        "GET" => Some(Answer::new(404, "")),
        _ => None,
    });
    let error = here.push(&fake.place).unwrap_err();
    assert!(fault(&error).contains("answered 503 to the blob"), "{}", fault(&error));
}

#[test]
fn a_token_is_asked_for_that_is_good_for_pushing() {
    let mut here = Here::new();
    here.neighbours.insert(here.image.layers[0], "base".into());
    let path = here.folder.path().join("config.json");
    let (fake, _) = taker(|asked, _| {
        if asked.path().starts_with("/token") {
            assert_eq!(
                asked.path(),
                "/token?scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Abase%3Apull&service=s"
            );
            assert_eq!(asked.header("authorization"), Some("Basic dTpw"));
            return Some(Answer::new(200, r#"{"token":"T"}"#));
        }
        (asked.header("authorization") != Some("Bearer T")).then(|| {
            let challenge = r#"Bearer realm="/token",service="s",scope="repository:app:pull""#;
            Answer::new(401, "").with("www-authenticate", challenge)
        })
    });
    let login = format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, fake.place);
    std::fs::write(&path, login).unwrap();
    here.settings.credentials = CredentialFiles::new(vec![path]);
    here.push(&fake.place).unwrap();
}

#[test]
fn what_is_wrong_is_told() {
    let here = Here::new();
    // What is answered to the requests of a method, and what is said of it.
    let table = [
        ("POST", Answer::new(401, "").with("www-authenticate", "Basic realm=x"), "docker login"),
        ("POST", Answer::new(403, ""), "from nobody who is not logged in"),
        ("POST", Answer::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#), "NAME_UNKNOWN"),
        ("POST", Answer::new(405, r#"{"errors":[{"code":"UNSUPPORTED"}]}"#), "answered 405"),
        ("POST", Answer::new(202, ""), "does not say where to"),
        (
            "PUT",
            Answer::new(201, "").with("docker-content-digest", &Digest::of(b"x").to_string()),
            "calls the manifest sha256:2d711642",
        ),
        ("PUT", Answer::new(413, ""), "answered 413"),
    ];
    for (method, answer, expected) in table {
        let given = answer.clone();
        let (fake, _) =
            taker(move |asked, _| asked.line.starts_with(method).then(|| given.clone()));
        let found = fault(&here.push(&fake.place).unwrap_err());
        assert!(found.contains(expected), "{method} {}: {found}", answer.status);
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    drop(listener);
    assert!(fault(&here.push(&place).unwrap_err()).contains("cannot be reached"));
}

#[test]
fn what_was_damaged_here_is_told_from_what_got_lost() {
    let refuse = |asked: &Asked, _: &mut Kept| {
        (asked.line.starts_with("PUT"))
            .then(|| Answer::new(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#))
    };
    let here = Here::new();
    let (fake, _) = taker(refuse);
    let found = fault(&here.push(&fake.place).unwrap_err());
    assert!(found.contains("DIGEST_INVALID"), "{found}");
    // Blobs of its own: a look at those above may go on after their push, and would take them away.
    let here = Here::new();
    for digest in &here.image.layers {
        let path = here.folder.path().join("blobs/sha256").join(digest.hex());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[7] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let config =
        here.image.blobs.keys().find(|it| !here.image.layers.contains(&it.parse().unwrap()));
    let config = config.unwrap().clone();
    let (fake, _) = taker(move |asked, kept| {
        kept.blobs.insert(config.clone());
        refuse(asked, kept)
    });
    let error = here.push(&fake.place).unwrap_err();
    assert!(fault(&error).contains("has other bytes than its digest says"), "{}", fault(&error));
    // It is gone, so that it can be fetched anew.
    let error = here.push(&fake.place).unwrap_err();
    assert!(matches!(error, RegistryError::NotKept { .. }), "{}", fault(&error));
}
