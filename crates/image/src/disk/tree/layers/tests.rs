use super::super::{Limits, Meta, Time};
use super::*;

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

#[test]
fn what_a_layer_has_looked_through_it_does_not_look_through_again() {
    let mut tree = Tree::new(tempfile::tempfile().unwrap(), Limits::default());
    let meta = || Meta::new(0o755, Time::default());
    for folder in ["a/b/c", "d"] {
        tree.put_directory(&path(folder), meta()).unwrap();
    }
    tree.begin_layer().unwrap();
    tree.put_directory(&path("a/b/new"), meta()).unwrap();
    let looks = |tree: &Tree, folder: &str| tree.holds_others(tree.find(&path(folder)).unwrap());
    assert!(looks(&tree, "a") && looks(&tree, "a/b") && !looks(&tree, "a/b/new"));
    tree.hide(&path("a")).unwrap();
    assert!(!looks(&tree, "a") && !looks(&tree, "a/b") && looks(&tree, "/"));
    tree.hide_below(&path("/")).unwrap();
    assert!(!looks(&tree, "/"));
    assert_eq!(tree.find(&path("d")), None);
    // To the next layer they are as any others.
    tree.begin_layer().unwrap();
    assert!(looks(&tree, "/") && looks(&tree, "a/b/new"));
}
