//! What command lines mean, and which are refused.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Command, clap::error::ErrorKind> {
    let words = std::iter::once("fumehood").chain(line.split(' '));
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(|fault| fault.kind())
}

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}

#[test]
fn the_guests_command_keeps_its_own_flags() {
    for line in ["run -i --memory 512 -- ls -l --json", "run -i --memory 512 ls -l --json"] {
        let Ok(Command::Run(run)) = parse(line) else { panic!("{line}") };
        assert_eq!(run.argv, ["ls", "-l", "--json"], "{line}");
        assert!(run.command.interactive && !run.json, "{line}");
        assert_eq!(run.sandbox.memory, Some(512), "{line}");
    }
    let Ok(Command::Exec(exec)) = parse("exec -it box bash -c x") else { panic!() };
    assert_eq!((exec.name.as_str(), exec.argv.len()), ("box", 3));
    assert!(exec.tty && exec.command.interactive);
    let Ok(Command::Exec(exec)) = parse("exec box -- --odd -v") else { panic!() };
    assert_eq!(exec.argv, ["--odd", "-v"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    use clap::error::ErrorKind;
    for (line, kind) in [
        ("run", ErrorKind::MissingRequiredArgument),
        ("run --", ErrorKind::MissingRequiredArgument),
        ("run --typo ls", ErrorKind::UnknownArgument),
        ("run --timeout 300 -- ls", ErrorKind::ValueValidation),
        ("run --memory 1G -- ls", ErrorKind::ValueValidation),
        ("run --json -t -- ls", ErrorKind::ArgumentConflict),
        ("exec -d -i box -- ls", ErrorKind::ArgumentConflict),
        ("exec -d -t box -- ls", ErrorKind::ArgumentConflict),
        ("logs --console box cmd_1", ErrorKind::ArgumentConflict),
        ("stop", ErrorKind::MissingRequiredArgument),
        ("serve --insecure", ErrorKind::MissingRequiredArgument),
        ("serve --listen 1.2.3.4:5 --tls-cert c", ErrorKind::MissingRequiredArgument),
        ("serve --tls-cert c --tls-key k", ErrorKind::MissingRequiredArgument),
        ("serve --listen localhost", ErrorKind::ValueValidation),
        ("fly", ErrorKind::InvalidSubcommand),
    ] {
        assert_eq!(parse(line).err(), Some(kind), "{line}");
    }
}

#[test]
fn a_duration_that_is_refused_says_what_would_do() {
    let fault = Cli::try_parse_from(["fumehood", "run", "--timeout", "300", "--", "ls"]);
    assert!(fault.unwrap_err().to_string().contains("300s are seconds"));
}

#[test]
fn a_secret_is_not_shown() {
    assert!(!format!("{:?}", Secret("hunter2".to_owned())).contains("hunter2"));
}
