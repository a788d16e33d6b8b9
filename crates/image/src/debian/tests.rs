use super::*;

const KEYRING: &str = "/keys";

#[test]
fn the_hosts_mirrors_are_used() {
    let targets = "Debian Backports\thttp://mirror/debian\nnode\thttps://node\n\
                   Debian\thttp://mirror/debian\nDebian-Security\thttp://mirror/security\n";
    let list = Sources::choose(targets, KEYRING).unwrap();
    assert_eq!(
        list.list("trixie"),
        "deb [signed-by=/keys] http://mirror/debian trixie main\n\
         deb [signed-by=/keys] http://mirror/debian trixie-updates main\n\
         deb [signed-by=/keys] http://mirror/security trixie-security main\n"
    );
    assert_eq!(list.list("sid"), "deb [signed-by=/keys] http://mirror/debian sid main\n");
}

#[test]
fn a_host_without_security_mirror_gets_none() {
    let sources = Sources::choose("Debian\tfile:/srv/debian\n", KEYRING).unwrap();
    assert_eq!(sources.security, None);
    assert_eq!(sources.archive, "file:/srv/debian");
}

#[test]
fn a_host_without_a_mirror_is_told_so() {
    for targets in ["", "Ubuntu\thttp://mirror/ubuntu\n", "Debian\thttp://two words\n"] {
        assert_eq!(Sources::choose(targets, KEYRING), None, "{targets:?}");
    }
}
