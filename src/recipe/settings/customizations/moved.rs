//! Keys that are elsewhere now, and keys of blueprints that do not apply to a tarball.

/// The hint for a key that has another name or no meaning here; `None` for any other key.
pub(in crate::recipe) fn moved_key(table: &str, key: &str) -> Option<&'static str> {
    Some(match (table, key) {
        ("finish", "hostname") => "it is `hostname` under [customizations] now",
        ("finish", "certificates") => "it is `files` under [customizations.cacerts] now",
        ("finish", "files") => {
            "it is [[customizations.files]] now, with `user` and `group` instead of `owner`; \
             docs/customizations.md has an example"
        }
        ("customizations", "filesystem" | "disk" | "partitioning_mode" | "installation_device") => {
            "a tarball has no disk; the layout of a node's disks is `disks`, `layout` or `storage` \
             under [deploy.install]"
        }
        ("customizations", "installer" | "iso") => {
            "a tarball has no installer; osimg's kickstart is set under [deploy.install]"
        }
        ("customizations", "fdo" | "ignition") => {
            "no OS tarball is set up by it; a node's own data come from its config drive"
        }
        ("customizations", "rhsm") => "write its configuration file by [[customizations.files]]",
        ("customizations", "containers-storage") => {
            "write /etc/containers/storage.conf by [[customizations.files]]"
        }
        ("customizations", "firstboot") => {
            "write a unit by [[customizations.files]] and name it in `enabled` under \
             [customizations.services]"
        }
        ("customizations", "dnf") => "write /etc/dnf/vars/releasever by [[customizations.files]]",
        ("customizations.kernel", "name") => {
            "the recipe installs the kernel: write `install kernel-rt` there"
        }
        ("customizations.openscap", "json_tailoring" | "policy_id") => {
            "put the tailoring under [customizations.openscap.tailoring]"
        }
        ("customizations.user" | "customizations.sshkey", "keys") => {
            "it is `key`, a text of one or more lines, or a list"
        }
        ("customizations.user", "expires") => "it is `expiredate`",
        _ => return None,
    })
}
