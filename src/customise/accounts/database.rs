//! One file of accounts: lines of fields between colons, and the lines that are kept as they are.

use crate::customise::image::Image;
use crate::error::Result;

/// A file such as passwd(5). One that the image does not have stays away.
pub(super) struct Database {
    path: &'static str,
    exists: bool,
    changed: bool,
    lines: Vec<String>,
}

impl Database {
    pub(super) fn read(image: &Image<'_>, path: &'static str) -> Result<Self> {
        let text = image.read(path)?;
        let lines = text.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        Ok(Self { path, exists: text.is_some(), changed: false, lines })
    }

    /// Writes it, if anything changed, with the mode and owners that it has.
    pub(super) fn write(&self, image: &Image<'_>) -> Result<()> {
        if !self.exists || !self.changed {
            return Ok(());
        }
        image.rewrite(
            self.path,
            &self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>(),
        )
    }

    pub(super) fn exists(&self) -> bool {
        self.exists
    }

    /// Every line's fields.
    pub(super) fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        self.lines.iter().map(|line| line.split(':').collect())
    }

    fn row(&self, name: &str) -> Option<Vec<&str>> {
        self.rows().find(|fields| fields.first() == Some(&name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.row(name).is_some()
    }

    pub(super) fn field(&self, name: &str, index: usize) -> Option<&str> {
        self.row(name)?.get(index).copied()
    }

    pub(super) fn number(&self, name: &str, index: usize) -> Option<u32> {
        self.field(name, index)?.parse().ok()
    }

    /// The account with this id, which is the third field of passwd and of group.
    pub(super) fn name_of(&self, id: u32) -> Option<&str> {
        let id = id.to_string();
        self.rows()
            .find(|fields| fields.get(2) == Some(&id.as_str()))
            .and_then(|fields| fields.first().copied())
    }

    pub(super) fn append(&mut self, fields: &[&str]) {
        self.lines.push(fields.join(":"));
        self.changed = true;
    }

    /// Sets a field; of an account that is not there nothing.
    pub(super) fn set(&mut self, name: &str, index: usize, value: &str) {
        for line in &mut self.lines {
            let mut fields: Vec<&str> = line.split(':').collect();
            if fields.first() == Some(&name)
                && let Some(field) = fields.get_mut(index)
            {
                *field = value;
                *line = fields.join(":");
                self.changed = true;
                return;
            }
        }
    }

    /// Adds a name to the list in the last field of a group.
    pub(super) fn add_member(&mut self, group: &str, member: &str) {
        let Some(members) = self.field(group, 3) else { return };
        if members.split(',').any(|name| name == member) {
            return;
        }
        let members =
            if members.is_empty() { member.to_owned() } else { format!("{members},{member}") };
        self.set(group, 3, &members);
    }
}
