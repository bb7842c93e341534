//! `firewall`: by the image's own firewall-offline-cmd.

use super::image::Image;
use crate::error::Result;
use crate::recipe::customizations::Firewall;

const KEY: &str = "customizations.firewall";

pub(super) fn apply(image: &Image<'_>, settings: &Firewall) -> Result<()> {
    if *settings == Firewall::default() {
        return Ok(());
    }
    let program = image.need("firewall-offline-cmd", KEY, "firewalld")?;
    for zone in &settings.zones {
        for source in &zone.sources {
            image.run(
                KEY,
                &[&program, &format!("--zone={}", zone.name), &format!("--add-source={source}")],
            )?;
        }
    }
    let ports = settings.ports.iter().map(|port| format!("--port={port}"));
    let enabled = settings.enabled.iter().map(|service| format!("--service={service}"));
    let disabled = settings.disabled.iter().map(|service| format!("--remove-service={service}"));
    let options: Vec<String> = ports.chain(enabled).chain(disabled).collect();
    if !options.is_empty() {
        let argv: Vec<&str> =
            std::iter::once(program.as_str()).chain(options.iter().map(String::as_str)).collect();
        image.run(KEY, &argv)?;
    }
    Ok(())
}
