# The part of yum 3's driver that goes by a lock: files fetched by their places, and installed one by one by their names.
import os

from driver import fail, fail_network, of_repositories, tell
from yum3_progress import Meter
from yum3_rpm import Incoming, header, transact

try:
    import rpm
    import yum.Errors
except ImportError as error:
    fail("host", error)


def fetch(base, request, heard):
    """Fetches files by their places, through the mirrors of their repositories; no metadata is read."""
    files = of_repositories(request["detail"]["files"])
    meter, wrong = Meter(len(files), sum(file["size"] for file in files)), []
    for file in files:
        repo = base.repos.repos.get(file["repository"])
        if repo is None:
            fail("settings", "there is no repository '%s', which the lock names" % file["repository"])
        repo.setCallback(meter)
        repo.setFailureObj(heard)
        repo.setMirrorFailureObj(heard)
        url, location = None, file["location"]
        if "://" in location:
            url, location = location.rsplit("/", 1)
        try:
            repo._getFile(url=url, relative=location, local=file["path"], copy_local=1, reget=None, text=os.path.basename(location))
        except (yum.Errors.YumBaseError, EnvironmentError) as error:
            wrong.append("%s: %s" % (file["location"], error))
    if wrong:
        fail_network("download", heard.told("\n".join(wrong)))


def installed(root):
    """What the rpmdb holds: where in it, by name."""
    transaction_set = rpm.TransactionSet(root)
    transaction_set.setVSFlags(rpm._RPMVSF_NOSIGNATURES | rpm._RPMVSF_NODIGESTS)
    found = transaction_set.dbMatch()
    here = {}
    for entry in found:
        if entry["name"] != "gpg-pubkey":
            here[nevra(entry)] = (entry["name"], found.instance())
    del found
    transaction_set.closeDB()
    return here


def nevra(entry):
    return "%s-%s:%s-%s.%s" % (entry["name"], entry["epoch"] or 0, entry["version"], entry["release"], entry["arch"])


def install_files(request):
    """Installs files, and removes what the plan removes; nothing else is known or considered."""
    detail = request["detail"]
    here = installed(request["installroot"])
    plain = rpm.TransactionSet(request["installroot"])
    plain.setVSFlags(rpm._RPMVSF_NOSIGNATURES | rpm._RPMVSF_NODIGESTS)
    coming, told = [], {}
    for path in detail["files"]:
        try:
            entry = header(plain, path)
        except (EnvironmentError, rpm.error) as error:
            fail("transaction", "%s: %s" % (os.path.basename(path), error))
        # Several versions of a kernel stand beside each other; the plan says which of them goes.
        before = [name for name in here if here[name][0] == entry["name"]]
        coming.append(Incoming(entry["name"], path, all(name in detail["remove"] for name in before)))
        told[nevra(entry)] = dict(
            nevra=nevra(entry), name=entry["name"], epoch=int(entry["epoch"] or 0), version=entry["version"], release=entry["release"],
            arch=entry["arch"], repo="@commandline", location=os.path.basename(path), size=os.path.getsize(path),
            installed=int(entry["longsize"] or entry["size"] or 0), built=int(entry["buildtime"] or 0), checksum=None, reason="unknown", path=path)
    plain.closeDB()
    going = []
    for name in detail["remove"]:
        if name not in here:
            fail("transaction", "%s is to be removed and not there" % name)
        going.append(here[name][1])
    filters = [rpm.RPMPROB_FILTER_OLDPACKAGE, rpm.RPMPROB_FILTER_REPLACEPKG, rpm.RPMPROB_FILTER_REPLACEOLDFILES] if going or set(told) & set(here) else []
    if set(told) & set(here):
        filters.append(rpm.RPMPROB_FILTER_REPLACENEWFILES)
    removed = transact(request, coming, going, request["tsflags"], filters)
    for name in sorted(told):
        tell("planned", package=told[name])
    tell("plan", remove=[name for name in removed if name not in told], specs=[], groups=[], repositories=[], rpm=rpm.__version__)
