//! `user`, `group` and `sshkey`: accounts as the image's own useradd(8) and groupadd(8) would
//! create them, by its login.defs(5), dated by the image's date.

mod database;
mod defaults;
mod home;
mod ids;
mod refused;

use database::Database;
use defaults::Defaults;
use refused::refused;

use super::image::Image;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::Customizations;
use crate::recipe::customizations::{Group, User};

/// Adds groups, then users, then keys of users that the image has.
pub(super) fn apply(image: &Image<'_>, settings: &Customizations) -> Result<()> {
    if settings.users.is_empty() && settings.groups.is_empty() && settings.ssh_keys.is_empty() {
        return Ok(());
    }
    let mut accounts = Accounts::read(image)?;
    settings.groups.iter().try_for_each(|group| accounts.group(group))?;
    let mut homes = Vec::new();
    for user in &settings.users {
        homes.push(accounts.user(user)?);
    }
    accounts.write(image)?;
    for (user, home) in settings.users.iter().zip(&homes) {
        home.make(image, &accounts.defaults)?;
        home.add_keys(image, &user.keys, &user.place)?;
    }
    for key in &settings.ssh_keys {
        let home = accounts.home(&key.user).ok_or_else(|| {
            refused(&key.place, &format!("the image has no user `{}`", key.user))
                .hint("a package must bring it, or [[customizations.user]]")
        })?;
        home.add_keys(image, &key.keys, &key.place)?;
    }
    Ok(())
}

/// The image's account databases, and what its tools go by.
struct Accounts {
    passwd: Database,
    group: Database,
    shadow: Database,
    gshadow: Database,
    subuid: Database,
    subgid: Database,
    defaults: Defaults,
    today: i64,
}

/// A field of passwd(5).
const UID: usize = 2;
const GID: usize = 3;
const GECOS: usize = 4;
const HOME: usize = 5;
const SHELL: usize = 6;
/// Fields of shadow(5).
const PASSWORD: usize = 1;
const LAST_CHANGE: usize = 2;
const EXPIRES: usize = 7;

impl Accounts {
    fn read(image: &Image<'_>) -> Result<Self> {
        let open = |path| Database::read(image, path);
        let accounts = Self {
            passwd: open("/etc/passwd")?,
            group: open("/etc/group")?,
            shadow: open("/etc/shadow")?,
            gshadow: open("/etc/gshadow")?,
            subuid: open("/etc/subuid")?,
            subgid: open("/etc/subgid")?,
            defaults: Defaults::read(image)?,
            today: image.today(),
        };
        if !accounts.passwd.exists() || !accounts.group.exists() {
            let message =
                "applying customizations.user: the image has no /etc/passwd and /etc/group";
            return Err(Failure::new(ExitCode::Transaction, message)
                .hint("add setup to the recipe")
                .into());
        }
        Ok(accounts)
    }

    fn write(&self, image: &Image<'_>) -> Result<()> {
        [&self.passwd, &self.group, &self.shadow, &self.gshadow, &self.subuid, &self.subgid]
            .iter()
            .try_for_each(|file| file.write(image))
    }

    /// A new group; one of the name and id that the image already has is left as it is.
    fn group(&mut self, group: &Group) -> Result<()> {
        let Group { name, gid, place } = group;
        if let Some(has) = self.group.number(name, 2) {
            return match gid {
                Some(gid) if *gid != has => Err(refused(
                    place,
                    &format!("the image's group `{name}` has the id {has}, not {gid}"),
                )
                .into()),
                _ => Ok(()),
            };
        }
        if let Some(gid) = gid
            && let Some(other) = self.group.name_of(*gid)
        {
            return Err(refused(place, &format!("the group id {gid} is taken by `{other}`")).into());
        }
        let gid = match gid {
            Some(gid) => *gid,
            None => ids::next(&self.group, self.defaults.group_ids, None)
                .ok_or_else(|| refused(place, "no group id is free"))?,
        };
        self.add_group(name, gid);
        Ok(())
    }

    fn add_group(&mut self, name: &str, gid: u32) {
        // The password is in gshadow, where there is one.
        let password = if self.gshadow.exists() { "x" } else { "!" };
        self.group.append(&[name, password, &gid.to_string(), ""]);
        self.gshadow.append(&[name, "!", "", ""]);
    }

    /// A new user, or another state of one that the image has.
    fn user(&mut self, user: &User) -> Result<home::Home> {
        let is_new = !self.passwd.has(&user.name);
        for group in &user.groups {
            if !self.group.has(group) {
                let why = format!(
                    "the image has no group `{group}`, which `groups` of user `{}` names",
                    user.name
                );
                return Err(refused(&user.place, &why)
                    .hint("a package must bring it, or [[customizations.group]]")
                    .into());
            }
        }
        if is_new {
            self.add_user(user)?
        } else {
            self.change_user(user)?
        }
        for group in &user.groups {
            self.group.add_member(group, &user.name);
            self.gshadow.add_member(group, &user.name);
        }
        if let Some(password) = &user.password {
            let file = if self.shadow.exists() { &mut self.shadow } else { &mut self.passwd };
            file.set(&user.name, PASSWORD, password);
            self.shadow.set(&user.name, LAST_CHANGE, &self.today.to_string());
        }
        if let Some(days) = user.expires {
            self.shadow.set(&user.name, EXPIRES, &days.to_string());
        }
        if user.force_password_reset {
            self.shadow.set(&user.name, LAST_CHANGE, "0");
        }
        let mut home = self
            .home(&user.name)
            .ok_or_else(|| refused(&user.place, "the user has no home directory"))?;
        home.is_new = is_new;
        Ok(home)
    }

    fn add_user(&mut self, user: &User) -> Result<()> {
        let User { name, place, .. } = user;
        if let Some(uid) = user.uid
            && let Some(other) = self.passwd.name_of(uid)
        {
            return Err(refused(place, &format!("the user id {uid} is taken by `{other}`")).into());
        }
        let uid = match user.uid {
            Some(uid) => uid,
            None => ids::next(&self.passwd, self.defaults.user_ids, None)
                .ok_or_else(|| refused(place, "no user id is free"))?,
        };
        let gid = self.primary_group(user, uid)?;
        let home = user.home.clone().unwrap_or_else(|| format!("{}/{name}", self.defaults.home));
        let shell = user.shell.clone().unwrap_or_else(|| self.defaults.shell.clone());
        let gecos = user.description.clone().unwrap_or_default();
        let password = if self.shadow.exists() { "x" } else { "!" };
        self.passwd.append(&[
            name,
            password,
            &uid.to_string(),
            &gid.to_string(),
            &gecos,
            &home,
            &shell,
        ]);
        let [least, most, warning] = &self.defaults.password_days;
        let inactive = &self.defaults.inactive;
        self.shadow.append(&[
            name,
            "!",
            &self.today.to_string(),
            least,
            most,
            warning,
            inactive,
            &self.defaults.expires,
            "",
        ]);
        let (first, last) = self.defaults.user_ids;
        if (first..=last).contains(&uid) {
            for (file, (from, to, count)) in [
                (&mut self.subuid, self.defaults.subordinate_users),
                (&mut self.subgid, self.defaults.subordinate_groups),
            ] {
                if let Some(start) = ids::free_range(file, from, to, count) {
                    file.append(&[name, &start.to_string(), &count.to_string()]);
                }
            }
        }
        Ok(())
    }

    /// As the settings say; else one of the user's own name, if the release gives users their own.
    fn primary_group(&mut self, user: &User, uid: u32) -> Result<u32> {
        let own = self.group.number(&user.name, 2);
        match (user.gid, own) {
            (Some(gid), _) if self.group.name_of(gid).is_some() => Ok(gid),
            (Some(gid), Some(has)) => {
                let why = format!(
                    "the image's group `{}` has the id {has}, and no group has {gid}",
                    user.name
                );
                Err(refused(&user.place, &why).into())
            }
            (Some(gid), None) => {
                self.add_group(&user.name, gid);
                Ok(gid)
            }
            (None, Some(_)) if self.defaults.own_groups => {
                let why = format!("the image already has a group `{}`", user.name);
                Err(refused(&user.place, &why).hint("write its `gid` if it is the user's").into())
            }
            (None, _) if self.defaults.own_groups => {
                let gid = ids::next(&self.group, self.defaults.group_ids, Some(uid));
                let gid = gid.ok_or_else(|| refused(&user.place, "no group id is free"))?;
                self.add_group(&user.name, gid);
                Ok(gid)
            }
            (None, _) => Ok(self.defaults.group),
        }
    }

    fn change_user(&mut self, user: &User) -> Result<()> {
        let User { name, place, .. } = user;
        for (key, number, field) in [("uid", user.uid, UID), ("gid", user.gid, GID)] {
            let has = self.passwd.number(name, field);
            if number.is_some() && number != has {
                let why =
                    format!("the image's user `{name}` has the {key} {}", has.unwrap_or_default());
                return Err(refused(place, &why)
                    .hint(format!("leave out `{key}`: its files would keep the old one"))
                    .into());
            }
        }
        for (value, field) in [(&user.description, GECOS), (&user.home, HOME), (&user.shell, SHELL)]
        {
            if let Some(value) = value {
                self.passwd.set(name, field, value);
            }
        }
        Ok(())
    }

    /// The home directory of a user.
    fn home(&self, name: &str) -> Option<home::Home> {
        let path = self.passwd.field(name, HOME)?.trim_end_matches('/').to_owned();
        Some(home::Home {
            path,
            name: name.to_owned(),
            uid: self.passwd.number(name, UID)?,
            gid: self.passwd.number(name, GID)?,
            mail_group: self.group.number("mail", 2),
            is_new: false,
        })
    }
}
