//! Programs in a sandbox, reached from outside: what they say arrives, and nobody else answers.

pub(crate) mod visitor;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
    time::Duration,
};

use serde_json::Value;

use self::visitor::{curl, rss_kib, visit};
use crate::hood::{Hood, wait_until};

const SERVER: &str = include_str!("ports/server.mjs");

/// A sandbox in which the server runs, with these options more.
fn served(hood: &Hood, options: &[&str]) -> String {
    let ports = ["-p", "3000", "-p", "3001", "-p", "3002", "-p", "3003", "--timeout", "20m"];
    let name = hood.create(&[&ports, options].concat());
    start(hood, &name);
    name
}

fn start(hood: &Hood, name: &str) {
    let ran = hood.run_with_input(
        &["exec", "-i", name, "--", "sh", "-c", "cat > server.mjs"],
        SERVER.as_bytes(),
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let command = hood.ok(&["exec", "-d", name, "--", "node", "server.mjs"]);
    wait_until("it listens", || hood.ok(&["logs", name, &command]).contains("listening"));
}

fn url(hood: &Hood, name: &str, port: u16) -> String {
    hood.ok(&["url", name, &port.to_string()])
}

/// What a header was when the guest saw it.
fn seen<'a>(reply: &'a Value, name: &str) -> Vec<&'a str> {
    let all = reply["headers"].as_array().unwrap();
    let pairs = all.chunks(2).filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    pairs.map(|pair| pair[1].as_str().unwrap()).collect()
}

#[test]
fn a_program_is_reached_by_its_url_and_by_nothing_else() {
    let hood = Hood::new();
    let name = hood.create(&["-p", "3000", "-p", "3001", "-p", "3002", "-p", "3003"]);
    let url = url(&hood, &name, 3000);
    let (authority, port) = visitor::parts(&url);
    assert!(authority.starts_with("sb-") && authority.contains(".localhost:"), "{url}");
    assert!(hood.ok(&["ports", &name]).contains(&url));

    // Nobody listens yet: a word about it, for programs and for people.
    let reply = visit(&[&url]);
    assert_eq!((reply.status, reply.code().as_str()), (502, "SANDBOX_NOT_LISTENING"), "{reply:?}");
    let reply = visit(&["-H", "accept: text/html", &url]);
    assert!(reply.status == 502 && reply.body.starts_with("<!doctype html>"), "{reply:?}");
    start(&hood, &name);

    let claims = ["-H", "x-forwarded-for: 1.2.3.4", "-H", "forwarded: for=1.2.3.4"];
    let reply = visit(&[&claims[..], &["-d", "x", &format!("{url}/a%2fb?c=d")]].concat());
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("alt-svc"), None);
    let guests = reply.json();
    assert_eq!((&guests["method"], &guests["url"]), (&"POST".into(), &"/a%2fb?c=d".into()));
    assert_eq!(seen(&guests, "host"), [authority]);
    assert_eq!(seen(&guests, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&guests, "x-forwarded-proto"), ["http"]);
    assert_eq!(
        seen(&guests, "forwarded"),
        [format!("for=127.0.0.1;host=\"{authority}\";proto=http")]
    );
    // What the clients of Vercel make of the subdomain leads to the same.
    let reply = visit(&[&format!("{url}/_.vercel.run/a?b")]);
    assert_eq!(reply.json()["url"], "/a?b");

    // Only the whole name is the port's; the API is not here, under whatever name.
    let here = format!("http://127.0.0.1:{port}/v2/sandboxes");
    let longer = format!("host: {authority}.evil.test");
    let prefix = format!("host: x{authority}");
    let other = authority.replace("sb-", "sb-0").replacen(".localhost", "", 1);
    let other = format!("host: {other}");
    for host in
        [&longer, &prefix, &other, &format!("host: localhost:{port}"), &"host: evil.test".into()]
    {
        let reply = visit(&["-H", host, &here]);
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "SANDBOX_NOT_FOUND"),
            "{host} {reply:?}"
        );
    }
    let reply = visit(&["-H", &format!("host: {authority}"), &here]);
    assert_eq!(reply.json()["url"], "/v2/sandboxes");

    // The name stays with the port, whatever becomes of the server.
    hood.kill_server();
    assert_eq!(self::url(&hood, &name, 3000), url);
    assert_eq!(visit(&[&url]).status, 200);

    // A sandbox that is kept goes on, once however many ask; the program is not there again by itself.
    hood.ok(&["stop", &name]);
    let replies: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| visit(&[&url]))).collect();
        asked.into_iter().map(|reply| reply.join().unwrap()).collect()
    });
    for reply in replies {
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (502, "SANDBOX_NOT_LISTENING"),
            "{reply:?}"
        );
    }
    assert_eq!(hood.machines().len(), 1);
    assert_eq!(hood.ok(&["exec", &name, "--", "ls", "server.mjs"]), "server.mjs");
    hood.ok(&["rm", "-f", &name]);
    assert_eq!(visit(&[&url]).status, 404);

    let name = hood.create(&["-p", "3000", "--no-persistent"]);
    let url = self::url(&hood, &name, 3000);
    hood.ok(&["stop", &name]);
    let reply = visit(&[&url]);
    assert_eq!((reply.status, reply.code().as_str()), (410, "SANDBOX_STOPPED"), "{reply:?}");
    hood.ok(&["rm", &name]);
    hood.assert_nothing_left();
}

/// Whatever a visitor does to the framing, the guest sees one request, or none.
#[test]
fn requests_are_not_smuggled() {
    let hood = Hood::new();
    let name = served(&hood, &[]);
    let url = url(&hood, &name, 3000);
    let (authority, port) = visitor::parts(&url);
    let say = |text: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(text.replace("HOST", authority).as_bytes()).unwrap();
        let mut heard = Vec::new();
        // It may reset what it does not like.
        stream.read_to_end(&mut heard).ok();
        String::from_utf8_lossy(&heard).into_owned()
    };
    let replies = |text: &str| say(text).matches("HTTP/1.1 ").count();
    let hidden = "GET /hidden HTTP/1.1\r\nHost: HOST\r\n\r\n";
    for (said, refusal) in [
        ("GET / HTTP/1.1\r\nHost: HOST\r\nHost: evil.test\r\nConnection: close\r\n\r\n", "400"),
        ("GET http://evil.test/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("CONNECT HOST HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", "400"),
        ("OPTIONS * HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : HOST\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked, x\r\n\r\n", "400"),
    ] {
        let heard = say(said);
        assert!(heard.starts_with(&format!("HTTP/1.1 {refusal}")), "{said:?}: {heard}");
    }
    // The two lengths differ: the whole is one request, or none.
    let both = format!(
        "POST /count HTTP/1.1\r\nHost: HOST\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n{hidden}",
        5 + hidden.len()
    );
    assert_eq!(replies(&both), 1, "{}", say(&both));
    assert!(!say(&both).contains("/hidden"));
    // No other protocol than WebSocket is changed to.
    let h2c = "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let heard = say(h2c);
    assert!(heard.starts_with("HTTP/1.1 200") && !heard.contains("h2c"), "{heard}");
    // A head without an end is not kept for ever.
    let long = format!("GET / HTTP/1.1\r\nHost: HOST\r\nX: {}\r\n\r\n", "x".repeat(200 << 10));
    let heard = say(&long);
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 431"), "{heard}");
}

#[test]
fn streams_arrive_as_they_are_sent() {
    let hood = Hood::new();
    let name = served(&hood, &[]);
    let url = url(&hood, &name, 3000);
    // The last event is sent once the first one has been seen.
    let mut events =
        curl(&["-N", &format!("{url}/events")]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("data: first"));
    assert_eq!(visit(&[&format!("{url}/release")]).status, 200);
    assert_eq!(lines.filter(|line| !line.is_empty()).collect::<Vec<_>>(), ["data: last"]);
    assert!(events.wait().unwrap().success());

    // Both ways at once, each as fast as the other end takes it.
    let text = "0123456789".repeat(400_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let upload = format!("@{}", file.path().display());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let reply = visit(&[version, "--data-binary", &upload, &format!("{url}/echo")]);
        assert!(reply.status == 200 && reply.body == text, "{version} {}", reply.status);
    }
    // A reply that is cut off does not look like one that has ended.
    let cut = curl(&[&format!("{url}/cut")]).output().unwrap();
    assert!(!cut.status.success(), "{cut:?}");
    let reply = visit(&[&self::url(&hood, &name, 3001)]);
    assert_eq!((reply.status, reply.code().as_str()), (502, "SANDBOX_BAD_REPLY"), "{reply:?}");

    // gRPC has no other way than HTTP/2, and says how it went behind the reply.
    let grpc =
        ["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-H", "te: trailers"];
    let output = curl(&[&grpc[..], &["-v", "-d", "ping", &self::url(&hood, &name, 3002)]].concat());
    let output = { output }.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ping", "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("grpc-status: 0"), "{output:?}");

    // WebSocket, with a client that others wrote.
    let socket = format!("{}/socket", url.replace("http://", "ws://"));
    assert_eq!(visitor::websocket(&socket, &["one", "two"]), ["one", "two"]);
}

/// Two hundred megabytes out and in, past a visitor that does not read: the server holds next to nothing.
#[test]
fn large_streams_cost_the_server_no_memory_and_a_slow_reader_nobody_time() {
    const OUT: u64 = 200 << 20;
    const IN: u64 = 32 << 20;
    let hood = Hood::new();
    let name = served(&hood, &[]);
    let url = url(&hood, &name, 3000);
    let (authority, port) = visitor::parts(&url);
    let server = hood.servers()[0];
    assert_eq!(visit(&[&url]).status, 200);
    let before = rss_kib(server);
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let asked = format!("GET /zeros?count=9999999999 HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(asked.as_bytes()).unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
        slow.push(stream);
    }
    let out =
        curl(&["-o", "/dev/null", "-w", "%{size_download}", &format!("{url}/zeros?count={OUT}")]);
    let out = { out }.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), OUT.to_string(), "{out:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(IN).unwrap();
    let upload = file.path().to_str().unwrap();
    let reply = visit(&["-T", upload, "-X", "POST", &format!("{url}/count")]);
    assert_eq!(reply.body, IN.to_string());
    let grown = rss_kib(server).saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} KiB");
}

#[test]
fn a_private_port_opens_with_a_pass() {
    let hood = Hood::new();
    let name = hood.create(&["-p", "3001", "--private-port", "3000", "-p", "3000"]);
    start(&hood, &name);
    let plain: Vec<Value> = serde_json::from_str(&hood.ok(&["ports", "--json", &name])).unwrap();
    let route = plain.iter().find(|route| route["port"] == 3000).unwrap();
    assert_eq!(route["private"], true);
    let plain = route["url"].as_str().unwrap();
    let shut = |args: &[&str]| {
        let reply = visit(args);
        (reply.status, reply.code()) == (401, "SANDBOX_PORT_PRIVATE".to_owned())
    };
    assert!(shut(&[plain]));
    let link = url(&hood, &name, 3000);
    let (base, pass) = link.split_once("/?fumehood_pass=").unwrap();
    assert_eq!(base, plain);

    // A program has it in a header; the guest never sees it.
    let header = format!("x-fumehood-pass: {pass}");
    let cookie = format!("cookie: a=1; fumehood_pass={pass}; b=2");
    for (args, path) in [
        (vec!["-H", &header, plain], "/"),
        (vec!["-H", &cookie, plain], "/"),
        (vec![&*format!("{plain}/x?a=1&fumehood_pass={pass}")], "/x?a=1"),
    ] {
        let reply = visit(&args);
        assert_eq!((reply.status, &reply.json()["url"]), (200, &path.into()), "{args:?} {reply:?}");
        assert!(!reply.body.contains(pass), "{reply:?}");
    }
    let guests = visit(&["-H", &cookie, plain]).json();
    assert_eq!(seen(&guests, "cookie"), ["a=1; b=2"]);

    // A browser is sent to the address without it, and keeps it.
    let jar = tempfile::NamedTempFile::new().unwrap();
    let jar = jar.path().to_str().unwrap();
    let browser = ["-L", "-H", "accept: text/html", "-c", jar, "-b", jar];
    let reply = visit(&[&browser[..], &[&link]].concat());
    assert_eq!((reply.status, &reply.json()["url"]), (200, &"/".into()), "{reply:?}");
    assert_eq!(visit(&["-b", jar, plain]).status, 200);

    // It is for this port, as it was made, and for a time.
    let other = url(&hood, &name, 3001);
    assert_eq!(visit(&["-H", &header, &other]).code(), "SANDBOX_BAD_REPLY");
    let mut changed = pass.to_owned();
    let last = if changed.pop() == Some('A') { 'B' } else { 'A' };
    changed.push(last);
    assert!(shut(&["-H", &format!("x-fumehood-pass: {changed}"), plain]));
    let short = hood.ok(&["url", "--expires", "1s", &name, "3000"]);
    wait_until("it is over", || shut(&[&short]));
}

#[test]
fn a_port_is_forwarded_as_it_is() {
    let hood = Hood::new();
    let name = served(&hood, &[]);
    let mut forward = hood.spawn(&["forward", &name, "0:3003"]);
    let mut words = BufReader::new(forward.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = words.next().unwrap();
    let address = line.split(" is at ").nth(1).unwrap().split(';').next().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut stream = TcpStream::connect(address).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sent = bytes.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == bytes, "{} of {} bytes came back", back.len(), bytes.len());
    forward.kill().unwrap();
    forward.wait().unwrap();
}

/// The same names under a domain and a certificate of one's own.
#[test]
fn visitors_come_over_tls() {
    let hood = Hood::new();
    let place = tempfile::tempdir().unwrap();
    let (cert, key) = crate::remote::certificate(place.path(), ["*.box.test", "box.test"]);
    let (_server, _, _) = crate::remote::serve(
        &hood,
        &[
            "--ingress",
            "127.0.0.1:0",
            "--ingress-url",
            "https://box.test",
            "--ingress-tls-cert",
            &cert,
            "--ingress-tls-key",
            &key,
        ],
    );
    let port = std::fs::read_to_string(hood.state().join("ingress.port")).unwrap();
    let name = served(&hood, &[]);
    let url = url(&hood, &name, 3000);
    assert!(url.starts_with("https://sb-") && url.ends_with(".box.test"), "{url}");
    let to = format!("::127.0.0.1:{port}");
    for (version, shown) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let trusting = ["--cacert", &cert, "--connect-to", &to, version, "-w", "\n%{http_version}"];
        let reply = visit(&[&trusting[..], &[&url]].concat());
        let (body, used) = reply.body.rsplit_once('\n').unwrap();
        assert_eq!((reply.status, used), (200, shown), "{reply:?}");
        let guests: Value = serde_json::from_str(body).unwrap();
        assert_eq!(seen(&guests, "x-forwarded-proto"), ["https"]);
    }
    let refused = Hood::new().run(&["serve", "--ingress", "0.0.0.0:0"]);
    assert_eq!(refused.code, Some(241), "{refused:?}");
}
