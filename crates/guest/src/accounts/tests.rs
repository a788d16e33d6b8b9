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
    assert_eq!(find("4711").unwrap().groups, [0]);
    assert_eq!(find("eve"), None);
    // With a group, as images name users.
    for (user, uid, groups) in [
        ("ada:sudo", 1000, Some(&[27][..])),
        ("ada:4", 1000, Some(&[4])),
        ("4711:ada", 4711, Some(&[1000])),
        ("4711:4712", 4711, Some(&[4712])),
        ("ada:", 1000, Some(&[1000, 27])),
        ("ada:nobody", 1000, None),
        (":sudo", 0, None),
    ] {
        let found = find(user);
        assert_eq!(found.as_ref().map(|it| it.groups.as_slice()), groups, "{user}");
        assert!(found.is_none_or(|it| (it.uid, it.gid) == (uid, it.groups[0])), "{user}");
    }
    assert_eq!(find("broken"), None);
}

#[test]
fn root_needs_no_entry() {
    let root = tempfile::tempdir().unwrap();
    for user in ["root", "0", "root:root", "0:0"] {
        let found = Account::find(root.path(), user);
        let found = found.map(|it| (it.uid, it.gid, it.home));
        let expected = (user != "root:root").then(|| (0, 0, "/".to_owned()));
        assert_eq!(found, expected, "{user}: a group's name needs one");
    }
    assert_eq!(Account::find(root.path(), "ada"), None);
    assert_eq!(Account::find(root.path(), "65532").unwrap().uid, 65532);
}
