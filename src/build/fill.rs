//! Steps 2 and 3: the package manager fills the install root.

use std::time::SystemTime;

use super::context::Build;
use super::job::{Directories, job};
use super::tools::Tools;
use crate::error::{ExitCode, Failure, Result};
use crate::finish::initramfs::{self, Contents};
use crate::finish::machine_id;
use crate::packages::{self, Cache, FilledRoot, Job, PinnedKey, Programs, TransactionPlan};
use crate::recipe::Bootstrap;
use crate::report::bytes;
use crate::sandbox::InstallRoot;
use crate::workdir::{Workdir, free_space};

/// Bytes that must be free where the package cache is.
const LEAST_CACHE: u64 = 64 << 20;

impl Build<'_> {
    /// Steps 2 and 3: the package manager fills the root inside the sandbox.
    pub(super) fn fill(
        &self,
        tools: &Tools,
        workdir: &mut Workdir,
        keys: &[PinnedKey],
        dbpath: &str,
    ) -> Result<FilledRoot> {
        let directories = Directories::for_image(workdir);
        let settings = &self.recipe.settings;
        let repositories =
            settings.packages.repositories.iter().map(|repository| repository.id.clone()).collect();
        let programs = if settings.packages.bootstrap == Bootstrap::Made {
            Programs::OfPackages { repositories }
        } else {
            Programs::Trusted
        };
        let cache = Cache::open(&self.options.cache, programs)?;
        let mut job = Job {
            lock: self.options.lock.as_ref().map(|file| &file.lock),
            keys: keys.to_vec(),
            devices: self.options.devices,
            idle: self.options.idle,
            source_date_epoch: self.options.packing.source_date_epoch,
            clock: self.options.clock.as_ref(),
            ..job(self.recipe, &tools.root, &directories, &cache, dbpath, self.report)
        };
        packages::fill(&tools.manager, &mut job, self.transactions, &mut |plan| {
            // A tenth above the sizes of the packages: the rpmdb, the initramfs and files of
            // scriptlets.
            let size = plan.installed_size();
            workdir.reserve(size + size / 10 + (64 << 20))?;
            let free = free_space(cache.directory())?;
            if free < LEAST_CACHE {
                return Err(Failure::new(
                    ExitCode::Space,
                    format!(
                        "the package cache {} has only {} free",
                        cache.path().display(),
                        bytes(free)
                    ),
                )
                .hint("name a larger place: --cache DIR")
                .into());
            }
            let root = InstallRoot::open(&directories.root)?;
            machine_id::prepare(&root, settings.finish.machine_id)?;
            initramfs::prepare(&root, settings.finish.initramfs, contents(plan))
        })
    }

    /// Times are limited to the date of the newest package: if the clock is behind it, files of
    /// scriptlets look like a package's own.
    pub(super) fn check_clock(&self, source_date_epoch: i64) {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if u64::try_from(source_date_epoch).is_ok_and(|date| date > now) {
            self.report.warn(&format!(
                "this host's clock is behind the date of the image, {source_date_epoch} seconds \
                 since 1970: files that scriptlets make are dated by it, and no other build will \
                 give the same bytes; set the clock"
            ));
        }
    }
}

/// The packages that the initramfs step depends on.
fn contents(plan: &TransactionPlan) -> Contents<'_> {
    let kernel = plan.install.iter().find(|p| {
        p.name == "kernel-core" || p.name.starts_with("linux-image-") || p.name == "kernel"
    });
    Contents {
        kernel: kernel.map(|p| p.version.as_str()),
        zstd: plan.install.iter().any(|p| p.name == "zstd"),
    }
}
