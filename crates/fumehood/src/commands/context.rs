//! `fumehood context …`.

use api::SecretValue;
use serde::Serialize;

use super::Context;
use super::ls::json;
use crate::cli::{Contexts as Asked, ServerOptions};
use crate::contexts::{Contexts, LOCAL, Remembered, check_name};
use crate::failure::{Exit, Failure};
use crate::server::Server;
use crate::table::Table;
use crate::{say, server};

pub(crate) fn run(args: Asked, context: &Context) -> Result<Exit, Failure> {
    let mut contexts = Contexts::load()?;
    match args {
        Asked::Add { name } => {
            check_name(&name)?;
            contexts.contexts.insert(name, remembered(&context.server)?);
        }
        Asked::Use { name } => {
            contexts.named(&name)?;
            contexts.current = Some(name).filter(|name| name != LOCAL);
        }
        Asked::Rm { names } => {
            for name in names {
                contexts.named(&name)?;
                contexts.contexts.remove(&name);
                contexts.current = contexts.current.take().filter(|current| *current != name);
            }
        }
        Asked::Ls { json: as_json } => {
            let all = shown(&contexts);
            let text = if as_json { format!("{}\n", json(&all)?) } else { table(&all) };
            say::out(&text)?;
            return Ok(Exit::Command(0));
        }
    }
    contexts.save()?;
    Ok(Exit::Command(0))
}

/// What the options say of a server, if it can be used.
fn remembered(options: &ServerOptions) -> Result<Remembered, Failure> {
    let server = options.server.clone().filter(|url| !url.is_empty());
    let server = server.ok_or_else(|| {
        Failure::new(Exit::Usage, "--server says which server the context is for")
    })?;
    let ca_file = options.ca_file.as_ref().map(std::path::absolute).transpose();
    let ca_file = ca_file.map_err(|fault| Failure::host("finding --ca-file", fault))?;
    let token = server::token_text(options)?.map(|text| SecretValue::new(text.trim().to_owned()));
    let project = options.project.clone();
    let remembered = Remembered { server, project, ca_file, token };
    // One that cannot be is refused now.
    Server::of(&remembered, options)?;
    Ok(remembered)
}

/// A context as it is told: without its token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    is_current: bool,
}

fn shown(contexts: &Contexts) -> Vec<Shown> {
    let current = contexts.current.as_deref().unwrap_or(LOCAL);
    let local =
        Shown { name: LOCAL.to_owned(), server: None, project: None, is_current: current == LOCAL };
    let others = contexts.contexts.iter().map(|(name, context)| Shown {
        name: name.clone(),
        server: Some(context.server.clone()),
        project: context.project.clone(),
        is_current: current == name,
    });
    std::iter::once(local).chain(others).collect()
}

fn table(all: &[Shown]) -> String {
    let mut table = Table::new(["NAME", "SERVER", "PROJECT", "IN USE"]);
    for each in all {
        table.row([
            each.name.clone(),
            each.server.clone().unwrap_or_else(|| "your own".to_owned()),
            each.project.clone().unwrap_or_default(),
            if each.is_current { "yes" } else { "" }.to_owned(),
        ]);
    }
    table.text()
}
