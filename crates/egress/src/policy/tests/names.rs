use super::*;

fn resolved(policy: &Policy, name: &str) -> String {
    told(policy.resolve(&host(name)))
}

#[test]
fn nothing_is_resolved_by_default() {
    for name in ["example.com", "localhost", "host.fumehood.internal"] {
        let policy = Policy::default();
        assert_eq!(resolved(&policy, name), format!("-default: no rule allows {name}"));
    }
}

#[test]
fn listed_names_are_resolved_on_whichever_port_they_are_listed() {
    let policy = listed(vec![
        domain("example.com", vec![]),
        domain("db.example.com:5432", vec![]),
        domain("*.example.org", vec![]),
    ]);
    assert_eq!(resolved(&policy, "example.com"), "+example.com");
    assert_eq!(resolved(&policy, "db.example.com"), "+db.example.com:5432");
    assert_eq!(resolved(&policy, "a.b.example.org"), "+*.example.org");
    assert_eq!(resolved(&policy, "example.org"), "-default: no rule allows example.org");
}

#[test]
fn an_allowed_subnet_opens_no_name() {
    let subnets = Subnets { allow: vec![cidr("0.0.0.0/0"), cidr("::/0")], deny: vec![] };
    let policy = Policy { subnets, ..Policy::default() };
    assert_eq!(resolved(&policy, "example.com"), "-default: no rule allows example.com");
}

#[test]
fn a_name_that_is_denied_altogether_is_not_even_resolved() {
    let policy = public(vec![domain("evil.com", vec![deny(every())])]);
    assert_eq!(resolved(&policy, "example.com"), "+default");
    assert_eq!(resolved(&policy, "evil.com"), "-evil.com[0]: a rule denies it");
    for port in [22, 80, 443, 8443] {
        let answer = policy.connect(&host("evil.com"), port);
        assert_eq!(treated(answer), "-evil.com[0]: a rule denies it");
    }
    // The exception within a pattern, and the pattern within an exception.
    let policy = listed(vec![
        domain("*.example.com", vec![]),
        domain("*.example.com:8443", vec![]),
        domain("secret.example.com", vec![deny(every())]),
        domain("secret.example.com:22", vec![]),
    ]);
    assert_eq!(resolved(&policy, "secret.example.com"), "+secret.example.com:22");
    let connect = |port| treated(policy.connect(&host("secret.example.com"), port));
    assert_eq!(connect(22), "raw secret.example.com:22");
    assert_eq!(connect(443), "-secret.example.com[0]: a rule denies it");
    assert_eq!(connect(8443), "-secret.example.com[0]: a rule denies it");
    // A port alone may be denied too.
    let policy = public(vec![domain("evil.com:25", vec![deny(every())])]);
    assert_eq!(resolved(&policy, "evil.com"), "+evil.com:25");
    assert_eq!(treated(policy.connect(&host("evil.com"), 25)), "-evil.com:25[0]: a rule denies it");
    assert_eq!(treated(policy.connect(&host("evil.com"), 26)), "raw default");
}

#[test]
fn the_host_itself_is_in_no_list() {
    let name = "host.fumehood.internal";
    let mut policy = public(vec![
        domain("*", vec![]),
        domain("*.fumehood.internal", vec![]),
        domain(name, vec![]),
        domain("host.fumehood.internal:8080", vec![]),
    ]);
    policy.subnets.allow = vec![cidr("0.0.0.0/0"), cidr("::/0"), cidr("198.18.0.0/15")];
    assert_eq!(resolved(&policy, name), format!("-default: no rule allows {name}"));
    let connect = |policy: &Policy, port| treated(policy.connect(&host(name), port));
    assert_eq!(connect(&policy, 8080), format!("-default: no rule allows {name}"));
    policy.host_ports.insert(8080);
    assert_eq!(resolved(&policy, name), "+hostPorts");
    assert_eq!(connect(&policy, 8080), "raw hostPorts 8080");
    assert_eq!(connect(&policy, 443), "-default: no rule allows port 443");
}

#[test]
fn long_names_are_held_back_unless_they_are_spelled_out() {
    let (long, label) = (vec!["abcdefgh"; 20].join("."), format!("{}.test", "a".repeat(53)));
    let spelled = listed(vec![domain("*", vec![]), domain(&label, vec![])]);
    assert!(spelled.is_too_long(&host(&long)) && !spelled.is_too_long(&host(&label)));
    for policy in [listed(vec![domain("*.test", vec![])]), public(vec![])] {
        assert!(policy.is_too_long(&host(&label)) && policy.is_too_long(&host(&long)));
        assert!(!policy.is_too_long(&host(&label[1..])));
    }
}
