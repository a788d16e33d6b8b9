//! The shapes as other people's clients demand them, and ours of the attach channel.

use http::StatusCode;
use serde_json::{Value, json};

use crate::attach::{
    ClientMessage, Exit, ExitReason, Follow, ServerMessage, output_message, read_output_message,
    read_stdin_message, stdin_message,
};
use crate::*;

fn command() -> Command {
    Command {
        id: "cmd_1".into(),
        name: "sh".into(),
        args: vec!["-c".into(), "true".into()],
        cwd: "/home/fumehood".into(),
        session_id: "sbx_1".into(),
        sandbox_id: "sbx_1".into(),
        exit_code: None,
        duration_ms: None,
        started_at: 5,
    }
}

#[track_caller]
fn check<T>(value: &T, wire: &Value)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    assert_eq!(serde_json::to_value(value).unwrap(), *wire);
    assert_eq!(serde_json::from_value::<T>(wire.clone()).unwrap(), *value);
}

#[test]
fn a_command_says_null_until_it_has_ended_and_leaves_out_the_rest() {
    let running = json!({"id":"cmd_1","name":"sh","args":["-c","true"],"cwd":"/home/fumehood",
        "sessionId":"sbx_1","sandboxId":"sbx_1","exitCode":null,"startedAt":5});
    check(&command(), &running);
    let mut ended = running;
    ended["exitCode"] = json!(3);
    ended["durationMs"] = json!(1007);
    check(&Command { exit_code: Some(3), duration_ms: Some(1007), ..command() }, &ended);
}

#[test]
fn lines_of_an_attached_command() {
    check(
        &CommandLine::Log(LogLine::Stderr("err1\n".into())),
        &json!({"stream":"stderr","data":"err1\n"}),
    );
    check(
        &CommandLine::Log(LogLine::Error(Refusal::new(Code::SandboxStopped, "gone"))),
        &json!({"stream":"error","data":{"code":"sandbox_stopped","message":"gone"}}),
    );
    check(
        &CommandLine::Command(CommandReply { command: command() }),
        &json!({"command": serde_json::to_value(command()).unwrap()}),
    );
}

#[test]
fn what_their_clients_send_is_taken() {
    let sdk: CreateSandbox = serde_json::from_value(json!({"projectId":"prj_x","ports":[],
        "runtime":"node24","timeout":300_000,"resources":{"vcpus":2},"__interactive":true,
        "keepLastSnapshots":{"count":1},"networkPolicy":{"mode":"deny-all"},"env":{"A":"b"}}))
    .unwrap();
    assert_eq!(sdk.resources, Some(Resources { vcpus: Some(2), memory: None }));
    assert_eq!(sdk.env.0["A"], "b");
    assert_eq!(sdk.keep_last_snapshots, Some(Some(KeepLastSnapshots::of(1))));
    let keeps = |body| serde_json::from_value::<CreateSandbox>(body).unwrap().keep_last_snapshots;
    assert_eq!(keeps(json!({"keepLastSnapshots":null})), Some(None), "null keeps all");
    assert_eq!(keeps(json!({})), None, "and nothing leaves it to the server");

    let attached: StartCommand = serde_json::from_value(json!({"command":"ls","args":["-l"],
        "env":{},"sudo":false,"wait":true,"logs":true,"__trace":1}))
    .unwrap();
    assert!(attached.wait && attached.logs && !attached.sudo);

    let bare: StartCommand =
        serde_json::from_value(json!({"command":"ls","cwd":null,"env":null})).unwrap();
    assert_eq!(bare, StartCommand { command: "ls".into(), ..StartCommand::default() });

    let source: Source =
        serde_json::from_value(json!({"type":"snapshot","snapshotId":"snap_1"})).unwrap();
    assert_eq!(source, Source::Snapshot { snapshot_id: "snap_1".into(), memory: None });
}

/// What is derived takes a list of a struct's members for it.
#[test]
fn a_list_is_no_object() {
    for member in ["source", "resources", "keepLastSnapshots", "networkPolicy", "mounts", "tags"] {
        for list in [json!([]), json!(["deny-all"])] {
            let body = json!({ member: list });
            assert!(serde_json::from_value::<CreateSandbox>(body).is_err(), "{member}");
        }
    }
    let policy = json!({"networkPolicy": []});
    assert!(serde_json::from_value::<UpdateSandbox>(policy.clone()).is_err());
    assert!(serde_json::from_value::<ForkSandbox>(policy).is_err());
}

#[test]
fn a_malformed_request_is_refused_and_the_member_named() {
    for (body, named) in [
        (json!({"args":[]}), "command"),
        (json!({"command":"ls","pty":{"cols":80}}), "rows"),
        (json!({"command":"ls","args":"-l"}), "sequence"),
    ] {
        let fault = serde_json::from_value::<StartCommand>(body).unwrap_err().to_string();
        assert!(fault.contains(named), "{fault}");
    }
}

#[test]
fn a_session_has_no_nulls() {
    let session = Session {
        id: "sbx_1".into(),
        memory: 512,
        vcpus: 1,
        region: "local".into(),
        runtime: "node24".into(),
        architecture: None,
        timeout: 300_000,
        status: Status::Stopped,
        requested_at: 1,
        started_at: None,
        requested_stop_at: None,
        stopped_at: None,
        aborted_at: None,
        duration: None,
        created_at: 1,
        updated_at: 1,
        cwd: "/".into(),
        interactive_port: None,
        network_policy: None,
        active_cpu_duration_ms: None,
        network_transfer: None,
        source_snapshot_id: None,
        snapshotted_at: None,
        source_sandbox_name: None,
        project_id: None,
        forked: None,
        memory_lost: None,
        paused_at: None,
        end_code: Some(EndCode::TimedOut),
        end_reason: None,
    };
    check(
        &session,
        &json!({"id":"sbx_1","memory":512,"vcpus":1,"region":"local","runtime":"node24",
            "timeout":300_000,"status":"stopped","requestedAt":1,"createdAt":1,"updatedAt":1,
            "cwd":"/","endCode":"timed_out"}),
    );
}

#[test]
fn the_end_of_a_list_is_null() {
    check(&Pagination { count: 2, next: None }, &json!({"count":2,"next":null}));
}

#[test]
fn every_code_has_a_row_and_goes_there_and_back() {
    for code in Code::ALL.iter().copied() {
        assert_eq!(Code::from_wire(code.as_str(), code.status()), code);
    }
    check(
        &ErrorBody { error: Refusal::new(Code::ExecutableNotFound, "no x") },
        &json!({"error":{"code":"executable_not_found","message":"no x"}}),
    );
}

#[test]
fn a_code_of_a_newer_server_is_known_by_its_status() {
    assert_eq!(Code::from_wire("snapshot_lost", StatusCode::NOT_FOUND), Code::NotFound);
    assert_eq!(Code::from_wire("teapot", StatusCode::IM_A_TEAPOT), Code::BadRequest);
    assert_eq!(Code::from_wire("odd", StatusCode::LOOP_DETECTED), Code::Internal);
}

#[test]
fn values_of_the_environment_are_not_shown() {
    let env: Env = [("TOKEN".to_owned(), "hunter2".to_owned())].into_iter().collect();
    let shown = format!("{:?}", StartCommand { env, ..StartCommand::default() });
    assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_value_of_a_secret_is_not_shown() {
    let put = PutSecret { value: SecretValue::new("hunter2".to_owned()) };
    check(&put, &json!({"value":"hunter2"}));
    assert!(!format!("{put:?}").contains("hunter2"));
    for value in [json!(4711), json!(["4711"]), json!({"4711":null}), json!(null)] {
        let fault = serde_json::from_value::<PutSecret>(json!({ "value": value })).unwrap_err();
        assert!(!fault.to_string().contains("4711"), "{fault}");
    }
    check(
        &SecretList {
            secrets: vec![Secret { name: "KEY".to_owned(), created_at: 1, updated_at: 2 }],
        },
        &json!({"secrets":[{"name":"KEY","createdAt":1,"updatedAt":2}]}),
    );
}

#[test]
fn an_impossible_environment_is_refused() {
    for (name, value, good) in
        [("A", "b=c", true), ("", "b", false), ("A=B", "c", false), ("A", "\0", false)]
    {
        let env: Env = [(name.to_owned(), value.to_owned())].into_iter().collect();
        assert_eq!(env.check().is_ok(), good, "{name:?}={value:?}");
    }
}

#[test]
fn messages_of_the_attach_channel() {
    let start: ClientMessage = serde_json::from_value(
        json!({"type":"start","command":"cat","args":[],"env":{},"stdin":true}),
    )
    .unwrap();
    assert!(matches!(start, ClientMessage::Start(start) if start.stdin && start.command == "cat"));
    check(
        &ClientMessage::Follow(Follow {
            cmd_id: "cmd_1".into(),
            stdout_offset: 1,
            stderr_offset: 2,
            stdin_offset: None,
        }),
        &json!({"type":"follow","cmdId":"cmd_1","stdoutOffset":1,"stderrOffset":2}),
    );
    check(&ClientMessage::StdinClose, &json!({"type":"stdin_close"}));
    check(
        &ClientMessage::Resize(PtySize { cols: 80, rows: 24 }),
        &json!({"type":"resize","cols":80,"rows":24}),
    );
    check(&ClientMessage::Signal { signal: 2 }, &json!({"type":"signal","signal":2}));
    check(&ServerMessage::StdinAck { offset: 7 }, &json!({"type":"stdin_ack","offset":7}));
    check(
        &ServerMessage::Exit(Exit {
            code: 137,
            signal: Some(9),
            reason: Some(ExitReason::Timeout),
        }),
        &json!({"type":"exit","code":137,"signal":9,"reason":"timeout"}),
    );
}

#[test]
fn streams_keep_their_bytes_and_strange_ones_are_refused() {
    let raw = b"\x00\xff\n".as_slice();
    assert_eq!(read_stdin_message(stdin_message(raw)).unwrap(), raw);
    for stream in [Stream::Stdout, Stream::Stderr] {
        let (of, data) = read_output_message(output_message(stream, raw)).unwrap();
        assert_eq!((of, &data[..]), (stream, raw));
    }
    assert!(read_stdin_message(output_message(Stream::Stdout, raw)).is_none());
    assert!(read_output_message(stdin_message(raw)).is_none());
    assert!(read_output_message(bytes::Bytes::new()).is_none());
}

#[test]
fn a_server_gives_way_to_a_newer_one_only() {
    let version = |version: &str, build| Version { version: version.to_owned(), build, api: API };
    assert!(version("0.9.0", 9).is_older_than(&version("0.10.0", 1)));
    assert!(version("0.1.0", 1).is_older_than(&version("0.1.0", 2)));
    assert!(!version("0.1.0", 2).is_older_than(&version("0.1.0", 2)));
    assert!(!version("1.0.0", 1).is_older_than(&version("0.9.0", 5)));
}
