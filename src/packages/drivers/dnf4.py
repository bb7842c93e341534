# Drives dnf 4 through its Python API for osimg: one transaction, described by /osimg/request.json, in one of two phases.
# Every answer is one JSON object a line on standard output; whatever else is printed goes to standard error.
# Why the API and not the command: its exit status and its errors are truthful, and its callbacks give real progress.
import os
import sys

sys.path.insert(0, "/osimg")
from dnf4_files import fetch, mark_files
from dnf4_jobs import add_files, change_module, change_reasons, is_excluded, mark
from dnf4_progress import Download, Transaction
from comps import check_comps
from driver import EMPTY, among, fail, fail_dependency, import_keys, refuse_outside, repomd, run, satisfied_members, tell
from failures import Heard, fail_download, fail_metadata, fail_rpm, listen_to_rpm

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
    return "%s-%s:%s-%s.%s" % (package.name, package.epoch, package.version, package.release, package.arch)


def trust_our_own_lock():
    """dnf's locks are files with process numbers, which mean nothing in a pid namespace: one left by a killed build would be waited for.

    osimg holds a lock of the kernel's on everything that they guard.
    """
    dnf.lock.ProcessLock.__enter__ = lambda self: self._lock_thread()
    dnf.lock.ProcessLock.__exit__ = lambda self, *exception: self._unlock_thread()


def make_base(request):
    # A Conf of our own: the default one would ask the host's rpmdb for its release.
    conf = dnf.conf.Conf()
    conf.installroot = request["installroot"]
    conf.cachedir = request["cachedir"]
    # Why each package is there must outlive the process: the next transaction removes what only a removed package needed.
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
        conf.protect_running_kernel = False  # it is the build host's
    conf.skip_if_unavailable = False
    conf.check_config_file_age = False
    conf.install_weak_deps = request["install_weak_deps"]
    # rpm itself refuses what is not signed by an imported key (%_pkgverify_level), in one process and for local files too;
    # dnf would start a program for each package to the same end.
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
        conf.ignorearch = True  # rpm would refuse what this machine's processor cannot run by itself
    conf.substitutions["releasever"] = request.get("releasever") or ""
    for name, value in request.get("vars", {}).items():
        conf.substitutions[name] = value
    if request["offline"]:
        conf.cacheonly = True
    return dnf.Base(conf)


def configure(base, request):
    """The recipe's own `config` lines."""
    for key, value in request["transaction"]["config"]:
        repo, _, option = key.rpartition(".")
        try:
            for target in base.repos.get_matching(repo) if repo else [base.conf]:
                setattr(target, option, value)
        except Exception as error:
            fail("spec", "config %s %s: %s" % (key, value, error), line=request["transaction"]["line"])


def add_repositories(base, request):
    if request["host_repositories"]:
        conf = base.conf
        keep = {k: getattr(conf, k) for k in ("installroot", "cachedir", "persistdir", "logdir", "gpgcheck", "skip_if_unavailable", "best",
                                               "install_weak_deps", "tsflags", "excludepkgs", "keepcache", "plugins")}
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
        # dnf itself does not replace variables in the path of a repository on this machine.
        repo.baseurl = [libdnf.conf.ConfigParser.substitute(url, base.conf.substitutions) if url.startswith("file:") else url for url in repo.baseurl]
        repo.repo_gpgcheck = wanted.get("signed_metadata", False)
        repo.gpgkey = ["file://" + key for key in request["keys"]] if repo.repo_gpgcheck else []
        base.repos.add(repo)
    for change in (request["transaction"] or {"repos": []})["repos"]:
        matched = base.repos.get_matching(change["glob"])
        if not matched:
            fail("unknown-repository", "no repository matches '%s'" % change["glob"], line=change["line"], known=sorted(base.repos))
        for repo in matched:
            (repo.enable if change["action"] == "enable" else repo.disable)()
    for repo in base.repos.iter_enabled():
        repo.skip_if_unavailable = False
        repo.gpgcheck = False
        # A build asks every repository whether its metadata is still the newest; the install phase takes what that gave.
        if request["offline"]:
            repo.metadata_expire = -1
            repo._repo.setSyncStrategy(dnf.repo.SYNC_ONLY_CACHE)
        else:
            repo._repo.expire()
    if not list(base.repos.iter_enabled()):
        fail("settings", "no repository is enabled")


def load(base, request):
    # Only the callbacks hear what became of each address; dnf's error says merely that none was left.
    heard = Heard()
    dnf.repo.MDPayload._mirror_failure_cb = lambda payload, data, message, url, metadata: heard.failed(url, message)
    # A damaged description of modules ends the whole process.
    reading = base._setup_modular_excludes
    base._setup_modular_excludes = lambda: [tell("reading", what="the modules of %s" % modular(base)), reading(), tell("reading", what=None)]
    try:
        base.fill_sack(load_system_repo=True, load_available_repos=True)
        base.odd_members = read_comps(base, request["transaction"])
    except dnf.exceptions.RepoError as error:
        # The reason of damaged metadata is in hawkey's exception, which dnf drops.
        cause = error.__context__ if isinstance(error.__context__, hawkey.Exception) else None
        fail_metadata("%s: %s" % (error, cause) if cause else error, heard)
    except (dnf.exceptions.Error, hawkey.Exception) as error:
        fail_metadata(error, heard)
    only = request["detail"] and request["detail"].get("only")
    if only:
        allowed = among(only)
        others = [p for p in base.sack.query().available() if not allowed(p.name, p.version, p.release, p.arch)]
        base.sack.add_excludes(base.sack.query().filter(pkg=others))


def forget_streams(base, request):
    """Carries out what resets or disables modules before other changes of them, one by one; returns a base that knows of it.

    dnf takes a stream of a module that had another one only after the reset was written down.
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
    """The repositories that describe modules, for messages."""
    found = [repo.id for repo in base.repos.iter_enabled() if repo._repo.getMetadataPath("modules")]
    return "repository %s" % " or ".join("'%s'" % ident for ident in found)


def read_comps(base, wanted):
    """Reads the groups, if the transaction names any; returns the members that dnf does not understand."""
    if not wanted["groups"] and not wanted["group_changes"] and not wanted["mark"]:
        return {}
    groups, odd = check_comps([(repo.id, repo._repo.getCompsFn()) for repo in base.repos.iter_enabled() if repo._repo.getCompsFn()])
    base.read_comps(arch_filter=True)
    if groups and not base.comps.groups:
        fail("host", "the repositories have groups, and libcomps of this host finds none in them")
    return odd


def resolve(base, request):
    try:
        base.resolve(allow_erasing=True)
    except dnf.exceptions.Error as error:
        fail_dependency(str(error), request)


def with_obsoleting(base, packages):
    """The packages and those that obsolete them, directly or not."""
    found = set(packages)
    while True:
        more = set(base.sack.query().filter(obsoletes=base.sack.query().filter(pkg=list(found)))) - found
        if not more:
            return found
        found |= more


def names_for(base, name, here):
    """The names of packages that stand for a group's member: by name, else by what they provide or obsolete."""
    query = base.sack.query()
    for packages in (lambda: query.filter(name=name), lambda: query.filter(provides=name), lambda: with_obsoleting(base, query.filter(name=name))):
        names = sorted({package.name for package in packages() if nevra(package) in here})
        if names:
            return names
    return []


def describe(base, request, groups, files=()):
    outgoing = []
    install_set = set(base.transaction.install_set) if base.transaction else set()
    # An item that only changes why a package is there has no package of its own.
    moves = [item for item in base.transaction or () if item.action != libdnf.transaction.TransactionItemAction_REASON_CHANGE]
    reasons = {item.pkg: item.reason for item in moves}
    for package in sorted(install_set, key=nevra):
        kind, digest = package.chksum if package.chksum else (None, b"")
        tell("planned", package=dict(
            nevra=nevra(package), name=package.name, epoch=package.epoch, version=package.version, release=package.release,
            arch=package.arch, repo=package.reponame, location=package.location, size=package.downloadsize, installed=package.installsize,
            built=package.buildtime, checksum="%s:%s" % (hash_name(kind), digest.hex()) if kind else None,
            reason=libdnf.transaction.TransactionItemReasonToString(reasons.get(package, libdnf.transaction.TransactionItemReason_UNKNOWN)),
            path=package.localPkg()))
    for package in sorted(set(base.transaction.remove_set) if base.transaction else (), key=nevra):
        outgoing.append(nevra(package))
    here = {nevra(p) for p in install_set}
    here |= {nevra(p) for p in base.sack.query().installed()}
    here -= set(outgoing)
    for spec in request["transaction"]["install"]:
        query = [files[spec["text"]]] if spec["text"] in files else dnf.subject.Subject(spec["text"]).get_best_query(base.sack)
        found = {nevra(p) for p in query} & here or {nevra(p) for p in with_obsoleting(base, query)} & here
        tell("spec", spec=dict(text=spec["text"], line=spec["line"], packages=sorted(found)))
    groups = satisfied_members(groups, lambda name: names_for(base, name, here), lambda name: is_excluded(base, name))
    repositories = [dict(id=repo.id, name=repo.name, revision=repo._repo.getRevision(), repomd=repomd(repo._repo.getCachedir()))
                    for repo in base.repos.iter_enabled()]
    tell("plan", remove=outgoing, groups=groups, repositories=repositories, rpm=rpm.__version__)


def hash_name(kind):
    return {hawkey.CHKSUM_MD5: "md5", hawkey.CHKSUM_SHA1: "sha1", hawkey.CHKSUM_SHA256: "sha256", hawkey.CHKSUM_SHA384: "sha384",
            hawkey.CHKSUM_SHA512: "sha512"}.get(kind, "unknown")


def local_packages(base, wrong):
    """Names of packages in local directories that are wrong in that way: dnf says only that there are some."""
    return ", ".join(sorted(os.path.basename(p.localPkg()) for p in base.transaction.install_set if p._is_local_pkg() and wrong(p)))


def main(request):
    trust_our_own_lock()
    base = make_base(request)
    if request["phase"] == "install-files":
        base.conf.excludepkgs = []
        mark_files(base, request, nevra)
        resolve(base, dict(request, transaction=dict(EMPTY, line=1)))
        describe(base, request, [])
        return carry_out(base, request)
    add_repositories(base, request)
    if request["phase"] == "fetch":
        return fetch(base, request, Download())
    base = forget_streams(base, request)
    configure(base, request)
    tell("loading", repositories=[r.id for r in base.repos.iter_enabled()])
    load(base, request)
    files = add_files(base, request)
    groups = mark(base, request, files)
    resolve(base, request)
    describe(base, request, groups, files)
    if request["phase"] == "resolve":
        return
    refuse_outside([p.localPkg() for p in base.transaction.install_set if p._is_local_pkg()] if base.transaction else [])
    progress = Download()
    try:
        base.download_packages(list(base.transaction.install_set if base.transaction else ()), progress)
    except dnf.exceptions.Error as error:
        gone = local_packages(base, lambda package: not os.path.exists(package.localPkg()))
        if gone:
            fail("gone", "%s: no longer in the repository's directory" % gone)
        changed = local_packages(base, lambda package: not package.verifyLocalPkg())
        if changed:
            fail("checksum", "%s: not what the repository's metadata say" % changed)
        fail_download(error, progress.heard)
    if request["phase"] == "download":
        return
    carry_out(base, request)


def carry_out(base, request):
    # Of a set that imports a key itself, rpm before 4.19 knows no subkeys: one that reads the database afterwards does.
    keys = rpm.TransactionSet(request["installroot"])
    import_keys(keys, request)
    keys.closeDB()
    if request["phase"] == "install" and request["transaction"]["mark"]:
        change_reasons(base, request["transaction"]["mark"])
        base.close()
        return
    kinds = listen_to_rpm(rpm, base._ts.ts)
    try:
        base.do_transaction(Transaction())
    except dnf.exceptions.Error as error:
        fail_rpm(error, kinds)
    failed = [str(i) for i in base.transaction or () if i.state == libdnf.transaction.TransactionItemState_ERROR]
    # The rpmdb's write-ahead log is folded into it only when it is closed.
    base.close()
    if failed:
        fail("transaction", "packages failed to install: %s" % ", ".join(failed))


run(main)
