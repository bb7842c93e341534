//! References printed for an OCI registry, fetched by Ironic's own client of such registries.

use crate::loopback::{Registry, output, sha256sum};
use crate::servers::{IMAGES, Servers};
use crate::sets::Files;
use osimg::registry::{self, Address, PublishOptions};
use osimg::report::Report;
use osimg::set::Role;
use std::process::Command;

/// Fetches URLs as the conductor does, each into the file after it.
const CONDUCTOR: &str = "
import sys
from ironic.conf import CONF
CONF([], project='ironic', default_config_files=[])
CONF.set_override('permit_fallback_to_http_transport', True, 'oci')
from ironic.common.image_service import OciImageService
for url, path in zip(sys.argv[1::2], sys.argv[2::2]):
    service = OciImageService()
    service.set_image_auth(url, None)
    with open(path, 'wb') as file:
        service.download(url, file)
";

#[test]
fn ironics_own_client_fetches_every_piece_by_the_reference_that_was_printed() {
    if osimg::process::find_program("docker-registry").is_none() {
        return crate::skip("docker-registry is not installed");
    }
    // They bring the environment that contains Ironic.
    if Servers::shared(IMAGES).is_none() {
        return;
    }
    let files = Files::new("oci-conductor");
    let server = Registry::default().start();
    let address = Address::Oci(format!("127.0.0.1:{}/os/image", server.port));
    let set = files.set("1");
    let references = registry::open(&address, &PublishOptions::default(), &Report::silent())
        .unwrap()
        .publish(&set, &Report::silent())
        .unwrap();
    let env = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/openstack/lib/env.sh");
    let python = output(Command::new("bash").args([
        "-c",
        ". \"$1\"; echo \"$venv/bin/python\"",
        "bash",
        env,
    ]));
    let mut command = Command::new(python.trim());
    command.args(["-c", CONDUCTOR]);
    for role in Role::ALL {
        command
            .arg(references.role(role).unwrap().url.as_ref().unwrap())
            .arg(files.path(&format!("fetched-{role}")));
    }
    output(&mut command);
    for role in Role::ALL {
        assert_eq!(
            sha256sum(&files.path(&format!("fetched-{role}"))),
            set.piece(role).unwrap().sha256,
            "{role}"
        );
    }
}
