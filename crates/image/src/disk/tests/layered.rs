//! Layers over layers, against a model that takes two passes over each.

use std::collections::{BTreeMap, BTreeSet};

use ::tar::EntryType;
use proptest::prelude::*;

use super::super::tar::lay_layer;
use super::*;

fn layers(streams: &mut [Stream]) -> Result<Tree, TarError> {
    let mut tree = Tree::new(tempfile::tempfile().unwrap(), Limits::default());
    for stream in streams {
        lay_layer(stream.end().as_slice(), &mut tree)?;
    }
    Ok(tree)
}

/// Paths alone, without the root; directories end in a slash, files have their content.
fn paths(tree: &Tree) -> Vec<String> {
    let text = describe(tree);
    let line = |line: &str| {
        let path = line.split(' ').next().unwrap_or_default();
        match line.split_once(" file ") {
            Some((_, content)) => format!("{path}={}", content.trim_matches('"')),
            None if line.ends_with(" directory") => format!("{path}/"),
            None => path.to_owned(),
        }
    };
    text.lines().skip(1).map(line).collect()
}

fn files(paths: &[&str]) -> Stream {
    let mut stream = Stream::default();
    for path in paths {
        let (path, content) = path.split_once('=').unwrap_or((path, ""));
        stream.add(EntryType::Regular, path, content.as_bytes());
    }
    stream
}

#[track_caller]
fn become_paths(streams: &[&[&str]], expected: &[&str]) {
    let mut streams: Vec<_> = streams.iter().map(|paths| files(paths)).collect();
    assert_eq!(paths(&layers(&mut streams).unwrap()), expected);
}

#[test]
fn whiteouts_take_from_the_layers_below() {
    become_paths(&[&["a", "b"], &[".wh.a"]], &["/b="]);
    become_paths(
        &[&["d/a", "d/b", "e"], &["d/.wh.b", ".wh.nothing", "no/.wh.x"]],
        &["/d/", "/d/a=", "/e="],
    );
    become_paths(&[&["d/a", "d/s/b"], &[".wh.d"]], &[]);
    become_paths(&[&["d/a"], &[".wh.d"], &["d/b"]], &["/d/", "/d/b="]);
    become_paths(&[&["d/a", "d/s/b"], &["d/.wh..wh..opq", "d/c"]], &["/d/", "/d/c="]);
    become_paths(&[&["a", "b"], &[".wh..wh..opq", "c"]], &["/c="]);
    become_paths(&[&["a"], &[".wh..wh..opq"], &[]], &[]);
    // In the lowest layer there is nothing below.
    become_paths(&[&["a", ".wh.a", "d/b", "d/.wh..wh..opq"]], &["/a=", "/d/", "/d/b="]);
}

#[test]
fn what_the_same_layer_has_there_stays_before_and_after() {
    become_paths(&[&["a=old"], &[".wh.a", "a=new"]], &["/a=new"]);
    become_paths(&[&["a=old"], &["a=new", ".wh.a"]], &["/a=new"]);
    for order in [["d/.wh..wh..opq", "d/n"], ["d/n", "d/.wh..wh..opq"]] {
        become_paths(&[&["d/o", "d/s/o"], &order], &["/d/", "/d/n="]);
    }
    for order in [[".wh.d", "d/s/n"], ["d/s/n", ".wh.d"]] {
        become_paths(&[&["d/o", "d/s/o", "d/t/o"], &order], &["/d/", "/d/s/", "/d/s/n="]);
    }
    // Two markers in one layer, and one of a directory that another has emptied already.
    become_paths(
        &[&["d/s/o"], &["d/s/n", "d/s/.wh..wh..opq", "d/.wh..wh..opq"]],
        &["/d/", "/d/s/", "/d/s/n="],
    );
    become_paths(&[&["d/s/o"], &["d/s/.wh..wh..opq", "d/.wh..wh..opq", ".wh.d"]], &[]);
}

#[test]
fn a_directory_that_was_hidden_has_nothing_of_the_old_one() {
    let mut below = Stream::default();
    below.pax(&[("SCHILY.xattr.user.a", b"b")]);
    below.add_with(EntryType::Directory, "d", b"", |header| header.set_mode(0o700));
    let mut above = files(&["d/n", ".wh.d"]);
    let text = describe(&layers(&mut [below, above]).unwrap());
    assert!(text.contains("/d 755 0:0 0.000000000 directory\n"), "{text}");
    // Unless the layer says itself what it is.
    let mut below = files(&["d/o"]);
    above = Stream::default();
    above.add_with(EntryType::Directory, "d", b"", |header| header.set_mode(0o711));
    above.add(EntryType::Regular, ".wh.d", b"");
    let tree = layers(&mut [std::mem::take(&mut below), above]).unwrap();
    assert!(describe(&tree).contains("/d 711 0:0 7.000000000 directory\n"));
    assert_eq!(paths(&tree), ["/d/"]);
}

#[test]
fn types_change_and_links_lead_to_lower_layers() {
    let mut below = files(&["f=1", "g=2", "d/x"]);
    below.link(EntryType::Link, "h", "f").link(EntryType::Symlink, "s", "d");
    let mut above = Stream::default();
    above
        .add(EntryType::Directory, "f", b"")
        .add(EntryType::Regular, "f/in", b"")
        .link(EntryType::Link, "l", "h")
        .link(EntryType::Link, "m/l", "g")
        .add(EntryType::Regular, ".wh.g", b"")
        .add(EntryType::Directory, "s", b"")
        .link(EntryType::Symlink, "d", "s");
    let tree = layers(&mut [below, above]).unwrap();
    assert_eq!(paths(&tree), ["/d", "/f/", "/f/in=", "/h=1", "/l", "/m/", "/m/l=2", "/s/"]);
    assert!(describe(&tree).contains("/l = /h\n"));
    assert_eq!(tree.inodes(), 8);
}

#[test]
fn names_of_the_first_storage_driver_are_passed_over() {
    become_paths(&[&[".wh..wh.plnk/1.2=x", ".wh..wh.aufs", "d/.wh..wh.orph/x", "a"]], &["/a="]);
}

#[test]
fn whiteouts_of_nothing_that_can_be_are_refused() {
    for path in [".wh.", "d/.wh..", ".wh...", ".wh.d/x", "a/.wh.b/c"] {
        let error = layers(&mut [files(&[path])]).unwrap_err().to_string();
        assert!(error.contains("a whiteout of nothing"), "{path}: {error}");
    }
    let mut stream = Stream::default();
    stream.add(EntryType::Regular, ".wh.../x", b"");
    assert!(layers(&mut [stream]).is_err());
    let mut stream = Stream::default();
    stream.link(EntryType::Symlink, "s", "/").add(EntryType::Regular, "s/.wh.etc", b"");
    assert_eq!(
        paths(&layers(&mut [files(&["etc/x"]), stream]).unwrap()),
        ["/etc/", "/etc/x=", "/s"]
    );
}

#[test]
fn whiteouts_count_and_cost_no_more_than_what_they_take() {
    let few = Limits { entries: 100_000, metadata_bytes: 1 << 20, content_bytes: 10 };
    let mut tree = Tree::new(tempfile::tempfile().unwrap(), few);
    let mut stream = Stream::default();
    for _ in 0..5000 {
        stream.add(EntryType::Regular, ".wh..wh..opq", b"");
    }
    let error = lay_layer(stream.end().as_slice(), &mut tree).unwrap_err().to_string();
    assert!(error.contains("names and attributes"), "{error}");
    // As many markers as entries, each looking at all of them, would take hours.
    let mut stream = Stream::default();
    for index in 0..5_000 {
        stream.add(EntryType::Regular, &format!("d/{index}"), b"");
    }
    for _ in 0..5_000 {
        stream.add(EntryType::Regular, "d/.wh..wh..opq", b"").add(EntryType::Regular, ".wh.d", b"");
    }
    assert_eq!(layers(&mut [files(&["d/o"]), stream]).unwrap().inodes(), 5_002);
}

/// What a layer of the model does.
#[derive(Debug, Clone)]
enum Act {
    Put(Vec<&'static str>, u8),
    Folder(Vec<&'static str>),
    Hide(Vec<&'static str>),
    HideBelow(Vec<&'static str>),
}

fn act() -> impl Strategy<Value = Act> {
    let names = || proptest::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4);
    let folder = proptest::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3);
    prop_oneof![
        5 => (names(), any::<u8>()).prop_map(|(path, content)| Act::Put(path, content)),
        2 => names().prop_map(Act::Folder),
        3 => names().prop_map(Act::Hide),
        1 => folder.prop_map(Act::HideBelow),
    ]
}

/// Files and directories by path; a directory with the number of the layer that says it is one.
type Model = BTreeMap<String, Option<String>>;

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// First all that the layer takes away, then all that it has.
fn apply(model: &mut Model, acts: &[Act]) {
    for act in acts {
        match act {
            Act::Hide(path) => {
                let path = format!("/{}", path.join("/"));
                model.retain(|other, _| *other != path && !is_below(other, &path));
            }
            Act::HideBelow(path) => {
                let path = path.iter().map(|name| format!("/{name}")).collect::<String>();
                model.retain(|other, _| !is_below(other, &path));
            }
            Act::Put(..) | Act::Folder(_) => {}
        }
    }
    for act in acts {
        let (path, content) = match act {
            Act::Put(path, content) => (path, Some(content.to_string())),
            Act::Folder(path) => (path, None),
            Act::Hide(_) | Act::HideBelow(_) => continue,
        };
        for len in 1..path.len() {
            model.entry(format!("/{}", path[..len].join("/"))).or_insert(None);
        }
        let path = format!("/{}", path.join("/"));
        if content.is_some() {
            model.retain(|other, _| !is_below(other, &path));
        }
        model.insert(path, content);
    }
}

/// Without what would be below a file, which is refused.
fn sound(layers: Vec<Vec<Act>>) -> Vec<Vec<Act>> {
    let mut files = BTreeSet::new();
    let mut folders = BTreeSet::new();
    let mut keep = |act: &Act| {
        let (Act::Put(path, _) | Act::Folder(path)) = act else { return true };
        let parents = (1..path.len()).map(|len| path[..len].join("/"));
        let path_text = path.join("/");
        let is_file = matches!(act, Act::Put(..));
        let meets = if is_file { folders.contains(&path_text) } else { files.contains(&path_text) };
        if meets || parents.clone().any(|parent| files.contains(&parent)) {
            return false;
        }
        folders.extend(parents);
        if is_file {
            files.insert(path_text)
        } else {
            folders.insert(path_text)
        };
        true
    };
    layers.into_iter().map(|acts| acts.into_iter().filter(|act| keep(act)).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_order_in_a_layer_is_of_no_matter_to_whiteouts(
        layers_of_acts in proptest::collection::vec(proptest::collection::vec(act(), 0..12), 1..5)
    ) {
        let all = sound(layers_of_acts);
        let mut model = Model::new();
        let mut streams = Vec::new();
        for acts in &all {
            apply(&mut model, acts);
            let mut stream = Stream::default();
            for act in acts {
                match act {
                    Act::Put(path, content) => stream.add(
                        EntryType::Regular, &path.join("/"), content.to_string().as_bytes()
                    ),
                    Act::Folder(path) => stream.add(EntryType::Directory, &path.join("/"), b""),
                    Act::Hide(path) => {
                        let (name, parents) = path.split_last().unwrap();
                        let parents: String = parents.iter().map(|name| format!("{name}/")).collect();
                        stream.add(EntryType::Regular, &format!("{parents}.wh.{name}"), b"")
                    }
                    Act::HideBelow(path) => {
                        let path: String = path.iter().map(|name| format!("{name}/")).collect();
                        stream.add(EntryType::Regular, &format!("{path}.wh..wh..opq"), b"")
                    }
                };
            }
            streams.push(stream);
        }
        let found = paths(&layers(&mut streams).unwrap());
        let expected: Vec<_> = model.iter().map(|(path, content)| match content {
            Some(content) => format!("{path}={content}"),
            None => format!("{path}/"),
        }).collect();
        prop_assert_eq!(found, expected);
    }
}
