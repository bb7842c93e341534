//! Parses package names of the form `name-epoch:version-release.arch`.

/// The parts of a NEVRA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nevra<'a> {
    /// Name.
    pub name: &'a str,
    /// Epoch; `0` if it is not written.
    pub epoch: &'a str,
    /// Version.
    pub version: &'a str,
    /// Release.
    pub release: &'a str,
    /// Architecture.
    pub arch: &'a str,
}

impl<'a> Nevra<'a> {
    /// Reads `name-[epoch:]version-release.arch`; `None` for anything else.
    #[must_use]
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let parts = Self::lenient(text);
        let good = [parts.name, parts.version, parts.release, parts.arch]
            .iter()
            .all(|part| !part.is_empty());
        (good && !parts.epoch.is_empty() && parts.epoch.bytes().all(|b| b.is_ascii_digit()))
            .then_some(parts)
    }

    /// Parses any text. Missing parts are empty: a manifest may come from another tool.
    #[must_use]
    pub(crate) fn lenient(text: &'a str) -> Self {
        let (rest, arch) = text.rsplit_once('.').unwrap_or((text, ""));
        let (rest, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
        let (name, version) = rest.rsplit_once('-').unwrap_or((rest, ""));
        let (epoch, version) = version.split_once(':').unwrap_or(("0", version));
        Self { name, epoch, version, release, arch }
    }

    /// `version-release`, without the epoch.
    #[must_use]
    pub(crate) fn version_release(&self) -> String {
        if self.release.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}-{}", self.version, self.release)
        }
    }

    /// `version-release`, with the epoch in front if it is not 0.
    #[must_use]
    pub(crate) fn evr(&self) -> String {
        if self.epoch == "0" {
            self.version_release()
        } else {
            format!("{}:{}", self.epoch, self.version_release())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_nevra_is_parsed() {
        let parts = Nevra::lenient("python3-foo-bar-1:2.0-3.el9.noarch");
        assert_eq!(
            (parts.name, parts.epoch, parts.version, parts.release, parts.arch),
            ("python3-foo-bar", "1", "2.0", "3.el9", "noarch")
        );
        assert_eq!(parts.evr(), "1:2.0-3.el9");
        assert_eq!(Nevra::parse("python3-foo-bar-1:2.0-3.el9.noarch"), Some(parts));
        for odd in ["", "odd", "a-1.noarch", "-1-1.noarch", "a-x:1-1.noarch", "a-:1-1.noarch"] {
            assert_eq!(Nevra::parse(odd), None, "{odd}");
        }
        assert_eq!((Nevra::lenient("").name, Nevra::lenient("odd").name), ("", "odd"));
    }
}
