//! Standard identifiers: package URLs and UUIDs. None of them depends on random numbers or the
//! clock.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use crate::nevra::Nevra;
use crate::percent::{UNRESERVED, encoded};
use crate::set::manifest::{Manifest, Package};

/// `pkg:rpm/DISTRIBUTION/NAME@VERSION-RELEASE?arch=…`; see
/// <https://github.com/package-url/purl-spec>.
///
/// `os_release` describes the distribution; the namespace is its `ID`, as scanners expect.
#[must_use]
pub(super) fn package_url(
    nevra: &str,
    source: &str,
    os_release: &BTreeMap<String, String>,
) -> String {
    let parts = Nevra::lenient(nevra);
    let id = os_release.get("ID").map_or("", String::as_str).to_ascii_lowercase();
    let mut url = String::from("pkg:rpm/");
    if !id.is_empty() {
        url.push_str(&encoded(&id, UNRESERVED));
        url.push('/');
    }
    url.push_str(&encoded(parts.name, UNRESERVED));
    url.push('@');
    url.push_str(&encoded(parts.version_release(), UNRESERVED));
    // Qualifiers are sorted by name.
    let mut qualifiers = vec![("arch", parts.arch.to_owned())];
    if let (false, Some(version)) = (id.is_empty(), os_release.get("VERSION_ID")) {
        qualifiers.push(("distro", format!("{id}-{version}")));
    }
    if parts.epoch != "0" {
        qualifiers.push(("epoch", parts.epoch.to_owned()));
    }
    if source.ends_with(".rpm") {
        qualifiers.push(("upstream", source.to_owned()));
    }
    let mut before = '?';
    for (key, value) in qualifiers.iter().filter(|(_, value)| !value.is_empty()) {
        url.push(before);
        url.push_str(key);
        url.push('=');
        url.push_str(&encoded(value, UNRESERVED));
        before = '&';
    }
    url
}

pub(super) fn url_of(package: &Package, manifest: &Manifest) -> String {
    package_url(&package.nevra, &package.source, &manifest.os_release)
}

/// A UUID of version 8 (RFC 9562, custom), derived from the artifact's properties.
pub(super) fn uuid(manifest: &Manifest, purpose: &str) -> String {
    let mut digest = Sha256::new();
    for part in [purpose, &manifest.name, &manifest.version] {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    for tarball in &manifest.tarballs {
        digest.update(tarball.sha256.as_bytes());
        digest.update([0]);
    }
    let mut text = hex::encode(digest.finalize());
    text.truncate(32);
    text.replace_range(12..13, "8");
    text.replace_range(16..17, "8");
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(id: &str, version: &str) -> BTreeMap<String, String> {
        [("ID", id), ("VERSION_ID", version)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn package_urls_follow_the_specification() {
        assert_eq!(
            package_url(
                "curl-0:7.50.3-1.fc25.i386",
                "curl-7.50.3-1.fc25.src.rpm",
                &release("Fedora", "25")
            ),
            "pkg:rpm/fedora/curl@7.50.3-1.fc25?arch=i386&distro=fedora-25&upstream=curl-7.50.3-1.\
             fc25.src.rpm"
        );
        assert_eq!(
            package_url("gcc-c++-2:12~rc1-1^git.x86_64", "(none)", &release("centos", "9")),
            "pkg:rpm/centos/gcc-c%2B%2B@12~rc1-1%5Egit?arch=x86_64&distro=centos-9&epoch=2"
        );
        assert_eq!(
            package_url("a-0:1-1.noarch", "", &BTreeMap::new()),
            "pkg:rpm/a@1-1?arch=noarch"
        );
    }
}
