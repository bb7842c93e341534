//! Keystone, version 3: a token, what it is good for and how long, and where the services are.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::clouds::{Auth, Cloud, Identity, Named, Scope};
use super::secret::Secret;
use crate::calendar;
use crate::error::{ExitCode, Failure, Result};
use crate::http::{self, Call, Client, Redirects, Stop, Upload, shown};
use crate::report::Report;

/// A token is renewed when it has less than this left, or less than half of its life where that is
/// shorter.
const LEAST_LIFE: Duration = Duration::from_secs(300);

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Someone who is logged in to a cloud.
#[derive(Debug)]
pub struct Session {
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

#[derive(Debug, Clone, Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
struct Endpoint {
    interface: String,
    region: Option<String>,
    region_id: Option<String>,
    url: String,
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// When Keystone cannot be reached or refuses.
    pub fn open(cloud: Cloud, report: &Report) -> Result<Self> {
        if cloud.tls.insecure {
            report.warn(&format!("the cloud '{}' says verify: false: whoever answers is believed", cloud.name));
        }
        let session = Self { client: Client::new(&cloud.tls, Redirects::Show)?, cloud, token: Mutex::new(None) };
        session.renew()?;
        Ok(session)
    }

    /// The cloud.
    #[must_use]
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The project that the token is for.
    #[must_use]
    pub fn project(&self) -> Option<Project> {
        self.locked().as_ref()?.body.project.clone()
    }

    /// The names of the roles there.
    #[must_use]
    pub fn roles(&self) -> Vec<String> {
        self.locked().as_ref().map(|token| token.body.roles.iter().map(|r| r.name.clone()).collect()).unwrap_or_default()
    }

    /// Whether services take the caller for an administrator: by the role, or because there is no
    /// Keystone.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        !self.cloud.auth.has_keystone() || self.roles().iter().any(|role| role == "admin")
    }

    /// Who we are there, for messages.
    #[must_use]
    pub fn who(&self) -> String {
        let locked = self.locked();
        let Some(body) = locked.as_ref().map(|token| &token.body) else {
            return match &self.cloud.auth {
                Auth::Basic { user, .. } => format!("user {user}"),
                Auth::None | Auth::Keystone { .. } => "the caller".into(),
            };
        };
        let user = body.user.as_ref().map_or("?", |user| user.name.as_str());
        let project = body.project.as_ref().map(|project| format!(" in project {}", project.name)).unwrap_or_default();
        let roles: Vec<&str> = body.roles.iter().map(|role| role.name.as_str()).collect();
        format!("user {user}{project} (roles: {})", if roles.is_empty() { "none".into() } else { roles.join(", ") })
    }

    /// The URL of a service, such as `image` or `baremetal`, without a version at its end.
    ///
    /// # Errors
    /// When neither clouds.yaml nor the catalogue has it.
    pub fn endpoint(&self, service: &str) -> Result<String> {
        if let Some(url) = self.cloud.endpoints.get(&service.replace('-', "_")) {
            return Ok(unversioned(url));
        }
        let Cloud { name, source, interface, region, .. } = &self.cloud;
        let doing = format!("finding the {service} service of the cloud '{name}'");
        let locked = self.locked();
        let Some(body) = locked.as_ref().map(|token| &token.body) else {
            return Err(Failure::new(ExitCode::Recipe, format!("{doing}: without Keystone there is no catalogue"))
                .hint(format!("write {service}_endpoint_override into {source}"))
                .into());
        };
        let of_kind: Vec<&Endpoint> =
            body.catalog.iter().filter(|s| s.kind == service).flat_map(|s| &s.endpoints).filter(|e| &e.interface == interface).collect();
        let in_region = |e: &&Endpoint| region.is_none() || e.region == *region || e.region_id == *region;
        let mut urls: Vec<&str> = of_kind.iter().copied().filter(in_region).map(|e| e.url.as_str()).collect();
        urls.sort_unstable();
        urls.dedup();
        let regions = || {
            let mut names: Vec<&str> = of_kind.iter().filter_map(|e| e.region.as_deref()).collect();
            names.sort_unstable();
            names.dedup();
            names.join(", ")
        };
        let url = match urls.as_slice() {
            [url] => *url,
            [] if body.catalog.is_empty() => {
                return Err(Failure::new(ExitCode::Recipe, format!("{doing}: the token has no catalogue, for it is for no project"))
                    .hint(format!("name project_name (and project_domain_name) in {source}"))
                    .into());
            }
            [] => {
                let place = region.as_ref().map(|r| format!(" in region {r}")).unwrap_or_default();
                return Err(Failure::new(ExitCode::Registry, format!("{doing}: the catalogue has no {interface} endpoint of it{place}"))
                    .hint(format!("look at region_name and interface in {source}; it is known in regions: {}", regions()))
                    .into());
            }
            [_, ..] => {
                return Err(Failure::new(ExitCode::Recipe, format!("{doing}: the catalogue has it in several regions"))
                    .hint(format!("name region_name in {source}: one of {}", regions()))
                    .into());
            }
        };
        let tls = matches!(&self.cloud.auth, Auth::Keystone { url, .. } if url.starts_with("https://"));
        if tls && url.starts_with("http://") {
            return Err(Failure::new(
                ExitCode::Trust,
                format!("{doing}: Keystone is behind TLS, but the catalogue has it at {url}, and the token would go there in the clear"),
            )
            .hint(format!("if that is as it should be, write {service}_endpoint_override: {url} into {source}"))
            .into());
        }
        Ok(unversioned(url))
    }

    /// Makes a call to a service; a token that ran out in the meantime is renewed, and the call
    /// made again.
    ///
    /// # Errors
    /// When the service cannot be reached. An answer that refuses is no error here: see
    /// [`Answer::expect`].
    pub fn call(&self, service: &str, call: &Call) -> Result<Answer> {
        let url = format!("{}{}", self.endpoint(service)?, call.path);
        let mut renewed = false;
        loop {
            let credential = self.credential()?;
            let answer = self.answer(self.client.call(call, &url, &headers(credential.as_ref())), &url, name(service))?;
            if answer.status == 401 && matches!(self.cloud.auth, Auth::Basic { .. }) {
                let Cloud { name: cloud, source, .. } = &self.cloud;
                return Err(Failure::new(
                    ExitCode::Registry,
                    format!("calling {} at {}: it does not accept the password", name(service), shown(&url)),
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
    /// When the service cannot be reached or the connection breaks. An answer that refuses is no
    /// error here.
    pub fn upload(&self, service: &str, upload: Upload<'_>) -> Result<Answer> {
        let url = format!("{}{}", self.endpoint(service)?, upload.path);
        let credential = self.credential()?;
        self.answer(self.client.upload(upload, &url, &headers(credential.as_ref())), &url, name(service))
    }

    fn answer(&self, result: std::result::Result<http::Answer, http::Error>, url: &str, service: &str) -> Result<Answer> {
        let http = result.map_err(|error| error.failure(ExitCode::Registry, format!("calling {}", shown(url))))?;
        Ok(Answer { http, service: service.to_owned(), who: self.who() })
    }

    /// The header by which a service knows the caller; none where nothing is asked for.
    fn credential(&self) -> Result<Option<(&'static str, Secret)>> {
        if let Auth::Basic { user, password } = &self.cloud.auth {
            let pair = STANDARD.encode(format!("{user}:{}", password.reveal()));
            return Ok(Some(("authorization", Secret::new(format!("Basic {pair}")))));
        }
        Ok(self.token()?.map(|token| ("x-auth-token", token)))
    }

    /// A token with some life left; none where there is no Keystone.
    fn token(&self) -> Result<Option<Secret>> {
        let fresh = self.locked().as_ref().filter(|t| left(t) >= LEAST_LIFE.min(t.life / 2)).map(|token| token.value.clone());
        if fresh.is_none() && self.cloud.auth.has_keystone() {
            self.renew()?;
        }
        Ok(fresh.or_else(|| self.locked().as_ref().map(|token| token.value.clone())))
    }

    /// Logs in, again or for the first time.
    fn renew(&self) -> Result<()> {
        let Auth::Keystone { url, identity, scope } = &self.cloud.auth else { return Ok(()) };
        let began = Instant::now();
        let doing = format!("logging in to the cloud '{}' at {url}", self.cloud.name);
        let mut call = Call::json("POST", "", &json!({ "auth": auth(identity, scope) })).repeatable();
        // Cleaning up after a signal may need a new token.
        call = if crate::process::stop_requested().is_some() { call.stop(Stop::Ignore) } else { call };
        let url = format!("{url}/auth/tokens");
        let answer = self.answer(self.client.call(&call, &url, &headers(None)), &url, "Keystone")?;
        if !answer.is(&[201, 200]) {
            return Err(self.not_let_in(&answer, &doing, identity));
        }
        let value = answer.header("x-subject-token").unwrap_or_default().to_owned();
        let body: Option<Body> = answer.json(&doing)?.get("token").and_then(|token| Body::deserialize(token).ok());
        let Some(body) = body.filter(|_| !value.is_empty()) else {
            return Err(Failure::new(ExitCode::Registry, format!("{doing}: what answers there gives no token"))
                .hint(format!("look at auth_url in {}", self.cloud.source))
                .into());
        };
        let issued = body.issued_at.as_deref().and_then(calendar::seconds).unwrap_or_else(calendar::now);
        let seconds = calendar::seconds(&body.expires_at).map_or(0, |ends| (ends - issued).max(0));
        let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        *self.locked() = Some(Token { value: Secret::new(value), ends: began + life, life, body });
        Ok(())
    }

    fn not_let_in(&self, answer: &Answer, doing: &str, identity: &Identity) -> anyhow::Error {
        let Cloud { name, source, .. } = &self.cloud;
        let hint = match (answer.status, identity) {
            (401, Identity::Password(..)) => {
                format!(
                    "look at username, password, project_name and their domains of '{name}' in {source}: one of them is wrong, or the user has no role there"
                )
            }
            // Keystone answers 404 to what is no token at all.
            (401, Identity::Token(_)) | (404, Identity::Token(_)) if answer.status == 401 || answer.message().contains("token") => {
                format!("the token of '{name}' in {source} ran out or was revoked: take a new one")
            }
            (401 | 404, Identity::ApplicationCredential(..)) if answer.status == 401 || answer.message().contains("redential") => {
                format!("the application credential of '{name}' in {source} is wrong, ran out or was removed: make a new one")
            }
            (300 | 404, _) => format!("that is no Keystone of version 3: look at auth_url in {source}"),
            _ => return answer.refusal(doing),
        };
        let said = answer.message();
        Failure::new(ExitCode::Registry, format!("{doing}: Keystone answered {}: {said}", answer.status)).hint(hint).into()
    }

    fn locked(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn headers<'a>(credential: Option<&'a (&'static str, Secret)>) -> Vec<(&'static str, &'a str)> {
    [("accept", "application/json")].into_iter().chain(credential.map(|(name, value)| (*name, value.reveal()))).collect()
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

fn unversioned(url: &str) -> String {
    let url = url.trim_end_matches('/');
    match url.rsplit_once('/') {
        Some((above, last))
            if last.strip_prefix('v').is_some_and(|v| v.chars().all(|c| c.is_ascii_digit() || c == '.') && !v.is_empty()) =>
        {
            above.to_owned()
        }
        _ => url.to_owned(),
    }
}

/// The body of a request for a token.
fn auth(identity: &Identity, scope: &Scope) -> Value {
    let identity = match identity {
        Identity::Password(user, password) => {
            let mut user = object(user);
            user["password"] = json!(password.reveal());
            json!({ "methods": ["password"], "password": { "user": user } })
        }
        Identity::Token(token) => json!({ "methods": ["token"], "token": { "id": token.reveal() } }),
        Identity::ApplicationCredential(credential, user, secret) => {
            let mut entry = json!({ "secret": secret.reveal() });
            match (&credential.id, &credential.name) {
                (Some(id), _) => entry["id"] = json!(id),
                (None, name) => {
                    entry["name"] = json!(name);
                    entry["user"] = object(user);
                }
            }
            json!({ "methods": ["application_credential"], "application_credential": entry })
        }
    };
    match scope {
        Scope::Own => json!({ "identity": identity }),
        Scope::Project(project) => json!({ "identity": identity, "scope": { "project": object(project) } }),
        Scope::Domain(domain) => {
            let domain = match &domain.id {
                Some(id) => json!({ "id": id }),
                None => json!({ "name": domain.name }),
            };
            json!({ "identity": identity, "scope": { "domain": domain } })
        }
        Scope::System => json!({ "identity": identity, "scope": { "system": { "all": true } } }),
    }
}

fn object(named: &Named) -> Value {
    match (&named.id, &named.domain_id) {
        (Some(id), _) => json!({ "id": id }),
        (None, Some(domain)) => json!({ "name": named.name, "domain": { "id": domain } }),
        (None, None) => json!({ "name": named.name, "domain": { "name": named.domain_name } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_at_the_end_of_an_endpoint_go_and_nothing_else_does() {
        for (url, bare) in [
            ("http://h:9292", "http://h:9292"),
            ("http://h/image/v2/", "http://h/image"),
            ("http://h/v2.1", "http://h"),
            ("http://h/vault", "http://h/vault"),
            ("http://h/v", "http://h/v"),
        ] {
            assert_eq!(unversioned(url), bare);
        }
    }

    #[test]
    fn credentials_are_written_as_keystone_wants_them() {
        let user = Named { name: Some("u".into()), domain_name: Some("D".into()), ..Named::default() };
        let project = Named { id: Some("p1".into()), ..Named::default() };
        let value = auth(&Identity::Password(user.clone(), Secret::new("s".into())), &Scope::Project(project));
        assert_eq!(
            value,
            json!({ "identity": { "methods": ["password"], "password": { "user": { "name": "u", "domain": { "name": "D" }, "password": "s" } } },
                    "scope": { "project": { "id": "p1" } } })
        );
        let credential = Named { name: Some("c".into()), ..Named::default() };
        let value = auth(&Identity::ApplicationCredential(credential, user, Secret::new("s".into())), &Scope::Own);
        assert_eq!(value["identity"]["application_credential"]["user"]["domain"]["name"], "D");
        assert!(value.get("scope").is_none());
    }
}
