//! A server whose certificate is signed by a private authority.

use std::path::Path;
use std::process::{Command, Output};

use crate::clients::{CLIENTS, Secure, command, messages, stage};
use crate::support::require_root;

fn is_about_trust(output: &Output) -> bool {
    messages(output).contains("certificate")
}

#[test]
fn every_client_trusts_the_authority_of_ssl_cert_file_and_refuses_an_unknown_one() {
    let server = Secure::start();
    let (place, authority) = (server.place(), server.authority());
    let hashed = server.directory.path().join("hashed");
    std::fs::create_dir(&hashed).unwrap();
    // OpenSSL finds a certificate by a file name of this form.
    std::fs::copy(&authority, hashed.join("0a1b2c3d.0")).unwrap();
    let directory = stage("https", &place);
    for (name, arguments) in CLIENTS {
        let run = |variable: &str, value: &Path| {
            command(directory.path(), arguments, "https", &place)
                .env(variable, value)
                .output()
                .unwrap()
        };
        let unknown = run("OSIMG_NOTHING", Path::new(""));
        assert!(
            unknown.status.code() == Some(6) && messages(&unknown).contains("not trusted"),
            "{name}: {}",
            messages(&unknown)
        );
        assert!(messages(&unknown).contains("hint: "), "{name}: {}", messages(&unknown));
        for (variable, value) in [("SSL_CERT_FILE", &authority), ("SSL_CERT_DIR", &hashed)] {
            let known = run(variable, value);
            assert!(
                !is_about_trust(&known) && known.status.code() != Some(6),
                "{name}, {variable}: {}",
                messages(&known)
            );
        }
    }
}

#[test]
fn a_certificate_that_expired_or_is_for_another_name_is_reported_as_that() {
    for (names, issued, reason) in [
        ("DNS:localhost,IP:127.0.0.1", "2020-01-01 00:00:00", "has expired"),
        ("DNS:elsewhere.invalid", "now", "is for another name"),
    ] {
        let server = Secure::with_certificate(names, issued);
        let directory = stage("https", &server.place());
        for (name, arguments) in CLIENTS {
            let output = command(directory.path(), arguments, "https", &server.place())
                .env("SSL_CERT_FILE", server.authority())
                .output()
                .unwrap();
            let text = messages(&output);
            assert_eq!(output.status.code(), Some(6), "{name}: {text}");
            assert!(text.contains(&format!("certificate {reason}")), "{name}: {text}");
        }
    }
}

#[test]
fn ca_file_sets_the_authority_for_one_command() {
    let server = Secure::start();
    let directory = stage("https", &server.place());
    for (name, arguments) in
        CLIENTS.iter().filter(|(name, _)| ["verify", "deploy", "publish"].contains(name))
    {
        let mut command = command(directory.path(), arguments, "https", &server.place());
        let output = command.arg("--ca-file").arg(server.authority()).output().unwrap();
        assert!(
            !is_about_trust(&output) && !messages(&output).contains("unexpected argument"),
            "{name}: {}",
            messages(&output)
        );
    }
}

#[test]
fn every_client_finds_the_host_s_authorities_where_each_distribution_keeps_them() {
    if !require_root() {
        return;
    }
    let server = Secure::start();
    let (place, authority) = (server.place(), server.authority());
    let directory = stage("https", &place);
    for bundle in [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/pki/tls/cert.pem",
        "/etc/ssl/ca-bundle.pem",
        "/var/lib/ca-certificates/ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/etc/ssl/certs/0a1b2c3d.0",
    ] {
        for (name, arguments) in CLIENTS {
            let client = command(directory.path(), arguments, "https", &place);
            // A separate /etc: that of the host, with only this authority.
            let script = "mkdir -p upper/etc upper/var && mount -t tmpfs tmpfs upper && mkdir -p \
                          upper/etc/up upper/etc/work upper/lib && mount -t overlay -o \
                          lowerdir=/etc,upperdir=upper/etc/up,workdir=upper/etc/work overlay /etc \
                          && rm -rf /etc/ssl /etc/pki && mount --bind upper/lib /var/lib && mkdir \
                          -p \"${1%/*}\" && cp \"$0\" \"$1\" && shift && exec \"$@\"";
            let program = client.get_program().to_owned();
            let words: Vec<_> = client.get_args().map(ToOwned::to_owned).collect();
            let mut separate = Command::new("unshare");
            separate
                .args(["--mount", "--propagation", "private", "sh", "-c", script])
                .arg(&authority)
                .arg(bundle)
                .arg(program)
                .args(words);
            separate
                .current_dir(directory.path())
                .env_clear()
                .envs(client.get_envs().filter_map(|(n, v)| Some((n, v?))));
            separate.env("PATH", std::env::var_os("PATH").unwrap());
            let output = separate.output().unwrap();
            assert!(!messages(&output).contains("mount:"), "{}", messages(&output));
            assert!(
                !is_about_trust(&output),
                "{name} does not look at {bundle}: {}",
                messages(&output)
            );
        }
    }
}
