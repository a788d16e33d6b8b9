//! `image`: from an archive and from a registry to an image that is here, and from its name to
//! the first command's result, beside `skopeo copy`, `umoci unpack` and `runc run`.
//!
//! The image is the default one, mounted and packed by `umoci` into an OCI layout of one gzip layer, and pushed by
//! `skopeo` to Debian's `docker-registry` on this computer. Ours is the release binary as it is used, with a server
//! and a cache folder of its own: cold, with kernel and bare template there and nothing of the image; warm, with the
//! image's disk and template. Ours and theirs are timed in turn.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    Sizes,
    place::{Place, Server, timed},
    row::Row,
};

mod peer;
mod registry;

use peer::Peer;
use registry::Registry;

/// As root.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let image = pack(&default_disk(&place.cache)?, &place.folder)?;
    let registry = Registry::start(&place.folder)?;
    let name = registry.push(&image)?;
    let (own, peer) = (Own::new(place, &name)?, Peer::new(&place.folder));
    let mut times: [Vec<Duration>; 8] = Default::default();
    let [imports, unpacks, pulls, copies, colds, firsts, warms, runcs] = &mut times;
    for _ in 0..sizes.runs {
        imports.push(own.import(&image)?);
        pulls.push(own.pull()?);
        colds.push(own.run()?);
        warms.push(own.run()?);
        own.forget(&name)?;
        let (copied, layout) = peer.copy(&name)?;
        let unpacked = peer.unpack(&layout)?;
        unpacks.push(unpacked);
        copies.push(copied + unpacked);
        firsts.push(copied + unpacked + peer.run()?);
        runcs.push(peer.run()?);
        peer.forget()?;
    }
    let [imports, unpacks, pulls, copies, colds, firsts, warms, runcs] = times;
    let beside = |ours: &str, own, theirs: &str, others| {
        [Row::times(ours, own).beside(theirs), Row::times(theirs, others)]
    };
    let mut rows = Vec::new();
    rows.extend(beside("image import", imports, "umoci unpack", unpacks));
    rows.extend(beside("image pull", pulls, "skopeo copy, umoci unpack", copies));
    rows.extend(beside("cold: run --image", colds, "skopeo copy, umoci unpack, runc run", firsts));
    rows.extend(beside("warm: run --image", warms, "runc run of the bundle that is there", runcs));
    rows[2] = rows[2].clone().main();
    Ok(rows)
}

/// Ours: a server with a cache folder that has no image but what it is told to fetch.
struct Own<'a> {
    server: Server,
    name: &'a str,
}

impl<'a> Own<'a> {
    fn new(place: &Place, name: &'a str) -> Result<Self> {
        let cache = place.folder.join("cache");
        let kernels = Path::new("x86_64/kernels");
        fs::create_dir_all(cache.join("x86_64"))?;
        symlink(place.cache.join(kernels), cache.join(kernels))?;
        let own = Self { server: place.server("state", 0).on_cache(cache), name };
        // Makes the bare template, which every image shares.
        own.run()?;
        own.forget(name)?;
        Ok(own)
    }

    fn import(&self, image: &str) -> Result<Duration> {
        let took = self.server.timed(&["image", "import", &format!("oci:{image}"), "bench"])?;
        self.forget("bench")?;
        Ok(took)
    }

    fn pull(&self) -> Result<Duration> {
        let took = self.server.timed(&["image", "pull", self.name])?;
        self.forget(self.name)?;
        Ok(took)
    }

    /// From the image's name to the first command's result.
    fn run(&self) -> Result<Duration> {
        self.server.timed(&["run", "--image", self.name, "--", "true"])
    }

    /// Nothing of the image is here afterwards.
    fn forget(&self, name: &str) -> Result<()> {
        self.server.timed(&["image", "rm", name]).map(drop)
    }
}

/// That of the newest default image in the cache.
fn default_disk(cache: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(cache.join("x86_64/images"))? {
        let record = entry?.path().join("image.json");
        let Ok(text) = fs::read(&record) else { continue };
        let value: serde_json::Value = serde_json::from_slice(&text)?;
        if value["name"] == "default" {
            found.push((fs::metadata(&record)?.modified()?, record.with_file_name("disk.ext4")));
        }
    }
    found.sort();
    found.pop().map(|(_, disk)| disk).context("there is no default image: `fumehood setup`")
}

/// An OCI layout of what is on the disk, by its path with the tag.
fn pack(disk: &Path, folder: &Path) -> Result<String> {
    let (mounted, layer) = (folder.join("mounted"), folder.join("layer.tar"));
    fs::create_dir(&mounted)?;
    let mut mount = Command::new("mount");
    timed(mount.args(["-t", "ext4", "-o", "loop,ro,noload"]).arg(disk).arg(&mounted))
        .context("mounting needs root and loop devices")?;
    let mut tar = Command::new("tar");
    tar.args(["--format=pax", "--xattrs", "--numeric-owner", "-cf"]).arg(&layer);
    let packed = timed(tar.arg("-C").arg(&mounted).arg("."));
    timed(Command::new("umount").arg(&mounted))?;
    packed?;
    let layout = folder.join("layout");
    let image = format!("{}:bench", layout.display());
    timed(Command::new("umoci").args(["init", "--layout"]).arg(&layout))
        .context("umoci is missing: apt install umoci")?;
    timed(Command::new("umoci").args(["new", "--image", &image]))?;
    timed(Command::new("umoci").args(["raw", "add-layer", "--image", &image]).arg(&layer))?;
    fs::remove_file(&layer)?;
    Ok(image)
}
