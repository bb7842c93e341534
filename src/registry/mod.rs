//! Step 6: registries keep what builds make.
//!
//! [`Registry`] is the contract; what it promises is tested over every backend by one suite,
//! `tests/openstack/contract.rs`. To add a registry: one file with its type, one arm in [`Address`]
//! and in [`open`], and a row of the contract test.

mod address;
mod contract;
mod directory;
mod entry;
mod glance;
pub mod oci;
mod options;
mod removal;
mod tree;

use crate::error::Result;
use crate::report::Report;

pub use address::Address;
pub use contract::Registry;
pub(crate) use directory::{Directory, Image, Names, Numbering, Staged, Standing, record};
pub(crate) use directory::{check_output, write_output};
pub use entry::{Entry, State};
pub use glance::Glance;
pub use oci::Oci;
pub use options::{Existing, PublishOptions};
pub(crate) use options::{Older, SignatureKey};
pub(crate) use removal::{Owners, Removal, failure as kept_failure};
pub use tree::WebTree;

/// Opens the registry at an address.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub fn open(
    address: &Address,
    publishing: &PublishOptions,
    report: &Report,
) -> Result<Box<dyn Registry>> {
    publishing.check_supported(address)?;
    match address {
        Address::Directory(path) => {
            Ok(Box::new(Directory::open(path)?.with_existing(publishing.existing)))
        }
        Address::Glance(cloud) => Ok(Box::new(Glance::open(cloud.as_deref(), publishing, report)?)),
        Address::Tree(path, url) => {
            Ok(Box::new(WebTree::open(path, url.as_deref())?.with_existing(publishing.existing)))
        }
        Address::Oci(reference) => {
            let oci = Oci::open(reference, &oci::Access::from_environment(publishing.ca.clone()))?;
            Ok(Box::new(oci.with_existing(publishing.existing)))
        }
        Address::OciImage(reference) => {
            let access = oci::Access::from_environment(publishing.ca.clone());
            let images = oci::ContainerImages::open(reference, &access)?;
            Ok(Box::new(images.with_existing(publishing.existing)))
        }
    }
}
