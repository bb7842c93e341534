//! A service of OpenStack as a caller sees it: one URL, a token, JSON both ways, and errors in the service's own words.

use serde_json::Value;
use std::fmt;
use ureq::{Agent, http};

use crate::error::{ExitCode, Failure, Result};
use crate::web;

/// No answer of these APIs is longer.
const LONGEST: u64 = 64 << 20;

/// Who calls: gives the token that the service knows the caller by.
pub trait Access: fmt::Debug {
    /// A token that is valid now; none where the service asks for none.
    ///
    /// # Errors
    /// When Keystone refuses.
    fn token(&self) -> Result<Option<String>>;

    /// Forgets the token: the service took it for expired or revoked.
    fn renew(&self);
}

/// A service without Keystone.
#[derive(Debug, Clone, Copy)]
pub struct Anyone;

impl Access for Anyone {
    fn token(&self) -> Result<Option<String>> {
        Ok(None)
    }

    fn renew(&self) {}
}

/// A service and who calls it.
#[derive(Debug)]
pub struct Service<'a> {
    name: &'static str,
    agent: &'a Agent,
    url: String,
    access: &'a dyn Access,
    /// Headers of every request.
    headers: Vec<(&'static str, String)>,
}

/// What a service answered with a status of success.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The body; null when there is none.
    pub body: Value,
    /// The headers.
    pub headers: http::HeaderMap,
}

/// A refusal, in the service's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service} answers {status}: {message}{}", request_id.as_ref().map_or(String::new(), |id| format!(" ({id})")))]
pub struct ApiError {
    /// Its name.
    pub service: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What it says, on one line.
    pub message: String,
    /// By which its log knows the request.
    pub request_id: Option<String>,
}

impl<'a> Service<'a> {
    /// A service called `name` in messages, at `url`.
    pub fn new(name: &'static str, agent: &'a Agent, url: &str, access: &'a dyn Access) -> Self {
        Self { name, agent, url: url.trim_end_matches('/').to_owned(), access, headers: Vec::new() }
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// An [`ApiError`] when the service refuses; a [`Failure`] when it cannot be reached.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.call(http::Method::GET, path, None, &[])
    }

    /// Calls with a JSON body.
    ///
    /// # Errors
    /// As [`Service::get`].
    pub fn send(&self, method: http::Method, path: &str, body: &Value) -> Result<Answer> {
        self.call(method, path, Some(body), &[])
    }

    /// The first bytes of a resource that is no JSON.
    ///
    /// # Errors
    /// As [`Service::get`].
    pub fn first_bytes(&self, path: &str, count: u64) -> Result<Vec<u8>> {
        let mut answer = self.exchange(&http::Method::GET, path, None, &[("range", format!("bytes=0-{}", count.saturating_sub(1)))])?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.refusal(status, answer.headers().clone(), &read(&mut answer)).into());
        }
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(answer.body_mut().as_reader(), count), &mut bytes)
            .map_err(|error| self.unreachable(&error.into()))?;
        Ok(bytes)
    }

    fn call(&self, method: http::Method, path: &str, body: Option<&Value>, headers: &[(&str, String)]) -> Result<Answer> {
        let mut answer = self.exchange(&method, path, body, headers)?;
        // A token may have been revoked before its time.
        if answer.status() == http::StatusCode::UNAUTHORIZED {
            self.access.renew();
            answer = self.exchange(&method, path, body, headers)?;
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = read(&mut answer);
        if !status.is_success() {
            return Err(self.refusal(status, headers, &text).into());
        }
        Ok(Answer { body: serde_json::from_str(&text).unwrap_or(Value::Null), headers })
    }

    fn exchange(
        &self,
        method: &http::Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, String)],
    ) -> Result<http::Response<ureq::Body>> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url)).header("accept", "application/json");
        if let Some(token) = self.access.token()? {
            request = request.header("x-auth-token", token);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let outcome = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                self.agent.run(request.map_err(|error| self.odd_request(path, &error))?)
            }
            None => self.agent.run(request.body(()).map_err(|error| self.odd_request(path, &error))?),
        };
        outcome.map_err(|error| self.unreachable(&error))
    }

    fn odd_request(&self, path: &str, error: &http::Error) -> anyhow::Error {
        Failure::new(ExitCode::Usage, format!("asking {} for {}: {error}", self.name, path.escape_debug())).into()
    }

    fn unreachable(&self, error: &ureq::Error) -> anyhow::Error {
        let (why, hint) = web::explain(error);
        let failure = Failure::new(ExitCode::Registry, format!("reaching {} at {}: {why}", self.name, self.url));
        match hint {
            Some(_) => failure.hint("name its authority (a PEM file) as cacert in clouds.yaml, or in OS_CACERT").into(),
            None => failure.into(),
        }
    }

    fn refusal(&self, status: http::StatusCode, headers: http::HeaderMap, text: &str) -> ApiError {
        let request_id = headers.get("x-openstack-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        ApiError { service: self.name, status: status.as_u16(), message: message(text), request_id }
    }
}

fn read(answer: &mut http::Response<ureq::Body>) -> String {
    // What cannot be read is no message; the status still says what happened.
    answer.body_mut().with_config().limit(LONGEST).read_to_string().unwrap_or_default()
}

/// The sentence in an error's body: JSON within JSON, JSON, or HTML; on one line and not endless.
fn message(text: &str) -> String {
    fn sentence(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(inner @ Value::Object(_)) => sentence(&inner),
                _ => Some(text.clone()),
            },
            Value::Object(fields) => ["faultstring", "error_message", "message", "description", "error", "title"]
                .into_iter()
                .find_map(|key| fields.get(key).filter(|value| !value.is_null()).and_then(sentence)),
            _ => None,
        }
    }
    let plain = serde_json::from_str::<Value>(text).ok().as_ref().and_then(sentence).unwrap_or_else(|| text.to_owned());
    let mut line = String::new();
    let mut tag = false;
    for c in plain.chars() {
        match c {
            '<' => tag = true,
            '>' if tag => {
                tag = false;
                line.push(' ');
            }
            _ if tag => {}
            c if c.is_control() || c.is_whitespace() => line.push(' '),
            c => line.push(c),
        }
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(500).collect();
    if line.is_empty() { "no reason given".into() } else { line.trim_end_matches('.').to_owned() }
}

/// The refusal in an error, if it is one.
#[must_use]
pub fn refusal(error: &anyhow::Error) -> Option<&ApiError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_found_in_every_shape_of_an_error() {
        let twice =
            r#"{"error_message": "{\"faultcode\": \"Client\", \"faultstring\": \"Node nope could not be found.\", \"debuginfo\": null}"}"#;
        assert_eq!(message(twice), "Node nope could not be found");
        assert_eq!(message(r#"{"error_message": {"faultstring": "a\n  b"}}"#), "a b");
        assert_eq!(message(r#"{"error": {"code": 401, "title": "Unauthorized", "message": "Log in."}}"#), "Log in");
        assert_eq!(message("<html><title>413</title>Too <br/>large\u{1b}[2J</html>"), "413 Too large [2J");
        assert_eq!(
            message(r#"{"error_message": "{\"code\": 406, \"title\": \"Not Acceptable\", \"description\": \"Version 9\"}"}"#),
            "Version 9"
        );
        assert_eq!(message(""), "no reason given");
        assert!(message(&"x".repeat(10_000)).len() <= 500);
    }
}
