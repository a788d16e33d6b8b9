//! Names of images: one that reads the same once it is spelt out, in full or as people write it, or
//! an error.

#![no_main]

use std::path::Path;

use image::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<Reference>() else { return };
    assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
    match reference {
        Reference::Registry(remote) => {
            assert_eq!(remote.familiar().parse(), Ok(Reference::Registry(remote.clone())));
            // They become parts of a path and of a header.
            let all = [remote.registry(), remote.repository(), &remote.wanted()].concat();
            assert!(all.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\\\"".contains(&byte)));
            assert!(
                !remote
                    .repository()
                    .split('/')
                    .any(|part| part.is_empty() || part.starts_with('.'))
            );
        }
        Reference::Local(local) => {
            assert!(local.from_folder(Path::new("/here")).path.is_absolute());
        }
        Reference::Default | Reference::Builder | Reference::Debian(_) => {}
    }
});
