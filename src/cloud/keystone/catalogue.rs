//! The catalogue of a token: where the services are.

use super::Session;
use super::service::Endpoint;
use crate::cloud::clouds::{Auth, Cloud};
use crate::error::{ExitCode, Failure, Result};

impl Session {
    /// The URL of a service, such as `image` or `baremetal`, without a version at its end.
    ///
    /// # Errors
    /// When neither clouds.yaml nor the catalogue has it.
    pub(crate) fn endpoint(&self, service: &str) -> Result<String> {
        if let Some(url) = self.cloud.endpoints.get(&service.replace('-', "_")) {
            return Ok(unversioned(url));
        }
        let Cloud { name, source, interface, region, .. } = &self.cloud;
        let doing = format!("finding the {service} service of the cloud '{name}'");
        let locked = self.locked();
        let Some(body) = locked.as_ref().map(|token| &token.body) else {
            return Err(Failure::new(
                ExitCode::Recipe,
                format!("{doing}: without Keystone there is no catalogue"),
            )
            .hint(format!("write {service}_endpoint_override into {source}"))
            .into());
        };
        let of_kind: Vec<&Endpoint> = body
            .catalog
            .iter()
            .filter(|s| s.kind == service)
            .flat_map(|s| &s.endpoints)
            .filter(|e| &e.interface == interface)
            .collect();
        let in_region =
            |e: &&Endpoint| region.is_none() || e.region == *region || e.region_id == *region;
        let mut urls: Vec<&str> =
            of_kind.iter().copied().filter(in_region).map(|e| e.url.as_str()).collect();
        urls.sort_unstable();
        urls.dedup();
        let regions = || {
            let mut names: Vec<&str> = of_kind.iter().filter_map(|e| e.region.as_deref()).collect();
            names.sort_unstable();
            names.dedup();
            names.join(", ")
        };
        let url = match urls.as_slice() {
            [url] => *url,
            [] if body.catalog.is_empty() => {
                return Err(Failure::new(
                    ExitCode::Recipe,
                    format!("{doing}: the token has no catalogue, for it is for no project"),
                )
                .hint(format!("name project_name (and project_domain_name) in {source}"))
                .into());
            }
            [] => {
                let place = region.as_ref().map(|r| format!(" in region {r}")).unwrap_or_default();
                return Err(Failure::new(
                    ExitCode::Registry,
                    format!("{doing}: the catalogue has no {interface} endpoint of it{place}"),
                )
                .hint(format!(
                    "look at region_name and interface in {source}; it is known in regions: {}",
                    regions()
                ))
                .into());
            }
            [_, ..] => {
                return Err(Failure::new(
                    ExitCode::Recipe,
                    format!("{doing}: the catalogue has it in several regions"),
                )
                .hint(format!("name region_name in {source}: one of {}", regions()))
                .into());
            }
        };
        let tls =
            matches!(&self.cloud.auth, Auth::Keystone { url, .. } if url.starts_with("https://"));
        if tls && url.starts_with("http://") {
            return Err(Failure::new(
                ExitCode::Trust,
                format!(
                    "{doing}: Keystone is behind TLS, but the catalogue has it at {url}, and the \
                     token would go there in the clear"
                ),
            )
            .hint(format!(
                "if that is as it should be, write {service}_endpoint_override: {url} into \
                 {source}"
            ))
            .into());
        }
        Ok(unversioned(url))
    }
}

fn unversioned(url: &str) -> String {
    let url = url.trim_end_matches('/');
    match url.rsplit_once('/') {
        Some((above, last))
            if last.strip_prefix('v').is_some_and(|v| {
                v.chars().all(|c| c.is_ascii_digit() || c == '.') && !v.is_empty()
            }) =>
        {
            above.to_owned()
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_at_the_end_of_an_endpoint_go_and_nothing_else_does() {
        for (url, bare) in [
            ("http://h:9292", "http://h:9292"),
            ("http://h/image/v2/", "http://h/image"),
            ("http://h/v2.1", "http://h"),
            ("http://h/vault", "http://h/vault"),
            ("http://h/v", "http://h/v"),
        ] {
            assert_eq!(unversioned(url), bare);
        }
    }
}
