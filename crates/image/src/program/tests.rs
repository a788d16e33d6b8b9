use std::sync::Mutex;

use super::*;

const SHELL: Program = Program { name: "sh", package: "dash" };

fn run(script: &str) -> Result<String, ProgramError> {
    SHELL.run(Path::new("/"), ["-c", script])
}

#[test]
fn what_is_missing_names_its_package() {
    let missing = Program { name: "no-such-program", package: "the-package" };
    let error = missing.run(Path::new("/"), ["x"]).unwrap_err();
    assert!(error.to_string().contains("the-package"), "{error}");
    assert_eq!(missing.require().unwrap_err().to_string(), error.to_string());
    SHELL.require().unwrap();
}

#[test]
fn a_failure_carries_the_last_words_and_no_more() {
    let error = run("for i in $(seq 100000); do echo line $i; done >&2; exit 3").unwrap_err();
    let ProgramError::Failed { status, said, .. } = error else { panic!("{error}") };
    assert_eq!(status.code(), Some(3));
    assert_eq!(said.lines().count(), KEPT_LINES);
    assert!(said.ends_with("line 100000"), "{said}");
}

#[test]
fn output_and_words_are_read_together_however_much_there_is() {
    let lines = Mutex::new(0);
    let script = "seq 200000 | tee /dev/stderr";
    let prepare = |command: &mut Command| {
        command.args(["-c", script]);
    };
    let count = |_: &str| *lines.lock().unwrap() += 1;
    let bytes = SHELL
        .stream(prepare, count, |mut stdout| {
            io::copy(&mut stdout, &mut io::sink())
                .map_err(|source| ProgramError::Read { name: "sh", source })
        })
        .unwrap();
    assert_eq!(bytes, 1_288_895);
    assert_eq!(*lines.lock().unwrap(), 200_000);
}

#[test]
fn a_reader_that_gives_up_ends_the_program() {
    let prepare = |command: &mut Command| {
        command.args(["-c", "yes"]);
    };
    let result: Result<(), ProgramError> = SHELL.stream(
        prepare,
        |_| {},
        |stdout| {
            drop(stdout);
            let source = io::ErrorKind::InvalidData.into();
            Err(ProgramError::Read { name: "sh", source })
        },
    );
    assert!(matches!(result, Err(ProgramError::Read { .. })), "{result:?}");
}
