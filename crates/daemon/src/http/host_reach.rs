//! What is the server's own: ports of its host, networks that are not the public one, and registries
//! there. A token of a project is for people who may have no account on the host, so its requests open
//! none of this unless the administrator lets them.

use std::net::IpAddr;

use api::Code;
use egress::{
    address::reserved,
    host::{Host, InvalidHost},
    policy::Policy,
};
use image::reference::Reference;

use super::{
    Server,
    access::Reach,
    error::{Failure, Reply},
};
use crate::{ids::Project, images};

/// Who may open what is the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostReach {
    /// The server's own user: on the socket, with the administrator's token, or with one of the project
    /// `local`, which `fumehood env` gives to clients of the own computer.
    #[default]
    Owner,
    /// Every project.
    Projects,
}

impl HostReach {
    fn covers(self, reach: &Reach) -> bool {
        match (self, reach) {
            (Self::Projects, _) | (Self::Owner, Reach::All) => true,
            (Self::Owner, Reach::Project(project)) => *project == Project::default(),
        }
    }
}

/// Whether the request may have this policy. It is asked of a policy that a request brings alone: one
/// that a sandbox has keeps what it opens.
pub(super) fn check_policy(server: &Server, policy: &Policy) -> Reply<()> {
    check(server, || opened(policy))
}

/// Which registries the request has asked for images.
pub(super) fn of(server: &Server) -> images::Reach {
    match server.shared.host_reach.covers(&server.visitor.reach) {
        true => images::Reach::All,
        false => images::Reach::Public,
    }
}

/// Whether the server may ask this image's registry for the request.
pub(super) fn check_registry(server: &Server, image: &Reference) -> Reply<()> {
    check(server, || match image {
        Reference::Registry(remote) if is_the_hosts(remote.registry()) => {
            Some(format!("the registry {}", remote.registry()))
        }
        Reference::Registry(_)
        | Reference::Default
        | Reference::Builder
        | Reference::Debian(_)
        | Reference::Local(_) => None,
    })
}

fn check(server: &Server, opened: impl FnOnce() -> Option<String>) -> Reply<()> {
    if server.shared.host_reach.covers(&server.visitor.reach) {
        return Ok(());
    }
    let Some(opened) = opened() else { return Ok(()) };
    let text = format!(
        "This opens {opened}. Only the server's own user may open ports of the host, reserved \
         networks and local registries; with `fumehood serve --projects-reach-host` projects may too."
    );
    Err(Failure::new(Code::Forbidden, text))
}

/// What a policy opens of the host, the first of it.
fn opened(policy: &Policy) -> Option<String> {
    let port = policy.host_ports.first().map(|port| format!("port {port} of the host"));
    port.or_else(|| {
        let net = policy.subnets.allow.iter().find(|net| net.has_reserved());
        net.map(|net| format!("reserved addresses in the subnet {net}"))
    })
}

/// Whether a registry's name by itself leads to this host or a network of its. Others are looked up when they
/// are connected to.
fn is_the_hosts(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        Some(_) | None => registry,
    };
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return reserved(address).is_some();
    }
    match Host::parse_ascii(host) {
        Ok(host) => host.as_str() == "localhost" || host.as_str().ends_with(".localhost"),
        // Resolvers take `127.1` and `0x7f000001` for addresses.
        Err(error) => error == InvalidHost::Address,
    }
}

#[cfg(test)]
mod tests {
    use api::NetworkPolicy;
    use serde_json::{Value, json};

    use super::{super::network_policy, *};

    #[test]
    fn the_owner_is_who_has_all_projects_or_the_one_without_a_name() {
        let project = |name: &str| Reach::Project(Project::parse(name).unwrap());
        let table = [
            (Reach::All, true),
            (project("local"), true),
            (project("web"), false),
            (project("Local"), false),
        ];
        for (reach, owns) in table {
            assert_eq!(HostReach::Owner.covers(&reach), owns, "{reach:?}");
            assert!(HostReach::Projects.covers(&reach));
        }
    }

    #[test]
    fn what_a_policy_opens_of_the_host() {
        let subnet = |net: &str| json!({"subnets": {"allow": [net]}});
        let reserved = |net: &str| Some(format!("reserved addresses in the subnet {net}"));
        let table: Vec<(Value, Option<String>)> = vec![
            (json!({}), None),
            (json!({"mode": "allow-all"}), None),
            (json!({"allow": ["example.com", "localhost"]}), None),
            (json!({"hostPorts": []}), None),
            (json!({"hostPorts": [5432]}), Some("port 5432 of the host".into())),
            (json!({"subnets": {"deny": ["10.0.0.0/8", "0.0.0.0/0"]}}), None),
            (subnet("8.8.8.0/24"), None),
            (subnet("2606:4700::/32"), None),
            (json!({"subnets": {"allow": ["8.8.8.8", "10.1.2.3"]}}), reserved("10.1.2.3/32")),
            (subnet("127.0.0.1"), reserved("127.0.0.1/32")),
            (subnet("169.254.169.254"), reserved("169.254.169.254/32")),
            (subnet("168.63.0.0/16"), reserved("168.63.0.0/16")),
            (subnet("0.0.0.0/0"), reserved("0.0.0.0/0")),
            (subnet("::/0"), reserved("::/0")),
            (subnet("::1"), reserved("::1/128")),
            (subnet("fd00::/8"), reserved("fd00::/8")),
            (
                json!({"mode": "custom", "allowedCIDRs": ["192.168.0.0/16"]}),
                reserved("192.168.0.0/16"),
            ),
        ];
        for (asked, expected) in table {
            let asked: NetworkPolicy = serde_json::from_value(asked).unwrap();
            let policy = network_policy::policy(&asked, &|name| name.to_string()).unwrap();
            assert_eq!(opened(&policy), expected, "{asked:?}");
        }
    }

    #[test]
    fn which_registries_are_the_hosts() {
        let table = [
            ("docker.io", false),
            ("registry.example.com:5000", false),
            ("localhost.example.com", false),
            ("8.8.8.8:5000", false),
            ("[2606:4700::1111]:5000", false),
            ("localhost", true),
            ("LOCALHOST:5000", true),
            ("a.localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.1", true),
            ("0x7f000001:5000", true),
            ("2130706433:5000", true),
            ("10.0.0.7", true),
            ("192.168.1.1:5000", true),
            ("169.254.169.254", true),
            ("[::1]", true),
            ("[::1]:5000", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("[fe80::1]", true),
        ];
        for (registry, expected) in table {
            assert_eq!(is_the_hosts(registry), expected, "{registry}");
        }
    }
}
