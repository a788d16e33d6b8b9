//! Exit codes are a promise to scripts.

use http::StatusCode;

use super::*;

#[test]
fn every_refusal_has_its_exit_code() {
    let table: Vec<String> =
        Code::ALL.iter().map(|code| format!("{code} {}", exit_of(*code).code())).collect();
    assert_eq!(
        table,
        [
            "bad_request 246",
            "executable_not_found 127",
            "not_executable 126",
            "file_error 246",
            "image_not_found 242",
            "image_forbidden 246",
            "image_unusable 246",
            "source_failed 246",
            "command_stdin_unavailable 246",
            "sandbox_timeout_invalid 246",
            "unauthorized 246",
            "forbidden 246",
            "not_found 242",
            "conflict 246",
            "drive_attached 246",
            "drive_not_initialized 246",
            "sandbox_stopped 245",
            "snapshot_not_found 242",
            "setup_needed 241",
            "too_large 246",
            "sandbox_stopping 245",
            "sandbox_snapshotting 245",
            "limit_reached 243",
            "registry_limited 246",
            "internal 250",
            "machine_failed 250",
            "sandbox_not_listening 246",
            "registry_failed 246",
            "unavailable 244",
            "command_stdin_stalled 246",
            "disk_full 243",
        ]
    );
}

#[test]
fn a_guest_cannot_end_us_with_a_code_that_is_no_code() {
    for (exit, code) in [
        (Exit::Command(0), 0),
        (Exit::Command(7), 7),
        (Exit::Command(256), 0),
        (Exit::Command(-1), 255),
        (Exit::Signal(2), 130),
        (Exit::Signal(15), 143),
        (Exit::Signal(i32::MAX), 255),
    ] {
        assert_eq!(exit.code(), code, "{exit:?}");
    }
}

#[test]
fn a_failure_tells_its_causes_once_and_cannot_steer_the_terminal() {
    let refused = ClientError::Refused {
        status: StatusCode::GONE,
        code: Code::SandboxStopped,
        message: "kernel panic: \u{1b}]0;owned\u{7}".to_owned(),
    };
    let failure = Failure::from(refused).about("sandbox a");
    assert_eq!(failure.exit(), Exit::SandboxEnded);
    assert_eq!(failure.message().unwrap(), "sandbox a: kernel panic: \u{fffd}]0;owned\u{fffd}");
}

#[test]
fn a_reader_that_went_away_is_not_told() {
    let failure = Failure::host("writing to stdout", io::ErrorKind::BrokenPipe.into());
    assert_eq!((failure.exit().code(), failure.message()), (141, None));
    let failure = Failure::host("writing to stdout", io::ErrorKind::StorageFull.into());
    assert_eq!(failure.exit().code(), 247);
    assert!(failure.message().unwrap().starts_with("writing to stdout: "));
}
