//! Tables, and how an older file is brought up to date.

use rusqlite::{Connection, Transaction, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{Change, StoreError, Stored};

/// Each step brings the schema from its index to the next version.
const STEPS: [&str; 1] = ["
    CREATE TABLE sandboxes (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        sandbox TEXT NOT NULL REFERENCES sandboxes (name) ON DELETE CASCADE,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX sessions_by_sandbox ON sessions (sandbox);
    CREATE TABLE commands (
        id TEXT PRIMARY KEY,
        session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX commands_by_session ON commands (session);
"];

pub(super) fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    if known < found {
        return Err(StoreError::TooNew { found, known });
    }
    for (version, step) in (1..=known).zip(STEPS).skip(usize::try_from(found).unwrap_or(0)) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

pub(super) fn read(connection: &Connection) -> Result<Stored, StoreError> {
    Ok(Stored {
        sandboxes: records(connection, "SELECT record FROM sandboxes")?,
        sessions: records(connection, "SELECT record FROM sessions")?,
        commands: records(connection, "SELECT record FROM commands")?,
    })
}

fn records<T: DeserializeOwned>(connection: &Connection, sql: &str) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records
            .push(serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
    }
    Ok(records)
}

pub(super) fn write(connection: &mut Connection, changes: &[Change]) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    for change in changes {
        apply(&transaction, change)?;
    }
    Ok(transaction.commit()?)
}

fn apply(transaction: &Transaction<'_>, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Sandbox(record) => transaction
            .prepare_cached(
                "INSERT INTO sandboxes (name, record) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.name.as_str(), json(record)?])?,
        Change::Session(record) => transaction
            .prepare_cached(
                "INSERT INTO sessions (id, sandbox, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.id.as_str(), record.sandbox.as_str(), json(record)?])?,
        Change::Command(record) => transaction
            .prepare_cached(
                "INSERT INTO commands (id, session, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.id.as_str(), record.session.as_str(), json(record)?])?,
        Change::RemoveCommand(id) => transaction
            .prepare_cached("DELETE FROM commands WHERE id = ?1")?
            .execute(params![id.as_str()])?,
        Change::RemoveSandbox(name) => transaction
            .prepare_cached("DELETE FROM sandboxes WHERE name = ?1")?
            .execute(params![name.as_str()])?,
    };
    Ok(())
}

fn json<T: Serialize>(record: &T) -> Result<String, StoreError> {
    Ok(serde_json::to_string(record)?)
}
