//! Against a name server on loopback that keeps what it is asked.

use std::{collections::BTreeMap, net::Ipv4Addr};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    proto::{
        op::{Message, OpCode, ResponseCode},
        rr::{Name, rdata::TXT},
    },
};
use rustls::RootCertStore;
use tokio::{net::UdpSocket, sync::watch, task::LocalSet};

use super::*;
use crate::{
    control::Configuration,
    gateway::{Recorder, authority, dial::Lookup},
    policy::{Action, Canned, Cidr, Domain, Match, Policy, Reach, Rule, Subnets},
};

/// The zone: what every name leads to.
fn zone(name: &str) -> Vec<RData> {
    let v4 = |address: [u8; 4]| RData::from(IpAddr::from(Ipv4Addr::from(address)));
    match name {
        "good.test." => vec![v4([203, 0, 113, 7])],
        "rebound.test." => vec![v4([127, 0, 0, 1]), v4([169, 254, 169, 254])],
        "half.test." => vec![v4([10, 0, 0, 1]), v4([203, 0, 113, 8])],
        "text.test." => vec![RData::TXT(TXT::new(vec!["x".repeat(200); 4]))],
        _ => Vec::new(),
    }
}

struct World {
    dns: Dns,
    asked: Rc<RefCell<Vec<String>>>,
    folder: tempfile::TempDir,
    _configured: watch::Sender<Option<Rc<Active>>>,
}

impl World {
    async fn new(policy: Policy) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = socket.local_addr().unwrap();
        let asked = Rc::new(RefCell::new(Vec::new()));
        tokio::task::spawn_local(name_server(socket, Rc::clone(&asked)));
        let mut udp = ConnectionConfig::udp();
        udp.port = server.port();
        let servers = vec![NameServerConfig::new(server.ip(), true, vec![udp])];
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = ResolverOpts::default();
        builder.options_mut().edns0 = true;
        let resolver = Rc::new(Resolver::over(builder.build().unwrap()));

        let folder = tempfile::tempdir().unwrap();
        let open = |name| {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).read(true).append(true).open(folder.path().join(name)).unwrap()
        };
        let recorder = Recorder::open([open("0"), open("1")]).unwrap();
        let configuration = Configuration {
            revision: 1,
            policy,
            secrets: BTreeMap::new(),
            authority: authority::make().unwrap(),
            identities: BTreeMap::new(),
            extra_roots: Vec::new(),
            proxy: None,
        };
        let active = Active::build(configuration, &RootCertStore::empty()).unwrap();
        let (configured, current) = watch::channel(Some(Rc::new(active)));
        let lookup: Lookup = Rc::new(|_name| Box::pin(async { Ok(Vec::new()) }));
        let gateway = Rc::new(Gateway::new(current, recorder, lookup));
        let memory = Rc::new(RefCell::new(Memory::default()));
        Self { dns: Dns::new(gateway, resolver, memory), asked, folder, _configured: configured }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.ask_over(name, kind, Transport::Udp).await
    }

    async fn ask_over(&self, name: &str, kind: RecordType, transport: Transport) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let reply = self.dns.answer(&question.to_vec().unwrap(), transport).await.unwrap();
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.metadata.id, question.metadata.id);
        reply
    }

    async fn addresses(&self, name: &str) -> Vec<String> {
        let reply = self.ask(name, RecordType::A).await;
        reply.answers.iter().filter_map(|r| Some(address_of(&r.data)?.to_string())).collect()
    }

    fn events(&self) -> Vec<Event> {
        let text = std::fs::read_to_string(self.folder.path().join("0")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

async fn name_server(socket: UdpSocket, asked: Rc<RefCell<Vec<String>>>) {
    let mut bytes = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
        let question = Message::from_vec(&bytes[..length]).unwrap();
        let query = question.queries[0].clone();
        let name = query.name.to_ascii().to_lowercase();
        asked.borrow_mut().push(name.clone());
        let mut reply = Message::response(question.metadata.id, OpCode::Query);
        let records = zone(&name).into_iter().filter(|data| data.record_type() == query.query_type);
        reply.add_answers(records.map(|data| Record::from_rdata(query.name.clone(), 86_400, data)));
        if zone(&name).is_empty() {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        reply.add_query(query);
        socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
    }
}

fn listed(patterns: &[&str]) -> Policy {
    let domains = patterns.iter().map(|pattern| Domain {
        pattern: HostPattern::parse(pattern).unwrap(),
        port: None,
        rules: Vec::new(),
        preset: None,
    });
    Policy { domains: domains.collect(), ..Policy::default() }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let timed = async { timeout(Duration::from_secs(30), test).await.expect("it hangs") };
    LocalSet::new().block_on(&runtime, timed);
}

#[test]
fn a_name_that_is_not_allowed_does_not_exist_and_nobody_is_asked() {
    run(async {
        let world = World::new(listed(&["good.test", "*.wild.test"])).await;
        for name in ["bad.test.", "secret.bad.test.", "good.test.evil.", "wild.test.", "."] {
            let reply = world.ask(name, RecordType::A).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
        }
        assert!(world.asked.borrow().is_empty(), "{:?}", world.asked.borrow());
        assert!(world.events().iter().all(|event| event.decision == Decision::Deny));

        assert_eq!(world.addresses("GOOD.test.").await, ["203.0.113.7"]);
        let names = world.dns.memory.borrow().names_of([203, 0, 113, 7].into());
        assert_eq!(names, [Host::parse("good.test").unwrap()]);
        assert_eq!(world.asked.borrow().len(), 1);
    });
}

#[test]
fn only_addresses_that_may_be_reached_are_told() {
    run(async {
        let world = World::new(Policy { reach: Reach::Public, ..Policy::default() }).await;
        let reply = world.ask("rebound.test.", RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(world.addresses("half.test.").await, ["203.0.113.8"]);
        let events = world.events();
        let reason = events[0].reason.clone().unwrap();
        assert!(reason.contains("169.254.169.254") || reason.contains("127.0.0.1"), "{reason}");

        let net = Cidr { address: [10, 0, 0, 0].into(), prefix: 8 };
        let subnets = Subnets { allow: vec![net], deny: Vec::new() };
        let named = World::new(Policy { subnets, ..listed(&["half.test"]) }).await;
        assert_eq!(named.addresses("half.test.").await, ["10.0.0.1", "203.0.113.8"]);
    });
}

#[test]
fn a_name_that_leads_nowhere_has_an_address_where_rules_answer_for_it() {
    run(async {
        let mut policy = listed(&["*.made-up.test", "rebound.test", "good.test", "sent.test"]);
        let canned = Canned { status: 200, headers: Vec::new(), body: Vec::new() };
        let respond = Rule { when: Match::default(), then: Action::Respond(canned) };
        for domain in &mut policy.domains[..3] {
            domain.rules.push(respond.clone());
        }
        let world = World::new(policy).await;
        for name in ["a.made-up.test", "b.made-up.test", "rebound.test"] {
            let host = Host::parse(name).unwrap();
            let address = address::stand_in(&host);
            assert!(address.to_string().starts_with("198.19."), "{address}");
            assert_eq!(world.addresses(&format!("{name}.")).await, [address.to_string()]);
            assert_eq!(world.dns.memory.borrow().names_of(address), [host]);
            let reply = world.ask(&format!("{name}."), RecordType::AAAA).await;
            assert_eq!(
                (reply.metadata.response_code, reply.answers.len()),
                (ResponseCode::NoError, 0)
            );
        }
        assert_eq!(world.addresses("good.test.").await, ["203.0.113.7"], "it leads somewhere");
        for name in ["sent.test.", "made-up.test."] {
            let reply = world.ask(name, RecordType::A).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
        }
        // By the next gateway too.
        let host = Host::parse("rebound.test").unwrap();
        *world.dns.memory.borrow_mut() = Memory::default();
        world.dns.recall(address::stand_in(&host)).await;
        assert!(world.dns.memory.borrow().knows(address::stand_in(&host)));
    });
}

#[test]
fn other_types_lead_nowhere_and_long_answers_come_over_tcp() {
    run(async {
        let world = World::new(listed(&["good.test", "text.test"])).await;
        for kind in [RecordType::HTTPS, RecordType::SVCB, RecordType::ANY, RecordType::PTR] {
            let reply = world.ask("good.test.", kind).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert!(reply.answers.is_empty(), "{kind}");
        }
        assert!(world.asked.borrow().is_empty());
        let short = world.ask("text.test.", RecordType::TXT).await;
        assert!(short.metadata.truncation && short.answers.is_empty(), "{short:?}");
        let whole = world.ask_over("text.test.", RecordType::TXT, Transport::Tcp).await;
        assert_eq!(whole.answers.len(), 1);
        assert_eq!(whole.answers[0].ttl, 300, "nothing is believed for a day");

        let (mut guest, end) = tokio::io::duplex(4096);
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii("good.test.").unwrap(), RecordType::A));
        let question = question.to_vec().unwrap();
        let talk = async {
            for _ in 0..2 {
                let length = u16::try_from(question.len()).unwrap();
                guest.write_u16(length).await.unwrap();
                guest.write_all(&question).await.unwrap();
                let mut reply = vec![0; usize::from(guest.read_u16().await.unwrap())];
                guest.read_exact(&mut reply).await.unwrap();
                assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 1);
            }
            guest.write_u16(5000).await.unwrap();
            assert_eq!(guest.read(&mut [0]).await.unwrap(), 0, "too long: closed");
        };
        tokio::join!(talk, world.dns.serve(end));
    });
}

#[test]
fn names_that_carry_data_are_held_back_and_garbage_is_answered_as_such() {
    run(async {
        let world = World::new(listed(&["*.test"])).await;
        let long = format!("{}.evil.test.", "ab".repeat(30));
        let reply = world.ask(&long, RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
        for number in 0..400 {
            world.ask(&format!("n{number}.test."), RecordType::A).await;
        }
        let asked = world.asked.borrow().len();
        assert!((200..260).contains(&asked), "{asked}");

        assert_eq!(world.dns.answer(b"x", Transport::Udp).await, None);
        let reply = world.dns.answer(b"garbage garbage", Transport::Udp).await.unwrap();
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
        let mut two = Message::query();
        for _ in 0..2 {
            two.add_query(Query::query(Name::from_ascii("a.test.").unwrap(), RecordType::A));
        }
        let reply = world.dns.answer(&two.to_vec().unwrap(), Transport::Udp).await.unwrap();
        assert_eq!(reply[3] & 15, 1, "one question at a time");
    });
}

#[test]
fn the_host_itself_is_the_gateway_where_a_port_of_it_is_open() {
    run(async {
        let world = World::new(listed(&["*"])).await;
        assert_eq!(world.addresses(HOST_NAME).await, Vec::<String>::new());
        let open = World::new(Policy { host_ports: [80].into(), ..Policy::default() }).await;
        assert_eq!(open.addresses(HOST_NAME).await, [GATEWAY_V4.to_string()]);
        assert!(open.asked.borrow().is_empty());
    });
}
