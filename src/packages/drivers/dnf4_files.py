# The part of dnf 4's driver that goes by a lock: files fetched by their places, and installed one by one by their names.
import os

from driver import fail, of_files, of_repositories, refuse_outside, tell
from failures import fail_download

try:
    import dnf.exceptions
    import libdnf.repo
except ImportError as error:
    fail("host", error)


def fetch(base, request, progress):
    """Fetches files by their places, through the mirrors of their repositories; no metadata is read."""
    progress.start(len(request["detail"]["files"]), sum(file["size"] for file in request["detail"]["files"]))
    targets, local = [], []
    for file in of_repositories(request["detail"]["files"]):
        repo = base.repos.get(file["repository"])
        if repo is None:
            fail("settings", "there is no repository '%s', which the lock names" % file["repository"])
        base_url, location = None, file["location"]
        local.append(of_files((list(repo.baseurl) + [""])[0], location))
        if "://" in location:
            base_url, location = location.rsplit("/", 1)
        callbacks = Fetched(progress, file)
        kind, digest = file["checksum"].split(":")
        target = libdnf.repo.PackageTarget(repo._repo, location, file["path"], libdnf.repo.PackageTarget.checksumType(kind), digest,
                                           file["size"], base_url, True, 0, 0, callbacks)
        targets.append((target, callbacks, file))
    refuse_outside([path for path in local if path])
    try:
        libdnf.repo.PackageTarget.downloadPackages(libdnf.repo.VectorPPackageTarget([target for target, _, _ in targets]), False)
    except Exception as error:
        fail_download(error, progress.heard)
    # A target's own word on a file that came, or was there, is no failure.
    wrong = ["%s: %s" % (file["location"], target.getErr()) for target, _, file in targets
             if target.getErr() and target.getErr() != "Already downloaded"]
    if wrong:
        fail_download("\n".join(wrong), progress.heard)


class Fetched(libdnf.repo.PackageTargetCB):
    """Passes the bytes of one file on to the progress of all."""

    def __init__(self, whole, file):
        super().__init__()
        self.whole, self.name = whole, os.path.basename(file["location"])

    def progress(self, total, downloaded):
        self.whole.progress(self.name, downloaded)
        return 0

    def mirrorFailure(self, message, url):
        tell("retry", item=self.name, message=message or "failed")
        self.whole.heard.failed(self.name, message)
        return 0


def mark_files(base, request, nevra):
    """Marks files to be installed, and what the plan removes to be removed; nothing else is known or considered."""
    detail = request["detail"]
    # What goes is said by name: nothing follows it that the plan does not name too.
    base.conf.clean_requirements_on_remove = False
    try:
        base.fill_sack(load_system_repo=True, load_available_repos=False)
        packages = base.add_remote_rpms(detail["files"], strict=True)
        here = {nevra(p): p for p in base.sack.query().installed()}
        coming = {p.name for p in packages}
        for package in packages:
            if nevra(package) in here:
                base.package_reinstall(package)
            else:
                base.package_install(package, strict=True)
        for name in detail["remove"]:
            package = here.get(name)
            if package is None:
                fail("transaction", "%s is to be removed and not there" % name)
            if package.name not in coming:
                base.package_remove(package)
    except (OSError, dnf.exceptions.Error) as error:
        fail("transaction", error)
