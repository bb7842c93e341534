//! The abilities of a cloud for a deployment, as far as its APIs show, and how to fix the missing
//! ones.

use serde::Serialize;
use serde_json::Value;

use super::ironic::Ironic;
use super::preflight::ConductorProject;
use crate::cloud::{Auth, Cloud, Session};
use crate::error::Result;
use crate::http::Call;
use crate::report::Report;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// Whether it works; `None` when the API does not show it.
    pub works: Option<bool>,
    /// The result.
    pub found: String,
    /// How to fix it, or what to ask an operator.
    pub fix: Option<String>,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, works: Some(true), found: found.into(), fix: None }
    }

    fn bad(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, works: Some(false), found: found.into(), fix: Some(fix.into()) }
    }

    fn unseen(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, works: None, found: found.into(), fix: Some(fix.into()) }
    }

    /// A check that ended in an error: its hint is the fix.
    fn failed(check: &'static str, error: &anyhow::Error) -> Self {
        let text = crate::error::render(error);
        let (what, hints) = text.split_once("\nhint: ").unwrap_or((&text, ""));
        let fix = (!hints.is_empty()).then(|| hints.replace("\nhint: ", "; "));
        Self {
            check,
            works: Some(false),
            found: what.trim_start_matches("error: ").to_owned(),
            fix,
        }
    }
}

/// Checks a cloud; `conductor` is the project that Ironic's conductor uses to read Glance.
#[must_use]
pub(crate) fn examine(cloud: Option<&str>, conductor: &str, report: &Report) -> Vec<Finding> {
    let session = match Cloud::load(cloud).and_then(|cloud| Session::open(cloud, report)) {
        Ok(session) => session,
        Err(error) => return vec![Finding::failed("login", &error)],
    };
    let mut findings = vec![login(&session)];
    match images(&session) {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(Finding::failed("image service", &error)),
    }
    match project(&session, conductor) {
        Ok(found) => findings.push(found),
        Err(error) => findings.push(Finding::failed("conductor's access to images", &error)),
    }
    match Ironic::open(&session) {
        Err(error) => findings.push(Finding::failed("bare metal service", &error)),
        Ok(ironic) => {
            findings.push(Finding::good(
                "bare metal service",
                format!("{}, API up to {}", ironic.url(), ironic.newest()),
            ));
            match bare_metal(&ironic) {
                Ok(found) => findings.extend(found),
                Err(error) => findings.push(Finding::failed("conductor", &error)),
            }
        }
    }
    findings.push(Finding::unseen(
        "kickstart template",
        "the API shows neither the conductor's own template nor file_url_allowed_paths; as \
         packaged, Ironic may not read its own",
        "publish a template with every image, as osimg publish does: then neither matters",
    ));
    findings
}

fn login(session: &Session) -> Finding {
    let cloud = session.cloud();
    match cloud.auth {
        Auth::None => Finding::good("login", format!("{}: without Keystone", cloud.name)),
        Auth::Basic { .. } => match cloud.endpoints.values().find(|url| in_the_clear(url)) {
            Some(url) => Finding::bad(
                "login",
                format!(
                    "{}: {}, and the password goes to {url} in the clear",
                    cloud.name,
                    session.who()
                ),
                format!("use an https:// address in {}", cloud.source),
            ),
            None => Finding::good(
                "login",
                format!("{}: {}, without Keystone", cloud.name, session.who()),
            ),
        },
        Auth::Keystone { ref url, .. } if in_the_clear(url) => Finding::bad(
            "login",
            format!(
                "{}: {}, and the password goes to {url} in the clear",
                cloud.name,
                session.who()
            ),
            format!("use Keystone's https:// address in {}", cloud.source),
        ),
        Auth::Keystone { .. } => {
            Finding::good("login", format!("{}: {}", cloud.name, session.who()))
        }
    }
}

fn in_the_clear(url: &str) -> bool {
    url.starts_with("http://") && !crate::http::is_loopback(host(url))
}

fn host(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default()
}

fn images(session: &Session) -> Result<Vec<Finding>> {
    let doing = "listing images";
    let url = session.endpoint("image")?;
    session.call("image", &Call::get("/v2/images?limit=1"))?.expect(&[200], doing)?;
    let visibility = if session.is_admin() {
        Finding::good(
            "visibility of images",
            "may publish public images, which every conductor finds",
        )
    } else {
        Finding::good(
            "visibility of images",
            "may publish community images, which conductors find too; public ones take the role \
             admin",
        )
    };
    let mut findings = vec![Finding::good("image service", url), visibility];
    let answer = session.call("image", &Call::get("/v2/info/usage"))?;
    if answer.status == 200 {
        let usage = answer.json("reading the quota")?;
        let total = &usage["usage"]["image_size_total"];
        if let (Some(limit), Some(used)) =
            (total["limit"].as_i64().filter(|limit| *limit >= 0), total["usage"].as_i64())
        {
            let found = format!("{used} of {limit} MiB used");
            // A set of an installer and a tarball is seldom smaller.
            findings.push(if limit - used >= 1024 {
                Finding::good("quota for images", found)
            } else {
                Finding::bad(
                    "quota for images",
                    found,
                    "remove old images (osimg images --prune), or ask for a larger quota",
                )
            });
        }
    }
    Ok(findings)
}

/// Whether the conductor has a project that images can be shared with.
fn project(session: &Session, name: &str) -> Result<Finding> {
    let check = "conductor's access to images";
    if !session.cloud().auth.has_keystone() {
        return Ok(Finding::good(check, "without Keystone it reads public and community images"));
    }
    let found = ConductorProject::find(session, name)?;
    let Some(id) = found.id else {
        return Ok(Finding::unseen(
            check,
            format!("only an admin may look up the project {name}"),
            "publish community images; or ask for that project's id, and share with it: osimg \
             publish --share-with ID",
        ));
    };
    let doing = "listing the users of a project";
    let answer = session.call(
        "identity",
        &Call::get(format!("/v3/role_assignments?scope.project.id={id}&include_names=true")),
    )?;
    if answer.status != 200 {
        return Ok(Finding::unseen(
            check,
            format!("project {name} is {id}; its users are not shown"),
            "ask an admin",
        ));
    }
    let body = answer.json(doing)?;
    let mut users: Vec<String> = Vec::new();
    for assignment in body["role_assignments"].as_array().into_iter().flatten() {
        if let (Some(user), Some(role)) =
            (assignment["user"]["name"].as_str(), assignment["role"]["name"].as_str())
        {
            users.push(format!("{user} ({role})"));
        }
    }
    Ok(if users.is_empty() {
        Finding::bad(
            check,
            format!("no user has a role in the project {name}"),
            "name the project under [glance] in ironic.conf: --conductor-project NAME",
        )
    } else {
        Finding::good(
            check,
            format!(
                "project {name} is {id}: {}; it reads public, community and its own images, and \
                 those shared with it",
                users.join(", ")
            ),
        )
    })
}

fn bare_metal(ironic: &Ironic<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let nodes = ironic.read(
        "/v1/nodes?fields=name,provision_state,driver,deploy_interface&limit=1000",
        "listing nodes",
    )?;
    let nodes: Vec<Value> =
        nodes.and_then(|body| body["nodes"].as_array().cloned()).unwrap_or_default();
    match ironic.read("/v1/drivers?detail=true", "listing drivers")? {
        Some(body) => findings.extend(drivers(&body)),
        None if nodes.iter().any(|node| node["deploy_interface"] == "anaconda") => {
            findings.push(Finding::good("anaconda deploy interface", "a node has it already"));
        }
        None => findings.push(Finding::unseen(
            "anaconda deploy interface",
            "the list of drivers is not shown to us",
            "ask with system scope (system_scope: all in clouds.yaml, role reader), or try a \
             node: osimg deploy IMAGE --node NODE --apply",
        )),
    }
    match ironic.read("/v1/conductors", "listing conductors")? {
        None => findings.push(Finding::unseen(
            "conductors",
            "the list of conductors is not shown to us",
            "ask with system scope, role reader",
        )),
        Some(body) => {
            let all: Vec<&Value> = body["conductors"].as_array().into_iter().flatten().collect();
            let name =
                |conductor: &&Value| conductor["hostname"].as_str().unwrap_or("?").to_owned();
            let names = all.iter().map(name).collect::<Vec<_>>().join(", ");
            let alive = all.iter().filter(|conductor| conductor["alive"] == true).count();
            findings.push(match (all.len(), alive) {
                (0, _) => Finding::bad("conductors", "there is none", "start ironic-conductor"),
                // A conductor within the API's process is not always counted as alive.
                (_, 0) => Finding::unseen(
                    "conductors",
                    format!("{names}: none has reported of late"),
                    "is ironic-conductor running?",
                ),
                (_, alive) => Finding::good("conductors", format!("{names}: {alive} alive")),
            });
        }
    }
    let available = nodes.iter().filter(|node| node["provision_state"] == "available").count();
    findings.push(if nodes.is_empty() {
        Finding::bad(
            "nodes",
            "none is shown to us",
            "a project sees the nodes that it owns or leases: baremetal node set NODE --owner \
             PROJECT_ID; all are seen with system_scope: all",
        )
    } else {
        Finding::good("nodes", format!("{} shown to us, {available} available", nodes.len()))
    });
    Ok(findings)
}

fn drivers(body: &Value) -> Vec<Finding> {
    let drivers: Vec<&Value> = body["drivers"].as_array().into_iter().flatten().collect();
    let names = |driver: &&Value| driver["name"].as_str().unwrap_or("?").to_owned();
    let has = |driver: &Value, key: &str, wanted: &[&str]| {
        driver[key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|name| wanted.contains(&name))
    };
    let with: Vec<&Value> = drivers
        .iter()
        .copied()
        .filter(|d| has(d, "enabled_deploy_interfaces", &["anaconda"]))
        .collect();
    let mut findings = Vec::new();
    findings.push(if with.is_empty() {
        Finding::bad(
            "anaconda deploy interface",
            format!(
                "no hardware type has it: {}",
                drivers.iter().map(names).collect::<Vec<_>>().join(", ")
            ),
            "add anaconda to enabled_deploy_interfaces under [DEFAULT] in ironic.conf and restart \
             the conductor",
        )
    } else {
        Finding::good(
            "anaconda deploy interface",
            format!(
                "with hardware types {}",
                with.iter().map(names).collect::<Vec<_>>().join(", ")
            ),
        )
    });
    // Anaconda boots over the network; virtual media cannot carry its kickstart.
    let booting = ["ipxe", "pxe", "http-ipxe", "http"];
    let without: Vec<String> =
        with.iter().filter(|d| !has(d, "enabled_boot_interfaces", &booting)).map(names).collect();
    findings.push(if without.len() < with.len() || with.is_empty() {
        Finding::good("network boot", format!("one of {} is enabled", booting.join(", ")))
    } else {
        Finding::bad(
            "network boot",
            format!("{}: none of {} is enabled", without.join(", "), booting.join(", ")),
            "add ipxe to enabled_boot_interfaces under [DEFAULT] in ironic.conf and restart the \
             conductor",
        )
    });
    findings
}
