//! Keystone, version 3: a session with a token, and calls to the services of its catalogue.

mod catalogue;
mod login;
mod service;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::clouds::{Auth, Cloud};
use super::secret::Secret;
use crate::error::{ExitCode, Failure, Result};
use crate::http::{self, Call, Client, Redirects, Upload, shown};
use crate::report::Report;
use service::Service;

/// A token is renewed when it has less than this left, or less than half of its life where that is
/// shorter.
const LEAST_LIFE: Duration = Duration::from_secs(300);

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Project {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A login session with a cloud.
#[derive(Debug)]
pub(crate) struct Session {
    cloud: Cloud,
    client: Client,
    token: Mutex<Option<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    value: Secret,
    /// When it ends by the clock of this host, and how long it lasts in all: the server's clock is
    /// not asked.
    ends: Instant,
    life: Duration,
    body: Body,
}

#[derive(Debug, Clone, Deserialize)]
struct Body {
    expires_at: String,
    issued_at: Option<String>,
    #[serde(default)]
    roles: Vec<Role>,
    project: Option<Project>,
    user: Option<User>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Debug, Clone, Deserialize)]
struct Role {
    name: String,
}

#[derive(Debug, Clone, Deserialize)]
struct User {
    name: String,
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// When Keystone cannot be reached or refuses.
    pub(crate) fn open(cloud: Cloud, report: &Report) -> Result<Self> {
        if cloud.tls.insecure {
            report.warn(&format!(
                "the cloud '{}' has verify: false: the servers' certificates are not checked",
                cloud.name
            ));
        }
        let session = Self {
            client: Client::new(&cloud.tls, Redirects::Show)?,
            cloud,
            token: Mutex::new(None),
        };
        session.renew()?;
        Ok(session)
    }

    /// The cloud.
    #[must_use]
    pub(crate) fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The project that the token is for.
    #[must_use]
    pub(crate) fn project(&self) -> Option<Project> {
        self.locked().as_ref()?.body.project.clone()
    }

    /// The names of the roles there.
    #[must_use]
    pub(crate) fn roles(&self) -> Vec<String> {
        self.locked()
            .as_ref()
            .map(|token| token.body.roles.iter().map(|r| r.name.clone()).collect())
            .unwrap_or_default()
    }

    /// Whether services take the caller for an administrator: by the role, or because there is no
    /// Keystone.
    #[must_use]
    pub(crate) fn is_admin(&self) -> bool {
        !self.cloud.auth.has_keystone() || self.roles().iter().any(|role| role == "admin")
    }

    /// The caller, for messages.
    #[must_use]
    pub(crate) fn who(&self) -> String {
        let locked = self.locked();
        let Some(body) = locked.as_ref().map(|token| &token.body) else {
            return match &self.cloud.auth {
                Auth::Basic { user, .. } => format!("user {user}"),
                Auth::None | Auth::Keystone { .. } => "the caller".into(),
            };
        };
        let user = body.user.as_ref().map_or("?", |user| user.name.as_str());
        let project = body
            .project
            .as_ref()
            .map(|project| format!(" in project {}", project.name))
            .unwrap_or_default();
        let roles: Vec<&str> = body.roles.iter().map(|role| role.name.as_str()).collect();
        format!(
            "user {user}{project} (roles: {})",
            if roles.is_empty() { "none".into() } else { roles.join(", ") }
        )
    }

    /// Makes a call to a service; a token that ran out in the meantime is renewed, and the call
    /// made again.
    ///
    /// # Errors
    /// When the service cannot be reached. An answer that refuses is not an error here: see
    /// [`Answer::expect`].
    pub(crate) fn call(&self, service: &str, call: &Call) -> Result<Answer> {
        let url = format!("{}{}", self.endpoint(service)?, call.path);
        let mut renewed = false;
        loop {
            let credential = self.credential()?;
            let answer = self.answer(
                self.client.call(call, &url, &headers(credential.as_ref())),
                &url,
                name(service),
            )?;
            if answer.status == 401 && matches!(self.cloud.auth, Auth::Basic { .. }) {
                let Cloud { name: cloud, source, .. } = &self.cloud;
                return Err(Failure::new(
                    ExitCode::Registry,
                    format!(
                        "calling {} at {}: it does not accept the password",
                        name(service),
                        shown(&url)
                    ),
                )
                .hint(format!("look at username and password of '{cloud}' in {source}"))
                .because(answer.refusal("asking it"))
                .into());
            }
            // Refused for its token, the call was not made.
            if answer.status == 401 && !renewed && self.cloud.auth.has_keystone() {
                self.renew()?;
                renewed = true;
                continue;
            }
            return Ok(answer);
        }
    }

    /// Streams a body to a service, once, with a token that has some life left.
    ///
    /// # Errors
    /// When the service cannot be reached or the connection breaks. An answer that refuses is not
    /// an error here.
    pub(crate) fn upload(&self, service: &str, upload: Upload<'_>) -> Result<Answer> {
        let url = format!("{}{}", self.endpoint(service)?, upload.path);
        let credential = self.credential()?;
        self.answer(
            self.client.upload(upload, &url, &headers(credential.as_ref())),
            &url,
            name(service),
        )
    }

    fn answer(
        &self,
        result: std::result::Result<http::Answer, http::Error>,
        url: &str,
        service: &str,
    ) -> Result<Answer> {
        let http = result.map_err(|error| {
            error.failure(ExitCode::Registry, format!("calling {}", shown(url)))
        })?;
        Ok(Answer { http, service: service.to_owned(), who: self.who() })
    }

    /// The header that authenticates the caller; none where no authentication is required.
    fn credential(&self) -> Result<Option<(&'static str, Secret)>> {
        if let Auth::Basic { user, password } = &self.cloud.auth {
            let pair = STANDARD.encode(format!("{user}:{}", password.reveal()));
            return Ok(Some(("authorization", Secret::new(format!("Basic {pair}")))));
        }
        Ok(self.token()?.map(|token| ("x-auth-token", token)))
    }

    /// A token with some life left; none without Keystone.
    fn token(&self) -> Result<Option<Secret>> {
        let fresh = self
            .locked()
            .as_ref()
            .filter(|t| left(t) >= LEAST_LIFE.min(t.life / 2))
            .map(|token| token.value.clone());
        if fresh.is_none() && self.cloud.auth.has_keystone() {
            self.renew()?;
        }
        Ok(fresh.or_else(|| self.locked().as_ref().map(|token| token.value.clone())))
    }

    fn locked(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn headers<'a>(credential: Option<&'a (&'static str, Secret)>) -> Vec<(&'static str, &'a str)> {
    [("accept", "application/json")]
        .into_iter()
        .chain(credential.map(|(name, value)| (*name, value.reveal())))
        .collect()
}

fn left(token: &Token) -> Duration {
    token.ends.saturating_duration_since(Instant::now())
}

/// The service's own name, for messages.
fn name(service: &str) -> &str {
    match service {
        "image" => "Glance",
        "baremetal" => "Ironic",
        "identity" => "Keystone",
        other => other,
    }
}
