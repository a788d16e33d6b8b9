//! The wire format does not change by accident: a machine may outlive the server that started it.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};

use crate::{
    network::{Certificate, Network},
    *,
};

fn hex(body: Body) -> String {
    let mut wire = BytesMut::new();
    Frame { epoch: Epoch(0x0102_0304), body }.encode(&mut wire);
    wire.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn frames_have_these_bytes() {
    let hello = Body::Hello(Hello { version: VERSION, instance: 5 });
    assert_eq!(hex(hello), GOLDEN[0]);
    let bytes = Bytes::from_static(b"hi");
    let data = Data { stream: StreamId::stdout(CommandId(3)), offset: 258, bytes, last: true };
    assert_eq!(hex(Body::Data(data)), GOLDEN[1]);
    let ack = Ack { stream: StreamId::transfer(1), offset: 1, limit: 2, last: false };
    assert_eq!(hex(Body::Ack(ack)), GOLDEN[2]);
    let request = Request::Signal { command: CommandId(3), signal: 15 };
    assert_eq!(hex(Body::Request { id: 9, request }), GOLDEN[3]);
    let request = Request::Connect { stream: StreamId::transfer(1), port: 8080 };
    assert_eq!(hex(Body::Request { id: 9, request }), GOLDEN[4]);
}

#[test]
fn what_is_lent_has_these_bytes() {
    let stream = StreamId::transfer(1);
    let places = vec![Place { address: 0x1020_3040, bytes: 258 }];
    let lent = Lent { stream, offset: 3, places: places.clone(), last: true };
    assert_eq!(hex(Body::Lent(lent)), LENT[0]);
    let filled = Filled { stream, offset: 3, slot: 258, bytes: 772, last: false };
    assert_eq!(hex(Body::Filled(filled)), LENT[1]);
    assert_eq!(hex(Body::Returned { slots: vec![1, 258] }), LENT[2]);
    assert_eq!(hex(Body::Request { id: 9, request: Request::Lend }), LENT[3]);
    let reply = Ok(Response::Lending { slots: vec![(5, places)] });
    assert_eq!(hex(Body::Reply { id: 9, reply }), LENT[4]);
}

const LENT: [&str; 5] = [
    "46484d3204030201090100000700000003000000000000000c00000054ab8e34403020100000000002010000",
    "46484d32040302010a000000070000000300000000000000040000005feb250d02010403",
    "46484d32040302010b00000000000000000000000000000004000000431e687c01000201",
    "46484d32040302010300000000000000090000000000000001000000e9524fa51d",
    "46484d3204030201040000000000000009000000000000000c000000888d130b000a010501c0e08081018202",
];

const GOLDEN: [&str; 5] = [
    "46484d320403020101000000000000000000000000000000020000001075296f0405",
    "46484d3204030201060100000d000000020100000000000002000000f685010c6869",
    "46484d3204030201070000000700000001000000000000000800000095111c720200000000000000",
    "46484d320403020103000000000000000900000000000000030000000ed2bf7c05030f",
    "46484d320403020103000000000000000900000000000000040000003d7e50d91107903f",
];

#[test]
fn a_claim_has_these_bytes() {
    let claim = Claim {
        hostname: "h".into(),
        machine_id: [1; 16],
        entropy: Entropy([2; 32]),
        unix_nanos: 3,
        user: "u".into(),
        cwd: "/".into(),
        env: vec![("K".into(), "v".into())],
        network: Network { trust: vec![Certificate(vec![0x30, 0])] },
    };
    let wire = hex(Body::Request { id: 9, request: Request::Claim(claim) });
    let payload = [
        "02",
        "0168",
        &"01".repeat(16),
        &"02".repeat(32),
        "03",
        "0175",
        "012f",
        "01014b0176",
        "01023000",
    ];
    assert_eq!(wire[2 * HEADER_LEN..], payload.concat());
}

#[test]
fn a_wake_has_these_bytes() {
    let wake = Wake { unix_nanos: 3, entropy: Entropy([2; 32]) };
    let wire = hex(Body::Request { id: 9, request: Request::Wake(wake) });
    assert_eq!(wire[2 * HEADER_LEN..], ["1a", "03", &"02".repeat(32)].concat());
}

#[test]
fn a_reset_of_connections_has_these_bytes() {
    let wire = hex(Body::Request { id: 9, request: Request::ResetConnections });
    assert_eq!(wire[2 * HEADER_LEN..], *"1c");
}

#[test]
fn a_certificate_is_shown_by_its_length() {
    assert_eq!(format!("{:?}", Certificate(vec![7; 600])), "Certificate(600 bytes)");
}

#[test]
fn stream_ids_do_not_meet() {
    let command = CommandId(12);
    let ids = [
        StreamId::stdin(command),
        StreamId::stdout(command),
        StreamId::stderr(command),
        StreamId::transfer(12),
    ];
    assert_eq!(ids.map(|id| id.0), [48, 49, 50, 51]);
    assert_eq!(ids.map(StreamId::command), [Some(command), Some(command), Some(command), None]);
    let connection = StreamId::transfer(12);
    assert_eq!(connection.back().0, 1 << 31 | 51);
    assert_eq!([connection.forth(), connection.back().forth()], [connection; 2]);
    assert!(connection.back().is_transfer());
}

#[test]
fn secrets_are_not_printed() {
    let claim = Claim {
        hostname: String::new(),
        machine_id: [0; 16],
        entropy: Entropy([0xAB; 32]),
        unix_nanos: 0,
        user: String::new(),
        cwd: String::new(),
        env: vec![("KEY".into(), "token-in-env".into())],
        network: Network::default(),
    };
    let text = format!("{claim:?}");
    assert!(
        !text.contains("token") && !text.contains("171") && !text.to_lowercase().contains("ab, ab"),
        "{text}"
    );
    let start = StartCommand {
        command: CommandId(1),
        argv: vec!["curl".into(), "token-in-argv".into()],
        env: vec![("KEY".into(), "token-in-env".into())],
        cwd: None,
        user: User::Default,
        stdin: Stdin::Null,
        io: Io::Pipes,
        timeout_ms: None,
    };
    assert!(!format!("{start:?}").contains("token"), "{start:?}");
}
