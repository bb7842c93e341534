//! The login at a registry, from `docker login`, `podman login` and credential helpers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::process;

/// Docker's own registry has another name in its files than in references.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// No helper answers more.
const LONGEST_ANSWER: u64 = 1 << 20;

/// The login of a user or a robot account.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// A name and a password.
    Password { user: String, password: String },
    /// A token that buys other tokens.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Keeps it out of what the registry answers and tools print.
    fn conceal(&self) {
        match self {
            Self::Password { password, .. } => crate::secrets::conceal(password),
            Self::Identity(token) => crate::secrets::conceal(token),
        }
        self.basic()
            .iter()
            .filter_map(|basic| basic.strip_prefix("Basic "))
            .for_each(crate::secrets::conceal);
    }

    /// The value of an `Authorization` header, where a name and a password are what is asked for.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Self::Identity(_) => None,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AuthFile {
    auths: BTreeMap<String, Login>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

/// The files that may hold a login, in the order that podman and skopeo look at them.
pub(super) fn files(environment: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    if let Some(file) = set("REGISTRY_AUTH_FILE") {
        return vec![file.into()];
    }
    let home = set("HOME").map(PathBuf::from);
    let config =
        set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".config")));
    let docker =
        set("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".docker")));
    let run = set("XDG_RUNTIME_DIR").map(PathBuf::from);
    [
        run.map(|d| d.join("containers/auth.json")),
        config.map(|d| d.join("containers/auth.json")),
        docker.map(|d| d.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The login for a repository, from the first of the files that has one; nothing where none has.
pub(super) fn find(files: &[PathBuf], host: &str, name: &str) -> Result<Option<Credentials>> {
    for path in files {
        let text = match crate::files::read(path, crate::files::TEXT) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).or_fail(
                    ExitCode::Host,
                    format!("reading the registry logins {}", path.display()),
                );
            }
        };
        // serde's message could quote a password.
        let file: AuthFile = serde_json::from_slice(&text).map_err(|error| {
            let place = format!("{}:{}:{}", path.display(), error.line(), error.column());
            Failure::new(
                ExitCode::Host,
                format!(
                    "reading the registry logins {place}: it is not in the form of Docker's \
                     config.json"
                ),
            )
        })?;
        if let Some(found) = file.look_up(host, name, path)? {
            found.conceal();
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl AuthFile {
    fn look_up(&self, host: &str, name: &str, path: &Path) -> Result<Option<Credentials>> {
        let keys = keys(host, name);
        if let Some(helper) = keys.iter().find_map(|key| self.cred_helpers.get(key)) {
            return ask_helper(helper, host);
        }
        let login = keys
            .iter()
            .find_map(|key| self.auths.iter().find(|(written, _)| plain(written) == *key));
        if let Some((_, login)) = login
            && let Some(found) = login.decode(path)?
        {
            return Ok(Some(found));
        }
        match &self.creds_store {
            Some(helper) => {
                let server =
                    if DOCKER_HUB.contains(&host) { "https://index.docker.io/v1/" } else { host };
                ask_helper(helper, server)
            }
            None => Ok(None),
        }
    }
}

/// The keys under which a login may be stored, the most specific first: podman files by repository
/// too.
fn keys(host: &str, name: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = format!("{host}/{name}");
    loop {
        keys.push(path.clone());
        match path.rsplit_once('/') {
            Some((parent, _)) => path = parent.to_owned(),
            None => break,
        }
    }
    if DOCKER_HUB.contains(&host) {
        keys.extend(DOCKER_HUB.map(str::to_owned));
    }
    keys
}

/// `https://index.docker.io/v1/` is filed for `index.docker.io`.
fn plain(key: &str) -> &str {
    match key.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => key,
    }
}

impl Login {
    fn decode(&self, path: &Path) -> Result<Option<Credentials>> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::Identity(self.identitytoken.clone())));
        }
        if !self.username.is_empty() {
            return Ok(Some(Credentials::Password {
                user: self.username.clone(),
                password: self.password.clone(),
            }));
        }
        // Docker leaves empty entries where a helper has the login.
        if self.auth.is_empty() {
            return Ok(None);
        }
        let text =
            STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match text.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) => Ok(Some(Credentials::Password {
                user: user.to_owned(),
                password: password.trim_end_matches('\0').to_owned(),
            })),
            None => Err(Failure::new(
                ExitCode::Host,
                format!(
                    "reading the registry logins {}: an 'auth' is not USER:PASSWORD in base64",
                    path.display()
                ),
            )
            .hint("log in again: podman login, docker login or skopeo login")
            .into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-NAME get`: <https://github.com/docker/docker-credential-helpers>.
fn ask_helper(helper: &str, server: &str) -> Result<Option<Credentials>> {
    let program = format!("docker-credential-{helper}");
    let doing = || format!("asking {} for the login to {server}", program.escape_debug());
    if helper.is_empty() || !helper.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    {
        return Err(Failure::new(
            ExitCode::Host,
            format!("{}: that is not the name of a helper", doing()),
        )
        .into());
    }
    // A file, which holds any answer while the helper is waited for.
    let mut answer = tempfile::tempfile().or_fail(ExitCode::Space, doing())?;
    let stdout = answer.try_clone().or_fail(ExitCode::Space, doing())?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a credential helper talks over its stdin and stdout with the program that \
                  started it"
    )]
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .or_fail_hint(
            ExitCode::Host,
            doing(),
            "the helper that the login file names must be in the PATH",
        )?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(server.as_bytes()) {
            // One that reads nothing has its answer ready.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                return Err(error).or_fail(ExitCode::Host, doing());
            }
            _ => {}
        }
    }
    let status = process::wait(&mut child, &program)?;
    let mut output = Vec::new();
    answer
        .rewind()
        .and_then(|()| answer.take(LONGEST_ANSWER).read_to_end(&mut output))
        .or_fail(ExitCode::Host, doing())?;
    if !status.success() {
        let start = output.get(..200).unwrap_or(&output);
        if String::from_utf8_lossy(start).to_lowercase().contains("not found") {
            return Ok(None);
        }
        return Err(Failure::new(ExitCode::Host, format!("{}: it failed ({status})", doing()))
            .hint(format!("try it: echo {server} | {program} get"))
            .into());
    }
    let Ok(HelperAnswer { username, secret }) = serde_json::from_slice(&output) else {
        return Err(Failure::new(
            ExitCode::Host,
            format!("{}: its answer is not in the form of the helpers' protocol", doing()),
        )
        .into());
    };
    Ok(Some(if username == "<token>" {
        Credentials::Identity(secret)
    } else {
        Credentials::Password { user: username, password: secret }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, host: &str, name: &str) -> Option<Credentials> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("auth.json");
        std::fs::write(&file, json).expect("written");
        find(&[directory.path().join("missing.json"), file], host, name).expect("looked up")
    }

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn logins_are_found_under_every_name_that_the_tools_file_them() {
        // printf me:a:b | base64
        let login = r#"{"auth": "bWU6YTpi"}"#;
        for key in [
            "r.example",
            "r.example/os",
            "r.example/os/x",
            "https://r.example/v1/",
            "https://r.example",
        ] {
            let json = format!(r#"{{"auths": {{"{key}": {login}, "other.example": {{}}}}}}"#);
            assert_eq!(found(&json, "r.example", "os/x"), password("me", "a:b"), "{key}");
        }
        assert_eq!(
            found(&format!(r#"{{"auths": {{"r.example/other": {login}}}}}"#), "r.example", "os/x"),
            None
        );
        let hub = format!(r#"{{"auths": {{"https://index.docker.io/v1/": {login}}}}}"#);
        assert_eq!(found(&hub, "docker.io", "me/x"), password("me", "a:b"));
        assert_eq!(
            found(r#"{"auths": {"r.example": {"identitytoken": "t"}}}"#, "r.example", "x"),
            Some(Credentials::Identity("t".into()))
        );
        assert_eq!(found(r#"{"auths": {"r.example": {}}, "unknown": 1}"#, "r.example", "x"), None);
    }

    #[test]
    fn the_more_special_login_wins() {
        let json = r#"{"auths": {"r.example": {"username": "a", "password": "1"},
            "r.example/os": {"username": "b", "password": "2"}}}"#;
        assert_eq!(found(json, "r.example", "os/x"), password("b", "2"));
        assert_eq!(found(json, "r.example", "else"), password("a", "1"));
    }

    #[test]
    fn damaged_files_are_told_without_their_secrets() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("auth.json");
        for text in [
            r#"{"auths": {"r.example": {"auth": "!secret!"}}}"#,
            r#"{"auths": {"r.example": {"password": 1234secret}}}"#,
            r#"{"auths": "secret"}"#,
        ] {
            std::fs::write(&file, text).expect("written");
            let error = find(std::slice::from_ref(&file), "r.example", "x").expect_err(text);
            let text = crate::error::render(&error);
            assert!(!text.contains("secret") && text.contains("auth.json"), "{text}");
        }
        assert!(!format!("{:?}", password("me", "secret")).contains("secret"));
    }

    #[test]
    fn helpers_are_not_found_by_path() {
        assert!(ask_helper("../../bin/sh", "r.example").is_err());
        assert!(ask_helper("osimg-has-no-such-helper", "r.example").is_err());
    }

    #[test]
    fn files_are_looked_for_where_podman_and_docker_keep_them() {
        let environment = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        };
        assert_eq!(
            files(environment(&[("REGISTRY_AUTH_FILE", "/a"), ("HOME", "/h")])),
            [PathBuf::from("/a")]
        );
        assert_eq!(
            files(environment(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/0")])),
            [
                "/run/user/0/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            files(environment(&[("DOCKER_CONFIG", "/d"), ("HOME", "")])),
            [PathBuf::from("/d/config.json")]
        );
    }
}
