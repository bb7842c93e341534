//! What goes wrong in a deployment though Ironic's validation lets it pass, looked for before a node is touched.

use serde::Serialize;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

use super::instance_info::{Image, Mode, is_uuid};
use super::kickstart::Template;
use super::magic::{self, Verdict};
use crate::cloud::{Answer, Call, Session};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::registry::Role;
use crate::web::{self, Redirects};

/// Suffixes that both Ironic (`disk_file_extension`) and Anaconda know; with the dot, in lower case.
const EXTENSIONS: [&str; 7] = [".tar", ".tgz", ".tar.gz", ".tbz", ".tar.bz2", ".txz", ".tar.xz"];
/// The service's type in the catalogue.
const IMAGE: &str = "image";
/// A kickstart template is a few kB.
const LONGEST_TEMPLATE: u64 = 1 << 20;

/// How grave a remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The deployment would fail.
    Error,
    /// It may not be what was meant.
    Warning,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// How grave it is.
    pub severity: Severity,
    /// What is so: a lower-case fragment.
    pub text: String,
    /// What to do.
    pub cure: String,
}

impl Remark {
    fn error(text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Error, text: text.into(), cure: cure.into() }
    }

    fn warning(text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, text: text.into(), cure: cure.into() }
    }
}

/// The project by which the conductor fetches images from Glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConductorProject {
    /// What it is called.
    pub name: String,
    /// Its id; only an admin can look it up.
    pub id: Option<String>,
}

impl ConductorProject {
    /// Looks the project up by its name; an id is taken as it is.
    ///
    /// # Errors
    /// When Keystone knows none of that name, or cannot be reached.
    pub fn find(session: &Session, name: &str) -> Result<Self> {
        let known = |id: Option<String>| Self { name: name.to_owned(), id };
        // Without Keystone there are no projects.
        if session.project().is_none() && session.is_admin() {
            return Ok(known(None));
        }
        if name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(known(Some(name.to_owned())));
        }
        let doing = format!("looking for the conductor's project '{}'", name.escape_debug());
        let query: String = name
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect();
        let answer = session.call("identity", &Call::get(format!("/v3/projects?name={query}")))?;
        // Only an admin may ask.
        if answer.is(&[401, 403]) {
            return Ok(known(None));
        }
        match answer.expect(&[200], &doing)?.json(&doing)?["projects"].as_array().map(Vec::as_slice) {
            Some([project]) => Ok(known(project["id"].as_str().map(str::to_owned))),
            Some([]) | None => Err(Failure::new(ExitCode::Registry, format!("{doing}: there is none of that name"))
                .hint("it is the project_name under [glance] in the conductor's ironic.conf: --conductor-project NAME")
                .into()),
            Some(_) => Err(Failure::new(ExitCode::Registry, format!("{doing}: there are several of that name"))
                .hint("give its id: --conductor-project ID")
                .into()),
        }
    }
}

/// An image in Glance by its UUID, or the newest one of a name, with the pieces that its properties name.
///
/// # Errors
/// When there is none, or Glance refuses.
pub fn find_image(glance: &Session, name: &str) -> Result<Value> {
    let missing = |what: String| {
        Failure::new(ExitCode::Registry, what)
            .hint("`osimg images` and `openstack image list` show what this project may see; publish it: osimg publish TARBALL --registry glance:CLOUD")
    };
    let doing = "looking for the image";
    if is_uuid(name) {
        return match image(glance, name)? {
            Some(body) => Ok(body),
            None => Err(missing(format!("{doing} {name}: Glance knows none that {} may see", glance.who())).into()),
        };
    }
    let query: String = name
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    let call = Call::get(format!("/v2/images?name={query}&status=active&sort=created_at:desc&limit=1"));
    let found = glance.call(IMAGE, &call)?.expect(&[200], doing)?.json(doing)?;
    found["images"].get(0).cloned().ok_or_else(|| {
        missing(format!("{doing} '{}': Glance has no active one of that name that {} may see", name.escape_debug(), glance.who())).into()
    })
}

/// An image by its UUID; none when it is not there for us.
fn image(glance: &Session, id: &str) -> Result<Option<Value>> {
    let doing = "looking for the image";
    let answer = glance.call(IMAGE, &Call::get(format!("/v2/images/{id}")))?;
    if answer.status == 404 { Ok(None) } else { answer.expect(&[200], doing)?.json(doing).map(Some) }
}

/// An image of Glance's JSON with what its properties name.
#[must_use]
pub fn image_of_glance(body: &Value) -> Image {
    let text = |key: &str| body[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Image {
        mode: Mode::Glance,
        source: text("id").unwrap_or_default(),
        kernel: text("kernel_id"),
        ramdisk: text("ramdisk_id"),
        stage2: text("stage2_id"),
        // It stays a property of the image; the node need not be told again.
        kickstart: None,
    }
}

/// Looks at an image in Glance and its pieces: state, properties, who may see them, what they are.
///
/// # Errors
/// When Glance cannot be reached.
pub fn check_glance(glance: &Session, body: &Value, conductor: &ConductorProject) -> Result<Vec<Remark>> {
    let mut remarks = Vec::new();
    let publish = "publish the set with osimg: osimg publish TARBALL --registry glance:CLOUD --kernel … --ramdisk … --stage2 …";
    let image = image_of_glance(body);
    let id = &image.source;
    let about = format!("image {} ({id})", body["name"].as_str().unwrap_or_default().escape_debug());
    check_visible(glance, body, &about, conductor, &mut remarks)?;
    if body["status"] != "active" {
        remarks
            .push(Remark::error(format!("{about} is '{}', not active", body["status"].as_str().unwrap_or("unknown")), "upload it again"));
    }
    match body["disk_file_extension"].as_str() {
        Some(extension) if EXTENSIONS.contains(&extension) => {}
        Some(extension) => remarks.push(Remark::error(
            format!(
                "{about} has disk_file_extension '{}', which Ironic ignores, so that Anaconda would mount the tarball",
                extension.escape_debug()
            ),
            format!("one of {}: openstack image set --property disk_file_extension=.tgz {id}", EXTENSIONS.join(", ")),
        )),
        None => remarks.push(Remark::error(
            format!("{about} has no property disk_file_extension, so that Anaconda would mount the tarball"),
            format!("openstack image set --property disk_file_extension=.tgz {id}"),
        )),
    }
    if let Some(kind) = body["img_type"].as_str().filter(|kind| *kind != "partition") {
        let text = format!("{about} has img_type '{}', and Ironic would take it for a whole disk", kind.escape_debug());
        remarks.push(Remark::error(text, format!("openstack image unset --property img_type {id}")));
    }
    let parts = [
        (Role::Kernel, "kernel_id", &image.kernel),
        (Role::Ramdisk, "ramdisk_id", &image.ramdisk),
        (Role::Stage2, "stage2_id", &image.stage2),
    ];
    for (part, property, reference) in parts {
        match reference {
            None => remarks.push(Remark::error(format!("{about} has no property {property}"), publish)),
            Some(reference) => check_piece(Some(glance), part, reference, conductor, None, &mut remarks)?,
        }
    }
    match body["ks_template"].as_str() {
        None => remarks.push(Remark::warning(
            format!(
                "{about} has no property ks_template: Ironic takes its own, which as packaged it cannot read, and which checks no checksum"
            ),
            publish,
        )),
        Some(reference) => check_piece(Some(glance), Role::Kickstart, reference, conductor, None, &mut remarks)?,
    }
    Ok(remarks)
}

/// Looks at pieces that Ironic fetches from a web server.
///
/// # Errors
/// When the look itself fails for a reason that is not the piece's.
pub fn check_pieces(glance: Option<&Session>, image: &Image, conductor: &ConductorProject, ca: Option<&Path>) -> Result<Vec<Remark>> {
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
            "no kickstart template is named: Ironic takes its own, which as packaged it cannot read, and which checks no checksum",
            "osimg deploy … --print-kickstart > os.ks, put it on a web server, and name it: --ks-template URL",
        ));
    }
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
                format!("{about} is '{}', not active", body["status"].as_str().unwrap_or("unknown")),
                "publish the set again",
            ));
            return Ok(());
        }
        let range = format!("bytes=0-{}", wanted(part) - 1);
        let answer = glance.call(IMAGE, &Call::get(format!("/v2/images/{uuid}/file")).header("range", range))?;
        // Who may not download may still deploy.
        if answer.status == 403 {
            return Ok(());
        }
        (answer.expect(&[200, 206], "reading its first bytes").map(Answer::into_body), about)
    } else if reference.starts_with("http://") || reference.starts_with("https://") {
        (first_bytes(reference, wanted(part), ca), format!("the {part} {reference}"))
    } else {
        // oci:// and file:// are the conductor's to read.
        return Ok(());
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            let text = format!("{about} cannot be read: {}", cause(&error));
            remarks.push(Remark::error(text, "the conductor could not read it either: put it there, or name another"));
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
            format!("{about} cannot be it: {wrong}"),
            "are kernel, ramdisk and stage2 in the right order? images/pxeboot/vmlinuz, images/pxeboot/initrd.img, images/install.img",
        )),
    }
    Ok(())
}

/// The first bytes of what a web server has; it need not know of ranges.
fn first_bytes(url: &str, count: u64, ca: Option<&Path>) -> Result<Vec<u8>> {
    let agent = web::agent(ca, Redirects::Follow)?;
    let doing = "reading its first bytes";
    let range = format!("bytes=0-{}", count - 1);
    let answer = agent.get(url).header("range", range).header("accept-encoding", "identity").call().map_err(|e| web::failed(doing, &e))?;
    if !answer.status().is_success() {
        return Err(Failure::new(ExitCode::Registry, format!("the server answers {}", answer.status())).into());
    }
    let mut bytes = Vec::new();
    answer.into_body().into_reader().take(count).read_to_end(&mut bytes).or_fail(ExitCode::Repository, doing)?;
    Ok(bytes)
}

fn wanted(part: Role) -> u64 {
    if part == Role::Kickstart { LONGEST_TEMPLATE } else { magic::ENOUGH }
}

fn check_template(bytes: &[u8], about: &str, remarks: &mut Vec<Remark>) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        remarks.push(Remark::error(format!("{about} is no UTF-8"), "save it as UTF-8"));
        return;
    };
    match Template::of_person(text, about, None) {
        Ok(template) => remarks.extend(template.advice().iter().map(|advice| {
            let cure = advice.cure.clone().unwrap_or_else(|| "look at the template".into());
            Remark::warning(advice.at(about), cure)
        })),
        Err(error) => remarks.push(Remark::error(cause(&error), "mend the template and publish it again")),
    }
}

/// Ironic takes an image that is public or community, owned by the conductor's project, or shared with it. An admin's deployment
/// begins with others too, and fails at its end.
fn check_visible(glance: &Session, body: &Value, about: &str, conductor: &ConductorProject, remarks: &mut Vec<Remark>) -> Result<()> {
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let project = &conductor.name;
    match text("visibility") {
        "public" | "community" => {}
        _ if conductor.id.as_deref() == Some(text("owner")) => {}
        "shared" => {
            let answer = glance.call(IMAGE, &Call::get(format!("/v2/images/{}/members", text("id"))))?;
            // Only the owner sees the members.
            if answer.is(&[403, 404]) {
                return Ok(());
            }
            let doing = "looking at whom an image is shared with";
            let members = answer.expect(&[200], doing)?.json(doing)?["members"].as_array().cloned().unwrap_or_default();
            let shared = |id: &str| members.iter().any(|member| member["member_id"] == id);
            let cure = format!("openstack image add project {} {project}, or openstack image set --community {}", text("id"), text("id"));
            match &conductor.id {
                Some(id) if shared(id) => {}
                None if !members.is_empty() => {
                    let ids: Vec<&str> = members.iter().filter_map(|member| member["member_id"].as_str()).collect();
                    remarks.push(Remark::warning(
                        format!(
                            "{about} is shared with {}; whether that is the conductor's project, only an admin can tell",
                            ids.join(", ")
                        ),
                        "name that project's id: --conductor-project ID",
                    ));
                }
                _ => remarks.push(Remark::error(
                    format!("{about} is not shared with the conductor's project {project}, so that it cannot read it"),
                    cure,
                )),
            }
        }
        other => remarks.push(Remark::error(
            format!("{about} is {other}: the conductor, which is of the project {project}, cannot read it"),
            format!("openstack image set --community {}, or --shared and openstack image add project {} {project}", text("id"), text("id")),
        )),
    }
    Ok(())
}

fn cause(error: &anyhow::Error) -> String {
    format!("{error:#}")
}
