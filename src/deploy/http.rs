//! Asks a web server for an image as Ironic and Anaconda ask, before a node depends on the answer.
//!
//! Ironic sends HEAD, takes any final answer but 200 for an error, and one of type `text/html` for
//! an install tree (`HttpImageService.validate_href`, `is_source_a_path`). Anaconda sends HEAD
//! without following a redirect, sizes the disk by Content-Length, and chooses how to unpack by how
//! the URL ends.

use serde::Serialize;
use std::path::Path;

use crate::error::{ExitCode, Failure, Result};
use crate::http::{Answer, Call, Client, Redirects, Trust, WebUrl, shown};
use crate::process;
use crate::set::Role;

/// Something about a URL that a deployment would stumble over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The problem, and its effect on the node.
    pub what: String,
    /// How to fix it.
    pub hint: String,
}

/// A server's answers about a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The URL.
    pub url: String,
    /// The file's size in bytes, if the server reports it.
    pub size: Option<u64>,
    /// The problems; none when the URL can be used.
    pub problems: Vec<Problem>,
}

impl Checked {
    /// The URL in the form for servers, if it can be used.
    ///
    /// # Errors
    /// All the problems in one failure, with their hints.
    pub fn into_result(self) -> Result<Option<u64>> {
        if self.problems.is_empty() {
            return Ok(self.size);
        }
        let all: Vec<&str> = self.problems.iter().map(|problem| problem.what.as_str()).collect();
        let mut failure =
            Failure::new(ExitCode::Registry, format!("checking {}: {}", self.url, all.join("; ")));
        for problem in &self.problems {
            failure = failure.hint(problem.hint.clone());
        }
        Err(failure.into())
    }
}

/// The expected file behind a URL.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Its role: a tarball's URL must end as one.
    pub role: Role,
    /// Its size in bytes, when it is known here.
    pub size: Option<u64>,
    /// The authorities that the server is checked against; the host's when there are none.
    pub ca: Option<&'a Path>,
}

/// Checks a URL as Ironic and Anaconda ask for it. Problems of the URL and of the answer are all
/// reported together.
///
/// # Errors
/// When no answer can be had at all, because the authorities cannot be read or a signal asks to
/// stop.
pub fn check(text: &str, expected: &Expected<'_>) -> Result<Checked> {
    let mut problems = Vec::new();
    let mut add = |what: &str, hint: &str| {
        problems.push(Problem { what: what.to_owned(), hint: hint.to_owned() })
    };
    let url = match WebUrl::parse(text) {
        Ok(url) => url,
        Err(why) => {
            add(&why, "write http(s)://HOST/PATH, without user, query or fragment");
            return Ok(Checked { url: shown(text), size: None, problems });
        }
    };
    if expected.role == Role::Tarball && crate::archive::suffix(url.path()).is_none() {
        add(
            "it does not end as a tarball: Anaconda would mount it as a disk",
            "let it end in .tgz, .tbz, .txz, .tar, .tar.gz, .tar.bz2 or .tar.xz, in small letters",
        );
    }
    let client = Client::new(&Trust::named(expected.ca), Redirects::Show)?;
    let mut size = None;
    // Both use python-requests, which offers compression: a server that compresses as it sends
    // shows it only then.
    let call = Call::head("").header("accept", "*/*").header("accept-encoding", "gzip, deflate");
    match client.open(&call, url.as_str(), &[]) {
        Err(error) => {
            process::check_stop()?;
            add(
                &error.to_string(),
                error
                    .hint()
                    .unwrap_or("can the conductor and the node reach the web server by this name?"),
            );
        }
        Ok((answer, _)) if answer.status != 200 => refused(&answer, &mut add),
        Ok((answer, _)) => size = accepted(&answer, expected, &mut add),
    }
    Ok(Checked { url: url.to_string(), size, problems })
}

fn refused(answer: &Answer, add: &mut impl FnMut(&str, &str)) {
    let status = answer.status_line();
    match answer.status {
        300..=399 => {
            let to = answer.header("location").unwrap_or("somewhere");
            add(
                &format!(
                    "it is redirected ({status}) to {}, which Anaconda's HEAD does not follow",
                    to.escape_debug()
                ),
                "give the URL that the redirect ends at",
            );
        }
        401 | 403 => add(
            &format!("the server refuses it ({status})"),
            "nodes fetch it without a password: let everyone read it",
        ),
        404 | 410 => add(
            &format!("the server has no such file ({status})"),
            "is the tree published where this URL points?",
        ),
        405 | 501 => add(
            &format!("the server does not answer HEAD ({status})"),
            "Ironic and Anaconda ask by HEAD first: allow it",
        ),
        _ => add(&format!("the server answers {status}"), "see its log"),
    }
}

fn accepted(
    answer: &Answer,
    expected: &Expected<'_>,
    add: &mut impl FnMut(&str, &str),
) -> Option<u64> {
    if let Some(coding) = answer.encoding() {
        add(
            &format!(
                "the server sends Content-Encoding: {}, so that what arrives is not the file",
                coding.escape_debug()
            ),
            "turn it off: Apache's mod_mime sends it for .tgz (RemoveEncoding .gz .tgz), nginx's \
             gzip for listed types",
        );
    }
    if let Some(kind) = answer
        .header("content-type")
        .filter(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
    {
        add(
            &format!(
                "the server declares it as {}: Ironic would take it for an install tree",
                kind.escape_debug()
            ),
            "is it the file itself, and not a page about it?",
        );
    }
    let size = answer.length();
    match (size, expected.size) {
        (None, _) => add(
            "the server does not report the length (Content-Length)",
            "serve it as a plain file, not through a script or compression",
        ),
        (Some(have), Some(want)) if have != want => add(
            &format!("it has {have} bytes there, {want} here"),
            "it is another version, or only half copied: publish it again",
        ),
        _ => {}
    }
    size
}
