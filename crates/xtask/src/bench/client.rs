//! A client of the API over the server's socket, on one connection that is kept.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// A server that does not answer in so long never will.
const PATIENCE: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const TAR_BLOCK: usize = 512;

pub(crate) struct Client(BufReader<UnixStream>);

/// One that was made.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) session: String,
}

impl Client {
    pub(crate) fn connect(state: &Path) -> Result<Self> {
        let stream = UnixStream::connect(state.join("api.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::with_capacity(BUFFER_BYTES, stream)))
    }

    /// Whose disk is not kept; of the default size, or with so many MiB.
    pub(crate) fn create(&mut self, memory_mib: Option<u64>) -> Result<Sandbox> {
        let mut asked = json!({ "persistent": false, "timeout": 3_600_000 });
        if let Some(memory) = memory_mib {
            asked["resources"] = json!({ "vcpus": 1, "memory": memory });
        }
        self.send("/v3/sandboxes", "application/json", asked.to_string().as_bytes())?;
        let created: Value = serde_json::from_slice(&self.answer()?)?;
        let session = created["session"]["id"].as_str().context("it has a session")?;
        Ok(Sandbox { session: session.to_owned() })
    }

    /// Runs a command to its end.
    pub(crate) fn run(&mut self, sandbox: &Sandbox, words: &[&str]) -> Result<()> {
        self.start(sandbox, words)?;
        let answer = self.answer()?;
        let is_good = String::from_utf8_lossy(&answer).contains("\"exitCode\":0");
        ensure!(is_good, "{words:?} failed: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }

    /// Runs a command to its end, and counts the bytes of all that the server answers.
    pub(crate) fn count_output(&mut self, sandbox: &Sandbox, words: &[&str]) -> Result<usize> {
        self.start(sandbox, words)?;
        self.count_answer()
    }

    fn start(&mut self, sandbox: &Sandbox, words: &[&str]) -> Result<()> {
        let (program, arguments) = words.split_first().context("a command has a program")?;
        let command = json!({ "command": program, "args": arguments, "wait": true, "logs": true });
        self.send(&path(sandbox, "cmd"), "application/json", command.to_string().as_bytes())
    }

    /// From the request for a sandbox to the result of its first command.
    pub(crate) fn first_result(&mut self, memory_mib: Option<u64>) -> Result<(Sandbox, Duration)> {
        let began = Instant::now();
        let sandbox = self.create(memory_mib)?;
        self.run(&sandbox, &["true"])?;
        Ok((sandbox, began.elapsed()))
    }

    pub(crate) fn stop(&mut self, sandbox: &Sandbox) -> Result<()> {
        self.send(&path(sandbox, "stop"), "application/json", b"{}")?;
        self.answer().map(drop)
    }

    /// Writes a file of so many bytes below the sandbox's folder.
    pub(crate) fn upload(&mut self, sandbox: &Sandbox, name: &str, bytes: usize) -> Result<()> {
        let padded = bytes.next_multiple_of(TAR_BLOCK);
        let (head, end) = (tar_head(name, bytes), 2 * TAR_BLOCK);
        let length = head.len() + padded + end;
        let request = self::head(&path(sandbox, "fs/write"), "application/x-tar", length);
        self.0.get_mut().write_all(request.as_bytes())?;
        self.0.get_mut().write_all(&head)?;
        let (piece, mut left) = (vec![b'x'; BUFFER_BYTES], bytes);
        while 0 < left {
            let now = left.min(piece.len());
            self.0.get_mut().write_all(&piece[..now])?;
            left -= now;
        }
        self.0.get_mut().write_all(&vec![0; padded - bytes + end])?;
        self.answer().map(drop)
    }

    /// Reads a file, and counts its bytes.
    pub(crate) fn download(&mut self, sandbox: &Sandbox, name: &str) -> Result<usize> {
        let asked = json!({ "path": name }).to_string();
        self.send(&path(sandbox, "fs/read"), "application/json", asked.as_bytes())?;
        self.count_answer()
    }

    /// Posts a request, and gives the answer.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.send(path, "application/json", body.to_string().as_bytes())?;
        Ok(serde_json::from_slice(&self.answer()?)?)
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Value> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.0.get_mut().write_all(head.as_bytes())?;
        Ok(serde_json::from_slice(&self.answer()?)?)
    }

    fn send(&mut self, path: &str, content: &str, body: &[u8]) -> Result<()> {
        // At once: a server that has no use for a body may answer, and close, before it comes.
        let mut request = head(path, content, body.len()).into_bytes();
        request.extend_from_slice(body);
        Ok(self.0.get_mut().write_all(&request)?)
    }

    fn answer(&mut self) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        let status = self.receive(|piece| {
            let room = ANSWER_BYTES_MAX.saturating_sub(answer.len());
            answer.extend_from_slice(&piece[..piece.len().min(room)]);
        })?;
        ensure!(
            [200, 201].contains(&status),
            "the server answered {status}: {}",
            String::from_utf8_lossy(&answer)
        );
        ensure!(answer.len() < ANSWER_BYTES_MAX, "the answer has no end");
        Ok(answer)
    }

    fn count_answer(&mut self) -> Result<usize> {
        let mut count = 0;
        let status = self.receive(|piece| count += piece.len())?;
        ensure!(status == 200, "the server answered {status}");
        Ok(count)
    }

    /// Hands over the body of an answer, and gives its status.
    fn receive(&mut self, mut take: impl FnMut(&[u8])) -> Result<u16> {
        let head = self.line()?;
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.with_context(|| format!("no answer: {head:?}"))?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = Some(text.parse()?);
            }
        }
        if let Some(length) = length {
            self.take(length, &mut take)?;
            return Ok(status);
        }
        loop {
            let length = usize::from_str_radix(&self.line()?, 16)?;
            self.take(length, &mut take)?;
            self.line()?;
            if length == 0 {
                return Ok(status);
            }
        }
    }

    fn take(&mut self, mut length: usize, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while 0 < length {
            let piece = self.0.fill_buf()?;
            let now = piece.len().min(length);
            if now == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            take(&piece[..now]);
            self.0.consume(now);
            length -= now;
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        (&mut self.0).take(ANSWER_BYTES_MAX as u64).read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").context("the server closed")?;
        Ok(line.to_owned())
    }
}

fn head(path: &str, content: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content}\r\n\
         content-length: {length}\r\n\r\n"
    )
}

fn path(sandbox: &Sandbox, what: &str) -> String {
    format!("/v2/sandboxes/sessions/{}/{what}", sandbox.session)
}

/// What stands before a file in a tar stream.
fn tar_head(name: &str, bytes: usize) -> Vec<u8> {
    let mut head = vec![0; TAR_BLOCK];
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(124, &format!("{bytes:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = head.iter().copied().map(u32::from).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client makes of an answer, and of what follows it.
    fn received(answer: &str) -> (Result<Vec<u8>>, String) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answer.as_bytes()).unwrap();
        drop(theirs);
        let mut client = Client(BufReader::new(ours));
        let answer = client.answer();
        let mut rest = String::new();
        client.0.read_to_string(&mut rest).unwrap();
        (answer, rest)
    }

    #[test]
    fn an_answer_ends_where_it_says() {
        let (answer, rest) = received("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcd");
        assert_eq!((answer.unwrap(), rest.as_str()), (b"ab".to_vec(), "cd"));
        let chunks = "HTTP/1.1 200 OK\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\nnext";
        let (answer, rest) = received(chunks);
        assert_eq!((answer.unwrap(), rest.as_str()), (b"abcd".to_vec(), "next"));
        assert!(received("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").0.is_err());
        assert!(received("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").0.is_err());
        assert!(received("").0.is_err());
    }

    #[test]
    fn tar_reads_what_is_uploaded() {
        let mut archive = tar_head("name", 3);
        archive.extend(b"abc");
        archive.resize(4 * TAR_BLOCK, 0);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.tar"), archive).unwrap();
        let status = std::process::Command::new("tar")
            .args(["-xf", "x.tar"])
            .current_dir(folder.path())
            .status();
        assert!(status.unwrap().success());
        assert_eq!(std::fs::read(folder.path().join("name")).unwrap(), b"abc");
    }
}
