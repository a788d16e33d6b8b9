use super::*;

#[test]
fn a_fifo_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    assert_eq!(read(&fifo), "");
    assert!(overwrite(fifo.to_str().unwrap(), "text").is_err());
}

#[test]
fn no_more_than_a_bound_is_read() {
    assert_eq!(read(Path::new("/dev/zero")).len() as u64, READ_MAX);
    assert_eq!(read(Path::new("/no/such/file")), "");
}

#[test]
fn a_file_gets_another_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    for content in ["", "long\nlonger\n", "short\n", ""] {
        overwrite(file.to_str().unwrap(), content).unwrap();
        assert_eq!(read(&file), content);
    }
}
