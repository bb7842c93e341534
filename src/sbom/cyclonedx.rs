//! The bill of materials as CycloneDX 1.6 JSON: <https://cyclonedx.org/docs/1.6/json/>.

use serde_json::{Map, Value, json};

use super::identity::{url_of, uuid};
use super::licence::Licence;
use crate::calendar::rfc3339;
use crate::nevra::Nevra;
use crate::set::manifest::{Manifest, Package};

const IMAGE: &str = "image";

pub(super) fn document(manifest: &Manifest) -> Value {
    let components: Vec<Value> =
        manifest.packages.iter().map(|package| component(package, manifest)).collect();
    let references: Vec<String> =
        manifest.packages.iter().map(|package| url_of(package, manifest)).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(manifest, "cyclonedx")),
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(manifest.source_date_epoch),
            "tools": {"components": [{"type": "application", "name": "osimg",
                "version": manifest.builder.osimg}]},
            "component": image(manifest),
            "lifecycles": [{"phase": "build"}],
        },
        "components": components,
        "dependencies": [{"ref": IMAGE, "dependsOn": references}],
    })
}

fn image(manifest: &Manifest) -> Value {
    let mut component = Map::new();
    component.insert("type".into(), json!("operating-system"));
    component.insert("bom-ref".into(), json!(IMAGE));
    component.insert("name".into(), json!(manifest.name));
    component.insert("version".into(), json!(manifest.version));
    if let Some(name) = manifest.os_release.get("PRETTY_NAME") {
        component.insert("description".into(), json!(name));
    }
    if let Some(tarball) = manifest.tarballs.first() {
        let hashes = json!([{"alg": "SHA-256", "content": tarball.sha256},
            {"alg": "SHA-512", "content": tarball.sha512}]);
        component.insert("hashes".into(), hashes);
    }
    let mut properties = vec![property("osimg:arch", &manifest.arch)];
    properties.extend(["ID", "VERSION_ID"].iter().filter_map(|key| {
        let value = manifest.os_release.get(*key)?;
        Some(property(&format!("osimg:os-release:{key}"), value))
    }));
    component.insert("properties".into(), Value::Array(properties));
    Value::Object(component)
}

fn component(package: &Package, manifest: &Manifest) -> Value {
    let parts = Nevra::lenient(&package.nevra);
    let url = url_of(package, manifest);
    let mut component = Map::new();
    component.insert("type".into(), json!("library"));
    component.insert("bom-ref".into(), json!(url));
    component.insert("name".into(), json!(parts.name));
    component.insert("version".into(), json!(parts.evr()));
    component.insert("purl".into(), json!(url));
    if let Some(vendor) = &package.vendor {
        component.insert("supplier".into(), json!({"name": vendor}));
        component.insert("publisher".into(), json!(vendor));
    }
    if let Some(summary) = &package.summary {
        component.insert("description".into(), json!(summary));
    }
    match Licence::parse(&package.license) {
        Licence::Expression(text) => component.insert(
            "licenses".into(),
            json!([{"expression": text, "acknowledgement": "declared"}]),
        ),
        Licence::Text(text) => component.insert(
            "licenses".into(),
            json!([{"license": {"name": text, "acknowledgement": "declared"}}]),
        ),
        Licence::Unknown => None,
    };
    if let Some((algorithm, digest)) = package.checksum.as_deref().and_then(|c| c.split_once(':'))
        && let Some(algorithm) = algorithm_name(algorithm)
    {
        component.insert("hashes".into(), json!([{"alg": algorithm, "content": digest}]));
    }
    if let Some(url) = package.url.as_deref().filter(|url| crate::naming::is_address(url)) {
        component.insert("externalReferences".into(), json!([{"type": "website", "url": url}]));
    }
    let properties: Vec<Value> = [
        ("osimg:repository", package.repository.as_deref()),
        ("osimg:location", package.location.as_deref()),
        ("osimg:signer", package.signer.as_deref()),
        ("osimg:reason", package.reason.as_deref()),
        ("osimg:source", Some(package.source.as_str()).filter(|s| s.ends_with(".rpm"))),
        ("osimg:installed-size", Some(package.size.to_string().as_str())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(property(name, value?)))
    .collect();
    component.insert("properties".into(), Value::Array(properties));
    Value::Object(component)
}

fn property(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

/// The algorithm's name in CycloneDX.
fn algorithm_name(name: &str) -> Option<&'static str> {
    match name {
        "md5" => Some("MD5"),
        "sha1" | "sha" => Some("SHA-1"),
        "sha256" => Some("SHA-256"),
        "sha384" => Some("SHA-384"),
        "sha512" => Some("SHA-512"),
        _ => None,
    }
}
