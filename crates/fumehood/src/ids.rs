//! Names and ids that the command line makes up, so that it can ask for them again.

use crate::failure::{Exit, Failure};

/// A name for a sandbox that nobody named.
pub(crate) fn sandbox_name() -> Result<String, Failure> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    Ok(format!("run-{}", random::<10>()?.iter().map(letter).collect::<String>()))
}

/// An id for a command.
pub(crate) fn command_id() -> Result<String, Failure> {
    let digits = random::<14>()?.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(format!("cmd_{digits}"))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|fault| Failure::new(Exit::Internal, format!("no random numbers: {fault}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_the_form_the_server_takes() {
        let name = sandbox_name().unwrap();
        assert_eq!(name.len(), 14);
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
        let id = command_id().unwrap();
        let digits = id.strip_prefix("cmd_").unwrap();
        assert!(digits.len() == 28 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_ne!(id, command_id().unwrap());
    }
}
