//! A cloud as clouds.yaml, secure.yaml and the `OS_*` variables describe it, understood and
//! checked.

mod entry;
mod model;

use serde_yaml_ng::Value;

use super::environment::{Environment, merge};
use crate::error::{ExitCode, Failure, Result};
use entry::{Entry, scalar};

pub use model::Cloud;
pub(crate) use model::{Auth, Identity, Named, Scope};

impl Cloud {
    /// The cloud of that name; without one `OS_CLOUD`'s, else the `OS_*` variables' own, else the
    /// only one there is.
    ///
    /// # Errors
    /// [`ExitCode::Recipe`] when there is none of that name, or its entry is not understood.
    pub fn load(name: Option<&str>) -> Result<Self> {
        Self::find(name, &Environment::own())
    }

    /// The cloud of that name in one file, independent of the environment.
    ///
    /// # Errors
    /// As [`Cloud::load`].
    pub fn load_from(file: &std::path::Path, name: &str) -> Result<Self> {
        Self::find(Some(name), &Environment::from_file(file))
    }

    pub(super) fn find(name: Option<&str>, environment: &Environment) -> Result<Self> {
        let chosen =
            name.or_else(|| environment.variable("OS_CLOUD")).filter(|name| *name != "envvars");
        if chosen.is_none()
            && let Some(entry) = environment.cloud()
        {
            return Entry {
                name: "environment".into(),
                source: "the OS_* variables".into(),
                value: entry,
            }
            .cloud();
        }
        let Some((path, file)) = environment.file("clouds", "OS_CLIENT_CONFIG_FILE")? else {
            return Err(Failure::new(
                ExitCode::Recipe,
                "finding the cloud: no clouds.yaml was found and OS_AUTH_URL is not set",
            )
            .hint(format!(
                "write one of {}, or source the openrc file of your cloud",
                environment.directories()
            ))
            .into());
        };
        let source = path.display().to_string();
        let names: Vec<String> = file
            .get("clouds")
            .and_then(Value::as_mapping)
            .into_iter()
            .flatten()
            .filter_map(|(k, _)| scalar(k))
            .collect();
        let name = match (chosen, names.as_slice()) {
            (Some(name), _) => name.to_owned(),
            (None, [only]) => only.clone(),
            (None, _) => {
                return Err(Failure::new(
                    ExitCode::Recipe,
                    format!("finding the cloud: {source} has {} of them", names.len()),
                )
                .hint(format!(
                    "name one, as in glance:{}, or set OS_CLOUD",
                    names.first().map_or("NAME", String::as_str)
                ))
                .into());
            }
        };
        let Some(entry) = file.get("clouds").and_then(|clouds| clouds.get(name.as_str())) else {
            return Err(Failure::new(
                ExitCode::Recipe,
                format!("finding the cloud '{}': {source} has no such entry", name.escape_debug()),
            )
            .hint(if names.is_empty() {
                "it has none at all".into()
            } else {
                format!("it has {}", names.join(", "))
            })
            .into());
        };
        let mut value = Value::Mapping(serde_yaml_ng::Mapping::new());
        if let Some(profile) = entry.get("profile").or_else(|| entry.get("cloud")).and_then(scalar)
        {
            let public = environment.file("clouds-public", "OS_CLIENT_VENDOR_FILE")?;
            let found = public
                .as_ref()
                .and_then(|(_, file)| file.get("public-clouds")?.get(profile.as_str()));
            let Some(found) = found else {
                return Err(Failure::new(
                    ExitCode::Recipe,
                    format!("reading the cloud '{name}' of {source}: no profile '{profile}'"),
                )
                .hint(
                    "a profile is an entry of public-clouds in clouds-public.yaml; or write \
                     auth_url into the cloud itself",
                )
                .into());
            };
            merge(&mut value, found.clone());
        }
        merge(&mut value, entry.clone());
        if let Some((_, secure)) = environment.file("secure", "OS_CLIENT_SECURE_FILE")?
            && let Some(over) = secure.get("clouds").and_then(|clouds| clouds.get(name.as_str()))
        {
            merge(&mut value, over.clone());
        }
        Entry { name, source, value }.cloud()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        name: Option<&str>,
        variables: &[(&str, &str)],
        files: &[(&str, &str)],
    ) -> Result<Cloud> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (file, text) in files {
            std::fs::write(dir.path().join(file), text).expect("written");
        }
        Cloud::find(name, &Environment::of(variables, &[dir.path()]))
    }

    const CLOUDS: &str = "clouds:
  a:
    auth: {auth_url: 'http://h:5000', username: u, project_name: \
                          p, user_domain_name: D, project_domain_id: d2}
    region_name: R
    verify: \
                          false
    image_endpoint_override: http://h:9292/
  b: {auth_type: none, auth: \
                          {endpoint: 'http://h:1'}}
";
    const SECURE: &str = "clouds: {a: {auth: {password: hunter2}}}";

    #[test]
    fn secure_yaml_is_laid_over_clouds_yaml() {
        let cloud = load(Some("a"), &[], &[("clouds.yaml", CLOUDS), ("secure.yaml", SECURE)])
            .expect("a cloud");
        let Auth::Keystone {
            url,
            identity: Identity::Password(user, password),
            scope: Scope::Project(project),
        } = &cloud.auth
        else {
            panic!("{cloud:?}")
        };
        assert_eq!((url.as_str(), password.reveal()), ("http://h:5000/v3", "hunter2"));
        assert_eq!(
            (user.domain_name.as_deref(), project.domain_id.as_deref()),
            (Some("D"), Some("d2"))
        );
        assert!(cloud.tls.insecure);
        assert_eq!(cloud.endpoints["image"], "http://h:9292");
        assert!(!format!("{cloud:?}").contains("hunter2"), "secrets are not shown");
    }

    #[test]
    fn the_name_wins_over_the_environment_and_the_environment_over_the_files() {
        let files = [("clouds.yaml", CLOUDS)];
        assert_eq!(load(None, &[("OS_CLOUD", "b")], &files).expect("a cloud").name, "b");
        let variables = [
            ("OS_AUTH_URL", "https://k/v3"),
            ("OS_USERNAME", "u"),
            ("OS_PASSWORD", "p"),
            ("OS_PROJECT_NAME", "x"),
        ];
        let cloud = load(None, &variables, &files).expect("a cloud");
        assert_eq!(cloud.name, "environment");
        assert_eq!(load(Some("b"), &variables, &files).expect("a cloud").name, "b");
    }

    #[test]
    fn without_keystone_one_address_is_that_of_every_service_that_has_no_other() {
        let text = "clouds: {
            x: {auth_type: http_basic,
                auth: {username: u, password: hunter2, endpoint: 'http://m:6385/'}},
            y: {auth_type: none, auth: {endpoint: 'http://m:6385'},
                image_endpoint_override: 'http://g'}}";
        let files = [("clouds.yaml", text)];
        let cloud = load(Some("x"), &[], &files).expect("a cloud");
        assert!(
            matches!(&cloud.auth,
                Auth::Basic { user, password } if user == "u" && password.reveal() == "hunter2"),
            "{cloud:?}"
        );
        assert_eq!(
            (cloud.endpoints["image"].as_str(), cloud.endpoints["baremetal"].as_str()),
            ("http://m:6385", "http://m:6385")
        );
        let cloud = load(Some("y"), &[], &files).expect("a cloud");
        assert_eq!(
            (cloud.endpoints["image"].as_str(), cloud.endpoints["baremetal"].as_str()),
            ("http://g", "http://m:6385")
        );
        let text =
            "clouds: {x: {auth_type: http_basic, auth: {username: u, endpoint: 'http://m'}}}";
        let error = load(None, &[], &[("clouds.yaml", text)]).expect_err("no password");
        assert!(format!("{error:#}").contains("no password"), "{error:#}");
    }

    #[test]
    fn application_credentials_bring_their_own_scope() {
        let text =
            "clouds: {x: {auth_type: v3applicationcredential, auth: {auth_url: 'http://k/v3', \
             project_name: p,
            application_credential_id: i, application_credential_secret: s}}}";
        let cloud = load(None, &[], &[("clouds.yaml", text)]).expect("a cloud");
        assert!(matches!(cloud.auth, Auth::Keystone { scope: Scope::Own, .. }), "{cloud:?}");
    }

    #[test]
    fn what_is_missing_or_odd_is_named() {
        for (name, files, part) in [
            (Some("a"), vec![("clouds.yaml", CLOUDS)], "no password"),
            (Some("z"), vec![("clouds.yaml", CLOUDS)], "it has a, b"),
            (None, vec![("clouds.yaml", CLOUDS)], "OS_CLOUD"),
            (None, vec![], "openrc"),
            (
                None,
                vec![(
                    "clouds.yaml",
                    "clouds: {x: {auth: {auth_url: 'ftp://h', username: u, password: p}}}",
                )],
                "not an http://",
            ),
            (
                None,
                vec![("clouds.yaml", "clouds: {x: {cacert: /nonexistent/ca.pem}}")],
                "/nonexistent/ca.pem",
            ),
            (
                None,
                vec![("clouds.yaml", "clouds: {x: {auth_type: v3oidcpassword}}")],
                "v3oidcpassword",
            ),
            (None, vec![("clouds.yaml", "clouds: {x: {profile: nobody}}")], "nobody"),
            (
                None,
                vec![(
                    "clouds.yaml",
                    "clouds: {x: {auth: {auth_url: 'http://u:hunter2@h', username: u, password: \
                     p}}}",
                )],
                "under auth",
            ),
        ] {
            let error = load(name, &[], &files).expect_err(part);
            let text = crate::error::render(&error);
            assert!(text.contains(part) && !text.contains("hunter2"), "{text}");
            assert_eq!(crate::error::exit_code(&error), ExitCode::Recipe);
        }
    }
}
