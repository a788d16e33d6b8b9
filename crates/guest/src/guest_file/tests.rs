use super::*;

#[test]
fn a_fifo_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    assert_eq!(read(&fifo), "");
}

#[test]
fn no_more_than_a_bound_is_read() {
    assert_eq!(read(Path::new("/dev/zero")).len() as u64, READ_MAX);
    assert_eq!(read(Path::new("/no/such/file")), "");
}
