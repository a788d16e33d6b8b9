//! Brings an image into the cache folder given, and says how long each step took:
//! `cargo run --release -p image --example import -- FOLDER ARCHIVE [NAME]`, or with
//! `docker://REGISTRY/NAME` in place of the archive.
#![expect(clippy::print_stdout, reason = "this is what it is for")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use image::cache::Cache;
use image::oci::blob::Blobs;
use image::oci::convert::convert;
use image::oci::import::import;
use image::progress::Event;
use image::registry::{Pull, Settings, pull};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let [folder, archive, wanted @ ..] = words.as_slice() else {
        return Err("which folder, and which archive?".into());
    };
    let wanted = wanted.first().and_then(|name| name.to_str());
    let last = Mutex::new(Instant::now());
    let progress = |event: Event<'_>| {
        if let Event::Began(step) = event
            && let Ok(mut last) = last.lock()
        {
            println!("+{:>6.2?}  {step}", last.elapsed());
            *last = Instant::now();
        }
    };
    let began = Instant::now();
    let cache = Cache::open(&PathBuf::from(folder))?;
    let blobs = Blobs::of(&cache);
    let remote = archive.to_str().and_then(|text| text.strip_prefix("docker://"));
    let image = match remote {
        Some(name) => {
            let (settings, image) = (&Settings::default(), &name.parse()?);
            let architecture = cache.architecture();
            let job = Pull { settings, image, blobs: &blobs, architecture };
            let manifest = pull(job, &progress, &CancellationToken::new())?;
            convert(&cache, &blobs, &manifest, Some(name), &progress)?
        }
        None => import(&cache, &blobs, &PathBuf::from(archive), wanted, &progress)?.image,
    };
    println!("{:?} in all", began.elapsed());
    println!("image {} of {:?}", image.digest(), image.manifest());
    println!("disk {}, {} bytes", image.disk().display(), image.allocated_bytes()?);
    println!("{} bytes in files, {:?}", image.content_bytes(), image.config());
    Ok(())
}
