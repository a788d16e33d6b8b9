//! Packages come into a guest through its gateway, from the registries that this machine uses, and
//! nothing is published there.

use crate::hood::{Hood, Ran};

fn sh(hood: &Hood, name: &str, script: &str) -> Ran {
    hood.run(&["exec", name, "--", "bash", "-c", script])
}

#[track_caller]
fn ok(hood: &Hood, name: &str, script: &str) -> String {
    let ran = sh(hood, name, script);
    assert_eq!(ran.code, Some(0), "{script}: {ran:?}\n{}", hood.ok(&["audit", "--denied", name]));
    ran.stdout
}

/// The hosts that the guest's apt asks, which are those of this machine's mirror.
fn debian_hosts(hood: &Hood) -> String {
    let script = "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | \
        grep -o 'https\\?://[^/ ]*' | sed 's|.*//||' | sort -u";
    let hosts = hood.ok(&["run", "--deny-all", "--", "sh", "-c", script]);
    hosts.lines().collect::<Vec<_>>().join(",")
}

#[test]
fn packages_are_installed_and_not_published() {
    let hood = Hood::new();
    let debian = debian_hosts(&hood);
    let name = hood.create(&["--allow", "@registries-read", "--allow", &debian]);
    ok(
        &hood,
        &name,
        "mkdir -p /tmp/n && cd /tmp/n && npm init -y > /dev/null && \
         npm install --no-audit --no-fund --loglevel=error is-number && \
         node -e 'process.exit(require(\"is-number\")(42) ? 0 : 1)'",
    );
    ok(&hood, &name, "cd /tmp && python3 -m pip download -q --no-deps six && ls six-*.whl");
    ok(&hood, &name, "sudo apt-get update -q");

    let publish = sh(
        &hood,
        &name,
        "mkdir -p /tmp/p && cd /tmp/p && echo '{\"name\":\"fumehood-never\",\"version\":\"1.0.0\"}' \
         > package.json && echo '//registry.npmjs.org/:_authToken=none' > .npmrc && \
         npm publish --fetch-retries=0 --loglevel=error",
    );
    assert_ne!(publish.code, Some(0), "{publish:?}");
    let denied = hood.ok(&["audit", "--json", "--denied", &name]);
    let told = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["method"] == "PUT" && event["path"] == "/fumehood-never"
    };
    assert!(denied.lines().any(told), "{denied}");
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}
