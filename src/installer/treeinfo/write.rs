//! Writes a `.treeinfo` as productmd does: sections and keys sorted, and `[general]` for programs
//! that read the old form.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Checksum, TreeInfo};

impl TreeInfo {
    /// The text of the `.treeinfo`; [`TreeInfo::parse`] gives the same tree again.
    #[must_use]
    pub fn render(&self) -> String {
        let mut sections: BTreeMap<String, BTreeMap<&str, String>> = BTreeMap::new();
        let mut set = |section: &str, key, value: &str| {
            sections.entry(section.to_owned()).or_default().insert(key, value.to_owned());
        };
        let timestamp = self.timestamp.unwrap_or(0).to_string();
        let mut platforms: Vec<&str> = self.images.keys().map(String::as_str).collect();
        if !platforms.contains(&self.arch.as_str()) {
            platforms.push(&self.arch);
            platforms.sort_unstable();
        }
        let platforms = platforms.join(",");
        set("header", "type", "productmd.treeinfo");
        set("header", "version", "1.2");
        set("release", "name", &self.release.name);
        set("release", "short", self.release.short.as_deref().unwrap_or(&self.release.name));
        set("release", "version", &self.release.version);
        set("tree", "arch", &self.arch);
        set("tree", "build_timestamp", &timestamp);
        set("tree", "platforms", &platforms);
        set("general", "family", &self.release.name);
        set("general", "version", &self.release.version);
        set("general", "name", &self.release.to_string());
        set("general", "arch", &self.arch);
        set("general", "platforms", &platforms);
        set("general", "timestamp", &timestamp);
        for (platform, images) in &self.images {
            for (name, path) in images {
                set(&format!("images-{platform}"), name, path.as_str());
            }
        }
        if let Some(path) = &self.stage2 {
            set("stage2", "mainimage", path.as_str());
        }
        for (path, checksum) in &self.checksums {
            if let Checksum::Sha256(digest) = checksum {
                set("checksums", path, &format!("sha256:{digest}"));
            }
        }
        let uids: Vec<&str> = self.variants.iter().map(|variant| variant.uid.as_str()).collect();
        // An empty list is one variant without a name to productmd.
        if let Some(first) = self.variants.first() {
            set("tree", "variants", &uids.join(","));
            set("general", "variant", &first.uid);
            set("general", "packagedir", first.packages.as_deref().unwrap_or_default());
            set("general", "repository", first.repository.as_deref().unwrap_or_default());
        }
        for variant in &self.variants {
            let section = format!("variant-{}", variant.uid);
            set(&section, "id", variant.uid.rsplit('-').next().unwrap_or(&variant.uid));
            set(&section, "uid", &variant.uid);
            set(&section, "name", &variant.name);
            set(&section, "type", &variant.kind);
            for (key, path) in
                [("packages", &variant.packages), ("repository", &variant.repository)]
            {
                if let Some(path) = path {
                    set(&section, key, path);
                }
            }
        }
        let mut text = String::new();
        for (section, entries) in &sections {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[{section}]");
            for (key, value) in entries {
                let _ = writeln!(text, "{key} = {value}");
            }
            text.push('\n');
        }
        text.truncate(text.trim_end().len() + 1);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let tree =
            TreeInfo::parse(include_str!("../../../fixtures/treeinfo/centos-stream-9.treeinfo"))
                .expect("a treeinfo");
        let text = tree.render();
        assert_eq!(TreeInfo::parse(&text).expect("our own"), tree, "{text}");
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"));
    }
}
