//! `kernel.append`: arguments where the release reads them.
//!
//! `/etc/default/grub` for a boot loader that makes its menu itself, `/etc/kernel/cmdline` and the
//! entries of the Boot Loader Specification for kernel-install. The second is only changed, never
//! made: a kernel-install that finds it takes nothing else, and every later kernel of a node would
//! lose its root file system. See
//! <https://uapi-group.org/specifications/specs/boot_loader_specification/>.

use std::path::Path;

use super::image::Image;
use crate::error::{ExitCode, Failure, Result};

const GRUB: &str = "/etc/default/grub";
const CMDLINE: [&str; 2] = ["/etc/kernel/cmdline", "/usr/lib/kernel/cmdline"];
const ENTRIES: &str = "/boot/loader/entries";

pub(super) fn apply(image: &Image<'_>, arguments: Option<&str>) -> Result<()> {
    let Some(arguments) = arguments else { return Ok(()) };
    if !has_kernel(image)? {
        let message = "applying customizations.kernel: the image has no kernel";
        return Err(Failure::new(ExitCode::Transaction, message)
            .hint("add kernel-core to the recipe")
            .into());
    }
    let grub = image.read(GRUB)?;
    match &grub {
        Some(text) => image.rewrite(GRUB, &with_grub(text, arguments))?,
        None => image.write(GRUB, with_grub("", arguments).as_bytes(), 0o644)?,
    }
    for path in CMDLINE {
        if let Some(text) = image.read(path)? {
            image.rewrite(path, &format!("{}\n", appended(text.trim_end(), arguments)))?;
        }
    }
    for name in image.root().names(Path::new(ENTRIES))? {
        let Some(name) = name.to_str().filter(|name| name.ends_with(".conf")) else { continue };
        let path = format!("{ENTRIES}/{name}");
        if let Some(text) = image.read(&path)? {
            image.rewrite(&path, &with_options(&text, arguments))?;
        }
    }
    Ok(())
}

fn has_kernel(image: &Image<'_>) -> Result<bool> {
    if image
        .root()
        .names(Path::new("boot"))?
        .iter()
        .any(|name| name.to_string_lossy().starts_with("vmlinuz-"))
    {
        return Ok(true);
    }
    for version in image.root().names(Path::new("usr/lib/modules"))? {
        if image.has_file(&format!("/usr/lib/modules/{}/vmlinuz", version.to_string_lossy()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Both, with one blank between them; arguments that are there already are not repeated.
fn appended(before: &str, arguments: &str) -> String {
    let known: Vec<&str> = before.split_whitespace().collect();
    let new: Vec<&str> =
        arguments.split(' ').filter(|argument| !known.contains(argument)).collect();
    [before, &new.join(" ")]
        .iter()
        .filter(|text| !text.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

/// With the arguments at the end of `GRUB_CMDLINE_LINUX`, which is added if it is missing.
fn with_grub(text: &str, arguments: &str) -> String {
    const VARIABLE: &str = "GRUB_CMDLINE_LINUX=";
    let mut found = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let Some(value) = line.strip_prefix(VARIABLE) else {
            lines.push(line.to_owned());
            continue;
        };
        found = true;
        let bare = value.trim().trim_matches(['"', '\'']);
        lines.push(format!("{VARIABLE}\"{}\"", appended(bare, arguments)));
    }
    if !found {
        lines.push(format!("{VARIABLE}\"{arguments}\""));
    }
    lines.join("\n") + "\n"
}

/// With the arguments in the `options` of a boot entry.
fn with_options(text: &str, arguments: &str) -> String {
    let mut found = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match line.split_once(char::is_whitespace) {
            Some(("options", value)) if !found => {
                found = true;
                lines.push(format!("options {}", appended(value.trim(), arguments)));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    if !found {
        lines.push(format!("options {arguments}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_appended_once() {
        assert_eq!(with_grub("", "a=1 b"), "GRUB_CMDLINE_LINUX=\"a=1 b\"\n");
        assert_eq!(
            with_grub(
                "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=\"quiet \
                 b\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"x\"\n",
                "a=1 b"
            ),
            "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=\"quiet b \
             a=1\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"x\"\n"
        );
        assert_eq!(
            with_options("title x\nlinux /vmlinuz\noptions root=UUID=1 ro\n", "a=1"),
            "title x\nlinux /vmlinuz\noptions root=UUID=1 ro a=1\n"
        );
        assert_eq!(with_options("title x\n", "a=1"), "title x\noptions a=1\n");
    }
}
