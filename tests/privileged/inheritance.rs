//! A run inherits nothing from its caller: no environment, descriptors, limits, umask or
//! directories; and its view of the network.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use super::support::*;
use osimg::sandbox::{InstallRoot, Network, ToolRoot};

#[test]
fn the_environment_is_exactly_the_plan_s() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    // Cargo has set dozens of variables for this test; one of ours is a canary.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let mut plan = workdir.python(
        "print(sorted(os.environ.items()))\n\
        print(open('/proc/self/environ').read().replace('\\0', ';'))",
    );
    plan.command.env = vec![("ONLY".into(), "this = one".into())];
    let ended = run(&plan, seconds(60));
    assert!(ended.outcome.expect("the sandbox runs").success());
    assert_eq!(ended.out[1], "ONLY=this = one;");
}

#[test]
fn the_caller_s_environment_and_descriptors_are_not_inherited() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::with_programs(&["env", "ls"]);
    // Python passes on descriptors of the host's root directory and a secret in the environment.
    let wrapper = r#"
import os, sys
for number in range(3, 40):
    os.dup2(os.open("/", os.O_RDONLY), number, inheritable=True)
os.environ["OSIMG_CANARY"] = "secret"
os.execv(sys.argv[1], sys.argv[1:])
"#;
    let command = "env; ls -l /proc/self/fd; cat_fds=$(ls /proc/1/fd 2>&1); echo \"$cat_fds\"";
    let stderr = program("/usr/bin/python3")
        .args(["-c", wrapper, OSIMG, "shell"])
        .arg(workdir.path())
        .args(["/bin/sh", "-c", command])
        .output()
        .expect("osimg");
    let text = String::from_utf8_lossy(&stderr.stdout);
    assert!(stderr.status.success(), "{text}{}", String::from_utf8_lossy(&stderr.stderr));
    assert!(!text.contains("OSIMG_CANARY"), "{text}");
    assert!(text.contains("HOME=/root"), "{text}");
    let descriptors: Vec<&str> = text.lines().filter(|line| line.contains(" -> ")).collect();
    // The three standard streams, and the one with which ls reads the directory.
    assert_eq!(descriptors.len(), 4, "{text}");
    assert!(!descriptors.iter().any(|line| line.ends_with("-> /")), "{text}");
}

#[test]
fn without_network_there_is_only_the_loopback_interface() {
    if !require_root() {
        return;
    }
    let lines = Workdir::new().probe(
        r#"
print(sorted(os.listdir("/sys/class/net")),
      [l.split(":")[0].strip() for l in open("/proc/net/dev") if ":" in l])
for address in (("127.0.0.1", 80), ("192.0.2.1", 80)):
    print(attempt(lambda: socket.create_connection(address, 1)))
print(os.path.exists("/etc/resolv.conf"))
"#,
    );
    assert_eq!(lines, ["['lo'] ['lo']", "ECONNREFUSED", "ENETUNREACH", "False"]);
}

#[test]
fn with_the_host_s_network_the_files_for_name_resolution_exist() {
    if !require_root() {
        return;
    }
    // A server of this test: the loopback is the host's.
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("address").port();
    let workdir = Workdir::new();
    let script = format!(
        "for name in ('resolv.conf', 'hosts'): print(os.path.exists('/etc/' + name), \
        attempt(lambda: os.open('/etc/' + name, os.O_WRONLY)))\n\
        print(socket.create_connection(('localhost', {port}), 5).recv(5))"
    );
    let mut plan = workdir.python(&script);
    plan.network = Network::Host;
    plan.mounts = ToolRoot::host().mounts(Network::Host);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            server.accept().and_then(|(mut peer, _)| peer.write_all(b"hello")).expect("a visitor")
        });
        let ended = run(&plan, seconds(30));
        // Ends the server if no client came.
        let _ = std::net::TcpStream::connect(("127.0.0.1", port));
        ended
    });
    assert!(ended.outcome.expect("the sandbox runs").success(), "{:?}", ended.err);
    assert_eq!(ended.out, ["True EROFS", "True EROFS", "b'hello'"]);
}

/// Runs `osimg shell WORKDIR /bin/sh -c COMMAND` after Python has prepared the process.
fn run_prepared(workdir: &Workdir, preparation: &str, command: &str) -> std::process::Output {
    let wrapper =
        format!("import os, resource, sys\n{preparation}\nos.execv(sys.argv[1], sys.argv[1:])");
    program("/usr/bin/python3")
        .args(["-c", &wrapper, OSIMG, "shell"])
        .arg(workdir.path())
        .args(["/bin/sh", "-c", command])
        .output()
        .expect("osimg")
}

#[test]
fn few_descriptors_a_removed_directory_closed_streams_and_limits_do_no_harm() {
    if !require_root() {
        return;
    }
    let cases = [
        ("64 descriptors", "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"),
        (
            "a removed directory",
            "import tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
        ),
        ("closed stdin", "os.close(0)"),
        ("closed stdout", "os.close(1)"),
        ("closed stderr", "os.close(2)"),
        ("all closed", "os.closerange(0, 3)"),
        (
            "ignored signals",
            "import signal\nfor n in (signal.SIGCHLD, signal.SIGPIPE): signal.signal(n, \
            signal.SIG_IGN)",
        ),
        ("umask 077", "os.umask(0o077)"),
    ];
    for (name, preparation) in cases {
        let workdir = Workdir::with_programs(&["sleep"]);
        let stderr =
            run_prepared(&workdir, preparation, "echo made > /made; sleep 0 & wait; exit 0");
        assert!(
            stderr.status.success(),
            "{name}: {} {}",
            stderr.status,
            String::from_utf8_lossy(&stderr.stderr)
        );
        assert_eq!(
            std::fs::read_to_string(workdir.root().join("made")).expect(name),
            "made\n",
            "{name}"
        );
    }
}

#[test]
fn the_umask_of_the_caller_does_not_affect_the_image() {
    if !require_root() {
        return;
    }
    for umask in ["077", "000"] {
        let workdir = Workdir::with_programs(&["mkdir"]);
        let stderr = run_prepared(
            &workdir,
            &format!("os.umask(0o{umask})"),
            "umask; mkdir /directory; echo x > /file",
        );
        assert!(stderr.status.success(), "{}", String::from_utf8_lossy(&stderr.stderr));
        assert_eq!(String::from_utf8_lossy(&stderr.stdout), "0022\n");
        for (name, mode) in [
            ("directory", 0o755),
            ("file", 0o644),
            ("proc", 0o555),
            ("sys", 0o555),
            ("dev", 0o755),
            ("run", 0o755),
        ] {
            let found =
                workdir.root().join(name).metadata().expect(name).permissions().mode() & 0o7777;
            assert_eq!(found, mode, "{name} under umask {umask}: {found:o}");
        }
    }
}

#[test]
fn files_written_into_the_root_have_the_requested_mode() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let root = InstallRoot::open(&workdir.root()).expect("root");
    for mode in [0o444, 0o600, 0o666, 0o777] {
        root.write(Path::new("file"), b"x", mode).expect("written");
        assert_eq!(
            workdir.root().join("file").metadata().expect("file").permissions().mode() & 0o7777,
            mode
        );
    }
}

/// Runs `osimg shell` on the workdir with the text as stdin. Returns the exit status and output.
fn shell(workdir: &Workdir, words: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = program(OSIMG);
    command.arg("shell").arg(workdir.path()).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("osimg");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("input");
    let output = child.wait_with_output().expect("osimg");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_shell_reads_the_caller_s_standard_input() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::with_programs(&["cat"]);
    assert_eq!(shell(&workdir, &["cat"], "data"), (Some(0), "data".into(), String::new()));
    let script = "echo from the script\nexit 3\necho not reached\n";
    assert_eq!(shell(&workdir, &[], script), (Some(3), "from the script\n".into(), String::new()));
    // A directory would be a way out of the sandbox.
    let mut command = program(OSIMG);
    command
        .arg("shell")
        .arg(workdir.path())
        .arg("cat")
        .stdin(std::fs::File::open("/").expect("a directory"));
    let output = command.output().expect("osimg");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("standard input is a directory"), "{stderr}");
}

#[test]
fn the_shell_ends_with_the_exit_status_of_its_command() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::with_programs(&[]);
    for (words, status) in [
        (&["sh", "-c", "exit 0"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -9 $$"], 137),
    ] {
        assert_eq!(
            shell(&workdir, words, ""),
            (Some(status), String::new(), String::new()),
            "{words:?}"
        );
    }
    for (words, status, word) in
        [("no-such-command", 127, "No such file"), ("/bin", 126, "Permission denied")]
    {
        let (code, _, stderr) = shell(&workdir, &[words], "");
        assert_eq!(code, Some(status), "{stderr}");
        assert!(
            stderr.contains(&format!("starting {words} in the sandbox")) && stderr.contains(word),
            "{stderr}"
        );
    }
}

#[test]
fn the_shell_enters_only_workdirs_of_osimg_and_follows_no_link() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::with_programs(&["touch"]);
    let outside = tempfile::tempdir_in("/var/tmp").expect("a directory");
    std::fs::remove_dir(workdir.path().join("scratch")).expect("empty");
    std::os::unix::fs::symlink(outside.path(), workdir.path().join("scratch")).expect("a link");
    let planted = tempfile::tempdir_in("/var/tmp").expect("a directory");
    for name in ["root", "scratch"] {
        std::fs::create_dir(planted.path().join(name)).expect("a directory");
    }
    for directory in [workdir.path(), planted.path()] {
        let output = program(OSIMG)
            .arg("shell")
            .arg(directory)
            .args(["touch", "/x"])
            .output()
            .expect("osimg");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("is not a workdir of osimg"), "{stderr}");
    }
}
