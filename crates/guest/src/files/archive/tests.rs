use super::*;

#[test]
fn numbers_are_octal_or_binary() {
    let of = |field: &[u8]| number(field);
    assert_eq!(of(b"0000644\0"), Some(0o644));
    assert_eq!(of(b" 644 \0 "), Some(0o644));
    assert_eq!(of(b"\0\0\0\0"), Some(0));
    assert_eq!(of(b"99999\0"), None);
    assert_eq!(of(b"abc"), None);
    assert_eq!(of(&[0x80, 0, 0, 0, 0, 0x2d, 0xc6, 0xc0]), Some(3_000_000));
    assert_eq!(of(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc, 0x18]), Some(-1000));
    assert_eq!(of(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
}

#[test]
fn pax_records_are_read_by_their_length() {
    let read = |records: &[u8]| {
        let mut extensions = Extensions::default();
        extensions.read(records).map(|()| extensions)
    };
    let extensions = read(b"14 path=a\nb=c\n18 mtime=-1.25000\n11 size=12\n").ok().unwrap();
    assert_eq!(extensions.name.as_deref(), Some(&b"a\nb=c"[..]));
    assert_eq!((extensions.mtime, extensions.size), (Some(-1), Some(12)));
    let bad: [&[u8]; 8] = [
        b"path=a\n",
        b"99 path=a\n",
        b"0 path=a\n",
        b"5 path=a\n",
        b"10 path=abc",
        b"11 size=-1\n",
        b"99999999999999999999999 a=b\n",
        b"22 GNU.sparse.major=1\n",
    ];
    for records in bad {
        assert!(read(records).is_err(), "{}", String::from_utf8_lossy(records));
    }
}

/// Whatever comes, it ends, in an error or not.
#[test]
fn damage_is_an_error_and_no_more() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(600);
    header.set_mode(0o644);
    let long = "n".repeat(300);
    builder.append_data(&mut header, &long, &[1_u8; 600][..]).unwrap();
    builder.append_data(&mut header, "b", &[2_u8; 600][..]).unwrap();
    let good = builder.into_inner().unwrap();
    let read = |bytes: &[u8]| {
        let mut archive = Archive::new(bytes);
        let mut count = 0;
        while archive.next()?.is_some() {
            io::copy(&mut archive, &mut io::sink()).map_err(ArchiveError::Io)?;
            count += 1;
        }
        Ok::<_, ArchiveError>(count)
    };
    assert_eq!(read(&good).unwrap(), 2);
    for cut in 0..good.len() - 1024 {
        // Cut between two entries it is whole.
        let whole = match cut {
            0 => Some(0),
            2560 => Some(1),
            _ => None,
        };
        assert_eq!(read(&good[..cut]).ok(), whole, "cut at {cut}");
    }
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        // A header is under a sum; content is not.
        let in_header = [0..512, 1024..1536, 2560..3072].iter().any(|header| header.contains(&at));
        assert!(read(&bytes).is_err() || !in_header, "flipped at {at}");
    }
}
