//! Kickstart templates checked by independent tools: Ironic's own code renders and validates them,
//! and pykickstart reads the result.

use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::process::{Command, Output};

use super::lab::{Files, Lab, messages};
use osimg::archive::Format;
use osimg::installer::kickstart::{Authority, Options, Source, Tarball, Template, Trust, Values};
use osimg::recipe::{Disks, InstallSettings, Layout, SelinuxMode};

/// The directory of the servers' Python packages.
pub fn venv() -> PathBuf {
    let cache =
        std::env::var("OSIMG_TEST_CACHE").unwrap_or_else(|_| "/var/cache/osimg-tests".into());
    // lib/env.sh names it after the list of its packages.
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/openstack/requirements.txt");
    let digest = hex::encode(Sha256::digest(std::fs::read(list).unwrap()));
    std::env::var_os("OSIMG_OS_VENV").map_or_else(
        || PathBuf::from(cache).join(format!("openstack/venv-{}", &digest[..12])),
        PathBuf::from,
    )
}

/// Renders the templates on its command line with Ironic's code, each for a tarball and for a
/// tree.
const RENDER: &str = r#"
import json, sys
from pykickstart.errors import KickstartError
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion
from ironic.common import pxe_utils, utils
answers = []
for path in sys.argv[1:]:
    answer = {}
    try:
        pxe_utils.validate_kickstart_template(path)
        options = {'liveimg_url': 'http://h.example/agent_images/7', 'agent_token': 'a-token',
                   'heartbeat_url': 'http://h.example/v1/heartbeat/7',
                   'config_drive': "\n%post\nCONTENT='b'QUJD''\n%end\n\n"}
        answer['tarball'] = utils.render_template(path, {'ks_options': options})
        options['is_source_a_path'] = 'true'
        options['insecure_heartbeat'] = 'true'
        answer['tree'] = utils.render_template(path, {'ks_options': options})
        for version in ('RHEL8', 'RHEL9', 'RHEL10', 'F42'):
            for kind in ('tarball', 'tree'):
                handler = makeVersion(version)
                try:
                    parser = KickstartParser(handler, followIncludes=False)
                    parser.readKickstartFromString(answer[kind])
                except KickstartError as e:
                    answer['kickstart'] = str(e)
                liveimg = handler.liveimg
                answer[version + kind] = [liveimg.url, liveimg.checksum, handler.url.url]
    except Exception as e:
        answer['error'] = '%s: %s' % (type(e).__name__, e)
    answers.append(answer)
print(json.dumps(answers))
"#;

/// Writes a config drive with the library that Ironic reads it with.
pub fn config_drive(path: &std::path::Path, user_data: &str) {
    let script = "import io, pycdlib, sys\niso = pycdlib.PyCdlib()\niso.new(rock_ridge='1.09', \
                  vol_ident='config-2')\niso.add_directory('/OPENSTAC', \
                  rr_name='openstack')\niso.add_directory('/OPENSTAC/LATEST', \
                  rr_name='latest')\nfor name, text in (('user_data', sys.argv[2]), \
                  ('meta_data.json', '{\"uuid\": \"7\"}')):\n    data = text.encode()\n    \
                  iso.add_fp(io.BytesIO(data), len(data), '/OPENSTAC/LATEST/' + name[:4].upper() \
                  + '.;1', rr_name=name)\niso.write(sys.argv[1])\n";
    let output = Command::new(venv().join("bin/python"))
        .args(["-c", script])
        .arg(path)
        .arg(user_data)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn ironic(templates: &[&str]) -> Vec<serde_json::Value> {
    let directory = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (index, text) in templates.iter().enumerate() {
        let path = directory.path().join(format!("{index}.ks.cfg.template"));
        std::fs::write(&path, text).unwrap();
        paths.push(path);
    }
    let output = Command::new(venv().join("bin/python"))
        .args(["-W", "ignore", "-c", RENDER])
        .args(paths)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ksvalidator(version: &str, kickstart: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ks.cfg");
    std::fs::write(&path, kickstart).unwrap();
    Command::new(venv().join("bin/ksvalidator")).args(["-v", version]).arg(path).output().unwrap()
}

fn tarball() -> Tarball {
    Tarball { sha256: "0123456789abcdef".repeat(4), format: Format::Txz }
}

fn every_option() -> Options {
    Options {
        tarball: Some(tarball()),
        authority: Some(Authority {
            pem: "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgI=\n-----END CERTIFICATE-----\n"
                .into(),
        }),
        install: InstallSettings {
            disks: Disks::Smallest,
            layout: Layout::Plain,
            storage: None,
            kernel_arguments: Some("console=ttyS0,115200n8 crashkernel=1G-4G:192M".into()),
            network: vec![
                "--bootproto=static --device=eno1 --ip=192.0.2.7 --netmask=255.255.255.0 \
                 --gateway=192.0.2.1 --activate"
                    .into(),
            ],
            language: Some("de_AT.UTF-8".into()),
            keyboard: Some("at".into()),
            timezone: Some("Europe/Vienna".into()),
            selinux: SelinuxMode::Permissive,
            root_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI someone@example".into()],
            packages: vec!["@^minimal-environment".into(), "cloud-init".into()],
            authority: None,
        },
    }
}

#[test]
fn ironic_and_pykickstart_accept_our_template_and_render_it_as_we_do() {
    if Lab::open().is_none() {
        return;
    }
    let named = Disks::Named(vec!["sda".into(), "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4".into()]);
    let storage = "zerombr\nclearpart --all --initlabel\nreqpart --add-boot\npart pv.1 --grow \
                   --size=4096\nvolgroup os pv.1\nlogvol / --vgname=os --name=root --size=4096";
    let all = [
        Options { tarball: Some(tarball()), ..Options::default() },
        Options {
            install: InstallSettings {
                disks: named,
                layout: Layout::Lvm,
                selinux: SelinuxMode::Disabled,
                ..every_option().install
            },
            ..every_option()
        },
        Options {
            install: InstallSettings { storage: Some(storage.into()), ..every_option().install },
            ..every_option()
        },
        every_option(),
        Options::default(),
    ];
    let ours: Vec<Template> = all.iter().map(|options| Template::ours(options).unwrap()).collect();
    let texts: Vec<&str> = ours.iter().map(Template::text).collect();
    for (template, answer) in ours.iter().zip(ironic(&texts)) {
        assert!(
            answer.get("error").is_none() && answer.get("kickstart").is_none(),
            "{answer}\n{}",
            template.text()
        );
        for (kind, source, trust) in
            [("tarball", Source::Tarball, Trust::Checked), ("tree", Source::Tree, Trust::Unchecked)]
        {
            let rendered = answer[kind].as_str().unwrap();
            let values = Values {
                liveimg_url: "http://h.example/agent_images/7".into(),
                source,
                agent_token: "a-token".into(),
                heartbeat_url: "http://h.example/v1/heartbeat/7".into(),
                config_drive: "\n%post\nCONTENT='b'QUJD''\n%end\n\n".into(),
                heartbeat_trust: trust,
            };
            assert_eq!(template.render(&values).unwrap(), rendered);
            let has_tarball = template.text().contains("liveimg --url");
            for version in ["RHEL8", "RHEL9", "RHEL10", "F42"] {
                let read = &answer[format!("{version}{kind}")];
                if source == Source::Tarball && has_tarball {
                    assert_eq!(
                        (&read[0], &read[1]),
                        (&json!("http://h.example/agent_images/7#.txz"), &json!(tarball().sha256)),
                        "{version}"
                    );
                } else {
                    assert_eq!(read[2], "http://h.example/agent_images/7", "{version}");
                }
            }
        }
    }
}

#[test]
fn ksvalidator_has_no_complaint_about_a_rendered_template() {
    if Lab::open().is_none() {
        return;
    }
    let rendered = ironic(&[Template::ours(&every_option()).unwrap().text()])[0]["tarball"]
        .as_str()
        .unwrap()
        .to_owned();
    let output = ksvalidator("RHEL9", &rendered);
    assert!(output.status.success(), "{}\n{rendered}", String::from_utf8_lossy(&output.stdout));
    // It does reject a wrong file.
    assert!(!ksvalidator("RHEL9", &rendered.replace("cmdline\n", "cmdlin\n")).status.success());
}

#[test]
fn templates_are_accepted_and_refused_exactly_as_by_ironic() {
    if Lab::open().is_none() {
        return;
    }
    let good = Template::ours(&Options { tarball: Some(tarball()), ..Options::default() })
        .unwrap()
        .text()
        .to_owned();
    let cases = [
        good.clone(),
        good.replace("ks_options.agent_token", "ks_options.token"),
        good.replace("{{ ks_options.heartbeat_url }}", "http://elsewhere.example/"),
        good.replace("cmdline\n", "cmdline # {{ hostname }}\n"),
        good.replace("cmdline\n", "cmdline # {% if x %}\n"),
        good.replace("cmdline\n", "cmdline # {{ ks_options.liveimg_url | nosuchfilter }}\n"),
        good.replace("cmdline\n", "cmdline # {% for x in [1, 2] %}{{ x }}{% endfor %}\n"),
        good.replace(
            "cmdline\n",
            "cmdline # {% if ks_options.other is defined %}{{ ks_options.other }}{% endif %}\n",
        ),
        good.replace("cmdline\n", "cmdline # {% if ks_options.is_source_a_path %}x{% endif %}\n"),
        good.replace("cmdline\n", "{# {{ not_a_variable }} #}\ncmdline\n"),
    ];
    let texts: Vec<&str> = cases.iter().map(String::as_str).collect();
    for (text, answer) in cases.iter().zip(ironic(&texts)) {
        let ours = Template::from_user(text, "my.ks", None, None);
        // A filter that only one of the two knows gives a warning, not an error: osimg knows fewer.
        let unsure =
            ours.as_ref().is_ok_and(|t| t.advice().iter().any(|a| a.text.contains("cannot try")));
        assert!(
            unsure || ours.is_err() == answer.get("error").is_some(),
            "{answer}\n{:?}\n{text}",
            ours.err()
        );
    }
}

#[test]
fn the_callback_of_a_node_trusts_the_authority_in_the_settings() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let settings = format!(
        "[deploy.install]\nauthority = \"{}\"\n",
        lab.servers.data().join("tls/ca.crt").display()
    );
    std::fs::write(files.path("os.toml"), settings).unwrap();
    let (tarball, settings) = (files.tarball(), files.path("os.toml"));
    let output = lab.osimg(&[
        "-q",
        "deploy",
        tarball.to_str().unwrap(),
        "--print-kickstart",
        "--settings",
        settings.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", messages(&output));
    let template =
        Template::from_user(&String::from_utf8(output.stdout).unwrap(), "os.ks", None, None)
            .unwrap();
    let rendered = template
        .render(&Values {
            liveimg_url: "http://h.example/os.tgz".into(),
            source: Source::Tarball,
            agent_token: "a-token".into(),
            // Any page of that server suffices; another test checks the callback itself.
            heartbeat_url: format!("https://127.0.0.1:{}/v1/heartbeat/7", lab.servers.port(9)),
            config_drive: String::new(),
            heartbeat_trust: Trust::Checked,
        })
        .unwrap();
    let pre: String = rendered
        .split("%pre\n")
        .skip(1)
        .map(|section| section.split("%end").next().unwrap().to_owned())
        .collect();
    let once = pre
        .replace(
            "/usr/bin/curl --fail",
            "curl --noproxy '*' --output /dev/null --write-out %{http_code}",
        )
        .replace("sleep 3", "break");
    let directory = tempfile::tempdir().unwrap();
    let script = once.replace("/tmp/osimg-", &format!("{}/osimg-", directory.path().display()));
    let run = |script: &str| Command::new("sh").args(["-c", script]).output().unwrap();
    let trusted = run(&script);
    // Ironic does not know the node, but its answer shows that it was reached.
    assert_eq!(
        String::from_utf8_lossy(&trusted.stdout),
        "404",
        "{}",
        String::from_utf8_lossy(&trusted.stderr)
    );
    let untrusted = run(&script.replace("--cacert", "--ciphers DEFAULT --dump-header"));
    assert_eq!(
        String::from_utf8_lossy(&untrusted.stdout),
        "000",
        "{}",
        String::from_utf8_lossy(&untrusted.stderr)
    );
}
