//! Finds the image in Glance that a name or UUID means. A name never means an image of an owner
//! that was not chosen.

use serde_json::Value;

use super::instance_info::{Image, Mode, is_uuid};
use crate::cloud::{ProjectLookup, Session, escaped};
use crate::error::{ExitCode, Failure, Result};
use crate::http::Call;

/// The service's type in the catalogue.
pub(super) const IMAGE: &str = "image";

/// The property of an image's architecture.
const ARCHITECTURE: &str = "architecture";

const DOING: &str = "looking for the image";

/// An image in Glance by its UUID, or the newest one of a name that one owner has. `owner` is a
/// project, by name or id. Where the name is there for several architectures, `arch` chooses.
///
/// # Errors
/// When there is none, several owners have one of that name, or Glance refuses.
pub(crate) fn find_image(
    glance: &Session,
    name: &str,
    owner: Option<&str>,
    arch: Option<&str>,
) -> Result<Value> {
    let owner = owner.map(|owner| owner_id(glance, owner)).transpose()?;
    let shown = name.escape_debug();
    let missing = |what: String| {
        Failure::new(ExitCode::Registry, what).hint(
            "`osimg images` and `openstack image list` show what this project may see; publish \
             it: osimg publish TARBALL --registry glance:CLOUD",
        )
    };
    if is_uuid(name) {
        let Some(body) = image(glance, name)? else {
            return Err(missing(format!(
                "{DOING} {name}: {} may see no such image in Glance",
                glance.who()
            ))
            .into());
        };
        return match &owner {
            Some(owner) if body["owner"] != owner.as_str() => Err(Failure::new(
                ExitCode::Registry,
                format!(
                    "{DOING} {name}: its owner is {}, not {owner}",
                    text(&body, "owner").escape_debug()
                ),
            )
            .into()),
            _ => Ok(body),
        };
    }
    let newest = one_architecture(newest_of_each(glance, name, owner.as_deref())?, name, arch)?;
    let mut newest = newest.into_iter();
    match (newest.next(), newest.as_slice()) {
        (Some(image), []) => Ok(image),
        (Some(first), others) => Err(ambiguous(glance, name, &first, others).into()),
        (None, _) => {
            let owned = owner.map(|owner| format!(" of the project {owner}")).unwrap_or_default();
            let text = format!(
                "{DOING} '{shown}': Glance has no active one of that name{owned} that {} may see",
                glance.who()
            );
            Err(missing(text).into())
        }
    }
}

/// Those of the chosen architecture, or of the only one that is there. An image that does not say
/// its architecture may be of any.
fn one_architecture(mut images: Vec<Value>, name: &str, arch: Option<&str>) -> Result<Vec<Value>> {
    let mut known: Vec<String> = images
        .iter()
        .map(|image| text(image, ARCHITECTURE).to_owned())
        .filter(|arch| !arch.is_empty())
        .collect();
    known.sort();
    known.dedup();
    if let Some(arch) = arch {
        images.retain(|image| [arch, ""].contains(&text(image, ARCHITECTURE)));
    } else if known.len() > 1 {
        let shown =
            known.iter().map(|arch| arch.escape_debug().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Failure::new(
            ExitCode::Registry,
            format!(
                "{DOING} '{}': it is there for several architectures: {shown}",
                name.escape_debug()
            ),
        )
        .hint("choose one: --arch ARCH; or name the image by its id")
        .into());
    }
    // An older image of the same owner without an architecture gives way.
    let mut chosen: Vec<Value> = Vec::new();
    for image in images {
        if chosen.iter().all(|known| known["owner"] != image["owner"]) {
            chosen.push(image);
        }
    }
    Ok(chosen)
}

/// The active images of a name: for each owner and architecture the newest.
fn newest_of_each(glance: &Session, name: &str, owner: Option<&str>) -> Result<Vec<Value>> {
    let base =
        format!("/v2/images?name={}&status=active&sort=created_at:desc&limit=100", escaped(name));
    let queries = match owner {
        None => vec![base],
        // Lists leave out other projects' community images, which anyone may make under any name:
        // they have to be asked for.
        Some(owner) => ["", "&visibility=community"]
            .map(|more| format!("{base}&owner={}{more}", escaped(owner)))
            .to_vec(),
    };
    let mut found: Vec<Value> = Vec::new();
    for query in queries {
        let mut path = query;
        loop {
            let page = glance.call(IMAGE, &Call::get(path))?.expect(&[200], DOING)?.json(DOING)?;
            found.extend(page["images"].as_array().into_iter().flatten().cloned());
            match page["next"].as_str().filter(|next| next.starts_with("/v2/")) {
                Some(next) => path = next.to_owned(),
                None => break,
            }
        }
    }
    found.sort_by(|a, b| {
        (text(b, "created_at"), text(b, "id")).cmp(&(text(a, "created_at"), text(a, "id")))
    });
    let mut newest: Vec<Value> = Vec::new();
    for image in found {
        // Glance's filter is not relied upon.
        let fits = image["name"] == name && owner.is_none_or(|owner| image["owner"] == owner);
        if fits
            && newest.iter().all(|known| {
                (&known["owner"], &known[ARCHITECTURE]) != (&image["owner"], &image[ARCHITECTURE])
            })
        {
            newest.push(image);
        }
    }
    Ok(newest)
}

fn ambiguous(glance: &Session, name: &str, first: &Value, others: &[Value]) -> Failure {
    let own = glance.project().map(|project| project.id);
    let lines: Vec<String> = std::iter::once(first)
        .chain(others)
        .map(|image| {
            let owner = text(image, "owner");
            let mine = if own.as_deref() == Some(owner) { " (the own project)" } else { "" };
            let [owner, visibility, created, id] =
                [owner, text(image, "visibility"), text(image, "created_at"), text(image, "id")]
                    .map(|text| text.escape_debug().to_string());
            format!("owner {owner}{mine}, {visibility}, {created}, {id}")
        })
        .collect();
    let count = lines.len();
    Failure::new(
        ExitCode::Registry,
        format!(
            "{DOING} '{}': {count} owners have one of that name: {}",
            name.escape_debug(),
            lines.join("; ")
        ),
    )
    .hint("choose an owner: --owner PROJECT (name or id); or name the image by its id")
}

/// The id of the project that `--owner` names.
fn owner_id(glance: &Session, owner: &str) -> Result<String> {
    let doing = format!("looking for the project '{}'", owner.escape_debug());
    let own = || glance.project().filter(|project| project.name == owner).map(|project| project.id);
    let failure = |why: String| Failure::new(ExitCode::Registry, format!("{doing}: {why}"));
    match glance.find_project(owner, &doing)? {
        ProjectLookup::Found(id) => Ok(id),
        ProjectLookup::Refused => own().ok_or_else(|| {
            failure(format!("{} may not list projects", glance.who()))
                .hint("give its id: --owner ID")
                .into()
        }),
        ProjectLookup::Missing => {
            Err(failure("there is none of that name".into()).hint("give its id: --owner ID").into())
        }
        ProjectLookup::Several(ids) => Err(failure("there are several of that name".into())
            .hint(format!("give its id: one of {}", ids.join(", ")))
            .into()),
    }
}

/// An image by its UUID; `None` if it is not visible.
pub(super) fn image(glance: &Session, id: &str) -> Result<Option<Value>> {
    let answer = glance.call(IMAGE, &Call::get(format!("/v2/images/{id}")))?;
    if answer.status == 404 {
        Ok(None)
    } else {
        answer.expect(&[200], DOING)?.json(DOING).map(Some)
    }
}

/// An image of Glance's JSON with the pieces that its properties name.
#[must_use]
pub(crate) fn image_of_glance(body: &Value) -> Image {
    let text = |key: &str| body[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Image {
        mode: Mode::Glance,
        source: text("id").unwrap_or_default(),
        kernel: text("kernel_id"),
        ramdisk: text("ramdisk_id"),
        stage2: text("stage2_id"),
        // It stays a property of the image: the node does not need it.
        kickstart: None,
    }
}

fn text<'a>(image: &'a Value, key: &str) -> &'a str {
    image[key].as_str().unwrap_or_default()
}
