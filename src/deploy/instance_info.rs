//! The settings of a node that let Ironic's anaconda deploy interface install an image:
//! instance_info and driver_info.
//!
//! Which keys Ironic reads depends on where the image is (`deploy_utils.py`, `pxe_utils.py` of
//! Ironic 39). Only keys that it reads are set, and every key that it reads is set or removed.

mod mode;
mod node;

use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::archive::SUFFIXES;
use crate::error::{ExitCode, Failure, Result};
use crate::set::{Kind, References};
pub(crate) use mode::Mode;
pub(crate) use node::NodeSettings;
use node::kernel_arguments;

/// The keys of instance_info that osimg or Ironic sets for one deployment. Whatever another one
/// left in them is removed: a config drive has a host's secrets, a pull secret those of a registry.
pub(crate) const OWNED: [&str; 29] = [
    "image_source",
    "kernel",
    "ramdisk",
    "stage2",
    "ks_template",
    "root_gb",
    "image_type",
    "image_download_source",
    "kernel_append_params",
    "boot_iso",
    "image_url",
    "image_checksum",
    "image_os_hash_algo",
    "image_os_hash_value",
    "image_disk_format",
    "image_properties",
    "image_info",
    "image_container_format",
    "image_tags",
    "image_rootfs_uuid",
    "image_request_authorization",
    "image_request_authorization_secret",
    "image_pull_secret",
    "oci_image_manifest_url",
    "original_image_source",
    "ramdisk_kernel_arguments",
    "configdrive",
    "deploy_key",
    "root_mb",
];

/// An image with its boot pieces; each as Ironic takes it: a Glance UUID, or a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Image {
    /// Where it is.
    pub mode: Mode,
    /// The tarball, or the tree.
    pub source: String,
    /// The installer's kernel.
    pub kernel: Option<String>,
    /// The installer's initramfs.
    pub ramdisk: Option<String>,
    /// The installer's second stage.
    pub stage2: Option<String>,
    /// The kickstart template.
    pub kickstart: Option<String>,
}

/// The settings that are the same for every image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NodeOptions {
    /// Size of the root partition in GiB. Ironic demands a number and then divides no disk by it:
    /// the kickstart does.
    pub root_gb: Option<u32>,
    /// Further arguments of the installer's kernel; `%default%` means the conductor's own.
    pub kernel_append_params: Option<String>,
    /// `ipxe`, `pxe`, `http-ipxe` and the like; the node's own when it is not set.
    pub boot_interface: Option<String>,
}

impl Image {
    /// A published set; `base` is the URL under which the files of a directory are served.
    ///
    /// # Errors
    /// When Ironic cannot get the set from there.
    pub(crate) fn from_references(set: &References, base: Option<&str>) -> Result<Self> {
        let doing = || format!("deploying {} {}", set.name, set.version).trim_end().to_owned();
        let mode = match set.kind {
            Kind::Glance => Mode::Glance,
            Kind::Oci => Mode::Oci,
            Kind::Http | Kind::Directory => Mode::Http,
        };
        let name = |reference: &crate::set::Reference| -> Result<String> {
            match set.kind {
                Kind::Glance => Ok(reference.id.clone()),
                Kind::Oci | Kind::Http if base.is_none() => {
                    let missing = || {
                        Failure::new(
                            ExitCode::Registry,
                            format!("{}: {} has no URL", doing(), reference.name),
                        )
                    };
                    reference.url.clone().ok_or_else(|| missing().into())
                }
                Kind::Oci => Err(Failure::new(
                    ExitCode::Usage,
                    format!("{}: a set in a container registry has its own URLs", doing()),
                )
                .into()),
                Kind::Http | Kind::Directory => match base {
                    Some(base) => Ok(format!("{}/{}", base.trim_end_matches('/'), reference.id)),
                    None => Err(Failure::new(
                        ExitCode::Usage,
                        format!("{}: it is in a directory, which no node can read", doing()),
                    )
                    .hint(
                        "say under which URL a web server gives out that directory: --base-url URL",
                    )
                    .into()),
                },
            }
        };
        let optional =
            |reference: &Option<crate::set::Reference>| reference.as_ref().map(name).transpose();
        Ok(Self {
            mode,
            source: name(&set.tarball)?,
            kernel: optional(&set.kernel)?,
            ramdisk: optional(&set.ramdisk)?,
            stage2: optional(&set.stage2)?,
            kickstart: optional(&set.kickstart)?,
        })
    }

    /// Looks for what Ironic's own validation lets pass and its deployment then fails by.
    ///
    /// # Errors
    /// With every lack at once.
    pub(crate) fn check(&self) -> Result<()> {
        let mut lacks: Vec<(String, &str)> = Vec::new();
        let pieces = "publish it with them, or name them: --kernel, --ramdisk, --stage2";
        let boots = self.kernel.is_some() && self.ramdisk.is_some();
        // Without the two Ironic takes any image for that of a whole disk and stops with KeyError:
        // 'ks_template'.
        if !boots && self.mode != Mode::Glance {
            lacks.push(("the installer's kernel and ramdisk are not known".into(), pieces));
        }
        if self.stage2.is_none() && matches!(self.mode, Mode::Http | Mode::Oci) {
            lacks.push(("the installer's second stage is not known".into(), pieces));
        }
        match self.mode {
            Mode::Http if !SUFFIXES.iter().any(|suffix| self.source.ends_with(suffix)) => lacks
                .push((
                    format!(
                        "{} does not end in {}, so that Ironic or Anaconda would not treat it as \
                         a tarball",
                        self.source,
                        SUFFIXES.join(", ")
                    ),
                    "name the tarball's URL, or an install tree's with a slash at its end",
                )),
            Mode::Tree if !self.source.ends_with('/') => {
                lacks.push((
                    format!(
                        "{} does not end with a slash, so that Ironic may take it for an image",
                        self.source
                    ),
                    "append one",
                ));
            }
            Mode::Oci if !self.source.contains("@sha256:") => {
                lacks.push((
                    format!(
                        "{} names no digest, and Ironic takes a tag for a whole disk's image",
                        self.source
                    ),
                    "write oci://HOST/NAME@sha256:DIGEST",
                ));
            }
            _ => {}
        }
        let all = [
            ("image", Some(&self.source)),
            ("kernel", self.kernel.as_ref()),
            ("ramdisk", self.ramdisk.as_ref()),
            ("stage2", self.stage2.as_ref()),
            ("kickstart template", self.kickstart.as_ref()),
        ];
        for (what, reference) in
            all.into_iter().filter_map(|(what, reference)| reference.map(|r| (what, r)))
        {
            if let Err(why) = reference_form(reference) {
                lacks.push((
                    format!("the {what} {}: {why}", reference.escape_debug()),
                    "write a Glance UUID, http://, https:// or oci://",
                ));
            }
        }
        if lacks.is_empty() {
            return Ok(());
        }
        let text: Vec<&str> = lacks.iter().map(|(text, _)| text.as_str()).collect();
        let mut failure = Failure::new(
            ExitCode::Usage,
            format!("deploying {}: {}", self.source.escape_debug(), text.join("; ")),
        );
        let mut fixes: Vec<&str> = lacks.iter().map(|(_, fix)| *fix).collect();
        fixes.dedup();
        for fix in fixes {
            failure = failure.hint(fix);
        }
        Err(failure.into())
    }

    /// The settings of a node that install this image.
    ///
    /// # Errors
    /// When [`Image::check`] finds a problem, or an option cannot be written.
    pub(crate) fn settings(&self, options: &NodeOptions) -> Result<NodeSettings> {
        self.check()?;
        let mut info: BTreeMap<&'static str, Value> = BTreeMap::new();
        info.insert("image_source", json!(self.source));
        if let Some(kickstart) = &self.kickstart {
            info.insert("ks_template", json!(kickstart));
        }
        if let Some(arguments) = &options.kernel_append_params {
            kernel_arguments(arguments)?;
            info.insert("kernel_append_params", json!(arguments));
        }
        let mut boot = || {
            for (key, value) in
                [("kernel", &self.kernel), ("ramdisk", &self.ramdisk), ("stage2", &self.stage2)]
            {
                if let Some(value) = value {
                    info.insert(key, json!(value));
                }
            }
        };
        // Ironic requires it for anything but a tree, and does not use it.
        let root_gb = json!(options.root_gb.unwrap_or(10));
        match self.mode {
            // The properties of the image name the rest; instance_info could not, for validation
            // looks only at the properties.
            Mode::Glance => {
                info.insert("root_gb", root_gb);
            }
            Mode::Http => {
                boot();
                info.insert("root_gb", root_gb);
                // A conductor may be set to fetch images itself; its copy has no suffix by which
                // Anaconda would know a tarball.
                info.insert("image_download_source", json!("http"));
            }
            // The tree's `.treeinfo` names its second stage.
            Mode::Tree => {
                for (key, value) in [("kernel", &self.kernel), ("ramdisk", &self.ramdisk)] {
                    info.extend(value.as_ref().map(|value| (key, json!(value))));
                }
            }
            Mode::Oci => {
                boot();
                info.insert("root_gb", root_gb);
                // Without it Ironic takes the artifact for a whole disk's image.
                info.insert("image_type", json!("partition"));
                info.insert("image_download_source", json!("http"));
            }
        }
        let mut driver_info = BTreeMap::new();
        if let (Some(kernel), Some(ramdisk)) = (&self.kernel, &self.ramdisk) {
            driver_info.insert("deploy_kernel", kernel.clone());
            driver_info.insert("deploy_ramdisk", ramdisk.clone());
        }
        Ok(NodeSettings {
            mode: self.mode,
            deploy_interface: "anaconda",
            boot_interface: options.boot_interface.clone(),
            driver_info,
            instance_info: info,
        })
    }
}

/// Whether a text is 8-4-4-4-12 hexadecimal digits.
#[must_use]
pub(crate) fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn reference_form(text: &str) -> Result<(), &'static str> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it has blanks or control characters in it");
    }
    if is_uuid(text) || text.strip_prefix("glance://").is_some_and(is_uuid) {
        return Ok(());
    }
    match text.split_once("://") {
        Some(("http" | "https", rest)) => {
            if rest.split('/').next().is_some_and(|host| host.contains('@')) {
                return Err("a password or user name in a URL ends up in logs and on nodes");
            }
            if text.contains(['?', '#']) {
                return Err(
                    "Anaconda chooses by how the URL ends, so that it cannot have a query string",
                );
            }
            Ok(())
        }
        Some(("oci", _)) => Ok(()),
        Some(("file", _)) => Err("Ironic reads files only below [conductor] \
                                  file_url_allowed_paths, and hands a tarball on without its \
                                  suffix"),
        _ => Err("it is neither a Glance UUID nor a URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "1aa085aa-ddb0-46a3-ad5e-cf0054dc4ef5";

    fn image(mode: Mode, source: &str) -> Image {
        let url = |name: &str| Some(format!("http://h/{name}"));
        Image {
            mode,
            source: source.into(),
            kernel: url("vmlinuz"),
            ramdisk: url("initrd"),
            stage2: url("install.img"),
            kickstart: url("os.ks"),
        }
    }

    fn keys(image: &Image) -> Vec<&'static str> {
        image
            .settings(&NodeOptions::default())
            .expect("settings")
            .instance_info
            .into_keys()
            .collect()
    }

    #[test]
    fn every_mode_sets_what_ironic_reads_in_it_and_no_more() {
        let mut glance = image(Mode::Glance, UUID);
        glance.kickstart = None;
        assert_eq!(keys(&glance), ["image_source", "root_gb"]);
        assert_eq!(
            keys(&image(Mode::Http, "http://h/os.tgz")),
            [
                "image_download_source",
                "image_source",
                "kernel",
                "ks_template",
                "ramdisk",
                "root_gb",
                "stage2"
            ]
        );
        assert_eq!(
            keys(&image(Mode::Tree, "http://h/tree/")),
            ["image_source", "kernel", "ks_template", "ramdisk"]
        );
        let oci = image(Mode::Oci, "oci://r/os@sha256:ab");
        assert_eq!(
            keys(&oci),
            [
                "image_download_source",
                "image_source",
                "image_type",
                "kernel",
                "ks_template",
                "ramdisk",
                "root_gb",
                "stage2"
            ]
        );
    }

    #[test]
    fn what_validation_lets_pass_is_found_before() {
        let http = || image(Mode::Http, "http://h/os.tgz");
        let cases = [
            (Image { stage2: None, ..http() }, "second stage is not known"),
            (Image { kernel: None, ..http() }, "kernel and ramdisk are not known"),
            (
                Image { ramdisk: None, ..image(Mode::Tree, "http://h/t/") },
                "kernel and ramdisk are not known",
            ),
            (image(Mode::Http, "http://h/os.tar.zst"), "does not end in .tar"),
            (image(Mode::Http, "http://h/os.TGZ"), "does not end in .tar"),
            (image(Mode::Http, "http://h/x?f=os.tgz"), "query string"),
            (image(Mode::Http, "http://me:secret@h/os.tgz"), "password"),
            (image(Mode::Tree, "http://h/tree"), "does not end with a slash"),
            (image(Mode::Oci, "oci://r/os:1"), "names no digest"),
            (image(Mode::Glance, "os image"), "blanks"),
            (
                Image { kickstart: Some("/etc/ironic/ks.cfg.template".into()), ..http() },
                "neither a Glance UUID nor a URL",
            ),
            (
                Image { kickstart: Some("file:///etc/ks".into()), ..http() },
                "file_url_allowed_paths",
            ),
        ];
        for (image, expected) in cases {
            let message = image.settings(&NodeOptions::default()).expect_err(expected).to_string();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }

    #[test]
    fn lines_for_a_shell_are_quoted_and_numbers_stay_numbers() {
        let options = NodeOptions {
            kernel_append_params: Some("console=ttyS0 x=\"a b\"".into()),
            boot_interface: Some("ipxe".into()),
            root_gb: Some(20),
        };
        let lines: Vec<String> = image(Mode::Http, "http://h/it's.tgz")
            .settings(&options)
            .expect("settings")
            .commands("node 1")
            .iter()
            .map(crate::process::CommandLine::quoted)
            .collect();
        assert_eq!(
            lines[0],
            "baremetal node set 'node 1' --deploy-interface anaconda --boot-interface ipxe"
        );
        assert_eq!(
            lines[1],
            "baremetal node set 'node 1' --driver-info deploy_kernel=http://h/vmlinuz \
            --driver-info deploy_ramdisk=http://h/initrd"
        );
        assert!(
            lines[2].contains(r"--instance-info 'image_source=http://h/it'\''s.tgz'"),
            "{}",
            lines[2]
        );
        assert!(
            lines[2].contains(r#"--instance-info 'kernel_append_params=console=ttyS0 x="a b"'"#),
            "{}",
            lines[2]
        );
        assert!(lines[2].contains("--instance-info root_gb=20"), "{}", lines[2]);
        assert_eq!(
            lines[3..],
            ["baremetal node validate 'node 1'", "baremetal node deploy 'node 1'"]
        );
    }
}
