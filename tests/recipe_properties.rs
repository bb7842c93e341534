//! Properties of every recipe: no panic, linear time, canonical text that can be read back, words
//! split as Python splits them.

use osimg::recipe::{Script, StatementKind};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn parse(text: &str) -> Script {
    Script::parse(text, "r.yum").unwrap_or_else(|errors| panic!("{text:?}\n{errors}"))
}

/// The reference is the module that dnf's shell uses to split its lines.
#[test]
#[expect(clippy::disallowed_methods, reason = "the reference runs outside the sandbox")]
fn words_are_split_as_pythons_shlex_splits_them() {
    let mut runner = TestRunner::deterministic();
    let strategy = "install( ([a-z]{1,3}|'[a-z #;\\\\]{0,4}'|\"([a-z \
                    '$]|\\\\[a-z\"\\\\]){0,4}\"|\\\\[ a-z'\"\\\\]){1,4}){1,5}";
    let strategy = proptest::string::string_regex(strategy).unwrap();
    let lines: Vec<String> =
        (0..2000).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let mut good = Vec::new();
    for line in &lines {
        if let Ok(script) = Script::parse(line, "r.yum")
            && let [statement] = script.statements.as_slice()
            && let StatementKind::Install { specs } = &statement.kind
        {
            let words: Vec<String> = specs.iter().map(|spec| spec.text.clone()).collect();
            good.push((line, words));
        }
    }
    assert!(good.len() > 200, "only {} of the lines are good", good.len());
    let program = "import shlex,sys,json\nfor l in sys.stdin.read().split('\\n'): \
                   print(json.dumps(shlex.split(l)[1:]))";
    let child = std::process::Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(
            std::env::var_os("OSIMG_REQUIRE_PRIVILEGED").is_none_or(|v| v != "1"),
            "python3 is missing"
        );
        println!("SKIPPED: python3 is missing");
        return;
    };
    let text = good.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>().join("\n");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers: Vec<Vec<String>> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), good.len());
    for ((line, words), answer) in good.into_iter().zip(answers) {
        assert_eq!(words, answer, "{line}");
    }
}

#[test]
fn a_line_of_a_megabyte_and_a_file_with_many_errors_are_read_quickly() {
    // Quadratic code would take minutes. The limit allows for a busy machine.
    let limit = Duration::from_secs(10);
    let words = format!("install {}", "name ".repeat(200_000));
    let options = format!("install {}", "--x ".repeat(250_000));
    let quote = format!("install '{}", "x".repeat(1_000_000));
    let typos = "nonsense-word\n".repeat(80_000);
    let hashes = format!("{}#", "a ".repeat(500_000));
    let one = "x".repeat(1_000_000);
    for text in [words, options, quote, typos, hashes, one] {
        let began = Instant::now();
        let message_size =
            Script::parse(&text, "r.yum").err().map_or(0, |errors| errors.to_string().len());
        assert!(began.elapsed() < limit, "{} took {:?}", &text[..20], began.elapsed());
        assert!(message_size < 100_000, "{message_size} bytes of message");
    }
}

/// A line built from pieces of the language, so that many lines are valid.
fn line() -> impl Strategy<Value = String> {
    let head = prop::sample::select(vec![
        "install",
        "remove",
        "upgrade",
        "upgrade-minimal --security",
        "group install",
        "group mark remove",
        "groupinstall --with-optional",
        "module enable",
        "mark install",
        "swap",
        "ts run",
        "run",
        "ts reset",
        "repo enable",
        "config exclude",
        "config updates.exclude",
        "config best",
        "distro-sync",
        "list",
        "exit",
        "#",
        "",
        "dg",
        "rei",
        "autoremove",
    ]);
    let word = prop_oneof![
        "[a-z][a-z0-9+._-]{0,8}",
        "@\\^?[a-z]{1,6}",
        "'[ -&(-~\u{e4}]{0,8}'",
        "\"[a-z $;#]{0,6}\"",
        "[!-~]{1,6}",
        Just("1".to_owned()),
        Just("a\\ b".to_owned()),
    ];
    (head, prop::collection::vec(word, 0..4))
        .prop_map(|(head, words)| format!("{head} {}", words.join(" ")))
}

/// The kinds of a script's statements without positions, to compare texts that differ only in
/// layout.
fn kinds(script: &Script) -> Vec<StatementKind> {
    let mut kinds: Vec<StatementKind> = script.statements.iter().map(|s| s.kind.clone()).collect();
    for kind in &mut kinds {
        let specs: Vec<&mut osimg::recipe::Spec> = match kind {
            StatementKind::Install { specs }
            | StatementKind::Remove { specs }
            | StatementKind::Upgrade { specs, .. }
            | StatementKind::Downgrade { specs }
            | StatementKind::Reinstall { specs }
            | StatementKind::DistroSync { specs }
            | StatementKind::Autoremove { specs }
            | StatementKind::Module { specs, .. }
            | StatementKind::Mark { specs, .. }
            | StatementKind::Group { groups: specs, .. }
            | StatementKind::Repo { globs: specs, .. } => specs.iter_mut().collect(),
            StatementKind::Swap { remove, install } => vec![remove, install],
            _ => Vec::new(),
        };
        for spec in specs {
            (spec.line, spec.column) = (0, 0);
        }
    }
    kinds
}

/// A transaction as data without positions.
fn without_places(transaction: &osimg::recipe::Transaction) -> serde_json::Value {
    fn forget(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.retain(|name, _| name != "line" && name != "column");
                fields.values_mut().for_each(forget);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(forget),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(transaction).expect("data");
    forget(&mut value);
    value
}

/// The lines that are recipes by themselves.
fn valid(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| Script::parse(line, "r.yum").is_ok()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_canonical_text_is_parsed_to_an_equal_script(
        lines in prop::collection::vec(line(), 1..6),
    ) {
        // Lines that are invalid by themselves are left out, or hardly any whole text would be
        // valid.
        let good = valid(lines);
        let script = parse(&good.join("\n"));
        let text = script.to_string();
        let again = Script::parse(&text, "r.yum")
            .map_err(|errors| TestCaseError::fail(format!("{text:?}\n{errors}")))?;
        prop_assert_eq!(kinds(&again), kinds(&script));
        prop_assert_eq!(again.to_string(), text);
    }

    #[test]
    fn the_statements_shown_for_a_transaction_give_the_same_transaction(
        lines in prop::collection::vec(line(), 1..8),
    ) {
        let good = valid(lines);
        for transaction in parse(&good.join("\n")).transactions().unwrap_or_default() {
            let statements = transaction.statements();
            let shown: String =
                statements.iter().map(|statement| format!("{statement}\n")).collect();
            let text = format!("{shown}ts run\n");
            // By itself it may contain statements that need a filled image.
            let Ok(again) = parse(&text).transactions() else { continue };
            let [again] = again.as_slice() else {
                let reason = format!("{text:?} are {} transactions", again.len());
                return Err(TestCaseError::fail(reason));
            };
            prop_assert_eq!(without_places(again), without_places(&transaction), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}|(?s:.{0,60})") {
        if let Ok(script) = Script::parse(&text, "r.yum") {
            let _ = script.lower().map_err(|error| osimg::error::render(&error));
        }
    }

    #[test]
    fn no_recipe_makes_the_lowering_panic(lines in prop::collection::vec(line(), 0..12)) {
        let good = valid(lines);
        if let Ok(lowered) = parse(&good.join("\n")).lower() {
            prop_assert!(lowered.transactions.iter().any(osimg::recipe::Transaction::installs));
        }
    }

    #[test]
    fn errors_point_into_the_text(text in "([a-z'\"\\\\ \t;#-]|\u{e4}|\n){0,80}") {
        if let Err(errors) = Script::parse(&text, "r.yum") {
            for error in errors.iter() {
                let (start, end) = (error.span.start, error.span.end);
                prop_assert!(start < end && end <= text.len(), "{:?}", error);
                prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
                let line = text.split('\n').nth(error.span.line - 1).unwrap();
                prop_assert!(error.span.column <= line.chars().count());
            }
        }
    }
}
