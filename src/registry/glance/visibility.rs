//! The visibility of images: the widest that the roles allow, because Ironic's conductor has to
//! find them until the deployment ends.
//!
//! Its service user sees public and community images, its own project's, and those shared with that
//! project; a `shared` image without a member starts to deploy for an administrator and fails at
//! the end (ironic `service_utils.is_image_available`).

use super::connection::Glance;
use crate::cloud::ProjectLookup;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::Visibility;
use crate::report::Report;

/// The chosen visibility.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Never [`Visibility::Auto`].
    pub visibility: Visibility,
    /// Whether a narrower one may be tried when Glance refuses it.
    pub may_fall_back: bool,
    /// Ids of projects that it is shared with.
    pub members: Vec<String>,
}

pub(super) fn choose(glance: &Glance, report: &Report) -> Result<Chosen> {
    let publishing = &glance.publishing;
    let members = publishing
        .share_with
        .iter()
        .map(|project| member(glance, project))
        .collect::<Result<Vec<_>>>()?;
    let visibility = match publishing.visibility {
        Visibility::Auto if !members.is_empty() => Visibility::Shared,
        Visibility::Auto if glance.session.is_admin() => Visibility::Public,
        Visibility::Auto => {
            report.note(&format!(
                "{} may not make public images: these are community ones, which Ironic finds as \
                 well",
                glance.session.who()
            ));
            Visibility::Community
        }
        chosen => chosen,
    };
    let word = visibility.word();
    if !members.is_empty() && visibility != Visibility::Shared {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("sharing the images: {word} ones have no members"),
        )
        .hint("leave --visibility out, or choose shared")
        .into());
    }
    if members.is_empty() && matches!(visibility, Visibility::Shared | Visibility::Private) {
        report.warn(&format!(
            "{word} images without a member: Ironic finds them only where its conductor works in \
             the same project; share them (--share-with PROJECT), or choose community"
        ));
    }
    let may_fall_back =
        publishing.visibility == Visibility::Auto && visibility == Visibility::Public;
    Ok(Chosen { visibility, may_fall_back, members })
}

/// The id of a project: as it is, or looked up by its name.
fn member(glance: &Glance, project: &str) -> Result<String> {
    let doing = format!("looking for the project '{}'", project.escape_debug());
    let failure = |why: String| Failure::new(ExitCode::Registry, format!("{doing}: {why}"));
    match glance.session.find_project(project, &doing)? {
        ProjectLookup::Found(id) => Ok(id),
        ProjectLookup::Refused => {
            Err(failure(format!("{} may not list projects", glance.session.who()))
                .hint(
                    "name it by its id: ask an administrator for `openstack project show NAME -f \
                     value -c id`",
                )
                .into())
        }
        ProjectLookup::Missing => {
            Err(failure("there is none".into()).hint("openstack project list shows them").into())
        }
        ProjectLookup::Several(ids) => {
            Err(failure(format!("there are {} of that name", ids.len()))
                .hint(format!("name it by its id: one of {}", ids.join(", ")))
                .into())
        }
    }
}
