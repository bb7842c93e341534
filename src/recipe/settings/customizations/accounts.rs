//! Users, groups and their SSH keys as written, checked.

use base64::Engine;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;

use super::super::fields::Check;
use super::super::texts::Text;
use super::{Group, SshKey, User, raw};
use crate::calendar;
use crate::recipe::diagnostic::quoted;

/// The longest login name: utmp(5) has no room for more.
const LONGEST_NAME: usize = 32;
const HASH_HINT: &str =
    "`openssl passwd -6` or `mkpasswd -m yescrypt` makes a hash; \"!\" locks the account";
const KEY_HINT: &str =
    "paste the line of a .pub file, such as \"ssh-ed25519 AAAA... someone@example.org\"";

impl Check<'_> {
    pub(super) fn accounts(
        &mut self,
        users: Vec<Spanned<raw::User>>,
        groups: Vec<Spanned<raw::Group>>,
    ) -> (Vec<User>, Vec<Group>) {
        let (mut names, mut ids) = (BTreeSet::new(), BTreeMap::new());
        let groups = groups
            .into_iter()
            .filter_map(|entry| {
                let span = entry.span();
                let raw = entry.into_inner();
                let place = raw.gid.as_ref().map(Spanned::span);
                let name = self.required(raw.name, &span, "a group", "name");
                let gid = self.id(raw.gid, "gid");
                let name = self.account_name(name, "name")?;
                self.taken(&mut names, &mut ids, "groups", (&name, gid), span.clone(), place);
                Some(Group { name, gid, place: self.place(span) })
            })
            .collect();
        let (mut names, mut ids) = (BTreeSet::new(), BTreeMap::new());
        let users = users
            .into_iter()
            .filter_map(|entry| {
                let span = entry.span();
                let place = entry.get_ref().uid.as_ref().map(Spanned::span);
                let user = self.user(entry)?;
                self.taken(&mut names, &mut ids, "users", (&user.name, user.uid), span, place);
                Some(user)
            })
            .collect();
        (users, groups)
    }

    fn taken(
        &mut self,
        names: &mut BTreeSet<String>,
        ids: &mut BTreeMap<u32, String>,
        what: &str,
        (name, id): (&str, Option<u32>),
        span: Range<usize>,
        place: Option<Range<usize>>,
    ) {
        if !names.insert(name.to_owned()) {
            self.fail(
                span.clone(),
                format!("two {what} are called {}", quoted(name)),
                "keep one of them",
            );
        }
        if let Some(id) = id
            && let Some(other) = ids.insert(id, name.to_owned())
        {
            self.fail(
                place.unwrap_or(span),
                format!("the id {id} is already that of {}", quoted(&other)),
                "",
            );
        }
    }

    /// A user's or a group's id; the largest number means none.
    pub(super) fn id(&mut self, id: Option<Spanned<i64>>, key: &str) -> Option<u32> {
        let id = id?;
        match u32::try_from(*id.get_ref()) {
            Ok(number) if number < u32::MAX => Some(number),
            _ => {
                self.fail(id.span(), format!("`{key}` is a number from 0 to 4294967294"), "");
                None
            }
        }
    }

    /// As the useradd of EL allows names.
    pub(super) fn account_name(&mut self, name: Text, key: &str) -> Option<String> {
        let name = name?;
        let text = name.get_ref();
        let body = text.strip_suffix('$').unwrap_or(text);
        let good = body.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !body.starts_with('-')
            && !matches!(body, "" | "." | "..")
            && !body.chars().all(|c| c.is_ascii_digit())
            && text.len() <= LONGEST_NAME;
        if !good {
            let hint = "use up to 32 letters, digits and `._-`, not only digits, and no dash at \
                        the beginning";
            self.fail(
                name.span(),
                format!("{} cannot be the `{key}` of an account", quoted(text)),
                hint,
            );
            return None;
        }
        Some(name.into_inner())
    }

    fn user(&mut self, entry: Spanned<raw::User>) -> Option<User> {
        let span = entry.span();
        let raw = entry.into_inner();
        let name = self.required(raw.name, &span, "a user", "name");
        let name = self.account_name(name, "name");
        let description = raw.description.and_then(|text| {
            if text.get_ref().contains([':', '\n', ','])
                || text.get_ref().contains(char::is_control)
            {
                self.fail(
                    text.span(),
                    "a user's `description` is one line without colons and commas",
                    "",
                );
                return None;
            }
            Some(text.into_inner())
        });
        let password = raw.password.and_then(|text| self.password(text));
        let home = raw.home.map(|home| {
            let span = home.span();
            let text = home.get_ref().trim_end_matches('/').to_owned();
            Spanned::new(span, text)
        });
        let home = self.account_path(home, "home");
        let shell = self.account_path(raw.shell, "shell");
        let groups = raw
            .groups
            .into_iter()
            .flatten()
            .filter_map(|group| self.account_name(Some(group), "groups"))
            .collect();
        Some(User {
            name: name?,
            description,
            password,
            keys: self.public_keys(raw.key),
            home,
            shell,
            groups,
            uid: self.id(raw.uid, "uid"),
            gid: self.id(raw.gid, "gid"),
            expires: raw.expiredate.and_then(|date| self.expiry(&date)),
            force_password_reset: raw.force_password_reset,
            place: self.place(span),
        })
    }

    /// A path that becomes a field of passwd(5).
    fn account_path(&mut self, path: Text, key: &str) -> Option<String> {
        let span = path.as_ref().map(Spanned::span);
        let path = self.image_path(path, key)?;
        if path.contains(':') {
            self.fail(span.unwrap_or_default(), format!("`{key}` cannot have a colon"), "");
            return None;
        }
        Some(path)
    }

    pub(super) fn ssh_key(&mut self, entry: Spanned<raw::SshKey>) -> Option<SshKey> {
        let span = entry.span();
        let raw = entry.into_inner();
        let user = self.required(raw.user, &span, "a key", "user");
        let key = self.required(raw.key, &span, "a key", "key");
        let keys = self.public_keys(key);
        Some(SshKey { user: self.account_name(user, "user")?, keys, place: self.place(span) })
    }

    /// Days since 1970, or a date.
    fn expiry(&mut self, value: &Spanned<toml::Value>) -> Option<i64> {
        let days = match value.get_ref() {
            toml::Value::Integer(days) if *days >= 0 => Some(*days),
            toml::Value::String(date) => {
                calendar::seconds(&format!("{date}T00:00:00Z")).map(|seconds| seconds / 86_400)
            }
            toml::Value::Datetime(date) => {
                calendar::seconds(&format!("{date}T00:00:00Z")).map(|seconds| seconds / 86_400)
            }
            _ => None,
        };
        if days.is_none() {
            self.fail(
                value.span(),
                "`expiredate` is a date or the number of days since 1970",
                "such as \"2030-12-31\"",
            );
        }
        days
    }

    /// One of crypt(5)'s hashes, or what locks the account. A password itself is refused: settings
    /// are copied, committed and shown.
    fn password(&mut self, text: Spanned<String>) -> Option<String> {
        match checked_hash(text.get_ref()) {
            Ok(()) => Some(text.into_inner()),
            Err(message) => {
                self.fail(text.span(), message, HASH_HINT);
                None
            }
        }
    }

    /// Lines for `authorized_keys`: a text of one or more, or a list.
    fn public_keys(&mut self, value: raw::Value) -> Vec<String> {
        let Some(value) = value else { return Vec::new() };
        let span = value.span();
        let texts = match value.into_inner() {
            toml::Value::String(text) => vec![text],
            toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
                items.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect()
            }
            _ => {
                self.fail(span, "`key` is a public key, or a list of them", KEY_HINT);
                return Vec::new();
            }
        };
        let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
        let lines: Vec<String> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        if lines.is_empty() {
            self.fail(span.clone(), "an empty key", KEY_HINT);
        }
        for line in &lines {
            if let Err(message) = checked_public_key(line) {
                self.fail(span.clone(), message, KEY_HINT);
            }
        }
        lines
    }
}

/// The characters that crypt(5) writes hashes with.
fn is_crypt(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "./".contains(c))
}

fn checked_hash(text: &str) -> Result<(), String> {
    if text.starts_with(['!', '*']) && text.chars().all(|c| matches!(c, '!' | '*')) {
        return Ok(());
    }
    let text = text.strip_prefix('!').unwrap_or(text);
    let Some((id, rest)) = text.strip_prefix('$').and_then(|text| text.split_once('$')) else {
        return Err("`password` is not a hash but a password itself, or damaged".to_owned());
    };
    let parts: Vec<&str> = rest.split('$').collect();
    let length = match id {
        "6" => 86,
        "5" => 43,
        "2a" | "2b" | "2y" => {
            let good = matches!(parts.as_slice(), [cost, hash]
                if cost.len() == 2 && hash.len() == 53 && is_crypt(hash));
            return if good { Ok(()) } else { Err(damaged(id)) };
        }
        "y" | "gy" => {
            let good = matches!(parts.as_slice(), [cost, salt, hash]
                if is_crypt(cost) && is_crypt(salt) && hash.len() == 43 && is_crypt(hash));
            return if good { Ok(()) } else { Err(damaged(id)) };
        }
        "1" => return Err("`password` is an MD5 hash, which is cracked within minutes".to_owned()),
        _ => return Err(format!("`password` is of an unknown kind of hash: `${id}$`")),
    };
    let parts = match parts.as_slice() {
        [rounds, rest @ ..]
            if rounds.strip_prefix("rounds=").is_some_and(|count| count.parse::<u32>().is_ok()) =>
        {
            rest
        }
        all => all,
    };
    let good = matches!(parts, [salt, hash]
        if is_crypt(salt) && salt.len() <= 16 && hash.len() == length && is_crypt(hash));
    if good { Ok(()) } else { Err(damaged(id)) }
}

fn damaged(id: &str) -> String {
    format!("`password` is a damaged hash: it does not have the form of `${id}$`")
}

/// Key types that OpenSSH of EL 8 and later accepts for a login.
const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A line of `authorized_keys`, see sshd(8): options, type, base64, comment.
fn checked_public_key(line: &str) -> Result<(), String> {
    let shown = || quoted(line);
    if line.contains("PRIVATE KEY") {
        return Err("a private key instead of the public one".to_owned());
    }
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err(format!("{} has a control character", shown()));
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    // Options may have blanks within quotes.
    let Some(at) = words.iter().position(|word| KEY_TYPES.contains(word)) else {
        let old = words.contains(&"ssh-dss");
        let why =
            if old { "is a DSA key, which no release accepts" } else { "is not a public key" };
        return Err(format!("{} {why}", shown()));
    };
    let kind = words.get(at).copied().unwrap_or_default();
    let body = words.get(at + 1).copied().unwrap_or_default();
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(body) else {
        return Err(format!("{} is a damaged public key", shown()));
    };
    // The first string in it is its type again: a length in four bytes, and the text.
    let length = bytes
        .get(..4)
        .and_then(|length| <[u8; 4]>::try_from(length).ok())
        .map_or(0, u32::from_be_bytes);
    let name = usize::try_from(length).ok().and_then(|length| bytes.get(4..4 + length));
    if name != Some(kind.as_bytes()) || bytes.len() < 4 + kind.len() + 4 + 32 {
        return Err(format!("{} is a damaged public key", shown()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_have_the_form_of_their_kind() {
        let eighty_six = "a".repeat(86);
        for good in [
            "!",
            "*",
            "!!",
            &format!("$6$salt${eighty_six}"),
            &format!("!$6$salt${eighty_six}"),
            &format!("$6$rounds=5000$salt${eighty_six}"),
            &format!("$5$salt${}", "b".repeat(43)),
            &format!("$2b$05${}", "c".repeat(53)),
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
        ] {
            assert_eq!(checked_hash(good), Ok(()), "{good}");
        }
        for wrong in [
            "",
            "secret",
            "$6$salt$short",
            "$6$",
            "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
            "$9$x$y",
            &format!("$6$sa:lt${eighty_six}"),
        ] {
            assert!(checked_hash(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_public_key_says_its_type_twice() {
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIPN3S6ZlM2Ck1yEKsTIHJCOdBzrVCkNb1sLcgTkPzFzh";
        for good in [
            format!("ssh-ed25519 {key}"),
            format!("from=\"10.0.0.0/8\",command=\"a b\" ssh-ed25519 {key} someone"),
        ] {
            assert_eq!(checked_public_key(&good), Ok(()), "{good}");
        }
        for wrong in [
            "PUBLIC SSH KEY".to_owned(),
            format!("ssh-rsa {key}"),
            format!("ssh-ed25519 {}", &key[..40]),
            "ssh-ed25519".to_owned(),
            "ssh-dss AAAA".to_owned(),
            "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(),
        ] {
            assert!(checked_public_key(&wrong).is_err(), "{wrong}");
        }
    }
}
