//! Random trees, written by us and read back by another reader.

use std::collections::BTreeMap;
use std::fs::File;

use ::tar::EntryType;
use mkext4::reader::Fs;
use mkext4::spec::Inode;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Thing {
    File(Vec<u8>),
    Directory,
    Symlink(String),
    Link(prop::sample::Index),
    Fifo,
}

#[derive(Debug, Clone)]
struct Item {
    names: Vec<&'static str>,
    thing: Thing,
    mode: u32,
    uid: u32,
    mtime: i64,
    attribute: Option<Vec<u8>>,
}

fn item() -> impl Strategy<Value = Item> {
    let name =
        prop::sample::select(vec!["a", "b", "c", "été", "long-long-long-long-long-long-name"]);
    let thing = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..20_000).prop_map(Thing::File),
        3 => Just(Thing::Directory),
        1 => "[a-z/.]{1,90}".prop_map(Thing::Symlink),
        1 => any::<prop::sample::Index>().prop_map(Thing::Link),
        1 => Just(Thing::Fifo),
    ];
    let attribute = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let names = proptest::collection::vec(name, 1..4);
    (names, thing, 0_u32..0o10_000, any::<u32>(), -3_000_000_000_i64..20_000_000_000, attribute)
        .prop_map(|(names, thing, mode, uid, mtime, attribute)| Item {
            names,
            thing,
            mode,
            uid,
            mtime,
            attribute,
        })
}

/// The stream without those items that would be refused.
fn stream_of(items: &[Item]) -> Stream {
    let mut stream = Stream::default();
    let mut kinds: BTreeMap<String, bool> = BTreeMap::new();
    for item in items {
        let path = item.names.join("/");
        let mut parents = (1..item.names.len()).map(|len| item.names[..len].join("/"));
        if parents.any(|parent| kinds.get(&parent) == Some(&false)) {
            continue;
        }
        let (uid, mtime) = (item.uid.to_string(), item.mtime.to_string());
        let mut records = vec![("uid", uid.as_bytes()), ("mtime", mtime.as_bytes())];
        if let Some(value) = &item.attribute {
            records.push(("SCHILY.xattr.user.test", value));
        }
        let linked: Vec<_> = kinds.iter().filter(|(_, is_directory)| !**is_directory).collect();
        let target = match &item.thing {
            Thing::Link(_) if linked.is_empty() => continue,
            Thing::Link(index) => linked[index.index(linked.len())].0.clone(),
            Thing::Symlink(target) => target.clone(),
            Thing::File(_) | Thing::Directory | Thing::Fifo => String::new(),
        };
        records.push(("path", path.as_bytes()));
        records.push(("linkpath", target.as_bytes()));
        stream.pax(&records);
        let (kind, content) = match &item.thing {
            Thing::File(content) => (EntryType::Regular, content.as_slice()),
            Thing::Directory => (EntryType::Directory, b"".as_slice()),
            Thing::Symlink(_) => (EntryType::Symlink, b"".as_slice()),
            Thing::Link(_) => (EntryType::Link, b"".as_slice()),
            Thing::Fifo => (EntryType::Fifo, b"".as_slice()),
        };
        stream.add_with(kind, "in-pax", content, |header| header.set_mode(item.mode));
        for len in 1..item.names.len() {
            kinds.insert(item.names[..len].join("/"), true);
        }
        let is_directory = matches!(item.thing, Thing::Directory);
        let changes_nothing = matches!(item.thing, Thing::Link(_)) && target == path;
        if !(is_directory || changes_nothing) {
            kinds.retain(|other, _| !other.starts_with(&format!("{path}/")));
        }
        kinds.insert(path, is_directory);
    }
    stream
}

/// Compares the tree at `id` with the inode of the same path.
fn compare(tree: &Tree, fs: &Fs<File>, id: NodeId, ino: u32, inodes: &mut BTreeMap<u32, NodeId>) {
    let node = tree.node(id);
    let inode = fs.inode(ino).unwrap();
    assert_eq!(*inodes.entry(ino).or_insert(id), id, "one inode for one node");
    assert_eq!(inode.mode & 0o7777, node.meta.mode);
    assert_eq!((inode.uid, inode.gid), (node.meta.uid, node.meta.gid));
    let clamped = node.meta.mtime.seconds.clamp(-(1 << 31), (1 << 34) - (1 << 31) - 1);
    assert_eq!(Inode::timestamp(inode.mtime, inode.mtime_extra).0, clamped);
    let values: Vec<_> = fs.xattrs(ino).unwrap().into_iter().map(|entry| entry.value).collect();
    assert_eq!(values, node.meta.xattrs.values().cloned().collect::<Vec<_>>());
    match &node.kind {
        Kind::File(body) => {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut tree.content(*body), &mut content).unwrap();
            assert!(fs.read_file(ino).unwrap() == content);
        }
        Kind::Special(Special::Symlink(target)) => {
            assert_eq!(fs.symlink_target(ino).unwrap(), target.as_bytes());
        }
        Kind::Special(_) => assert_eq!(inode.mode & 0o170_000, 0o010_000),
        Kind::Directory(children) => {
            let listed = fs.read_dir(ino).unwrap().into_iter();
            let own = [b".".as_slice(), b"..", b"lost+found"];
            let found: BTreeMap<_, _> = listed
                .filter(|entry| !own.contains(&entry.name.as_slice()))
                .map(|entry| (String::from_utf8(entry.name).unwrap(), entry.inode))
                .collect();
            assert!(found.keys().eq(children.keys()), "{found:?} {children:?}");
            for (name, child) in children {
                compare(tree, fs, child.id, found[name], inodes);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_written_is_what_another_reader_finds(
        items in proptest::collection::vec(item(), 0..60)
    ) {
        let tree = read(&stream_of(&items).end()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        write(&tree, &disk);
        let fs = Fs::open(File::open(&disk).unwrap()).unwrap();
        prop_assert_eq!(fs.verify().unwrap(), vec![]);
        let mut inodes = BTreeMap::new();
        compare(&tree, &fs, tree.root(), 2, &mut inodes);
        prop_assert_eq!(inodes.len(), tree.inodes());
    }
}
