//! The bill of materials as SPDX 2.3 JSON: <https://spdx.github.io/spdx-spec/v2.3/>.

use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::identity::{url_of, uuid};
use super::licence::Licence;
use crate::calendar::rfc3339;
use crate::nevra::Nevra;
use crate::set::manifest::{Manifest, Package};

const IMAGE: &str = "SPDXRef-Image";

pub(super) fn document(manifest: &Manifest) -> Value {
    let mut packages = vec![image(manifest)];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    let mut texts = BTreeMap::new();
    for package in &manifest.packages {
        let licence = Licence::parse(&package.license);
        if let Licence::Text(text) = &licence {
            texts.insert(licence.reference(), text.clone());
        }
        let id = id(&package.nevra);
        relationships.push(relationship(IMAGE, "CONTAINS", &id));
        packages.push(package_entry(package, manifest, &id, &licence));
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{}-{}", manifest.name, manifest.version),
        "documentNamespace": format!("{}/spdx/{}-{}-{}", env!("CARGO_PKG_REPOSITORY"),
            word(&manifest.name), word(&manifest.version), uuid(manifest, "spdx")),
        "creationInfo": {
            "created": rfc3339(manifest.source_date_epoch),
            "creators": [format!("Tool: osimg-{}", manifest.builder.osimg)],
        },
        "documentDescribes": [IMAGE],
        "packages": packages,
        "relationships": relationships,
    });
    if !texts.is_empty() {
        let extracted: Vec<Value> = texts
            .into_iter()
            .map(|(id, text)| {
                json!({
                    "licenseId": id,
                    "name": text,
                    "extractedText": format!("The licence field of the package contains: {text}"),
                })
            })
            .collect();
        insert(&mut document, "hasExtractedLicensingInfos", Value::Array(extracted));
    }
    document
}

fn image(manifest: &Manifest) -> Value {
    let mut package = json!({
        "SPDXID": IMAGE,
        "name": manifest.name,
        "versionInfo": manifest.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "OPERATING_SYSTEM",
        "supplier": "NOASSERTION",
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    });
    if let Some(tarball) = manifest.tarballs.first() {
        insert(&mut package, "packageFileName", json!(tarball.file));
        let checksums = json!([
            {"algorithm": "SHA256", "checksumValue": tarball.sha256},
            {"algorithm": "SHA512", "checksumValue": tarball.sha512},
        ]);
        insert(&mut package, "checksums", checksums);
    }
    if let Some(name) = manifest.os_release.get("PRETTY_NAME") {
        insert(&mut package, "summary", json!(name));
    }
    package
}

fn package_entry(package: &Package, manifest: &Manifest, id: &str, licence: &Licence) -> Value {
    let parts = Nevra::lenient(&package.nevra);
    let supplier = package
        .vendor
        .as_deref()
        .map_or("NOASSERTION".to_owned(), |vendor| format!("Organization: {vendor}"));
    let mut value = json!({
        "SPDXID": id,
        "name": parts.name,
        "versionInfo": parts.evr(),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "supplier": supplier,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence.reference(),
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": url_of(package, manifest),
        }],
    });
    if let Some((algorithm, digest)) = package.checksum.as_deref().and_then(|c| c.split_once(':')) {
        insert(
            &mut value,
            "checksums",
            json!([{"algorithm": algorithm.to_ascii_uppercase(), "checksumValue": digest}]),
        );
    }
    if let Some(location) = &package.location {
        insert(
            &mut value,
            "packageFileName",
            json!(location.rsplit('/').next().unwrap_or(location)),
        );
    }
    if let Some(url) = package.url.as_deref().filter(|url| crate::naming::is_address(url)) {
        insert(&mut value, "homepage", json!(url));
    }
    if let Some(summary) = &package.summary {
        insert(&mut value, "summary", json!(summary));
    }
    let from = [
        package.repository.as_ref().map(|r| format!("from the repository {r}")),
        package.signer.as_ref().map(|s| format!("signed by {s}")),
        Some(&package.source).filter(|s| s.ends_with(".rpm")).map(|s| format!("built from {s}")),
    ];
    let from = from.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if !from.is_empty() {
        insert(&mut value, "sourceInfo", json!(from));
    }
    value
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
}

/// An identifier of only letters, digits, dots and dashes. A digest distinguishes similar names.
fn id(nevra: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut digest = hex::encode(Sha256::digest(nevra.as_bytes()));
    digest.truncate(8);
    format!("SPDXRef-Package-{}-{digest}", word(nevra))
}

fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

fn insert(value: &mut Value, key: &str, what: Value) {
    if let Value::Object(map) = value {
        map.insert(key.to_owned(), what);
    }
}
