# The part of yum 3's driver that knows groups, and why packages are there.
# Both are read and remembered here and not by yum: its releases differ in that, and the first ones know no environments.
import bz2
import gzip
import json
import os
import xml.etree.cElementTree

from driver import choose_group, fail, fail_network

try:
    import yum.Errors
    import yum.packageSack
except ImportError as error:
    fail("host", error)

LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
KINDS = ("mandatory", "default", "optional", "conditional")


def nevra(po):
    return "%s-%s:%s-%s.%s" % (po.name, po.epoch or 0, po.version, po.release, po.arch)


class Memory(object):
    """Why packages are there, and which groups: what the next transaction must know, kept as JSON in the build's state."""

    def __init__(self, folder):
        self.path = folder + "/yum3.json"
        self.reasons, self.groups = {}, {}
        # What this transaction asks for by name, and what its groups bring.
        self.asked, self.grouped = set(), set()
        if os.path.exists(self.path):
            with open(self.path) as file:
                known = json.load(file)
            self.reasons = dict((str(name), str(reason)) for name, reason in known["reasons"].items())
            self.groups = dict((key.encode("utf-8"), group) for key, group in known["groups"].items())

    def reason(self, member):
        key = "%s.%s" % (member.po.name, member.po.arch)
        if key in self.asked:
            return "user"
        if key in self.reasons:
            return self.reasons[key]
        if key in self.grouped:
            return "group"
        return "dependency" if member.reason == "dep" else "user"

    def because(self, po):
        return self.reasons.get("%s.%s" % (po.name, po.arch), "user")

    def set(self, po, reason):
        self.reasons["%s.%s" % (po.name, po.arch)] = reason

    def after(self, base, members):
        """As it is when the transaction was carried out."""
        reasons = dict((("%s.%s" % (member.po.name, member.po.arch)), self.reason(member)) for member in members)
        here = set("%s.%s" % (po.name, po.arch) for po in base.rpmdb.returnPackages())
        self.reasons.update(reasons)
        self.reasons.update((key, "user") for key in self.asked & here)
        return self

    def keep(self):
        with open(self.path + ".new", "w") as file:
            json.dump(dict(reasons=self.reasons, groups=self.groups), file)
        os.rename(self.path + ".new", self.path)


class Group(object):
    """A group or environment of the repositories, the same id of several in one."""

    def __init__(self, kind, ident, name):
        self.kind, self.ident, self.name = kind, ident, name
        self.members = dict((kind, []) for kind in KINDS)  # of conditional ones, pairs with what they hang on
        self.groups = []

    def of(self, kinds):
        return sorted(set(name for kind in kinds if kind != "conditional" for name in self.members.get(kind, [])))


def text(element, name):
    for found in element.findall(name):
        if found.get(LANGUAGE) is None and found.text:
            return found.text.strip().encode("utf-8")
    return ""


def read_groups(base, heard):
    """All groups and environments, by kind and id."""
    known = {}
    for repo in sorted(base.repos.listEnabled()):
        kinds = [kind for kind in ("group_gz", "group") if kind in repo.repoXML.fileTypes()]
        if not kinds:
            continue
        try:
            path = repo.retrieveMD(kinds[0])
        except (yum.Errors.YumBaseError, EnvironmentError) as error:
            fail_network("repository", heard.told(error))
        opens = {".gz": gzip.open, ".bz2": bz2.BZ2File}.get(os.path.splitext(path)[1], open)
        try:
            root = xml.etree.cElementTree.parse(opens(path)).getroot()
        except Exception as error:
            fail("repository", "%s: its groups cannot be read: %s" % (repo.id, error))
        for element in list(root):
            if element.tag in ("group", "environment"):
                ident = text(element, "id")
                group = known.setdefault((element.tag, ident), Group(element.tag, ident, text(element, "name")))
                for member in element.findall("packagelist/packagereq"):
                    kind, name = member.get("type") or "mandatory", (member.text or "").strip().encode("utf-8")
                    group.members.setdefault(kind, []).append((name, str(member.get("requires") or "")) if kind == "conditional" else name)
                group.groups += [(inside.text or "").strip().encode("utf-8") for inside in element.findall("grouplist/groupid")]
    return known


class Groups(object):
    """The groups of the repositories as one transaction works with them."""

    def __init__(self, base, memory, known):
        self.base, self.memory, self.known = base, memory, known
        self.kinds = [kind for kind in base.conf.group_package_types]

    def choose(self, wanted):
        kind, ident, _, group = choose_group(wanted, [(g.kind, g.ident, g.name, g) for _, g in sorted(self.known.items())])
        return group

    def inside(self, group):
        """The groups with packages that it stands for; of an environment's, those that somebody has."""
        if group.kind == "group":
            return [group]
        return [self.known["group", ident] for ident in group.groups if ("group", ident) in self.known]

    def record(self, group, kinds):
        for inside in self.inside(group):
            self.memory.groups["group " + inside.ident] = dict(packages=inside.of(kinds))
        if group.kind == "environment":
            self.memory.groups["environment " + group.ident] = dict(groups=[inside.ident for inside in self.inside(group)])

    def install(self, wanted):
        group = self.choose(wanted)
        kinds = self.kinds + (["optional"] if wanted["with_optional"] and "optional" not in self.kinds else [])
        for inside in self.inside(group):
            for name in inside.of(kinds):
                self.bring(name)
            for name, reason in inside.members["conditional"] if "conditional" in kinds or self.base.conf.enable_group_conditionals else []:
                self.bring_with(name, reason)
        self.record(group, kinds)
        need = set(name for inside in self.inside(group) for name in inside.members["mandatory"])
        return dict(name=wanted["name"], id=group.ident, kind=group.kind, line=wanted["line"], mandatory=sorted(need))

    def bring(self, name):
        # That one is nowhere to be had is for the verdict to say.
        try:
            members = self.base.install(name=name)
        except yum.Errors.InstallError:
            return
        self.memory.grouped.update("%s.%s" % (member.po.name, member.po.arch) for member in members)

    def bring_with(self, name, reason):
        if self.base.isPackageInstalled(reason):
            return self.bring(name)
        found = yum.packageSack.packagesNewestByName(self.base.pkgSack.searchNevra(name=name))
        self.base.tsInfo.conditionals.setdefault(reason, []).extend(found)
        self.memory.grouped.update("%s.%s" % (po.name, po.arch) for po in found)

    def change(self, change):
        group, line = self.choose(change["group"]), change["group"]["line"]
        key = "%s %s" % (group.kind, group.ident)
        if change["action"] == "mark-install":
            return self.record(group, self.kinds)
        if key not in self.memory.groups:
            fail("spec", "the %s '%s' is not installed" % (group.kind, group.ident), line=line)
        if change["action"] == "upgrade":
            return self.upgrade(group)
        record = self.memory.groups.pop(key)
        names = set(record.get("packages", []))
        left = set(ident for other in self.memory.groups.values() for ident in other.get("groups", []))
        for ident in record.get("groups", []):
            if ident not in left:
                names.update(self.memory.groups.pop("group %s" % ident, dict(packages=[]))["packages"])
        if change["action"] == "mark-remove":
            return
        names -= set(name for other in self.memory.groups.values() for name in other.get("packages", []))
        for po in self.base.rpmdb.searchNames(sorted(str(name) for name in names)):
            if self.memory.because(po) == "group":
                self.base.remove(po=po)

    def upgrade(self, group):
        for inside in self.inside(group):
            before = self.memory.groups.get("group " + inside.ident, dict(packages=[]))["packages"]
            for name in inside.of(self.kinds):
                if self.base.rpmdb.searchNames([name]):
                    self.base.update(name=name)
                elif name not in before:
                    self.bring(name)
        self.record(group, self.kinds)
