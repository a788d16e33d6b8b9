//! `fumehood env`: variables that lead other people's clients to a server.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::CreateToken;
use api::client::{Client, Endpoint, Token, Trust};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

use super::Context;
use crate::cli::{EnvArgs, EnvShell};
use crate::failure::{Exit, Failure};
use crate::server::Server;
use crate::{folders, say};

const SHIM: &str = include_str!("../clients/shim.mjs");
const DENO: &str = include_str!("../clients/deno.sh");
const SITECUSTOMIZE: &str = include_str!("../clients/sitecustomize.py");
const IMPORT: &str = "--import=data:text/javascript;base64,";
const PRELOAD: &str = "--preload=";

pub(crate) async fn run(args: &EnvArgs, context: &Context) -> Result<Exit, Failure> {
    if io::stdout().is_terminal() {
        let message =
            "this is for a shell to carry out, and holds a token: eval \"$(fumehood env)\"";
        return Err(Failure::new(Exit::Usage, message));
    }
    let server = Server::reach(&context.server).await?;
    let state = folders::state()?;
    let url = match server.is_own() {
        true => server.client().listen().await?.url,
        false => server.client().endpoint().to_string(),
    };
    let token = token(&server, &url, &state).await?;
    let Placed { shim, python, programs } = place(&state)
        .map_err(|fault| Failure::host(format!("writing below {}", state.display()), fault))?;
    let here = |name: &str| std::env::var(name).unwrap_or_default();
    let mut variables = vec![
        ("FUMEHOOD_API_URL", format!("{url}/api")),
        ("VERCEL_OIDC_TOKEN", token),
        ("FUMEHOOD_SHIM", shim.display().to_string()),
        ("NODE_OPTIONS", node_options(&here("NODE_OPTIONS"))),
        ("BUN_OPTIONS", with(&here("BUN_OPTIONS"), ' ', &format!("{PRELOAD}{}", shim.display()))),
        ("PYTHONPATH", with(&here("PYTHONPATH"), ':', &python.display().to_string())),
        ("PATH", with(&here("PATH"), ':', &programs.display().to_string())),
        ("VERCEL_TELEMETRY_DISABLED", "1".to_owned()),
        ("SANDBOX_SKIP_VERSION_CHECK", "1".to_owned()),
    ];
    if let Some(ca) = server.ca_file() {
        let ca = std::path::absolute(ca).map_err(|fault| Failure::host("--ca-file", fault))?;
        let ca = ca.display().to_string();
        variables.extend([("NODE_EXTRA_CA_CERTS", ca.clone()), ("DENO_CERT", ca)]);
    }
    let shell = args.shell.unwrap_or_else(|| shell_of(&here("SHELL")));
    let lines = variables.iter().map(|(name, value)| line(shell, name, value));
    say::out(&lines.collect::<String>())?;
    Ok(Exit::Command(0))
}

/// A token of the project for who is not us: the one that we were given, if clients can read it, or
/// the one that was made before, if it still lets in, or a new one.
async fn token(server: &Server, url: &str, state: &Path) -> Result<String, Failure> {
    if let Some(given) = server.token().filter(|given| given.split('.').count() == 3) {
        return Ok(given.to_owned());
    }
    let project = server.client().project().unwrap_or("");
    let host = if server.is_own() { "" } else { url };
    let name = BASE64_URL_SAFE_NO_PAD.encode(format!("{host} {project}"));
    let path = state.join("clients").join(format!("token-{name}"));
    let doing = || format!("keeping a token in {}", path.display());
    if let Ok(kept) = fs::read_to_string(&path)
        && lets_in(server, url, &kept).await
    {
        return Ok(kept);
    }
    let made = server.client().create_token(&CreateToken::default()).await?;
    let text = made.value.expose().to_owned();
    folder(state)
        .and_then(|_| write(&path, &text))
        .map_err(|fault| Failure::host(doing(), fault))?;
    Ok(text)
}

async fn lets_in(server: &Server, url: &str, text: &str) -> bool {
    let trust = server.ca_file().map_or(Trust::System, |file| Trust::File(file.to_owned()));
    let token = Token::new(text).ok();
    let endpoint = Endpoint::from_url(url, token, &trust);
    match endpoint.map(Client::new) {
        Ok(client) => client.version().await.is_ok(),
        Err(_) => false,
    }
}

/// Where things are that clients load.
struct Placed {
    shim: PathBuf,
    /// For Python's path.
    python: PathBuf,
    /// For the path: what stands before programs that no variable tells what to load.
    programs: PathBuf,
}

/// Puts down what the clients load.
fn place(state: &Path) -> io::Result<Placed> {
    let folder = folder(state)?;
    let [python, programs] = ["python", "bin"].map(|name| folder.join(name));
    for folder in [&python, &programs] {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let shim = folder.join("shim.mjs");
    write(&shim, SHIM)?;
    write(&python.join("sitecustomize.py"), SITECUSTOMIZE)?;
    write_as(&programs.join("deno"), DENO, 0o700)?;
    Ok(Placed { shim, python, programs })
}

fn folder(state: &Path) -> io::Result<PathBuf> {
    let folder = state.join("clients");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    write_as(path, text, 0o600)
}

/// Whole or not at all: somebody may be loading it.
fn write_as(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&draft, path)
}

/// What is there without what an earlier `env` added, and the shim as it is now.
fn node_options(here: &str) -> String {
    let ours = |word: &str| {
        let text = word.strip_prefix(IMPORT).and_then(|text| BASE64_STANDARD.decode(text).ok());
        text.is_some_and(|text| text.starts_with(b"// fumehood"))
    };
    let kept: Vec<&str> = here.split(' ').filter(|word| !word.is_empty() && !ours(word)).collect();
    with(&kept.join(" "), ' ', &format!("{IMPORT}{}", BASE64_STANDARD.encode(SHIM)))
}

/// One more item of a list, unless it is there.
fn with(list: &str, between: char, item: &str) -> String {
    match list.split(between).any(|one| one == item) {
        true => list.to_owned(),
        false if list.is_empty() => item.to_owned(),
        false => format!("{item}{between}{list}"),
    }
}

fn shell_of(path: &str) -> EnvShell {
    match path.rsplit('/').next() {
        Some("fish") => EnvShell::Fish,
        Some("zsh") => EnvShell::Zsh,
        Some(_) | None => EnvShell::Bash,
    }
}

fn line(shell: EnvShell, name: &str, value: &str) -> String {
    match shell {
        EnvShell::Bash | EnvShell::Zsh => {
            format!("export {name}='{}'\n", value.replace('\'', r"'\''"))
        }
        EnvShell::Fish => {
            format!("set -gx {name} '{}'\n", value.replace('\\', r"\\").replace('\'', r"\'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_and_nothing_comes_twice() {
        let once = node_options("--max-old-space-size=4096");
        assert!(once.ends_with(" --max-old-space-size=4096") && once.starts_with(IMPORT));
        assert_eq!(node_options(&once), once);
        let older = format!("{IMPORT}{} -r x", BASE64_STANDARD.encode("// fumehood: older"));
        assert_eq!(node_options(&older), format!("{} -r x", node_options("")));
        let theirs = format!("{IMPORT}{}", BASE64_STANDARD.encode("theirs()"));
        assert!(node_options(&theirs).ends_with(&theirs));
        assert_eq!(with("", ':', "/a"), "/a");
        assert_eq!(with("/b", ':', "/a"), "/a:/b");
        assert_eq!(with("/b:/a", ':', "/a"), "/b:/a");
    }

    #[test]
    fn a_value_is_a_value_in_every_shell() {
        assert_eq!(line(EnvShell::Bash, "A", "it's $x"), "export A='it'\\''s $x'\n");
        assert_eq!(line(EnvShell::Fish, "A", r"it's \x"), "set -gx A 'it\\'s \\\\x'\n");
        assert_eq!(shell_of("/usr/bin/fish"), EnvShell::Fish);
        assert_eq!(shell_of(""), EnvShell::Bash);
    }
}
