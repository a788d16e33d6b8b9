//! Finding a machine again after the server that started it is gone.

use super::{launch::Connected, record::Record, *};
use crate::{SocketFolder, strays};

/// What looking for a recorded machine showed.
#[derive(Debug)]
pub enum Adoption {
    Adopted(Box<Machine>),
    /// No such process any more (or never, or the host was restarted).
    Gone,
}

#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("the machine's record cannot be read")]
    Record(#[source] io::Error),
    #[error("the machine's process {pid} runs but its control socket does not answer")]
    Control { pid: u32, source: ControlError },
}

impl Machine {
    /// Finds the machine that is recorded in `folder`.
    pub async fn adopt(folder: &Path) -> Result<Adoption, AdoptError> {
        let Some(record) = Record::read(folder).map_err(AdoptError::Record)? else {
            return Ok(Adoption::Gone);
        };
        let folder = folder.canonicalize().map_err(AdoptError::Record)?;
        let Some(process) = find(&record, &folder).map_err(AdoptError::Record)? else {
            return Ok(Adoption::Gone);
        };
        let pid = process.pid();
        match connected(&record, folder, process).await {
            Ok(machine) => Ok(Adoption::Adopted(Box::new(machine))),
            Err(source) => Err(AdoptError::Control { pid, source }),
        }
    }
}

/// The recorded process; or, when the server was killed between starting it and writing that down,
/// the one that was started as this machine.
fn find(record: &Record, folder: &Path) -> io::Result<Option<Process>> {
    let process = match record.process {
        Some(process) => Process::find(process.pid, process.start_time)?,
        None => {
            let mut found = strays(folder).into_iter();
            match found.find(|stray| stray.id == Some(record.id) && stray.folder == folder) {
                Some(stray) => Process::find(stray.pid, stray.start_time())?,
                None => None,
            }
        }
    };
    Ok(process.filter(|process| record.is_of(process.pid(), folder)))
}

async fn connected(
    record: &Record,
    folder: PathBuf,
    process: Process,
) -> Result<Machine, ControlError> {
    let sockets = SocketFolder::open(&folder)?;
    let Connected { qmp, console, events } = launch::connect(&sockets, &process, &folder).await?;
    let machine = Machine {
        id: record.id,
        folder,
        sockets,
        process,
        qmp,
        console,
        events,
        arguments: Vec::new(),
        started: Instant::now(),
    };
    // What the guest said while nobody listened.
    machine.fetch_console().await?;
    Ok(machine)
}
