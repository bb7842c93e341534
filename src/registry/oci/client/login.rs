//! Authentication at a registry: by a password, or by a token that was requested with it.

use serde::Deserialize;

use super::{Client, failed};
use crate::error::{ExitCode, Failure, Result};
use crate::http::{Answer, Call, is_loopback};
use crate::percent::{UNRESERVED, encoded};
use crate::registry::oci::credentials::Credentials;

impl Client {
    /// Answers the registry's request for a login; false when no other login is available.
    pub(super) fn log_in(&self, answer: &Answer, doing: &str) -> Result<bool> {
        let challenges: Vec<&str> = answer.headers("www-authenticate").collect();
        let find = |scheme: &str| {
            challenges.iter().find(|c| {
                c.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            })
        };
        let found = if let Some(challenge) = find("bearer ") {
            Some(format!("Bearer {}", self.token(challenge, doing)?))
        } else if find("basic").is_some() {
            self.credentials.as_ref().and_then(Credentials::basic)
        } else {
            None
        };
        let mut held = self.authorization.borrow_mut();
        let news = found.is_some() && *held != found;
        if news {
            *held = found;
        }
        Ok(news)
    }

    /// Buys a token: <https://distribution.github.io/distribution/spec/auth/token/>.
    fn token(&self, challenge: &str, doing: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Token {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        let wrong =
            |why: &str| Failure::new(ExitCode::Registry, format!("{doing}: logging in: {why}"));
        let realm = parameter(challenge, "realm")
            .ok_or_else(|| wrong("the registry does not say where"))?;
        let host = realm
            .split_once("://")
            .map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
        if !realm.starts_with("https://") && (!realm.starts_with("http://") || !is_loopback(host)) {
            return Err(wrong("the registry wants the password in the clear").into());
        }
        let service = parameter(challenge, "service").unwrap_or_default();
        let scope = format!("repository:{}:pull,push,delete", self.repository.name);
        let form = |fields: &[(&str, &str)]| {
            let pairs: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}={}", encoded(value, UNRESERVED)))
                .collect();
            pairs.join("&")
        };
        let (call, url) = match &self.credentials {
            Some(Credentials::Identity(token)) => {
                let fields = [
                    ("service", &*service),
                    ("scope", &scope),
                    ("client_id", "osimg"),
                    ("refresh_token", token),
                ];
                let body = form(&[&[("grant_type", "refresh_token")], &fields[..]].concat());
                (
                    Call::send("POST", "", body)
                        .repeatable()
                        .header("content-type", "application/x-www-form-urlencoded"),
                    realm.clone(),
                )
            }
            login => {
                let mut call = Call::get("");
                if let Some(basic) = login.as_ref().and_then(Credentials::basic) {
                    call = call.header("authorization", basic);
                }
                let query = form(&[("service", &service), ("scope", &scope)]);
                (call, format!("{realm}{}{query}", if realm.contains('?') { '&' } else { '?' }))
            }
        };
        let answer = self
            .http
            .call(&call.stop(self.stop.get()), &url, &[])
            .map_err(|e| failed(e, &format!("{doing}: logging in at {host}")))?;
        if answer.status != 200 {
            return Err(wrong(&format!("{host} answers {}", answer.status_line()))
                .hint(format!("log in again: podman login {}", self.repository.host))
                .into());
        }
        let token: Token =
            serde_json::from_slice(&answer.body).map_err(|_| wrong("its answer is not a token"))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        crate::secrets::conceal(&token);
        Ok(token)
    }
}

/// A parameter of a `WWW-Authenticate` header: `realm="…"`.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let (_, mut rest) = challenge.split_once(' ')?;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').map_or((after, ""), |(value, next)| (value, next)),
        };
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_challenge_are_told_apart() {
        let challenge = concat!(
            r#"Bearer realm="https://auth.example/token?x=1,2",service="r.example", "#,
            r#"scope="repository:a:pull,push""#
        );
        assert_eq!(
            parameter(challenge, "realm").as_deref(),
            Some("https://auth.example/token?x=1,2")
        );
        assert_eq!(parameter(challenge, "scope").as_deref(), Some("repository:a:pull,push"));
        assert_eq!(parameter("Bearer realm=plain,service=b", "service").as_deref(), Some("b"));
        assert_eq!(parameter(challenge, "error"), None);
        assert_eq!(parameter("Bearer", "realm"), None);
        assert_eq!(parameter(r#"Bearer realm="open"#, "realm"), None);
    }
}
