//! Trails that are cut, and told once all the same.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use api::client::{Client, Endpoint};
use axum::body::{Body, Bytes};
use axum::extract::RawQuery;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use egress::event::Kind;
use futures_util::stream;
use http::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

/// What one connection gives.
enum Connection {
    /// These events, and its end.
    Whole(&'static [u64]),
    /// These events, and then it breaks.
    Cut(&'static [u64]),
}

fn body(seqs: &[u64]) -> String {
    let event = |seq: &u64| Event { seq: *seq, ..Event::new(0, Decision::Deny, Kind::Dns, "r") };
    seqs.iter().map(|seq| json_line(&event(seq)).unwrap()).collect()
}

impl IntoResponse for Connection {
    fn into_response(self) -> Response {
        match self {
            Self::Whole(seqs) => body(seqs).into_response(),
            Self::Cut(seqs) => {
                let pieces = [Ok(Bytes::from(body(seqs))), Err("cut")];
                Body::from_stream(stream::iter(pieces)).into_response()
            }
        }
    }
}

/// A server that gives these connections, and then knows nothing of the session any more.
async fn serve(connections: Vec<Connection>) -> (Server, Arc<Mutex<Vec<String>>>) {
    let connections = Arc::new(Mutex::new(VecDeque::from(connections)));
    let queries: Arc<Mutex<Vec<String>>> = Arc::default();
    let (left, asked) = (Arc::clone(&connections), Arc::clone(&queries));
    let audit = get(async move |RawQuery(query): RawQuery| {
        asked.lock().unwrap().push(query.unwrap_or_default());
        let connection = connections.lock().unwrap().pop_front();
        connection.map_or_else(|| StatusCode::NOT_FOUND.into_response(), Connection::into_response)
    });
    let session = get(async move || {
        if left.lock().unwrap().is_empty() {
            StatusCode::NOT_FOUND.into_response()
        } else {
            let session = json!({"id":"s","memory":1,"vcpus":1,"region":"r","runtime":"n",
                "timeout":1,"status":"running","requestedAt":1,"createdAt":1,"updatedAt":1,
                "cwd":"/"});
            Json(json!({ "session": session })).into_response()
        }
    });
    let version = api::Version { version: "0".to_owned(), build: 0, api: api::API };
    let router = Router::new()
        .route("/v2/sandboxes/sessions/s/audit", audit)
        .route("/v2/sandboxes/sessions/s", session)
        .route("/v1/fumehood/version", get(async move || Json(version.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client =
        Client::new(Endpoint::from_url(&url, None, &api::client::Trust::default()).unwrap());
    (Server::elsewhere(client), queries)
}

async fn tell(server: &Server, mode: FollowMode) -> (Result<(), Failure>, Vec<u64>) {
    let mut told = Vec::new();
    let print = |event: &Event| {
        told.push(event.seq);
        Ok(())
    };
    let result = Trail::new(server, "s").tell(mode, print).await;
    (result, told)
}

#[tokio::test]
async fn what_there_is_now_is_one_request() {
    let (server, queries) =
        serve(vec![Connection::Whole(&[1, 2]), Connection::Whole(&[1, 2, 3])]).await;
    let (result, told) = tell(&server, FollowMode::UntilNow).await;
    result.unwrap();
    assert_eq!(told, [1, 2]);
    assert_eq!(*queries.lock().unwrap(), ["follow=false"]);
}

#[tokio::test]
async fn following_goes_on_after_a_loss_and_after_a_handover_and_tells_nothing_twice() {
    let (server, queries) = serve(vec![
        Connection::Cut(&[1, 2]),
        Connection::Whole(&[1, 2, 3]),
        Connection::Cut(&[]),
        Connection::Whole(&[1, 2, 3, 4]),
    ])
    .await;
    let (result, told) = tell(&server, FollowMode::ToTheEnd).await;
    result.unwrap();
    assert_eq!(told, [1, 2, 3, 4]);
    assert_eq!(*queries.lock().unwrap(), ["follow=true"; 4]);
}

#[tokio::test]
async fn a_session_that_is_not_there_is_said_to_be() {
    let (server, _) = serve(vec![]).await;
    let (result, told) = tell(&server, FollowMode::ToTheEnd).await;
    assert_eq!(result.unwrap_err().exit(), Exit::NotFound);
    assert_eq!(told, [] as [u64; 0]);
}
