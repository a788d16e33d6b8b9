//! `fumehood secret …`.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use api::{PutSecret, SECRET_BYTES_MAX, SecretValue};
use egress::secret::{InvalidSecretName, SecretName};
use futures_util::future::join_all;

use super::ls::{json, now_ms};
use super::stop::told;
use super::{Context, worst};
use crate::cli::{Secret, SecretRm, SecretSet};
use crate::failure::{Exit, Failure};
use crate::server::Server;
use crate::signals::Signals;
use crate::table::Table;
use crate::terminal::Mode;
use crate::{duration, say};

pub(crate) async fn run(args: Secret, context: &Context) -> Result<Exit, Failure> {
    match args {
        Secret::Set(args) => set(args, context).await,
        Secret::Ls { json: true } => {
            let secrets = Server::reach(&context.server).await?.client().secrets().await?;
            say::out(&format!("{}\n", json(&secrets.secrets)?))?;
            Ok(Exit::Command(0))
        }
        Secret::Ls { json: false } => {
            let secrets = Server::reach(&context.server).await?.client().secrets().await?;
            say::out(&table(&secrets.secrets, now_ms()))?;
            Ok(Exit::Command(0))
        }
        Secret::Rm(args) => remove(&args, context).await,
    }
}

async fn set(args: SecretSet, context: &Context) -> Result<Exit, Failure> {
    let name = name(&args.name, &args.more).map_err(|fault| Failure::new(Exit::Usage, fault))?;
    let bytes = match (&args.from_env, &args.from_file) {
        (Some(variable), _) => {
            let value = std::env::var(variable);
            let refused =
                |fault| Failure::new(Exit::Usage, format!("--from-env {variable}: {fault}"));
            value.map_err(refused)?.into_bytes()
        }
        (None, Some(file)) => {
            let failed = |fault| Failure::host(format!("reading {}", file.display()), fault);
            read(File::open(file).map_err(failed)?).map_err(failed)?
        }
        (None, None) => from_stdin(&name).await?,
    };
    let value = value(bytes).map_err(|fault| Failure::new(Exit::Usage, fault))?;
    let server = Server::reach(&context.server).await?;
    server.client().put_secret(name.as_str(), &PutSecret { value }).await?;
    Ok(Exit::Command(0))
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidName {
    #[error("{0}")]
    Name(#[from] InvalidSecretName),
    /// The words are not in it.
    #[error(
        "the value of a secret is no argument, since everybody can read those: pipe it in, or use \
         --from-env or --from-file; what was typed is in the shell's history now"
    )]
    Value,
}

/// The name, when nothing else was typed.
fn name(name: &str, more: &[String]) -> Result<SecretName, InvalidName> {
    if !more.is_empty() || name.contains('=') {
        return Err(InvalidName::Value);
    }
    Ok(SecretName::parse(name)?)
}

async fn remove(args: &SecretRm, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let each = args.names.iter().map(async |name| {
        let removed = server.client().delete_secret(name.as_str()).await;
        told(name.as_str(), removed.map_err(Failure::from))
    });
    Ok(worst(join_all(each).await))
}

fn table(secrets: &[api::Secret], now_ms: u64) -> String {
    let mut table = Table::new(["NAME", "AGE", "CHANGED"]);
    let ago = |ms: u64| duration::short(Duration::from_millis(now_ms.saturating_sub(ms)));
    for secret in secrets {
        table.row([secret.name.clone(), ago(secret.created_at), ago(secret.updated_at)]);
    }
    table.text()
}

/// All of stdin; on a terminal one line, which is asked for and not shown.
async fn from_stdin(name: &SecretName) -> Result<Vec<u8>, Failure> {
    let failed = |fault| Failure::host("reading stdin", fault);
    if !io::stdin().is_terminal() {
        return tokio::task::spawn_blocking(|| read(io::stdin().lock()))
            .await
            .unwrap_or_else(|fault| Err(io::Error::other(fault)))
            .map_err(failed);
    }
    // An interrupt would leave the terminal as it is, so it is waited for beside the line.
    let mut signals =
        Signals::listen().map_err(|fault| Failure::host("listening for signals", fault))?;
    let hidden = Mode::hidden(io::stdin().as_fd()).map_err(failed)?;
    // Nobody can be told that telling failed.
    drop(write!(io::stderr().lock(), "Value of {name}: "));
    let line = tokio::task::spawn_blocking(|| read_line(io::stdin().lock()));
    let result = tokio::select! {
        line = line => line.unwrap_or_else(|fault| Err(io::Error::other(fault))).map_err(failed),
        signal = signals.next() => Err(Failure::silent(Exit::Signal(signal))),
    };
    drop(hidden);
    result
}

/// One byte more than a secret may have, and the newline at its end.
const READ_BYTES_MAX: usize = SECRET_BYTES_MAX + 3;

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(READ_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_line(from: impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(READ_BYTES_MAX as u64).read_until(b'\n', &mut bytes)?;
    Ok(bytes)
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidValue {
    #[error("the secret is empty")]
    Empty,
    #[error("a secret has at most {} KiB", SECRET_BYTES_MAX >> 10)]
    TooLong,
    #[error("a secret is text in UTF-8, and this is not; base64 makes text of anything")]
    NotText,
}

/// What was read, without the newline at its end.
fn value(mut bytes: Vec<u8>) -> Result<SecretValue, InvalidValue> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        bytes.pop_if(|byte| *byte == b'\r');
    }
    if bytes.is_empty() {
        return Err(InvalidValue::Empty);
    }
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(InvalidValue::TooLong);
    }
    // The error of the conversion holds the bytes, and has to end here.
    String::from_utf8(bytes).map(SecretValue::new).map_err(|_bytes| InvalidValue::NotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_typed_is_refused_and_not_repeated() {
        assert_eq!(name("API_KEY", &[]).unwrap().as_str(), "API_KEY");
        let more = ["hunter2".to_owned()];
        for (first, more) in [("KEY", more.as_slice()), ("KEY=hunter2", &[]), ("hunter2=", &[])] {
            let fault = name(first, more).unwrap_err();
            assert!(!format!("{fault} {fault:?}").contains("hunter2"), "{first}");
        }
        assert!(name("API-KEY", &[]).unwrap_err().to_string().contains("letters, digits"));
    }

    #[test]
    fn a_value_is_what_was_read_without_one_newline() {
        for (read, wanted) in [
            ("a", Ok("a")),
            ("a\n", Ok("a")),
            ("a\r\n", Ok("a")),
            ("a\n\n", Ok("a\n")),
            (" a ", Ok(" a ")),
            ("a\nb\n", Ok("a\nb")),
            ("", Err(InvalidValue::Empty)),
            ("\n", Err(InvalidValue::Empty)),
        ] {
            let found = value(read.as_bytes().to_vec());
            assert_eq!(found.as_ref().map(SecretValue::expose), wanted.as_ref().copied());
        }
        assert_eq!(value(b"\xff".to_vec()), Err(InvalidValue::NotText));
    }

    #[test]
    fn what_is_too_long_is_refused_and_not_cut() {
        let longest = "x".repeat(SECRET_BYTES_MAX);
        for newline in ["", "\n", "\r\n"] {
            let text = format!("{longest}{newline}");
            let found = value(read(text.as_bytes()).unwrap()).unwrap();
            assert_eq!(found.expose(), longest);
            let text = format!("{longest}y{newline}");
            let found = value(read(text.as_bytes()).unwrap());
            assert_eq!(found, Err(InvalidValue::TooLong), "{newline:?}");
        }
        let endless = io::repeat(b'x');
        assert_eq!(read(endless).unwrap().len(), READ_BYTES_MAX);
        assert_eq!(read_line(b"ab\ncd".as_slice()).unwrap(), b"ab\n");
    }

    #[test]
    fn names_and_ages_are_listed() {
        let secret = api::Secret { name: "KEY".to_owned(), created_at: 0, updated_at: 60_000 };
        assert_eq!(table(&[secret], 90_000), "NAME  AGE    CHANGED\nKEY   1m30s  30s\n");
    }
}
