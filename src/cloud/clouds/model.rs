//! A cloud, and the login there.

use std::collections::BTreeMap;

use crate::cloud::secret::Secret;
use crate::http::Trust;

/// A cloud with its login.
#[derive(Debug, Clone)]
pub struct Cloud {
    /// Its name in clouds.yaml, or `environment`.
    pub name: String,
    /// Where it is written down, for messages.
    pub source: String,
    /// How to log in.
    pub auth: Auth,
    /// The region; the catalogue's only one when it is not set.
    pub region: Option<String>,
    /// Which of a service's endpoints: public, internal or admin.
    pub interface: String,
    /// Endpoints instead of the catalogue's, by service type with underscores: `image`,
    /// `baremetal`.
    pub endpoints: BTreeMap<String, String>,
    /// How servers' certificates are checked.
    pub tls: Trust,
}

/// How to log in.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Auth {
    /// Not at all: `auth_type: none`.
    None,
    /// Without Keystone, with a user and a password for every call: `auth_type: http_basic`.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// With Keystone, version 3.
    Keystone {
        /// Ends in `/v3`.
        url: String,
        /// The identity.
        identity: Identity,
        /// For what.
        scope: Scope,
    },
}

/// The identity that logs in.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A user with a password.
    Password(Named, Secret),
    /// Whoever has this token.
    Token(Secret),
    /// An application credential: its id or name, the user when it is a name, its secret.
    ApplicationCredential(Named, Named, Secret),
}

/// Something of Keystone's: an id, or a name with its domain's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// The id of its domain.
    pub domain_id: Option<String>,
    /// The name of its domain.
    pub domain_name: Option<String>,
}

/// The scope of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The credential's own scope.
    Own,
    /// A project.
    Project(Named),
    /// A domain.
    Domain(Named),
    /// The whole system.
    System,
}

impl Auth {
    /// Whether Keystone knows users, projects and services.
    #[must_use]
    pub(crate) fn has_keystone(&self) -> bool {
        matches!(self, Self::Keystone { .. })
    }
}
