//! Templates are checked and rendered without Ironic; Ironic's own code checks them too, in the
//! openstack tier.

use super::*;
use crate::archive::Format;
use crate::recipe::{Disks, InstallSettings, Layout, SelinuxMode};

fn tarball(format: Format) -> Tarball {
    Tarball { sha256: "0123456789abcdef".repeat(4), format }
}

fn values(url: &str, source: Source) -> Values {
    Values {
        liveimg_url: url.into(),
        source,
        agent_token: "secret".into(),
        heartbeat_url: "http://ironic.example/v1/heartbeat/7".into(),
        config_drive: "\n%post\nCONTENT='b'QUJD''\n%end\n\n".into(),
        heartbeat_trust: Trust::Checked,
    }
}

fn liveimg(rendered: &str) -> &str {
    rendered
        .lines()
        .find(|line| line.starts_with("liveimg"))
        .unwrap_or_else(|| panic!("no liveimg in\n{rendered}"))
}

#[test]
fn our_template_pleases_our_own_judge_whatever_the_options() {
    let all = Options {
        tarball: Some(tarball(Format::Txz)),
        authority: Some(Authority {
            pem: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
        }),
        install: InstallSettings {
            disks: Disks::Smallest,
            layout: Layout::Lvm,
            storage: Some("zerombr\nclearpart --all\npart / --fstype=xfs --grow".into()),
            kernel_arguments: Some("console=ttyS0,115200 crashkernel=256M".into()),
            network: vec!["--bootproto=dhcp --device=link --activate".into()],
            language: Some("de_AT.UTF-8".into()),
            keyboard: Some("at".into()),
            timezone: Some("Europe/Vienna".into()),
            selinux: SelinuxMode::Permissive,
            root_keys: vec!["ssh-ed25519 AAAA someone@example".into()],
            packages: vec!["@^minimal-environment".into(), "cloud-init".into()],
            authority: None,
        },
    };
    let tree = Options {
        install: InstallSettings {
            disks: Disks::Named(vec!["sda".into(), "/dev/disk/by-id/wwn-0x5000".into()]),
            ..InstallSettings::default()
        },
        ..Options::default()
    };
    for options in
        [all, tree, Options { tarball: Some(tarball(Format::Tgz)), ..Options::default() }]
    {
        let template = Template::ours(&options).unwrap();
        assert_eq!(template.advice(), [], "{}", template.text());
        let rendered = template.render(&values("http://h/os.tgz", Source::Tarball)).unwrap();
        assert!(
            !rendered.contains("{{") && !rendered.contains('@')
                || rendered.contains("@^minimal")
                || rendered.contains("sshkey"),
            "{rendered}"
        );
    }
}

#[test]
fn a_url_without_its_suffix_gets_one_that_no_server_sees() {
    let template =
        Template::ours(&Options { tarball: Some(tarball(Format::Tbz)), ..Options::default() })
            .unwrap();
    let digest = "0123456789abcdef".repeat(4);
    for (url, end) in [
        ("http://h/agent_images/7", "#.tbz"),
        ("https://r/v2/os/blobs/sha256:ab", "#.tbz"),
        ("http://h/os.tar.bz2", ""),
        ("http://h/os.tar.gz", ""),
        ("http://h/os.tar", ""),
        ("h", "#.tbz"),
    ] {
        let rendered = template.render(&values(url, Source::Tarball)).unwrap();
        assert_eq!(liveimg(&rendered), format!("liveimg --url=\"{url}{end}\" --checksum={digest}"));
    }
}

#[test]
fn a_tree_is_installed_from_by_url_and_packages() {
    let options = Options {
        tarball: Some(tarball(Format::Tgz)),
        install: InstallSettings { packages: vec!["@core".into()], ..InstallSettings::default() },
        ..Options::default()
    };
    let rendered =
        Template::ours(&options).unwrap().render(&values("http://h/tree/", Source::Tree)).unwrap();
    assert!(
        rendered.contains("url --url=\"http://h/tree/\"\n%packages --ignoremissing\n@core\n%end\n"),
        "{rendered}"
    );
    assert!(!rendered.contains("liveimg"), "{rendered}");
}

#[test]
fn a_config_drive_in_pythons_spelling_is_fixed_and_a_right_one_is_left() {
    let template =
        Template::ours(&Options { tarball: Some(tarball(Format::Tgz)), ..Options::default() })
            .unwrap();
    let mut values = values("http://h/os.tgz", Source::Tarball);
    assert!(template.render(&values).unwrap().contains("\nCONTENT='QUJD'\n"));
    for right in ["%post\nCONTENT='QUJD'\n%end\n", "%post\nCONTENT=''\n%end\n"] {
        values.config_drive = right.into();
        assert!(template.render(&values).unwrap().contains(right));
    }
}

#[test]
fn options_that_would_break_out_of_their_place_are_refused() {
    let base = || Options { tarball: Some(tarball(Format::Tgz)), ..Options::default() };
    let wrong = [
        Options {
            install: InstallSettings {
                kernel_arguments: Some("quiet\"\n%pre".into()),
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            install: InstallSettings {
                kernel_arguments: Some("{{ ks_options.agent_token }}".into()),
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            install: InstallSettings {
                network: vec!["--bootproto=dhcp\nrootpw x".into()],
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            install: InstallSettings {
                root_keys: vec!["ssh-ed25519 AAAA\" --x".into()],
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            install: InstallSettings { root_keys: vec![" ".into()], ..InstallSettings::default() },
            ..base()
        },
        Options {
            install: InstallSettings {
                disks: Disks::Named(vec!["sda sdb".into()]),
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            install: InstallSettings {
                disks: Disks::Named(vec![String::new()]),
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            install: InstallSettings {
                storage: Some("part /\nrootpw --plaintext x".into()),
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            install: InstallSettings {
                storage: Some("%pre\nid\n%end".into()),
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            install: InstallSettings {
                language: Some("en US".into()),
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            install: InstallSettings {
                packages: vec!["%end".into()],
                ..InstallSettings::default()
            },
            ..base()
        },
        Options {
            authority: Some(Authority { pem: "-----BEGIN PRIVATE KEY-----\nx\n".into() }),
            ..base()
        },
        Options {
            authority: Some(Authority { pem: "-----BEGIN CERTIFICATE-----\n%end\n".into() }),
            ..base()
        },
        Options { tarball: Some(Tarball { sha256: "abc".into(), format: Format::Tgz }), ..base() },
    ];
    for options in wrong {
        assert!(Template::ours(&options).is_err(), "{options:?}");
    }
}

/// A small user's template that is right in every respect.
const GOOD: &str = concat!(
    "text\nliveimg --url {{ ks_options.liveimg_url }}\n",
    "%pre\n",
    r#"curl -d '{"agent_token": "{{ ks_options.agent_token }}", "agent_status": "start"}' "#,
    "{{ ks_options.heartbeat_url }}\n%end\n",
    "%onerror\n",
    r#"curl -d '{"agent_token": "{{ ks_options.agent_token }}", "agent_status": "error"}' "#,
    "{{ ks_options.heartbeat_url }}\n%end\n",
    "{{ ks_options.config_drive }}\n",
    "%post\n",
    r#"curl -d '{"agent_token": "{{ ks_options.agent_token }}", "agent_status": "end"}' "#,
    "{{ ks_options.heartbeat_url }}\n%end\n",
);

fn refused(text: &str) -> String {
    let error =
        Template::from_user(text, "my.ks", Some(&tarball(Format::Tgz)), None).expect_err(text);
    crate::error::render(&error)
}

#[test]
fn a_persons_template_gets_the_checksum_and_stays_as_it_is_otherwise() {
    let template = Template::from_user(GOOD, "my.ks", Some(&tarball(Format::Tgz)), None).unwrap();
    let line = format!(
        "liveimg --url {{{{ ks_options.liveimg_url }}}} --checksum={}",
        "0123456789abcdef".repeat(4)
    );
    assert_eq!(template.text(), GOOD.replace("liveimg --url {{ ks_options.liveimg_url }}", &line));
    assert_eq!(template.advice(), []);
    let same =
        Template::from_user(template.text(), "my.ks", Some(&tarball(Format::Tgz)), None).unwrap();
    assert_eq!(same.text(), template.text());
}

#[test]
fn every_reason_to_refuse_a_template_is_told_with_its_line() {
    let cases = [
        (
            GOOD.replace("liveimg_url", "livimg_url"),
            "my.ks:2: unknown variable ks_options.livimg_url",
        ),
        (
            GOOD.replace("{{ ks_options.config_drive }}", "{{ nodename }}"),
            "my.ks:9: unknown variable nodename",
        ),
        (
            GOOD.replace("{{ ks_options.config_drive }}", "{{ heartbeat_url }}"),
            "hint: write ks_options.heartbeat_url",
        ),
        (GOOD.replace("text\n", "text\n{% if x %}\n"), "Jinja cannot read this"),
        (GOOD.replace("text\n", "text {{ \n"), "my.ks:"),
        (
            GOOD.replace("text\n", "{% if ks_options.is_source_a_path %}{% endif %}\n"),
            "Ironic would refuse this",
        ),
        (GOOD.replace("ks_options.agent_token", "'x'"), "ks_options.agent_token is not used"),
        (
            GOOD.replace("\"end\"", "\"over\""),
            "no %post section reports the end of the installation to Ironic",
        ),
        (GOOD.replace("%pre\n", "%pre\n%post\n"), "my.ks:3: %pre is not ended before %post"),
        (format!("{GOOD}%post\n"), "%post is never ended"),
        (format!("{GOOD}%end\n"), "%end ends no section"),
        (GOOD.replace("liveimg --url", "# liveimg --url"), "no command names what is installed"),
        (
            GOOD.replace("{{ ks_options.liveimg_url }}", "{{ ks_options.liveimg_url }}?x"),
            "Anaconda would mount http://osimg.invalid/os.tgz?x",
        ),
        (
            GOOD.replace(
                "liveimg_url }}",
                &format!("liveimg_url }}}} --checksum={}", "0".repeat(64)),
            ),
            "my.ks:2: the checksum is not the tarball's",
        ),
    ];
    for (text, expected) in cases {
        let said = refused(&text);
        assert!(said.contains(expected), "{expected:?} is missing in:\n{said}\n{text}");
    }
}

#[test]
fn what_only_deserves_a_look_is_no_error() {
    let cases = [
        (GOOD.replace("\"error\"", "\"odd\""), "no %onerror section"),
        (GOOD.replace("\"start\"", "\"odd\""), "no %pre section"),
        (GOOD.replace("{{ ks_options.config_drive }}", ""), "config drive is not written"),
        (
            GOOD.replace(
                "text\n",
                "{% if 'is_source_a_path' in ks_options %}{{ ks_options.other }}{% endif %}\n",
            ),
            "unknown variable ks_options.other",
        ),
        (
            GOOD.replace("text\n", "{{ ks_options.agent_token.title() }}\n"),
            "osimg cannot try this template",
        ),
        (
            GOOD.replace(
                "liveimg --url {{ ks_options.liveimg_url }}",
                "nfs --server h --dir /x\n# {{ ks_options.liveimg_url }}",
            ),
            "no line begins with liveimg",
        ),
    ];
    for (text, expected) in cases {
        let template =
            Template::from_user(&text, "my.ks", Some(&tarball(Format::Tgz)), None).expect(&text);
        assert!(
            template.advice().iter().any(|a| a.text.contains(expected)),
            "{expected}: {:?}",
            template.advice()
        );
    }
}
