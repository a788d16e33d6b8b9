//! Tables, and how an older file is brought up to date.

use rusqlite::{Connection, Transaction, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{Change, DriveChange, EgressChange, StoreError, Stored};

/// Each step brings the schema from its index to the next version.
pub(super) const STEPS: [&str; 6] = [
    "
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
",
    "
    CREATE TABLE secrets (
        project TEXT NOT NULL,
        name TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (project, name)
    ) WITHOUT ROWID;
    CREATE TABLE authorities (lineage TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE networks (
        sandbox TEXT PRIMARY KEY REFERENCES sandboxes (name) ON DELETE CASCADE,
        lineage TEXT NOT NULL REFERENCES authorities (lineage),
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX networks_by_lineage ON networks (lineage);
    -- Policies were stored as they were asked for, with what secrets they held, and never used.
    UPDATE sandboxes SET record = json_remove(record, '$.network_policy');
",
    "
    PRAGMA defer_foreign_keys = ON;
    ALTER TABLE sandboxes RENAME COLUMN name TO key;
    UPDATE sandboxes SET key = json_extract(record, '$.project') || '/' || key;
    UPDATE sessions SET sandbox = (
        SELECT key FROM sandboxes
        WHERE json_extract(sandboxes.record, '$.name') = sessions.sandbox
    );
    UPDATE sessions SET record = json_set(record, '$.sandbox', sandbox);
    UPDATE networks SET sandbox = (
        SELECT key FROM sandboxes
        WHERE json_extract(sandboxes.record, '$.name') = networks.sandbox
    );
    UPDATE networks SET record = json_set(record, '$.sandbox', sandbox);
",
    "CREATE TABLE tokens (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;",
    "
    CREATE TABLE drives (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE attachments (
        session TEXT NOT NULL,
        path TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (session, path)
    ) WITHOUT ROWID;
",
    "
    CREATE TABLE snapshots (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
",
];

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
        tokens: records(connection, "SELECT record FROM tokens")?,
        drives: records(connection, "SELECT record FROM drives")?,
        attachments: records(connection, "SELECT record FROM attachments")?,
        snapshots: records(connection, "SELECT record FROM snapshots")?,
        secrets: records(connection, "SELECT record FROM secrets")?,
        authorities: records(connection, "SELECT record FROM authorities")?,
        networks: records(connection, "SELECT record FROM networks")?,
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
        Change::Egress(change) => return apply_egress(transaction, change),
        Change::Drive(change) => return apply_drive(transaction, change),
        Change::Sandbox(record) => transaction
            .prepare_cached(
                "INSERT INTO sandboxes (key, record) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.key().to_string(), json(record)?])?,
        Change::Session(record) => transaction
            .prepare_cached(
                "INSERT INTO sessions (id, sandbox, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.id.as_str(), record.sandbox.to_string(), json(record)?])?,
        Change::Command(record) => transaction
            .prepare_cached(
                "INSERT INTO commands (id, session, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.id.as_str(), record.session.as_str(), json(record)?])?,
        Change::Token(record) => transaction
            .prepare_cached("INSERT INTO tokens (id, record) VALUES (?1, ?2)")?
            .execute(params![record.id.as_str(), json(record)?])?,
        Change::RemoveToken(id) => transaction
            .prepare_cached("DELETE FROM tokens WHERE id = ?1")?
            .execute(params![id.as_str()])?,
        Change::Snapshot(record) => transaction
            .prepare_cached(
                "INSERT INTO snapshots (id, record) VALUES (?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.id.as_str(), json(record)?])?,
        Change::ForgetSession(id) => transaction
            .prepare_cached("DELETE FROM sessions WHERE id = ?1")?
            .execute(params![id.as_str()])?,
        Change::ForgetSnapshot(id) => transaction
            .prepare_cached("DELETE FROM snapshots WHERE id = ?1")?
            .execute(params![id.as_str()])?,
        Change::RemoveCommand(id) => transaction
            .prepare_cached("DELETE FROM commands WHERE id = ?1")?
            .execute(params![id.as_str()])?,
        Change::RemoveSandbox(key) => {
            transaction
                .prepare_cached("DELETE FROM sandboxes WHERE key = ?1")?
                .execute(params![key.to_string()])?;
            transaction
                .prepare_cached(
                    "DELETE FROM authorities WHERE NOT EXISTS
                     (SELECT 1 FROM networks WHERE networks.lineage = authorities.lineage)",
                )?
                .execute([])?
        }
    };
    Ok(())
}

fn apply_egress(transaction: &Transaction<'_>, change: &EgressChange) -> Result<(), StoreError> {
    match change {
        EgressChange::Authority(record) => transaction
            .prepare_cached(
                "INSERT INTO authorities (lineage, record) VALUES (?1, ?2)
                 ON CONFLICT (lineage) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.lineage.as_str(), json(record)?])?,
        EgressChange::Network(record) => transaction
            .prepare_cached(
                "INSERT INTO networks (sandbox, lineage, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT (sandbox) DO UPDATE
                 SET lineage = excluded.lineage, record = excluded.record",
            )?
            .execute(params![record.sandbox.to_string(), record.lineage.as_str(), json(record)?])?,
        EgressChange::Secret(record) => transaction
            .prepare_cached(
                "INSERT INTO secrets (project, name, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT (project, name) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.project.as_str(), record.name.as_str(), json(record)?])?,
        EgressChange::RemoveSecret { project, name } => transaction
            .prepare_cached("DELETE FROM secrets WHERE project = ?1 AND name = ?2")?
            .execute(params![project.as_str(), name.as_str()])?,
    };
    Ok(())
}

fn apply_drive(transaction: &Transaction<'_>, change: &DriveChange) -> Result<(), StoreError> {
    match change {
        DriveChange::Drive(record) => transaction
            .prepare_cached(
                "INSERT INTO drives (id, record) VALUES (?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.id.as_str(), json(record)?])?,
        DriveChange::RemoveDrive(id) => transaction
            .prepare_cached("DELETE FROM drives WHERE id = ?1")?
            .execute(params![id.as_str()])?,
        DriveChange::Attachment(record) => transaction
            .prepare_cached(
                "INSERT INTO attachments (session, path, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT (session, path) DO UPDATE SET record = excluded.record",
            )?
            .execute(params![record.session.as_str(), record.path, json(record)?])?,
        DriveChange::RemoveAttachment(record) => transaction
            .prepare_cached("DELETE FROM attachments WHERE session = ?1 AND path = ?2")?
            .execute(params![record.session.as_str(), record.path])?,
    };
    Ok(())
}

fn json<T: Serialize>(record: &T) -> Result<String, StoreError> {
    Ok(serde_json::to_string(record)?)
}
