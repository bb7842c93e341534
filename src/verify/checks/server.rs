//! How a server answers: Anaconda asks once with HEAD, follows nothing, and believes the length.

use super::check::{Check, Hit, Look, said};
use crate::verify::address::Answer;
use crate::verify::image::{Image, Place};
use crate::verify::severity::Severity::{Error, Warning};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "url-status",
        severity: Error,
        why: "Anaconda's HEAD has to be answered by 200 itself: it follows no redirection, and \
              the installation fails",
        fix: "give the node the final address, and allow HEAD",
        look: Look::Place(|image| {
            on(image, |answer| match (answer.refused, answer.head) {
                (Some(status), _) => Some(format!("the server answers GET by {status}")),
                (None, 200) => None,
                (None, status @ 300..=399) => {
                    Some(format!("the server answers HEAD by {status}: a redirection"))
                }
                (None, status) => Some(format!("the server answers HEAD by {status}")),
            })
        }),
    },
    Check {
        name: "url-query",
        severity: Error,
        why: "Anaconda looks at the end of the address: with a query it is no tarball but a disk \
              image, and the mount fails",
        fix: "serve it under an address without ? and #, such as a Glance image through Ironic's \
               conductor",
        look: Look::Place(|image| {
            on(image, |answer| {
                answer.url.contains(['?', '#']).then(|| "the address has a query".to_owned())
            })
        }),
    },
    Check {
        name: "url-length",
        severity: Warning,
        why: "without a Content-Length Anaconda reads the whole tarball into memory and guesses \
              the space that it needs",
        fix: "serve it as a static file",
        look: Look::Place(|image| {
            on(image, |answer| {
                answer.length.is_none().then(|| "the server sends no Content-Length".to_owned())
            })
        }),
    },
    Check {
        name: "url-encoding",
        severity: Warning,
        why: "the node decodes a Content-Encoding without a message: the stored file has another \
              checksum and another format than its name says",
        fix: "turn off the encoding for tarballs (Apache: AddEncoding of .tgz and .gz)",
        look: Look::Place(|image| {
            on(image, |answer| {
                answer
                    .encoding
                    .as_ref()
                    .map(|encoding| format!("the server sends Content-Encoding: {encoding}"))
            })
        }),
    },
];

fn on(image: &Image<'_>, look: fn(&Answer) -> Option<String>) -> Vec<Hit> {
    match &image.place {
        Place::Address(answer) => look(answer).map(said).unwrap_or_default(),
        Place::File(_) | Place::Nowhere => Vec::new(),
    }
}
