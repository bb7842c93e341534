//! Step 4: customizations and scripts, before the tree is finished.

use super::context::Build;
use crate::customise::{self, Image, Workplace, scripts};
use crate::error::Result;
use crate::packages::{FilledRoot, KnownOwners};
use crate::recipe::When;
use crate::sandbox::{InstallRoot, OwnedFile};
use crate::workdir::Workdir;

/// What customising has done.
#[derive(Debug, Default)]
pub(super) struct Customised {
    pub(super) results: customise::Results,
    /// The owners of files after it, in a build that can give nothing away.
    pub(super) owners: Option<Vec<OwnedFile>>,
}

impl Build<'_> {
    /// Step 4: users, services, files and everything else that the settings ask for.
    pub(super) fn customise(
        &self,
        root: &InstallRoot,
        workdir: &Workdir,
        filled: &FilledRoot,
    ) -> Result<Customised> {
        let settings = &self.recipe.settings.customizations;
        let scripts = &self.recipe.settings.scripts;
        let place = Workplace {
            directory: &workdir.root(),
            scratch: &workdir.scratch(),
            devices: self.options.devices,
            source_date_epoch: filled.source_date_epoch,
            clock: self.options.clock.as_ref(),
            report: self.report,
        };
        let given = match &filled.owners {
            Some(KnownOwners::Given(given)) => given.clone(),
            Some(KnownOwners::Packaged(_)) | None => Vec::new(),
        };
        let image = Image::new(root, place, given);
        customise::check_presets(&image)?;
        if settings.is_empty() && scripts.is_empty() {
            return Ok(Customised::default());
        }
        if filled.owners.is_some() && !scripts.is_empty() {
            self.report.warn(
                "a build with a single id does not record the owners that scripts give to files: \
                 root owns them",
            );
        }
        scripts::run(&image, scripts, When::AfterPackages)?;
        let step = self.report.step("customising the tree");
        customise::apply(&image, settings)?;
        step.finish("done");
        scripts::run(&image, scripts, When::Last)?;
        let results = customise::complete(&image, settings)?;
        Ok(Customised { results, owners: Some(image.into_owners()) })
    }
}
