# The common part of the drivers of dnf 4 and dnf 5: answers as one JSON object a line on standard output, the rule by which a
# group's name is understood, and keys as rpm takes them. Everything else that is printed goes to standard error.
import base64
import fnmatch
import hashlib
import json
import os
import re
import resource
import shutil
import sys
from http.client import HTTPException
from urllib.request import Request, urlopen

EVENTS = os.fdopen(os.dup(1), "wb")  # not inherited by scriptlets, which have nothing to say here
os.dup2(2, 1)  # a library that prints must not be taken for an answer


def tell(event, **fields):
    EVENTS.write(json.dumps(dict(event=event, **fields)).encode("ascii") + b"\n")
    EVENTS.flush()


def fail(kind, message, **fields):
    tell("error", kind=kind, message=str(message), **fields)
    EVENTS.flush()
    os._exit(3)  # not sys.exit: objects of a half-made transaction crash in their destructors


def fail_network(kind, message):
    """Gives up over the network, with what the server wants of its clients."""
    fail(kind, message, retry_after=retry_after(str(message)))


def retry_after(message):
    """Seconds that a busy server asks to be left alone for; dnf's libraries keep its answer to themselves."""
    found = re.search(r"Status code: (?:429|503) for (https?://[^ ]+)", message)
    if not found:
        return None
    import calendar
    import email.utils
    import time

    try:
        urlopen(Request(found.group(1), method="HEAD"), timeout=10).close()
    except OSError as answer:
        headers = getattr(answer, "headers", None)
        value = ((headers and headers.get("Retry-After")) or "").strip()
        if value.isdigit():
            return int(value)
        date = email.utils.parsedate(value) if value.endswith("GMT") else None
        return max(0, int(calendar.timegm(date) - time.time())) if date else None
    return None


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


def fail_missing(specs, near):
    """Says all specs that nothing matches, each with the names that `near` finds for it."""
    fail("missing", "", specs=specs, near={spec["text"]: near(spec["text"].strip("*@")) for spec in specs})


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
                fail("download", "%s: %d of %s bytes came" % (url, copy.tell(), length))
        os.rename(part, path)
    except (OSError, HTTPException) as error:
        status = getattr(error, "code", None)
        fail("download", "%s: %s" % (url, "Status code: %d" % status if status else error))


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
            fail("trust", "rpm could not import the key %s (code %d)" % (os.path.basename(path), code))


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
    except BaseException as error:  # told as an answer: a traceback alone would be lost among rpm's warnings
        import traceback

        traceback.print_exc()
        fail("unexpected", "%s: %s" % (type(error).__name__, error))
    tell("done")
    EVENTS.flush()
    os._exit(0)
