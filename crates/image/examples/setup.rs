//! Fetches the kernel and makes the default image in the cache folder given, and says how long
//! each step took: `cargo run -p image --example setup -- FOLDER [AGENT]`. With an agent it writes
//! an initramfs beside them.
#![expect(clippy::print_stdout, reason = "this is what it is for")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use image::cache::Cache;
use image::kernel::Kernel;
use image::progress::Event;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or("which folder?")?;
    let last = Mutex::new(Instant::now());
    let progress = |event: Event<'_>| {
        let words = match event {
            Event::Began(step) => step.to_string(),
            Event::Said(line) => format!("  {line}"),
            Event::Advanced { .. } | Event::Percent(_) => return,
        };
        if let Ok(mut last) = last.lock() {
            println!("+{:>6.2?}  {words}", last.elapsed());
            *last = Instant::now();
        }
    };
    let began = Instant::now();
    let cache = Cache::open(&folder)?;
    let kernel = Kernel::fetch(&cache, &progress)?;
    let image = image::recipe::build(&cache, &progress)?;
    println!("{:?} in all", began.elapsed());
    if let Some(agent) = std::env::args_os().nth(2) {
        let initramfs = image::initramfs::build(&std::fs::read(agent)?, &kernel)?;
        std::fs::write(folder.join("initramfs.cpio"), initramfs)?;
    }
    println!("kernel {} {}", kernel.release(), kernel.digest());
    println!("boot modules {:?}", kernel.boot_modules().collect::<Vec<_>>());
    println!("vmlinux {}", kernel.vmlinux().display());
    println!("modules {}", kernel.modules_disk().display());
    println!("image {} {}", image.name(), image.digest());
    println!("disk {}, {} bytes", image.disk().display(), image.allocated_bytes()?);
    println!("{:?}", image.config());
    Ok(())
}
