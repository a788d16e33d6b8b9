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
        ("run --entrypoint -- ls", ErrorKind::MissingRequiredArgument),
        ("run --pull always -- ls", ErrorKind::MissingRequiredArgument),
        ("run --image x --pull sometimes", ErrorKind::InvalidValue),
        ("image prune --keep-bytes 1.5G", ErrorKind::ValueValidation),
        ("image rm", ErrorKind::MissingRequiredArgument),
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
fn a_secret_has_a_name_and_no_value_here() {
    use clap::error::ErrorKind;
    let Ok(Command::Secret(Secret::Set(set))) = parse("secret set API_KEY --from-env K") else {
        panic!()
    };
    assert_eq!((set.name.as_str(), set.from_env.as_deref()), ("API_KEY", Some("K")));
    for (line, kind) in [
        ("secret set", ErrorKind::MissingRequiredArgument),
        ("secret set KEY --from-env A --from-file B", ErrorKind::ArgumentConflict),
        ("secret rm", ErrorKind::MissingRequiredArgument),
    ] {
        assert_eq!(parse(line).err(), Some(kind), "{line}");
    }
}

#[test]
fn help_man_pages_and_completions_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(Cli::command(), folder.path()).unwrap();
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut Cli::command(), "fumehood", &mut script);
    let script = String::from_utf8(script).unwrap();
    for words in [
        "policy",
        "policy get",
        "policy set",
        "policy explain",
        "policy presets",
        "audit",
        "secret",
        "secret set",
        "secret ls",
        "secret rm",
    ] {
        let help = help(words);
        assert!(help.starts_with(|first: char| first.is_ascii_uppercase()), "{help}");
        let page = format!("fumehood-{}.1", words.replace(' ', "-"));
        assert!(folder.path().join(&page).exists(), "{page}");
        let last = words.rsplit(' ').next().unwrap();
        assert!(script.contains(&format!("__{last})\n")), "{words}");
    }
}

fn help(words: &str) -> String {
    let mut command = Cli::command();
    command.build();
    let found = words.split(' ').fold(&mut command, |command, word| {
        command.find_subcommand_mut(word).unwrap_or_else(|| panic!("no {word}"))
    });
    found.render_long_help().to_string()
}

#[test]
fn the_help_says_why_a_value_is_no_argument() {
    let help = help("secret set");
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(
        words.join(" ").contains("everybody on this computer can read the arguments"),
        "{help}"
    );
}
