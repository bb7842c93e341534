//! A builder of tiny RPM repositories. This process makes the packages and signs them with a key
//! of this run; createrepo_c makes the metadata.

use super::keys::{self, SigningKey};
use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileMode, FileOptions};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The build time of every package, in seconds since 1970.
pub const BUILT: u32 = 1_700_000_000;

/// When a scriptlet runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Pretrans,
    Pre,
    Post,
    Posttrans,
    Preun,
    Postun,
}

/// The event that activates a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A package of that name is installed.
    Package(&'static str),
    /// A file below that path is installed.
    File(&'static str),
    /// As above, once per transaction.
    TransactionFile(&'static str),
}

/// The signer of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    Ours,
    Foreign,
    None,
}

#[derive(Debug)]
enum Node {
    File { content: Vec<u8>, caps: Option<&'static str>, doc: bool },
    Directory,
    Link(String),
}

#[derive(Debug)]
struct Entry {
    path: String,
    node: Node,
    mode: u16,
    owner: String,
}

/// A package that is not yet written to a file.
#[derive(Debug)]
pub struct Package {
    pub name: String,
    version: String,
    requires: Vec<Dependency>,
    recommends: Vec<String>,
    provides: Vec<String>,
    conflicts: Vec<String>,
    obsoletes: Vec<String>,
    entries: Vec<Entry>,
    scriptlets: Vec<(When, &'static str, String)>,
    triggers: Vec<(Trigger, String)>,
    edits: Vec<(Vec<u8>, Vec<u8>)>,
    signature: Signature,
    config: fn() -> BuildConfig,
    license: String,
    epoch: u32,
    changelog: Vec<(String, String, u32)>,
}

impl Package {
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            version: "1.0".into(),
            requires: Vec::new(),
            recommends: Vec::new(),
            provides: Vec::new(),
            conflicts: Vec::new(),
            obsoletes: Vec::new(),
            entries: Vec::new(),
            scriptlets: Vec::new(),
            triggers: Vec::new(),
            edits: Vec::new(),
            signature: Signature::Ours,
            config: BuildConfig::v4,
            license: "MIT".into(),
            epoch: 0,
            changelog: Vec::new(),
        }
    }

    pub fn license(mut self, text: &str) -> Self {
        self.license = text.into();
        self
    }

    /// In the format of rpm 6, which stores signatures only in the tag OPENPGP.
    pub fn format_6(mut self) -> Self {
        self.config = BuildConfig::v6;
        self
    }

    pub fn epoch(mut self, epoch: u32) -> Self {
        self.epoch = epoch;
        self
    }

    /// A changelog entry: author, text, and time in seconds since 1970.
    pub fn change(mut self, author: &str, text: &str, time: u32) -> Self {
        self.changelog.push((author.into(), text.into(), time));
        self
    }

    pub fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    pub fn requires(mut self, name: &str) -> Self {
        self.requires.push(Dependency::any(name));
        self
    }

    /// Requires a package to be installed before this one's scriptlets and files.
    pub fn requires_first(mut self, name: &str) -> Self {
        self.requires.push(Dependency::script_pre(name));
        self
    }

    pub fn recommends(mut self, name: &str) -> Self {
        self.recommends.push(name.into());
        self
    }

    pub fn provides(mut self, name: &str) -> Self {
        self.provides.push(name.into());
        self
    }

    pub fn conflicts(mut self, name: &str) -> Self {
        self.conflicts.push(name.into());
        self
    }

    pub fn obsoletes(mut self, name: &str) -> Self {
        self.obsoletes.push(name.into());
        self
    }

    /// A file; `owner` is `USER:GROUP`.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u16, owner: &str) -> Self {
        let node = Node::File {
            content: content.into(),
            caps: None,
            doc: path.starts_with("/usr/share/doc/"),
        };
        self.entries.push(Entry { path: path.into(), node, mode, owner: owner.into() });
        self
    }

    /// File capabilities of the last file.
    pub fn caps(mut self, text: &'static str) -> Self {
        match self.entries.last_mut() {
            Some(Entry { node: Node::File { caps, .. }, .. }) => *caps = Some(text),
            other => panic!("capabilities belong to a file, not to {other:?}"),
        }
        self
    }

    pub fn directory(mut self, path: &str, mode: u16) -> Self {
        self.entries.push(Entry {
            path: path.into(),
            node: Node::Directory,
            mode,
            owner: "root:root".into(),
        });
        self
    }

    pub fn link(mut self, path: &str, target: impl Into<String>) -> Self {
        self.entries.push(Entry {
            path: path.into(),
            node: Node::Link(target.into()),
            mode: 0o777,
            owner: "root:root".into(),
        });
        self
    }

    /// A scriptlet for the shell of [`shell`], which becomes a requirement.
    pub fn scriptlet(self, when: When, body: &str) -> Self {
        let mut package = self.requires_first("shell");
        package.scriptlets.push((when, "/bin/sh", body.to_owned()));
        package
    }

    /// A shell script that runs when another package or its files are installed.
    pub fn trigger(self, trigger: Trigger, body: &str) -> Self {
        let mut package = self.requires_first("shell");
        package.triggers.push((trigger, body.to_owned()));
        package
    }

    /// Replaces bytes in the header and the payload by the same number of others, wherever they
    /// occur. This makes names that no package builder would accept.
    pub fn edited(mut self, from: &[u8], to: &[u8]) -> Self {
        assert_eq!(from.len(), to.len());
        self.edits.push((from.to_vec(), to.to_vec()));
        self
    }

    /// A scriptlet in rpm's built-in Lua, which needs no program in the image.
    pub fn lua(mut self, when: When, body: &str) -> Self {
        self.scriptlets.push((when, "<lua>", body.to_owned()));
        self
    }

    pub fn signed_by(mut self, signature: Signature) -> Self {
        self.signature = signature;
        self
    }

    /// The name of the file that [`Package::write`] makes.
    pub fn file_name(&self) -> String {
        format!("{}-{}-1.noarch.rpm", self.name, self.version)
    }

    /// Writes it into an existing repository. The metadata must then be made again.
    pub fn write_into(&self, repository: &Path) -> PathBuf {
        self.write(&repository.join("Packages"))
    }

    pub fn write(&self, directory: &Path) -> PathBuf {
        let mut builder = rpm::PackageBuilder::new(
            &self.name,
            &self.version,
            &self.license,
            "noarch",
            &format!("The package {}", self.name),
        );
        // Bytes to be edited must not be compressed.
        let compression = if self.edits.is_empty() {
            CompressionWithLevel::Gzip(1)
        } else {
            CompressionWithLevel::None
        };
        builder
            .using_config(
                (self.config)().compression(compression).source_date(BUILT).reserved_space(None),
            )
            .release("1")
            .description("A package of the tests.")
            .vendor("Tests & Sons")
            .url("https://example.invalid/a")
            .build_host("tests.invalid");
        if self.epoch > 0 {
            builder.epoch(self.epoch);
        }
        for (author, text, time) in &self.changelog {
            builder.add_changelog_entry(author, text, *time);
        }
        for dependency in &self.requires {
            builder.requires(dependency.clone());
        }
        for name in &self.recommends {
            builder.recommends(Dependency::any(name));
        }
        for name in &self.provides {
            builder.provides(Dependency::any(name));
        }
        for name in &self.conflicts {
            builder.conflicts(Dependency::any(name));
        }
        for name in &self.obsoletes {
            builder.obsoletes(Dependency::any(name));
        }
        for (when, program, body) in &self.scriptlets {
            let scriptlet = rpm::Scriptlet::new(body.clone()).prog(vec![*program]);
            match when {
                When::Pretrans => builder.pre_trans_script(scriptlet),
                When::Pre => builder.pre_install_script(scriptlet),
                When::Post => builder.post_install_script(scriptlet),
                When::Posttrans => builder.post_trans_script(scriptlet),
                When::Preun => builder.pre_uninstall_script(scriptlet),
                When::Postun => builder.post_uninstall_script(scriptlet),
            };
        }
        for (trigger, body) in &self.triggers {
            let script = rpm::Scriptlet::new(body.clone()).prog(vec!["/bin/sh"]);
            match trigger {
                Trigger::Package(name) => builder.trigger_in(name, None, script),
                Trigger::File(path) => builder.file_trigger_in(path, None, script),
                Trigger::TransactionFile(path) => builder.trans_file_trigger_in(path, None, script),
            };
        }
        self.entries.iter().for_each(|entry| entry.add(&mut builder));
        let mut package = builder.build().unwrap_or_else(|e| panic!("package {}: {e}", self.name));
        if !self.edits.is_empty() {
            package = edited(&package, &self.edits);
        }
        let key: Option<&SigningKey> = match self.signature {
            Signature::Ours => Some(keys::ours()),
            Signature::Foreign => Some(keys::foreign()),
            Signature::None => None,
        };
        if let Some(key) = key {
            package.sign_with_timestamp(&key.signer, key.time).unwrap();
        }
        let path = directory.join(self.file_name());
        package.write_file(&path).unwrap();
        path
    }
}

/// The package with other bytes in its header and payload and with matching digests.
fn edited(package: &rpm::Package, edits: &[(Vec<u8>, Vec<u8>)]) -> rpm::Package {
    let mut bytes = Vec::new();
    package.write(&mut bytes).unwrap();
    let parse = |bytes: &[u8]| rpm::Package::parse(&mut std::io::Cursor::new(bytes)).unwrap();
    let digests = |package: &rpm::Package| {
        // The payload's digests are in the header, so they come before those of the header.
        [package.payload.as_slice(), package.metadata.header_bytes().unwrap().as_slice()]
            .map(|part| ["sha256sum", "sha1sum"].map(|tool| sum(tool, part)))
    };
    let before = digests(package);
    for (from, to) in edits {
        assert!(
            replace(&mut bytes, from, to) > 0,
            "{} is nowhere in the package",
            from.escape_ascii()
        );
    }
    for part in 0..2 {
        let now = digests(&parse(&bytes));
        for (old, new) in before[part].iter().zip(&now[part]) {
            replace(&mut bytes, old.as_bytes(), new.as_bytes());
        }
    }
    parse(&bytes)
}

/// Replaces every occurrence and returns their number.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    let mut count = 0;
    for at in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
            count += 1;
        }
    }
    count
}

/// The digest as a tool of coreutils computes it.
fn sum(tool: &str, bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let output = Command::new(tool).arg(file.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

impl Entry {
    fn add(&self, builder: &mut rpm::PackageBuilder) {
        let (user, group) = self.owner.split_once(':').unwrap_or((&self.owner, &self.owner));
        let ours = |options: rpm::FileOptionsBuilder| {
            options.user(user).group(group).modified_at(BUILT.into())
        };
        let done = match &self.node {
            Node::Directory => builder
                .with_dir_entry(ours(FileOptions::dir(&self.path).mode(FileMode::dir(self.mode)))),
            Node::Link(target) => {
                builder.with_symlink(ours(FileOptions::symlink(&self.path, target)))
            }
            Node::File { content, caps, doc } => {
                let mut options =
                    ours(FileOptions::new(&self.path).mode(FileMode::regular(self.mode)));
                if let Some(caps) = caps {
                    options = options.caps(*caps).unwrap();
                }
                if *doc {
                    options = options.doc();
                }
                builder.with_file_contents(content.clone(), options)
            }
        };
        done.unwrap_or_else(|e| panic!("{}: {e}", self.path));
    }
}

/// A minimal system: directories, accounts, os-release.
pub fn base() -> Package {
    // The name by which the rpm crate requests rpm's built-in Lua.
    let mut package = Package::named("base")
        .provides("<lua>")
        .file(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:998:997:app:/:/sbin/nologin\n",
            0o644,
            "root:root",
        )
        .file("/etc/group", "root:x:0:\napp:x:997:\n", 0o644, "root:root")
        .file(
            "/etc/os-release",
            "ID=tiny\nVERSION_ID=\"1\"\nPRETTY_NAME=\"Tiny 1\"\n",
            0o644,
            "root:root",
        );
    for (path, mode) in [
        ("/boot", 0o755),
        ("/etc", 0o755),
        ("/usr", 0o755),
        ("/usr/bin", 0o755),
        ("/usr/sbin", 0o755),
        ("/var", 0o755),
    ] {
        package = package.directory(path, mode);
    }
    package.link("/bin", "usr/bin").link("/sbin", "usr/sbin")
}

/// A shell with the usual small tools: the host's static busybox.
pub fn shell() -> Package {
    let busybox = fs::read("/usr/bin/busybox")
        .expect("reading /usr/bin/busybox, of the package busybox-static");
    let mut package = Package::named("shell").provides("/bin/sh").requires_first("base").file(
        "/usr/bin/busybox",
        busybox,
        0o755,
        "root:root",
    );
    for name in [
        "sh", "cat", "mkdir", "sleep", "echo", "touch", "rm", "ls", "dd", "env", "id", "setsid",
        "ln", "cp", "true", "false", "kill",
    ] {
        package = package.link(&format!("/usr/bin/{name}"), "busybox");
    }
    package
}

#[derive(Debug)]
struct Group {
    id: String,
    name: String,
    packages: Vec<(&'static str, String)>,
}

/// A repository that is not yet written to a directory.
#[derive(Debug)]
pub struct Repo {
    directory: PathBuf,
    packages: Vec<Package>,
    groups: Vec<Group>,
    environments: Vec<(String, String, Vec<String>)>,
}

impl Repo {
    /// With the packages [`base`] and [`shell`].
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            packages: vec![base(), shell()],
            groups: Vec::new(),
            environments: Vec::new(),
        }
    }

    pub fn package(mut self, package: Package) -> Self {
        self.packages.push(package);
        self
    }

    /// A group of mandatory packages.
    pub fn group(mut self, id: &str, name: &str, packages: &[&str]) -> Self {
        let packages =
            packages.iter().map(|package| ("mandatory", (*package).to_owned())).collect();
        self.groups.push(Group { id: id.into(), name: name.into(), packages });
        self
    }

    /// Adds a package to the last group; `kind` is `default` or `optional`.
    pub fn member(mut self, kind: &'static str, package: &str) -> Self {
        self.groups
            .last_mut()
            .expect("a group before its members")
            .packages
            .push((kind, package.into()));
        self
    }

    pub fn environment(mut self, id: &str, name: &str, groups: &[&str]) -> Self {
        self.environments.push((
            id.into(),
            name.into(),
            groups.iter().map(|g| (*g).to_owned()).collect(),
        ));
        self
    }

    /// Writes packages, metadata, key and settings into the directory.
    pub fn write(self) -> PathBuf {
        fs::create_dir_all(self.directory.join("Packages")).unwrap();
        for package in &self.packages {
            package.write(&self.directory.join("Packages"));
        }
        fs::write(self.directory.join("comps.xml"), self.comps()).unwrap();
        index(&self.directory);
        fs::write(self.directory.join("KEY.asc"), &keys::ours().public).unwrap();
        Settings::default().write(&self.directory);
        self.directory
    }

    fn comps(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<comps>\n");
        for Group { id, name, packages } in &self.groups {
            let list: String = packages
                .iter()
                .map(|(kind, package)| {
                    format!("<packagereq type=\"{kind}\">{package}</packagereq>")
                })
                .collect();
            text.push_str(&format!(
                "<group><id>{id}</id><name>{name}</name><description>{name}</\
                 description><default>false</default><uservisible>true</\
                 uservisible><packagelist>{list}</packagelist></group>\n"
            ));
        }
        for (id, name, groups) in &self.environments {
            let list: String =
                groups.iter().map(|group| format!("<groupid>{group}</groupid>")).collect();
            text.push_str(&format!(
                "<environment><id>{id}</id><name>{name}</name><description>{name}</\
                 description><display_order>1</display_order><grouplist>{list}</grouplist></\
                 environment>\n"
            ));
        }
        text.push_str("</comps>\n");
        text
    }
}

/// Makes the metadata of the directory, or makes them again.
pub fn index(directory: &Path) {
    let mut command = Command::new("createrepo_c");
    command
        .args(["--quiet", "--no-database", "--workers", "1", "-g", "comps.xml", "."])
        .current_dir(directory);
    let output = command.output().expect("starting createrepo_c");
    assert!(output.status.success(), "createrepo_c: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes metadata of one kind unpack to more than 4 GiB: `head`, followed by endless copies of one
/// letter. Of the other metadata only the primary ones stay.
pub fn bomb(directory: &Path, kind: &str, head: &str) {
    let packed = |bytes: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    };
    let data = directory.join("repodata");
    let mut bomb = packed(head.as_bytes());
    let part = packed(&vec![b'a'; 64 << 20]);
    (0..70).for_each(|_| bomb.extend_from_slice(&part));
    fs::write(data.join("bomb.xml.gz"), bomb).unwrap();
    let primary =
        fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let primary = primary.into_iter().find(|name| name.contains("-primary.xml")).unwrap();
    let entry = |kind: &str, name: &str| {
        let bytes = fs::read(data.join(name)).unwrap();
        format!(
            "<data type=\"{kind}\"><checksum type=\"sha256\">{}</checksum><location \
             href=\"repodata/{name}\"/><timestamp>1</timestamp><size>{}</size></data>",
            sum("sha256sum", &bytes),
            bytes.len()
        )
    };
    let other = if kind == "primary" { String::new() } else { entry("primary", &primary) };
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><repomd xmlns=\"http://linux.duke.edu/metadata/\
        repo\"><revision>1</revision>{other}{}</repomd>",
        entry(kind, "bomb.xml.gz")
    );
    fs::write(data.join("repomd.xml"), text).unwrap();
}

/// The settings of a test repository: strict, with our key pinned. The texts are TOML.
#[derive(Debug)]
pub struct Settings {
    pub baseurl: String,
    pub key: String,
    pub fingerprint: String,
    pub image: String,
    pub packages: String,
    pub finish: String,
    /// Tables at the end, with their headers.
    pub rest: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            baseurl: "./".into(),
            key: "KEY.asc".into(),
            fingerprint: keys::ours().fingerprint.clone(),
            image: String::new(),
            packages: String::new(),
            finish: String::new(),
            rest: String::new(),
        }
    }
}

impl Settings {
    /// Writes them as `settings.toml` into the directory of the repository.
    pub fn write(&self, directory: &Path) -> PathBuf {
        let Self { baseurl, key, fingerprint, image, packages, finish, rest } = self;
        let path = directory.join("settings.toml");
        let text = format!(
            "[image]\n{image}\n[packages]\ndbpath = \
             \"/var/lib/rpm\"\n{packages}\n[[packages.repository]]\nid = \"tiny\"\nbaseurl = \
             \"{baseurl}\"\n[[packages.key]]\nfile = \"{key}\"\nfingerprint = \
             \"{fingerprint}\"\n[finish]\n{finish}\n{rest}"
        );
        fs::write(&path, text).unwrap();
        path
    }
}
