//! The demo distribution is installed on nodes: `osimg build` publishes a set of it, and nodes
//! install it in every mode.

use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::lab::{Files, Lab, deploy, messages, only_writer, sha256};
use crate::loopback::Registry;
use crate::support::{require_root, skip};

/// The checks that fail for an image without a kernel, a boot loader and most tools.
const SMALL_LACKS: &str = "kernel efi-loader program-systemd-machine-id-setup \
    program-kernel-install program-dracut \
     program-depmod program-grub2-mkconfig program-grub2-set-default program-grub2-editenv \
     program-efibootmgr program-gen_grub_cfgstub program-locale program-useradd program-chpasswd";

/// A part of the distribution that is small in every format.
const SMALL: &str = "install osimg-demo-release bash coreutils curl\nts run\n";

/// The distribution, its install tree on the lab's web server, and a directory to build in.
struct Demo {
    repo: PathBuf,
    /// The URL of the install tree, with a slash at the end.
    tree: String,
    /// The boot arguments of the tree.
    files: Files,
    directory: tempfile::TempDir,
}

/// A build that was published.
struct Built {
    manifest: Value,
    path: PathBuf,
}

impl Built {
    /// The place where its tarball with that suffix was published last.
    fn published(&self, extension: &str) -> &Value {
        let all =
            self.manifest["published"].as_array().unwrap_or_else(|| panic!("{}", self.manifest));
        all.iter()
            .rfind(|set| set["extension"] == extension)
            .unwrap_or_else(|| panic!("{extension}: {all:?}"))
    }

    fn tarball(&self, extension: &str) -> PathBuf {
        PathBuf::from(format!(
            "{}{extension}",
            self.path.to_string_lossy().trim_end_matches(".json")
        ))
    }
}

impl Demo {
    fn open(lab: &Lab, name: &str) -> Option<Self> {
        if !require_root() {
            return None;
        }
        let repo = std::env::var_os("OSIMG_DEMO_REPO").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(".demo/repo"),
            PathBuf::from,
        );
        if !repo.join("osimg-demo.toml").exists() {
            skip(&format!("there is no demo distribution in {}: make demo", repo.display()));
            return None;
        }
        let files = Files::new(".tgz");
        // The distribution's own kernel. Its first sector looks like that of a disk, which makes
        // Glance refuse it.
        let packages =
            std::fs::read_dir(repo.join("Packages")).unwrap().map(|entry| entry.unwrap().path());
        let kernel = packages
            .into_iter()
            .find(|path| path.to_string_lossy().contains("/kernel-core-"))
            .unwrap();
        let output =
            Command::new("bsdtar").arg("-xOf").arg(kernel).arg("*/vmlinuz").output().unwrap();
        assert!(
            output.status.success() && output.stdout.get(510..512) == Some(&[0x55, 0xaa]),
            "{}",
            messages(&output)
        );
        std::fs::write(files.path("vmlinuz"), output.stdout).unwrap();
        let laid = [
            ("images/pxeboot/vmlinuz", "vmlinuz"),
            ("images/pxeboot/initrd.img", "initrd.img"),
            ("images/install.img", "install.img"),
        ];
        let sums: String = laid
            .iter()
            .map(|(to, from)| format!("{to} = sha256:{}\n", sha256(&files.bytes(from))))
            .collect();
        let treeinfo = super::modes::TREEINFO
            .replace("= Demo", "= osimg-demo")
            .replace("\nversion = 1\n", "\nversion = 12\n");
        std::fs::write(files.path("treeinfo"), format!("{treeinfo}[checksums]\n{sums}")).unwrap();
        let paths: Vec<(&str, PathBuf)> = laid
            .iter()
            .chain(&[(".treeinfo", "treeinfo")])
            .map(|(to, from)| (*to, files.path(from)))
            .collect();
        let paths: Vec<(&str, &Path)> =
            paths.iter().map(|(to, from)| (*to, from.as_path())).collect();
        let tree = format!("{}/", lab.serve(name, &paths));
        for part in ["Packages", "repodata"] {
            symlink(
                repo.join(part).canonicalize().unwrap(),
                lab.servers.data().join("www").join(name).join(part),
            )
            .unwrap();
        }
        let directory = tempfile::Builder::new()
            .prefix("demo-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        Some(Self { repo, tree, files, directory })
    }

    /// Runs `osimg build` as a user would: the settings name what is published, and how.
    fn build(
        &self,
        lab: &Lab,
        recipe: &str,
        name: &str,
        registry: &str,
        formats: &[&str],
    ) -> Built {
        let settings = std::fs::read_to_string(self.repo.join("osimg-demo.toml")).unwrap();
        let repo = self.repo.canonicalize().unwrap();
        let settings = settings
            .replace("\"./\"", &format!("\"file://{}\"", repo.display()))
            .replace("file = \"", &format!("file = \"{}/", repo.display()));
        let formats: Vec<String> = formats.iter().map(|format| format!("\"{format}\"")).collect();
        let more = format!(
            "\n[image]\nname = \"{name}\"\nversion = \"1\"\nlevel = \"fast\"\nformats = \
             [{}]\n[deploy]\ntree = \"{}\"\n[registry]\nurl = \"{registry}\"\n",
            formats.join(", "),
            self.tree
        );
        let (recipe_path, settings_path) = (
            self.directory.path().join(format!("{name}.yum")),
            self.directory.path().join(format!("{name}.toml")),
        );
        std::fs::write(&recipe_path, recipe).unwrap();
        std::fs::write(settings_path, settings + &more).unwrap();
        let mut command = lab.servers.osimg(&["build", recipe_path.to_str().unwrap(), "--cache"]);
        command.arg(self.directory.path().join("cache")).current_dir(self.directory.path());
        if recipe == SMALL {
            command.args(SMALL_LACKS.split_whitespace().flat_map(|check| ["--allow", check]));
        }
        let one = only_writer();
        let output = command.output().unwrap();
        drop(one);
        assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
        let path = self.directory.path().join(format!("out/{name}-1.json"));
        let built = Built {
            manifest: serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap(),
            path,
        };
        assert_eq!(
            built.manifest["published"].as_array().map(Vec::len),
            Some(formats.len()),
            "{}",
            built.manifest["published"]
        );
        built
    }
}

/// Deploys, acts as the installer, and compares the files on the node with the build. Returns the
/// line that named the tarball.
fn installs(
    lab: &Lab,
    demo: &Demo,
    built: &Built,
    extension: &str,
    owner: &str,
    arguments: &[&str],
) -> String {
    let node = lab.node(owner);
    node.prepare();
    let (output, anaconda) = deploy(lab, &node, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    assert_eq!(node.show()["provision_state"], "active");
    let tarball = std::fs::read(built.tarball(extension)).unwrap();
    let line =
        anaconda.command("liveimg").unwrap_or_else(|| panic!("{}", anaconda.kickstart)).to_owned();
    assert!(line.contains(&format!("--checksum={}", sha256(&tarball))), "{line}");
    assert!(anaconda.tarball == Some(tarball), "the node got another tarball");
    assert!(
        anaconda.kernel == demo.files.bytes("vmlinuz")
            && anaconda.ramdisk == demo.files.bytes("initrd.img")
    );
    assert_eq!(anaconda.stage2, Some(demo.files.bytes("install.img")));
    line
}

#[test]
fn the_demo_distribution_is_installed_from_glance_from_a_web_server_and_from_an_install_tree() {
    let Some(lab) = Lab::open() else { return };
    let Some(demo) = Demo::open(&lab, "demo-whole") else { return };
    let recipe =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("baremetal.yum"))
            .unwrap();
    let built = demo.build(&lab, &recipe, "whole", "glance:osimg", &["tgz"]);
    let set = built.published(".tgz");
    assert_eq!(
        (&set["kind"], &set["registry"], &set["name"]),
        (&json!("glance"), &json!("glance:osimg"), &json!("whole"))
    );
    for role in ["tarball", "kernel", "ramdisk", "stage2", "kickstart"] {
        assert!(set[role]["id"].is_string(), "{role}: {set}");
    }
    // Glance: the manifest contains the image.
    let manifest = built.path.to_str().unwrap();
    let line = installs(&lab, &demo, &built, ".tgz", "osimg", &[manifest, "--cloud", "osimg"]);
    assert!(line.contains("/agent_images/") && line.contains(".tgz\""), "{line}");

    // A web server: the same artifact, published into its directory.
    let (directory, base) = (
        lab.servers.data().join("www/published"),
        format!("http://127.0.0.1:{}/published", lab.servers.port(7)),
    );
    let (tarball, registry) =
        (built.tarball(".tgz"), format!("tree:{}={base}", directory.display()));
    let output = lab.osimg(&[
        "publish",
        tarball.to_str().unwrap(),
        "--registry",
        &registry,
        "--tree",
        &demo.tree,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    let url = format!("{base}/whole-1/whole-1.tgz");
    let line = installs(&lab, &demo, &built, ".tgz", "osimg", &[&url, "--cloud", "osimg"]);
    assert!(line.contains(&format!("--url=\"{url}\"")), "{line}");

    // The distribution's own tree.
    let output = lab.osimg(&["-q", "deploy", &demo.tree, "--print-kickstart"]);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    std::fs::write(demo.files.path("tree.ks"), &output.stdout).unwrap();
    let template = format!(
        "{}/tree.ks",
        lab.serve("demo-templates", &[("tree.ks", &demo.files.path("tree.ks"))])
    );
    let node = lab.node("osimg");
    let (output, anaconda) =
        deploy(&lab, &node, &[&demo.tree, "--cloud", "osimg", "--ks-template", &template]);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    assert_eq!(node.show()["provision_state"], "active");
    assert_eq!(anaconda.command("url"), Some(format!("url --url=\"{}\"", demo.tree).as_str()));
    assert!(anaconda.kernel == demo.files.bytes("vmlinuz"));
}

#[test]
fn a_member_builds_the_other_formats_into_glance_through_tls_and_installs_them() {
    let Some(lab) = Lab::open() else { return };
    let Some(demo) = Demo::open(&lab, "demo-formats") else { return };
    let built = demo.build(&lab, SMALL, "formats", "glance:osimg-demo-tls", &["tbz", "txz"]);
    let manifest = built.path.to_str().unwrap();
    for format in ["tbz", "txz"] {
        let extension = format!(".{format}");
        assert_eq!(built.published(&extension)["visibility"], "community");
        let line = installs(
            &lab,
            &demo,
            &built,
            &extension,
            "osimg-demo",
            &[manifest, "--format", format, "--cloud", "osimg-demo-tls"],
        );
        assert!(line.contains(&format!("{extension}\"")), "{line}");
    }
    // Both formats boot with the same three images.
    assert_eq!(built.published(".tbz")["kernel"]["id"], built.published(".txz")["kernel"]["id"]);
}

#[test]
fn an_image_in_a_container_registry_or_a_web_tree_is_installed_by_its_reference() {
    if osimg::process::find_program("docker-registry").is_none() {
        return skip("docker-registry is not installed");
    }
    let Some(lab) = Lab::open() else { return };
    let Some(demo) = Demo::open(&lab, "demo-remote") else { return };
    let server = Registry::default().start();
    let repository = format!("127.0.0.1:{}/os/image", server.port);
    let built = demo.build(&lab, SMALL, "contained", &format!("oci:{repository}"), &["tgz"]);
    let set = built.published(".tgz");
    let url = |role: &str| set[role]["url"].as_str().unwrap();
    // By tag: the registry lists the other pieces.
    let tagged = format!("oci://{repository}:contained-1.tgz");
    let line = installs(&lab, &demo, &built, ".tgz", "osimg", &[&tagged, "--cloud", "osimg"]);
    // Ironic passes on the blob's URL, which has no suffix. The template appends one.
    assert!(line.contains("/v2/os/image/blobs/sha256:") && line.contains("#.tgz\""), "{line}");
    // By the digest of the set and of the tarball: the node gets only digests.
    for reference in [url("tarball"), url("manifest")] {
        let output = lab.osimg(&["-q", "deploy", reference, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let info = &report["settings"]["instance_info"];
        assert_eq!(
            (&info["image_source"], &info["image_type"]),
            (&json!(url("tarball")), &json!("partition")),
            "{report}"
        );
        for (key, role) in [
            ("kernel", "kernel"),
            ("ramdisk", "ramdisk"),
            ("stage2", "stage2"),
            ("ks_template", "kickstart"),
        ] {
            assert_eq!(info[key], url(role), "{report}");
        }
    }
    for (wrong, expected) in [
        (url("kernel").to_owned(), "it is a kernel, not a tarball"),
        (format!("oci://{repository}:none"), "no such manifest"),
        (format!("oci://{repository}"), "names a repository"),
        (format!("oci://me:secret@{repository}:x"), "a password does not belong here"),
    ] {
        let output = lab.osimg(&["deploy", &wrong, "--json"]);
        let text = messages(&output);
        assert!(
            !output.status.success() && text.contains(expected) && !text.contains("secret"),
            "{wrong}: {text}"
        );
    }

    let base = format!("http://127.0.0.1:{}/trees", lab.servers.port(7));
    let built = demo.build(
        &lab,
        SMALL,
        "laid",
        &format!("tree:{}={base}", lab.servers.data().join("www/trees").display()),
        &["tgz"],
    );
    let url = built.published(".tgz")["tarball"]["url"].as_str().unwrap().to_owned();
    assert_eq!(url, format!("{base}/laid-1/laid-1.tgz"));
    installs(&lab, &demo, &built, ".tgz", "osimg-noauth", &[&url, "--cloud", "osimg-noauth"]);
}
