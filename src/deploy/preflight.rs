//! Checks for problems that make a deployment fail although Ironic's validation accepts them,
//! before a node is touched.

use serde::Serialize;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

use super::glance::{IMAGE, image, image_of_glance};
use super::instance_info::{Image, is_uuid};
use crate::archive::SUFFIXES;
use crate::cloud::{Answer, ProjectLookup, Session};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::http::{Call, Client, Redirects, Trust};
use crate::installer::kickstart::{Template, checksums};
use crate::installer::magic::{self, Verdict};
use crate::naming::is_address;
use crate::set::Role;

/// A kickstart template is a few kB.
const LONGEST_TEMPLATE: u64 = 1 << 20;

/// How grave a remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The deployment would fail.
    Error,
    /// It may not be what was meant.
    Warning,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Remark {
    /// How grave it is.
    pub severity: Severity,
    /// The problem: a lower-case fragment.
    pub text: String,
    /// How to fix it.
    pub fix: String,
}

impl Remark {
    fn error(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Error, text: text.into(), fix: fix.into() }
    }

    fn warning(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, text: text.into(), fix: fix.into() }
    }
}

/// The project that the conductor uses to fetch images from Glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConductorProject {
    /// Its name.
    pub name: String,
    /// Its id; only an admin can look it up.
    pub id: Option<String>,
}

impl ConductorProject {
    /// Looks the project up by its name; an id is taken as it is.
    ///
    /// # Errors
    /// When Keystone knows none of that name, or cannot be reached.
    pub(crate) fn find(session: &Session, name: &str) -> Result<Self> {
        let known = |id: Option<String>| Self { name: name.to_owned(), id };
        // Without Keystone there are no projects.
        if session.project().is_none() && session.is_admin() {
            return Ok(known(None));
        }
        let doing = format!("looking for the conductor's project '{}'", name.escape_debug());
        match session.find_project(name, &doing)? {
            ProjectLookup::Found(id) => Ok(known(Some(id))),
            ProjectLookup::Refused => Ok(known(None)),
            ProjectLookup::Missing => Err(Failure::new(
                ExitCode::Registry,
                format!("{doing}: there is none of that name"),
            )
            .hint(
                "it is the project_name under [glance] in the conductor's ironic.conf: \
                 --conductor-project NAME",
            )
            .into()),
            ProjectLookup::Several(ids) => Err(Failure::new(
                ExitCode::Registry,
                format!("{doing}: there are several of that name"),
            )
            .hint(format!("give its id: --conductor-project ID, one of {}", ids.join(", ")))
            .into()),
        }
    }
}

/// Checks an image in Glance and its pieces: state, properties, visibility, content.
///
/// # Errors
/// When Glance cannot be reached.
pub(crate) fn check_glance(
    glance: &Session,
    body: &Value,
    conductor: &ConductorProject,
) -> Result<Vec<Remark>> {
    let mut remarks = Vec::new();
    let publish = "publish the set with osimg: osimg publish TARBALL --registry glance:CLOUD \
                   --kernel … --ramdisk … --stage2 …";
    let image = image_of_glance(body);
    let id = &image.source;
    let about =
        format!("image {} ({id})", body["name"].as_str().unwrap_or_default().escape_debug());
    check_visible(glance, body, &about, conductor, &mut remarks)?;
    if body["status"] != "active" {
        remarks.push(Remark::error(
            format!("{about} is '{}', not active", body["status"].as_str().unwrap_or("unknown")),
            "upload it again",
        ));
    }
    match body["disk_file_extension"].as_str() {
        Some(extension) if SUFFIXES.contains(&extension) => {}
        Some(extension) => remarks.push(Remark::error(
            format!(
                "{about} has disk_file_extension '{}', which Ironic ignores, so that Anaconda \
                 would mount the tarball",
                extension.escape_debug()
            ),
            format!(
                "one of {}: openstack image set --property disk_file_extension=.tgz {id}",
                SUFFIXES.join(", ")
            ),
        )),
        None => remarks.push(Remark::error(
            format!(
                "{about} has no property disk_file_extension, so that Anaconda would mount the \
                 tarball"
            ),
            format!("openstack image set --property disk_file_extension=.tgz {id}"),
        )),
    }
    if let Some(kind) = body["img_type"].as_str().filter(|kind| *kind != "partition") {
        let text = format!(
            "{about} has img_type '{}', and Ironic would take it for a whole disk",
            kind.escape_debug()
        );
        remarks
            .push(Remark::error(text, format!("openstack image unset --property img_type {id}")));
    }
    let parts = [
        (Role::Kernel, "kernel_id", &image.kernel),
        (Role::Ramdisk, "ramdisk_id", &image.ramdisk),
        (Role::Stage2, "stage2_id", &image.stage2),
    ];
    for (part, property, reference) in parts {
        match reference {
            None => {
                remarks.push(Remark::error(format!("{about} has no property {property}"), publish))
            }
            Some(reference) => {
                check_piece(Some(glance), part, reference, conductor, None, &mut remarks)?
            }
        }
    }
    match body["ks_template"].as_str() {
        None => remarks.push(Remark::warning(
            format!(
                "{about} has no property ks_template: Ironic takes its own, which as packaged it \
                 cannot read, and which checks no checksum"
            ),
            publish,
        )),
        Some(reference) => {
            check_piece(Some(glance), Role::Kickstart, reference, conductor, None, &mut remarks)?;
            if let Some(sha256) = body["osimg_sha256"].as_str() {
                remarks.extend(check_checksum(Some(glance), reference, sha256, None)?);
            }
        }
    }
    Ok(remarks)
}

/// Looks at pieces that Ironic fetches from a web server.
///
/// # Errors
/// When the look itself fails for a reason that is not the piece's.
pub(crate) fn check_pieces(
    glance: Option<&Session>,
    image: &Image,
    conductor: &ConductorProject,
    ca: Option<&Path>,
) -> Result<Vec<Remark>> {
    let mut remarks = Vec::new();
    let parts = [
        (Role::Kernel, &image.kernel),
        (Role::Ramdisk, &image.ramdisk),
        (Role::Stage2, &image.stage2),
        (Role::Kickstart, &image.kickstart),
    ];
    for (part, reference) in parts {
        if let Some(reference) = reference {
            check_piece(glance, part, reference, conductor, ca, &mut remarks)?;
        }
    }
    if image.kickstart.is_none() {
        remarks.push(Remark::warning(
            "no kickstart template is named: Ironic takes its own, which as packaged it cannot \
             read, and which checks no checksum",
            "osimg deploy … --print-kickstart > os.ks, put it on a web server, and name it: \
             --ks-template URL",
        ));
    }
    Ok(remarks)
}

/// Looks at a template that is given besides the image's own.
///
/// # Errors
/// As [`check_pieces`].
pub(crate) fn check_kickstart(
    glance: &Session,
    template: &str,
    conductor: &ConductorProject,
    ca: Option<&Path>,
) -> Result<Vec<Remark>> {
    let mut remarks = Vec::new();
    check_piece(Some(glance), Role::Kickstart, template, conductor, ca, &mut remarks)?;
    Ok(remarks)
}

fn check_piece(
    glance: Option<&Session>,
    part: Role,
    reference: &str,
    conductor: &ConductorProject,
    ca: Option<&Path>,
    remarks: &mut Vec<Remark>,
) -> Result<()> {
    let uuid = reference.strip_prefix("glance://").unwrap_or(reference);
    let (bytes, about) = if is_uuid(uuid) {
        let Some(glance) = glance else { return Ok(()) };
        let about = format!("the {part} {uuid}");
        let Some(body) = image(glance, uuid)? else {
            let text = format!("{about} is not in Glance, or {} may not see it", glance.who());
            remarks.push(Remark::error(text, "publish the set again, or have it shared"));
            return Ok(());
        };
        check_visible(glance, &body, &about, conductor, remarks)?;
        if body["status"] != "active" {
            remarks.push(Remark::error(
                format!(
                    "{about} is '{}', not active",
                    body["status"].as_str().unwrap_or("unknown")
                ),
                "publish the set again",
            ));
            return Ok(());
        }
        let range = format!("bytes=0-{}", wanted(part) - 1);
        let answer = glance
            .call(IMAGE, &Call::get(format!("/v2/images/{uuid}/file")).header("range", range))?;
        // A user who may not download images may still deploy them.
        if answer.status == 403 {
            return Ok(());
        }
        (answer.expect(&[200, 206], "reading its first bytes").map(Answer::into_body), about)
    } else if is_address(reference) {
        (first_bytes(reference, wanted(part), ca), format!("the {part} {reference}"))
    } else {
        // oci:// and file:// are the conductor's to read.
        return Ok(());
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            let text = format!("{about} cannot be read: {}", cause(&error));
            remarks.push(Remark::error(
                text,
                "the conductor could not read it either: put it there, or name another",
            ));
            return Ok(());
        }
    };
    if part == Role::Kickstart {
        check_template(&bytes, &about, remarks);
        return Ok(());
    }
    match magic::judge(part, &bytes, None) {
        Verdict::Fits => {}
        Verdict::Unknown => remarks.push(Remark::warning(
            format!("{about} does not look like one"),
            "does the reference lead to the file itself, and not to a page about it?",
        )),
        Verdict::Wrong(wrong) => remarks.push(Remark::error(
            format!("{about} is the wrong file: {wrong}"),
            "are kernel, ramdisk and stage2 in the right order? images/pxeboot/vmlinuz, \
             images/pxeboot/initrd.img, images/install.img",
        )),
    }
    Ok(())
}

/// Compares the checksum in a template with the tarball's. With another one Anaconda refuses the
/// tarball after it was fetched.
///
/// # Errors
/// When the template cannot be read for a reason that is not the template's.
pub(crate) fn check_checksum(
    glance: Option<&Session>,
    template: &str,
    sha256: &str,
    ca: Option<&Path>,
) -> Result<Vec<Remark>> {
    let uuid = template.strip_prefix("glance://").unwrap_or(template);
    let bytes = if is_uuid(uuid) {
        let Some(glance) = glance else { return Ok(Vec::new()) };
        let answer = glance.call(IMAGE, &Call::get(format!("/v2/images/{uuid}/file")))?;
        // The other checks report a template that is not there.
        if answer.status != 200 {
            return Ok(Vec::new());
        }
        answer.into_body()
    } else if is_address(template) {
        first_bytes(template, LONGEST_TEMPLATE, ca).unwrap_or_default()
    } else {
        return Ok(Vec::new());
    };
    let other = checksums(&String::from_utf8_lossy(&bytes))
        .into_iter()
        .find(|named| !named.eq_ignore_ascii_case(sha256));
    Ok(other
        .map(|named| {
            Remark::error(
                format!(
                    "the kickstart template {template} has the checksum of another tarball: {}, \
                     not {sha256}",
                    named.escape_debug()
                ),
                "make one for this tarball: osimg deploy … --print-kickstart; or publish the set \
                 again",
            )
        })
        .into_iter()
        .collect())
}

/// The first bytes of what a web server has; it need not know of ranges.
fn first_bytes(url: &str, count: u64, ca: Option<&Path>) -> Result<Vec<u8>> {
    let client = Client::new(&Trust::named(ca), Redirects::Follow)?;
    let doing = "reading its first bytes";
    let call = Call::get("")
        .header("range", format!("bytes=0-{}", count - 1))
        .header("accept-encoding", "identity");
    let (answer, body) =
        client.open(&call, url, &[]).map_err(|error| error.failure(ExitCode::Repository, doing))?;
    if !(200..300).contains(&answer.status) {
        return Err(Failure::new(
            ExitCode::Registry,
            format!("the server answers {}", answer.status_line()),
        )
        .into());
    }
    let mut bytes = Vec::new();
    body.take(count).read_to_end(&mut bytes).or_fail(ExitCode::Repository, doing)?;
    Ok(bytes)
}

fn wanted(part: Role) -> u64 {
    if part == Role::Kickstart { LONGEST_TEMPLATE } else { magic::ENOUGH }
}

fn check_template(bytes: &[u8], about: &str, remarks: &mut Vec<Remark>) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        remarks.push(Remark::error(format!("{about} is not UTF-8"), "save it as UTF-8"));
        return;
    };
    match Template::from_user(text, about, None, None) {
        Ok(template) => remarks.extend(template.advice().iter().map(|advice| {
            let fix = advice.fix.clone().unwrap_or_else(|| "look at the template".into());
            Remark::warning(advice.at(about), fix)
        })),
        Err(error) => {
            remarks.push(Remark::error(cause(&error), "fix the template and publish it again"))
        }
    }
}

/// Ironic takes an image that is public or community, owned by the conductor's project, or shared
/// with it. An admin can start a deployment with other images, but it
/// fails at the end.
fn check_visible(
    glance: &Session,
    body: &Value,
    about: &str,
    conductor: &ConductorProject,
    remarks: &mut Vec<Remark>,
) -> Result<()> {
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let project = &conductor.name;
    match text("visibility") {
        "public" | "community" => {}
        _ if conductor.id.as_deref() == Some(text("owner")) => {}
        "shared" => {
            let answer =
                glance.call(IMAGE, &Call::get(format!("/v2/images/{}/members", text("id"))))?;
            // Only the owner sees the members.
            if answer.is(&[403, 404]) {
                return Ok(());
            }
            let doing = "looking at whom an image is shared with";
            let members = answer.expect(&[200], doing)?.json(doing)?["members"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let shared = |id: &str| members.iter().any(|member| member["member_id"] == id);
            let fix = format!(
                "openstack image add project {} {project}, or openstack image set --community {}",
                text("id"),
                text("id")
            );
            match &conductor.id {
                Some(id) if shared(id) => {}
                None if !members.is_empty() => {
                    let ids: Vec<&str> =
                        members.iter().filter_map(|member| member["member_id"].as_str()).collect();
                    remarks.push(Remark::warning(
                        format!(
                            "{about} is shared with {}; only an admin can see whether that is the \
                             conductor's project",
                            ids.join(", ")
                        ),
                        "name that project's id: --conductor-project ID",
                    ));
                }
                _ => remarks.push(Remark::error(
                    format!(
                        "{about} is not shared with the conductor's project {project}, so that it \
                         cannot read it"
                    ),
                    fix,
                )),
            }
        }
        other => remarks.push(Remark::error(
            format!(
                "{about} is {other}: the conductor, which is of the project {project}, cannot \
                 read it"
            ),
            format!(
                "openstack image set --community {}, or --shared and openstack image add project \
                 {} {project}",
                text("id"),
                text("id")
            ),
        )),
    }
    Ok(())
}

fn cause(error: &anyhow::Error) -> String {
    format!("{error:#}")
}
