//! What a client of the API sees, over the server's socket and one connection.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// A server that does not answer in so long never will.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 1 << 20;

pub(super) struct Api(UnixStream);

impl Api {
    pub(super) fn connect(state: &Path) -> Result<Self> {
        let stream = UnixStream::connect(state.join("api.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// From the request for a sandbox to the result of its first command.
    pub(super) fn first_result(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let created = self.post("/v3/sandboxes", &json!({ "persistent": false }))?;
        let session = created["session"]["id"].as_str().context("it has a session")?.to_owned();
        let command = json!({ "command": "true", "args": [], "wait": true, "logs": true });
        let path = format!("/v2/sandboxes/sessions/{session}/cmd");
        self.send(&path, &command)?;
        let answer = self.read_until(|text| text.ends_with("0\r\n\r\n"))?;
        let took = began.elapsed();
        ensure!(answer.contains("\"exitCode\":0"), "the command failed: {answer}");
        self.send(&format!("/v2/sandboxes/sessions/{session}/stop"), &json!({}))?;
        self.read_until(is_whole)?;
        Ok(took)
    }

    fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.send(path, body)?;
        let answer = self.read_until(is_whole)?;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("no answer") };
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        Ok(serde_json::from_str(body)?)
    }

    fn send(&mut self, path: &str, body: &Value) -> Result<()> {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        Ok(self.0.write_all((head + &body).as_bytes())?)
    }

    fn read_until(&mut self, is_enough: impl Fn(&str) -> bool) -> Result<String> {
        let (mut answer, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let count = self.0.read(&mut buffer)?;
            ensure!(count != 0, "the server closed: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
            ensure!(answer.len() < ANSWER_BYTES_MAX, "the answer has no end");
            match std::str::from_utf8(&answer) {
                Ok(text) if is_enough(text) => return Ok(text.to_owned()),
                _ => {}
            }
        }
    }
}

/// Whether an answer of a known length is all there.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()) == Some(body.len())
}
