# Groups of packages: the rule by which a group's name is understood, and what is wrong with a repository's description of them.
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
    """The one group or environment that a name means, by dnf 4's rule: exact id or name first, then glob in any case.

    `known` holds tuples of kind, id, name and object.
    """
    name, line = wanted["name"], wanted["line"]
    if wanted["scope"] == "environment":
        known = [entry for entry in known if entry[0] == "environment"]
    found = [entry for entry in known if name in (entry[1], entry[2])]
    if not found:
        match = re.compile(fnmatch.translate(name), re.IGNORECASE).match
        found = [entry for entry in known if match(entry[1]) or match(entry[2] or "")]
    if not found:
        fail("spec", "no group or environment is called '%s'" % name, line=line, known=sorted({"%s (%s)" % (n, i) for _, i, n, _ in known})[:40])
    if len(found) > 1:
        fail("spec", "'%s' names several groups: %s" % (name, ", ".join(sorted("%s (%s)" % (n, i) for _, i, n, _ in found))), line=line)
    return found[0]


def check_comps(files):
    """Refuses repositories whose groups cannot be read; dnf passes over them, whole or from the damage on.

    `files` holds tuples of a repository's id and its file. Returns whether any group is in them, and the members of types that
    dnf does not know, by their group's id.
    """
    groups, odd = False, {}
    for ident, path in files:
        opener = next((opener for end, opener in OPENERS.items() if path.endswith(end)), None)
        if not opener:
            groups = True  # in a format that only dnf's libraries read
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
    """Refuses groups that the transaction uses and that have members of unknown types."""
    for ident in groups:
        for repository, member, kind in odd.get(ident, []):
            fail("metadata", "reading the groups (comps) of repository '%s': the member %s of group '%s' has the unknown type '%s'"
                 % (repository, member, ident, kind))
