//! Writes our template: Jinja for Ironic around kickstart for Anaconda around shell for the
//! installer.

use std::fmt::Write as _;

use super::options::{Options, Tarball};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{Disks, Layout, SelinuxMode};

/// Where the installer keeps the authority of Ironic's API.
const AUTHORITY: &str = "/tmp/osimg-authority.pem";
/// Where the choice of the disk is written by `%pre` for Anaconda to include.
const CHOSEN_DISK: &str = "/tmp/osimg-disk.ks";

/// The node calls, again while Ironic has the node locked (409) or is away. `$reason` is in the
/// message of an error.
const CALL: &str = concat!(
    "for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do\n",
    "    /usr/bin/curl --fail --silent --show-error --max-time 60 @TRUST@",
    "{% if 'insecure_heartbeat' in ks_options %}--insecure {% endif %}",
    "-X POST -H 'Content-Type: application/json' -H 'Accept: application/json' ",
    "-H 'X-OpenStack-Ironic-API-Version: 1.72' -d '",
    r#"{"callback_url": "", "agent_token": "{{ ks_options.agent_token }}", "#,
    r#""agent_status": "@STATUS@", "agent_status_message": "@MESSAGE@"}"#,
    "' {{ ks_options.heartbeat_url }} && break\n    sleep 3\ndone\n",
);

/// A tarball is recognised only by the end of its URL. Ironic's has none when the image's
/// properties lack it, when the conductor serves its own copy of a file, and when it comes from a
/// container registry; what follows # is never sent to the server.
const LIVEIMG: &str = concat!(
    r#"liveimg --url="{{ ks_options.liveimg_url }}"#,
    "{% if ks_options.liveimg_url[-4:] not in ['.tar', '.tgz', '.tbz', '.txz'] ",
    "and ks_options.liveimg_url[-7:] not in ['.tar.gz', '.tar.xz'] ",
    "and ks_options.liveimg_url[-8:] != '.tar.bz2' %}#.@EXTENSION@{% endif %}",
    "\" --checksum=@SHA256@\n",
);

/// Ironic 39 writes the content of a config drive's files as Python shows bytes, b'…', which base64
/// cannot decode.
const CONFIG_DRIVE: &str = concat!(
    r#"{% if "CONTENT='b'" in ks_options.config_drive %}"#,
    r#"{{ ks_options.config_drive | replace("CONTENT='b'", "CONTENT='") "#,
    r#"| replace("''\n", "'\n") }}"#,
    "{% else %}{{ ks_options.config_drive }}{% endif %}\n",
);

const SMALLEST: &str = r#"%pre
lsblk -dnb -o SIZE,KNAME,TYPE,RM,RO | sort -n | while read -r bytes name kind removable readonly; do
    case $name in zram*|ram*|nbd*) continue ;; esac
    if [ "$kind" = disk ] && [ "$removable" = 0 ] && [ "$readonly" = 0 ] &&
        [ "$bytes" -ge 8589934592 ]; then
        echo "ignoredisk --only-use=$name" > @FILE@
        break
    fi
done
%end
"#;

/// The reason of a failure: the last errors of the installer's log, in characters that JSON and a
/// shell take as they are.
const REASON: &str = concat!(
    "reason=$(grep -hE ' (ERR|CRT|ERROR|CRITICAL)[ :]' ",
    "/tmp/anaconda.log /tmp/packaging.log /tmp/storage.log 2>/dev/null | ",
    "tail -n 2 | tr -c 'A-Za-z0-9 .,:;/_()=+-' ' ' | cut -c1-400)\n",
);

pub(super) fn template(options: &Options) -> Result<String> {
    let mut text = String::from(
        "# Kickstart template for Ironic's anaconda deploy interface, made by osimg.\n",
    );
    text.push_str("# Ironic replaces the text between double braces.\n\n");
    push(&mut text, &commands(options)?);
    push(&mut text, &source(options)?);
    text.push_str(&before(options)?);
    let _ = write!(
        text,
        "%onerror\n{REASON}{}%end\n\n",
        call(options, "error", "Anaconda failed: '\"$reason\"'")
    );
    text.push_str("# The node's config drive, for cloud-init.\n");
    text.push_str(CONFIG_DRIVE);
    text.push_str(
        "%post\n[ ! -x /usr/sbin/restorecon ] || [ ! -d /var/lib/cloud ] || /usr/sbin/restorecon \
         -R /var/lib/cloud\n%end\n\n",
    );
    text.push_str(
        "# The last thing: Ironic switches the node off as soon as it hears this. By the \
         installer's own curl, so that the\n",
    );
    text.push_str("# image needs none.\n");
    let _ = write!(
        text,
        "%post --nochroot\nsync\n{}%end\n",
        call(options, "end", "Deployment completed.")
    );
    Ok(text)
}

fn push(text: &mut String, lines: &str) {
    text.push_str(lines);
    text.push('\n');
}

fn call(options: &Options, status: &str, message: &str) -> String {
    let trust =
        if options.authority.is_some() { format!("--cacert {AUTHORITY} ") } else { String::new() };
    CALL.replace("@TRUST@", &trust).replace("@STATUS@", status).replace("@MESSAGE@", message)
}

fn commands(options: &Options) -> Result<String> {
    let mut lines = Vec::new();
    lines.push("cmdline".to_owned());
    lines.push("reboot".to_owned());
    lines.push(format!(
        "lang {}",
        word("language", options.install.language.as_deref().unwrap_or("en_US.UTF-8"))?
    ));
    lines.push(format!(
        "keyboard {}",
        word("keyboard", options.install.keyboard.as_deref().unwrap_or("us"))?
    ));
    lines.push(format!(
        "timezone {} --utc",
        word("timezone", options.install.timezone.as_deref().unwrap_or("UTC"))?
    ));
    let selinux = match options.install.selinux {
        SelinuxMode::Enforcing => "--enforcing",
        SelinuxMode::Permissive => "--permissive",
        SelinuxMode::Disabled => "--disabled",
    };
    lines.push(format!("selinux {selinux}"));
    lines.push(
        "# The image is the system: what it has of a firewall and of users stays as it is, and \
         cloud-init adds the rest."
            .into(),
    );
    lines.push("firewall --use-system-defaults".into());
    lines.push("firstboot --disabled".into());
    lines.push("rootpw --lock".into());
    for key in &options.install.root_keys {
        lines.push(format!("sshkey --username=root \"{}\"", one_line("root_keys", key)?));
    }
    for network in &options.install.network {
        lines.push(format!("network {}", one_line("network", network)?));
    }
    lines.push(String::new());
    match options
        .install
        .kernel_arguments
        .as_deref()
        .map(str::trim)
        .filter(|arguments| !arguments.is_empty())
    {
        Some(arguments) => lines.push(format!(
            "bootloader --location=mbr --append=\"{}\"",
            one_line("kernel_arguments", arguments)?
        )),
        None => lines.push("bootloader --location=mbr".into()),
    }
    match &options.install.disks {
        Disks::All => {}
        Disks::Smallest => lines.push(format!("%include {CHOSEN_DISK}")),
        Disks::Named(names) => {
            let names: Vec<&str> = names.iter().map(|name| disk(name)).collect::<Result<_>>()?;
            lines.push(format!("ignoredisk --only-use={}", names.join(",")));
        }
    }
    if let Some(own) = &options.install.storage {
        lines.push(storage_lines(own)?);
        return Ok(lines.join("\n") + "\n");
    }
    let autopart = match options.install.layout {
        Layout::Automatic => "autopart",
        Layout::Plain => "autopart --type=plain",
        Layout::Lvm => "autopart --type=lvm",
        Layout::Btrfs => "autopart --type=btrfs",
    };
    lines.extend(["zerombr".into(), "clearpart --all --initlabel".into(), autopart.into()]);
    Ok(lines.join("\n") + "\n")
}

/// One template serves both: Ironic's values show which of the two the node's image source is.
fn source(options: &Options) -> Result<String> {
    let mut packages = String::from("%packages --ignoremissing\n");
    for package in &options.install.packages {
        if package.starts_with('%') {
            return Err(odd("packages", package));
        }
        push(&mut packages, one_line("packages", package)?);
    }
    packages.push_str("%end\n");
    let tree = format!("url --url=\"{{{{ ks_options.liveimg_url }}}}\"\n{packages}");
    let Some(tarball) = &options.tarball else { return Ok(tree) };
    Ok(format!(
        "{{% if 'is_source_a_path' in ks_options %}}{tree}{{% else %}}{}{{% endif %}}\n",
        liveimg(tarball)?
    ))
}

fn liveimg(tarball: &Tarball) -> Result<String> {
    let hexadecimal =
        tarball.sha256.len() == 64 && tarball.sha256.bytes().all(|b| b.is_ascii_hexdigit());
    if !hexadecimal {
        return Err(odd("sha256", &tarball.sha256));
    }
    Ok(LIVEIMG
        .replace("@EXTENSION@", tarball.format.extension())
        .replace("@SHA256@", &tarball.sha256.to_ascii_lowercase()))
}

fn before(options: &Options) -> Result<String> {
    let mut text = String::new();
    if let Some(authority) = &options.authority {
        let pem = authority.pem.trim();
        // Base64 and dashes: nothing in it can end the here-document, the section or be taken for
        // Jinja.
        if !pem.starts_with("-----BEGIN CERTIFICATE-----")
            || pem.chars().any(|c| !c.is_ascii() || "{}%#'`$\\".contains(c))
        {
            return Err(Failure::new(
                ExitCode::Recipe,
                "making the kickstart template: the authority is not a certificate in PEM",
            )
            .hint("name a file with nothing but -----BEGIN CERTIFICATE----- blocks")
            .into());
        }
        let _ = write!(
            text,
            "%pre\ncat > {AUTHORITY} <<'END_OF_AUTHORITY'\n{pem}\nEND_OF_AUTHORITY\n%end\n\n"
        );
    }
    let _ = write!(
        text,
        "%pre\n{}%end\n\n",
        call(options, "start", "Deployment starting. Running pre-installation scripts.")
    );
    if options.install.disks == Disks::Smallest {
        push(&mut text, &SMALLEST.replace("@FILE@", CHOSEN_DISK));
    }
    Ok(text)
}

fn word<'a>(option: &str, text: &'a str) -> Result<&'a str> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-+/@".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(good) {
        Err(odd(option, text))
    } else {
        Ok(text)
    }
}

/// Text for one line, inside double quotes or not: nothing that ends them, the line, or is Jinja.
fn one_line<'a>(option: &str, text: &'a str) -> Result<&'a str> {
    let jinja = ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark));
    if text.trim().is_empty() || jinja || text.chars().any(|c| c.is_control() || "\"\\".contains(c))
    {
        return Err(odd(option, text));
    }
    Ok(text)
}

fn disk(name: &str) -> Result<&str> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-+:/@*".contains(c);
    if name.is_empty() || name.starts_with('-') || !name.chars().all(good) {
        Err(odd("disks", name))
    } else {
        Ok(name)
    }
}

fn storage_lines(own: &str) -> Result<String> {
    const KNOWN: [&str; 12] = [
        "part",
        "partition",
        "volgroup",
        "logvol",
        "raid",
        "btrfs",
        "clearpart",
        "zerombr",
        "reqpart",
        "mount",
        "autopart",
        "ignoredisk",
    ];
    for line in own.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let command = line.split_whitespace().next().unwrap_or_default();
        if !KNOWN.contains(&command) || ["{{", "{%", "{#"].iter().any(|mark| line.contains(mark)) {
            return Err(Failure::new(
                ExitCode::Recipe,
                format!("making the kickstart template: '{line}' is not a command for disks"),
            )
            .hint(format!("known are {}", KNOWN.join(", ")))
            .into());
        }
    }
    Ok(own.trim().to_owned())
}

fn odd(option: &str, text: &str) -> anyhow::Error {
    let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    Failure::new(
        ExitCode::Recipe,
        format!("making the kickstart template: '{shown}' cannot be used as `{option}`"),
    )
    .into()
}
