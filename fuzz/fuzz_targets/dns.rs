//! Questions of a guest: whatever they are, what is said of them is a reply to them, no longer than
//! it may be.

#![no_main]

use arbitrary::Arbitrary;
use egress::{
    gateway::dns::message::{NoQuestion, Question, Said, Transport},
    host::Host,
};
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RData, Record, RecordType, rdata},
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    question: Bytes,
    records: Vec<Answer>,
    known: bool,
    tcp: bool,
}

#[derive(Arbitrary, Debug)]
enum Bytes {
    Raw(Vec<u8>),
    /// A whole question, then damaged here and there.
    Whole {
        labels: Vec<Vec<u8>>,
        kind: u16,
        damage: Vec<(u16, u8)>,
    },
}

#[derive(Arbitrary, Debug)]
enum Answer {
    V4([u8; 4]),
    V6([u8; 16]),
    Text(Vec<u8>),
}

impl Bytes {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes,
            Self::Whole { labels, kind, damage } => {
                let name = Name::from_labels(labels).unwrap_or_default();
                let mut message = Message::query();
                message.add_query(Query::query(name, RecordType::from(kind)));
                let mut bytes = message.to_vec().unwrap_or_default();
                for (at, byte) in damage {
                    let length = bytes.len().max(1);
                    if let Some(place) = bytes.get_mut(usize::from(at) % length) {
                        *place = byte;
                    }
                }
                bytes
            }
        }
    }
}

fuzz_target!(|input: Input| {
    let bytes = input.question.bytes();
    let question = match Question::parse(&bytes) {
        Ok(question) => question,
        Err(NoQuestion::Silence) => return,
        Err(NoQuestion::Refused(reply)) => {
            assert_eq!(reply[..2], bytes[..2]);
            assert_ne!(reply[2] & 0x80, 0, "a reply");
            return;
        }
    };
    let name = question.query().name.clone();
    if let Ok(host) = Host::parse(&name.to_ascii()) {
        let again = Name::from_ascii(format!("{host}.")).expect("a host is a name");
        assert_eq!(again.to_lowercase(), name.to_lowercase(), "what is judged is what is asked");
    }
    let records = input.records.into_iter().take(32).map(|answer| {
        let data = match answer {
            Answer::V4(octets) => RData::A(rdata::A(octets.into())),
            Answer::V6(octets) => RData::AAAA(rdata::AAAA(octets.into())),
            Answer::Text(text) => {
                let text = String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned();
                RData::TXT(rdata::TXT::new(vec![text]))
            }
        };
        Record::from_rdata(name.clone(), 60, data)
    });
    let said = if input.known { Said::Records(records.collect()) } else { Said::Nothing };
    let transport = if input.tcp { Transport::Tcp } else { Transport::Udp };
    let reply = question.reply(said, transport).expect("a reply");
    assert_eq!(reply[..2], bytes[..2]);
    assert!(input.tcp || reply.len() <= 4096);
    let reply = Message::from_vec(&reply).expect("it is sound");
    assert!(!reply.metadata.truncation || reply.answers.is_empty());
});
