//! Questions and replies as they are on the wire.

use hickory_resolver::proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Record},
};

/// Longest reply over UDP without EDNS, and with it.
const UDP_BYTES: u16 = 512;
const EDNS_BYTES: u16 = 4096;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What is said of a name.
#[derive(Debug)]
pub enum Said {
    Records(Vec<Record>),
    /// There is no such name, or it is not to be known.
    Nothing,
    Failed,
}

/// One question, of the class of the Internet.
#[derive(Debug)]
pub struct Question {
    message: Message,
    query: Query,
}

/// Bytes that are no such question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoQuestion {
    /// Not even a header, or a reply: they are not answered, so that nobody answers answers.
    Silence,
    /// This is said of it.
    Refused(Vec<u8>),
}

impl Question {
    pub fn parse(bytes: &[u8]) -> Result<Self, NoQuestion> {
        let id = u16::from_be_bytes(*bytes.first_chunk().ok_or(NoQuestion::Silence)?);
        let refused = |code| {
            let reply = Message::error_msg(id, OpCode::Query, code).to_vec();
            reply.map_or(NoQuestion::Silence, NoQuestion::Refused)
        };
        let Ok(message) = Message::from_vec(bytes) else {
            return Err(refused(ResponseCode::FormErr));
        };
        if message.metadata.message_type != MessageType::Query {
            return Err(NoQuestion::Silence);
        }
        if message.metadata.op_code != OpCode::Query {
            return Err(refused(ResponseCode::NotImp));
        }
        let [query] = &message.queries[..] else { return Err(refused(ResponseCode::FormErr)) };
        if query.query_class != DNSClass::IN {
            return Err(refused(ResponseCode::Refused));
        }
        let query = query.clone();
        Ok(Self { message, query })
    }

    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The reply; one that is too long for the way it goes says so, and is asked for again over TCP.
    #[must_use]
    pub fn reply(&self, said: Said, transport: Transport) -> Option<Vec<u8>> {
        let mut message = Message::response(self.message.metadata.id, OpCode::Query);
        message.metadata.recursion_desired = self.message.metadata.recursion_desired;
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        let most = match (&self.message.edns, transport) {
            (_, Transport::Tcp) => u16::MAX,
            (Some(edns), Transport::Udp) => edns.max_payload().clamp(UDP_BYTES, EDNS_BYTES),
            (None, Transport::Udp) => UDP_BYTES,
        };
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS_BYTES);
            message.set_edns(edns);
        }
        match said {
            Said::Records(records) => drop(message.add_answers(records)),
            Said::Nothing => message.metadata.response_code = ResponseCode::NXDomain,
            Said::Failed => message.metadata.response_code = ResponseCode::ServFail,
        }
        let bytes = message.to_vec().ok()?;
        if bytes.len() <= usize::from(most) {
            Some(bytes)
        } else {
            message.truncate().to_vec().ok()
        }
    }
}
