//! `fumehood token …`.

use std::time::Duration;

use api::{CreateToken, TokenScope};
use futures_util::future::join_all;

use super::ls::{json, now_ms};
use super::stop::told;
use super::{Context, worst};
use crate::cli::{Scope, Token, TokenCreate};
use crate::failure::{Exit, Failure};
use crate::server::Server;
use crate::table::Table;
use crate::{duration, say};

pub(crate) async fn run(args: Token, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    match args {
        Token::Create(args) => create(&args, &server).await?,
        Token::Ls { json: true } => {
            say::out(&format!("{}\n", json(&server.client().tokens().await?.tokens)?))?;
        }
        Token::Ls { json: false } => {
            say::out(&table(&server.client().tokens().await?.tokens, now_ms()))?;
        }
        Token::Revoke { ids } => {
            let each = ids.iter().map(async |id| {
                let revoked = server.client().revoke_token(id).await;
                told(id, revoked.map(drop).map_err(Failure::from))
            });
            return Ok(worst(join_all(each).await));
        }
        Token::RotateKey => {
            let revoked = server.client().rotate_token_key().await?.tokens.len();
            say::note(&format!("another key from now on; tokens revoked: {revoked}"));
        }
    }
    Ok(Exit::Command(0))
}

async fn create(args: &TokenCreate, server: &Server) -> Result<(), Failure> {
    let asked = CreateToken {
        expires_in: args.expires.map(duration::millis),
        scope: match args.scope {
            Scope::Full => TokenScope::Full,
            Scope::Read => TokenScope::Read,
        },
        ..CreateToken::default()
    };
    let made = server.client().create_token(&asked).await?;
    match args.json {
        true => say::out(&format!("{}\n", json(&made)?)),
        false => say::out(&format!("{}\n", made.value.expose())),
    }
}

fn table(tokens: &[api::Token], now_ms: u64) -> String {
    let mut table = Table::new(["ID", "PROJECT", "SCOPE", "AGE", "ENDS IN"]);
    let span = |ms: u64| duration::short(Duration::from_millis(ms));
    for token in tokens {
        table.row([
            token.id.clone(),
            token.project_id.clone(),
            token.scope.as_str().to_owned(),
            span(now_ms.saturating_sub(token.created_at)),
            match token.expires_at {
                None => String::new(),
                Some(at) if at <= now_ms => "ended".to_owned(),
                Some(at) => span(at - now_ms),
            },
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_when_it_ends() {
        let token = |id: &str, expires_at| api::Token {
            id: id.to_owned(),
            project_id: "web".to_owned(),
            scope: TokenScope::Read,
            created_at: 1000,
            expires_at,
        };
        let all = [token("tok_a", None), token("tok_b", Some(91_000)), token("tok_c", Some(2000))];
        assert_eq!(
            table(&all, 31_000),
            "ID     PROJECT  SCOPE  AGE  ENDS IN\n\
             tok_a  web      read   30s\n\
             tok_b  web      read   30s  1m00s\n\
             tok_c  web      read   30s  ended\n"
        );
    }
}
