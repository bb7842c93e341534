//! The settings file: the meaning of every key, and the messages about wrong ones.

use osimg::error::{ExitCode, exit_code, render};
use osimg::recipe::customizations::{Data, OwnerName};
use osimg::recipe::{
    Bootstrap, Choices, Format, Initramfs, KeySource, Level, MachineId, ManagerChoice, Recipe,
    RepositorySource, ScriptSource, SelinuxChoice, Settings, Verify, Visibility,
};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn parse(text: &str) -> Settings {
    Settings::parse(text, "s.toml", Path::new("/srv/recipes"))
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn errors(text: &str) -> String {
    match Settings::parse(text, "s.toml", Path::new("/srv/recipes")) {
        Ok(settings) => panic!("{text:?} was taken: {settings:?}"),
        Err(errors) => errors.to_string(),
    }
}

const FULL: &str = r#"
[image]
name = "centos"
version = "9.5"
formats = ["tgz", "tar.xz"]
sbom = ["spdx"]
sign = ["minisign:osimg.key"]
level = "best"
source_date_epoch = 1700000000
properties = { os_distro = "centos", hw_firmware_type = "uefi" }

[packages]
manager = "dnf5"
releasever = "9"
arch = "x86_64"
install_weak_deps = false
docs = false
languages = ["en", "de"]
exclude = ["iwl*-firmware"]
bootstrap = true
verify = "digest-only"
allow_failed_scriptlets = ["grub2-common"]
dbpath = "/usr/lib/sysimage/rpm"
timeout = "1h30m"
vars = { stream = "9-stream" }

[[packages.repository]]
id = "baseos"
name = "CentOS Stream"
baseurl = ["https://mirror.example/$stream/", "repo"]
enabled = false
priority = 10
cost = 500
signed_metadata = true
module_hotfixes = true
exclude = ["a"]
include = ["b"]
ca = "ca.pem"
client_cert = "c.pem"
client_key = "k.pem"
proxy = "http://proxy.example:3128"
username = "u"
password_file = "/etc/secret"

[[packages.repository]]
id = "extras"
metalink = "https://mirror.example/metalink"

[[packages.key]]
file = "keys/centos.asc"
fingerprint = "99db 70fa e1d7 ce22 7fb6 4882 05b5 55b3 8483 c65d"

[finish]
machine_id = "uninitialized"
selinux = "policy=fc"
initramfs = "as-packaged"

[customizations]
hostname = "node.example"
fips = true
remove = ["/usr/share/doc/*"]
[customizations.timezone]
timezone = "Europe/Berlin"
ntpservers = ["a.example"]
[customizations.locale]
languages = ["de_DE.UTF-8"]
keyboard = "de"
[customizations.kernel]
append = "quiet  nosmt"
[customizations.services]
enabled = ["sshd"]
default_target = "multi-user.target"
[[customizations.user]]
name = "jane"
password = "!"
expiredate = 20000
[[customizations.files]]
source = "motd"
path = "/etc/motd"
mode = "0640"
group = "adm"
[customizations.cacerts]
files = ["ca.pem"]

[[script]]
run = "true"
timeout = "5m"

[deploy]
kernel = "./vmlinuz"
stage2 = "https://mirror.example/install.img"
ramdisk = "3f2a"

[registry]
url = "glance:lab"
visibility = "shared"
"#;

#[test]
fn every_key_is_read_and_paths_are_relative_to_the_settings_file() {
    let s = parse(FULL);
    assert_eq!(
        (s.image.name.as_deref(), s.image.version.as_deref()),
        (Some("centos"), Some("9.5"))
    );
    assert_eq!(s.image.sbom, [osimg::recipe::SbomKind::Spdx]);
    assert!(
        s.image.sign[0].starts_with("minisign:/") && s.image.sign[0].ends_with("/osimg.key"),
        "{:?}",
        s.image.sign
    );
    assert_eq!(
        (s.image.formats.clone(), s.image.level),
        (vec![Format::Tgz.into(), Format::Txz.into()], Level::Best)
    );
    assert_eq!(
        (s.image.source_date_epoch, s.image.properties["os_distro"].as_str()),
        (Some(1_700_000_000), "centos")
    );
    let p = &s.packages;
    assert_eq!(
        (p.manager, p.verify, p.timeout),
        (ManagerChoice::Dnf5, Verify::DigestOnly, Some(Duration::from_secs(5400)))
    );
    assert_eq!(
        (p.releasever.as_deref(), p.arch.as_deref(), p.dbpath.as_deref()),
        (Some("9"), Some("x86_64"), Some("/usr/lib/sysimage/rpm"))
    );
    assert_eq!(
        (p.install_weak_deps, p.docs, p.bootstrap.clone()),
        (Some(false), Some(false), Bootstrap::Made)
    );
    assert_eq!(
        (p.languages.as_deref(), p.vars["stream"].as_str()),
        (Some(&["en".to_owned(), "de".to_owned()][..]), "9-stream")
    );
    let r = &p.repositories[0];
    let urls =
        vec!["https://mirror.example/$stream/".to_owned(), "file:///srv/recipes/repo".to_owned()];
    assert_eq!(r.source, RepositorySource::Baseurl(urls));
    assert_eq!(
        (r.enabled, r.priority, r.cost, r.signed_metadata, r.module_hotfixes),
        (false, Some(10), Some(500), true, true)
    );
    assert_eq!(
        (r.ca.clone(), r.password_file.clone()),
        (Some(PathBuf::from("/srv/recipes/ca.pem")), Some(PathBuf::from("/etc/secret")))
    );
    assert!(p.repositories[1].enabled);
    assert_eq!(p.keys[0].source, KeySource::File("/srv/recipes/keys/centos.asc".into()));
    assert_eq!(p.keys[0].fingerprint, "99DB70FAE1D7CE227FB6488205B555B38483C65D");
    let f = &s.finish;
    assert_eq!((f.machine_id, f.initramfs), (MachineId::Uninitialized, Initramfs::AsPackaged));
    assert_eq!(f.selinux, SelinuxChoice::Policy("/srv/recipes/fc".into()));
    let c = &s.customizations;
    assert_eq!(
        (c.hostname.as_deref(), c.fips, c.remove.as_slice()),
        (Some("node.example"), true, &["/usr/share/doc/*".to_owned()][..])
    );
    assert_eq!(
        (c.timezone.timezone.as_deref(), c.timezone.ntpservers.as_slice()),
        (Some("Europe/Berlin"), &["a.example".to_owned()][..])
    );
    assert_eq!(c.services.enabled, ["sshd.service"]);
    assert_eq!(
        (c.users[0].name.as_str(), c.users[0].password.as_deref(), c.users[0].expires),
        ("jane", Some("!"), Some(20_000))
    );
    let file = &c.files[0];
    assert_eq!(
        (file.mode, file.user.clone(), file.group.clone()),
        (Some(0o640), OwnerName::Id(0), OwnerName::Name("adm".into()))
    );
    assert_eq!(
        (file.data.clone(), file.place.as_str()),
        (Data::Source("/srv/recipes/motd".into()), "s.toml:79")
    );
    assert_eq!(c.cacerts.files, [PathBuf::from("/srv/recipes/ca.pem")]);
    assert_eq!(
        (s.scripts[0].name.as_str(), s.scripts[0].timeout),
        ("script-1", Some(Duration::from_secs(300)))
    );
    // The installer would write its own over the image's.
    let install = &s.deploy.install;
    assert_eq!(
        (install.language.as_deref(), install.timezone.as_deref()),
        (Some("de_DE.UTF-8"), Some("Europe/Berlin"))
    );
    assert_eq!(
        (install.keyboard.as_deref(), install.kernel_arguments.as_deref()),
        (Some("de"), Some("quiet nosmt fips=1"))
    );
    assert_eq!(
        (s.deploy.kernel.as_deref(), s.deploy.ramdisk.as_deref()),
        (Some("/srv/recipes/vmlinuz"), Some("3f2a"))
    );
    assert_eq!(
        (s.registry.url.as_deref(), s.registry.visibility),
        (Some("glance:lab"), Some(Visibility::Shared))
    );
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(parse(""), Settings::default());
    assert_eq!(Settings::default().image.formats, [Format::Tgz.into()]);
    assert_eq!(parse("[image]\nlevel = 6").image.level, Level::Exact(6));
}

#[test]
fn settings_are_written_as_json_for_the_manifest() {
    let json = serde_json::to_value(parse(FULL)).unwrap();
    assert_eq!(json["packages"]["timeout"], 5400);
    assert_eq!(
        json["packages"]["repositories"][0]["source"]["baseurl"][1],
        "file:///srv/recipes/repo"
    );
    assert_eq!(json["finish"]["selinux"], "policy=/srv/recipes/fc");
    assert_eq!(
        (json["image"]["level"].as_str(), json["packages"]["verify"].as_str()),
        (Some("best"), Some("digest-only"))
    );
}

#[test]
fn wrong_settings_are_reported_with_position_and_fix() {
    let repo = |rest: &str| format!("[[packages.repository]]\nid = \"a\"\n{rest}\n");
    let customization =
        |rest: &str, message, hint| (format!("[customizations]\n{rest}\n"), message, hint);
    let user = |rest: &str, message, hint| {
        (format!("[[customizations.user]]\nname = \"jane\"\n{rest}\n"), message, hint)
    };
    let fingerprint = "0123456789012345678901234567890123456789";
    #[rustfmt::skip]
    let table: Vec<(String, &str, &str)> = vec![
        ("[image]\nnam = \"x\"".into(), "2:1: unknown key `nam` in [image]",
            "did you mean `name`?"),
        ("[packages]\nlevel = 1".into(), "2:1: unknown key `level` in [packages]",
            "it belongs to [image]"),
        ("[imgae]".into(), "1:2: unknown key `imgae` in the settings", "did you mean `image`?"),
        ("[image]\nname = ".into(), "2:", ""),
        ("[deploy]\ntree = \"/t\"\nstage2 = \"/s\"".into(),
            "2:8: both an install `tree` and single boot pieces", "keep the tree"),
        ("[deploy]\nkernel = \"/k\"".into(),
            "2:10: one of `kernel` and `ramdisk` without the other", "name both"),
        ("[packages]\nreleasever = 9".into(), "2:14: expected a text, found a whole number",
            "put the value in quotes"),
        ("[packages]\nmanager = \"dnf6\"".into(),
            "2:11: `dnf6` is not a package manager for images", "dnf4 (or its other name, yum)"),
        (
            "[packages]\nmanager = \"microdnf\"".into(),
            "2:11: `microdnf` is not a package manager for images",
            "microdnf install python3-dnf",
        ),
        ("[packages]\nreleasever = \"9/../\"".into(), "2:14: `9/../` cannot be the `releasever`",
            "letters, digits"),
        ("[packages]\ntimeout = \"30\"".into(), "2:11: `30` is not a duration", "30m"),
        ("[packages]\nexclude = [\"-x\"]".into(), "2:12: `-x` is not a name", "separate string"),
        ("[packages]\ndbpath = \"var/lib/rpm\"".into(), "2:10: `dbpath` must be an absolute path \
            inside the image", ""),
        ("[packages]\ndbpath = \"/rpm\\n%_keyring none\"".into(), "2:10: `dbpath` must be an \
            absolute path inside the image", ""),
        ("[packages]\ndbpath = \"/%{_var}\"".into(), "2:10: `dbpath` must be an absolute path \
            inside the image", ""),
        ("[packages]\nlanguages = [\"de\", \"%(id)\"]".into(),
            "2:20: `%(id)` cannot be the `languages`", "locales"),
        ("[[packages.repository]]\nid = \"..\"\n\
            baseurl = \"./x\"".into(), "2:6: `..` is not a repository id", ""),
        ("[[script]]\nrun = \"true\"\nname = \"..\"".into(),
            "1:1: `..` cannot be the `name` of a script", "leading dot"),
        ("[[script]]\nrun = \"true\"\nname = \"a/b\"".into(),
            "1:1: `a/b` cannot be the `name` of a script", "letters"),
        ("[[script]]\nfile = \"..\"".into(), "1:1: `..` cannot be the `name` of a script",
            "leading dot"),
        ("[image]\nname = \"..\"".into(), "2:8: `..` cannot be the `name`", "part of a file name"),
        ("[image]\nversion = \"1\\n2\"".into(), "2:11: ", "slashes"),
        ("[image]\nversion = \"latest\"".into(), "2:11: `latest` cannot be the `version`",
            "reserved"),
        ("[image]\nversion = \"1.unfit\"".into(), "2:11: `1.unfit` cannot be the `version`",
            "reserved"),
        ("[image]\nversion = \"1.spdx\"".into(), "2:11: `1.spdx` cannot be the `version`",
            "reserved"),
        ("[image]\nformats = [\"zip\"]".into(), "2:12: unknown format `zip`", "tar.xz"),
        ("[image]\nsbom = [\"swid\"]".into(), "2:9: unknown value `swid`", ""),
        ("[image]\nsign = [\"gpg:k\"]".into(), "2:9: `gpg:k` is not a signing key", "openpgp:FILE"),
        ("[customizations]\nfiles = [\"motd\"]".into(),
            "2:10: each entry of `files` must be a table", "source ="),
        ("[image]\nformats = \"tgz\"".into(), "2:11: expected a list, found a text",
            "write a list"),
        ("[image]\nstrict = \"yes\"".into(), "2:10: expected true or false, found a text",
            "without quotes"),
        ("[image]\nsource_date_epoch = \"x\"".into(),
            "2:21: expected a whole number, 0 or more, found a text", "without quotes"),
        ("[image]\nsbom = [\"none\"]".into(), "2:9: unknown value `none`", "an empty list: []"),
        ("[image]\n[customizations.user]\nname = \"a\"".into(),
            "2:1: expected a list, found a table", "write [[customizations.user]]"),
        ("[vars]\nfrom_environment = \"X\"".into(),
            "2:20: `from_environment` is a list of variables", "such as"),
        ("[image]\nlevel = 13".into(), "2:9: `level` must be", ""),
        ("[image]\nname = \"a/b\"".into(), "2:8: `a/b` cannot be the `name`", "slashes"),
        ("[[packages.repository]]\nbaseurl = \"./x\"".into(), "1:1: a repository without an `id`",
            "baseos"),
        ("[[packages.repository]]\nid = \"main\"\n\
            baseurl = \"./x\"".into(), "2:6: `main` cannot be a repository's id", ""),
        (repo(""), "1:1: a repository without an address", "baseurl"),
        (repo("baseurl = \"./a\"\nmetalink = \"https://a.example\""),
            "1:1: a repository with more than one", "keep one"),
        (repo("baseurl = \"https://u:p@a.example/\""), "3:11: a password or user name in a URL",
            ""),
        (repo("baseurl = \"./a\"\nproxy = \"http://u:p@a.example/\""),
            "4:9: a password or user name in a URL", ""),
        (repo("baseurl = \"./a\"\npassword = \"x\""), "4:1: unknown key `password`",
            "password_file"),
        (repo("baseurl = \"./a\"\ngpgkey = \"x\""), "4:1: unknown key `gpgkey`",
            "[[packages.key]]"),
        (repo("baseurl = 1"), "3:11: `baseurl` must be a URL or a list of URLs", ""),
        (repo("baseurl = \"./a\"\npriority = 100"),
            "4:12: `priority` must be a number from 1 to 99", ""),
        (repo("baseurl = \"./a\"\nclient_key = \"k\""), "4:14: `client_key` without `client_cert`",
            "certificate"),
        (format!("{0}{0}", repo("baseurl = \"./a\"")), "4:1: two repositories have the id `a`",
            "a different id"),
        ("[[packages.key]]\nfile = \"a\"".into(), "1:1: a key without a `fingerprint`",
            "gpg --show-keys"),
        ("[[packages.key]]\nfile = \"a\"\n\
            fingerprint = \"8483C65D\"".into(), "3:15: this is a key id", "full one"),
        (format!("[[packages.key]]\nfingerprint = \"{fingerprint}\""),
            "1:1: a key without an address", "`file` or `url`"),
        ("[finish]\nhostname = \"a_b\"".into(), "2:1: unknown key `hostname` in [finish]",
            "under [customizations]"),
        ("[finish]\nselinux = \"on\"".into(), "2:11: `selinux` must be", ""),
        customization("hostname = \"a_b\"", "2:12: `a_b` is not a host name", "64"),
        customization("filesystem = []", "2:1: unknown key `filesystem` in [customizations]",
            "[deploy.install]"),
        customization("remove = [\"/*\"]", "2:11: `/*` cannot be removed", "absolute"),
        customization("timezone.timezone = \"Mars base\"", "2:21: `Mars base` is not a time zone",
            "Europe/Berlin"),
        customization("kernel.append = \"a='b'\"", "2:17: `append` cannot have",
            "separated by blanks"),
        customization("kernel.name = \"kernel-rt\"",
            "2:8: unknown key `name` in [customizations.kernel]", "install kernel-rt"),
        customization("services.enabled = [\"a\"]\n\
            services.masked = [\"a.service\"]", "3:20: `a.service` is both on and off", "one of"),
        customization("services.default_target = \"rescue\"",
            "2:27: `rescue.service` is not a target", "multi-user.target"),
        customization("firewall.ports = [\"80/tcp\"]", "2:19: `80/tcp` is not a port", "80:tcp"),
        customization("firewall.ports = [\"90-80:tcp\"]", "2:19: `90-80:tcp` is not a port", ""),
        user("password = \"secret\"", "3:12: `password` is not a hash", "openssl passwd -6"),
        user("password = \"$6$salt$abc\"", "3:12: `password` is a damaged hash",
            "openssl passwd -6"),
        user("key = \"ssh-rsa AAAA\"", "3:7: `ssh-rsa AAAA` is a damaged public key", ".pub"),
        user("uid = -1", "3:7: `uid` is a number", ""),
        user("expiredate = \"soon\"", "3:14: `expiredate` is a date", "2030-12-31"),
        user("keys = []", "3:1: unknown key `keys`", "it is `key`"),
        user("home = \"jane\"", "3:8: `home` must be an absolute path", ""),
        ("[[customizations.user]]\nname = \"123\"".into(),
            "2:8: `123` cannot be the `name` of an account", "digits"),
        (
            "[[customizations.user]]\nname = \"a\"\nuid = 5\n[[customizations.user]]\n\
            name = \"b\"\nuid = 5".into(),
            "6:7: the id 5 is already that of `a`",
            "",
        ),
        ("[[customizations.group]]\nname = \"a\"\n[[customizations.group]]\n\
            name = \"a\"".into(), "3:1: two groups are called `a`", ""),
        ("[[customizations.files]]\npath = \"/../x\"".into(),
            "2:8: `path` must be an absolute path", ""),
        ("[[customizations.files]]\npath = \"/etc/shadow\"".into(),
            "2:8: `/etc/shadow` is not replaced", "customizations.user"),
        ("[[customizations.files]]\npath = \"/x\"\n\
            mode = \"0999\"".into(), "3:8: `0999` is not a mode", "octal"),
        ("[[customizations.files]]\npath = \"/x\"\ndata = \"\"\n\
            source = \"y\"".into(), "4:10: a file with both", ""),
        ("[[customizations.directories]]\nmode = \"0755\"".into(), "1:1: a directory needs `path`",
            ""),
        ("[[customizations.tree]]\npath = \"/\"".into(), "1:1: a tree needs `source`", ""),
        ("[customizations.cacerts]\npem_certs = [\"x\"]".into(),
            "2:14: this is not a certificate in PEM", "BEGIN CERTIFICATE"),
        ("[[customizations.repositories]]\nid = \"a\"".into(),
            "1:1: repository `a` needs one address", "metalink"),
        (
            "[[customizations.repositories]]\nid = \"a\"\nbaseurls = [\"https://a.example/\"]\n\
            gpgcheck = true".into(),
            "4:12: `gpgcheck` without",
            "",
        ),
        ("[customizations.openscap]\ndatastream = \"/x\"".into(),
            "1:1: [customizations.openscap] needs `profile_id`", ""),
        ("[[script]]\nname = \"a\"".into(), "1:1: a script needs `file` or `run`", ""),
        ("[[script]]\nrun = \"x\"\ntimeout = \"5\"".into(), "3:11: `5` is not a duration", "30m"),
        ("[[script]]\nrun = \"x\"\nfiles = [\"a/x\", \"b/x\"]".into(),
            "3:17: two `files` would be /run/osimg/x", ""),
    ];
    for (text, message, hint) in table {
        let shown = errors(&text);
        assert!(
            shown.lines().any(|line| line.starts_with(&format!("s.toml:{message}"))),
            "{text}\ngot\n{shown}"
        );
        assert!(
            hint.is_empty()
                || shown.lines().any(|line| line.starts_with("hint: ") && line.contains(hint)),
            "{text}\nwas shown\n{shown}"
        );
    }
}

#[test]
fn all_unknown_keys_and_all_wrong_values_are_reported_at_once() {
    assert_eq!(errors("[image]\na = 1\nb = 2\n[finish]\nc = 3").matches("unknown key").count(), 3);
    assert_eq!(
        errors("[image]\nlevel = 13\n[packages]\ntimeout = \"x\"\narch = \"\"")
            .matches("s.toml:")
            .count(),
        3
    );
}

#[test]
fn a_wrong_setting_is_shown_with_its_key_and_without_its_value() {
    let expected = ["s.toml:2:1: unknown key `nam` in [image]", "hint: did you mean `name`?"];
    assert_eq!(errors("[image]\nnam = \"x\"\n"), expected.join("\n"));
    let expected = [
        "s.toml:2:11: expected true or false, found a text",
        "  strict = ...",
        "hint: write true or false, without quotes",
    ];
    assert_eq!(
        errors("[image]\nstrict = \"c4n4ry\"\n").replace("2:10", "2:11"),
        expected.join("\n")
    );
}

/// A text that must not be in any message.
const CANARY: &str = "c4n4ry";

/// Wrong texts with a secret: a value of the wrong type, a line that is cut, a foreign file.
fn texts_with_a_secret() -> Vec<String> {
    let values = [
        "\"c4n4ry\"",
        "[\"c4n4ry\"]",
        "{ a = \"c4n4ry\" }",
        "\"c4n4ry",
        "c4n4ry",
        "'c4n4ry\" x'",
        "\"\"\"\nc4n4ry\"\"\" x",
        "\"c4n4ry\\q\"",
        "\"${c4n4ry x}\"",
        "\"x, expected c4n4ry\"",
        "\"c4n4ry\" = 1",
    ];
    let keys = [
        "customizations.user = [{ name = \"a\", password",
        "[[customizations.user]]\nname = \"a\"\npassword",
        "[[customizations.user]]\npassword",
        "[vars]\nTOKEN",
        "[[script]]\nrun = \"true\"\nenvironment",
        "[[script]]\nrun = \"true\"\nenvironment.TOKEN",
        "[[script]]\nrun",
        "[[packages.repository]]\nid = \"a\"\nbaseurl = \"./a\"\npassword",
        "[image]\nstrict",
        "[image]\nproperties",
        "[registry]\nvisibility = 1\nurl",
        "[customizations]\nuser",
    ];
    let mut texts = vec![
        "root:c4n4ry:19000:0:99999:7:::\n".to_owned(),
        "-----BEGIN PRIVATE KEY-----\nc4n4ry==\n".to_owned(),
        "password: c4n4ry\n".to_owned(),
        "password=c4n4ry\n".to_owned(),
        "{ \"password\": \"c4n4ry\" }\n".to_owned(),
    ];
    texts.extend(
        keys.iter().flat_map(|key| values.iter().map(move |value| format!("{key} = {value}\n"))),
    );
    texts
}

#[test]
fn no_error_shows_a_value_that_may_be_secret() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let recipe = write("r.yum", "install a\nts run\n");
    let text_of = |error: anyhow::Error| render(&error) + &format!("{error:?}");
    for text in texts_with_a_secret() {
        let settings = write("s.toml", &text);
        let main = write("main.toml", "include = [\"s.toml\"]\n");
        let choices = osimg::recipe::Choices::default();
        let found = [
            Recipe::load(&recipe, Some(&settings)).err(),
            Recipe::load(&recipe, Some(&main)).err(),
            Recipe::load_with(&recipe, None, Some(&settings), &choices).err(),
            osimg::recipe::Lock::load(&settings).err(),
            osimg::recipe::lock::foreign::parse(&text, "list", "x86_64").err(),
        ];
        for shown in found.into_iter().flatten().map(text_of) {
            assert!(!shown.contains(CANARY), "{text}\n{shown}");
            let words = ["invalid type", "a sequence", "a map", "i64", "u64", "unknown variant"];
            let found = words.iter().find(|words| shown.contains(**words));
            assert_eq!(found, None, "{text}\n{shown}");
        }
    }
}

#[test]
fn only_recipes_and_settings_can_be_included() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("shadow"), "root:c4n4ry:19000\n").unwrap();
    for suffix in ["toml", "yum"] {
        std::os::unix::fs::symlink("shadow", path(&format!("link.{suffix}"))).unwrap();
    }
    let plain = path("plain.yum");
    std::fs::write(&plain, "install a\nts run\n").unwrap();
    for name in ["shadow", "link.toml", "link.yum"] {
        std::fs::write(path("s.toml"), format!("include = [\"{name}\"]\n")).unwrap();
        std::fs::write(path("r.yum"), format!("include {name}\nts run\n")).unwrap();
        for failed in
            [Recipe::load(&plain, Some(&path("s.toml"))), Recipe::load(&path("r.yum"), None)]
        {
            let error = failed.unwrap_err();
            assert_eq!(exit_code(&error), ExitCode::Recipe);
            let shown = render(&error);
            assert!(shown.contains("can be included") && !shown.contains(CANARY), "{shown}");
        }
    }
}

#[test]
fn a_recipe_is_loaded_with_the_settings_next_to_it_or_with_the_given_ones() {
    let directory = tempfile::tempdir().unwrap();
    let recipe = directory.path().join("base.yum");
    std::fs::write(&recipe, "install a\n").unwrap();
    let without_settings = Recipe::load(&recipe, None).unwrap();
    assert_eq!(
        (without_settings.settings.clone(), without_settings.name().as_str()),
        (Settings::default(), "base")
    );
    std::fs::write(
        directory.path().join("base.toml"),
        "[customizations.cacerts]\nfiles = [\"ca.pem\"]\n",
    )
    .unwrap();
    let loaded = Recipe::load(&recipe, None).unwrap();
    assert_eq!(loaded.settings.customizations.cacerts.files, [directory.path().join("ca.pem")]);
    let other = directory.path().join("other.toml");
    std::fs::write(&other, "[image]\nname = \"x\"\n").unwrap();
    assert_eq!(Recipe::load(&recipe, Some(&other)).unwrap().name(), "x");
    let missing = Recipe::load(&recipe, Some(Path::new("/nonexistent.toml"))).unwrap_err();
    assert_eq!(
        render(&missing),
        "error: reading settings /nonexistent.toml: the file does not exist"
    );
}

#[test]
fn a_file_that_is_not_a_recipe_is_refused_by_name_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("directory.yum")).unwrap();
    std::fs::write(path("binary.yum"), b"\x7fELF\x02\x01\0\xff").unwrap();
    std::fs::write(path("latin1.yum"), b"install a\n# gr\xfcn\n").unwrap();
    std::fs::File::create(path("large.yum")).unwrap().set_len(16 * 1024 * 1024 + 1).unwrap();
    std::os::unix::fs::symlink("nowhere", path("link.yum")).unwrap();
    nix::unistd::mkfifo(&path("fifo.yum"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    std::fs::write(path("wrong.yum"), "isntall a\n").unwrap();
    let table = [
        ("directory.yum", "it is a directory, not a file"),
        ("binary.yum", "it is a binary file, not text"),
        ("latin1.yum", "latin1.yum:2:5: the recipe is not UTF-8"),
        ("large.yum", "it is larger than 16 MiB"),
        ("link.yum", "it is a dangling link"),
        ("fifo.yum", "it is a FIFO, not a file"),
        ("none.yum", "the file does not exist"),
        ("wrong.yum", "wrong.yum:1:1: unknown command `isntall`"),
    ];
    for (name, message) in table {
        let error = Recipe::load(&path(name), None).unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::Recipe, "{name}");
        assert!(render(&error).contains(message), "{}", render(&error));
    }
    let device = Recipe::load(Path::new("/dev/null"), None).unwrap_err();
    assert!(render(&device).contains("it is a device, not a file"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn no_settings_make_the_reader_panic(cut in 0..FULL.len(),
        noise in "\\PC{0,6}|[\\n\"\\[\\]={}0-9-]{0,6}") {
        // Noise inside valid settings reaches more code than noise by itself.
        let text = format!("{}{noise}{}", FULL.get(..cut).unwrap_or_default(),
            FULL.get(cut..).unwrap_or_default());
        if let Err(errors) = Settings::parse(&text, "s.toml", Path::new("/")) {
            prop_assert!(errors.to_string().starts_with("s.toml:"));
        }
    }
}

/// A directory with files, and a recipe loaded from it.
fn load(
    files: &[(&str, &str)],
    blueprint: bool,
    choices: &Choices,
) -> (tempfile::TempDir, Result<Recipe, String>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    let blueprint = blueprint.then(|| directory.path().join("blueprint.toml"));
    let loaded =
        Recipe::load_with(&directory.path().join("image.yum"), None, blueprint.as_deref(), choices);
    let shown = loaded
        .map_err(|error| render(&error).replace(&format!("{}/", directory.path().display()), ""));
    (directory, shown)
}

fn set(pairs: &[(&str, &str)]) -> Choices {
    Choices {
        set: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Choices::default()
    }
}

#[test]
fn included_settings_lie_below_and_lists_are_appended() {
    let files = [
        ("image.yum", "install a\nts run\n"),
        (
            "image.toml",
            "include = [\"bases/el.toml\"]\n[image]\nname = \
             \"own\"\n[customizations.services]\nenabled = [\"own\"]\n",
        ),
        (
            "bases/el.toml",
            "include = [\"common.toml\"]\n[image]\nname = \"el\"\nversion = \
             \"9\"\n[customizations.cacerts]\nfiles = [\"ca.pem\"]\n",
        ),
        (
            "bases/common.toml",
            "include = [\"el.toml\"]\n[customizations]\nhostname = \"common\"\nservices.enabled = \
             [\"common\"]\n",
        ),
    ];
    let (directory, recipe) = load(&files, false, &Choices::default());
    let recipe = recipe.unwrap();
    let settings = &recipe.settings;
    assert_eq!(
        (settings.image.name.as_deref(), settings.image.version.as_deref()),
        (Some("own"), Some("9"))
    );
    assert_eq!(settings.customizations.services.enabled, ["common.service", "own.service"]);
    assert_eq!(settings.customizations.cacerts.files, [directory.path().join("bases/ca.pem")]);
    let origin = |key: &str| {
        let entry = recipe.entries.iter().find(|entry| entry.key == key).unwrap();
        entry.origin.rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(
        [
            origin("image.name"),
            origin("image.version"),
            origin("customizations.services.enabled[0]")
        ],
        ["image.toml:3", "el.toml:4", "common.toml:4"]
    );
}

#[test]
fn an_error_of_an_included_file_names_that_file() {
    let main = ("image.toml", "include = [\"base.toml\"]\n");
    let recipe = ("image.yum", "install a\n");
    let shown = |base: &str| {
        load(&[recipe, main, ("base.toml", base)], false, &Choices::default()).1.unwrap_err()
    };
    assert!(
        shown("\n[image]\nnam = \"x\"\n").contains("base.toml:3:1: unknown key `nam` in [image]")
    );
    assert!(
        shown("[customizations]\nhostname = \"a_b\"")
            .contains("base.toml:2:12: `a_b` is not a host name")
    );
    assert!(shown("[image").contains("base.toml:1:"), "{}", shown("[image"));
    assert!(shown("[packages]\nreleasever = 9\n").contains("base.toml:2:14: expected a text"));
    let missing = load(
        &[recipe, ("image.toml", "\ninclude = [\"none.toml\"]\n")],
        false,
        &Choices::default(),
    )
    .1
    .unwrap_err();
    assert!(
        missing.contains("image.toml:2: including") && missing.contains("none.toml"),
        "{missing}"
    );
}

#[test]
fn variables_come_from_the_settings_the_listed_environment_and_the_command_line() {
    let files = [
        ("image.yum", "# ${NOTHING}\ninstall app-${RELEASE}\nts run\n"),
        (
            "image.toml",
            "[vars]\nRELEASE = \"1\"\nSITE = \"lab\"\nfrom_environment = \
             [\"PATH\"]\n[customizations]\nhostname = \
             \"node.${SITE}\"\n[[customizations.files]]\npath = \"/etc/x\"\ndata = \"$${SITE} \
             ${PATH}\"\n[[script]]\nrun = \"echo ${HOME}\"\n",
        ),
    ];
    let recipe = load(&files, false, &set(&[("SITE", "prod")])).1.unwrap();
    assert_eq!(recipe.script.transactions().unwrap()[0].install[0].text, "app-1");
    let c = &recipe.settings.customizations;
    assert_eq!(c.hostname.as_deref(), Some("node.prod"));
    assert_eq!(
        c.files[0].data,
        Data::Text(format!("${{SITE}} {}", std::env::var("PATH").unwrap()))
    );
    assert_eq!(recipe.settings.scripts[0].source, ScriptSource::Run("echo ${HOME}".into()));
    // Nothing is read from the environment that is not listed.
    let shown = |settings: &str, choices: &Choices| {
        load(&[("image.yum", "install ${HOME}\n"), ("image.toml", settings)], false, choices)
            .1
            .unwrap_err()
    };
    assert!(
        shown("", &Choices::default()).contains("image.yum:1:9: the variable `HOME` is not set"),
        "{}",
        shown("", &Choices::default())
    );
    let unset = shown("[image]\nname = \"${X}\"\n", &Choices::default());
    assert!(
        unset.contains("image.toml:2:8: the variable `X` is not set")
            && unset.contains("--set X=VALUE"),
        "{unset}"
    );
    let unused =
        load(&[("image.yum", "install a\n")], false, &set(&[("TYPO", "x")])).1.unwrap_err();
    assert!(unused.contains("--set TYPO"), "{unused}");
}

#[test]
fn a_profile_lies_over_the_rest_when_it_is_chosen() {
    let files = [
        ("image.yum", "install a\n"),
        (
            "image.toml",
            "[image]\nname = \"plain\"\n[customizations.kernel]\nappend = \
             \"quiet\"\n[profile.debug.image]\nname = \
             \"debug\"\n[profile.debug.customizations.services]\nenabled = [\"debug-shell\"]\n",
        ),
    ];
    let plain = load(&files, false, &Choices::default()).1.unwrap().settings;
    assert_eq!(
        (plain.image.name.as_deref(), plain.customizations.services.enabled.len()),
        (Some("plain"), 0)
    );
    let choose = |name: &str| Choices { profiles: vec![name.to_owned()], ..Choices::default() };
    let debug = load(&files, false, &choose("debug")).1.unwrap().settings;
    assert_eq!(
        (debug.image.name.as_deref(), debug.customizations.services.enabled.len()),
        (Some("debug"), 1)
    );
    assert_eq!(debug.customizations.kernel.append.as_deref(), Some("quiet"));
    let unknown = load(&files, false, &choose("debgu")).1.unwrap_err();
    assert!(
        unknown.contains("there is no profile `debgu`")
            && unknown.contains("did you mean `debug`?"),
        "{unknown}"
    );
    let wrong = load(
        &[("image.yum", "install a\n"), ("image.toml", "[profile.x.image]\nnam = \"y\"\n")],
        false,
        &Choices::default(),
    );
    assert!(
        wrong.1.unwrap_err().contains("image.toml:2:1: unknown key `nam`"),
        "profiles that are not chosen are checked too"
    );
}

#[test]
fn an_included_recipe_stands_for_its_lines_and_errors_name_it() {
    let recipe = load(
        &[
            ("image.yum", "include parts/base.yum\ninstall b\nts run\n"),
            ("parts/base.yum", "# base\ninstall a\n"),
        ],
        false,
        &Choices::default(),
    );
    let recipe = recipe.1.unwrap();
    assert_eq!(recipe.script.to_string(), "install a\ninstall b\nts run\n");
    let wrong = load(
        &[("image.yum", "install x\ninclude base.yum\n"), ("base.yum", "\ninstal a\n")],
        false,
        &Choices::default(),
    )
    .1
    .unwrap_err();
    assert!(wrong.contains("base.yum:2:1: "), "{wrong}");
    let wrong = load(
        &[("image.yum", "include base.yum\n\ninstal a\n"), ("base.yum", "install b\ninstall c\n")],
        false,
        &Choices::default(),
    );
    let wrong = wrong.1.unwrap_err();
    assert!(wrong.contains("image.yum:3:1: "), "{wrong}");
}

#[test]
fn a_blueprint_brings_packages_for_the_recipe_and_customizations_for_the_settings() {
    let blueprint = "name = \"web server\"\ndescription = \"x\"\nversion = \"0.0.1\"\ndistro = \
                     \"rhel-9.4\"\n[[packages]]\nname = \"nginx\"\nversion = \
                     \"1.*\"\n[[modules]]\nname = \"tmux\"\nversion = \"*\"\n[[groups]]\nname = \
                     \"anaconda-tools\"\n[[enabled_modules]]\nname = \"nodejs\"\nstream = \
                     \"20\"\n[customizations]\nhostname = \"web\"\n[customizations.kernel]\nname \
                     = \"kernel-rt\"\nappend = \"nosmt=force\"\n[[customizations.user]]\nname = \
                     \"admin\"\ngroups = [\"wheel\"]\n[customizations.firewall]\nports = \
                     [\"80:tcp\"]\n";
    let files = [
        ("image.yum", "group install core\nts run\n"),
        ("image.toml", "[customizations]\nhostname = \"own\"\n"),
        ("blueprint.toml", blueprint),
    ];
    let recipe = load(&files, true, &Choices::default()).1.unwrap();
    assert_eq!(
        recipe.script.to_string(),
        "module enable nodejs:20\ngroup install core\ninstall nginx-1.*\ninstall tmux\ninstall \
         @anaconda-tools\ninstall kernel-rt\nts run\n"
    );
    let settings = &recipe.settings;
    assert_eq!(
        (settings.image.name.as_deref(), settings.packages.releasever.as_deref()),
        (Some("web-server"), Some("9"))
    );
    assert_eq!(
        (
            settings.customizations.hostname.as_deref(),
            settings.customizations.users[0].name.as_str()
        ),
        (Some("own"), "admin")
    );
    assert_eq!(settings.customizations.kernel.append.as_deref(), Some("nosmt=force"));
    let refused = |text: &str| {
        load(&[("image.yum", "install a\n"), ("blueprint.toml", text)], true, &Choices::default())
            .1
            .unwrap_err()
    };
    for (text, message) in [
        (
            "name = \"x\"\n[[containers]]\nsource = \"quay.io/x\"\n",
            "blueprint.toml:2:3: `containers` of a blueprint",
        ),
        ("[[customizations.filesystem]]\nmountpoint = \"/\"\n", "unknown key `filesystem`"),
        ("[customizations]\nfdo = {}\n", "blueprint.toml:2:1: unknown key `fdo`"),
        (
            "[[customizations.user]]\nname = \"a\"\npassword = \"plain\"\n",
            "blueprint.toml:3:12: `password` is not a hash",
        ),
        ("[[packages]]\nversion = \"1\"\n", "an entry of `packages` without its `name`"),
        ("distro = \"rhel\"\n", "`rhel` does not end with a release"),
    ] {
        let shown = refused(text);
        assert!(shown.contains(message), "{text}\n{shown}");
    }
}
