# Runs dnf 4 through its Python API for osimg: one transaction from /osimg/request.json, in one of
# two phases.
# Every answer is one JSON object per line on standard output; all other output goes to standard
# error.
# The API is used instead of the command because its errors are precise and its callbacks report
# progress.
import os
import sys

sys.path.insert(0, "/osimg")
from dnf4_files import fetch, mark_files
from dnf4_jobs import add_files, change_module, change_reasons, is_excluded, mark
from dnf4_progress import Download, Transaction
from comps import check_comps
from driver import (
    EMPTY,
    allow_list,
    fail,
    fail_dependency,
    import_keys,
    refuse_outside,
    repomd,
    run,
    satisfied_members,
    send,
)
from failures import DownloadErrors, fail_download, fail_metadata, fail_rpm, record_rpm_problems

try:
    import dnf
    import dnf.conf
    import dnf.const
    import dnf.exceptions
    import dnf.lock
    import dnf.repo
    import dnf.subject
    import hawkey
    import libdnf.conf
    import libdnf.transaction
    import rpm
except ImportError as error:
    fail("host", error)


def nevra(package):
    return "%s-%s:%s-%s.%s" % (
        package.name,
        package.epoch,
        package.version,
        package.release,
        package.arch,
    )


def disable_dnf_locks():
    """Disables dnf's locks. They are files with process ids, which mean nothing in a pid namespace:
    dnf would wait for a killed build.

    osimg holds a kernel lock on everything that they protect.
    """
    dnf.lock.ProcessLock.__enter__ = lambda self: self._lock_thread()
    dnf.lock.ProcessLock.__exit__ = lambda self, *exception: self._unlock_thread()


def make_base(request):
    # A new Conf: the default one would query the host's rpmdb for the release.
    conf = dnf.conf.Conf()
    conf.installroot = request["installroot"]
    conf.cachedir = request["cachedir"]
    # The reasons why packages are installed must be kept for the next transaction, which removes
    # unneeded dependencies.
    conf.persistdir = request["state"]
    conf.logdir = request["scratch"] + "/log"
    os.makedirs(conf.logdir, exist_ok=True)
    conf.plugins = False
    conf.reposdir = []
    conf.varsdir = []
    conf.assumeyes = True
    conf.best = True
    conf.strict = True
    conf.keepcache = True
    if hasattr(conf, "protect_running_kernel"):
        conf.protect_running_kernel = False  # the running kernel is the build host's
    conf.skip_if_unavailable = False
    conf.check_config_file_age = False
    conf.install_weak_deps = request["install_weak_deps"]
    # rpm itself refuses packages that are not signed by an imported key (%_pkgverify_level), also
    # local files. dnf would start a program for each package, with the same result.
    conf.gpgcheck = False
    conf.localpkg_gpgcheck = False
    conf.max_parallel_downloads = 20
    conf.max_downloads_per_mirror = 20
    conf.retries = 10
    conf.timeout = 30
    conf.minrate = 1000
    conf.tsflags = request["tsflags"]
    conf.excludepkgs = request["exclude"]
    if request.get("arch"):
        conf.substitutions["arch"] = request["arch"]
        conf.substitutions["basearch"] = dnf.rpm.basearch(request["arch"])
        conf.arch, conf.basearch = request["arch"], conf.substitutions["basearch"]
        conf.ignorearch = True  # otherwise rpm refuses packages for a foreign processor
    conf.substitutions["releasever"] = request.get("releasever") or ""
    for name, value in request.get("vars", {}).items():
        conf.substitutions[name] = value
    if request["offline"]:
        conf.cacheonly = True
    return dnf.Base(conf)


def configure(base, request):
    """Applies the recipe's `config` lines."""
    for key, value in request["transaction"]["config"]:
        repo, _, option = key.rpartition(".")
        try:
            for target in base.repos.get_matching(repo) if repo else [base.conf]:
                setattr(target, option, value)
        except Exception as error:
            fail(
                "spec",
                "config %s %s: %s" % (key, value, error),
                line=request["transaction"]["line"],
            )


def add_repositories(base, request):
    if request["host_repositories"]:
        conf = base.conf
        keep = {
            k: getattr(conf, k)
            for k in (
                "installroot",
                "cachedir",
                "persistdir",
                "logdir",
                "gpgcheck",
                "skip_if_unavailable",
                "best",
                "install_weak_deps",
                "tsflags",
                "excludepkgs",
                "keepcache",
                "plugins",
            )
        }
        if os.path.exists("/etc/dnf/dnf.conf"):
            conf.read("/etc/dnf/dnf.conf")
        for key, value in keep.items():
            setattr(conf, key, value)
        conf.reposdir = [d for d in ("/etc/yum.repos.d", "/etc/distro.repos.d") if os.path.isdir(d)]
        conf.varsdir = [d for d in ("/etc/dnf/vars", "/etc/yum/vars") if os.path.isdir(d)]
        conf.substitutions.update_from_etc("/", varsdir=conf.varsdir)
        if request.get("releasever"):
            conf.substitutions["releasever"] = request["releasever"]
        base.read_all_repos()
    for wanted in request["repositories"]:
        repo = dnf.repo.Repo(wanted["id"], base.conf)
        for key, value in wanted.items():
            if key not in ("id", "signed_metadata") and value not in (None, [], ""):
                setattr(repo, key, value)
        # dnf itself does not replace variables in the path of a local repository.
        repo.baseurl = [
            libdnf.conf.ConfigParser.substitute(url, base.conf.substitutions)
            if url.startswith("file:")
            else url
            for url in repo.baseurl
        ]
        repo.repo_gpgcheck = wanted.get("signed_metadata", False)
        repo.gpgkey = ["file://" + key for key in request["keys"]] if repo.repo_gpgcheck else []
        base.repos.add(repo)
    for change in (request["transaction"] or {"repos": []})["repos"]:
        matched = base.repos.get_matching(change["glob"])
        if not matched:
            fail(
                "unknown-repository",
                "no repository matches '%s'" % change["glob"],
                line=change["line"],
                known=sorted(base.repos),
            )
        for repo in matched:
            (repo.enable if change["action"] == "enable" else repo.disable)()
    for repo in base.repos.iter_enabled():
        repo.skip_if_unavailable = False
        repo.gpgcheck = False
        # Each build checks every repository for newer metadata; the install phase uses the result.
        if request["offline"]:
            repo.metadata_expire = -1
            repo._repo.setSyncStrategy(dnf.repo.SYNC_ONLY_CACHE)
        else:
            repo._repo.expire()
    if not list(base.repos.iter_enabled()):
        fail("settings", "no repository is enabled")


def load(base, request):
    # Only the callbacks receive the error of each address; dnf's own error only reports that none
    # worked.
    errors = DownloadErrors()
    dnf.repo.MDPayload._mirror_failure_cb = lambda payload, data, message, url, metadata: (
        errors.failed(url, message)
    )
    # Damaged module metadata can crash the whole process.
    reading = base._setup_modular_excludes
    base._setup_modular_excludes = lambda: [
        send("reading", what="the modules of %s" % modular(base)),
        reading(),
        send("reading", what=None),
    ]
    try:
        base.fill_sack(load_system_repo=True, load_available_repos=True)
        base.odd_members = read_comps(base, request["transaction"])
    except dnf.exceptions.RepoError as error:
        # The cause of damaged metadata is in hawkey's exception, which dnf drops.
        cause = error.__context__ if isinstance(error.__context__, hawkey.Exception) else None
        fail_metadata("%s: %s" % (error, cause) if cause else error, errors)
    except (dnf.exceptions.Error, hawkey.Exception) as error:
        fail_metadata(error, errors)
    only = request["detail"] and request["detail"].get("only")
    if only:
        allowed = allow_list(only)
        others = [
            p
            for p in base.sack.query().available()
            if not allowed(p.name, p.version, p.release, p.arch)
        ]
        base.sack.add_excludes(base.sack.query().filter(pkg=others))


def reset_streams(base, request):
    """Applies resets and disablements of modules one by one, before other changes of them; returns
    a base with the new state.

    dnf accepts a different stream of a module only after its reset has been saved.
    """
    modules = request["transaction"]["modules"]
    while any(change["action"] in ("reset", "disable") for change in modules[:-1]):
        configure(base, request)
        load(base, request)
        change_module(base, modules.pop(0))
        base._moduleContainer.save()
        base._moduleContainer.updateFailSafeData()
        base.close()
        base = make_base(request)
        add_repositories(base, request)
    return base


def modular(base):
    """The repositories with module metadata, for messages."""
    found = [repo.id for repo in base.repos.iter_enabled() if repo._repo.getMetadataPath("modules")]
    return "repository %s" % " or ".join("'%s'" % ident for ident in found)


def read_comps(base, wanted):
    """Reads the groups if the transaction uses any; returns the members that dnf does not
    understand."""
    if not wanted["groups"] and not wanted["group_changes"] and not wanted["mark"]:
        return {}
    groups, odd = check_comps(
        [
            (repo.id, repo._repo.getCompsFn())
            for repo in base.repos.iter_enabled()
            if repo._repo.getCompsFn()
        ]
    )
    base.read_comps(arch_filter=True)
    if groups and not base.comps.groups:
        fail("host", "the repositories have groups, but libcomps on this host finds none")
    return odd


def resolve(base, request):
    try:
        base.resolve(allow_erasing=True)
    except dnf.exceptions.Error as error:
        fail_dependency(str(error), request)


def with_obsoleting(base, packages):
    """The packages and those that obsolete them, directly or indirectly."""
    found = set(packages)
    while True:
        more = (
            set(base.sack.query().filter(obsoletes=base.sack.query().filter(pkg=list(found))))
            - found
        )
        if not more:
            return found
        found |= more


def names_for(base, name, here):
    """The names of the packages for a group's member: by name, or else those that provide or
    obsolete it."""
    query = base.sack.query()
    for packages in (
        lambda: query.filter(name=name),
        lambda: query.filter(provides=name),
        lambda: with_obsoleting(base, query.filter(name=name)),
    ):
        names = sorted({package.name for package in packages() if nevra(package) in here})
        if names:
            return names
    return []


def describe(base, request, groups, files=()):
    outgoing = []
    install_set = set(base.transaction.install_set) if base.transaction else set()
    # An item that only changes the reason of a package has no package.
    moves = [
        item
        for item in base.transaction or ()
        if item.action != libdnf.transaction.TransactionItemAction_REASON_CHANGE
    ]
    reasons = {item.pkg: item.reason for item in moves}
    for package in sorted(install_set, key=nevra):
        kind, digest = package.chksum if package.chksum else (None, b"")
        send(
            "planned",
            package=dict(
                nevra=nevra(package),
                name=package.name,
                epoch=package.epoch,
                version=package.version,
                release=package.release,
                arch=package.arch,
                repo=package.reponame,
                location=package.location,
                size=package.downloadsize,
                installed=package.installsize,
                built=package.buildtime,
                checksum="%s:%s" % (hash_name(kind), digest.hex()) if kind else None,
                reason=libdnf.transaction.TransactionItemReasonToString(
                    reasons.get(package, libdnf.transaction.TransactionItemReason_UNKNOWN)
                ),
                path=package.localPkg(),
            ),
        )
    for package in sorted(set(base.transaction.remove_set) if base.transaction else (), key=nevra):
        outgoing.append(nevra(package))
    here = {nevra(p) for p in install_set}
    here |= {nevra(p) for p in base.sack.query().installed()}
    here -= set(outgoing)
    for spec in request["transaction"]["install"]:
        query = (
            [files[spec["text"]]]
            if spec["text"] in files
            else dnf.subject.Subject(spec["text"]).get_best_query(base.sack)
        )
        found = {nevra(p) for p in query} & here or {
            nevra(p) for p in with_obsoleting(base, query)
        } & here
        send("spec", spec=dict(text=spec["text"], line=spec["line"], packages=sorted(found)))
    groups = satisfied_members(
        groups, lambda name: names_for(base, name, here), lambda name: is_excluded(base, name)
    )
    repositories = [
        dict(
            id=repo.id,
            name=repo.name,
            revision=repo._repo.getRevision(),
            repomd=repomd(repo._repo.getCachedir()),
        )
        for repo in base.repos.iter_enabled()
    ]
    send("plan", remove=outgoing, groups=groups, repositories=repositories, rpm=rpm.__version__)


def hash_name(kind):
    return {
        hawkey.CHKSUM_MD5: "md5",
        hawkey.CHKSUM_SHA1: "sha1",
        hawkey.CHKSUM_SHA256: "sha256",
        hawkey.CHKSUM_SHA384: "sha384",
        hawkey.CHKSUM_SHA512: "sha512",
    }.get(kind, "unknown")


def local_packages(base, wrong):
    """The names of local packages for which `wrong` is true: dnf reports only that there are
    some."""
    return ", ".join(
        sorted(
            os.path.basename(p.localPkg())
            for p in base.transaction.install_set
            if p._is_local_pkg() and wrong(p)
        )
    )


def main(request):
    disable_dnf_locks()
    base = make_base(request)
    if request["phase"] == "install-files":
        base.conf.excludepkgs = []
        mark_files(base, request, nevra)
        resolve(base, dict(request, transaction=dict(EMPTY, line=1)))
        describe(base, request, [])
        return run_transaction(base, request)
    add_repositories(base, request)
    if request["phase"] == "fetch":
        return fetch(base, request, Download())
    base = reset_streams(base, request)
    configure(base, request)
    send("loading", repositories=[r.id for r in base.repos.iter_enabled()])
    load(base, request)
    files = add_files(base, request)
    groups = mark(base, request, files)
    resolve(base, request)
    describe(base, request, groups, files)
    if request["phase"] == "resolve":
        return
    refuse_outside(
        [p.localPkg() for p in base.transaction.install_set if p._is_local_pkg()]
        if base.transaction
        else []
    )
    progress = Download()
    try:
        base.download_packages(
            list(base.transaction.install_set if base.transaction else ()), progress
        )
    except dnf.exceptions.Error as error:
        gone = local_packages(base, lambda package: not os.path.exists(package.localPkg()))
        if gone:
            fail("gone", "%s: missing in the repository's directory" % gone)
        changed = local_packages(base, lambda package: not package.verifyLocalPkg())
        if changed:
            fail("checksum", "%s: does not match the repository's metadata" % changed)
        fail_download(error, progress.errors)
    if request["phase"] == "download":
        return
    run_transaction(base, request)


def run_transaction(base, request):
    # rpm before 4.19 ignores subkeys of keys imported by the same transaction set. A set that opens
    # the database later reads them.
    keys = rpm.TransactionSet(request["installroot"])
    import_keys(keys, request)
    keys.closeDB()
    if request["phase"] == "install" and request["transaction"]["mark"]:
        change_reasons(base, request["transaction"]["mark"])
        base.close()
        return
    kinds = record_rpm_problems(rpm, base._ts.ts)
    try:
        base.do_transaction(Transaction())
    except dnf.exceptions.Error as error:
        fail_rpm(error, kinds)
    failed = [
        str(i)
        for i in base.transaction or ()
        if i.state == libdnf.transaction.TransactionItemState_ERROR
    ]
    # Closing the rpmdb merges its write-ahead log.
    base.close()
    if failed:
        fail("transaction", "packages failed to install: %s" % ", ".join(failed))


run(main)
