//! Request bodies: JSON whose every fault is named.

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, FromRequestParts, Query, Request, rejection::QueryRejection},
    http::request::Parts,
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::error::Failure;
use crate::limits;

/// A JSON body. The content type is not looked at: some clients send none.
#[derive(Debug)]
pub(crate) struct Body400<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body400<T> {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Self, Failure> {
        parse(&read(request).await?).map(Self)
    }
}

/// A JSON body that may be missing, which says nothing.
#[derive(Debug)]
pub(crate) struct MaybeBody400<T>(pub T);

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for MaybeBody400<T> {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Self, Failure> {
        let bytes = read(request).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
    }
}

async fn read(request: Request<Body>) -> Result<Bytes, Failure> {
    let read = to_bytes(request.into_body(), limits::BODY_BYTES_MAX).await;
    read.map_err(|error| {
        let message = format!("Invalid request: the body is over the limit or broke: {error}");
        Failure::new(api::Code::TooLarge, message)
    })
}

/// A query string whose every fault is named.
#[derive(Debug)]
pub(crate) struct Query400<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query400<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        let fault = |error: QueryRejection| {
            Failure::bad_request(format!("Invalid request: {}", error.body_text()))
        };
        query.map(|Query(query)| Self(query)).map_err(fault)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // An array would pass for an object whose members have no names.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Failure::bad_request("Invalid request: the body must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." || path == "?" { String::new() } else { format!("`{path}`: ") };
        let fault = api::fault_in_words(&error.inner().to_string());
        Failure::bad_request(format!("Invalid request: {place}{fault}"))
    })?;
    json.end().map_err(|error| Failure::bad_request(format!("Invalid request: {error}")))?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_with_its_field() {
        let table = [
            ("[]", "Invalid request: the body must be a JSON object"),
            ("", "Invalid request: the body must be a JSON object"),
            ("{} {}", "Invalid request: trailing characters at line 1 column 4"),
            ("{", "Invalid request: EOF while parsing an object at line 1 column 1"),
            (
                r#"{"ports":[99999999]}"#,
                "Invalid request: `ports[0]`: invalid value: integer `99999999`, expected a whole number from 0 to 65535 at line 1 column 18",
            ),
            (
                r#"{"env":{"A":["x, expected u16 at line 7"]}}"#,
                "Invalid request: `env.A`: invalid type: sequence, expected a string at line 1 column 12",
            ),
            (
                r#"{"tags":"x, expected u16"}"#,
                "Invalid request: `tags`: invalid type: string \"x, expected u16\", expected an object at line 1 column 25",
            ),
            (
                r#"{"resources":{"vcpus":"two"}}"#,
                "Invalid request: `resources.vcpus`: invalid type: string \"two\", expected a whole number from 0 to 4294967295 at line 1 column 27",
            ),
        ];
        for (body, message) in table {
            let Failure(refusal) = parse::<api::CreateSandbox>(body.as_bytes()).unwrap_err();
            assert_eq!((refusal.code, refusal.message.as_str()), (api::Code::BadRequest, message));
        }
    }
}
