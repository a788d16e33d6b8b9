//! The client's end of an attach connection.

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

use super::exchange::{Exchange, refused};
use super::{Client, ClientError};
use crate::attach::{
    ClientMessage, MESSAGE_BYTES_MAX, ServerMessage, read_output_message, stdin_message,
};
use crate::command::Stream;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What the server sends.
#[derive(Debug)]
pub enum Received {
    Output(Stream, Bytes),
    Message(ServerMessage),
}

/// The sending half.
#[derive(Debug)]
pub struct AttachSender {
    socket: SplitSink<Socket, Message>,
}

/// The receiving half.
#[derive(Debug)]
pub struct AttachReceiver {
    request: String,
    socket: SplitStream<Socket>,
}

/// Asks for another protocol on the connection, and gives the connection once it is granted.
pub(super) async fn upgrade(
    exchange: Exchange<'_>,
    protocol: &str,
) -> Result<TokioIo<Upgraded>, ClientError> {
    let asked = exchange.header(CONNECTION, "Upgrade").header(UPGRADE, protocol);
    let (_, reply) = asked.send().await?;
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(reply).await);
    }
    let upgraded = hyper::upgrade::on(reply).await;
    upgraded.map(TokioIo::new).map_err(|source| ClientError::Broken { source: source.into() })
}

/// Opens the connection and says the first word. A refusal of the session shows here; one of the
/// command comes as a message.
pub(super) async fn open(
    client: &Client,
    path: &str,
    first: &ClientMessage,
) -> Result<(AttachSender, AttachReceiver), ClientError> {
    let key = generate_key();
    let (request, reply) = Exchange::new(client, Method::GET, path)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .send()
        .await?;
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(reply).await);
    }
    let accept = reply.headers().get(SEC_WEBSOCKET_ACCEPT).map(http::HeaderValue::as_bytes);
    if accept != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        let source = "it does not accept our WebSocket key".into();
        return Err(ClientError::Nonsense { request, source });
    }
    let upgraded = hyper::upgrade::on(reply)
        .await
        .map_err(|source| ClientError::Broken { source: source.into() })?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let socket = Socket::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config)).await;
    let (sender, receiver) = socket.split();
    let mut sender = AttachSender { socket: sender };
    sender.send(first).await?;
    Ok((sender, AttachReceiver { request, socket: receiver }))
}

impl AttachSender {
    pub async fn send(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        let text = serde_json::to_string(message).expect("our own types are always JSON");
        self.socket.send(Message::Text(Utf8Bytes::from(text))).await.map_err(broken)
    }

    pub async fn send_stdin(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.socket.send(Message::Binary(stdin_message(data))).await.map_err(broken)
    }

    /// Says good-bye.
    pub async fn close(&mut self) -> Result<(), ClientError> {
        self.socket.close().await.map_err(broken)
    }
}

impl AttachReceiver {
    /// The next thing the server sends; none when it closed the connection in good order.
    pub async fn next(&mut self) -> Result<Option<Received>, ClientError> {
        while let Some(message) = self.socket.next().await {
            match message.map_err(broken)? {
                Message::Text(text) => {
                    let message = serde_json::from_str(&text)
                        .map_err(|source| self.nonsense(source.into()))?;
                    return Ok(Some(Received::Message(message)));
                }
                Message::Binary(data) => {
                    let Some((stream, data)) = read_output_message(data) else {
                        return Err(self.nonsense("a binary message of no known stream".into()));
                    };
                    return Ok(Some(Received::Output(stream, data)));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn nonsense(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
        ClientError::Nonsense { request: self.request.clone(), source }
    }
}

fn broken(source: tungstenite::Error) -> ClientError {
    ClientError::Broken { source: source.into() }
}
