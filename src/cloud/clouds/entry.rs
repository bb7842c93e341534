//! One cloud's entry, understood: which login it means, where its services are, whom it trusts.

use serde_yaml_ng::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::model::{Auth, Cloud, Identity, Named, Scope};
use crate::cloud::secret::Secret;
use crate::error::{ExitCode, Failure, Result};
use crate::http::Trust;

/// A cloud's entry, files laid over each other.
pub(super) struct Entry {
    pub name: String,
    pub source: String,
    pub value: Value,
}

impl Entry {
    pub(super) fn cloud(self) -> Result<Cloud> {
        let cacert = self.path("cacert");
        if let Some(path) = cacert.as_ref().filter(|path| !path.is_file()) {
            return Err(self.wrong(&format!("its cacert {} is not a file", path.display())));
        }
        let client = match (self.path("cert"), self.path("key")) {
            (Some(cert), key) => Some((cert.clone(), key.unwrap_or(cert))),
            (None, _) => None,
        };
        let insecure = self.flag("verify") == Some(false)
            || (self.flag("insecure") == Some(true) && cacert.is_none());
        let regions =
            self.value.get("regions").and_then(Value::as_sequence).and_then(|list| list.first());
        let first_region = regions
            .and_then(|region| scalar(region).or_else(|| region.get("name").and_then(scalar)));
        let mut endpoints = BTreeMap::new();
        for (key, value) in self.value.as_mapping().into_iter().flatten() {
            let (Some(key), Some(value)) = (scalar(key), scalar(value)) else { continue };
            if let Some(service) =
                key.strip_suffix("_endpoint_override").or_else(|| key.strip_suffix("_endpoint"))
            {
                endpoints.insert(service.to_owned(), value.trim_end_matches('/').to_owned());
            }
        }
        let auth = self.auth()?;
        // As in keystoneauth: without a catalogue the one address is every service's.
        if let (false, Some(endpoint)) = (auth.has_keystone(), self.text("endpoint")) {
            for service in ["image", "baremetal"] {
                endpoints
                    .entry(service.to_owned())
                    .or_insert_with(|| endpoint.trim_end_matches('/').to_owned());
            }
        }
        for url in endpoints.values() {
            self.check_url(url)?;
        }
        Ok(Cloud {
            region: self.text("region_name").or(first_region),
            interface: self
                .text("image_interface")
                .or_else(|| self.text("interface"))
                .or_else(|| self.text("endpoint_type"))
                .map_or_else(
                    || "public".to_owned(),
                    |name| name.trim_end_matches("URL").to_owned(),
                ),
            endpoints,
            tls: Trust { ca: cacert, insecure, client },
            auth,
            name: self.name,
            source: self.source,
        })
    }

    fn auth(&self) -> Result<Auth> {
        let has = |key: &str| self.text(key).is_some();
        let kind =
            self.text("auth_type").or_else(|| self.text("auth_plugin")).unwrap_or_else(|| {
                let guess =
                    if has("application_credential_id") || has("application_credential_name") {
                        "v3applicationcredential"
                    } else if has("token") && !has("password") {
                        "token"
                    } else {
                        "password"
                    };
                guess.to_owned()
            });
        let need =
            |key: &str| self.text(key).ok_or_else(|| self.wrong(&format!("it has no {key}")));
        let identity = match kind.as_str() {
            "none" => return Ok(Auth::None),
            "http_basic" => {
                return Ok(Auth::Basic {
                    user: need("username")?,
                    password: Secret::new(need("password")?),
                });
            }
            "password" | "v3password" => {
                let user = self.named("user");
                if user.id.is_none() && user.name.is_none() {
                    return Err(self.wrong("it has no username"));
                }
                Identity::Password(user, Secret::new(need("password")?))
            }
            "token" | "v3token" => Identity::Token(Secret::new(need("token")?)),
            "v3applicationcredential" => {
                let credential = self.named("application_credential");
                if credential.id.is_none() && credential.name.is_none() {
                    return Err(self.wrong("it has no application_credential_id"));
                }
                Identity::ApplicationCredential(
                    credential,
                    self.named("user"),
                    Secret::new(need("application_credential_secret")?),
                )
            }
            other => {
                return Err(self.wrong(&format!(
                    "osimg does not know its auth_type '{}'",
                    other.escape_debug()
                )));
            }
        };
        let url = need("auth_url")?;
        let url = url.trim_end_matches('/');
        self.check_url(url)?;
        let url = match url.rsplit('/').next() {
            Some("v3") => url.to_owned(),
            Some("v2.0") => {
                return Err(
                    self.wrong("its auth_url is Keystone's version 2, which no longer exists")
                );
            }
            _ => format!("{url}/v3"),
        };
        let scope = match &identity {
            // Keystone refuses a scope with an application credential: it has its own.
            Identity::ApplicationCredential(..) => Scope::Own,
            Identity::Password(..) | Identity::Token(_) => self.scope(),
        };
        Ok(Auth::Keystone { url, identity, scope })
    }

    fn scope(&self) -> Scope {
        let project = self.named("project");
        let project = if project.id.is_none() && project.name.is_none() {
            Named { id: self.text("tenant_id"), name: self.text("tenant_name"), ..project }
        } else {
            project
        };
        if self.text("system_scope").is_some() {
            Scope::System
        } else if project.id.is_some() || project.name.is_some() {
            Scope::Project(project)
        } else if self.text("domain_id").is_some() || self.text("domain_name").is_some() {
            Scope::Domain(Named {
                id: self.text("domain_id"),
                name: self.text("domain_name"),
                ..Named::default()
            })
        } else {
            Scope::Own
        }
    }

    /// `WHAT_id`, `WHAT_name` (or `username`), and the domain, which may be the default one of all.
    fn named(&self, what: &str) -> Named {
        let mut named = Named {
            id: self.text(&format!("{what}_id")),
            name: self.text(&format!("{what}_name")),
            domain_id: self.text(&format!("{what}_domain_id")),
            domain_name: self.text(&format!("{what}_domain_name")),
        };
        if what == "user" {
            named.name = self.text("username").or(named.name);
        }
        if named.domain_id.is_none() && named.domain_name.is_none() {
            let id = self.text("default_domain_id").or_else(|| self.text("default_domain"));
            named.domain_name = self.text("default_domain_name").filter(|_| id.is_none());
            // Keystone calls its first domain so.
            named.domain_id =
                id.or_else(|| named.domain_name.is_none().then(|| "default".to_owned()));
        }
        named
    }

    /// A value below `auth`, or next to it.
    fn text(&self, key: &str) -> Option<String> {
        let below = self.value.get("auth").and_then(|auth| auth.get(key)).and_then(scalar);
        below.or_else(|| self.value.get(key).and_then(scalar)).filter(|text| !text.is_empty())
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.text(key)?.to_ascii_lowercase().as_str() {
            "false" | "no" | "0" | "off" => Some(false),
            "true" | "yes" | "1" | "on" => Some(true),
            _ => None,
        }
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(below), Some(home)) => Some(PathBuf::from(home).join(below)),
            _ => Some(text.into()),
        }
    }

    fn check_url(&self, url: &str) -> Result<()> {
        let plain = url.chars().all(|c| c.is_ascii_graphic());
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if !plain || rest.is_none_or(str::is_empty) {
            return Err(self.wrong(&format!(
                "'{}' is not an http:// or https:// address",
                url.escape_debug()
            )));
        }
        if rest.and_then(|rest| rest.split('/').next()).is_some_and(|host| host.contains('@')) {
            return Err(self
                .wrong("an address with a password in it: name username and password under auth"));
        }
        Ok(())
    }

    fn wrong(&self, why: &str) -> anyhow::Error {
        let place = if self.name == "environment" {
            self.source.clone()
        } else {
            format!("the cloud '{}' of {}", self.name, self.source)
        };
        Failure::new(ExitCode::Recipe, format!("reading {place}: {why}")).into()
    }
}

pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
