use super::*;

const KEYRING: &str = "/keys";

#[test]
fn the_hosts_mirrors_are_used() {
    let targets = "Debian Backports\thttp://mirror/debian\nnode\thttps://node\n\
                   Debian\thttp://mirror/debian\nDebian-Security\thttp://mirror/security\n";
    let list = Sources::choose(targets, KEYRING).list();
    assert_eq!(
        list,
        "deb [signed-by=/keys] http://mirror/debian trixie main\n\
         deb [signed-by=/keys] http://mirror/debian trixie-updates main\n\
         deb [signed-by=/keys] http://mirror/security trixie-security main\n"
    );
}

#[test]
fn a_host_without_security_mirror_gets_none() {
    let sources = Sources::choose("Debian\tfile:/srv/debian\n", KEYRING);
    assert_eq!(sources.security, None);
    assert_eq!(sources.archive, "file:/srv/debian");
}

#[test]
fn other_hosts_get_debians_own_mirrors() {
    for targets in ["", "Ubuntu\thttp://archive.ubuntu.com\n", "Debian\thttp://two words\n"] {
        let sources = Sources::choose(targets, KEYRING);
        assert_eq!(sources.archive, PUBLIC_ARCHIVE, "{targets:?}");
        assert_eq!(sources.security.as_deref(), Some(PUBLIC_SECURITY));
    }
}
