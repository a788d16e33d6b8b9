//! Imports an image into the cache folder given, and says how long each step took:
//! `cargo run --release -p image --example import -- FOLDER ARCHIVE [NAME]`.
#![expect(clippy::print_stdout, reason = "this is what it is for")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use image::cache::Cache;
use image::oci::blob::Blobs;
use image::oci::import::import;
use image::progress::Event;

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
    let imported = import(&cache, &blobs, &PathBuf::from(archive), wanted, &progress)?;
    println!("{:?} in all", began.elapsed());
    let image = imported.image;
    println!("image {} of {:?}, called {:?}", image.digest(), image.manifest(), imported.names);
    println!("disk {}, {} bytes", image.disk().display(), image.allocated_bytes()?);
    println!("{} bytes in files, {:?}", image.content_bytes(), image.config());
    Ok(())
}
