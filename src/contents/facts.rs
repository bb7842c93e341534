//! Files of an image that others read.

use std::collections::BTreeMap;

use super::list::Contents;

impl Contents {
    /// The text of one of the small files that are kept, symbolic links followed.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        let member = self.carrier(self.resolve(path)?);
        self.files.get(&*member.path).map(Vec::as_slice)
    }

    /// All of the small files that are kept, by path.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.files
    }

    /// The image's os-release, unquoted; see os-release(5).
    #[must_use]
    pub fn os_release(&self) -> BTreeMap<String, String> {
        let text = self
            .file("etc/os-release")
            .or_else(|| self.file("usr/lib/os-release"))
            .unwrap_or_default();
        String::from_utf8_lossy(text)
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .filter(|(key, _)| !key.starts_with('#'))
            .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
            .collect()
    }

    /// Names by number of a passwd or group file of the image.
    #[must_use]
    pub fn accounts(&self, path: &str) -> BTreeMap<u64, String> {
        let text = self.file(path).unwrap_or_default();
        let mut names = BTreeMap::new();
        for line in String::from_utf8_lossy(text).lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(_), Some(Ok(number))) =
                (fields.next(), fields.next(), fields.next().map(str::parse::<u64>))
            {
                // getpwuid() answers with the first.
                names.entry(number).or_insert_with(|| name.to_owned());
            }
        }
        names
    }

    /// Versions of the kernels that Anaconda would find: members whose names contain
    /// `boot/vmlinuz-` but not `-rescue-`.
    #[must_use]
    pub fn kernels(&self) -> Vec<String> {
        let mut versions: Vec<String> = self
            .members
            .iter()
            .filter_map(|member| member.path.strip_prefix(b"boot/vmlinuz-"))
            .map(|version| String::from_utf8_lossy(version).into_owned())
            .filter(|version| {
                !version.contains("-rescue-")
                    && !version.starts_with("0-rescue")
                    && !version.contains('/')
            })
            .collect();
        // As Anaconda sorts them: by `packaging.version` in EL 9, by rpm's comparison in EL 10 and
        // Fedora.
        versions.sort_by(|a, b| rpm_version::rpm_evr_compare(a, b));
        versions.dedup();
        versions
    }
}
