//! What is known of a build's repositories before a package manager runs.

use std::path::Path;

use super::host_keys::{host_repositories, is_enabled, needs_release};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{PackageSettings, RepositorySource, Transaction};

/// Fails as the package manager would if a transaction has no repository.
///
/// # Errors
/// [`ExitCode::Recipe`].
pub(crate) fn check_repositories(
    settings: &PackageSettings,
    transactions: &[Transaction],
) -> Result<()> {
    check(Path::new("/"), settings, transactions)
}

/// As [`check_repositories`], for the host with its tree at `root`.
fn check(root: &Path, settings: &PackageSettings, transactions: &[Transaction]) -> Result<()> {
    let named: Vec<(String, bool)> = if settings.repositories.is_empty() {
        // The package manager may be able to read what the user cannot.
        let Ok(found) = host_repositories(root) else { return Ok(()) };
        found.into_iter().map(|known| (known.id, known.enabled)).collect()
    } else {
        settings.repositories.iter().map(|known| (known.id.clone(), known.enabled)).collect()
    };
    let has_repository = |transaction: &Transaction| {
        let only = std::slice::from_ref(transaction);
        named.iter().any(|(id, enabled)| is_enabled(id, *enabled, only))
    };
    if transactions.iter().all(has_repository) {
        Ok(())
    } else {
        Err(no_repository("no repository is enabled").into())
    }
}

/// The failure of a build without repositories.
pub(super) fn no_repository(message: &str) -> Failure {
    Failure::new(ExitCode::Recipe, message).hint(
        "name repositories in the settings next to the recipe ([[packages.repository]]), or on \
         the command line: --repo ID=URL",
    )
}

/// The hint for addresses with `$releasever` when no release is set.
pub(super) fn release_hint(settings: &PackageSettings) -> Option<&'static str> {
    let addresses = |source: &RepositorySource| match source {
        RepositorySource::Baseurl(urls) => urls.iter().any(|url| needs_release(url)),
        RepositorySource::Metalink(url) | RepositorySource::Mirrorlist(url) => needs_release(url),
    };
    let missing = settings.releasever.is_none() && !settings.vars.contains_key("releasever");
    let needed = || match settings.repositories.as_slice() {
        [] => host_repositories(Path::new("/"))
            .is_ok_and(|found| found.iter().any(|known| known.enabled && known.needs_release)),
        named => named.iter().any(|known| addresses(&known.source)),
    };
    (missing && needed()).then_some(
        "$releasever in the repositories' addresses is empty: set it by --releasever VERSION, or \
         releasever under [packages]",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Repository, Script};

    fn transactions(text: &str) -> Vec<Transaction> {
        Script::parse(text, "x.yum").expect("a recipe").lower().expect("transactions").transactions
    }

    #[test]
    fn a_transaction_without_an_enabled_repository_is_refused() {
        let host = tempfile::tempdir().expect("a directory");
        let directory = host.path().join("etc/yum.repos.d");
        std::fs::create_dir_all(&directory).expect("made");
        let usual = transactions("install a\nts run\n");
        let enabled = transactions("repo enable b\ninstall a\nts run\n");
        let disabled = transactions("install a\nts run\nrepo disable *\ninstall b\nts run\n");
        let own = PackageSettings::default();
        let source = RepositorySource::Baseurl(vec!["https://r/$releasever".into()]);
        let named = PackageSettings {
            repositories: vec![Repository::new("r", source)],
            ..PackageSettings::default()
        };
        let is_refused = |settings: &PackageSettings, transactions: &[Transaction]| {
            check(host.path(), settings, transactions).is_err()
        };
        assert!(is_refused(&own, &usual) && !is_refused(&named, &usual));
        std::fs::write(directory.join("b.repo"), "[b]\nenabled=0\nbaseurl=x\n").expect("written");
        assert!(is_refused(&own, &usual) && !is_refused(&own, &enabled));
        assert!(is_refused(&named, &disabled));
        assert!(release_hint(&named).is_some_and(|hint| hint.contains("--releasever")));
        let set = PackageSettings { releasever: Some("9".into()), ..named };
        assert_eq!(release_hint(&set), None);
    }
}
