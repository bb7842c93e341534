//! One image, created, sent and verified. An upload that failed is never continued: Glance may keep
//! the bytes it received and refuse all others, so the image is removed and a new one created.

use serde_json::json;
use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connection::Glance;
use super::images::{Draft, Image};
use super::journal::{Journal, gone, remove};
use crate::cloud::Answer;
use crate::error::{ExitCode, Failure, Result, exit_code};
use crate::http::{Retry, Stop, is_temporary};
use crate::process;
use crate::report::{Step, Unit};
use crate::set::Piece;

/// How long a store may take to be done with what it was sent.
const SETTLING: Duration = Duration::from_secs(1800);

/// How an upload ended badly.
enum Trouble {
    /// Another attempt may do better.
    Passing(anyhow::Error),
    /// It would fail again.
    Lasting(anyhow::Error),
}

/// Where the bytes come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    /// From here.
    Here,
    /// Glance fetches them.
    Url(&'a str),
}

/// Makes the image and fills it; the journal has it before Glance does.
pub(super) fn send(
    glance: &Glance,
    draft: &Draft,
    piece: &Piece,
    from: Origin<'_>,
    journal: &mut Journal,
    step: &Step<'_>,
) -> Result<Image> {
    let images = glance.images();
    let mut retry = Retry::new(Stop::Heed);
    loop {
        process::check_stop()?;
        let id = new_id()?;
        journal.begin(&id, draft);
        create(glance, &id, draft)?;
        let doing = match from {
            Origin::Here => format!("uploading {} as image {id}", piece.path.display()),
            Origin::Url(url) => format!("having Glance fetch {url} as image {id}"),
        };
        let sent = match from {
            Origin::Here => upload(glance, &id, piece, step, &doing),
            Origin::Url(url) => import(glance, &id, url, &doing),
        };
        let error = match sent.and_then(|()| verified(glance, &id, piece, &doing)) {
            Ok(image) => return Ok(image),
            Err(Trouble::Passing(error)) if retry.is_left() => error,
            Err(Trouble::Passing(error) | Trouble::Lasting(error)) => return Err(error),
        };
        // Stays in the journal when it cannot be removed.
        if remove(images, &id).is_err() {
            return Err(error);
        }
        journal.forget(&id);
        step.report().note(&format!("{error:#}; the image was removed, and is made again"));
        retry.again(None).map_err(|error| error.failure(ExitCode::Registry, doing))?;
    }
}

fn create(glance: &Glance, id: &str, draft: &Draft) -> Result<()> {
    let doing = format!("creating the image '{}'", draft.name);
    let answer = glance.images().create(id, draft)?;
    // An attempt whose answer was lost made it.
    if answer.status == 409
        && glance
            .images()
            .find(id, &doing, Stop::Heed)?
            .is_some_and(|image| image.status == "queued")
    {
        return Ok(());
    }
    if answer.status == 403 && draft.visibility == "public" {
        return Err(answer.refusal(&doing).context(PublicRefused));
    }
    if answer.status == 403 && draft.visibility == "community" {
        return Err(Failure::new(
            ExitCode::Registry,
            format!("{doing}: Glance lets {} make no community images", glance.session.who()),
        )
        .hint("share them with the project that Ironic's conductor works in: --share-with PROJECT")
        .because(answer.refusal("asking Glance"))
        .into());
    }
    answer.expect(&[201], &doing).map(|_| ())
}

/// Marks that Glance refused a public image: a narrower visibility may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublicRefused;

impl std::fmt::Display for PublicRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("making a public image")
    }
}

fn upload(
    glance: &Glance,
    id: &str,
    piece: &Piece,
    step: &Step<'_>,
    doing: &str,
) -> std::result::Result<(), Trouble> {
    let file = piece.open().map_err(Trouble::Lasting)?;
    let mut body = Telling { file, done: 0, size: piece.size, step };
    let result = glance.images().upload(id, piece.size, &mut body);
    let changed =
        body.done < piece.size && body.file.metadata().is_ok_and(|m| m.len() != piece.size);
    match result {
        Ok(answer) => judged(answer, doing),
        Err(error)
            if process::stop_requested().is_some() || exit_code(&error) == ExitCode::Trust =>
        {
            Err(Trouble::Lasting(error))
        }
        Err(_) if changed => Err(Trouble::Lasting(piece.changed(body.done))),
        Err(error) => Err(Trouble::Passing(
            error.context(format!("{doing}: {} of {} bytes were sent", body.done, piece.size)),
        )),
    }
}

fn judged(answer: Answer, doing: &str) -> std::result::Result<(), Trouble> {
    let message = answer.message();
    match answer.status {
        204 | 202 | 200 => Ok(()),
        // A proxy in between cut it, or the token ran out while the first byte was on its way, or
        // someone removed the image.
        400 if message.contains("Size mismatch") || message.contains("Size exceeds") => {
            Err(Trouble::Passing(answer.refusal(doing)))
        }
        401 | 404 | 409 | 410 => Err(Trouble::Passing(answer.refusal(doing))),
        status if is_temporary(status) => Err(Trouble::Passing(answer.refusal(doing))),
        415 => Err(Trouble::Lasting(
            Failure::new(
                ExitCode::Registry,
                "Glance does not recognise the file as a tarball, a kernel or an initramfs",
            )
            .hint("look at it: file FILE; osimg verify TARBALL")
            .because(answer.refusal(doing))
            .into(),
        )),
        _ => Err(Trouble::Lasting(answer.refusal(doing))),
    }
}

fn import(glance: &Glance, id: &str, url: &str, doing: &str) -> std::result::Result<(), Trouble> {
    let answer = glance.images().import(id, url).map_err(Trouble::Passing)?;
    match answer.status {
        202 => Ok(()),
        400 | 403 | 404 | 409 => Err(Trouble::Lasting(
            Failure::new(ExitCode::Registry, format!("{doing}: Glance does not want to"))
                .hint(
                    "Glance's operators allow hosts and ports (import_filtering_opts) and the \
                     method web-download; or leave --import-from out",
                )
                .because(answer.refusal("asking Glance"))
                .into(),
        )),
        _ => Err(Trouble::Passing(answer.refusal(doing))),
    }
}

/// The image, when it is whole and what was sent.
fn verified(
    glance: &Glance,
    id: &str,
    piece: &Piece,
    doing: &str,
) -> std::result::Result<Image, Trouble> {
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_millis(100);
    loop {
        let found = glance.images().find(id, doing, Stop::Heed).map_err(Trouble::Lasting)?;
        let Some(image) = found else { return Err(Trouble::Passing(gone(doing))) };
        let failed_import =
            image.property("os_glance_failed_import").is_some_and(|stores| !stores.is_empty());
        match image.status.as_str() {
            "active" => {
                compare(&image, piece, doing).map_err(Trouble::Lasting)?;
                return Ok(image);
            }
            "queued" if failed_import => {
                let error = Failure::new(
                    ExitCode::Registry,
                    format!("{doing}: Glance could not fetch it, and does not say why"),
                )
                .hint(
                    "can its host reach that address? or leave --import-from out, and osimg sends \
                     it",
                );
                return Err(Trouble::Lasting(error.into()));
            }
            "saving" | "importing" | "uploading" | "queued" if waited < SETTLING => {}
            status => {
                let error = Failure::new(
                    ExitCode::Registry,
                    format!("{doing}: it became {status} instead of active"),
                )
                .hint("Glance's log has the reason, under the image's id");
                return Err(Trouble::Passing(error.into()));
            }
        }
        process::pause(pause).map_err(Trouble::Lasting)?;
        waited += pause;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// Compares size and digest with what Glance computed while it stored the bytes.
fn compare(image: &Image, piece: &Piece, doing: &str) -> Result<()> {
    let expected = match image.os_hash_algo.as_deref() {
        Some("sha512") => Some(&piece.sha512),
        Some("sha256") => Some(&piece.sha256),
        // An operator may have chosen another (hashing_algorithm): the size is all that can be
        // compared.
        _ => None,
    };
    let same = expected.is_none_or(|digest| image.os_hash_value.as_ref() == Some(digest));
    if image.size == Some(piece.size) && same {
        return Ok(());
    }
    let shown = |hash: &str| hash.chars().take(16).collect::<String>();
    Err(Failure::new(
        ExitCode::Trust,
        format!(
            "{doing}: what arrived is not what was sent: {} bytes instead of {}, digest {}… \
             instead of {}…",
            image.size.unwrap_or(0),
            piece.size,
            shown(image.os_hash_value.as_deref().unwrap_or("none")),
            shown(expected.map_or("none", String::as_str)),
        ),
    )
    .hint("something in between changes it (a proxy?), or the file changed while it was sent")
    .into())
}

/// Protects images from removal.
pub(super) fn protect(glance: &Glance, ids: impl Iterator<Item = String>) -> Result<()> {
    for id in ids {
        let doing = format!("protecting the image {id}");
        glance.images().set(&id, "protected", &json!(true), Stop::Heed)?.expect(&[200], &doing)?;
    }
    Ok(())
}

/// A file that is being sent, which reports its progress and stops on a signal.
struct Telling<'a, 'b> {
    file: File,
    done: u64,
    size: u64,
    step: &'a Step<'b>,
}

impl Read for Telling<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if process::stop_requested().is_some() {
            return Err(io::Error::other("stopped by a signal"));
        }
        let left = usize::try_from(self.size - self.done).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(buffer.get_mut(..left).unwrap_or_default())?;
        self.done += count as u64;
        self.step.progress(Unit::Bytes, self.done, self.size);
        Ok(count)
    }
}

/// A UUID: chosen here, so that an image can be removed even if its creation was never answered.
fn new_id() -> Result<String> {
    use anyhow::Context;
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    // RFC 9562, version 7: the time in milliseconds comes first, so that of two images of one
    // second the older has the smaller id.
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let number = u128::from_be_bytes(bytes) & !(u128::MAX << 80) | (time << 80);
    let number = number & !(0xF << 76) | (7 << 76);
    let number = number & !(0x3 << 62) | (0x2 << 62);
    let text = format!("{number:032x}");
    let cut = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    Ok([cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_that_tell_the_older_image() {
        let (one, two) = (new_id().expect("an id"), new_id().expect("an id"));
        assert_ne!(one, two);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'7');
        process::pause(Duration::from_millis(2)).expect("no signal");
        assert!(two < new_id().expect("an id"));
        assert!(b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }
}
