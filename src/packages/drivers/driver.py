# The common part of the drivers of dnf 4 and dnf 5: answers as one JSON object a line on standard output, package files that a
# recipe names, and keys as rpm takes them. Everything else that is printed goes to standard error.
import base64
import hashlib
import json
import os
import re
import resource
import shutil
import sys
from http.client import HTTPException
from urllib.parse import unquote
from urllib.request import urlopen

EVENTS = os.fdopen(os.dup(1), "wb")  # not inherited by scriptlets, which have nothing to say here
os.dup2(2, 1)  # a library that prints must not be taken for an answer


# A transaction in which a lock's packages are installed: nothing of it is by name.
EMPTY = {part: [] for part in ("install", "upgrade", "downgrade", "reinstall")}


def tell(event, **fields):
    EVENTS.write(json.dumps(dict(event=event, **fields)).encode("ascii") + b"\n")
    EVENTS.flush()


def fail(kind, message, **fields):
    tell("error", kind=kind, message=str(message), **fields)
    EVENTS.flush()
    os._exit(3)  # not sys.exit: objects of a half-made transaction crash in their destructors


def repomd(cachedir, name="/repodata/repomd.xml"):
    """The digest of a repository's index as it was read."""
    try:
        with open(cachedir + name, "rb") as file:
            return "sha256:" + hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def among(only):
    """Whether a package is one of those that may come in."""
    allowed = set(only)
    return lambda name, version, release, arch: "%s-%s-%s.%s" % (name, version, release, arch) in allowed


def fail_missing(specs, near, excluded):
    """Gives up over all specs that nothing matches, each with the names that `near` finds for it, or that it is excluded."""
    shown = specs[:50]  # a generated list can have thousands
    fail("missing", "", specs=shown, more=len(specs) - len(shown), near={spec["text"]: near(spec["text"].strip("*@")) for spec in shown},
         excluded=[spec["text"] for spec in shown if excluded(spec["text"])])


def fail_dependency(said, request):
    """Gives up over dependencies, at the line of the first statement that they are about."""
    lines = [spec["line"] for part in ("install", "upgrade", "downgrade", "reinstall") for spec in request["transaction"][part]
             if "text" in spec and re.search(r"(?<![\w.+-])%s(?![\w+])" % re.escape(spec["text"]), said)]
    fail("dependency", said, line=min(lines or [request["transaction"]["line"]]))


def satisfied_members(groups, satisfying, excluded):
    """The groups with the names of the packages that stand for their mandatory members.

    A member is satisfied by a package of that name, or one that provides or obsoletes it: `satisfying` returns their names.
    """
    for group in groups:
        members, found = group.pop("members"), []
        for member in group["mandatory"]:
            names = satisfying(member)
            if not names:
                why = "is excluded" if excluded(member) else "is in no repository"
                fail("member", "%s '%s' has the mandatory member %s, which %s" % (group["kind"], group["name"], member, why),
                     line=group["line"], known=sorted(set(members) - {member}))
            found.append(names[0])
        group["mandatory"] = sorted(set(found))
    return groups


def refuse_outside(paths):
    """Gives up over package files on this machine in directories that the sandbox does not see: osimg shows them to the next run."""
    paths = [os.path.normpath(path) for path in paths]
    unseen = sorted({os.path.dirname(path) for path in paths if not os.path.isdir(os.path.dirname(path))})
    if unseen:
        fail("outside", "no such directory: %s" % ", ".join(unseen), directories=unseen)


def of_files(base_url, location):
    """The path of a file in a repository on this machine, by the address and the place below it; nothing for other addresses."""
    url = location if "://" in location else base_url.rstrip("/") + "/" + location
    return unquote(url[7:]) if url.startswith("file://") else None


def package_files(request):
    """The package files that the transaction names, by spec; those behind an address are fetched first."""
    for text, file in request["files"].items():
        if "url" in file and request["phase"] != "install":
            fetch_address(text, file["path"])
    return {text: file["path"] for text, file in request["files"].items()}


def fetch_address(url, path):
    """Fetches the file behind an address that is no repository's."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = "%s.%d" % (path, os.getpid())
    try:
        with urlopen(url, timeout=60) as answer, open(part, "wb") as copy:
            shutil.copyfileobj(answer, copy)
            length = answer.headers.get("Content-Length")
            if length is not None and copy.tell() != int(length):
                fail("network", "%s: %d of %s bytes came" % (url, copy.tell(), length))
        os.rename(part, path)
    except (OSError, HTTPException) as error:
        status = getattr(error, "code", None)
        kind = "gone" if status in (404, 410) else "refused" if status in (401, 403, 407) else "network"
        fail(kind, "%s: %s" % (url, "Status code: %d" % status if status else error))


def of_repositories(files):
    """The wanted files that repositories have; those that the recipe named by an address are fetched here and now."""
    for file in files:
        if file["repository"] == "@commandline":
            fetch_address(file["location"], file["path"])
    return [file for file in files if file["repository"] != "@commandline"]


def advisories(upgrade):
    """What an upgrade is narrowed to, by kind of filter; nothing when it takes whatever is newer."""
    kinds = {"advisory": "advisory", "advisories": "advisory", "bz": "bugzilla", "bzs": "bugzilla", "cve": "cves", "cves": "cves",
             "sec-severity": "severity", "secseverity": "severity"}
    narrowed = {}
    for option in upgrade["filters"]:
        name, _, value = option.lstrip("-").partition("=")
        if value:
            narrowed.setdefault(kinds[name], []).extend(word for word in value.replace(",", " ").split())
        else:
            narrowed.setdefault("types", []).append(name)
    if upgrade["minimal"] and not narrowed:
        narrowed["types"] = ["bugfix", "enhancement", "newpackage", "security"]
    return narrowed


def key_packets(path):
    """The bytes of an armored key; osimg has made sure that the file holds one key and nothing else."""
    with open(path, encoding="ascii") as file:
        lines = [line.strip() for line in file]
    begin = lines.index("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    body = lines[lines.index("", begin) + 1:lines.index("-----END PGP PUBLIC KEY BLOCK-----")]
    return base64.b64decode("".join(line for line in body if not line.startswith("=")))


def import_keys(transaction_set, request):
    """Puts the pinned keys, and no other, into the rpmdb of the image before anything is installed."""
    for path in request["keys"]:
        code = transaction_set.pgpImportPubkey(key_packets(path))
        if code != 0:
            fail("key", "rpm could not import the key %s (code %d)" % (os.path.basename(path), code))


def bound(request):
    """Limits the size of each file that is written, and the memory for what is read, while a server decides on both."""
    if request["phase"].startswith("install"):
        return
    for limit, value in ((resource.RLIMIT_FSIZE, request["limits"]["file"]), (resource.RLIMIT_DATA, request["limits"]["memory"])):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def run(main):
    """Runs the driver; every way out is an answer."""
    try:
        with open("/osimg/request.json", encoding="utf-8") as file:
            request = json.load(file)
        bound(request)
        main(request)
    except SystemExit:
        raise
    except BaseException as error:  # given as an answer: a traceback alone would be lost among rpm's warnings
        import errno
        import traceback

        traceback.print_exc()
        if getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in str(error):
            fail("no-space", error)
        fail("unexpected", "%s: %s" % (type(error).__name__, error))
    tell("done")
    EVENTS.flush()
    os._exit(0)
