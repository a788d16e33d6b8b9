//! Where copies go.

use super::*;

#[test]
fn into_a_guest() {
    let whole = |name: &str| Content::Whole(name.into());
    for (source, target, found, folder, content) in [
        ("dir/a", "/x", Found::Folder, "/x", whole("a")),
        ("dir/a", "/x", Found::NoFolder, "/", whole("x")),
        ("dir/a", "/x/y", Found::Nothing, "/x", whole("y")),
        ("dir/a", "/x/", Found::Nothing, "/x", whole("a")),
        ("dir/a/", "", Found::Folder, "/home/u", whole("a")),
        ("dir/a", "sub/b", Found::NoFolder, "/home/u/sub", whole("b")),
        ("dir/a/.", "/x", Found::NoFolder, "/x", Content::Inside),
        (".", "", Found::Folder, "/home/u", Content::Inside),
        ("..", "/x", Found::Folder, "/x", Content::Inside),
        ("a", "..", Found::Folder, "/home/u/..", whole("a")),
    ] {
        let target = GuestPath::new("/home/u", target);
        let wanted = (folder.to_owned(), content);
        assert_eq!(into_guest(&target, name_of(Path::new(source)), found), wanted, "{source}");
    }
}

#[test]
fn out_of_a_guest() {
    let here = tempfile::tempdir().unwrap();
    let here = here.path();
    fs::create_dir(here.join("dir")).unwrap();
    fs::write(here.join("file"), "").unwrap();
    let top = |name: &str| Rename::Top(name.into());
    for (source, target, wanted) in [
        ("/a/b", "dir", Some(("dir", top("b")))),
        ("/a/b", "dir/", Some(("dir/", top("b")))),
        ("/a/b", "new", Some(("", top("new")))),
        ("/a/b", "file", Some(("", top("file")))),
        ("/a/b", "new/", None),
        ("/a/b/.", "dir", Some(("dir", Rename::Strip))),
        ("/a/b/.", "made", Some(("made", Rename::Strip))),
        ("/a/b/.", "file", None),
        ("/a/b/.", "no/deeper", None),
        ("/", "dir", Some(("dir", Rename::Keep))),
        ("/a/..", "dir", Some(("dir", Rename::Strip))),
    ] {
        let found = out_of_guest(&GuestPath::new("/", source), &here.join(target)).ok();
        let wanted = wanted.map(|(folder, rename)| (here.join(folder), rename));
        assert_eq!(found, wanted, "{source} {target}");
    }
    assert!(here.join("made").is_dir());
}
