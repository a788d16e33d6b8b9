//! A registry of one image that answers as it is told, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::oci::digest::Digest;

/// A request: its first line and its headers, in lowercase.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(super) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// The first byte that a range asks for.
    pub(super) fn from(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
    }
}

/// What goes back.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// So many bytes of the body are sent, and then the connection closed.
    pub(super) cut: Option<usize>,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn cut(self, at: usize) -> Self {
        Self { cut: Some(at), ..self }
    }
}

/// Runs until the test ends.
pub(super) struct Fake {
    pub(super) place: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// What `special` does not answer is answered from the image.
    pub(super) fn start(
        image: &Image,
        special: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, image) = (Arc::clone(&asked), image.clone());
        let answer = move |asked: &Asked| {
            seen.lock().unwrap().push(asked.clone());
            special(asked).unwrap_or_else(|| image.answer(asked))
        };
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, stream) = (Arc::clone(&answer), stream.unwrap());
                thread::spawn(move || serve(&stream, &*answer));
            }
        });
        Self { place, asked }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// First lines, without method and version.
    pub(super) fn paths(&self) -> Vec<String> {
        self.asked().iter().map(|asked| asked.path().to_owned()).collect()
    }
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Asked) -> Answer) {
    // A client that speaks TLS is turned away by what it does not understand.
    match read(stream) {
        Some(asked) => write(stream, &answer(&asked)),
        None => refuse(stream),
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).ok()?;
        let line = String::from_utf8(line).ok()?;
        match line.trim_end() {
            "" if lines.is_empty() => return None,
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: BTreeMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { line: lines[0].clone(), headers, body: String::from_utf8(body).ok()? })
}

fn refuse(mut stream: &TcpStream) {
    drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nnot TLS"));
}

fn write(mut stream: &TcpStream, answer: &Answer) {
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", answer.body.len()));
    let body = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
    // Who has heard enough goes away.
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
}

/// An image of two layers that are none: nobody unpacks them here.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) manifest: Vec<u8>,
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    pub(super) layers: Vec<Digest>,
}

impl Image {
    pub(super) fn new() -> Self {
        let config = br#"{"architecture":"amd64","os":"linux"}"#.to_vec();
        let layers = [vec![1; 300_000], vec![2; 70_000]];
        let entry = |kind: &str, bytes: &[u8]| {
            let (digest, size) = (Digest::of(bytes), bytes.len());
            let kind = format!("application/vnd.oci.image.{kind}");
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#,
            entry("config.v1+json", &config),
            entry("layer.v1.tar", &layers[0]),
            entry("layer.v1.tar", &layers[1])
        );
        let digests = layers.iter().map(|bytes| Digest::of(bytes)).collect();
        let all = layers.into_iter().chain([config]);
        let blobs = all.map(|bytes| (Digest::of(&bytes).to_string(), bytes)).collect();
        Self { manifest: manifest.into_bytes(), blobs, layers: digests }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub(super) fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path();
        if path.starts_with("/v2/app/manifests/") {
            return Answer::new(200, self.manifest.clone());
        }
        let blob = path.strip_prefix("/v2/app/blobs/").and_then(|digest| self.blobs.get(digest));
        match (blob, asked.from()) {
            (None, _) => Answer::new(404, ""),
            (Some(blob), 0) => Answer::new(200, blob.clone()),
            (Some(blob), from) => Answer::new(206, &blob[from..])
                .with("content-range", &format!("bytes {from}-{}/{}", blob.len() - 1, blob.len())),
        }
    }
}
