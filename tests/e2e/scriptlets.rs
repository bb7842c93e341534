//! Package code that fails, hangs, prints endlessly or leaves processes.

use crate::stage::Stage;
use crate::support::repo::{Package, Trigger, When};
use crate::support::require_root;
use std::time::Duration;

const RECIPE: &str = "install odd\nts run\n";

fn odd(when: When, body: &str) -> Stage {
    Stage::new(|repo| repo.package(Package::named("odd").scriptlet(when, body)))
}

#[test]
fn scriptlets_see_a_clean_environment_and_no_network() {
    if !require_root() {
        return;
    }
    let stage = odd(
        When::Post,
        "env > /usr/environment; ls /sys/class/net > /usr/links; cat /proc/net/route > \
         /usr/routes && echo read >> /usr/routes; id > /usr/id",
    );
    stage
        .build(RECIPE)
        .env("OSIMG_TEST_SECRET", "secret")
        .env("TZ", "Asia/Tokyo")
        .env("HOME", "/home/builder")
        .succeeds();
    let environment = stage.content("./usr/environment");
    assert!(
        !environment.contains("secret")
            && !environment.contains("builder")
            && !environment.contains("Tokyo"),
        "{environment}"
    );
    assert!(environment.contains("SOURCE_DATE_EPOCH=1700000000"), "{environment}");
    assert_eq!(stage.content("./usr/links").trim(), "lo");
    // A namespace that never had a route has no heading either.
    let routes = stage.content("./usr/routes");
    assert!(
        routes.ends_with("read\n") && routes.lines().count() <= 2,
        "no route, only the heading: {routes}"
    );
    assert!(stage.content("./usr/id").starts_with("uid=0"));
}

#[test]
fn a_failing_pre_fails_the_build_and_names_the_package() {
    if !require_root() {
        return;
    }
    odd(When::Pre, "echo the reason is this; exit 3")
        .build(RECIPE)
        .fails(7)
        .reports(&["odd", "the reason is this"]);
}

#[test]
fn a_failing_post_fails_the_build_and_names_the_package() {
    if !require_root() {
        return;
    }
    let done = odd(When::Post, "echo the reason is this; exit 3").build(RECIPE).fails(7);
    done.reports(&["odd", "the reason is this", "allow_failed_scriptlets"]);
}

#[test]
fn a_failing_posttrans_fails_the_build_and_names_the_package() {
    if !require_root() {
        return;
    }
    odd(When::Posttrans, "echo the reason is this; exit 3")
        .build(RECIPE)
        .fails(7)
        .reports(&["odd", "the reason is this"]);
}

#[test]
fn a_failing_scriptlet_in_lua_fails_the_build() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("odd").requires_first("base").lua(When::Post, "error('lua gave up')"),
        )
    });
    stage.build(RECIPE).fails(7).reports(&["odd", "lua gave up"]);
}

#[test]
fn a_failing_trigger_of_any_kind_fails_the_build_and_one_that_works_does_not() {
    if !require_root() {
        return;
    }
    // The trigger's own package. The package that activates it is installed with it, and after it.
    for (trigger, name) in [
        (Trigger::Package("other"), "package"),
        (Trigger::File("/usr/share/other"), "file"),
        (Trigger::TransactionFile("/usr/share/other"), "transaction"),
    ] {
        for (body, code) in [("echo it ran > /usr/ran", 0), ("echo the reason is this; exit 3", 7)]
        {
            let stage = Stage::new(|repo| {
                repo.package(Package::named("odd").trigger(trigger, body)).package(
                    Package::named("other").requires_first("odd").file(
                        "/usr/share/other/file",
                        "x",
                        0o644,
                        "root:root",
                    ),
                )
            });
            let build = stage.build("install other\nts run\n");
            if code == 0 {
                build.succeeds();
                assert_eq!(stage.content("./usr/ran"), "it ran\n", "{name}");
            } else {
                build.fails(code).reports(&["odd", "the reason is this"]);
            }
        }
    }
}

#[test]
fn all_failing_scriptlets_are_reported() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(Package::named("odd").scriptlet(When::Post, "exit 1"))
            .package(Package::named("strange").scriptlet(When::Post, "exit 1"))
    });
    stage
        .build("install odd strange\nts run\n")
        .fails(7)
        .reports(&["package odd", "package strange"]);
}

#[test]
fn a_scriptlet_failure_that_the_settings_allow_does_not_fail_the_build() {
    if !require_root() {
        return;
    }
    for when in [When::Post, When::Posttrans] {
        let stage = odd(when, "echo done > /usr/done; exit 3");
        stage.settings(|settings| settings.packages = "allow_failed_scriptlets = [\"odd\"]".into());
        stage.build(RECIPE).succeeds();
        assert_eq!(stage.content("./usr/done"), "done\n");
    }
}

#[test]
fn a_scriptlet_failure_is_allowed_only_for_the_named_package() {
    if !require_root() {
        return;
    }
    let stage = odd(When::Post, "exit 3");
    stage.settings(|settings| {
        settings.packages = "allow_failed_scriptlets = [\"od\", \"strange\"]".into()
    });
    stage.build(RECIPE).fails(7).reports(&["odd"]);
}

#[test]
fn a_hanging_scriptlet_is_ended_by_the_time_limit_and_its_package_is_named() {
    if !require_root() {
        return;
    }
    let stage = odd(When::Post, "trap '' TERM INT; while true; do sleep 7654321; done");
    let done = stage.build(RECIPE).args(&["--timeout", "12s"]).fails(124);
    done.reports(&["odd", "12 s", "--timeout"]);
    assert!(done.took < Duration::from_secs(60), "{:?}", done.took);
}

#[test]
fn a_daemon_left_by_a_scriptlet_is_ended_and_reported() {
    if !require_root() {
        return;
    }
    let stage =
        odd(When::Post, "setsid sh -c 'sleep 7654321' </dev/null >/dev/null 2>&1 & echo started");
    let done = stage.build(RECIPE).succeeds();
    done.reports(&["left processes running", "sleep"]);
}

#[test]
fn a_daemon_that_keeps_its_scriptlet_s_output_open_does_not_hang_the_build() {
    if !require_root() {
        return;
    }
    let done = odd(When::Post, "sleep 7654321 &").build(RECIPE).args(&["--timeout", "20s"]).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

#[test]
fn a_scriptlet_that_prints_endlessly_fills_neither_memory_nor_report() {
    if !require_root() {
        return;
    }
    let stage = odd(
        When::Post,
        "dd if=/dev/zero bs=1048576 count=64 2>/dev/null | cat; echo; echo the last word; exit 1",
    );
    let done = stage.build(RECIPE).fails(7);
    done.reports(&["odd"]);
    assert!(done.stderr.len() < 64 << 10, "{} bytes of report", done.stderr.len());
}

#[test]
fn a_fork_bomb_ends_the_build_and_its_package_is_named_without_a_limit_of_the_kernel() {
    if !require_root() {
        return;
    }
    // With the kernel's limit, the shell itself would see an error first. With a read-only
    // /proc/sys, osimg counts the processes.
    let stage = odd(When::Post, "while true; do sleep 7654324 & done");
    let container =
        "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
    let done =
        stage.build(RECIPE).behind(&["unshare", "-m", "sh", "-ec", container, "sh"]).fails(7);
    done.reports(&["odd-1.0-1", "more than 8192 processes"]);
}

#[test]
fn a_failing_scriptlet_of_the_second_transaction_fails_the_build() {
    if !require_root() {
        return;
    }
    let stage = odd(When::Post, "exit 1");
    stage.build("install base\nts run\ninstall odd\nts run\n").fails(7).reports(&["odd"]);
}

#[test]
fn the_workdir_of_a_failed_build_can_be_kept_and_entered() {
    if !require_root() {
        return;
    }
    let stage = odd(When::Post, "echo here > /usr/trace; exit 1");
    let done = stage.build(RECIPE).args(&["--keep", "on-failure"]).run();
    assert_eq!(done.code, Some(7), "{}", done.stderr);
    let names: Vec<String> = stage.files(&stage.work()).into_keys().collect();
    let [name] = names.as_slice() else { panic!("one workdir, not {names:?}") };
    let workdir = stage.work().join(name);
    done.reports(&[&format!("osimg shell {}", workdir.display())]);
    let shell = stage
        .osimg(crate::stage::OSIMG, &["shell"])
        .arg(&workdir)
        .args(&["/bin/cat", "/usr/trace"])
        .run();
    assert_eq!((shell.code, shell.stdout.as_str()), (Some(0), "here\n"), "{}", shell.stderr);
    stage.nothing_runs();
}

/// Types into `osimg shell` on a terminal: a command that would run for ever, Ctrl-C, and more.
const TYPIST: &str = r#"
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
def until(word):
    global shown
    while word not in shown:
        if not select.select([terminal], [], [], 60)[0]:
            sys.exit("never shown: %r; shown: %r" % (word, shown))
        shown += os.read(terminal, 4096)
    shown = shown.split(word, 1)[1]
until(b"osimg# ")
# One process prints and sleeps: a shell that is about to start another can lose the signal.
os.write(terminal, b"sh -c \"echo rea''dy; exec sleep 7654329\"\n")
until(b"ready")
os.write(terminal, b"\x03")
until(b"osimg# ")
os.write(terminal, b"echo still-h''ere; exit 7\n")
until(b"still-here")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn an_interrupt_in_an_interactive_shell_ends_the_command_and_not_osimg() {
    if !require_root() {
        return;
    }
    let stage = odd(When::Post, "true");
    let done = stage.build(RECIPE).args(&["--keep", "always"]).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let names: Vec<String> = stage.files(&stage.work()).into_keys().collect();
    let [name] = names.as_slice() else { panic!("one workdir, not {names:?}") };
    let workdir = stage.work().join(name);
    let mut python = std::process::Command::new("python3");
    python.args(["-c", TYPIST, crate::stage::OSIMG, "shell"]).arg(&workdir);
    let done = python.output().unwrap();
    assert_eq!(done.status.code(), Some(7), "{}", String::from_utf8_lossy(&done.stderr));
    stage.nothing_runs();
}

#[test]
fn units_that_presets_enable_and_scriptlets_did_not_are_reported() {
    if !require_root() {
        return;
    }
    let table = "#!/bin/sh\necho sshd.service disabled enabled\necho other.service disabled \
                 disabled\n";
    let stage = Stage::new(|repo| {
        repo.package(Package::named("systemd").requires("shell").file(
            "/usr/bin/systemctl",
            table,
            0o755,
            "root:root",
        ))
    });
    let done = stage.build("install systemd\nts run\n").succeeds();
    done.reports(&["presets enable them: sshd.service;"]);
}
