//! Logging in: the request for a token, and why it was refused.

use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use super::{Body, Session, Token, headers};
use crate::calendar;
use crate::cloud::answer::Answer;
use crate::cloud::clouds::{Auth, Cloud, Identity, Named, Scope};
use crate::cloud::secret::Secret;
use crate::error::{ExitCode, Failure, Result};
use crate::http::{Call, Stop};

impl Session {
    /// Logs in, again or for the first time.
    pub(super) fn renew(&self) -> Result<()> {
        let Auth::Keystone { url, identity, scope } = &self.cloud.auth else { return Ok(()) };
        let began = Instant::now();
        let doing = format!("logging in to the cloud '{}' at {url}", self.cloud.name);
        let mut call =
            Call::json("POST", "", &json!({ "auth": auth(identity, scope) })).repeatable();
        // Cleaning up after a signal may need a new token.
        call =
            if crate::process::stop_requested().is_some() { call.stop(Stop::Ignore) } else { call };
        let url = format!("{url}/auth/tokens");
        let answer =
            self.answer(self.client.call(&call, &url, &headers(None)), &url, "Keystone")?;
        if !answer.is(&[201, 200]) {
            return Err(self.not_let_in(&answer, &doing, identity));
        }
        let value = answer.header("x-subject-token").unwrap_or_default().to_owned();
        let body: Option<Body> =
            answer.json(&doing)?.get("token").and_then(|token| Body::deserialize(token).ok());
        let Some(body) = body.filter(|_| !value.is_empty()) else {
            return Err(Failure::new(
                ExitCode::Registry,
                format!("{doing}: what answers there gives no token"),
            )
            .hint(format!("look at auth_url in {}", self.cloud.source))
            .into());
        };
        let issued =
            body.issued_at.as_deref().and_then(calendar::seconds).unwrap_or_else(calendar::now);
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
                    "look at username, password, project_name and their domains of '{name}' in \
                     {source}: one of them is wrong, or the user has no role there"
                )
            }
            // Keystone answers 404 to a text that is not a token.
            (401, Identity::Token(_)) | (404, Identity::Token(_))
                if answer.status == 401 || answer.message().contains("token") =>
            {
                format!("the token of '{name}' in {source} ran out or was revoked: take a new one")
            }
            (401 | 404, Identity::ApplicationCredential(..))
                if answer.status == 401 || answer.message().contains("redential") =>
            {
                format!(
                    "the application credential of '{name}' in {source} is wrong, ran out or was \
                     removed: make a new one"
                )
            }
            (300 | 404, _) => format!("that is not Keystone version 3: check auth_url in {source}"),
            _ => return answer.refusal(doing),
        };
        let said = answer.message();
        Failure::new(
            ExitCode::Registry,
            format!("{doing}: Keystone answered {}: {said}", answer.status),
        )
        .hint(hint)
        .into()
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
        Identity::Token(token) => {
            json!({ "methods": ["token"], "token": { "id": token.reveal() } })
        }
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
        Scope::Project(project) => {
            json!({ "identity": identity, "scope": { "project": object(project) } })
        }
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
    fn credentials_are_written_as_keystone_wants_them() {
        let user =
            Named { name: Some("u".into()), domain_name: Some("D".into()), ..Named::default() };
        let project = Named { id: Some("p1".into()), ..Named::default() };
        let value = auth(
            &Identity::Password(user.clone(), Secret::new("s".into())),
            &Scope::Project(project),
        );
        assert_eq!(
            value,
            json!({ "identity": { "methods": ["password"],
                "password": { "user": { "name": "u", "domain": { "name": "D" },
                    "password": "s" } } },
                    "scope": { "project": { "id": "p1" } } })
        );
        let credential = Named { name: Some("c".into()), ..Named::default() };
        let value = auth(
            &Identity::ApplicationCredential(credential, user, Secret::new("s".into())),
            &Scope::Own,
        );
        assert_eq!(value["identity"]["application_credential"]["user"]["domain"]["name"], "D");
        assert!(value.get("scope").is_none());
    }
}
