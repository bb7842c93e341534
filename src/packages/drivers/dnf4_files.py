# The part of dnf 4's driver for locks: it fetches files by their paths, and installs the listed
# files.
import os

from driver import fail, local_path, repository_files, refuse_outside, send
from failures import fail_download

try:
    import dnf.exceptions
    import libdnf.repo
except ImportError as error:
    fail("host", error)


def fetch(base, request, progress):
    """Fetches files by their paths, through the mirrors of their repositories; metadata are not
    read."""
    progress.start(
        len(request["detail"]["files"]), sum(file["size"] for file in request["detail"]["files"])
    )
    targets, local = [], []
    for file in repository_files(request["detail"]["files"]):
        repo = base.repos.get(file["repository"])
        if repo is None:
            fail("settings", "the repository '%s' of the lock does not exist" % file["repository"])
        base_url, location = None, file["location"]
        local.append(local_path((list(repo.baseurl) + [""])[0], location))
        if "://" in location:
            base_url, location = location.rsplit("/", 1)
        callbacks = Fetched(progress, file)
        kind, digest = file["checksum"].split(":")
        target = libdnf.repo.PackageTarget(
            repo._repo,
            location,
            file["path"],
            libdnf.repo.PackageTarget.checksumType(kind),
            digest,
            file["size"],
            base_url,
            True,
            0,
            0,
            callbacks,
        )
        targets.append((target, callbacks, file))
    refuse_outside([path for path in local if path])
    try:
        libdnf.repo.PackageTarget.downloadPackages(
            libdnf.repo.VectorPPackageTarget([target for target, _, _ in targets]), False
        )
    except Exception as error:
        fail_download(error, progress.errors)
    # A message about a file that arrived or existed already is not an error.
    wrong = ["%s: %s" % (file["location"], target.getErr()) for target, _, file in targets
             if target.getErr() and target.getErr() != "Already downloaded"]
    if wrong:
        fail_download("\n".join(wrong), progress.errors)


class Fetched(libdnf.repo.PackageTargetCB):
    """Reports the progress of one file as part of the total."""

    def __init__(self, whole, file):
        super().__init__()
        self.whole, self.name = whole, os.path.basename(file["location"])

    def progress(self, total, downloaded):
        self.whole.progress(self.name, downloaded)
        return 0

    def mirrorFailure(self, message, url):
        send("retry", item=self.name, message=message or "failed")
        self.whole.errors.failed(self.name, message)
        return 0


def mark_files(base, request, nevra):
    """Marks the files to be installed and the packages that the plan removes; other packages are
    not considered."""
    detail = request["detail"]
    # Removals are marked by name, so that nothing is removed that the plan does not list.
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
                fail("transaction", "%s is to be removed but is not installed" % name)
            if package.name not in coming:
                base.package_remove(package)
    except (OSError, dnf.exceptions.Error) as error:
        fail("transaction", error)
