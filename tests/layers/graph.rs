//! Which source file uses which, as far as their texts show it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The path of a module or of an item, such as `["packages", "cache"]`.
type Names = Vec<String>;

/// A source file: a module, its items and its imports.
struct Module {
    file: PathBuf,
    /// The code outside of `use` statements, without comments and without the tests at its end.
    body: String,
    /// The names that the file defines itself.
    defined: BTreeSet<String>,
    imports: Vec<Import>,
}

/// One name of a `use` statement.
struct Import {
    /// Only the parent or an outer module gets the name from here.
    reexported: bool,
    name: String,
    path: Names,
}

/// The modules of a source tree by their paths.
struct Tree(BTreeMap<Names, Module>);

impl Tree {
    fn read(root: &Path) -> Self {
        let module = |file: PathBuf| {
            let below = file.strip_prefix(root).expect("a file of the tree").with_extension("");
            let mut names: Names =
                below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            if names.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
                names.pop();
            }
            (names, Module::read(file))
        };
        Self(super::sources(root).into_iter().map(module).collect())
    }

    /// The module in which a path of the module `from` ends. Re-exports are followed.
    fn resolve(&self, from: &[String], path: &[String]) -> Option<Names> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.to_vec(), &path[1..]),
            "super" => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                (from[..from.len().saturating_sub(ups)].to_vec(), &path[ups..])
            }
            // The first name is a child module, or it belongs to another crate.
            name => {
                let child = [from, &[name.to_owned()]].concat();
                self.0.contains_key(&child).then_some(())?;
                (child, &path[1..])
            }
        };
        while let Some((name, after)) = rest.split_first() {
            let child = [&at[..], std::slice::from_ref(name)].concat();
            let module = self.0.get(&at)?;
            if self.0.contains_key(&child) {
                at = child;
            } else if !module.defined.contains(name)
                && let Some(import) = module.imports.iter().find(|import| import.name == *name)
            {
                return self.resolve(&at, &import.path);
            } else {
                break;
            }
            rest = after;
        }
        self.0.contains_key(&at).then_some(at)
    }

    /// The modules that a module uses. A re-export is not a use, but the use of its name is.
    fn uses(&self, own: &[String], module: &Module) -> BTreeSet<Names> {
        let paths = self.paths_used(own, module).into_iter();
        paths.filter_map(|path| self.resolve(own, &path)).filter(|target| target != own).collect()
    }

    /// The paths that a module uses, as they are written.
    fn paths_used(&self, own: &[String], module: &Module) -> Vec<Names> {
        let imported = module
            .imports
            .iter()
            .filter(|import| !import.reexported || has_word(&module.body, &import.name))
            .map(|import| import.path.clone());
        let children = self.0.keys().filter(|path| path.len() == own.len() + 1);
        let starts = children
            .filter(|path| path.starts_with(own))
            .filter_map(|path| path.last().map(|name| format!("{name}::")))
            .chain(["super::".to_owned(), "crate::".to_owned(), "self::".to_owned()]);
        imported
            .chain(starts.flat_map(|start| paths(&module.body, &start)).map(|(path, _)| path))
            .collect()
    }

    fn graph(&self) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
        let file = |names: Names| self.0[&names].file.clone();
        self.0
            .iter()
            .map(|(own, module)| {
                (module.file.clone(), self.uses(own, module).into_iter().map(file).collect())
            })
            .collect()
    }
}

impl Module {
    fn read(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).expect("a source");
        Self::parse(file, &text)
    }

    fn parse(file: PathBuf, text: &str) -> Self {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let mut module =
            Self { file, body: String::new(), defined: BTreeSet::new(), imports: Vec::new() };
        let mut statement = String::new();
        let mut only_tests = false;
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            if statement.is_empty() && !is_use(line) {
                module.defined.extend(definition(line));
                // `mod a;` is not a use of `a`, nor is `pub(in crate::a)`.
                if !line.ends_with(';') || !line.contains("mod ") {
                    module.body += &line.replace("(in crate::", "(in ");
                    module.body.push('\n');
                }
                only_tests = line.trim() == "#[cfg(test)]";
                continue;
            }
            statement += line;
            statement.push('\n');
            if line.trim_end().ends_with(';') {
                if !only_tests {
                    module.import(&statement);
                }
                statement.clear();
                only_tests = false;
            }
        }
        module
    }

    fn import(&mut self, statement: &str) {
        let (before, tree) = statement.split_once("use ").expect("a use statement");
        for (path, name) in paths(&format!(" {tree}"), "") {
            self.imports.push(Import { reexported: before.contains("pub"), name, path });
        }
    }
}

fn is_use(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("use ") || (line.starts_with("pub") && line.contains(" use "))
}

/// The name that a line at the top level of a file defines.
fn definition(line: &str) -> Option<String> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    if line.starts_with(char::is_whitespace) {
        return None;
    }
    let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
    words.find(|word| kinds.contains(word))?;
    words.find(|word| *word != "fn").map(str::to_owned)
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c| !is_of_name(c)).any(|found| found == word)
}

/// The paths in a text that begin with `start`, each with the name under which it is imported.
/// Groups in braces are expanded.
fn paths(text: &str, start: &str) -> Vec<(Names, String)> {
    let mut found = Vec::new();
    if start.is_empty() {
        expand(text.trim_start(), &[], &mut found);
    }
    for (at, _) in text.match_indices(start).filter(|_| !start.is_empty()) {
        // The inner `super::` of `super::super::` is part of the outer one.
        let before = text[..at].chars().next_back();
        if !before.is_some_and(|c| is_of_name(c) || c == ':') {
            expand(&text[at..], &[], &mut found);
        }
    }
    found
}

/// Expands one path or group, and returns its length.
fn expand(rest: &str, prefix: &[String], found: &mut Vec<(Names, String)>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = 0;
    loop {
        let name: String = rest[at..].chars().take_while(|c| is_of_name(*c)).collect();
        at += name.len();
        // `a::{self}` is `a`.
        if !name.is_empty() && (name != "self" || path.is_empty()) {
            path.push(name);
        }
        if rest[at..].starts_with("::") {
            at += 2;
            continue;
        }
        if !rest[at..].starts_with('{') {
            let alias = rest[at..]
                .strip_prefix(" as ")
                .map(|after| after.chars().take_while(|c| is_of_name(*c)).collect::<String>());
            let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
            found.push((path, name));
            return at;
        }
        at += 1;
        loop {
            at += rest[at..].len()
                - rest[at..].trim_start_matches(|c: char| c.is_whitespace() || c == ',').len();
            if rest[at..].is_empty() || rest[at..].starts_with('}') {
                return at + 1;
            }
            at += expand(&rest[at..], &path, found);
            // Text after a name in a group, such as `as other`, is skipped.
            at += rest[at..].find([',', '}']).unwrap_or(rest[at..].len());
        }
    }
}

/// The files that each file uses.
pub fn dependencies(root: &Path) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    Tree::read(root).graph()
}

/// The groups of files that use each other, directly or through others.
pub fn cycles(graph: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Vec<BTreeSet<&PathBuf>> {
    let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> = graph
        .keys()
        .map(|start| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
            while let Some(at) = open.pop() {
                open.extend(graph.get(at).into_iter().flatten().filter(|next| seen.insert(*next)));
            }
            (start, seen)
        })
        .collect();
    let group = |file: &PathBuf| {
        let others = reached[file].iter().copied();
        others.filter(|other| reached.get(other).is_some_and(|back| back.contains(file))).collect()
    };
    let groups: BTreeSet<BTreeSet<&PathBuf>> = reached
        .keys()
        .map(|file| group(file))
        .filter(|group: &BTreeSet<_>| !group.is_empty())
        .collect();
    groups.into_iter().collect()
}

#[test]
fn groups_of_names_are_expanded_as_the_compiler_does() {
    let text = "use super::super::{a, b::{C, self}, d as e};\nx(crate::f::g(1))";
    let found: BTreeSet<String> = ["super::", "crate::"]
        .into_iter()
        .flat_map(|start| paths(text, start))
        .map(|(path, name)| format!("{} as {name}", path.join("/")))
        .collect();
    let expected = [
        "super/super/a as a",
        "super/super/b/C as C",
        "super/super/b as b",
        "super/super/d as e",
        "crate/f/g as g",
    ];
    assert_eq!(found, expected.iter().map(|path| (*path).to_owned()).collect());
}

#[test]
fn a_parent_and_its_child_that_use_each_other_are_a_cycle() {
    let with = |parent: &str, child: &str| {
        let files = [("a", parent), ("a/b", child)].map(|(path, text)| {
            let names = path.split('/').map(str::to_owned).collect();
            (names, Module::parse(path.into(), text))
        });
        cycles(&Tree(files.into()).graph()).len()
    };
    let uses_parent = "use super::shared;\npub(super) fn f() {\n    shared();\n}\n";
    assert_eq!(with("mod b;\nfn shared() {}\nfn g() {\n    b::f();\n}\n", uses_parent), 1);
    assert_eq!(with("mod b;\nuse b::f;\nfn shared() {}\n", uses_parent), 1);
    assert_eq!(
        with("mod b;\npub use b::f;\nfn g() {\n    f();\n}\nfn shared() {}\n", uses_parent),
        1
    );
    assert_eq!(with("mod b;\npub use b::f;\nfn shared() {}\n", uses_parent), 0);
    assert_eq!(with("mod b;\nfn g() {\n    b::f();\n}\n", "pub fn f() {}\n"), 0);
}
