//! What the ingress says where the guest does not: a page for people, JSON for programs.

use std::borrow::Cow;

use http::{HeaderValue, Response, StatusCode, header};

/// Why a request did not get to the guest, or its reply not back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// More for people, from us and never from the guest.
    pub(super) detail: Cow<'static, str>,
}

/// One row per kind, so that none is without its code, its status and its title.
macro_rules! kinds {
    ($($kind:ident = $code:literal, $status:ident, $title:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind {
            $($kind,)*
        }

        impl Kind {
            fn code(self) -> &'static str {
                match self { $(Self::$kind => $code,)* }
            }

            fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    BadRequest = "BAD_REQUEST", BAD_REQUEST, "This request cannot be passed on";
    Unknown = "SANDBOX_NOT_FOUND", NOT_FOUND, "No sandbox is here";
    NeedsPass = "SANDBOX_PORT_PRIVATE", UNAUTHORIZED, "This port is private";
    Stopped = "SANDBOX_STOPPED", GONE, "The sandbox has stopped";
    Stopping = "SANDBOX_STOPPING", UNPROCESSABLE_ENTITY, "The sandbox is stopping";
    Snapshotting = "SANDBOX_SNAPSHOTTING", UNPROCESSABLE_ENTITY, "The sandbox is being saved";
    NotStarted = "SANDBOX_NOT_STARTED", SERVICE_UNAVAILABLE, "The sandbox did not start";
    NotListening = "SANDBOX_NOT_LISTENING", BAD_GATEWAY, "Nothing listens on this port";
    BadReply = "SANDBOX_BAD_REPLY", BAD_GATEWAY, "The program in the sandbox did not reply properly";
    Silent = "SANDBOX_SILENT", GATEWAY_TIMEOUT, "The sandbox does not answer";
    NoRoom = "LIMIT_REACHED", SERVICE_UNAVAILABLE, "The sandbox cannot start now";
    Busy = "SANDBOX_BUSY", SERVICE_UNAVAILABLE, "Too many connections to this sandbox";
}

impl Fault {
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// For who accepts this.
    pub(super) fn reply(&self, accept: Option<&HeaderValue>) -> Response<String> {
        let is_for_people = accept.is_some_and(wants_page);
        let (kind, body) = match is_for_people {
            true => ("text/html; charset=utf-8", self.page()),
            false => ("application/json; charset=utf-8", self.json()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-fumehood-error", HeaderValue::from_static(self.kind.code()));
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
        );
        if matches!(self.kind, Kind::Busy | Kind::Stopping | Kind::Snapshotting) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn json(&self) -> String {
        let (code, title, detail) = (self.kind.code(), self.kind.title(), &self.detail);
        let message = format!("{title}: {detail}");
        serde_json::json!({ "error": { "code": code, "message": message } }).to_string()
    }

    fn page(&self) -> String {
        let (code, title) = (self.kind.code(), self.kind.title());
        let detail = escaped(&self.detail);
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;\
             padding:0 1em}}code{{color:#777}}</style></head>\
             <body><h1>{title}</h1><p>{detail}</p><p><code>{code}</code></p></body></html>\n"
        )
    }
}

/// Whether who accepts this is a browser that shows a page.
pub(super) fn wants_page(accept: &HeaderValue) -> bool {
    accept.as_bytes().to_ascii_lowercase().windows(9).any(|part| part == b"text/html")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_a_page_and_programs_json() {
        let fault = Fault::new(Kind::NotListening, "port 3000 of <b>\"it\"</b>");
        let reply = fault.reply(None);
        assert_eq!(reply.status(), StatusCode::BAD_GATEWAY);
        let json: serde_json::Value = serde_json::from_str(reply.body()).unwrap();
        assert_eq!(json["error"]["code"], "SANDBOX_NOT_LISTENING");
        let accept = HeaderValue::from_static("text/html,*/*;q=0.8");
        let page = fault.reply(Some(&accept)).into_body();
        assert!(page.contains("port 3000 of &lt;b&gt;&quot;it&quot;&lt;/b&gt;"), "{page}");
    }
}
