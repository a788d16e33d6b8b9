use super::*;
use crate::oci::digest::Digest;

/// An index of platforms as `os/architecture/variant`, or of entries that say nothing.
fn index(platforms: &[Option<&str>]) -> Index {
    let entry = |(place, platform): (usize, &Option<&str>)| {
        let digest = Digest::of(place.to_string().as_bytes());
        let mut entry = Descriptor::new("", digest, place as u64);
        entry.platform = platform.map(|text| {
            let mut words = text.split('/').map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            Platform { os: word(), architecture: word(), variant: words.next() }
        });
        entry
    };
    Index { manifests: platforms.iter().enumerate().map(entry).collect() }
}

#[test]
fn the_entry_of_the_host_is_chosen() {
    let table: [(&[Option<&str>], u64); 8] = [
        (&[Some("linux/arm64"), Some("Linux/x86_64")], 1),
        (&[Some("linux/arm64/v8"), Some("linux/amd64")], 1),
        (&[Some("windows/amd64"), Some("linux/amd64")], 1),
        (&[Some("linux/amd64/v3"), Some("linux/amd64/v2"), Some("linux/arm64")], 1),
        (&[Some("linux/amd64/v2"), Some("linux/amd64/v1"), Some("linux/amd64")], 1),
        (&[Some("unknown/unknown"), Some("linux/amd64"), Some("linux/amd64")], 1),
        (&[None], 0),
        (&[None, Some("linux/amd64")], 1),
    ];
    for (platforms, expected) in table {
        let index = index(platforms);
        let chosen = choose(&index, Architecture::X86_64).unwrap();
        assert_eq!(chosen.size, expected, "{platforms:?}");
    }
}

#[test]
fn where_there_is_none_it_is_said_what_there_is() {
    let index = index(&[Some("linux/arm64/v8"), Some("linux/arm64/v8"), Some("windows/amd64")]);
    let said = choose(&index, Architecture::X86_64).unwrap_err().to_string();
    let expected = "the image is not made for linux/amd64, but for linux/arm64/v8, windows/amd64";
    assert_eq!(said, expected);
    for platforms in [&[][..], &[None, None], &[Some("linux/")]] {
        assert!(choose(&self::index(platforms), Architecture::X86_64).is_err(), "{platforms:?}");
    }
}
