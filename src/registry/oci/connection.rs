//! The connection to a repository: its manifests and blobs.

use std::io::Read;
use std::path::PathBuf;

use super::client::{Blob, Client, failed, message};
use super::credentials;
use super::documents::{MANIFEST, digest_of};
use super::index::{INDEX, Index};
use super::reference::{Repository, usual_tag};
use crate::error::{ExitCode, Failure, Result};
use crate::http::{self, Answer, Call, Redirects, Retry, Stop, Trust};
use crate::registry::options::Existing;
use crate::set::{Made, Set};

/// Where docker and podman keep the authority of one registry.
const CERTIFICATES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// The media types that are read under a tag; with those of docker, so that no tag of another
/// program seems free.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
                        application/vnd.oci.image.index.v1+json, \
                        application/vnd.docker.distribution.manifest.v2+json, \
                        application/vnd.docker.distribution.manifest.list.v2+json";

/// A repository of an OCI registry.
#[derive(Debug)]
pub struct Oci {
    pub(super) repository: Repository,
    pub(super) client: Client,
    pub(super) existing: Existing,
}

/// The trust in a registry's certificate, and the login there.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// A PEM file that its certificate is checked against; else what `certs.d` of podman or docker
    /// has for it, else what the host trusts.
    pub ca: Option<PathBuf>,
    /// Files in the form of docker's `config.json`, the first that has a login for it wins.
    pub logins: Vec<PathBuf>,
}

impl Access {
    /// The logins where podman, skopeo and docker keep them.
    #[must_use]
    pub fn from_environment(ca: Option<PathBuf>) -> Self {
        Self { ca, logins: credentials::files(|name| std::env::var(name).ok()) }
    }
}

impl Oci {
    /// Connects to the registry of `HOST[:PORT]/NAME[:TAG]`.
    ///
    /// # Errors
    /// When the reference is none, or the registry cannot be reached or refuses the login.
    pub fn open(reference: &str, access: &Access) -> Result<Self> {
        let repository = Repository::parse(reference).map_err(|why| {
            // It may hold a password.
            let shown = reference.rsplit('@').next().unwrap_or_default().escape_debug().to_string();
            Failure::new(ExitCode::Usage, format!("reading the registry '{shown}': {why}"))
                .hint("write oci:HOST/NAME, oci:HOST/NAME:TAG, or the same with oci-image:")
        })?;
        let filed = || {
            CERTIFICATES
                .iter()
                .map(|d| PathBuf::from(d).join(&repository.host).join("ca.crt"))
                .find(|path| path.is_file())
        };
        let ca = access.ca.clone().or_else(filed);
        let http = http::Client::new(&Trust::named(ca.as_deref()), Redirects::Follow)?;
        let login = credentials::find(&access.logins, &repository.host, &repository.name)?;
        let client = Client::connect(http, repository.clone(), login)?;
        Ok(Self { repository, client, existing: Existing::Keep })
    }

    /// The same, with another rule for versions that exist with other bytes.
    #[must_use]
    pub fn with_existing(self, existing: Existing) -> Self {
        Self { existing, ..self }
    }

    /// The tags of a set: that of its name and version, and the one of the address.
    pub(super) fn tags(&self, set: &Set) -> Vec<String> {
        let usual = usual_tag(&set.name, &set.version, set.tarball.extension);
        let own = self.repository.tag.clone().filter(|tag| *tag != usual);
        std::iter::once(usual).chain(own).collect()
    }

    /// How the manifest of that digest is named, to Ironic and to other clients.
    pub(super) fn url(&self, digest: &str) -> String {
        format!("oci://{}/{}@{digest}", self.repository.host, self.repository.name)
    }

    /// A manifest by tag or digest, as it is there.
    pub(super) fn manifest(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let doing = format!("reading the manifest {name} of");
        let call =
            Call::get(self.client.path(&format!("manifests/{name}"))).header("accept", ACCEPTED);
        let answer = self.client.call(&call, &doing)?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            _ => Err(self.client.refused(&doing, &answer)),
        }
    }

    /// Puts a manifest or an index under a tag, and compares what the registry has then with what
    /// was meant.
    pub(super) fn put_manifest(&self, tag: &str, text: &[u8]) -> Result<()> {
        let doing = format!("writing the manifest {tag} to");
        let kind = if serde_json::from_slice::<Index>(text).is_ok() { INDEX } else { MANIFEST };
        let path = self.client.path(&format!("manifests/{tag}"));
        let call = Call::send("PUT", path, text).repeatable().header("content-type", kind);
        let mut answer;
        let mut retry = Retry::new(Stop::Heed);
        loop {
            answer = self.client.call(&call, &doing)?;
            // A blob that two publishers send at once is unknown for an instant to docker-registry,
            // which puts the second instead of the first.
            let unknown =
                answer.status == 400 && message(&answer).contains("MANIFEST_BLOB_UNKNOWN");
            if !unknown || !retry.again(None).map_err(|error| failed(error, &doing))? {
                break;
            }
        }
        if answer.status != 201 {
            return Err(self.client.refused(&doing, &answer));
        }
        let digest = digest_of(text);
        if self.manifest(&digest)?.as_deref() != Some(text) {
            return Err(Failure::new(
                ExitCode::Trust,
                format!("{doing} {}: what is there now is not what was sent", self.repository),
            )
            .into());
        }
        Ok(())
    }

    pub(super) fn delete_manifest(&self, digest: &str) -> Result<Answer> {
        self.client.call(
            &Call::delete(self.client.path(&format!("manifests/{digest}"))),
            "removing a manifest of",
        )
    }

    /// The size of a blob, if the repository has it.
    pub(super) fn blob_size(&self, digest: &str) -> Result<Option<u64>> {
        let doing = "looking for a blob of";
        let answer =
            self.client.call(&Call::head(self.client.path(&format!("blobs/{digest}"))), doing)?;
        match answer.status {
            200 => Ok(answer.length()),
            404 => Ok(None),
            _ => Err(self.client.refused(doing, &answer)),
        }
    }

    /// Sends a blob that is not there yet, and asks for it then.
    pub(super) fn blob<R: Read>(
        &self,
        blob: &Blob<'_>,
        open: impl Fn() -> Result<R>,
    ) -> Result<Made> {
        if self.blob_size(blob.digest)? == Some(blob.size) {
            return Ok(Made::Reused);
        }
        self.client.upload(blob, open)?;
        match self.blob_size(blob.digest)? {
            Some(size) if size == blob.size => Ok(Made::New),
            have => Err(Failure::new(
                ExitCode::Trust,
                format!(
                    "sending {} to {}: the registry has {have:?} bytes of it then, not {}",
                    blob.what, self.repository, blob.size
                ),
            )
            .into()),
        }
    }
}
