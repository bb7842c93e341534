//! Provenance: an in-toto statement (<https://github.com/in-toto/attestation>, v1) with SLSA's
//! predicate (<https://slsa.dev/spec/v1.0/provenance>). Two equal builds differ only in
//! `runDetails.metadata`.

use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

use super::identity::url_of;
use crate::calendar::rfc3339;
use crate::set::manifest::Manifest;

/// The type of build that the parameters belong to.
const BUILD_TYPE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/build/v1");
/// The builder: this program, on any host; nothing more can be guaranteed.
const BUILDER: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/builder/v1");

/// `documents` are the names and digests of the documents written with it.
pub(super) fn statement(
    manifest: &Manifest,
    documents: &[(String, String)],
    now: SystemTime,
) -> Value {
    let subject: Vec<Value> = manifest
        .tarballs
        .iter()
        .map(|tarball| {
            json!({"name": tarball.file,
            "digest": {"sha256": tarball.sha256, "sha512": tarball.sha512}})
        })
        .collect();
    let byproducts: Vec<Value> = documents
        .iter()
        .map(|(name, sha256)| json!({"name": name, "digest": {"sha256": sha256}}))
        .collect();
    let finished = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "name": manifest.name,
                    "version": manifest.version,
                    "arch": manifest.arch,
                    "recipe": {"name": manifest.recipe.name, "sha256": manifest.recipe.sha256,
                        "text": manifest.recipe.text},
                    "settings": without_passwords(&manifest.settings),
                },
                "internalParameters": {
                    "sourceDateEpoch": manifest.source_date_epoch,
                    "archive": manifest.archive,
                    "repositories": manifest.repositories,
                    "keys": manifest.keys,
                },
                "resolvedDependencies": dependencies(manifest),
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {"osimg": manifest.builder.osimg,
                        "package-manager": manifest.builder.package_manager},
                },
                "metadata": {
                    "startedOn": rfc3339(seconds(manifest.build.started)),
                    "finishedOn": rfc3339(seconds(finished)),
                },
                "byproducts": byproducts,
            },
        },
    })
}

fn seconds(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn dependencies(manifest: &Manifest) -> Vec<Value> {
    manifest
        .packages
        .iter()
        .map(|package| {
            let mut dependency = Map::new();
            dependency.insert("uri".into(), json!(url_of(package, manifest)));
            dependency.insert("name".into(), json!(package.nevra));
            if let Some((algorithm, digest)) =
                package.checksum.as_deref().and_then(|c| c.split_once(':'))
            {
                dependency.insert("digest".into(), json!({ algorithm: digest }));
            }
            let mut notes = Map::new();
            for (key, value) in [
                ("repository", package.repository.as_deref()),
                ("location", package.location.as_deref()),
                ("signer", package.signer.as_deref()),
            ] {
                if let Some(value) = value {
                    notes.insert(key.into(), json!(value));
                }
            }
            if !notes.is_empty() {
                dependency.insert("annotations".into(), Value::Object(notes));
            }
            Value::Object(dependency)
        })
        .collect()
}

/// The value without `user:password@` in addresses of repositories and proxies.
fn without_passwords(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_userinfo(text)),
        Value::Array(items) => Value::Array(items.iter().map(without_passwords).collect()),
        Value::Object(map) => Value::Object(
            map.iter().map(|(key, item)| (key.clone(), without_passwords(item))).collect(),
        ),
        other => other.clone(),
    }
}

fn without_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_removed() {
        let repository = json!({"baseurl": ["https://me:s3cret@mirror/x@y", "file:///a@b"]});
        let settings =
            json!({"packages": {"repositories": [repository], "proxy": "http://a:b@p:3128"}});
        let clean = without_passwords(&settings).to_string();
        assert!(!clean.contains("s3cret") && !clean.contains("a:b"), "{clean}");
        assert!(
            clean.contains("https://mirror/x@y")
                && clean.contains("file:///a@b")
                && clean.contains("http://p:3128"),
            "{clean}"
        );
    }
}
