use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::client::{Client, ClientError, Endpoint, EndpointError};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// A server for this name that answers every request with its version; gives its port.
async fn serve(name: &str, authority: &Issuer) -> u16 {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let leaf = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let body = r#"{"version":"1.2.3","build":1,"api":1}"#;
            let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    port
}

async fn ask(url: &str, trust: &Trust) -> Result<String, ClientError> {
    let client = Client::new(Endpoint::from_url(url, None, trust).unwrap());
    client.version().await.map(|answer| answer.version)
}

#[tokio::test]
async fn a_server_is_believed_when_the_file_vouches_for_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (authority(), authority());
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        Trust::File(path)
    };
    let trust = file("ours", pem(ours.der()));
    let port = serve("localhost", &ours).await;
    let url = format!("https://localhost:{port}");
    assert_eq!(ask(&url, &trust).await.unwrap(), "1.2.3");
    assert_eq!(
        ask(&url, &file("both", pem(other.der()) + &pem(ours.der()))).await.unwrap(),
        "1.2.3"
    );
    let distrusted = ask(&url, &file("other", pem(other.der()))).await.unwrap_err();
    assert!(matches!(distrusted, ClientError::Untrusted { .. }), "{distrusted:?}");
    // Another name than the certificate's.
    let named = ask(&format!("https://127.0.0.1:{port}"), &trust).await.unwrap_err();
    assert!(matches!(named, ClientError::Untrusted { .. }), "{named:?}");
    let port = serve("127.0.0.1", &ours).await;
    assert_eq!(ask(&format!("https://127.0.0.1:{port}"), &trust).await.unwrap(), "1.2.3");
}

#[test]
fn urls_of_servers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca");
    fs::write(&path, pem(authority().der())).unwrap();
    let trust = Trust::File(path);
    for (url, shown) in [
        ("https://box", Some("https://box:443")),
        ("https://[::1]:9/x/", Some("https://[::1]:9/x")),
        ("https://a..b", None),
    ] {
        let endpoint = Endpoint::from_url(url, None, &trust).ok();
        let endpoint = endpoint.map(|endpoint| endpoint.to_string());
        assert_eq!(endpoint.as_deref(), shown, "{url}");
    }
}

#[tokio::test]
async fn a_server_without_tls_hears_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca");
    fs::write(&path, pem(authority().der())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap_or_default();
        heard
    });
    let fault = ask(&format!("https://localhost:{port}"), &Trust::File(path)).await.unwrap_err();
    assert!(matches!(fault, ClientError::Untrusted { .. }), "{fault:?}");
    assert!(!heard.await.unwrap().windows(4).any(|some| some == b"HTTP"));
}

#[test]
fn a_file_that_vouches_for_nobody_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint =
        |path: PathBuf| Endpoint::from_url("https://box", None, &Trust::File(path)).unwrap_err();
    let missing = endpoint(folder.path().join("none"));
    assert!(matches!(missing, EndpointError::Trust(TrustError::Read { .. })), "{missing:?}");
    let cut = pem(authority().der()).replace("-----END", "");
    for text in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        &cut,
    ] {
        let path = folder.path().join("some");
        fs::write(&path, text).unwrap();
        let empty = endpoint(path);
        assert!(matches!(empty, EndpointError::Trust(TrustError::Empty(_))), "{text}: {empty:?}");
    }
}
