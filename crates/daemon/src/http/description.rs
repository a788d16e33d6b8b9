//! The description of the API, made from the routes and their types, as OpenAPI and as a page.
//!
//! [`Routes`] takes no handler without them, so there is no route that is not in it.

mod inputs;
mod page;
mod summaries;

use std::sync::Arc;

use aide::{
    axum::{ApiRouter, routing::ApiMethodRouter},
    openapi::OpenApi,
};
use axum::{
    Router,
    http::header,
    middleware,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::{Map, Value, json};

use super::Shared;

/// Where the description is, for whoever asks: it says nothing of what is here.
pub(super) const OPEN: [&str; 2] = ["/openapi.json", "/docs"];

const INTRODUCTION: &str = "\
Sandboxes are microVMs of their own. The routes are those of Vercel's Sandbox API, beside which `/v1/fumehood` has what is ours. \
Those under `/v2/sandboxes` are under `/v3/sandboxes` and `/v4/sandboxes` too, and all of them below `/api` as well.\n\n\
Over TCP every request has an `Authorization: Bearer` token. One of a project sees the things of that project alone; the \
administrator's, and who comes over the Unix socket, names a project by `projectId` (in a query or a body) or `project` (in a query), \
and without one means the project `local`. Times are milliseconds since 1970, spans milliseconds, memory MiB. Unknown members of a \
request are ignored, but for those of a network policy. A request body that is JSON has 2 MiB at most.\n\n\
What is refused has the form of `ErrorBody`, and a request that is malformed gets 400 with the field's name.";

/// Routes that describe themselves.
#[derive(Clone)]
pub(super) struct Routes(ApiRouter<Shared>);

impl Routes {
    pub(super) fn new() -> Self {
        Self(ApiRouter::new())
    }

    pub(super) fn route(self, path: &str, methods: ApiMethodRouter<Shared>) -> Self {
        Self(self.0.api_route(path, methods))
    }

    pub(super) fn nest(self, path: &str, routes: Self) -> Self {
        Self(self.0.nest(path, routes.0))
    }

    pub(super) fn merge(self, routes: Self) -> Self {
        Self(self.0.merge(routes.0))
    }

    /// Has every reply of them pass through a function.
    pub(super) fn map_replies<F, R>(self, change: F) -> Self
    where
        F: FnMut(Response) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        Self(self.0.layer(middleware::map_response(change)))
    }

    /// Without their description: the same under another name.
    pub(super) fn again(self) -> Router<Shared> {
        self.0.finish_api(&mut OpenApi::default())
    }

    pub(super) fn described(self) -> (Router<Shared>, Value) {
        let mut made = OpenApi::default();
        let router = self.0.finish_api(&mut made);
        (router, whole(&serde_json::to_value(&made).unwrap_or_default()))
    }
}

/// The routes of the description itself.
pub(super) fn routes(description: &Value) -> Router<Shared> {
    let [json, docs] = OPEN;
    let text: Arc<str> = serde_json::to_string_pretty(description).unwrap_or_default().into();
    let page: Arc<str> = page::page(description).into();
    Router::new()
        .route(json, get(async move || as_json(&text)))
        .route(docs, get(async move || Html(page.to_string())))
}

fn as_json(text: &str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.to_owned()).into_response()
}

/// Fills in what the types do not say.
fn whole(made: &Value) -> Value {
    let paths = made["paths"].as_object().cloned().unwrap_or_default();
    let mut described = Map::new();
    for (path, item) in paths {
        let path = match path.strip_suffix('/') {
            Some(short) if !short.is_empty() => short.to_owned(),
            Some(_) | None => path,
        };
        let methods = item.as_object().cloned().unwrap_or_default().into_iter();
        let methods = methods.map(|(method, it)| {
            let it = operation(&method, &path, it);
            (method, it)
        });
        described.insert(path.clone(), methods.collect());
    }
    let bearer = json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT"});
    json!({
        "openapi": made["openapi"],
        "info": {
            "title": "fumehood",
            "version": api::API.to_string(),
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "paths": described,
        "components": {
            "schemas": made["components"]["schemas"],
            "securitySchemes": {"bearer": bearer},
        },
    })
}

fn operation(method: &str, path: &str, mut it: Value) -> Value {
    let words = |part: &str| part.trim_matches(['{', '}']).replace('-', "_");
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(words).collect();
    it["operationId"] = format!("{method}_{}", parts.join("_")).into();
    if let Some(summary) = summaries::of(method, path) {
        it["summary"] = summary.into();
    }
    let mut parameters: Vec<Value> =
        it["parameters"].as_array().cloned().unwrap_or_default().into_iter().collect();
    let named = |name: &str, all: &[Value]| all.iter().any(|each| each["name"] == name);
    for part in path.split('/').filter(|part| part.starts_with('{')) {
        let name = part.trim_matches(['{', '}']);
        if !named(name, &parameters) {
            let schema = json!({"type": "string", "minLength": 1});
            parameters
                .push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        }
    }
    if !parameters.is_empty() {
        it["parameters"] = parameters.into();
    }
    if it["responses"].get("200").is_none() && it["responses"].get("101").is_none() {
        it["responses"]["200"] = json!({"description": "A stream; see the summary."});
    }
    it
}

#[cfg(test)]
mod tests;
