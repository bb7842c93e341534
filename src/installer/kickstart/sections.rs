//! Splits a rendered kickstart file into commands and sections.

/// A section of a kickstart file.
pub(super) struct Section<'a> {
    pub name: &'a str,
    /// Its first line.
    pub header: &'a str,
    pub body: String,
}

pub(super) type Parts<'a> = (Vec<Section<'a>>, Vec<&'a str>);

/// Sections, and the commands outside of them.
pub(super) fn split(kickstart: &str) -> Result<Parts<'_>, (String, &str)> {
    let mut sections = Vec::new();
    let mut commands = Vec::new();
    let mut open: Option<Section<'_>> = None;
    for line in kickstart.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        let begins = [
            "%pre",
            "%post",
            "%onerror",
            "%packages",
            "%addon",
            "%traceback",
            "%pre-install",
            "%certificate",
        ]
        .contains(&first);
        match (&mut open, first) {
            (Some(_), "%end") => sections.extend(open.take()),
            (None, "%end") => return Err(("%end ends no section".into(), line.trim_end())),
            (Some(section), _) if begins => {
                return Err((
                    format!("{} is not ended before {first}", section.name),
                    section.header,
                ));
            }
            (Some(section), _) => {
                section.body.push_str(line);
                section.body.push('\n');
            }
            (None, _) if begins => {
                open = Some(Section { name: first, header: line.trim_end(), body: String::new() })
            }
            (None, "") => {}
            (None, _) if first.starts_with('#') => {}
            (None, _) => commands.push(line.trim()),
        }
    }
    match open {
        Some(section) => Err((format!("{} is never ended", section.name), section.header)),
        None => Ok((sections, commands)),
    }
}
