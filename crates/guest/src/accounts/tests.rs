use super::*;

#[test]
fn an_account_is_found_by_name_and_by_number() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    let passwd =
        "root:x:0:0:root:/root:/bin/bash\nbroken\nada:x:1000:1000::/home/ada:\n7:x:9:9:::\n";
    std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
    let group = "root:x:0:\nsudo:x:27:bob,ada\nada:x:1000:ada\nodd:x:no:ada\n";
    std::fs::write(root.path().join("etc/group"), group).unwrap();
    let find = |user| Account::find(root.path(), user);

    let ada = find("ada").unwrap();
    assert_eq!((ada.uid, ada.gid, ada.groups.as_slice()), (1000, 1000, &[1000, 27][..]));
    assert_eq!((ada.home.as_str(), ada.shell.as_str()), ("/home/ada", "/bin/sh"));
    assert_eq!(find("1000"), Some(ada));
    assert_eq!(find("7").unwrap().uid, 9, "a name goes before a number");
    assert_eq!(find("0").unwrap().shell, "/bin/bash");
    assert_eq!(find("4711").unwrap().groups, [4711]);
    assert_eq!(find("eve"), None);
    assert_eq!(find("broken"), None);
}
