//! What a registry says is wrong: its codes, and nothing of its words, which could repeat a
//! credential to whoever reads our messages.

use serde::Deserialize;

use crate::registry::settings::Patience;
use crate::registry::transport::Reply;

const BODY_BYTES_MAX: u64 = 64 << 10;
const CODES_MAX: usize = 4;
const CODE_BYTES_MAX: usize = 40;

#[derive(Deserialize)]
struct Body {
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: String,
}

/// The codes in the body, such as `MANIFEST_UNKNOWN`; empty where there are none.
pub(super) async fn codes(reply: Reply, patience: Patience) -> String {
    match reply.whole("an error", (BODY_BYTES_MAX, patience)).await {
        Ok(body) => codes_in(&body),
        Err(_) => String::new(),
    }
}

fn codes_in(body: &[u8]) -> String {
    let Ok(Body { errors }) = serde_json::from_slice(body) else { return String::new() };
    let is_code = |code: &String| {
        code.len() <= CODE_BYTES_MAX
            && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let codes = errors.into_iter().map(|fault| fault.code).filter(is_code);
    codes.take(CODES_MAX).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_are_taken() {
        let table = [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"m","detail":{}}]}"#,
                "MANIFEST_UNKNOWN",
            ),
            (r#"{"errors":[{"code":"A"},{"code":"B"}]}"#, "A, B"),
            (r#"{"errors":[{"code":"Basic dTpw"}]}"#, ""),
            (r#"{"errors":[{"code":"A\u001b[1m"}]}"#, ""),
            (r#"{"errors":[]}"#, ""),
            ("<html>", ""),
            ("", ""),
        ];
        for (body, expected) in table {
            assert_eq!(codes_in(body.as_bytes()), expected, "{body}");
        }
    }
}
