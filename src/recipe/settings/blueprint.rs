//! A blueprint of image-builder: its `[customizations]` are settings as they are; its packages and
//! groups become statements of the recipe. See
//! <https://osbuild.org/docs/user-guide/blueprint-reference/>.

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::fields::Check;
use crate::recipe::diagnostic::{quoted, span_of};
use crate::recipe::lexer::quote;

impl Check<'_> {
    /// Makes settings of a blueprint's table, and notes its statements.
    pub(super) fn blueprint<'i>(&mut self, table: DeTable<'i>) -> DeTable<'i> {
        let mut settings = DeTable::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            match name.as_str() {
                // For display only.
                "description" => {}
                "name" => self
                    .set(&mut settings, "image", key, value, |text| text.trim().replace(' ', "-")),
                "version" => self.set(&mut settings, "image", key, value, str::to_owned),
                "architecture" => self.set(
                    &mut settings,
                    "packages",
                    Spanned::new(key.span(), "arch".into()),
                    value,
                    str::to_owned,
                ),
                "distro" => self.distribution(&mut settings, &key, value),
                "packages" | "modules" => self.entries(&name, value, |check, entry| {
                    let (package, version) =
                        (check.text(entry, "name")?, check.text(entry, "version"));
                    let version = version.filter(|version| !matches!(version.as_str(), "" | "*"));
                    Some(format!(
                        "install {}",
                        quote(
                            &version
                                .map_or(package.clone(), |version| format!("{package}-{version}"))
                        )
                    ))
                }),
                "groups" => self.entries(&name, value, |check, entry| {
                    Some(format!("install {}", quote(&format!("@{}", check.text(entry, "name")?))))
                }),
                "enabled_modules" => self.entries(&name, value, |check, entry| {
                    Some(format!(
                        "module enable {}",
                        quote(&format!(
                            "{}:{}",
                            check.text(entry, "name")?,
                            check.text(entry, "stream")?
                        ))
                    ))
                }),
                "customizations" => {
                    let span = value.span();
                    let mut inner = value.into_inner();
                    if let DeValue::Table(customizations) = &mut inner {
                        self.kernel_package(customizations);
                    }
                    settings.insert(key, Spanned::new(span, inner));
                }
                "containers" => self.fail(
                    key.span(),
                    "`containers` of a blueprint: osimg embeds no containers",
                    "pull them in a [[script]]",
                ),
                "minimal" => self.fail(
                    key.span(),
                    "`minimal` of a blueprint does not apply",
                    "write `install_weak_deps = false` under [packages]",
                ),
                _ => self.fail(
                    key.span(),
                    format!("unknown key {} in a blueprint", quoted(&name)),
                    "",
                ),
            }
        }
        settings
    }

    fn set<'i>(
        &mut self,
        settings: &mut DeTable<'i>,
        table: &'static str,
        key: Spanned<DeString<'i>>,
        value: Spanned<DeValue<'i>>,
        change: impl Fn(&str) -> String,
    ) {
        let span = value.span();
        let DeValue::String(text) = value.into_inner() else {
            return self.fail(span, "this is a text in blueprints", "put the value in quotes");
        };
        let value = Spanned::new(span.clone(), DeValue::String(change(&text).into()));
        let mut inner = match settings.remove(table).map(Spanned::into_inner) {
            Some(DeValue::Table(inner)) => inner,
            _ => DeTable::new(),
        };
        inner.insert(key, value);
        settings.insert(
            Spanned::new(span.clone(), table.into()),
            Spanned::new(span, DeValue::Table(inner)),
        );
    }

    /// `rhel-9.4`, `centos-9`, `fedora-42`: what the repositories' `$releasever` is.
    fn distribution<'i>(
        &mut self,
        settings: &mut DeTable<'i>,
        key: &Spanned<DeString<'i>>,
        value: Spanned<DeValue<'i>>,
    ) {
        let span = value.span();
        let text = value.get_ref().as_str().unwrap_or_default().to_owned();
        let release = text
            .rsplit_once('-')
            .map(|(_, release)| release.split('.').next().unwrap_or_default().to_owned());
        match release
            .filter(|release| !release.is_empty() && release.chars().all(|c| c.is_ascii_digit()))
        {
            Some(release) => {
                let key = Spanned::new(key.span(), "releasever".into());
                self.set(settings, "packages", key, value, |_| release.clone());
            }
            None if text.is_empty() => {}
            None => self.fail(
                span,
                format!("{} does not end with a release", quoted(&text)),
                "such as \"centos-9\"",
            ),
        }
    }

    /// The kernel that image-builder would install.
    fn kernel_package(&mut self, customizations: &mut DeTable<'_>) {
        let Some(DeValue::Table(kernel)) = customizations.get_mut("kernel").map(Spanned::get_mut)
        else {
            return;
        };
        let Some(name) = kernel.remove("name") else { return };
        match name.get_ref().as_str() {
            Some(package) => {
                self.statement(format!("install {}", quote(package)), name.span().start)
            }
            None => self.fail(name.span(), "`name` of a kernel is a text", ""),
        }
    }

    fn entries(
        &mut self,
        name: &str,
        value: Spanned<DeValue<'_>>,
        statement: impl Fn(&mut Self, &DeTable<'_>) -> Option<String>,
    ) {
        let span = value.span();
        let DeValue::Array(entries) = value.into_inner() else {
            return self.fail(
                span,
                format!("`{name}` of a blueprint is a list of tables"),
                "such as [[packages]]",
            );
        };
        let entries: DeArray<'_> = entries;
        for entry in entries {
            let at = entry.span();
            let DeValue::Table(table) = entry.get_ref() else {
                self.fail(
                    at,
                    format!("an entry of `{name}` is a table"),
                    "such as { name = \"tmux\" }",
                );
                continue;
            };
            match statement(self, table) {
                Some(statement) => self.statement(statement, at.start),
                None => self.fail(
                    at,
                    format!("an entry of `{name}` without its `name` or `stream`"),
                    "",
                ),
            }
        }
    }

    fn statement(&mut self, statement: String, at: usize) {
        let line = span_of(self.sources.text.as_str(), at..at).line;
        self.statements.push((statement, line));
    }

    fn text(&mut self, entry: &DeTable<'_>, key: &str) -> Option<String> {
        let text = entry.get(key)?.get_ref().as_str()?;
        (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
    }
}
