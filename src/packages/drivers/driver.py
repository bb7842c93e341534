# The common part of the drivers of dnf 4 and dnf 5: answers as JSON lines on standard output,
# package files of the recipe, and keys in rpm's form. All other output goes to standard error.
import base64
import errno
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
from http.client import HTTPException
from urllib.parse import unquote
from urllib.request import urlopen

EVENTS = os.fdopen(os.dup(1), "wb")  # not inherited by scriptlets
os.dup2(2, 1)  # output of a library must not look like an answer


# The transaction for a lock's packages: no spec is resolved by name.
EMPTY = {part: [] for part in ("install", "upgrade", "downgrade", "reinstall")}


def send(event, **fields):
    EVENTS.write(json.dumps(dict(event=event, **fields)).encode("ascii") + b"\n")
    EVENTS.flush()


def fail(kind, message, **fields):
    send("error", kind=kind, message=str(message), **fields)
    EVENTS.flush()
    os._exit(3)  # not sys.exit: destructors crash in an incomplete transaction


def repomd(cachedir, name="/repodata/repomd.xml"):
    """The digest of a repository's index."""
    try:
        with open(cachedir + name, "rb") as file:
            return "sha256:" + hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def allow_list(only):
    """Whether a package may be installed."""
    allowed = set(only)
    return lambda name, version, release, arch: (
        "%s-%s-%s.%s" % (name, version, release, arch) in allowed
    )


def fail_missing(specs, near, excluded):
    """Fails for all specs without a match: with the names that `near` finds for each, or with the
    note that it is excluded."""
    shown = specs[:50]  # a generated list can have thousands
    fail(
        "missing",
        "",
        specs=shown,
        more=len(specs) - len(shown),
        near={spec["text"]: near(spec["text"].strip("*@")) for spec in shown},
        excluded=[spec["text"] for spec in shown if excluded(spec["text"])],
    )


def fail_dependency(output, request):
    """Fails for dependencies, with the line of the first statement that they concern."""
    lines = [
        spec["line"]
        for part in ("install", "upgrade", "downgrade", "reinstall")
        for spec in request["transaction"][part]
        if "text" in spec
        and re.search(r"(?<![\w.+-])%s(?![\w+])" % re.escape(spec["text"]), output)
    ]
    fail("dependency", output, line=min(lines or [request["transaction"]["line"]]))


def satisfied_members(groups, satisfying, excluded):
    """The groups with the names of the packages that satisfy their mandatory members.

    A member is satisfied by a package of that name, or by one that provides or obsoletes it:
    `satisfying` returns their names.
    """
    for group in groups:
        members, found = group.pop("members"), []
        for member in group["mandatory"]:
            names = satisfying(member)
            if not names:
                why = "is excluded" if excluded(member) else "is in no repository"
                fail(
                    "member",
                    "%s '%s' has the mandatory member %s, which %s"
                    % (group["kind"], group["name"], member, why),
                    line=group["line"],
                    known=sorted(set(members) - {member}),
                )
            found.append(names[0])
        group["mandatory"] = sorted(set(found))
    return groups


def refuse_outside(paths):
    """Fails if local package files are in directories that the sandbox does not see: osimg mounts
    them for the next run."""
    paths = [os.path.normpath(path) for path in paths]
    unseen = sorted(
        {os.path.dirname(path) for path in paths if not os.path.isdir(os.path.dirname(path))}
    )
    if unseen:
        fail("outside", "no such directory: %s" % ", ".join(unseen), directories=unseen)


def local_path(base_url, location):
    """The path of a file in a local repository, from the address and the path below it; None for
    other addresses."""
    url = location if "://" in location else base_url.rstrip("/") + "/" + location
    return unquote(url[7:]) if url.startswith("file://") else None


def package_files(request):
    """The transaction's package files, by spec; those with addresses are fetched first."""
    for text, file in request["files"].items():
        if "url" in file and request["phase"] != "install":
            fetch_address(text, file["path"])
    return {text: file["path"] for text, file in request["files"].items()}


def fetch_address(url, path):
    """Fetches a file from an address outside of all repositories."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = "%s.%d" % (path, os.getpid())
    try:
        with urlopen(url, timeout=60) as answer, open(part, "wb") as copy:
            shutil.copyfileobj(answer, copy)
            length = answer.headers.get("Content-Length")
            if length is not None and copy.tell() != int(length):
                fail("network", "%s: received %d of %s bytes" % (url, copy.tell(), length))
        os.rename(part, path)
    except (OSError, HTTPException) as error:
        status = getattr(error, "code", None)
        kind = (
            "too-large"
            if getattr(error, "errno", None) == errno.EFBIG
            else "gone"
            if status in (404, 410)
            else "refused"
            if status in (401, 403, 407)
            else "network"
        )
        fail(kind, "%s: %s" % (url, "Status code: %d" % status if status else error))


def repository_files(files):
    """The wanted files in repositories; files that the recipe names by an address are fetched
    immediately."""
    for file in files:
        if file["repository"] == "@commandline":
            fetch_address(file["location"], file["path"])
    return [file for file in files if file["repository"] != "@commandline"]


def advisories(upgrade):
    """The filters of an upgrade, by kind; empty if it has none."""
    kinds = {
        "advisory": "advisory",
        "advisories": "advisory",
        "bz": "bugzilla",
        "bzs": "bugzilla",
        "cve": "cves",
        "cves": "cves",
        "sec-severity": "severity",
        "secseverity": "severity",
    }
    narrowed = {}
    for option in upgrade["filters"]:
        name, _, value = option.lstrip("-").partition("=")
        if value:
            narrowed.setdefault(kinds[name], []).extend(
                word for word in value.replace(",", " ").split()
            )
        else:
            narrowed.setdefault("types", []).append(name)
    if upgrade["minimal"] and not narrowed:
        narrowed["types"] = ["bugfix", "enhancement", "newpackage", "security"]
    return narrowed


def key_packets(path):
    """The bytes of an armored key; osimg has checked that the file contains only this key."""
    with open(path, encoding="ascii") as file:
        lines = [line.strip() for line in file]
    begin = lines.index("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    body = lines[lines.index("", begin) + 1:lines.index("-----END PGP PUBLIC KEY BLOCK-----")]
    return base64.b64decode("".join(line for line in body if not line.startswith("=")))


def import_keys(transaction_set, request):
    """Imports only the pinned keys into the image's rpmdb before anything is installed."""
    for path in request["keys"]:
        code = transaction_set.pgpImportPubkey(key_packets(path))
        if code != 0:
            fail(
                "key", "rpm could not import the key %s (code %d)" % (os.path.basename(path), code)
            )


def set_limits(request):
    """Limits the size of each written file and the memory, because a server controls both."""
    if request["phase"].startswith("install"):
        return
    for limit, value in (
        (resource.RLIMIT_FSIZE, request["limits"]["file"]),
        (resource.RLIMIT_DATA, request["limits"]["memory"]),
    ):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(
            limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard)
        )


def watch_temporary_files(request):
    """Limits the files in /tmp, where librepo and libdnf store lists of mirrors and an index before
    they enter the cache. A separate process watches, because libdnf may block all threads of
    Python."""
    driver, limit = os.getpid(), request["limits"]["index"]
    if request["phase"].startswith("install") or os.fork() != 0:
        return
    lists = ["'%s'" % r["id"] for r in request["repositories"] if r["metalink"] or r["mirrorlist"]]
    while os.getppid() == driver:
        if largest_temporary_file(driver) > limit:
            send(
                "error",
                kind="too-large",
                message="downloading the list of mirrors or the index of %s: it is larger "
                "than the limit of %d MiB" % (" or ".join(lists) or "a repository", limit >> 20),
            )
            os.kill(driver, signal.SIGKILL)
        time.sleep(0.05)
    os._exit(0)


def largest_temporary_file(process):
    """The size of the largest file in /tmp that a process has open, without those in directories: a
    repository can be in one."""
    largest, directory = 0, "/proc/%d/fd/" % process
    try:
        for name in os.listdir(directory):
            try:
                if os.path.dirname(os.readlink(directory + name)) == "/tmp":
                    largest = max(largest, os.stat(directory + name).st_size)
            except OSError:
                pass  # closed in the meantime
    except OSError:
        pass  # the process has ended
    return largest


def run(main):
    """Runs the driver; every outcome is an answer."""
    try:
        with open("/osimg/request.json", encoding="utf-8") as file:
            request = json.load(file)
        set_limits(request)
        watch_temporary_files(request)
        main(request)
    except SystemExit:
        raise
    except (
        BaseException
    ) as error:  # sent as an answer: a traceback would be lost among rpm's warnings
        import traceback

        traceback.print_exc()
        if getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in str(error):
            fail("no-space", error)
        fail("unexpected", "%s: %s" % (type(error).__name__, error))
    send("done")
    EVENTS.flush()
    os._exit(0)
