//! The server as one request sees it: the things of one project.

use std::sync::Arc;

use api::{Code, TokenScope};
use axum::{
    extract::{FromRequestParts, Query, rejection::QueryRejection},
    http::request::Parts,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Shared,
    access::{Reach, Visitor},
    error::{Failure, Reply},
    keeping::Defaults,
};
use crate::{
    context::Context,
    ids::{Project, SandboxKey, SandboxName},
    registry::{Awake, Registry},
    sandbox::{NotRunning, Sandbox, Session},
};

/// What every route is given: the server, narrowed to what the request may see. A request names its
/// project in its query or body; one that is for one project only sees no other, named or not.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) shared: Shared,
    pub(crate) visitor: Visitor,
    /// The project that the query names.
    named: Option<Project>,
    /// By the version of the route.
    pub(crate) defaults: Defaults,
}

/// How the clients name a project in a query: either way, and both is the same.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ProjectQuery {
    /// The project that the request is about: 1 to 128 letters, digits, `_`, `-` or `.`.
    project_id: Option<String>,
    /// The same as `projectId`.
    project: Option<String>,
}

/// The [`Server`], for routes that change nothing: a token that may only read is let in.
#[derive(Clone, Debug)]
pub(crate) struct Reader(pub(crate) Server);

/// The [`Server`], for routes about all projects or the server itself: no token of a project is let
/// in.
#[derive(Clone, Debug)]
pub(crate) struct Administrator(pub(crate) Server);

impl FromRequestParts<Shared> for Reader {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Reply<Self> {
        Server::of(parts, shared).map(Self)
    }
}

impl FromRequestParts<Shared> for Server {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Reply<Self> {
        let server = Self::of(parts, shared)?;
        server.may_change()?;
        Ok(server)
    }
}

impl FromRequestParts<Shared> for Administrator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Reply<Self> {
        let server = Server::of(parts, shared)?;
        match server.visitor.reach {
            Reach::All => Ok(Self(server)),
            Reach::Project(_) => {
                let text = "This is for the server's administrator: a token of a project is for \
                            the things of the project.";
                Err(Failure::new(Code::Forbidden, text))
            }
        }
    }
}

impl Server {
    fn of(parts: &Parts, shared: &Shared) -> Reply<Self> {
        let visitor = parts.extensions.get::<Visitor>().cloned();
        let visitor = visitor.ok_or_else(|| {
            Failure::new(Code::Internal, "A request came in past the check of who sent it.")
        })?;
        let fault = |error: QueryRejection| {
            Failure::bad_request(format!("Invalid request: {}", error.body_text()))
        };
        let Query(query) = Query::<ProjectQuery>::try_from_uri(&parts.uri).map_err(fault)?;
        let defaults = parts.extensions.get().copied().unwrap_or(Defaults::KeepAll);
        let mut server = Self { shared: shared.clone(), visitor, named: None, defaults };
        for (field, text) in [("projectId", query.project_id), ("project", query.project)] {
            server.named = server.narrowed(field, text.as_deref())?;
        }
        Ok(server)
    }

    /// Whether the request may change something: for a route that does so at times only.
    pub(crate) fn may_change(&self) -> Reply<()> {
        match self.visitor.scope {
            TokenScope::Full => Ok(()),
            TokenScope::Read => {
                Err(Failure::new(Code::Forbidden, "This token may read and change nothing."))
            }
        }
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.shared.registry
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        self.shared.registry.context()
    }

    /// The project that a request is about: the one that its body names, or its query, or the one
    /// that its sender is of.
    pub(crate) fn project(&self, in_body: Option<&str>) -> Reply<Project> {
        let named = self.narrowed("projectId", in_body)?;
        Ok(named.or_else(|| self.scope().cloned()).unwrap_or_default())
    }

    fn narrowed(&self, field: &str, text: Option<&str>) -> Reply<Option<Project>> {
        let Some(text) = text else { return Ok(self.named.clone()) };
        let project = Project::parse(text).map_err(|error| {
            Failure::bad_request(format!("Invalid request: `{field}`: {error}"))
        })?;
        if self.named.as_ref().is_some_and(|named| *named != project) {
            let text = format!("Invalid request: `{field}` names another project than the query");
            return Err(Failure::bad_request(text));
        }
        match &self.visitor.reach {
            Reach::Project(own) if *own != project => Err(no_project(&project)),
            Reach::Project(_) | Reach::All => Ok(Some(project)),
        }
    }

    /// What is seen at most; none for all projects.
    fn scope(&self) -> Option<&Project> {
        match &self.visitor.reach {
            Reach::Project(own) => Some(own),
            Reach::All => self.named.as_ref(),
        }
    }

    /// Whether the request may see the things of a project.
    pub(crate) fn covers(&self, project: &Project) -> bool {
        self.scope().is_none_or(|own| own == project)
    }

    /// A sandbox of the request's project.
    pub(crate) fn sandbox(&self, name: &str) -> Reply<Arc<Sandbox>> {
        let project = self.project(None)?;
        let found = SandboxName::parse(name)
            .ok()
            .and_then(|name| self.registry().find(&SandboxKey { project, name }));
        found.ok_or_else(|| {
            let message = format!("Named sandbox '{name}' not found for this project.");
            Failure::new(Code::NotFound, message)
        })
    }

    /// A session that the request may see.
    pub(crate) fn session(&self, id: &str) -> Reply<Arc<Session>> {
        let found =
            self.registry().find_session(id).filter(|session| self.covers(&session.record.project));
        found.ok_or_else(|| {
            Failure::new(Code::NotFound, format!("There is no session '{id}' in this project."))
        })
    }

    /// A session's machine: one that sleeps is woken, and stays awake while the answer is kept. Who may
    /// change nothing wakes none, since that is a change.
    pub(crate) async fn awake(&self, session: &Session) -> Reply<Awake> {
        match self.visitor.scope {
            TokenScope::Full => Ok(self.registry().awake(session).await?),
            TokenScope::Read => {
                let awake = Awake::already(session).await?;
                awake.ok_or_else(|| not_woken(session.agent().err()))
            }
        }
    }

    /// The sandboxes of the request's project, by name.
    pub(crate) fn sandboxes(&self) -> Reply<Vec<Arc<Sandbox>>> {
        let project = self.project(None)?;
        let mut all = self.registry().list();
        all.retain(|sandbox| sandbox.key.project == project);
        Ok(all)
    }
}

/// Why a session that sleeps is not woken for who may change nothing.
fn not_woken(why: Option<NotRunning>) -> Failure {
    match why {
        // Without a reason somebody has woken it just now.
        None | Some(NotRunning::Paused) => {
            let text = "The sandbox is paused, and this token may read and wake nothing.";
            Failure::new(Code::Forbidden, text)
        }
        Some(why) => why.into(),
    }
}

fn no_project(project: &Project) -> Failure {
    Failure::new(Code::NotFound, format!("Project '{project}' not found."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::EndReason;

    #[test]
    fn who_may_change_nothing_is_refused_what_sleeps_and_told_of_what_has_ended() {
        let table = [
            (None, Code::Forbidden),
            (Some(NotRunning::Paused), Code::Forbidden),
            (Some(NotRunning::Stopped(EndReason::Stopped)), Code::SandboxStopped),
        ];
        for (why, expected) in table {
            let Failure(refusal) = not_woken(why.clone());
            assert_eq!(refusal.code, expected, "{why:?}");
        }
    }
}
