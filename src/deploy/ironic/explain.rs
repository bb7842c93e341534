//! Explains Ironic's messages: the cause, and the fix.

use serde::Serialize;
use std::fmt;

/// A message of Ironic explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The cause.
    pub why: &'static str,
    /// The fix.
    pub fix: String,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.why, self.fix)
    }
}

/// All of the parts are in the message, in upper or lower case. `NODE` is replaced by the node in
/// the fix.
type Row = (&'static [&'static str], &'static str, &'static str);

/// As Ironic 39 words them, the more particular before the more general.
const KNOWN: &[Row] = &[
    (
        &["does not have any port associated"],
        "Ironic does not know the node's network card, and needs it to send the boot files",
        "baremetal port create MAC --node NODE",
    ),
    (
        &["deploy_kernel"],
        "Ironic's validation wants a deploy kernel and ramdisk even where Anaconda is the \
         installer, and boots neither",
        "name the installer's: baremetal node set NODE --driver-info deploy_kernel=… \
         --driver-info deploy_ramdisk=…",
    ),
    (
        &["missing the following properties", "stage2_id"],
        "the image in Glance does not name the installer's pieces",
        "publish it with them: osimg publish TARBALL --kernel … --ramdisk … --stage2 …",
    ),
    (
        &["missing the following properties", "_id"],
        "the image in Glance does not name the installer's kernel and ramdisk",
        "publish it with them: osimg publish TARBALL --kernel … --ramdisk … --stage2 …",
    ),
    (
        &["missing the following properties"],
        "the installer's kernel and ramdisk are not set on the node",
        "osimg deploy … --node NODE --apply sets them",
    ),
    (
        &["stage2_id", "missing"],
        "the installer's second stage is not set on the node",
        "osimg deploy … --node NODE --apply sets it; name it with --stage2",
    ),
    (
        &["root_gb"],
        "Ironic wants a size of the root partition, though the kickstart divides the disk",
        "baremetal node set NODE --instance-info root_gb=10",
    ),
    (
        &["'ks_template'"],
        "Ironic took the image for one of a whole disk: kernel and ramdisk are not known, or the \
         image's property img_type is not 'partition'",
        "osimg deploy … --node NODE --apply; openstack image unset --property img_type IMAGE",
    ),
    (
        &["kickstart template includes a variable"],
        "the kickstart template uses a variable that Ironic does not give",
        "osimg deploy … --kickstart FILE --print-kickstart names it with its line",
    ),
    (
        &["required kickstart option variables are missing"],
        "the kickstart template does not use what Ironic demands",
        "osimg deploy … --kickstart FILE --print-kickstart names it",
    ),
    (
        &["kickstart file generated does not pass validation"],
        "the kickstart file is not correct",
        "fix the template: the message names the line",
    ),
    (
        &["security", "not permitted"],
        "Ironic never reads files below that directory; its packaged kickstart template lies in \
         such a one",
        "publish a template with the image, as osimg does, or name it in instance_info ks_template",
    ),
    (
        &["is not allowed for image source file urls"],
        "the conductor reads files only below [conductor] file_url_allowed_paths",
        "put the file on a web server, or have the directory added there",
    ),
    (
        &["malformed kernel command line"],
        "kernel_append_params is not made of KEY, KEY=VALUE and KEY=\"VALUE WITH BLANKS\"",
        "baremetal node set NODE --instance-info kernel_append_params='…'",
    ),
    (
        &["requested image is not valid for use"],
        "the conductor does not recognise the tarball; it may have a boot record's signature (55 \
         AA) at byte 510 by chance",
        "write it again with osimg, which moves such bytes, or with another compression level",
    ),
    (
        // Its cleaning of the cache lists a directory and then looks at each entry, a download's
        // temporary directory too, which may be gone by then.
        &["filenotfounderror", "master", "/tmp"],
        "two deployments met in the conductor's cache of images, one tidying up while the other's \
         download ended; nothing is wrong with the image",
        "start the deployment again",
    ),
    (
        &["image", "could not be found"],
        "the conductor may not see the image: it must be public, community, owned by the \
         conductor's project, or shared with it",
        "openstack image add project IMAGE service (for every piece), or openstack image set \
         --community IMAGE",
    ),
    (
        &["not authorized for image"],
        "the conductor may not read the image: it must be public, community, owned by its \
         project, or shared with it",
        "openstack image add project IMAGE service (for every piece), or openstack image set \
         --community IMAGE",
    ),
    (
        &["timeout reached", "callback"],
        "the installer never called back: it did not boot, did not reach Ironic's API, or hangs",
        "look at the node's console; does it reach the conductor's http_url, and the API by the \
         URL in ks.cfg?",
    ),
    (
        &["timeout reached"],
        "the installer did not end in the time that Ironic gives it ([conductor] \
         deploy_callback_timeout)",
        "look at the node's console, and have the limit raised if it was only slow",
    ),
    (
        &["anaconda failed"],
        "Anaconda stopped with an error",
        "look at the node's console, and at /tmp/anaconda.log there",
    ),
    (
        &["deploying using anaconda"],
        "Anaconda stopped with an error",
        "look at the node's console, and at /tmp/anaconda.log there",
    ),
    (
        &["could not find the following interface", "anaconda"],
        "the conductor has no anaconda deploy interface",
        "add it to enabled_deploy_interfaces in ironic.conf and restart the conductor",
    ),
    (
        &["could not find the following interface"],
        "the conductor has no such interface",
        "choose one that it has, with --boot-interface: the message names them, and `baremetal \
         driver show DRIVER`",
    ),
    (
        &["anaconda", "enabled_deploy_interfaces"],
        "the conductor has no anaconda deploy interface",
        "add it to enabled_deploy_interfaces in ironic.conf and restart the conductor",
    ),
    (
        &["boot_interface", "enabled_boot_interfaces"],
        "the conductor, or the node's hardware type, has no such boot interface",
        "choose one that `baremetal driver show DRIVER` lists",
    ),
    (
        &["no valid host"],
        "no conductor that runs takes this node",
        "baremetal conductor list; baremetal driver list",
    ),
    (
        &["image validation failed"],
        "the conductor cannot fetch a piece of the image",
        "does its URL answer 200 from the conductor's machine?",
    ),
    (
        &["got http code"],
        "the conductor cannot fetch a piece of the image",
        "does its URL answer 200 from the conductor's machine?",
    ),
    (
        &["is associated with an instance"],
        "the node belongs to an instance of Nova already",
        "choose another node",
    ),
];

/// The explanation of a message of Ironic, if it is known.
#[must_use]
pub fn explain(message: &str, node: &str) -> Option<Explanation> {
    let lower = message.to_lowercase();
    let row = KNOWN
        .iter()
        .find(|(parts, _, _)| parts.iter().all(|part| lower.contains(&part.to_lowercase())));
    row.map(|(_, why, fix)| Explanation { why, fix: fix.replace("NODE", node) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_as_ironic_words_them_are_explained() {
        let cases = [
            (
                "Node 7 does not have any port associated with it",
                "baremetal port create MAC --node n1",
            ),
            ("Image x is missing the following properties: stage2_id", "osimg publish"),
            (
                "Some parameters were missing in node's instance_info. Missing are: ['root_gb']",
                "root_gb=10",
            ),
            ("Deploy step deploy.deploy failed: 'ks_template'.", "--apply"),
            ("Image 5ee0d762 could not be found.", "add project"),
            ("Timeout reached while waiting for callback for node 7", "console"),
            (
                "Deploy step deploy.deploy failed with FileNotFoundError: [Errno 2] No such file \
                 or directory: '/var/lib/ironic/master_images/tmpwb65nw0a'.",
                "again",
            ),
        ];
        for (message, fix) in cases {
            let explanation = explain(message, "n1").expect(message);
            assert!(explanation.fix.contains(fix), "{message}: {explanation}");
        }
        assert_eq!(explain("something new", "n1"), None);
    }
}
