//! Tokens of projects: made, listed, revoked, and checked with every request that brings one.
//!
//! A token is let in while its record is here and its signature is of the key that is here: what is
//! revoked has no record, and another key lets in nobody.

mod jwt;

pub(crate) use jwt::OWNER;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use api::TokenScope;

use crate::{
    clock,
    ids::{Project, TokenId},
    key_file::{self, Key, KeyFileError},
    limits,
    store::{Change, Store, StoreError, TokenRecord},
};

/// Why a token is not made, or the key not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("{} tokens are made already; revoke some", limits::TOKENS_MAX)]
    TooMany,
    #[error("the token could not be recorded")]
    Store(#[from] StoreError),
    #[error("the token could not be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("A bearer token is needed; this one is not of this server.")]
    NotOurs,
    #[error("The token has been revoked.")]
    Revoked,
    #[error("The token has expired.")]
    Expired,
}

/// All tokens of one server.
pub(crate) struct Tokens {
    path: PathBuf,
    store: Store,
    known: Mutex<Known>,
    /// Held while one is changed, so that store and memory say the same.
    changing: tokio::sync::Mutex<()>,
}

struct Known {
    key: Key,
    records: BTreeMap<TokenId, TokenRecord>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

impl Tokens {
    /// With the key in this file, which is made if it is not there.
    pub(crate) fn load(
        path: PathBuf,
        store: Store,
        records: Vec<TokenRecord>,
    ) -> Result<Self, KeyFileError> {
        let key = key_file::load_or_make(&path)?;
        let records = records.into_iter().map(|record| (record.id.clone(), record)).collect();
        let known = Mutex::new(Known { key, records });
        Ok(Self { path, store, known, changing: tokio::sync::Mutex::default() })
    }

    /// Makes a token; its text is given this once and kept nowhere.
    pub(crate) async fn create(
        &self,
        project: Project,
        scope: TokenScope,
        expires_in_ms: Option<u64>,
    ) -> Result<(TokenRecord, String), TokenError> {
        let _one_at_a_time = self.changing.lock().await;
        let now = clock::now_ms();
        let record = TokenRecord {
            id: TokenId::random(),
            project,
            scope,
            created_at: now,
            expires_at: expires_in_ms.map(|ms| now.saturating_add(ms)),
        };
        let (text, over) = {
            let known = self.known();
            let over: Vec<TokenId> = known
                .records
                .values()
                .filter(|record| record.is_over(now))
                .map(|record| record.id.clone())
                .collect();
            if limits::TOKENS_MAX + over.len() <= known.records.len() {
                return Err(TokenError::TooMany);
            }
            (jwt::sign(&known.key, &record)?, over)
        };
        // Those that have ended go when the next one comes, so that they can be seen till then.
        let mut changes: Vec<_> = over.iter().cloned().map(Change::RemoveToken).collect();
        changes.push(Change::Token(record.clone()));
        self.store.commit(changes).await?;
        let mut known = self.known();
        known.records.retain(|id, _| !over.contains(id));
        known.records.insert(record.id.clone(), record.clone());
        Ok((record, text))
    }

    /// Those that are not revoked, the oldest first.
    pub(crate) fn list(&self) -> Vec<TokenRecord> {
        let mut all: Vec<_> = self.known().records.values().cloned().collect();
        all.sort_by_key(|record| record.created_at);
        all
    }

    /// Nothing is let in with it any more when this returns; none if there is no such token.
    pub(crate) async fn revoke(&self, id: &str) -> Result<Option<TokenRecord>, StoreError> {
        let _one_at_a_time = self.changing.lock().await;
        let id = self.known().records.keys().find(|known| known.as_str() == id).cloned();
        let Some(id) = id else { return Ok(None) };
        self.store.commit(vec![Change::RemoveToken(id.clone())]).await?;
        Ok(self.known().records.remove(&id))
    }

    /// Signs with another key from now on: nothing that was signed before lets anybody in.
    pub(crate) async fn rotate_key(&self) -> Result<Vec<TokenRecord>, TokenError> {
        let _one_at_a_time = self.changing.lock().await;
        let key = key_file::replace(&self.path)?;
        let before = {
            let mut known = self.known();
            known.key = key;
            std::mem::take(&mut known.records)
        };
        // Should we die before this is done, they are in the list and let nobody in.
        let changes = before.keys().cloned().map(Change::RemoveToken).collect();
        self.store.commit(changes).await?;
        Ok(before.into_values().collect())
    }

    /// Whom a token lets in, and to what.
    pub(crate) fn check(&self, text: &str) -> Result<(Project, TokenScope), Refused> {
        let known = self.known();
        let id = jwt::id(&known.key, text).map_err(|jwt::NotOurs| Refused::NotOurs)?;
        let record = known.records.get(id.as_str()).ok_or(Refused::Revoked)?;
        if record.is_over(clock::now_ms()) {
            return Err(Refused::Expired);
        }
        Ok((record.project.clone(), record.scope))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenRecord {
    fn is_over(&self, now_ms: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now_ms)
    }
}

#[cfg(test)]
mod tests;
