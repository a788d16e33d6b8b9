use egress::{
    host::Host,
    policy::{Credential, Domain, Edits, HeaderEdit, HostPattern, Match, Rule},
};

use super::*;
use crate::{
    identity::tests::whom,
    ids::{Project, SandboxName},
    seal::KeySource,
    store::Store,
};

const VALUE: &str = "sk-hunter2";

struct World {
    folder: tempfile::TempDir,
    egress: Egress,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let egress = open(folder.path());
        Self { folder, egress }
    }
}

fn open(folder: &std::path::Path) -> Egress {
    let seal = Arc::new(Seal::load(&KeySource::File(folder.join("seal.key"))).unwrap());
    let (store, stored) = Store::open(&folder.join("store.db")).unwrap();
    let secrets = Secrets::new(Arc::clone(&seal), store, stored.secrets);
    let issuer = Issuer::new(folder.join("identity.key"));
    Egress { seal, secrets, uplink: Uplink::default(), issuer }
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

fn sandbox(name: &str) -> SandboxKey {
    SandboxKey { project: Project::default(), name: SandboxName::parse(name).unwrap() }
}

fn policy(credentials: Vec<Credential>) -> Policy {
    let headers =
        vec![HeaderEdit { name: "x-team".into(), value: SecretText::new("team-secret".into()) }];
    let edits = Edits { headers, credentials, ..Edits::default() };
    let rules = [Action::Deny, Action::Send(edits)];
    let rules = rules.map(|then| Rule { when: Match::default(), then });
    let domain = Domain {
        pattern: HostPattern::Exact(Host::parse("api.example.com").unwrap()),
        port: None,
        rules: rules.into(),
        preset: None,
    };
    Policy { domains: vec![domain], ..Policy::default() }
}

fn header(secret: &str) -> Credential {
    let place = Place::Header { name: "x-api-key".into(), prefix: String::new() };
    Credential { secret: name(secret), place }
}

fn records(network: &Network, seal: &Seal) -> (AuthorityRecord, NetworkRecord) {
    match network.made(seal, &sandbox("one")).unwrap() {
        [
            Change::Egress(EgressChange::Authority(authority)),
            Change::Egress(EgressChange::Network(network)),
        ] => (authority, network),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_network_is_recalled_as_it_was() {
    let world = World::new();
    let seal = &world.egress.seal;
    let network = Network::new(seal, policy(vec![header("A")]), Placeholders::random()).unwrap();
    let (authority, record) = records(&network, seal);
    let stored = serde_json::to_string(&(&authority, &record)).unwrap();
    for secret in ["team-secret", "PRIVATE KEY", "x-api-key"] {
        assert!(!stored.contains(secret) && !format!("{network:?}").contains("team-secret"));
    }
    let recalled = Network::recall(seal, &record, Arc::new(authority.clone()));
    assert_eq!(recalled.policy, network.policy);
    assert_eq!(recalled.placeholder(&name("A")), network.placeholder(&name("A")));
    let configured = |network: &Network| network.configuration(&world.egress, &whom(), 1).unwrap();
    assert_eq!(configured(&recalled), configured(&network));

    // So is one that was sealed before sandboxes were known by their project.
    let private =
        Private { policy: (*network.policy).clone(), placeholders: network.placeholders.clone() };
    let sealed = seal.seal_json(network_label("one"), &private).unwrap();
    let older = NetworkRecord { sealed, ..record.clone() };
    let recalled = Network::recall(seal, &older, Arc::new(authority.clone()));
    assert_eq!(recalled.policy, network.policy);

    // Another sandbox's is not taken for this one's.
    let other = NetworkRecord { sandbox: sandbox("two"), ..record };
    let closed = Network::recall(seal, &other, Arc::new(authority));
    assert_eq!(*closed.policy, Policy::default());
}

#[test]
fn without_its_key_all_is_denied() {
    let world = World::new();
    let seal = &world.egress.seal;
    let network = Network::new(seal, policy(vec![]), Placeholders::random()).unwrap();
    let (authority, record) = records(&network, seal);
    std::fs::remove_file(world.folder.path().join("seal.key")).unwrap();
    let egress = open(world.folder.path());
    let closed = Network::recall(&egress.seal, &record, Arc::new(authority));
    assert_eq!(*closed.policy, Policy::default());
    assert!(closed.configuration(&egress, &whom(), 1).is_err(), "there is no authority to give");
}

#[tokio::test]
async fn a_gateway_is_given_what_its_policy_names_and_no_more() {
    let world = World::new();
    let value = SecretText::new(VALUE.to_owned());
    for (project, each) in [("local", "A"), ("local", "UNUSED"), ("other", "B")] {
        let project = Project::parse(project).unwrap();
        world.egress.secrets.put(&project, &name(each), &value).await.unwrap();
    }
    let credentials = vec![header("A"), header("B")];
    let network =
        Network::new(&world.egress.seal, policy(credentials), Placeholders::random()).unwrap();
    let configuration = network.configuration(&world.egress, &whom(), 7).unwrap();
    assert_eq!(configuration.revision, 7);
    assert_eq!(configuration.secrets, BTreeMap::from([(name("A"), value)]));
    assert!(!format!("{configuration:?}").contains(VALUE));
}

#[test]
fn a_placeholder_says_nothing_and_stands_for_one_secret_of_one_sandbox() {
    let (one, other) = (Placeholders::random(), Placeholders::random());
    let text = one.of(&name("A"));
    assert_eq!(text.len(), PLACEHOLDER.len() + 32);
    assert!(text.strip_prefix(PLACEHOLDER).unwrap().bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_eq!(one.of(&name("A")), text);
    assert_ne!(one.of(&name("B")), text);
    assert_ne!(other.of(&name("A")), text);

    let world = World::new();
    let placed = Credential { secret: name("A"), place: Place::Placeholder(text.clone()) };
    let network = Network::new(&world.egress.seal, policy(vec![placed, header("B")]), one).unwrap();
    assert_eq!(network.variables(), BTreeMap::from([("A".to_owned(), text)]));
}
