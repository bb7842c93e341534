# Package groups: how a group's name is matched, and problems in a repository's group file.
import bz2
import fnmatch
import gzip
import lzma
import re
from xml.etree import ElementTree

from driver import fail

TYPES = ("mandatory", "default", "optional", "conditional")
OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open, ".xml": open}


def choose_group(wanted, known):
    """The one group or environment that matches the name, by dnf 4's rule: first exact id or name,
    then a glob in any case.

    `known` has tuples of kind, id, name and object.
    """
    name, line = wanted["name"], wanted["line"]
    if wanted["scope"] == "environment":
        known = [entry for entry in known if entry[0] == "environment"]
    found = [entry for entry in known if name in (entry[1], entry[2])]
    if not found:
        match = re.compile(fnmatch.translate(name), re.IGNORECASE).match
        found = [entry for entry in known if match(entry[1]) or match(entry[2] or "")]
    if not found:
        fail(
            "spec",
            "no group or environment has the name '%s'" % name,
            line=line,
            known=sorted({"%s (%s)" % (n, i) for _, i, n, _ in known})[:40],
        )
    if len(found) > 1:
        fail(
            "spec",
            "'%s' matches several groups: %s"
            % (name, ", ".join(sorted("%s (%s)" % (n, i) for _, i, n, _ in found))),
            line=line,
        )
    return found[0]


def check_comps(files):
    """Refuses repositories with unreadable groups. dnf ignores such groups, all of them or those
    after the damage.

    `files` has tuples of a repository's id and its file. Returns whether they have any group, and
    the members of types unknown to dnf, by their group's id.
    """
    groups, odd = False, {}
    for ident, path in files:
        opener = next((opener for end, opener in OPENERS.items() if path.endswith(end)), None)
        if not opener:
            groups = True  # only dnf's libraries can read this format
            continue
        try:
            with opener(path, "rb") as file:
                tree = ElementTree.parse(file)
        except (ElementTree.ParseError, EOFError, OSError, lzma.LZMAError, ValueError) as error:
            fail("metadata", "reading the groups (comps) of repository '%s': %s" % (ident, error))
        for group in tree.iter("group"):
            groups = True
            for member in group.iter("packagereq"):
                kind = member.get("type", "mandatory")
                if kind not in TYPES:
                    odd.setdefault(group.findtext("id"), []).append((ident, member.text, kind))
    return groups, odd


def refuse_odd_members(odd, groups):
    """Refuses groups of the transaction that have members of unknown types."""
    for ident in groups:
        for repository, member, kind in odd.get(ident, []):
            fail(
                "metadata",
                "reading the groups (comps) of repository '%s': "
                "the member %s of group '%s' has the unknown type '%s'"
                % (repository, member, ident, kind),
            )
