//! Tokens that expire: before, during and after an upload.

use crate::proxy::{Fault, Proxy, is_upload};
use crate::servers::{Api, Servers};
use crate::sets::{Files, SIZE, clouds, messages, succeeds};

#[test]
fn an_upload_that_outlives_its_token_is_verified_with_a_new_one() {
    let Some(servers) = Servers::separate("keystone glance", &[("OSIMG_OS_TOKEN_SECONDS", "8")])
    else {
        return;
    };
    let files = Files::new("expiry");
    let mut uploads = 0;
    let proxy = Proxy::start(servers.port(2), move |method, path| {
        uploads += u32::from(is_upload(method, path));
        // The upload of the tarball takes twelve seconds, longer than any token is valid.
        if is_upload(method, path) && uploads == 5 {
            Fault::Slow(SIZE as u64 / 12)
        } else {
            Fault::Pass
        }
    });
    let clouds = clouds(&servers, files.dir.path(), "osimg-demo", |cloud| {
        cloud["image_endpoint_override"] = proxy.url.clone().into()
    });
    let output = files.publish(&servers, &clouds, "osimg-demo", &[]);
    succeeds(&output);
    assert!(!messages(&output).contains("again"), "{}", messages(&output));
    let left = files.left(&Api::login(&servers, "osimg-demo"));
    assert!(left.len() == 5 && left.iter().all(|(_, status)| status == "active"), "{left:?}");
}
