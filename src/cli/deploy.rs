//! `osimg deploy`: installs a published image through Ironic, or prints the commands for it.

use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::output;
use crate::archive::Format;
use crate::cloud::{Cloud, Session};
use crate::deploy::config_drive;
use crate::deploy::find::{Choice, Found, Lookup, find};
use crate::deploy::glance::{find_image, image_of_glance};
use crate::deploy::http::{Expected, check};
use crate::deploy::instance_info::{Image, Mode, NodeOptions, NodeSettings, is_uuid};
use crate::deploy::ironic::{Ironic, Limits};
use crate::deploy::preflight::{
    ConductorProject, Remark, Severity, check_checksum, check_glance, check_kickstart, check_pieces,
};
use crate::deploy::rollout::{Extent, Plan, Rollout, roll_out};
use crate::error::{ExitCode, Failure, Result};
use crate::installer::ImageRelease;
use crate::installer::kickstart::{self, Options, Tarball, Template};
use crate::recipe::{Settings, parse_duration};
use crate::report::Report;
use crate::set::Role;

#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// An image in Glance (name or UUID), a manifest (file or URL), a tarball's URL, an install
    /// tree's URL (ends in /), or oci://HOST/NAME:TAG or @DIGEST
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The cloud in clouds.yaml
    #[arg(long, value_name = "NAME", env = "OS_CLOUD", hide_env_values = true)]
    cloud: Option<String>,
    /// Where Ironic fetches the image from [default: detected from IMAGE]
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<Mode>,
    /// The tarball of a manifest to use: tgz, tbz, txz or tar
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The URL at which the manifest's directory is served
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// The image's architecture, if it is published for several [default: the nodes']
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// The owner of the image in Glance (a project, by name or id), if several have one with that
    /// name
    #[arg(long, value_name = "PROJECT")]
    owner: Option<String>,
    /// The installer's kernel instead of the image's: URL or Glance UUID
    #[arg(long, value_name = "REFERENCE")]
    kernel: Option<String>,
    /// The installer's initramfs instead of the image's
    #[arg(long, value_name = "REFERENCE")]
    ramdisk: Option<String>,
    /// The installer's second stage instead of the image's
    #[arg(long, value_name = "REFERENCE")]
    stage2: Option<String>,
    /// A published kickstart template, by URL or Glance UUID
    #[arg(long, value_name = "REFERENCE")]
    ks_template: Option<String>,
    /// Only print the kickstart template for this image
    #[arg(long, conflicts_with_all = ["apply", "start", "wait"])]
    print_kickstart: bool,
    /// With --print-kickstart: check and complete this template instead of osimg's own
    #[arg(long, value_name = "FILE", requires = "print_kickstart")]
    kickstart: Option<PathBuf>,
    /// With --print-kickstart: settings file with [deploy.install]
    #[arg(long, value_name = "FILE", requires = "print_kickstart")]
    settings: Option<PathBuf>,
    /// A node of Ironic (can be repeated)
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<String>,
    /// Set the image on the nodes and validate them
    #[arg(long, requires = "nodes")]
    apply: bool,
    /// Start the deployment, which erases the nodes' disks
    #[arg(long, requires = "apply")]
    start: bool,
    /// Follow the deployment to its end
    #[arg(long, requires = "start")]
    wait: bool,
    /// Time limit for following the deployment, and at most a minute of it for a locked node: 90s,
    /// 30m, 1h30m
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    timeout: Duration,
    /// The node's config drive for cloud-init: an ISO image (genisoimage -r -V config-2),
    /// optionally compressed with gzip, or its URL. With several nodes: NODE=FILE or NODE=URL,
    /// repeated
    #[arg(long = "config-drive", value_name = "[NODE=]FILE|URL", requires = "start")]
    config_drives: Vec<String>,
    /// How the nodes boot the installer: ipxe, pxe, http-ipxe, http
    #[arg(long, value_name = "NAME")]
    boot_interface: Option<String>,
    /// Additional arguments of the installer's kernel; %default% stands for the conductor's own
    #[arg(long, value_name = "ARGUMENTS")]
    kernel_append_params: Option<String>,
    /// The size of the root file system, which Ironic requires; the kickstart decides, not this
    #[arg(long, value_name = "GIB", default_value = "10",
        value_parser = clap::value_parser!(u32).range(1..))]
    root_gb: u32,
    /// The project, or its id, that Ironic's conductor uses to read Glance
    #[arg(long, value_name = "PROJECT", default_value = "service")]
    conductor_project: String,
    /// Authorities (PEM) of the image's web server [default: the host's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Do not check the image itself: this machine may not reach the servers that the conductor
    /// reaches
    #[arg(long)]
    no_check: bool,
}

impl Deploy {
    pub(crate) fn run(&self, report: &Report, as_json: bool) -> Result<ExitCode> {
        let arch = self.arch()?;
        let choice = Choice {
            arch: arch.as_deref(),
            mode: self.mode,
            format: self.format,
            base_url: self.base_url.as_deref(),
            ca: self.ca_file.as_deref(),
            lookup: if self.no_check { Lookup::Skipped } else { Lookup::Allowed },
        };
        let found = match find(&self.image, &choice) {
            // For only the template, a tarball on this machine is enough.
            Err(_) if self.print_kickstart && Path::new(&self.image).is_file() => {
                return self.print_template(None, report, as_json);
            }
            found => found?,
        };
        let options = NodeOptions {
            root_gb: Some(self.root_gb),
            kernel_append_params: self.kernel_append_params.clone(),
            boot_interface: self.boot_interface.clone(),
        };
        let (cloud, sha256) = match &found {
            Found::InGlance { cloud, sha256, .. } => {
                (self.cloud.clone().or_else(|| cloud.clone()), sha256.clone())
            }
            Found::Image { sha256, .. } => (self.cloud.clone(), sha256.clone()),
        };
        if self.owner.is_some() && matches!(found, Found::Image { .. }) {
            return Err(Failure::new(
                ExitCode::Usage,
                "--owner has no effect on this image: only images in Glance have owners",
            )
            .hint("remove --owner")
            .into());
        }
        if self.print_kickstart {
            return self.print_template(sha256, report, as_json);
        }
        let session = match &found {
            Found::Image { .. } if !self.apply && !self.template_in_glance() => None,
            _ => Some(Session::open(Cloud::load(cloud.as_deref())?, report)?),
        };
        // First: an unreadable drive must not be reported as a problem of the cloud.
        let drives = config_drive::assign(&self.config_drives, &self.nodes)?;
        let (image, arch, remarks) =
            self.image(found, arch.as_deref(), session.as_ref(), report)?;
        report_remarks(&remarks, &self.image, report)?;
        let settings = image.settings(&options)?;
        let session = match session {
            Some(session) if self.apply => session,
            _ => return self.print_settings(&settings, &remarks, report, as_json),
        };
        let ironic = Ironic::open(&session)?.patience(self.timeout);
        let extent = match (self.start, self.wait) {
            (true, true) => Extent::Wait(Limits { total: self.timeout }),
            (true, false) => Extent::Start,
            (false, _) => Extent::Apply,
        };
        let plan =
            Plan { settings: &settings, arch: arch.as_deref(), config_drives: &drives, extent };
        let Rollout { nodes, failure } = roll_out(&ironic, &self.nodes, &plan, report);
        if as_json {
            let whole = json!({ "settings": settings, "remarks": remarks, "nodes": nodes });
            output::print_json(report, &whole)?;
        } else {
            for outcome in &nodes {
                output::print(report, &format!("{} {}", outcome.node, outcome.state()))?;
            }
        }
        failure.map_or(Ok(ExitCode::Done), Err)
    }

    /// The chosen architecture, or else the one that all nodes share.
    fn arch(&self) -> Result<Option<String>> {
        if self.arch.is_some() || !self.apply || self.cloud.is_none() {
            return Ok(self.arch.clone());
        }
        let session = Session::open(Cloud::load(self.cloud.as_deref())?, &Report::silent())?;
        let ironic = Ironic::open(&session)?.patience(self.timeout);
        let mut known: Vec<String> = Vec::new();
        for name in &self.nodes {
            // A missing node is reported later, when it is set up.
            known.extend(ironic.node(name).ok().and_then(|node| node.arch()));
        }
        known.sort();
        known.dedup();
        Ok(if known.len() == 1 { known.pop() } else { None })
    }

    /// The image with the pieces that the user chose instead of its own, its architecture, and the
    /// remarks of the checks.
    fn image(
        &self,
        found: Found,
        wanted: Option<&str>,
        session: Option<&Session>,
        report: &Report,
    ) -> Result<(Image, Option<String>, Vec<Remark>)> {
        let step = report.step("examining the image");
        let mut remarks = Vec::new();
        let ca = self.ca_file.as_deref();
        let (image, sha256, arch) = match (found, session) {
            (Found::Image { image, sha256, arch }, _) => {
                (self.with_own_pieces(image), sha256, arch)
            }
            (Found::InGlance { .. }, None) => {
                return Err(Failure::new(
                    ExitCode::Usage,
                    "an image in Glance needs a cloud: --cloud NAME",
                )
                .into());
            }
            (Found::InGlance { name, sha256, .. }, Some(session)) => {
                for (option, given) in [
                    ("--kernel", &self.kernel),
                    ("--ramdisk", &self.ramdisk),
                    ("--stage2", &self.stage2),
                ] {
                    if given.is_some() {
                        return Err(Failure::new(
                            ExitCode::Usage,
                            format!(
                                "{option} has no effect on an image in Glance: Ironic reads its \
                                 properties"
                            ),
                        )
                        .hint("publish the set with the right pieces: osimg publish")
                        .into());
                    }
                }
                let body = find_image(session, &name, self.owner.as_deref(), wanted)?;
                if !self.no_check {
                    let conductor = self.conductor(Some(session))?;
                    remarks.extend(check_glance(session, &body, &conductor)?);
                    if let Some(template) = &self.ks_template {
                        remarks.extend(check_kickstart(session, template, &conductor, ca)?);
                    }
                }
                let text = |key: &str| body[key].as_str().map(str::to_owned);
                (
                    self.with_own_pieces(image_of_glance(&body)),
                    text("osimg_sha256").or(sha256),
                    text("architecture"),
                )
            }
        };
        if image.mode != Mode::Glance && !self.no_check {
            image.check()?;
            if image.mode == Mode::Http {
                let expected = Expected { role: Role::Tarball, size: None, ca };
                let problems = check(&image.source, &expected)?.problems;
                remarks.extend(problems.into_iter().map(|problem| Remark {
                    severity: Severity::Error,
                    text: format!("the tarball {}: {}", image.source, problem.what),
                    fix: problem.hint,
                }));
            }
            remarks.extend(check_pieces(session, &image, &self.conductor(session)?, ca)?);
        }
        if let (Some(template), Some(sha256), false) = (&image.kickstart, &sha256, self.no_check) {
            remarks.extend(check_checksum(session, template, sha256, ca)?);
        }
        step.finish(&image.source);
        Ok((image, arch, remarks))
    }

    /// Whether the template must be read from a cloud, and a cloud is named.
    fn template_in_glance(&self) -> bool {
        let uuid =
            self.ks_template.as_deref().map(|text| text.strip_prefix("glance://").unwrap_or(text));
        self.cloud.is_some() && !self.no_check && uuid.is_some_and(is_uuid)
    }

    fn conductor(&self, session: Option<&Session>) -> Result<ConductorProject> {
        match session {
            Some(session) => ConductorProject::find(session, &self.conductor_project),
            None => Ok(ConductorProject { name: self.conductor_project.clone(), id: None }),
        }
    }

    fn with_own_pieces(&self, mut image: Image) -> Image {
        let over = |own: &mut Option<String>, given: &Option<String>| {
            if let Some(given) = given {
                *own = Some(given.clone());
            }
        };
        over(&mut image.kernel, &self.kernel);
        over(&mut image.ramdisk, &self.ramdisk);
        over(&mut image.stage2, &self.stage2);
        over(&mut image.kickstart, &self.ks_template);
        image
    }

    fn print_settings(
        &self,
        settings: &NodeSettings,
        remarks: &[Remark],
        report: &Report,
        as_json: bool,
    ) -> Result<ExitCode> {
        let placeholder = ["NODE".to_owned()];
        let nodes = if self.nodes.is_empty() { placeholder.as_slice() } else { &self.nodes };
        let lines: Vec<String> = nodes
            .iter()
            .flat_map(|node| settings.commands(node))
            .map(|line| line.quoted())
            .collect();
        if as_json {
            output::print_json(
                report,
                &json!({ "settings": settings, "commands": lines, "remarks": remarks }),
            )?;
        } else {
            output::print(report, &lines.join("\n"))?;
        }
        Ok(ExitCode::Done)
    }

    /// Prints the template; `sha256` is the tarball's, if IMAGE leads to one.
    fn print_template(
        &self,
        sha256: Option<String>,
        report: &Report,
        as_json: bool,
    ) -> Result<ExitCode> {
        let path = Path::new(&self.image);
        let format = self.format.or_else(|| Format::from_name(path).ok());
        let tarball = match (sha256, format) {
            (Some(sha256), format) => {
                Some(Tarball { sha256, format: format.unwrap_or(Format::Tgz) })
            }
            (None, Some(format)) if path.is_file() => {
                let step = report.step("hashing the tarball");
                let piece = crate::set::Piece::from_file(path, |done, total| {
                    step.progress(crate::report::Unit::Bytes, done, total)
                })?;
                step.finish("");
                Some(Tarball { sha256: piece.sha256, format })
            }
            (None, _) if self.image.ends_with('/') => None,
            (None, _) => {
                return Err(Failure::new(
                    ExitCode::Usage,
                    format!(
                        "creating the kickstart template: the checksum of {} is unknown",
                        self.image.escape_debug()
                    ),
                )
                .hint("use the tarball's file, or the manifest")
                .into());
            }
        };
        let template = match &self.kickstart {
            Some(path) => kickstart::load(
                path,
                tarball.as_ref(),
                Some(&ImageRelease::recorded(Path::new(&self.image))),
            )?,
            None => {
                let settings =
                    self.settings.as_deref().map(Settings::load).transpose()?.unwrap_or_default();
                Template::ours(&Options::from_settings(&settings.deploy.install, tarball)?)?
            }
        };
        for advice in template.advice() {
            let file = self
                .kickstart
                .as_ref()
                .map_or_else(|| "template".into(), |path| path.display().to_string());
            report.warn(&advice.at(&file));
        }
        let text = template.text().trim_end();
        if as_json {
            output::print_json(report, &json!({ "kickstart": text }))?;
        } else if let Some(hidden) =
            text.chars().find(|c| crate::text::is_hidden(*c) && !"\t\r\n".contains(*c))
        {
            // It would be printed as an escape, so that the printed template would differ.
            return Err(Failure::new(
                ExitCode::Recipe,
                format!("printing the kickstart template: it has the character {hidden:?}"),
            )
            .hint("remove the character from the template")
            .into());
        } else {
            output::print(report, text)?;
        }
        Ok(ExitCode::Done)
    }
}

/// Reports the warnings; all errors become one failure.
fn report_remarks(remarks: &[Remark], image: &str, report: &Report) -> Result<()> {
    let (errors, warnings): (Vec<&Remark>, Vec<&Remark>) =
        remarks.iter().partition(|remark| remark.severity == Severity::Error);
    for warning in warnings {
        report.warn(&format!("{} ({})", warning.text, warning.fix));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let texts: Vec<&str> = errors.iter().map(|error| error.text.as_str()).collect();
    let mut failure = Failure::new(
        ExitCode::Registry,
        format!("checking the image {}: {}", image.escape_debug(), texts.join("; ")),
    );
    let mut fixes: Vec<&str> = Vec::new();
    for error in &errors {
        if !fixes.contains(&error.fix.as_str()) {
            fixes.push(&error.fix);
            failure = failure.hint(error.fix.clone());
        }
    }
    Err(failure.hint("no node was touched").into())
}
