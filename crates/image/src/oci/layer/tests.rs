use std::io::Write;

use super::*;
use crate::disk::tests::Stream;
use crate::disk::tree::Limits;

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    file
}

#[test]
fn what_decompresses_to_too_much_for_its_size_is_refused() {
    let zeros = vec![0; 3 << 20];
    let plain = Stream::default().add(::tar::EntryType::Regular, "zeros", &zeros).end();
    let diff_id = Digest::of(&plain);
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let stored = [plain.clone(), gzip, zstd::encode_all(plain.as_slice(), 3).unwrap()];
    let lay = |stored: &[u8], bounds: Bounds| {
        let mut tree = Tree::new(tempfile::tempfile().unwrap(), Limits::default());
        Source { file: file(stored), tell: &|_| {}, bounds }.lay(&diff_id, &mut tree)
    };
    let bounds = Bounds { ratio: 200, free_bytes: 1 << 20, bytes: 4 << 20 };
    let results = stored.each_ref().map(|stored| lay(stored, bounds));
    assert!(matches!(
        results,
        [Ok(()), Err(LayerError::Bomb { .. }), Err(LayerError::Bomb { .. })]
    ));
    let free = Bounds { free_bytes: 4 << 20, ..bounds };
    assert!(stored.iter().all(|stored| lay(stored, free).is_ok()));
    let short = Bounds { bytes: 2 << 20, ..free };
    assert!(stored.iter().all(|stored| matches!(lay(stored, short), Err(LayerError::Bomb { .. }))));
}
