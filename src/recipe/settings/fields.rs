//! Checks single fields of the settings file (texts, lists, numbers, paths and URLs) and reports
//! the position of errors.

use super::sources::Sources;
use super::texts::{Text, Texts};
use super::values::{absolute, checked_dbpath, checked_url};
use crate::naming;
use crate::recipe::diagnostic::{Collector, SyntaxError, quoted, span_of};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The context for checking the values of one settings file.
pub(super) struct Check<'a> {
    pub errors: Collector<'a>,
    pub source: &'a str,
    pub sources: &'a Sources,
    /// The variables, and the names of those that the settings use.
    pub variables: BTreeMap<String, String>,
    pub used: BTreeSet<String>,
    /// Statements of a blueprint, each with its line of the joined text.
    pub statements: Vec<(String, usize)>,
}

impl Check<'_> {
    pub(super) fn fail(&mut self, range: Range<usize>, message: impl Into<String>, hint: &str) {
        if self.errors.is_full() {
            return self.errors.stop();
        }
        let error = SyntaxError::new(span_of(self.source, range), message);
        self.errors.push(if hint.is_empty() { error } else { error.hint(hint) });
    }

    /// The directory where relative paths at a place begin.
    pub(super) fn base(&self, range: &Range<usize>) -> &Path {
        self.sources.directory(range.start)
    }

    /// The file and line of a range. Messages use it for errors that are found after the check.
    pub(super) fn place(&self, range: Range<usize>) -> String {
        self.errors.place(span_of(self.source, range).line)
    }

    /// A text that must not be empty or contain control characters.
    pub(super) fn plain(&mut self, text: Text, key: &str) -> Option<String> {
        self.matching(text, key, "text of one line", |c| !c.is_control())
    }

    /// A text that becomes part of a file name.
    /// An image's name or version.
    pub(super) fn image_word(&mut self, text: Text, key: &str) -> Option<String> {
        let text = text?;
        match naming::check_word(text.get_ref()) {
            Ok(()) => Some(text.into_inner()),
            Err(why) => {
                let message = format!("{} cannot be the `{key}`", quoted(text.get_ref()));
                self.fail(text.span(), message, &why);
                None
            }
        }
    }

    pub(super) fn file_name(&mut self, text: Text, key: &str) -> Option<String> {
        let span = text.as_ref().map(Spanned::span);
        let text = self.matching(text, key, "text without blanks and slashes", |c| {
            !c.is_control() && !c.is_whitespace() && c != '/'
        })?;
        if text.starts_with(['.', '-']) {
            self.fail(
                span.unwrap_or_default(),
                format!("`{key}` is part of a file name and cannot begin with a dot or dash"),
                "",
            );
            return None;
        }
        if text.contains('$') {
            let message = format!(
                "{} contains a variable, but variables are not expanded in `{key}`",
                quoted(&text)
            );
            self.fail(span.unwrap_or_default(), message, "write the value itself");
            return None;
        }
        Some(text)
    }

    pub(super) fn matching(
        &mut self,
        text: Text,
        key: &str,
        made_of: &str,
        good: impl Fn(char) -> bool,
    ) -> Option<String> {
        let text = text?;
        if text.get_ref().is_empty() || !text.get_ref().chars().all(good) {
            self.fail(
                text.span(),
                format!("{} cannot be the `{key}`", quoted(text.get_ref())),
                &format!("`{key}` can contain {made_of}"),
            );
            return None;
        }
        Some(text.into_inner())
    }

    /// A list of names or globs; each becomes one word of a command line.
    pub(super) fn names(&mut self, texts: Texts) -> Vec<String> {
        let mut names = Vec::new();
        for text in texts.into_iter().flatten() {
            let name = text.get_ref();
            if name.is_empty()
                || name.starts_with('-')
                || name.chars().any(|c| c.is_control() || c.is_whitespace() || c == ',')
            {
                self.fail(
                    text.span(),
                    format!("{} is not a name", quoted(name)),
                    "write every name as a separate string",
                );
            } else {
                names.push(text.into_inner());
            }
        }
        names
    }

    pub(super) fn number(
        &mut self,
        number: Option<Spanned<i64>>,
        key: &str,
        least: u32,
        most: u32,
    ) -> Option<u32> {
        let number = number?;
        match u32::try_from(*number.get_ref()) {
            Ok(value) if (least..=most).contains(&value) => Some(value),
            _ => {
                self.fail(
                    number.span(),
                    format!("`{key}` must be a number from {least} to {most}"),
                    "",
                );
                None
            }
        }
    }

    /// A path on the build host, made absolute.
    pub(super) fn path(&mut self, text: Text) -> Option<PathBuf> {
        let text = text?;
        if text.get_ref().is_empty()
            || text.get_ref().contains('\0')
            || text.get_ref().contains("://")
        {
            let hint =
                if text.get_ref().contains("://") { "this must be a path, not a URL" } else { "" };
            self.fail(text.span(), format!("{} is not a path", quoted(text.get_ref())), hint);
            return None;
        }
        let path = absolute(text.get_ref(), self.base(&text.span()));
        if path.to_str().is_none() {
            self.fail(
                text.span(),
                "the directory of the settings file has a name that is not UTF-8",
                "write an absolute path",
            );
            return None;
        }
        Some(path)
    }

    /// An absolute path inside the image, without `..`.
    pub(super) fn image_path(&mut self, text: Text, key: &str) -> Option<String> {
        let text = text?;
        let path = text.get_ref();
        if !path.starts_with('/')
            || path.ends_with('/')
            || path.contains(char::is_control)
            || path.split('/').any(|part| part == "..")
        {
            self.fail(
                text.span(),
                format!(
                    "`{key}` must be an absolute path inside the image, without `..` and without \
                     a slash at the end"
                ),
                "",
            );
            return None;
        }
        Some(text.into_inner())
    }

    /// The directory of the rpmdb.
    pub(super) fn dbpath(&mut self, text: Text) -> Option<String> {
        let text = text?;
        if let Err(message) = checked_dbpath(text.get_ref()) {
            self.fail(text.span(), message, "");
            return None;
        }
        Some(text.into_inner())
    }

    /// A list of locales; it becomes a line in rpm's macros.
    pub(super) fn languages(&mut self, texts: Vec<Spanned<String>>) -> Vec<String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "_.@-*".contains(c);
        let locale =
            |text| self.matching(Some(text), "languages", "locales, such as \"de_DE\"", good);
        texts.into_iter().filter_map(locale).collect()
    }

    pub(super) fn url(&mut self, text: Text) -> Option<String> {
        let text = text?;
        match checked_url(text.get_ref(), self.base(&text.span())) {
            Ok(url) => Some(url),
            Err(message) => {
                self.fail(text.span(), message, "");
                None
            }
        }
    }

    /// A URL, an image reference, or a path if it begins with `./` or `../`.
    pub(super) fn reference(&mut self, text: Text, key: &str) -> Option<String> {
        let text = text?;
        if text.get_ref().starts_with("./") || text.get_ref().starts_with("../") {
            return self.path(Some(text)).and_then(|path| path.to_str().map(str::to_owned));
        }
        if text.get_ref().contains("://")
            && let Err(message) = checked_url(text.get_ref(), self.base(&text.span()))
        {
            self.fail(text.span(), message, "");
            return None;
        }
        self.plain(Some(text), key)
    }
}
