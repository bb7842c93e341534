//! `repositories`: files of `/etc/yum.repos.d`, for the node's own package manager.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::image::Image;
use crate::error::Result;
use crate::recipe::customizations::ImageRepository;

const DIRECTORY: &str = "/etc/yum.repos.d";
const KEYS: &str = "/etc/pki/rpm-gpg";

pub(super) fn apply(image: &Image<'_>, repositories: &[ImageRepository]) -> Result<()> {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for repository in repositories {
        let mut urls = Vec::new();
        for (index, key) in repository.gpgkeys.iter().enumerate() {
            if key.contains("-----BEGIN") {
                let path = format!("{KEYS}/RPM-GPG-KEY-{}-{index}", repository.id);
                image.write(&path, format!("{key}\n").as_bytes(), 0o644)?;
                urls.push(format!("file://{path}"));
            } else {
                urls.push(key.clone());
            }
        }
        files.entry(&repository.filename).or_default().push_str(&section(repository, &urls));
    }
    files.iter().try_for_each(|(name, text)| {
        image.write(&format!("{DIRECTORY}/{name}"), text.as_bytes(), 0o644)
    })
}

fn section(repository: &ImageRepository, keys: &[String]) -> String {
    let mut text = format!("[{}]\n", repository.id);
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{key}={value}");
        }
    };
    let list = |values: &[String]| (!values.is_empty()).then(|| values.join("\n    "));
    let flag = |flag: Option<bool>| flag.map(|flag| u8::from(flag).to_string());
    put("name", Some(repository.name.clone().unwrap_or_else(|| repository.id.clone())));
    put("baseurl", list(&repository.baseurls));
    put("mirrorlist", repository.mirrorlist.clone());
    put("metalink", repository.metalink.clone());
    put("enabled", flag(repository.enabled.or(Some(true))));
    put("gpgcheck", flag(repository.gpgcheck));
    put("repo_gpgcheck", flag(repository.repo_gpgcheck));
    put("gpgkey", list(keys));
    put("priority", repository.priority.map(|priority| priority.to_string()));
    put("sslverify", flag(repository.ssl_verify));
    put("module_hotfixes", flag(repository.module_hotfixes));
    text
}
