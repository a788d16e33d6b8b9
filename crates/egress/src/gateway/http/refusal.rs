//! Replies of the gateway itself: why a request did not get through, for people and programs.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::passing::Passing;
use crate::policy::{Canned, Denial, Why};

/// Why a request does not get through.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The policy or the gateway does not let it.
    Denied(StatusCode, Denial),
    /// It is let through, and cannot be carried out.
    Failed { rule: String, reason: String },
}

/// The request, as a reply tells of it.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) method: String,
    /// Without its query.
    pub(crate) url: String,
    pub(crate) form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

impl Form {
    /// What the request would rather read.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let says = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.contains("json"))
        };
        if says(header::ACCEPT) || says(header::CONTENT_TYPE) { Self::Json } else { Self::Text }
    }
}

impl Refusal {
    pub(crate) fn rule(why: Why) -> Self {
        Self::Denied(StatusCode::FORBIDDEN, Denial { rule: "default".to_owned(), why })
    }

    /// It is not what a client of this host may send.
    pub(crate) fn bad(status: StatusCode, why: &'static str) -> Self {
        Self::Denied(status, Denial { rule: "default".to_owned(), why: Why::Malformed(why) })
    }

    pub(crate) fn reply(&self, about: &About) -> Response<Passing> {
        let (status, rule, reason) = match self {
            Self::Denied(status, denial) => (*status, &denial.rule, denial.why.to_string()),
            Self::Failed { rule, reason } => (StatusCode::BAD_GATEWAY, rule, reason.clone()),
        };
        let refused = matches!(self, Self::Denied(..));
        let what = if refused { "refused" } else { "let through, but it failed" };
        // It may be pasted into a shell.
        let request = format!("{} {}", about.method, about.url).replace('\'', "%27");
        let explain = format!("fumehood policy explain SANDBOX '{request}'");
        let (kind, body) = match about.form {
            Form::Text => (
                "text/plain; charset=utf-8",
                format!(
                    "fumehood: this request was {what}: {reason}.\nRule: {rule}\n\
                     What the policy says: {explain}\n"
                ),
            ),
            Form::Json => (
                "application/json",
                format!(
                    "{:#}\n",
                    json!({"error": {
                        "code": if refused { "egress_denied" } else { "egress_failed" },
                        "message": format!("fumehood: this request was {what}: {reason}"),
                        "rule": rule,
                        "request": request,
                        "explain": explain,
                    }})
                ),
            ),
        };
        let mut response = Response::new(Passing::own(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let kind = HeaderValue::from_static(if refused { "refused" } else { "failed" });
        response.headers_mut().insert("x-fumehood", kind);
        response
    }
}

/// The reply that a rule gives. A header that no reply can hold is left out.
pub(crate) fn canned(canned: &Canned) -> Response<Passing> {
    let mut response = Response::new(Passing::own(canned.body.clone()));
    *response.status_mut() =
        StatusCode::from_u16(canned.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &canned.headers {
        let name = header::HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) else { continue };
        response.headers_mut().append(name, value);
    }
    response
}
