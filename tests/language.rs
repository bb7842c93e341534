//! Plain English: phrases that operators stumble over do not come back. The list has only phrases
//! that are never right in this project, so that the test has no false alarms. Lines of code and of
//! prose have a greatest length.

use std::path::{Path, PathBuf};

/// A phrase, and the plain wording.
const PHRASES: &[(&str, &str)] = &[
    ("folder", "directory"),
    ("folders", "directories"),
    ("anew", "again"),
    ("meanwhile", "in the meantime"),
    ("to be had", "available"),
    ("shall", "must or will"),
    ("is but", "is only"),
    ("is no file", "is not a file"),
    ("is no directory", "is not a directory"),
    ("is no name", "is not a name"),
    ("lent ids", "subordinate ids"),
    ("kept in mind", "recorded"),
    ("takes root", "requires root"),
    ("stands already", "exists"),
];

/// The greatest number of columns of a line.
const COLUMNS: usize = 100;

/// The directories and files that are checked.
const CHECKED: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "baremetal.toml",
    "baremetal.yum",
    "benches",
    "crates",
    "docs",
    "fixtures",
    "fuzz",
    "recipes",
    "src",
    "tests",
];

/// The sources and documents that are checked.
fn texts(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in CHECKED {
        for entry in walkdir::WalkDir::new(top.join(place)).into_iter().filter_entry(|entry| {
            // This file has the phrases.
            !["target", "corpus", "language.rs"].iter().any(|name| entry.file_name() == *name)
        }) {
            let path = entry.expect("a readable tree").into_path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if ["rs", "py", "md", "toml", "yum", "html"].contains(&ending) {
                found.push(path);
            }
        }
    }
    found
}

/// Whether the text has the phrase as whole words. "There is no file" is plain English.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    text.match_indices(phrase).any(|(at, _)| {
        let (before, after) =
            (text[..at].chars().next_back(), text[at + phrase.len()..].chars().next());
        !is_word(before) && !is_word(after) && !text[..at].ends_with("there ")
    })
}

#[test]
fn texts_and_names_use_plain_english() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = texts(top);
    assert!(files.len() > 150, "only {} files were found", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a text file").to_lowercase();
        for (number, line) in text.lines().enumerate() {
            for (phrase, plain) in PHRASES.iter().filter(|(phrase, _)| has_phrase(line, phrase)) {
                let place = place(top, &file, number);
                wrong.push(format!("{place}: write \"{plain}\" instead of \"{phrase}\""));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn phrases_are_found_only_as_whole_words() {
    assert!(
        has_phrase("this is no file, but", "is no file")
            && !has_phrase("there is no file", "is no file")
    );
    assert!(
        !has_phrase("the folders_of", "folders")
            && !has_phrase("a canewood", "anew")
            && !has_phrase("sub-folder", "folder")
    );
}

/// Paragraphs of documents have at most 100 columns. Tables and command blocks may be wider.
#[test]
fn prose_has_at_most_a_hundred_columns() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wide = Vec::new();
    for file in texts(top) {
        if file.extension().is_none_or(|ending| ending != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a text file");
        let mut in_block = false;
        for (number, line) in text.lines().enumerate() {
            in_block ^= line.starts_with("```");
            let is_paragraph = !in_block
                && !line.starts_with("    ")
                && !line.starts_with('|')
                && !line.contains("://");
            if is_paragraph && line.chars().count() > COLUMNS {
                wide.push(place(top, &file, number));
            }
        }
    }
    assert!(wide.is_empty(), "wider than {COLUMNS} columns:\n{}", wide.join("\n"));
}

#[test]
fn code_has_at_most_a_hundred_columns() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut wide) = (0, Vec::new());
    for entry in walkdir::WalkDir::new(top).into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        let made = ["target", "corpus", "artifacts"].contains(&&*name);
        entry.depth() == 0 || !(made || name.starts_with('.'))
    }) {
        let entry = entry.expect("a readable tree");
        if !entry.file_type().is_file() {
            continue;
        }
        let Some(text) = code(entry.path()) else { continue };
        files += 1;
        for (number, line) in text.lines().enumerate() {
            // A word that is too long by itself cannot be broken.
            let fits = line.split_whitespace().all(|word| word.chars().count() < COLUMNS - 10);
            if fits && line.chars().count() > COLUMNS {
                wide.push(place(top, entry.path(), number));
            }
        }
    }
    assert!(files > 600, "only {files} files were found");
    assert!(wide.is_empty(), "wider than {COLUMNS} columns:\n{}", wide.join("\n"));
}

/// The text of a file of Rust or Python, or of a script of another interpreter.
fn code(path: &Path) -> Option<String> {
    let known =
        path.extension().is_some_and(|ending| ending == "rs" || ending == "py" || ending == "sh");
    let text = String::from_utf8(std::fs::read(path).expect("a readable file")).ok()?;
    (known || text.starts_with("#!")).then_some(text)
}

fn place(top: &Path, file: &Path, number: usize) -> String {
    let name = file.strip_prefix(top).expect("a file of the project");
    format!("{}:{}", name.display(), number + 1)
}
