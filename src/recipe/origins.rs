//! Where the lines of a text come from that is made of several files.

/// A run of lines of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Its first line in the whole text, from 1.
    first: usize,
    /// The index of the file.
    file: usize,
    /// The line of the file, from 1.
    line: usize,
}

/// The files of a text, and which lines of it are theirs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins {
    files: Vec<String>,
    runs: Vec<Run>,
}

impl Origins {
    /// A text that is one file.
    #[must_use]
    pub fn from_file(name: &str) -> Self {
        let mut origins = Self::default();
        origins.begin(1, name, 1);
        origins
    }

    /// From this line of the text on, lines are those of a file from its own line on.
    pub(in crate::recipe) fn begin(&mut self, first: usize, name: &str, line: usize) {
        let file = self.files.iter().position(|known| known == name).unwrap_or_else(|| {
            self.files.push(name.to_owned());
            self.files.len() - 1
        });
        self.runs.push(Run { first, file, line });
    }

    /// The file and its line of a line of the text.
    #[must_use]
    pub fn place(&self, line: usize) -> (&str, usize) {
        let at = self.runs.partition_point(|run| run.first <= line).saturating_sub(1);
        match self.runs.get(at).and_then(|run| Some((self.files.get(run.file)?, run))) {
            Some((file, run)) => (file, run.line + line.saturating_sub(run.first)),
            None => ("", line),
        }
    }

    /// `FILE:LINE` of a line of the text.
    #[must_use]
    pub fn shown(&self, line: usize) -> String {
        let (file, line) = self.place(line);
        format!("{}:{line}", crate::text::line(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_of_the_run_that_began_last() {
        let mut origins = Origins::from_file("a");
        origins.begin(3, "b", 1);
        origins.begin(5, "a", 4);
        let places: Vec<String> = (1..=6).map(|line| origins.shown(line)).collect();
        assert_eq!(places, ["a:1", "a:2", "b:1", "b:2", "a:4", "a:5"]);
    }
}
