//! What command lines mean as policies.

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};

fn options(line: &str) -> PolicyOptions {
    let words = ["fumehood", "policy", "set", "box"].into_iter().chain(line.split_whitespace());
    let command = Cli::try_parse_from(words).unwrap().command;
    let Command::Policy(crate::cli::Policy::Set(set)) = command else { panic!("{line}") };
    set.policy
}

/// What is asked of the server; the file of --policy, where there is one, holds `file`.
fn request(line: &str, file: Option<&Value>) -> Result<Value, Failure> {
    let mut options = options(line);
    let written = file.map(|policy| {
        let mut written = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut written, policy.to_string().as_bytes()).unwrap();
        written
    });
    options.policy = written.as_ref().map(|file| file.path().to_owned());
    let policy = options.request(Stdin::Free)?;
    if let Some(policy) = &policy {
        // A server takes it.
        daemon::network_policy::policy(policy, &|secret| format!("placeholder of {secret}"))
            .unwrap();
    }
    Ok(policy.map_or(Value::Null, |policy| serde_json::to_value(policy).unwrap()))
}

fn placeholder(secret: &str) -> Value {
    json!({"credential": {"secret": secret, "placeholder": true}})
}

#[test]
fn flags_alone() {
    let key = placeholder("KEY");
    let table = [
        ("", Value::Null),
        ("--allow-all", json!({"mode": "allow-all"})),
        ("--deny-all", json!({"allow": []})),
        ("--allow a.test", json!({"allow": ["a.test"]})),
        ("--allow A.test,b.test:22 --allow a.test", json!({"allow": ["a.test", "b.test:22"]})),
        ("--allow *", json!({"allow": ["*"]})),
        ("--allow *.a.test", json!({"allow": ["*.a.test"]})),
        (
            "--allow 10.0.0.0/8 --allow ::1",
            json!({"allow": [],
            "subnets": {"allow": ["10.0.0.0/8", "::1/128"]}}),
        ),
        (
            "--allow @registries-read --allow a.test",
            json!({"allow": ["a.test"],
            "presets": ["registries-read"]}),
        ),
        ("--deny 1.2.3.4", json!({"mode": "allow-all", "subnets": {"deny": ["1.2.3.4/32"]}})),
        (
            "--allow a.test --deny 1.2.3.0/24",
            json!({"allow": ["a.test"],
            "subnets": {"deny": ["1.2.3.0/24"]}}),
        ),
        (
            "--allow-all --allow 10.0.0.1",
            json!({"mode": "allow-all",
            "subnets": {"allow": ["10.0.0.1/32"]}}),
        ),
        ("--allow-host-port 8080", json!({"mode": "allow-all", "hostPorts": [8080]})),
        ("--allow-host-port 9443,9080", json!({"mode": "allow-all", "hostPorts": [9080, 9443]})),
        (
            "--deny-all --allow-host-port 8080 --allow-host-port 1",
            json!({"allow": [],
            "hostPorts": [1, 8080]}),
        ),
        ("--strict", json!({"mode": "allow-all", "strict": true})),
        ("--strict --allow a.test", json!({"allow": ["a.test"], "strict": true})),
        ("--secret KEY@a.test", json!({"mode": "allow-all", "allow": {"a.test": [key]}})),
        (
            "--secret KEY@a.test,*.b.test:8443 --allow c.test",
            json!({"allow": {"a.test": [key],
            "*.b.test:8443": [key], "c.test": []}}),
        ),
        ("--secret KEY@a.test --allow a.test", json!({"allow": {"a.test": [key]}})),
    ];
    for (line, wanted) in table {
        assert_eq!(request(line, None).unwrap(), wanted, "{line}");
    }
}

#[test]
fn the_rules_of_a_preset_hold_for_a_secret_too() {
    let mut get = placeholder("KEY");
    get["match"] = json!({"method": ["GET", "HEAD"]});
    let deny = json!({"action": "deny"});
    let presets = json!(["github-read"]);
    let table = [
        (
            "--secret KEY@api.github.com --allow @github-read",
            json!({"allow": {"api.github.com": [get, deny]}, "presets": presets}),
        ),
        // Allowed by itself, it is allowed whole.
        (
            "--secret KEY@api.github.com --allow @github-read,api.github.com",
            json!({"allow": {"api.github.com": [placeholder("KEY")]}, "presets": presets}),
        ),
        (
            "--secret KEY@a.test --allow @github-read",
            json!({"allow": {"a.test": [placeholder("KEY")]}, "presets": presets}),
        ),
    ];
    for (line, wanted) in table {
        assert_eq!(request(line, None).unwrap(), wanted, "{line}");
    }
}

#[test]
fn what_flags_mean_at_the_gateway() {
    let get = "GET https://registry.npmjs.org/lodash";
    let put = "PUT https://registry.npmjs.org/mine";
    let table = [
        ("--allow-all", put, Some("")),
        ("--allow-all", "GET tcp://10.0.0.1:80", None),
        ("--deny-all", get, None),
        ("--allow @registries-read", get, Some("")),
        ("--allow @registries-read", put, None),
        ("--allow @registries-read", "GET https://a.test/", None),
        ("--secret KEY@registry.npmjs.org", put, Some("KEY")),
        ("--secret KEY@registry.npmjs.org", "GET https://a.test/", Some("")),
        ("--secret KEY@registry.npmjs.org --allow @registries-read", get, Some("KEY")),
        ("--secret KEY@registry.npmjs.org --allow @registries-read", put, None),
        ("--secret KEY@registry.npmjs.org --allow a.test", "GET https://b.test/", None),
        ("--allow db.test:5432", "GET tcp://db.test:5432", Some("")),
        ("--allow db.test:5432", "GET https://db.test/", None),
        ("--allow 10.0.0.0/8", "GET tcp://10.0.0.1:80", Some("")),
        ("--allow-all --deny 1.0.0.0/8", "GET tcp://1.1.1.1:53", None),
        ("--allow-host-port 8080", "GET http://host.fumehood.internal:8080/", Some("")),
        ("--deny-all --allow-host-port 8080", "GET http://host.fumehood.internal:8081/", None),
    ];
    for (line, asked, wanted) in table {
        let policy = options(line).request(Stdin::Free).unwrap().unwrap();
        let placeholder = |secret: &_| format!("placeholder of {secret}");
        let policy = daemon::network_policy::policy(&policy, &placeholder).unwrap();
        let (method, url) = asked.split_once(' ').unwrap();
        let explained = policy.explain(method, url).unwrap();
        let found = (explained.decision == egress::event::Decision::Allow)
            .then(|| explained.credentials.join(" "));
        assert_eq!(found.as_deref(), wanted, "{line}: {asked}");
    }
}

#[test]
fn flags_add_to_a_file() {
    let deny_put = json!({"match": {"method": ["PUT"]}, "action": "deny"});
    let listed = json!({"allow": {"a.test": [deny_put]}, "subnets": {"deny": ["1.0.0.0/8"]}});
    let key = placeholder("KEY");
    let table = [
        (json!({"mode": "allow-all"}), "", json!({"mode": "allow-all"})),
        (
            json!({"mode": "custom", "allowedDomains": ["a.test"]}),
            "",
            json!({"mode": "custom", "allowedDomains": ["a.test"]}),
        ),
        (
            listed.clone(),
            "--allow b.test,a.test --deny 2.0.0.0/8,1.0.0.0/8",
            json!({"allow": {"a.test": [deny_put], "b.test": []},
                "subnets": {"deny": ["1.0.0.0/8", "2.0.0.0/8"]}}),
        ),
        (
            listed,
            "--secret KEY@b.test --allow-host-port 5 --strict",
            json!({"allow": {"a.test": [deny_put], "b.test": [key]},
                "subnets": {"deny": ["1.0.0.0/8"]}, "hostPorts": [5], "strict": true}),
        ),
        (json!({"allow": ["a.test"]}), "--secret KEY@a.test", json!({"allow": {"a.test": [key]}})),
        (
            json!({"allow": ["a.test"], "presets": ["github-read"]}),
            "--allow @llm-apis,@github-read",
            json!({"allow": ["a.test"], "presets": ["github-read", "llm-apis"]}),
        ),
        (
            json!({"mode": "allow-all"}),
            "--secret KEY@a.test --allow 10.0.0.0/8",
            json!({"mode": "allow-all", "allow": {"a.test": [key]},
                "subnets": {"allow": ["10.0.0.0/8"]}}),
        ),
        (json!({"mode": "deny-all"}), "--allow a.test", json!({"allow": ["a.test"]})),
        (
            json!({"mode": "deny-all"}),
            "--allow-host-port 5",
            json!({"allow": [], "hostPorts": [5]}),
        ),
        (json!({}), "--allow a.test", json!({"allow": ["a.test"]})),
    ];
    for (file, line, wanted) in table {
        assert_eq!(request(line, Some(&file)).unwrap(), wanted, "{file} {line}");
    }
}

#[test]
fn what_cannot_be_meant_together_is_refused_and_says_what_to_do() {
    let old = json!({"mode": "custom", "allowedDomains": ["a.test"]});
    let open = json!({"mode": "allow-all"});
    let rules = json!({"allow": {"a.test": [{"action": "deny"}]}});
    let shown = json!({"mode": "custom", "rules": {"a.test": []}});
    let table = [
        ("--allow a.test --deny-all", None, "leave out --deny-all"),
        ("--secret KEY@a.test --deny-all", None, "give it to --allow too and leave out --deny-all"),
        ("--allow-all --deny-all", None, "leave out one of the two"),
        ("--allow 10.0.0.0/8 --deny 10.0.0.0/8", None, "10.0.0.0/8 is both allowed and denied"),
        ("--secret A@a.test --secret B@a.test", None, "write rules for both into a file"),
        ("--deny-all", Some(&open), "leave out --deny-all, or the file"),
        ("--allow-all", Some(&rules), "leave out --allow-all, or the file"),
        ("--allow a.test", Some(&open), "leave out --allow, or the file's `mode`"),
        ("--allow @github-read", Some(&open), "leave out --allow, or the file's `mode`"),
        ("--allow a.test", Some(&old), "write `allow` and `subnets`"),
        ("--secret KEY@a.test", Some(&rules), "name the secret in one of them"),
        ("", Some(&json!({"alow": []})), "unknown field `alow`"),
        ("", Some(&json!(["deny-all"])), "expected an object"),
        ("", Some(&shown), "This is a policy as it is shown, without the values of headers"),
    ];
    for (line, file, words) in table {
        let failure = request(line, file).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage, "{line}");
        let message = failure.message().unwrap();
        assert!(message.contains(words), "{line}: {message}");
    }
}

#[test]
fn a_secret_is_not_given_to_the_guest_by_its_own_name() {
    let env = |given: &str| EnvOptions { env: vec![given.to_owned()] };
    let options = options("--secret KEY@a.test");
    for given in ["KEY", "KEY=hunter2"] {
        let message = options.check_env(&env(given)).unwrap_err().message().unwrap();
        assert!(message.contains("-e KEY") && !message.contains("hunter2"), "{message}");
    }
    options.check_env(&env("KEYS=x")).unwrap();
}

#[test]
fn stdin_is_read_once() {
    let mut options = options("");
    options.policy = Some("-".into());
    let message = options.request(Stdin::Taken).unwrap_err().message().unwrap();
    assert!(message.contains("both read stdin"), "{message}");
}

#[test]
fn a_file_is_read_so_far_and_no_further() {
    let endless = read_bounded(io::repeat(b' ')).unwrap();
    assert_eq!(endless.len(), FILE_BYTES_MAX + 1);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &endless).unwrap();
    let message = read(file.path(), Stdin::Free).unwrap_err().message().unwrap();
    assert!(message.contains("too long"), "{message}");
}
