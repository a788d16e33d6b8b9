use std::{
    fs::{self, File},
    time::{Duration, SystemTime},
};

use image::reference::Reference;

use super::*;
use crate::{config::Paths, images::Images, platform, uplink::Uplink};

const NAME: &str = "python:3.13";

/// A cache with images of one disk.
struct Place {
    _folder: tempfile::TempDir,
    cache: Cache,
    images: Images,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("state"), folder.path().join("cache"));
        let cache = platform::cache(&paths).unwrap();
        Self { images: Images::new(paths, Uplink::default()), cache, _folder: folder }
    }

    /// One more image, made so many seconds after 1970.
    fn add(&self, of: Made<'_>, seconds: u64) -> Remembered {
        let entry = self.cache.folder().join("images").join(of.env);
        fs::create_dir_all(&entry).unwrap();
        let manifest = of.manifest.map(|digit| format!("sha256:{}", digit.repeat(64)));
        let record = serde_json::json!({
            "name": manifest.as_deref().unwrap_or("default"), "digest": of.disk, "recipe": "key",
            "manifest": manifest, "created": seconds, "disk_bytes": 0, "content_bytes": 0,
            "config": {"user": "root", "cwd": "/", "env": [format!("OF={}", of.env)]},
        });
        fs::write(entry.join("image.json"), record.to_string()).unwrap();
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let file = File::options().write(true).open(entry.join("image.json")).unwrap();
        file.set_modified(made).unwrap();
        let all = catalog::list(&self.cache).unwrap();
        let image = all.iter().find(|image| env(image) == of.env).unwrap();
        if let Some(name) = of.name {
            let full = name.parse::<Reference>().unwrap().to_string();
            catalog::name(&self.cache, image, &full).unwrap();
        }
        let (digest, origin) = (Some(image.digest().to_owned()), Some(image.origin()));
        Remembered { name: of.name.unwrap_or("default").to_owned(), digest, origin }
    }

    async fn env_of(&self, remembered: &Remembered) -> Option<String> {
        match self.images.recall(remembered.clone()).await {
            Ok(image) => Some(env(&image)),
            Err(ImageError::Gone(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn remove(&self, env: &str) {
        fs::remove_dir_all(self.cache.folder().join("images").join(env)).unwrap();
    }
}

fn env(image: &Image) -> String {
    image.config().env.first().unwrap().1.clone()
}

/// An image; one without a manifest is of a recipe.
#[derive(Clone, Copy)]
struct Made<'a> {
    manifest: Option<&'a str>,
    disk: &'a str,
    name: Option<&'a str>,
    /// What its environment tells of it.
    env: &'a str,
}

const OWN: Made<'_> = Made { manifest: Some("a"), disk: "disk", name: Some(NAME), env: "own" };
const TWIN: Made<'_> =
    Made { manifest: Some("b"), disk: "disk", name: Some("evil.test/x:1"), env: "twin" };

#[tokio::test]
async fn of_images_with_one_disk_each_sandbox_has_its_own() {
    for (of_own, of_twin) in [(100, 200), (200, 100)] {
        let place = Place::new();
        let (own, twin) = (place.add(OWN, of_own), place.add(TWIN, of_twin));
        assert_eq!(place.env_of(&own).await.as_deref(), Some("own"));
        assert_eq!(place.env_of(&twin).await.as_deref(), Some("twin"));
        // Its name does not matter any more.
        place.add(Made { manifest: Some("c"), disk: "other", env: "newer", ..OWN }, 300);
        assert_eq!(place.env_of(&own).await.as_deref(), Some("own"));
        place.remove("own");
        assert_eq!(place.env_of(&own).await, None, "another is no stand-in");
    }
}

#[tokio::test]
async fn an_image_of_packages_is_not_what_was_made_of_its_disk() {
    let place = Place::new();
    let recipe = Made { manifest: None, disk: "disk", name: None, env: "recipe" };
    let own = place.add(recipe, 100);
    place.add(TWIN, 200);
    assert_eq!(place.env_of(&own).await.as_deref(), Some("recipe"));
    let old = Remembered { origin: None, ..own };
    assert_eq!(place.env_of(&old).await.as_deref(), Some("recipe"));
}

#[tokio::test]
async fn an_old_record_has_the_image_of_its_name_or_else_the_oldest() {
    for (of_own, of_twin) in [(100, 200), (200, 100)] {
        let place = Place::new();
        let old = Remembered { origin: None, ..place.add(OWN, of_own) };
        place.add(TWIN, of_twin);
        assert_eq!(place.env_of(&old).await.as_deref(), Some("own"));
    }
    let place = Place::new();
    let old = Remembered { origin: None, ..place.add(OWN, 100) };
    place.add(TWIN, 200);
    place.add(Made { manifest: Some("c"), disk: "other", env: "newer", ..OWN }, 300);
    assert_eq!(place.env_of(&old).await.as_deref(), Some("own"), "it has no name any more");
    place.remove("own");
    place.remove("twin");
    assert_eq!(place.env_of(&old).await, None);
}
