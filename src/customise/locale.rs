//! `locale`: locale.conf(5) and vconsole.conf(5).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::image::Image;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::customizations::Locale;
use crate::sandbox::Kind;

/// Where keymaps are: kbd of EL, then Debian's console-data and kbd.
const KEYMAPS: [&str; 3] = ["/usr/lib/kbd/keymaps", "/usr/share/kbd/keymaps", "/usr/share/keymaps"];
const LOCALES: &str = "/usr/lib/locale";
/// Locales that glibc has built in.
const BUILT_IN: [&str; 2] = ["C", "POSIX"];

pub(super) fn apply(image: &Image<'_>, settings: &Locale) -> Result<()> {
    for language in &settings.languages {
        if !has_language(image, language)? {
            let short = language.split(['_', '.', '@']).next().unwrap_or(language);
            let message =
                format!("applying customizations.locale: the image has no locale `{language}`");
            return Err(Failure::new(ExitCode::Recipe, message)
                .hint(format!("add glibc-langpack-{short} to the recipe"))
                .into());
        }
    }
    if let Some(language) = settings.languages.first() {
        set(image, "/etc/locale.conf", "LANG", language)?;
    }
    let Some(keyboard) = &settings.keyboard else { return Ok(()) };
    let (mut any, mut known) = (false, false);
    for directory in KEYMAPS {
        any |= image.has_directory(directory)?;
        known |= has_keymap(image, Path::new(directory), keyboard)?;
    }
    if !any {
        // As in Debian, where another tool makes keymaps of it.
        image.report().warn(&format!(
            "the image has no keymaps: `{keyboard}` in /etc/vconsole.conf has no effect without \
             kbd"
        ));
    } else if !known {
        let message =
            format!("applying customizations.locale: the image has no keymap `{keyboard}`");
        return Err(Failure::new(ExitCode::Recipe, message)
            .hint("`localectl list-keymaps` lists its keymaps")
            .into());
    }
    set(image, "/etc/vconsole.conf", "KEYMAP", keyboard)
}

/// Sets one variable in a file of NAME=VALUE lines; the others are kept.
fn set(image: &Image<'_>, path: &str, variable: &str, value: &str) -> Result<()> {
    let before = image.read(path)?;
    let kept = before
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.trim_start().starts_with(&format!("{variable}=")));
    let text: String = std::iter::once(format!("{variable}={value}").as_str())
        .chain(kept)
        .flat_map(|line| [line, "\n"])
        .collect();
    if before.is_some() {
        image.rewrite(path, &text)
    } else {
        image.write(path, text.as_bytes(), 0o644)
    }
}

/// As glibc looks for it: the codeset in small letters and digits only.
fn normalised(language: &str) -> String {
    let (rest, modifier) = language
        .split_once('@')
        .map_or((language, String::new()), |(rest, modifier)| (rest, format!("@{modifier}")));
    match rest.split_once('.') {
        Some((name, codeset)) => {
            let codeset: String = codeset
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_lowercase())
                .collect();
            format!("{name}.{codeset}{modifier}")
        }
        None => language.to_owned(),
    }
}

fn has_language(image: &Image<'_>, language: &str) -> Result<bool> {
    if BUILT_IN.contains(&language) || normalised(language) == "C.utf8" {
        return Ok(true);
    }
    let normal = normalised(language);
    for name in [language, &normal] {
        if image.has_directory(&format!("{LOCALES}/{name}"))? {
            return Ok(true);
        }
    }
    in_archive(image, &normal)
}

/// Whether the archive of locales has the name, which is in it between zero bytes.
fn in_archive(image: &Image<'_>, name: &str) -> Result<bool> {
    let Ok(mut file) = image.root().open_file(Path::new("/usr/lib/locale/locale-archive")) else {
        return Ok(false);
    };
    let wanted: Vec<u8> = [b"\0", name.as_bytes(), b"\0"].concat();
    let mut window: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(false);
        }
        window.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if window.windows(wanted.len()).any(|found| found == wanted) {
            return Ok(true);
        }
        window.drain(..window.len().saturating_sub(wanted.len()));
    }
}

fn has_keymap(image: &Image<'_>, directory: &Path, keyboard: &str) -> Result<bool> {
    for name in image.root().names(directory)? {
        let path: PathBuf = directory.join(&name);
        let file =
            name.to_str().and_then(|name| name.split_once(".map")).is_some_and(|(stem, rest)| {
                stem == keyboard && matches!(rest, "" | ".gz" | ".xz" | ".zst")
            });
        if file
            || (image.root().kind(&path)? == Some(Kind::Directory)
                && has_keymap(image, &path, keyboard)?)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codeset_is_spelled_as_glibc_does() {
        assert_eq!(normalised("de_DE.UTF-8"), "de_DE.utf8");
        assert_eq!(normalised("de_DE.ISO-8859-15@euro"), "de_DE.iso885915@euro");
        assert_eq!(normalised("de_DE"), "de_DE");
    }
}
