# The part of dnf 5's driver for locks: it fetches files by their paths, and installs the listed
# files.
import os

from driver import fail, local_path, repository_files, refuse_outside, send
from failures import fail_download, fail_metadata

try:
    import libdnf5.base
    import libdnf5.repo
    import libdnf5.rpm
except ImportError as error:
    fail("host", error)


def fetch(base, request, repos, downloads):
    """Fetches files by their paths, from one mirror after the other; the caller checks their
    contents."""
    files = repository_files(request["detail"]["files"])
    send("loading", repositories=sorted({file["repository"] for file in files}))
    sources = {
        ident: mirrors(base, repos, ident, downloads)
        for ident in {file["repository"] for file in files if "://" not in file["location"]}
    }
    local = [
        local_path((sources.get(file["repository"]) or [""])[0], file["location"]) for file in files
    ]
    refuse_outside([path for path in local if path])
    downloads.size, downloads.files = sum(file["size"] for file in files), len(files)

    def missing(file):
        return not os.path.exists(file["path"]) or os.path.getsize(file["path"]) != file["size"]

    error = None
    for turn in range(max([len(urls) for urls in sources.values()] + [1])):
        left = [file for file in files if missing(file)]
        if not left:
            return
        downloads.names, downloads.parts = [], []
        # The kind of a failure is that of the last address: an earlier mirror may be out of date.
        downloads.errors.reasons.clear()
        downloader = libdnf5.repo.FileDownloader(base)
        downloader.set_fail_fast(False)
        for file in left:
            if os.path.exists(file["path"]):
                os.unlink(file["path"])
            if file["repository"] not in repos:
                fail(
                    "settings",
                    "the repository '%s' of the lock does not exist" % file["repository"],
                )
            urls = sources.get(file["repository"])
            url = (
                urls[turn % len(urls)].rstrip("/") + "/" + file["location"]
                if urls
                else file["location"]
            )
            downloader.add(repos[file["repository"]], url, file["path"])
        try:
            downloader.download()
        except Exception as problem:
            error = problem
    if any(missing(file) for file in files):
        fail_download(error or "files have another size than in the lock", downloads.errors)


def mirrors(base, repos, ident, downloads):
    """The addresses of a repository; those of a mirror list are known after its index was read."""
    if ident not in repos:
        fail("settings", "the repository '%s' of the lock does not exist" % ident)
    repo = repos[ident]
    urls = [
        base.get_vars().substitute(url)
        for url in repo.get_config().get_baseurl_option().get_value()
    ]
    if not urls:
        try:
            repo.read_metadata_cache()
        except Exception:
            pass  # the cache may not have it
        urls = list(repo.get_mirrors())
    if not urls:
        try:
            base.get_repo_sack().load_repos(libdnf5.repo.Repo.Type_AVAILABLE)
        except Exception as error:
            fail_metadata(error, downloads.errors)
        urls = list(repo.get_mirrors())
    if not urls:
        fail("no-repository", "the repository '%s' has no mirrors" % ident)
    return urls


def mark_files(base, request, strict_settings):
    """The goal to install the files and remove the packages that the plan removes; other packages
    are not considered."""
    detail = request["detail"]
    sack = base.get_repo_sack()
    sack.load_repos(libdnf5.repo.Repo.Type_SYSTEM)
    sack.add_cmdline_packages(detail["files"])
    # The call returns a map that not every build of the module can read.
    files = libdnf5.rpm.PackageQuery(base)
    files.filter_repo_id(["@commandline"])
    packages = sorted(files, key=lambda package: package.get_full_nevra())
    installed = libdnf5.rpm.PackageQuery(base)
    installed.filter_installed()
    here = {package.get_full_nevra(): package for package in installed}
    coming = {package.get_name() for package in packages}
    goal, settings = libdnf5.base.Goal(base), strict_settings()
    keep = strict_settings()
    # Removals are marked by name, so that nothing is removed that the plan does not list.
    keep.set_clean_requirements_on_remove(libdnf5.base.GoalSetting_SET_FALSE)
    for package in packages:
        (goal.add_rpm_reinstall if package.get_full_nevra() in here else goal.add_rpm_install)(
            package, settings
        )
    for name in detail["remove"]:
        if name not in here:
            fail("transaction", "%s is to be removed but is not installed" % name)
        if here[name].get_name() not in coming:
            goal.add_rpm_remove(here[name], keep)
    return goal
