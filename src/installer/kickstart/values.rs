//! The values that Ironic passes to a template.

/// The values for rendering a template that differ from node to node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// Where Anaconda gets the tarball, or the install tree.
    pub liveimg_url: String,
    /// The kind of source at `liveimg_url`.
    pub source: Source,
    /// The secret that authenticates the node's calls.
    pub agent_token: String,
    /// Where the node calls.
    pub heartbeat_url: String,
    /// `%post` sections that write the node's config drive.
    pub config_drive: String,
    /// Whether the conductor's `[anaconda] insecure_heartbeat` is set.
    pub heartbeat_trust: Trust,
}

/// The source that Anaconda installs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A tarball.
    Tarball,
    /// An install tree.
    Tree,
}

/// Whether the node checks the certificate of Ironic's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It does.
    Checked,
    /// It does not.
    Unchecked,
}
