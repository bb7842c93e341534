//! The language of recipes: every rule, every command and alias, and the messages about mistakes.

use osimg::recipe::{GroupAction, Script, Severity, StatementKind};

fn parse(text: &str) -> Script {
    Script::parse(text, "r.yum").unwrap_or_else(|errors| panic!("{text:?}\n{errors}"))
}

fn canonical(text: &str) -> String {
    parse(text).to_string()
}

/// The whole message for a wrong recipe.
fn errors(text: &str) -> String {
    match Script::parse(text, "r.yum") {
        Ok(script) => panic!("{text:?} was taken: {script}"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn the_recipe_of_ironics_documentation_is_read() {
    let script = parse("group install 'Minimal Install'\ninstall cloud-init\nts run\n");
    let kinds: Vec<&StatementKind> = script.statements.iter().map(|s| &s.kind).collect();
    assert!(matches!(
        kinds[0],
        StatementKind::Group { action: GroupAction::Install, with_optional: false, groups }
            if groups[0].text == "Minimal Install"
    ));
    let StatementKind::Install { specs } = kinds[1] else { panic!("{:?}", kinds[1]) };
    assert_eq!((specs[0].text.as_str(), specs[0].line, specs[0].column), ("cloud-init", 2, 9));
    assert_eq!(kinds[2], &StatementKind::Run);
    assert_eq!(script.diagnostics(), []);
}

#[test]
fn every_form_that_dnf_shell_accepts_is_accepted() {
    let table = [
        ("empty file", "", ""),
        ("no line end at the end", "install a", "install a\n"),
        ("empty lines", "\n\ninstall a\n\n", "install a\n"),
        ("lines of blanks", "  \t\ninstall a\n   ", "install a\n"),
        ("leading blanks", "   install a\n\tts run", "install a\nts run\n"),
        ("a comment", "# it's a `comment\ninstall a", "install a\n"),
        ("an indented comment", "  # x\n\t# 'y\ninstall a", "install a\n"),
        ("a comment without a blank", "#install b\ninstall a", "install a\n"),
        (
            "carriage returns before line feeds",
            "install a\r\n\r\n# x\r\nts run\r\n",
            "install a\nts run\n",
        ),
        ("single quotes", "group install 'A B'", "group install 'A B'\n"),
        ("double quotes", "group install \"A B\"", "group install 'A B'\n"),
        ("a backslash before a blank", "group install A\\ B", "group install 'A B'\n"),
        ("a quoted hash", "group install '#1'", "group install '#1'\n"),
        ("a hash inside a word", "install a#b", "install 'a#b'\n"),
        ("names outside of ASCII", "group install Büro", "group install Büro\n"),
        (
            "conditions in quotes",
            "install 'a >= 1.2' '(b if c)'",
            "install 'a >= 1.2' '(b if c)'\n",
        ),
        (
            "quoted dollars are meant",
            "install '/usr/lib/A$B.class'",
            "install '/usr/lib/A$B.class'\n",
        ),
    ];
    for (name, text, expected) in table {
        assert_eq!(canonical(text), expected, "{name}");
    }
}

#[test]
fn a_byte_order_mark_is_stripped_with_a_warning() {
    let script = parse("\u{feff}install a\n");
    assert_eq!(script.to_string(), "install a\n");
    assert_eq!(script.statements[0].span.column, 1);
    assert!(matches!(script.diagnostics(), [d] if d.severity == Severity::Warning && d.line == 1));
}

/// The required text of a recipe's first error, and of the hint that comes with it.
#[test]
fn mistakes_that_dnf_ignores_are_errors_with_position_and_fix() {
    let table = [
        ("install hello # and cloud-init", "1:15: a comment after a command", "`install hello`"),
        ("ts run # go", "1:8: a comment after a command", "`ts run`"),
        ("ts run #go", "1:8: a comment after a command", "`ts run`"),
        ("install 'hello", "1:9: an unclosed quote", "close it on the same line"),
        ("install \"hello\\", "1:9: an unclosed quote", "close it"),
        (
            "install hello \\\ninstall b",
            "1:15: a backslash at the end of a line",
            "`install hello`",
        ),
        ("install a; ts run", "1:9: `a;` contains `;`", "every command on a separate line"),
        ("install a && ts run", "1:11: `&&` contains `&`", "every command on a separate line"),
        ("install $PACKAGES", "1:9: `$PACKAGES` contains `$`", "not expanded"),
        ("install `cat list`", "1:9: ``cat` contains ```", "not expanded"),
        ("install ~/a.rpm", "1:9: `~` is not expanded", "full path"),
        ("install a > log", "1:11: `>` contains `>`", "quotes"),
        (
            "install kernel-{core,modules}",
            "1:9: `kernel-{core,modules}` contains `{`",
            "every name separately",
        ),
        ("install a, b", "1:9: `a,` begins or ends with a comma", "separated by blanks"),
        ("INSTALL hello", "1:1: unknown command `INSTALL`", "`install hello`"),
        ("TS RUN", "1:1: unknown command `TS`", "`ts run`"),
        ("Ts Run", "1:1: unknown command `Ts`", "`ts run`"),
        ("ts RUN", "1:4: unknown word `RUN` after `ts`", "`ts run`"),
        ("isntall hello", "1:1: unknown command `isntall`", "did you mean `install hello`?"),
        ("ins hello", "1:1: unknown command `ins`", "`in"),
        ("cloud-init", "1:1: unknown command `cloud-init`", "`install cloud-init`"),
        ("@core", "1:1: the line begins with the name `@core`", "`install @core`"),
        ("EOF", "1:1: unknown command `EOF`", "here-document"),
        ("install a; b\n", "1:9: `a;` contains `;`", "every command on a separate line"),
        ("dnf -y install hello", "1:1: a line begins with `dnf`", "`install hello`"),
        ("dnf install -y hello", "1:1: a line begins with `dnf`", "`install hello`"),
        ("yum install hello -y", "1:1: a line begins with `yum`", "`install hello`"),
        ("rpm -ivh hello.rpm", "1:1: a line begins with `rpm`", "`install hello.rpm`"),
        ("rpm --import KEY", "1:1: a line begins with `rpm`", "[[packages.key]]"),
        (
            "install \u{201c}hello\u{201d}",
            "1:9: `\u{201c}hello\u{201d}` has typographic quotes",
            "plain quotes",
        ),
        (
            "group install \u{2018}Minimal Install\u{2019}",
            "1:15: `\u{2018}Minimal` has typographic quotes",
            "plain quotes",
        ),
        ("sudo dnf install hello", "1:1: a line begins with `sudo`", "`install hello`"),
        ("%packages", "1:1: `%packages` is kickstart syntax", "one command per line"),
        (
            "install -cloud-init",
            "1:9: `-cloud-init` looks like kickstart's exclusion",
            "`config exclude cloud-init`",
        ),
        ("install --nogpgcheck hello", "1:9: the option `--nogpgcheck`", "[[packages.key]]"),
        ("install -x y", "1:9: the option `-x`", "`config exclude NAME`"),
        ("install --setopt=best=0 a", "1:9: the option `--setopt=best=0`", "`config KEY VALUE`"),
        ("install --enablerepo=x a", "1:9: the option `--enablerepo=x`", "`repo enable ID`"),
        (
            "install --installroot=/x a",
            "1:9: the option `--installroot=/x`",
            "sets the install root",
        ),
        ("install -y a", "1:9: the option `-y`", "never asks"),
        ("-y install a", "1:1: the line begins with the option `-y`", "never asks"),
        ("install", "1:1: `install` needs a name", "`install NAME`"),
        ("install ''", "1:9: an empty name", "remove the quotes"),
        ("install *", "1:9: `*` is not a package", "cannot contain everything"),
        ("install foo = 1.2", "1:13: `=` is not a package", "one word"),
        (
            "install 'Minimal Install'",
            "1:9: `Minimal Install` is not a package name",
            "`group install 'Minimal Install'`",
        ),
        ("group install @core", "1:15: a group name has no `@` here", "`install @core`"),
        (
            "group 'Minimal Install'",
            "1:7: unknown word `Minimal Install` after `group`",
            "`group install 'Minimal Install'`",
        ),
        ("group install", "1:1: the group is missing", "group install"),
        (
            "group remove --with-optional a",
            "1:14: `--with-optional` is an option of `group install`",
            "remove it",
        ),
        ("swap a", "1:1: `swap` needs two names but has 1", "`swap OLD NEW`"),
        ("swap a b c", "1:1: `swap` needs two names but has 3", "`swap OLD NEW`"),
        ("ts rum", "1:4: unknown word `rum` after `ts`", "did you mean `ts run`?"),
        ("ts run now", "1:8: `now` after `ts run`", "on the line"),
        ("exit 3", "1:6: `3` after `exit`", "on the line"),
        ("repo enable", "1:6: the repository is missing", "`repo enable ID`"),
        ("repo enable a,b", "1:13: `a,b` is not a repository id", "separate ids by blanks"),
        ("config exclude a b", "1:18: `config` needs exactly one value", "`config exclude a,b`"),
        ("config exclude=a", "1:8: an equals sign", "`config exclude a`"),
        (
            "config installroot /x",
            "1:8: a recipe cannot set `installroot`",
            "sets the install root",
        ),
        ("config reposdir /x", "1:8: a recipe cannot set `reposdir`", "osimg decides"),
        ("config gpgcheck 0", "1:17: `gpgcheck` cannot be turned off", "[[packages.key]]"),
        ("config updates.gpgcheck 0", "1:25: `gpgcheck` cannot be turned off", "[[packages.key]]"),
        (
            "config install_weak_deps maybe",
            "1:26: `install_weak_deps` must be 1 or 0",
            "`config install_weak_deps 1`",
        ),
        ("config nonsense 1", "1:8: unknown configuration key `nonsense`", "a recipe can set"),
        ("config best", "1:8: `best` needs a value", "`config KEY VALUE`"),
        ("shell", "1:1: a shell inside a recipe", "remove it"),
        ("sh", "1:1: a shell inside a recipe", "remove it"),
        ("makecache", "1:1: `makecache` in a recipe", "remove it"),
        ("clean all", "1:1: `clean` in a recipe", "remove it"),
        ("copr enable a/b", "1:1: `copr` is not allowed in a recipe", "[[packages.repository]]"),
        ("history undo last", "1:9: `history undo` in a recipe", "remove the line"),
        ("module enable", "1:8: the module is missing", "`module enable NAME:STREAM`"),
        ("mark install", "1:6: the package is missing", "`mark install NAME`"),
        ("install a\0b", "1:10: a NUL byte", "UTF-8"),
        ("# a\0b", "1:4: a NUL byte", "UTF-8"),
        ("install a\rinstall b", "1:10: a carriage return inside a line", "line feed"),
        ("install\u{a0}a", "1:8: the character U+00A0 looks like a blank", "plain space"),
        ("install a\u{200b}b", "1:10: the invisible character U+200B", "remove it"),
    ];
    for (text, message, hint) in table {
        let shown = errors(text);
        assert!(shown.starts_with(&format!("r.yum:{message}")), "{text:?} got\n{shown}");
        let hints: Vec<&str> = shown.lines().filter(|line| line.starts_with("hint: ")).collect();
        assert!(hints.iter().any(|line| line.contains(hint)), "{text:?} was shown\n{shown}");
    }
}

#[test]
fn every_command_and_alias_of_dnf_and_yum_is_known() {
    let table: &[(&str, &[&str], &str)] = &[
        (
            "install a",
            &["install", "in", "localinstall", "install-n", "install-na", "install-nevra"],
            "a",
        ),
        (
            "remove a",
            &[
                "remove",
                "erase",
                "rm",
                "remove-n",
                "remove-na",
                "remove-nevra",
                "erase-n",
                "erase-na",
                "erase-nevra",
            ],
            "a",
        ),
        ("upgrade a", &["upgrade", "update", "up", "upgrade-to", "update-to", "localupdate"], "a"),
        ("upgrade", &["upgrade", "update", "up"], ""),
        ("upgrade-minimal", &["upgrade-minimal", "update-minimal", "up-min"], ""),
        (
            "upgrade-minimal --security a",
            &["upgrade-minimal", "update-minimal", "up-min"],
            "a --security",
        ),
        ("downgrade a", &["downgrade", "dg"], "a"),
        ("reinstall a", &["reinstall", "rei"], "a"),
        ("autoremove", &["autoremove"], ""),
        (
            "distro-sync",
            &["distro-sync", "distrosync", "distribution-synchronization", "dsync", "distupgrade"],
            "",
        ),
        ("swap a @b", &["swap"], "a @b"),
        (
            "group install a",
            &["group install", "groups install", "grp install", "groupinstall", "groupupdate"],
            "a",
        ),
        (
            "group install --with-optional a",
            &["group install", "groupinstall"],
            "a --with-optional",
        ),
        (
            "group remove a",
            &[
                "group remove",
                "group erase",
                "groups remove",
                "grp erase",
                "groupremove",
                "grouperase",
            ],
            "a",
        ),
        ("group upgrade a", &["group upgrade", "group update", "grp update"], "a"),
        ("group mark install a", &["group mark install", "groups mark-install"], "a"),
        ("group mark remove a", &["group mark remove", "grp mark-remove"], "a"),
        ("module enable a:1", &["module enable"], "a:1"),
        ("module disable a", &["module disable"], "a"),
        ("module reset a", &["module reset"], "a"),
        ("module install a:1/minimal", &["module install"], "a:1/minimal"),
        ("module remove a", &["module remove"], "a"),
        ("module update a", &["module update"], "a"),
        ("module switch-to a:2", &["module switch-to"], "a:2"),
        ("mark install a", &["mark install"], "a"),
        ("mark remove a", &["mark remove"], "a"),
        ("mark group a", &["mark group"], "a"),
        ("ts run", &["ts run", "transaction run", "run"], ""),
        ("ts reset", &["ts reset", "transaction reset"], ""),
        ("ts solve", &["ts solve", "transaction solve", "resolvedep"], ""),
        ("ts list", &["ts", "transaction", "ts list", "transaction list"], ""),
        ("repo enable a*", &["repo enable", "repository enable"], "a*"),
        ("repo disable a b", &["repo disable", "repository disable"], "a b"),
        ("config exclude a,b", &["config"], "exclude a,b"),
        ("config u.exclude a", &["config"], "u.exclude a"),
        ("exit", &["exit", "quit"], ""),
    ];
    for (expected, heads, tail) in table {
        for head in *heads {
            assert_eq!(
                canonical(&format!("{head} {tail}")),
                format!("{expected}\n"),
                "{head} {tail}"
            );
        }
    }
}

#[test]
fn queries_are_accepted_with_a_note_and_do_nothing() {
    let plain = "list ls info if search se provides whatprovides wp prov repolist repoinfo \
                 repoquery rq check check-update deplist updateinfo history hist help alias \
                 grouplist groupinfo";
    let mut queries: Vec<String> =
        plain.split_whitespace().map(|name| format!("{name} --installed x")).collect();
    let longer = [
        "group",
        "group list",
        "groups info x",
        "grp summary",
        "module list --all",
        "module info x",
        "module provides x",
        "module repoquery x",
        "repo",
        "repo list",
        "repository list all",
    ];
    queries.extend(longer.map(str::to_owned));
    for query in queries {
        let script = parse(&query);
        let [statement] = script.statements.as_slice() else { panic!("{query}") };
        assert!(matches!(statement.kind, StatementKind::Query { .. }), "{query}");
        assert!(matches!(script.diagnostics(), [d] if d.severity == Severity::Note), "{query}");
        assert_eq!(parse(&script.to_string()).to_string(), script.to_string());
    }
}

#[test]
fn all_errors_of_a_recipe_are_reported_at_once_in_the_order_of_their_lines() {
    let shown = errors("install -a --b c,\nisntall -x\nconfig installroot /\n");
    let places: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("r.yum:"))
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(places, ["1:9", "1:12", "1:16", "2:1", "2:9", "3:8"]);
}

#[test]
fn errors_are_shown_with_their_line_an_underline_and_a_fix() {
    let shown = errors("# base\ninstall cloud-init, kernel\n");
    let expected = [
        "r.yum:2:9: `cloud-init,` begins or ends with a comma",
        "  install cloud-init, kernel",
        "          ^^^^^^^^^^^",
        "hint: names are separated by blanks",
        "hint: write `install cloud-init kernel`",
    ];
    assert_eq!(shown, expected.join("\n"));

    let shown = errors("\tinstall gr\u{fc}n \u{6f22} # and more\nTS RUN\n");
    let expected = [
        "r.yum:1:17: a comment after a command; dnf would read its words as names",
        "          install gr\u{fc}n \u{6f22} # and more",
        "                          ^^^^^^^^^^",
        "hint: put the comment on a separate line and write `install gr\u{fc}n \u{6f22}`",
        "r.yum:2:1: unknown command `TS`",
        "  TS RUN",
        "  ^^",
        "hint: commands are lower case",
        "hint: write `ts run`",
    ];
    assert_eq!(shown, expected.join("\n"));

    let shown = errors("group install \"Minimal Install\ninstall a\r\n");
    let expected = [
        "r.yum:1:15: an unclosed quote",
        "  group install \"Minimal Install",
        "                ^",
        "hint: close it on the same line; to write a literal quote, put a backslash before it",
    ];
    assert_eq!(shown, expected.join("\n"));
}

#[test]
fn capitalised_words_after_group_install_raise_a_warning() {
    let script = parse("group install Minimal Install\n");
    let [warning] = script.diagnostics() else { panic!("{:?}", script.diagnostics()) };
    assert_eq!(warning.severity, Severity::Warning);
    assert!(warning.text.contains("`group install 'Minimal Install'`"), "{warning:?}");
    assert_eq!(parse("group install core base\n").diagnostics(), []);
}

/// Scripts like those in dnf's own test suite, with the package names of this project's demo
/// distribution.
#[test]
fn scripts_as_in_the_tests_of_dnf_are_read() {
    let scripts = [
        "repo enable updates\ninstall hello\nrun",
        "install hello world\nrun\nexit",
        "install hello\nrun\nexit",
        "install no-such-package\nrun\nexit",
        "install hello\ninstall ./local/world-1-1.noarch.rpm\nrun\nexit",
        "remove hello\nrun\nexit",
        "remove no-such-package\nrun\nexit",
        "install hello\nrun\ninstall world\nremove hello\nrun\nexit",
        "install hello hello-extra other\nrun\nremove hello-extra\ninstall other-extra\nrun\nexit",
        "group install Demo-Group\nrun\nexit",
        "group install Demo-Group\nrun\nrepo enable updates third-updates\ngroup upgrade \
         Demo-Group\nrun\nexit",
        "group install Demo-Group\nrun\nrepo enable updates third-updates\ngroup update \
         Demo-Group\nrun\nexit",
        "group install Demo-Group\nrun\ngroup remove Demo-Group\nrun\nexit",
        "group install NoSuchGroup\nrun\nexit",
        "group remove NoSuchGroup\nrun\nexit",
        "install hello-devel hello\nrun\nswap hello\\* other\\*\nrun\ninstall \
         hello-devel\nrun\nexit",
        "groupinstall demo-set\nrun\ninstall hello-devel\nrun\nswap @demo-set @other-set\nrun",
        "repo enable updates\nupgrade hello\nrun\nexit",
        "repo enable updates\nupdate hello\nrun\nexit",
        "upgrade-minimal --bugfix hello\nrun\nexit",
        "upgrade-minimal --security hello\nrun\nexit",
        "upgrade-minimal --bugfix other\nrun\nexit",
        "upgrade-minimal --security other\nrun\nexit",
        "upgrade-minimal --bugfix non-existent\nrun\nexit",
        "upgrade-minimal --security non-existent\nrun\nexit",
        "downgrade hello\nrun\nexit",
        "downgrade hello world\nrun\nexit",
        "downgrade hello\nrun\ndowngrade hello\nrun\nexit",
        "downgrade non-existent\nrun\nexit",
        "reinstall hello\nrun\nexit",
        "reinstall hello world\nrun\nexit",
        "reinstall non-existent\nrun\nexit",
        "repo disable base\nreinstall hello\nrun\nexit",
        "distro-sync hello\nrun\nexit",
        "distro-sync hello world\nrun\nexit",
        "distro-sync\nrun\nexit",
        "distro-sync non-existent\nrun\nexit",
        "repo enable base*\nrepolist\nexit",
        "repo disable base-updates\nrepolist\nexit",
        "repo disable base-updates*\nrepo enable base-updates\nrepolist\nexit",
        "repo enable NoSuchRepo\nexit",
        "repo disable NoSuchRepo\nexit",
        "help\nexit",
        "install @^demo-environment\nrun\nexit",
    ];
    for text in scripts {
        let script = parse(text);
        assert_eq!(script.statements.len(), text.lines().count(), "{text}");
    }
}
