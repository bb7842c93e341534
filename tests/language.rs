//! Plain English: phrases that operators stumble over do not come back. The list has only phrases
//! that are never right in this project, so that the test has no false alarms.

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
                let name = file.strip_prefix(top).expect("a file of the project").display();
                wrong.push(format!(
                    "{name}:{}: write \"{plain}\" instead of \"{phrase}\"",
                    number + 1
                ));
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

/// Comments and documents have at most 100 columns. Tables and command blocks may be wider.
#[test]
fn prose_has_at_most_a_hundred_columns() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wide = Vec::new();
    for file in texts(top) {
        let text = std::fs::read_to_string(&file).expect("a text file");
        let is_document = file.extension().is_some_and(|ending| ending == "md");
        let mut in_block = false;
        for (number, line) in text.lines().enumerate() {
            in_block ^= line.starts_with("```");
            if line.chars().count() <= 100 {
                continue;
            }
            let comment = line.trim_start().starts_with("//")
                && !line.contains("://")
                && !line.trim_start().starts_with("//! |");
            let paragraph = is_document
                && !in_block
                && !line.starts_with("    ")
                && !line.starts_with('|')
                && !line.contains("://");
            if comment || paragraph {
                wide.push(format!(
                    "{}:{}",
                    file.strip_prefix(top).expect("a file of the project").display(),
                    number + 1
                ));
            }
        }
    }
    assert!(wide.is_empty(), "wider than 100 columns:\n{}", wide.join("\n"));
}
