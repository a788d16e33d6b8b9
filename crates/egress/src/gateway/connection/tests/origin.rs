//! Servers that the guest wants to reach.

use std::{cell::RefCell, pin::Pin, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{HeaderMap, Request, Response, body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub(super) type Handler = dyn Fn(Request<Incoming>) -> LocalBoxFuture<'static, Response<Body>>;

/// Who signs for the servers of a test.
pub(super) struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    pub(super) root: CertificateDer<'static>,
}

impl TestCa {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(parameters, key), root }
    }

    pub(super) fn server(&self, names: &[&str], protocols: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let parameters = CertificateParams::new(names).unwrap();
        let leaf = parameters.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The heads of the requests that came.
#[derive(Clone, Default)]
pub(super) struct Seen(Rc<RefCell<Vec<(String, HeaderMap)>>>);

impl Seen {
    pub(super) fn note<B>(&self, request: &Request<B>) {
        let line = format!("{} {}", request.method(), request.uri());
        self.0.borrow_mut().push((line, request.headers().clone()));
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// The last one's.
    pub(super) fn line(&self) -> String {
        self.0.borrow().last().unwrap().0.clone()
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let seen = self.0.borrow();
        let value = seen.last().unwrap().1.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    /// Whether the text came in any request at all.
    pub(super) fn ever(&self, text: &str) -> bool {
        self.0.borrow().iter().any(|(line, headers)| {
            let holds = |value: &http::HeaderValue| value.to_str().unwrap().contains(text);
            line.contains(text) || headers.values().any(holds)
        })
    }
}

pub(super) fn body(text: impl Into<Bytes>) -> Body {
    super::world::full(text)
}

/// Answers with what came: the body of the request, or its line.
pub(super) fn echo(seen: &Seen) -> Rc<Handler> {
    let seen = seen.clone();
    Rc::new(move |request| {
        seen.note(&request);
        Box::pin(async move {
            let line = format!("{} {}", request.method(), request.uri().path());
            let sent = request.into_body().collect().await.map(|body| body.to_bytes());
            match sent {
                Ok(sent) if sent.is_empty() => Response::new(body(line)),
                Ok(sent) => Response::new(body(sent)),
                Err(_) => Response::new(body("broken")),
            }
        })
    })
}

pub(super) async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Serves HTTP over TLS, in the version that the client prefers; gives the port.
pub(super) async fn https(tls: TlsAcceptor, handler: Rc<Handler>) -> u16 {
    let (listener, port) = listen().await;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, handler) = (tls.clone(), Rc::clone(&handler));
            tokio::task::spawn_local(async move {
                stream.set_nodelay(true).unwrap();
                if let Ok(stream) = tls.accept(stream).await {
                    serve(stream, handler).await;
                }
            });
        }
    });
    port
}

async fn serve(stream: TlsStream<TcpStream>, handler: Rc<Handler>) {
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    if http2 { serve2(io.into_inner(), handler).await } else { serve1(io, handler).await }
}

pub(super) async fn serve2<S>(stream: S, handler: Rc<Handler>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let serving = conn::http2::Builder::new(LocalExecutor)
        .initial_connection_window_size(8 << 20)
        .initial_stream_window_size(4 << 20)
        .max_frame_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    drop(serving.await);
}

async fn serve1<I>(io: I, handler: Rc<Handler>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer: Pin<Box<_>> = handler(request);
        async { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    drop(conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await);
}

/// Serves HTTP/1 in the clear; gives the port.
pub(super) async fn http(handler: Rc<Handler>) -> u16 {
    let (listener, port) = listen().await;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(serve1(TokioIo::new(stream), Rc::clone(&handler)));
        }
    });
    port
}

#[derive(Clone)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move { drop(task.await) });
    }
}
