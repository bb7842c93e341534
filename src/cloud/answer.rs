//! The answers of services, and their explanation for the user.

use serde_json::Value;
use std::ops::Deref;

use crate::error::{ExitCode, Failure, Result};
use crate::http;

/// The most of a service's message that is passed on, in characters.
const LONGEST: usize = 600;

/// An answer of a service, of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) http: http::Answer,
    /// The service's name, for messages: `Glance`.
    pub(super) service: String,
    /// The caller: `user demo in project demo (roles member)`.
    pub(super) who: String,
}

impl Deref for Answer {
    type Target = http::Answer;

    fn deref(&self) -> &http::Answer {
        &self.http
    }
}

impl Answer {
    /// The body as it came.
    #[must_use]
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.http.body
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON: the answer is not from an OpenStack service.
    pub(crate) fn json(&self, doing: &str) -> Result<Value> {
        serde_json::from_slice(&self.body).map_err(|_| {
            Failure::new(
                ExitCode::Registry,
                format!("{doing}: {} did not answer with JSON{}", self.service, self.request()),
            )
            .hint("another program may answer at that address: a proxy, or a dashboard")
            .into()
        })
    }

    /// This answer if it has one of the statuses, otherwise the failure for the user.
    ///
    /// # Errors
    /// When it has another status.
    pub(crate) fn expect(self, statuses: &[u16], doing: &str) -> Result<Self> {
        if self.is(statuses) { Ok(self) } else { Err(self.refusal(doing)) }
    }

    /// The failure for the user from an answer that refuses.
    #[must_use]
    pub(crate) fn refusal(&self, doing: &str) -> anyhow::Error {
        let said = self.message();
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let mut failure = Failure::new(
            ExitCode::Registry,
            format!("{doing}: {} answered {}{said}{}", self.service, self.status, self.request()),
        );
        for hint in self.hints() {
            failure = failure.hint(hint);
        }
        failure.into()
    }

    fn hints(&self) -> Vec<String> {
        let said = self.message().to_ascii_lowercase();
        let html = self.body.trim_ascii_start().starts_with(b"<");
        let hint = match self.status {
            400 if said.contains("plain http") || said.contains("https") => {
                "that port speaks TLS: write https:// in the address".into()
            }
            400 if said.contains("size mismatch") || said.contains("size exceeds") => {
                "something between here and the service changes what is sent".into()
            }
            401 => format!(
                "the token of {} is not accepted: was it revoked, or is the service of another \
                 cloud?",
                self.who
            ),
            403 if said.contains("quota") => {
                "free some space in the project, or ask for a larger quota".into()
            }
            403 => format!(
                "{} may not do that: ask for a role, or choose what its roles allow",
                self.who
            ),
            404 => format!("it is not there, or not for {}", self.who),
            409 => "someone else may be at work on it: try again".into(),
            410 => "it was deleted in the meantime: publish again".into(),
            413 if html => "a proxy in front limits uploads (nginx: client_max_body_size): ask \
                            for it to be raised, or compress harder (--format txz, --level best)"
                .into(),
            413 => "the quota of the project or the largest size of an image is reached: remove \
                    old images (osimg images --prune), or compress harder (--format txz)"
                .into(),
            415 => "the service does not recognise the file as the declared type".into(),
            300..=399 => format!(
                "the address leads elsewhere{}: correct it, redirects are not followed with a \
                 token",
                self.header("location").map(|to| format!(" ({})", clean(to))).unwrap_or_default()
            ),
            500..=599 => "the service itself failed: its operators find the cause in its log by \
                          the request id"
                .into(),
            _ => return Vec::new(),
        };
        vec![hint]
    }

    /// The request's id as the service logged it, for the end of a message.
    fn request(&self) -> String {
        let id = ["x-openstack-request-id", "x-compute-request-id"]
            .into_iter()
            .find_map(|name| self.header(name));
        id.map(|id| format!(" (request {})", clean(id))).unwrap_or_default()
    }

    /// The service's message, in one line.
    #[must_use]
    pub(crate) fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let said = match serde_json::from_slice::<Value>(&self.body) {
            Ok(value) => from_json(&value).unwrap_or_default(),
            Err(_) => text.into_owned(),
        };
        crate::secrets::concealed(&clean(&without_tags(&said))).into_owned()
    }
}

/// Glance sends `{"message": …}`, Keystone `{"error": {"message": …}}`, Ironic `{"error_message":
/// …}` with a text or an object in it.
fn from_json(value: &Value) -> Option<String> {
    for key in ["message", "error", "error_message", "faultstring"] {
        match value.get(key) {
            Some(Value::String(text)) => {
                let inner = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
                return Some(inner.as_ref().and_then(from_json).unwrap_or_else(|| text.clone()));
            }
            Some(object @ Value::Object(_)) => return from_json(object),
            _ => {}
        }
    }
    None
}

fn without_tags(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => {
                inside = true;
                plain.push(' ');
            }
            '>' if inside => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}

/// One line without control characters, not too long.
fn clean(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{} …", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let http =
            http::Answer::new(status, &[("x-openstack-request-id", "req-1")], body.as_bytes());
        Answer { http, service: "Glance".into(), who: "user u in project p".into() }
    }

    #[test]
    fn messages_of_every_service_are_found() {
        for (body, said) in [
            (
                r#"{"message": "Image failed<br /><br />\nsafety checks", "code": "415"}"#,
                "Image failed safety checks",
            ),
            (r#"{"error": {"message": "wrong password", "code": 401}}"#, "wrong password"),
            (r#"{"error_message": "{\"faultstring\": \"no such node\"}"}"#, "no such node"),
            (
                "<html><head><title>413 Request Entity Too Large</title></head></html>",
                "413 Request Entity Too Large",
            ),
            ("gone\u{1b}[2J wild", "gone [2J wild"),
            ("", ""),
        ] {
            assert_eq!(answer(400, body).message(), said);
        }
    }

    #[test]
    fn a_refusal_has_what_was_done_what_was_said_the_request_and_a_hint() {
        let error = answer(413, "<html>Request Entity Too Large</html>").refusal("uploading x");
        let rendered = crate::error::render(&error);
        assert!(
            rendered.starts_with(
                "error: uploading x: Glance answered 413: Request Entity Too Large (request \
                 req-1)\nhint: a proxy"
            ),
            "{rendered}"
        );
    }
}
