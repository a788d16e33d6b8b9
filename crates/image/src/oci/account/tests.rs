use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbad line\napp:x:1000:1001:App:/srv/app:/bin/sh\n\
                      1000:x:7:8::/seven:\nhomeless:x:9:9:::\nrelative:x:10:10::home:\n";
const GROUP: &str =
    "root:x:0:\nwheel:x:10:root,app\napp:x:1001:app\nvideo:x:44:app\ndouble:x:44:app\n";

#[test]
fn users_are_who_the_files_say() {
    let accounts = Accounts { passwd: PASSWD.to_owned(), group: GROUP.to_owned() };
    type Numbers = (u32, u32, &'static [u32]);
    let table: [(&str, Option<Numbers>, &str); 16] = [
        ("root", Some((0, 0, &[10])), "/root"),
        ("", Some((0, 0, &[10])), "/root"),
        ("0", Some((0, 0, &[10])), "/root"),
        ("app", Some((1000, 1001, &[10, 44])), "/srv/app"),
        ("app:video", Some((1000, 44, &[])), "/srv/app"),
        ("app:5", Some((1000, 5, &[])), "/srv/app"),
        ("app:", Some((1000, 1001, &[10, 44])), "/srv/app"),
        // A name before a number.
        ("1000", Some((7, 8, &[])), "/seven"),
        ("9", Some((9, 9, &[])), "/"),
        ("relative", Some((10, 10, &[])), "/"),
        ("4242", Some((4242, 0, &[])), "/"),
        ("4242:4343", Some((4242, 4343, &[])), "/"),
        ("nobody", None, "/"),
        ("app:nogroup", None, "/srv/app"),
        ("4294967295", None, "/"),
        ("+5", None, "/"),
    ];
    for (user, expected, home) in table {
        let expected =
            expected.map(|(uid, gid, groups)| Account { uid, gid, groups: groups.to_vec() });
        assert_eq!(accounts.find(user), (expected, home.to_owned()), "{user}");
    }
}

#[test]
fn without_files_root_and_numbers_are_known() {
    let accounts = Accounts { passwd: String::new(), group: String::new() };
    let someone = |uid, gid| Some(Account { uid, gid, groups: Vec::new() });
    assert_eq!(accounts.find("0:0"), (someone(0, 0), "/".to_owned()));
    assert_eq!(accounts.find("65532"), (someone(65532, 0), "/".to_owned()));
    // That an image says nothing means root, and `root` is what its record then has.
    assert_eq!(accounts.find("root"), (someone(0, 0), "/".to_owned()));
}
