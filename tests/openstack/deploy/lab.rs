//! The servers, sets to publish, and nodes to deploy to.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::anaconda::Anaconda;
use crate::servers::{Api, EVERYTHING, Servers};

/// A limit that nothing here reaches, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Findings of `osimg verify` that are correct for a tarball of two files.
const MISSING: &str = "efi-loader directories kernel-modules rpmdb program-base64 program-bash \
                       program-chmod program-chpasswd program-curl program-depmod program-dirname \
                       program-dracut program-efibootmgr program-gen_grub_cfgstub \
                       program-grub2-editenv program-grub2-mkconfig program-grub2-set-default \
                       program-kernel-install program-locale program-mkdir program-sh \
                       program-systemd-machine-id-setup program-useradd";

/// The servers of this test run.
pub struct Lab {
    pub servers: &'static Servers,
}

/// The files of a small set that fits together.
pub struct Files {
    pub directory: tempfile::TempDir,
    /// The suffix of the tarball, with the dot.
    pub extension: &'static str,
}

/// An available node of fake hardware that has not had any image.
pub struct TestNode {
    pub name: String,
    pub uuid: String,
    api: Api,
    /// The directory from which its conductor serves files.
    http_root: PathBuf,
}

impl Lab {
    /// The lab, or nothing if it is not available.
    pub fn open() -> Option<Self> {
        Servers::shared(EVERYTHING).map(|servers| Self { servers })
    }

    /// Copies the files to this directory of the web server and returns its URL.
    pub fn serve(&self, name: &str, files: &[(&str, &Path)]) -> String {
        let directory = self.servers.data().join("www").join(name);
        for (to, from) in files {
            let path = directory.join(to);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(from, path).unwrap();
        }
        format!("http://127.0.0.1:{}/{name}", self.servers.port(7))
    }

    /// Runs osimg until it ends.
    pub fn osimg(&self, arguments: &[&str]) -> Output {
        self.servers.osimg(arguments).output().unwrap()
    }

    /// Publishes a set into Glance by osimg and returns its output: the references.
    pub fn publish(&self, cloud: &str, files: &Files, name: &str, more: &[&str]) -> Value {
        self.publish_to(&format!("glance:{cloud}"), files, name, more)
    }

    /// Like [`Lab::publish`], into any registry.
    pub fn publish_to(&self, registry: &str, files: &Files, name: &str, more: &[&str]) -> Value {
        let path = |file: &str| files.path(file).to_string_lossy().into_owned();
        let (tarball, kernel, ramdisk, stage2) =
            (files.tarball(), path("vmlinuz"), path("initrd.img"), path("install.img"));
        let tarball = tarball.to_string_lossy().into_owned();
        let mut arguments =
            vec!["publish", &tarball, "--registry", registry, "--name", name, "--json"];
        arguments.extend(["--kernel", &kernel, "--ramdisk", &ramdisk, "--stage2", &stage2]);
        arguments.extend(more);
        arguments.extend(MISSING.split_whitespace().flat_map(|name| ["--allow", name]));
        let one = only_writer();
        let output = self.osimg(&arguments);
        drop(one);
        assert!(output.status.success(), "{}", messages(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A node that the project of the cloud `owner` owns. Without Keystone it has no owner.
    pub fn node(&self, owner: &str) -> TestNode {
        self.node_of(owner, "x86_64")
    }

    /// Like [`Lab::node`], of any architecture.
    pub fn node_of(&self, owner: &str, arch: &str) -> TestNode {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("node-{number}");
        let (cloud, directory) = match owner {
            "osimg-noauth" => ("osimg-noauth", "ironic-noauth"),
            _ => ("osimg-system", "ironic"),
        };
        let api = Api::login(self.servers, cloud);
        let mut body = json!({ "driver": "manual-management", "management_interface": "noop",
            "power_interface": "fake", "name": name,
            "deploy_interface": "direct", "boot_interface": "ipxe",
            "properties": { "cpu_arch": arch } });
        if cloud != owner {
            body["owner"] = json!(Api::login(self.servers, owner).project);
        }
        let (status, made) = api.call("POST", "baremetal", "/v1/nodes", Some(&body));
        assert_eq!(status, 201, "{made}");
        let uuid = made["uuid"].as_str().unwrap().to_owned();
        let port = json!({ "node_uuid": uuid,
            "address": format!("52:54:00:00:{:02x}:{:02x}", number / 256, number % 256) });
        assert_eq!(api.call("POST", "baremetal", "/v1/ports", Some(&port)).0, 201);
        let node = TestNode {
            name,
            uuid,
            api,
            http_root: self.servers.data().join(directory).join("http"),
        };
        for (verb, state) in [("manage", "manageable"), ("provide", "available")] {
            node.provision(verb);
            node.wait_for(&[state], None);
        }
        node
    }
}

impl Files {
    /// A set with a tarball written by `osimg pack`. All sets differ.
    pub fn new(extension: &'static str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::tempdir().unwrap();
        let files = Self { directory, extension };
        let tree = files.path("tree");
        std::fs::create_dir_all(tree.join("etc")).unwrap();
        std::fs::create_dir_all(tree.join("boot")).unwrap();
        std::fs::write(tree.join("etc/os-release"), "ID=demo\nVERSION_ID=\"1\"\n").unwrap();
        std::fs::write(tree.join("boot/vmlinuz-6.1"), format!("{number} {}", std::process::id()))
            .unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_osimg"))
            .args(["pack", "--selinux", "none", "-q", "-o"])
            .args([files.tarball(), tree])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", messages(&output));
        let mark = format!("{number}-{}", std::process::id()).into_bytes();
        // Linux's boot protocol, with the mark of a boot sector, which Glance refuses in bare
        // images.
        let mut kernel = vec![0_u8; 16384];
        kernel[510..512].copy_from_slice(&[0x55, 0xaa]);
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[9000..9000 + mark.len()].copy_from_slice(&mark);
        std::fs::write(files.path("vmlinuz"), kernel).unwrap();
        let mut ramdisk = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        ramdisk.write_all(b"070701").unwrap();
        ramdisk.write_all(&mark).unwrap();
        std::fs::write(files.path("initrd.img"), ramdisk.finish().unwrap()).unwrap();
        let mut stage2 = b"hsqs".to_vec();
        stage2.resize(6000, 7);
        stage2.extend(mark);
        std::fs::write(files.path("install.img"), stage2).unwrap();
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn tarball(&self) -> PathBuf {
        self.path(&format!("os-1{}", self.extension))
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

impl TestNode {
    fn provision(&self, verb: &str) {
        let (status, messages) = self.api.call(
            "PUT",
            "baremetal",
            &format!("/v1/nodes/{}/states/provision", self.uuid),
            Some(&json!({ "target": verb })),
        );
        assert_eq!(status, 202, "{verb}: {messages}");
    }

    /// The node as Ironic describes it.
    pub fn show(&self) -> Value {
        let (status, body) =
            self.api.call("GET", "baremetal", &format!("/v1/nodes/{}", self.uuid), None);
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Compares the fields that a deployment sets, but not `updated_at`: the conductor may still be
    /// recording that the node is available.
    pub fn is_untouched_since(&self, before: &Value) {
        let now = self.show();
        let fields = [
            "deploy_interface",
            "boot_interface",
            "driver_info",
            "instance_info",
            "instance_uuid",
            "extra",
            "properties",
        ];
        for field in fields.into_iter().chain(["provision_state"]) {
            assert_eq!(now[field], before[field], "{field}");
        }
    }

    /// Changes the node without osimg.
    pub fn patch(&self, patch: &Value) {
        let (status, messages) =
            self.api.call("PATCH", "baremetal", &format!("/v1/nodes/{}", self.uuid), Some(patch));
        assert_eq!(status, 200, "{messages}");
    }

    /// The steps that an operator does once for a node of a project's members.
    pub fn prepare(&self) {
        self.patch(&json!([
            { "op": "add", "path": "/deploy_interface", "value": "anaconda" },
            { "op": "add", "path": "/driver_info",
                "value": { "deploy_kernel": "http://127.0.0.1/unused",
                    "deploy_ramdisk": "http://127.0.0.1/unused" } },
        ]));
    }

    pub fn start_without_osimg(&self) -> MutexGuard<'static, ()> {
        let exclusive = only_deployment();
        self.provision("active");
        exclusive
    }

    /// Waits until the node is in one of the states. Fails if the program that should change the
    /// state has ended.
    pub fn wait_for(&self, states: &[&str], program: Option<&mut Child>) -> Value {
        let began = Instant::now();
        let mut program = program;
        loop {
            let node = self.show();
            let state = node["provision_state"].as_str().unwrap();
            if states.contains(&state) {
                return node;
            }
            let ended = program.as_mut().and_then(|child| child.try_wait().unwrap());
            if let Some(status) = ended {
                use std::io::Read;
                let mut text = String::new();
                let _ = program.unwrap().stderr.take().unwrap().read_to_string(&mut text);
                panic!("osimg ended with {status} while the node was '{state}':\n{text}");
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{} is '{state}', not {states:?}: {}",
                self.name,
                node["last_error"]
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The installer with the files of this node.
    pub fn anaconda(&self) -> Anaconda {
        Anaconda::boot(&self.http_root, &self.uuid)
    }
}

/// Excludes other publishers: Glance on SQLite fails with two concurrent writers.
pub fn only_writer() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Excludes other deployments, because of a race in Ironic. One deployment's cleaning of the
/// conductor's cache lists the temporary directory of another one's download, which is then
/// removed (os.listdir and os.stat in ironic/drivers/modules/image_cache.py).
pub fn only_deployment() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Starts `osimg deploy … --apply --start --wait`, acts as the installer on the node, and returns
/// osimg's output and the installation.
pub fn deploy(lab: &Lab, node: &TestNode, arguments: &[&str]) -> (Output, Anaconda) {
    let (mut program, _alone) = start(lab, node, arguments);
    node.wait_for(&["wait call-back"], Some(&mut program));
    let mut anaconda = node.anaconda();
    anaconda.install();
    let output = program.wait_with_output().unwrap();
    (output, anaconda)
}

/// Starts `osimg deploy … --apply --start --wait` on the node. There is no other deployment until
/// the second value is dropped.
pub fn start(lab: &Lab, node: &TestNode, arguments: &[&str]) -> (Child, MutexGuard<'static, ()>) {
    let exclusive = only_deployment();
    let mut command = lab.servers.osimg(&["-v", "deploy"]);
    command.args(arguments).args([
        "--node",
        &node.name,
        "--apply",
        "--start",
        "--wait",
        "--timeout",
        "10m",
    ]);
    (command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), exclusive)
}

/// Everything that a program printed. It must not contain a secret of the test cloud.
pub fn messages(output: &Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    for secret in ["osimg-admin", "osimg-service", "wrong-password", "gAAAAA"] {
        assert!(!text.contains(secret), "a secret was printed:\n{text}");
    }
    text
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
