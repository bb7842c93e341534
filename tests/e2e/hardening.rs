//! Arguments of the kernel, FIPS and OpenSCAP: small images with the files and programs that a
//! release has for them. The scanner is OpenSCAP's own.

use crate::stage::{Done, Stage, run, sh};
use crate::support::repo::Package;
use crate::support::{require_root, skip};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

const RECIPE: &str = "install boot\nts run\n";
const RULE: &str = "xccdf_org.ssgproject.content_rule_";
const SCAP: &str = "/usr/share/xml/scap/ssg/content";

/// With a kernel, its two boot entries, and a stand-in for `update-crypto-policies`, which no
/// release of Debian has under this name.
fn stage() -> Stage {
    let root = "root:root";
    let policies = "#!/bin/sh\necho \"$@\" > /etc/crypto-policies.called\n";
    Stage::new(|repo| {
        repo.package(
            Package::named("boot")
                .requires("/bin/sh")
                .file("/boot/vmlinuz-5.14", "kernel", 0o755, root)
                .file(
                    "/boot/loader/entries/0-5.14.conf",
                    "title Demo\nlinux /vmlinuz-5.14\noptions root=UUID=1 ro quiet\n",
                    0o600,
                    root,
                )
                // As EL 8 has it, and without the newline at the end.
                .file(
                    "/boot/loader/entries/1-5.14.conf",
                    "title\tOld\nlinux\t/vmlinuz-5.14\noptions\t$kernelopts",
                    0o644,
                    root,
                )
                .file("/boot/loader/entries/README", "options none\n", 0o644, root)
                .file("/etc/kernel/cmdline", "root=UUID=1 ro quiet\n", 0o644, root)
                .file(
                    "/etc/default/grub",
                    "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX='crashkernel=auto quiet'\n",
                    0o644,
                    root,
                )
                .file("/usr/bin/update-crypto-policies", policies, 0o755, root)
                .file("/usr/bin/dracut", "", 0o755, root)
                .directory("/tmp", 0o1777)
                .directory("/var/tmp", 0o1777),
        )
    })
}

fn build(stage: &Stage, customizations: &str) -> Done {
    stage.settings(|settings| settings.rest = format!("[customizations]\n{customizations}"));
    stage.build(RECIPE).succeeds()
}

/// The value of a boot entry's key, as the Boot Loader Specification splits lines.
fn entry(stage: &Stage, name: &str, key: &str) -> Vec<String> {
    let text = stage.content(&format!("./boot/loader/entries/{name}"));
    let pairs = text.lines().filter_map(|line| line.split_once([' ', '\t']));
    pairs.filter(|(found, _)| *found == key).map(|(_, value)| value.trim().to_owned()).collect()
}

#[test]
fn arguments_of_the_kernel_are_in_every_place_where_a_release_reads_them() {
    if !require_root() {
        return;
    }
    let stage = stage();
    build(&stage, "kernel.append = \"nosmt=force quiet console=ttyS0,115200\"\n");
    let added = "nosmt=force console=ttyS0,115200";
    assert_eq!(entry(&stage, "0-5.14.conf", "options"), [format!("root=UUID=1 ro quiet {added}")]);
    assert_eq!(entry(&stage, "0-5.14.conf", "linux"), ["/vmlinuz-5.14"]);
    assert_eq!(
        entry(&stage, "1-5.14.conf", "options"),
        ["$kernelopts nosmt=force quiet console=ttyS0,115200"]
    );
    assert_eq!(entry(&stage, "1-5.14.conf", "title"), ["Old"]);
    assert_eq!(stage.content("./boot/loader/entries/README"), "options none\n");
    assert_eq!(stage.content("./etc/kernel/cmdline"), format!("root=UUID=1 ro quiet {added}\n"));
    // As grub2-mkconfig reads it: a shell.
    let grub = stage.write("grub", stage.content("./etc/default/grub"));
    let read = sh(stage.path(), &format!(". {}; echo $GRUB_CMDLINE_LINUX", grub.display()));
    assert_eq!(read.trim(), format!("crashkernel=auto quiet {added}"));
    let modes = run(Command::new("tar")
        .args(["-tvf"])
        .arg(stage.image())
        .args(["./boot/loader/entries/0-5.14.conf", "./boot/loader/entries/1-5.14.conf"]));
    let modes = String::from_utf8(modes).unwrap();
    let modes: Vec<_> = modes.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(modes, ["-rw-------", "-rw-r--r--"]);
}

#[test]
fn fips_sets_the_policy_dracut_and_the_argument_of_the_kernel() {
    if !require_root() {
        return;
    }
    let stage = stage();
    build(&stage, "fips = true\nkernel.append = \"audit=1\"\n");
    assert_eq!(stage.content("./etc/crypto-policies.called"), "--no-reload --set FIPS\n");
    assert_eq!(entry(&stage, "0-5.14.conf", "options"), ["root=UUID=1 ro quiet audit=1 fips=1"]);
    let dracut = stage.write("fips.conf", stage.content("./etc/dracut.conf.d/40-fips.conf"));
    let read =
        sh(stage.path(), &format!("bash -c '. {}; echo $add_dracutmodules'", dracut.display()));
    assert_eq!(read.trim(), "fips");
    assert!(stage.members().contains(&"./etc/system-fips".to_owned()));
}

#[test]
fn an_image_without_the_program_of_a_customization_is_an_error_that_names_its_package() {
    if !require_root() {
        return;
    }
    let stage = stage();
    for (text, words) in [
        ("fips = true\n", ["no update-crypto-policies", "crypto-policies-scripts"]),
        ("openscap.profile_id = \"cis\"\n", ["no oscap", "openscap-scanner"]),
        ("firewall.ports = [\"80:tcp\"]\n", ["no firewall-offline-cmd", "firewalld"]),
        (
            "rpm.import_keys.files = [\"/etc/key\"]
",
            ["has no rpm", "add rpm"],
        ),
    ] {
        stage.settings(|settings| settings.rest = format!("[customizations]\n{text}"));
        let done = stage.build("install base\nts run\n").run();
        assert!(matches!(done.code, Some(3 | 7)), "{text}: {}", done.stderr);
        for word in words {
            assert!(done.stderr.contains(word), "{text}: {word}: {}", done.stderr);
        }
        stage.nothing_is_left();
    }
}

/// The host's scanner with its libraries and data below `overlay`, to be copied into the image.
fn scanner(stage: &Stage) -> bool {
    if osimg::process::find_program("oscap").is_none() {
        skip("oscap is not installed: apt-get install openscap-scanner");
        return false;
    }
    // It runs remedies by bash.
    sh(
        stage.path(),
        "mkdir -p overlay/usr/share; cp -rL /usr/share/openscap overlay/usr/share/; for program in \
         /usr/bin/oscap /usr/bin/bash; do for path in $program $(ldd $program | grep -o '/[^ ]*'); \
         do mkdir -p overlay${path%/*}; cp -L $path overlay$path; done; done",
    );
    true
}

/// Writes XML; the scanner loses an element that follows another without white space.
fn write_xml(path: &std::path::Path, text: &str) {
    fs::write(path, text.replace("><", ">\n<")).unwrap();
}

/// A benchmark whose rules demand a file in /etc with one line. The last has no remedy.
fn benchmark(stage: &Stage) {
    let mut rules = String::new();
    let (mut definitions, mut tests, mut objects) = (String::new(), String::new(), String::new());
    for (number, name) in (1..).zip(["banner", "quiet", "impossible"]) {
        let fix = if name == "impossible" {
            String::new()
        } else {
            format!("<fix system=\"urn:xccdf:fix:script:sh\">echo remedied &gt; /etc/{name}</fix>")
        };
        let _ = write!(
            rules,
            "<Rule id=\"{RULE}{name}\" selected=\"false\"><title>{name}</title>{fix}<check \
             system=\"http://oval.mitre.org/XMLSchema/oval-definitions-5\"><check-content-ref \
             href=\"oval.xml\" name=\"oval:org.example:def:{number}\"/></check></Rule>"
        );
        let _ = write!(
            definitions,
            "<definition class=\"compliance\" id=\"oval:org.example:def:{number}\" \
             version=\"1\"><metadata><title>{name}</title><description>d</description></metadata>\
             <criteria><criterion test_ref=\"oval:org.example:tst:{number}\"/></criteria>\
             </definition>"
        );
        let _ = write!(
            tests,
            "<textfilecontent54_test \
             xmlns=\"http://oval.mitre.org/XMLSchema/oval-definitions-5#independent\" \
             id=\"oval:org.example:tst:{number}\" version=\"1\" check=\"all\" comment=\"c\" \
             check_existence=\"at_least_one_exists\"><object \
             object_ref=\"oval:org.example:obj:{number}\"/></textfilecontent54_test>"
        );
        let _ = write!(
            objects,
            "<textfilecontent54_object \
             xmlns=\"http://oval.mitre.org/XMLSchema/oval-definitions-5#independent\" \
             id=\"oval:org.example:obj:{number}\" version=\"1\"><filepath>/etc/{name}</filepath>\
             <pattern operation=\"pattern match\">^remedied$</pattern><instance \
             datatype=\"int\">1</instance></textfilecontent54_object>"
        );
    }
    let selected = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("<select idref=\"{RULE}{name}\" selected=\"true\"/>"))
            .collect::<String>()
    };
    let profile = |name: &str, rules: &[&str]| {
        format!(
            "<Profile id=\"xccdf_org.ssgproject.content_profile_{name}\"><title>{name}</title>{}\
             </Profile>",
            selected(rules)
        )
    };
    let content = stage.path().join(format!("overlay{SCAP}"));
    fs::create_dir_all(&content).unwrap();
    write_xml(
        &content.join("ssg-demo-ds.xml"),
        &format!(
            "<Benchmark xmlns=\"http://checklists.nist.gov/xccdf/1.2\" \
             id=\"xccdf_org.example_benchmark_demo\"><status>accepted</status><title>Demo</title>\
             <version>1</version>{}{}{rules}</Benchmark>",
            profile("site", &["banner", "quiet"]),
            profile("strict", &["banner", "impossible"]),
        ),
    );
    write_xml(
        &content.join("oval.xml"),
        &format!(
            "<oval_definitions xmlns=\"http://oval.mitre.org/XMLSchema/oval-definitions-5\" \
             xmlns:oval=\"http://oval.mitre.org/XMLSchema/oval-common-5\"><generator>\
             <oval:schema_version>5.10</oval:schema_version>\
             <oval:timestamp>2020-01-01T00:00:00</oval:timestamp></generator><definitions>\
             {definitions}</definitions><tests>{tests}</tests><objects>{objects}</objects>\
             </oval_definitions>"
        ),
    );
}

/// The results of the kept report, as `rule result`.
fn results(stage: &Stage) -> Vec<String> {
    let kept: Vec<_> = fs::read_dir(stage.out()).unwrap().map(|e| e.unwrap().path()).collect();
    let ends = |suffix: &str| kept.iter().find(|path| path.to_string_lossy().ends_with(suffix));
    assert!(
        fs::read_to_string(ends(".openscap.html").unwrap()).unwrap().contains("<html"),
        "the report for humans"
    );
    let text = fs::read_to_string(ends(".openscap.xml").unwrap()).unwrap();
    let rules = text.split("<rule-result ").skip(1).filter_map(|rule| {
        let name = rule.split(RULE).nth(1)?.split('"').next()?;
        let result = rule.split("<result>").nth(1)?.split('<').next()?;
        Some(format!("{name} {result}"))
    });
    rules.filter(|rule| !rule.ends_with("notselected")).collect()
}

#[test]
fn the_image_s_scanner_applies_a_profile_and_its_report_is_next_to_the_tarball() {
    if !require_root() {
        return;
    }
    let stage = stage();
    if !scanner(&stage) {
        return;
    }
    benchmark(&stage);
    let tree = "[[customizations.tree]]\nsource = \"../overlay\"\n";
    let has = |path: &str| stage.members().contains(&path.to_owned());

    // The only data stream of the image, and the short name of a profile.
    build(&stage, &format!("openscap.profile_id = \"site\"\n{tree}"));
    assert_eq!(results(&stage), ["banner fixed", "quiet fixed"]);
    assert_eq!(stage.content("./etc/banner"), "remedied\n");
    let left: Vec<_> =
        stage.members().into_iter().filter(|member| member.contains("osimg-openscap")).collect();
    assert_eq!(left, [""; 0]);

    let done = build(
        &stage,
        &format!(
            "openscap.profile_id = \"xccdf_org.ssgproject.content_profile_site\"\n\
             openscap.datastream = \"{SCAP}/ssg-demo-ds.xml\"\n\
             openscap.tailoring.unselected = [\"quiet\"]\n{tree}"
        ),
    );
    assert!(!done.stderr.contains("some rules"), "{}", done.stderr);
    assert_eq!(results(&stage), ["banner fixed"]);
    assert!(!has("./etc/quiet"));
    assert!(has("./usr/share/xml/osbuild-oscap-tailoring/tailoring.xml"));

    let done = build(&stage, &format!("openscap.profile_id = \"strict\"\n{tree}"));
    done.reports(&["OpenSCAP: some rules of", "the report next to the tarball lists them"]);
    assert_eq!(results(&stage), ["banner fixed", "impossible fail"]);

    for (text, word) in [
        ("openscap.profile_id = \"nosuch\"\n", "nosuch"),
        (
            "openscap.profile_id = \"site\"\nopenscap.datastream = \"/nosuch.xml\"\n",
            "no data stream /nosuch.xml",
        ),
    ] {
        stage.settings(|settings| settings.rest = format!("[customizations]\n{text}{tree}"));
        let done = stage.build(RECIPE).run();
        assert!(matches!(done.code, Some(3 | 7)), "{text}: {}", done.stderr);
        done.reports(&[word]);
    }
}
