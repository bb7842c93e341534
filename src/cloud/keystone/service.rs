//! A service in the catalogue.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Service {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Endpoint {
    pub(super) interface: String,
    pub(super) region: Option<String>,
    pub(super) region_id: Option<String>,
    pub(super) url: String,
}
