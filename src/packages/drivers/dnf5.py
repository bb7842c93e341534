# Drives dnf 5 through its Python API for osimg: one transaction, described by /osimg/request.json, in one of two phases.
# Why the API and not the command: `dnf5` has no shell, `do` has no environments, and the callbacks give codes and progress.
import fnmatch
import sys

sys.path.insert(0, "/osimg")
from dnf5_files import fetch, mark_files
from dnf5_jobs import add_files, mark, specs_of, strict_settings
from dnf5_progress import Download, Transaction
from driver import advisories, among, fail, fail_dependency, fail_missing, import_keys, of_files, refuse_outside, repomd, run, satisfied_members, tell
from failures import fail_download, fail_metadata, fail_rpm

try:
    import libdnf5.base
    import libdnf5.common
    import libdnf5.conf
    import libdnf5.exception
    import libdnf5.repo
    import libdnf5.rpm
    import libdnf5.transaction
    import rpm
except ImportError as error:
    fail("host", error)

REASONS = {
    libdnf5.transaction.TransactionItemReason_DEPENDENCY: "dependency", libdnf5.transaction.TransactionItemReason_USER: "user",
    libdnf5.transaction.TransactionItemReason_CLEAN: "clean", libdnf5.transaction.TransactionItemReason_GROUP: "group",
    libdnf5.transaction.TransactionItemReason_WEAK_DEPENDENCY: "weak-dependency",
}


def put(config, key, value):
    """Sets an option in the words of a configuration file, above everything that was read."""
    if isinstance(value, bool):
        value = "1" if value else "0"
    elif isinstance(value, (list, tuple)):
        value = ",".join(value)
    config.opt_binds().at(key).new_string(libdnf5.conf.Option.Priority_RUNTIME, str(value))


def make_base(request, filelists):
    base = libdnf5.base.Base()
    conf = base.get_config()
    # Nothing is read from the install root, where packages could have put it, and nothing from the host unless asked for.
    put(conf, "use_host_config", True)
    put(conf, "installroot", request["installroot"])
    if request["host_repositories"]:
        put(conf, "reposdir", ["/etc/yum.repos.d", "/etc/distro.repos.d", "/usr/share/dnf5/repos.d"])
        base.load_config()
    else:
        put(conf, "reposdir", [])
        put(conf, "varsdir", [])
    put(conf, "cachedir", request["cachedir"])
    put(conf, "system_cachedir", request["cachedir"])
    put(conf, "logdir", request["scratch"])
    put(conf, "plugins", False)
    put(conf, "assumeyes", True)
    put(conf, "best", True)
    put(conf, "skip_broken", False)
    put(conf, "skip_unavailable", False)
    put(conf, "keepcache", True)
    put(conf, "skip_if_unavailable", False)
    put(conf, "check_config_file_age", False)
    put(conf, "exclude_from_weak_autodetect", False)
    # The kernel that runs is the build host's.
    put(conf, "protect_running_kernel", False)
    put(conf, "protected_packages", [])
    put(conf, "install_weak_deps", request["install_weak_deps"])
    # dnf 5 lowers rpm's own demand for signatures to digests wherever its check is off.
    put(conf, "pkg_gpgcheck", request["signatures"])
    put(conf, "localpkg_gpgcheck", request["signatures"])
    put(conf, "repo_gpgcheck", False)
    put(conf, "max_parallel_downloads", 20)
    put(conf, "max_downloads_per_mirror", 20)
    put(conf, "retries", 10)
    put(conf, "timeout", 30)
    put(conf, "minrate", 1000)
    put(conf, "tsflags", request["tsflags"])
    put(conf, "excludepkgs", request["exclude"])
    narrowed = any(advisories(upgrade) for upgrade in (request["transaction"] or {"upgrade": []})["upgrade"])
    put(conf, "optional_metadata_types", ["comps"] + (["filelists"] if filelists else []) + (["updateinfo"] if narrowed else []))
    if request["offline"]:
        put(conf, "cacheonly", "all")
    variables = base.get_vars()
    if request.get("arch"):
        variables.set("arch", request["arch"])
        variables.set("basearch", libdnf5.rpm.get_base_arch(request["arch"]))
        put(conf, "ignorearch", True)  # rpm would refuse what this machine's processor cannot run by itself
    variables.set("releasever", request.get("releasever") or "")
    for name, value in request.get("vars", {}).items():
        variables.set(name, value)
    base.setup()
    return base


def matching(base, pattern):
    query = libdnf5.repo.RepoQuery(base)
    query.filter_type(libdnf5.repo.Repo.Type_AVAILABLE)
    query.filter_id([pattern], libdnf5.common.QueryCmp_GLOB)
    return list(query)


def enabled(base):
    query = libdnf5.repo.RepoQuery(base)
    query.filter_type(libdnf5.repo.Repo.Type_AVAILABLE)
    query.filter_enabled(True)
    return sorted(query, key=lambda repo: repo.get_id())


def configure(base, request):
    """The recipe's own `config` lines."""
    for key, value in request["transaction"]["config"]:
        repo, _, option = key.rpartition(".")
        # Their one allowed value is what osimg has set already, or better.
        if option in ("gpgcheck", "strict"):
            continue
        try:
            for target in [r.get_config() for r in matching(base, repo)] if repo else [base.get_config()]:
                put(target, option, value)
        except Exception as error:
            fail("spec", "config %s %s: %s" % (key, value, error), line=request["transaction"]["line"])


def add_repositories(base, request):
    sack = base.get_repo_sack()
    if request["host_repositories"]:
        sack.create_repos_from_reposdir()
    for wanted in request["repositories"]:
        conf = sack.create_repo(wanted["id"]).get_config()
        for key, value in wanted.items():
            if key not in ("id", "signed_metadata") and value not in (None, [], ""):
                put(conf, key, value)
        put(conf, "repo_gpgcheck", wanted.get("signed_metadata", False))
        put(conf, "gpgkey", ["file://" + key for key in request["keys"]] if wanted.get("signed_metadata") else [])
    for change in (request["transaction"] or {"repos": []})["repos"]:
        matched = matching(base, change["glob"])
        if not matched:
            fail("unknown-repository", "no repository matches '%s'" % change["glob"], line=change["line"],
                 known=sorted(repo.get_id() for repo in matching(base, "*")))
        for repo in matched:
            (repo.enable if change["action"] == "enable" else repo.disable)()
    if request["transaction"]:
        configure(base, request)
    # Of one package in several repositories both phases must choose the same; by itself the choice is as they happen to be loaded.
    order = [wanted["id"] for wanted in request["repositories"]]
    for repo in enabled(base):
        conf = repo.get_config()
        place = order.index(repo.get_id()) if repo.get_id() in order else len(order)
        put(conf, "cost", conf.get_cost_option().get_value() * 1000 + place)
        put(conf, "skip_if_unavailable", False)
        put(conf, "pkg_gpgcheck", request["signatures"])
        # A build asks every repository whether its metadata is still the newest; the install phase takes what that gave.
        if request["offline"]:
            put(conf, "metadata_expire", -1)
        else:
            repo.expire()
    if not enabled(base):
        fail("settings", "no repository is enabled")


def load(base, downloads):
    tell("loading", repositories=[repo.get_id() for repo in enabled(base)])
    try:
        base.get_repo_sack().load_repos()
    except libdnf5.exception.Error as error:
        # Only the callbacks hear what became of each address. Nor does every error name its repository.
        text = ": ".join(line.strip() for line in error.format(libdnf5.exception.FormatDetailLevel_Plain).splitlines() if line.strip())
        names = [repo.get_id() for repo in enabled(base)]
        if not any('"%s"' % name in text for name in names):
            text = "reading the metadata of %s: %s" % (", ".join("'%s'" % name for name in names), text)
        fail_metadata(text, downloads.heard)


def restrict(base, request):
    """Hides every package that is not on the list, when there is one."""
    only = request["detail"] and request["detail"].get("only")
    if not only:
        return
    allowed = among(only)
    available, others = libdnf5.rpm.PackageQuery(base), libdnf5.rpm.PackageSet(base)
    available.filter_available()
    for package in available:
        if not allowed(package.get_name(), package.get_version(), package.get_release(), package.get_arch()):
            others.add(package)
    base.get_rpm_package_sack().add_user_excludes(others)


def resolve(base, goal, request):
    """Resolves the goal; a spec that means nothing and a dependency that cannot be had are told apart."""
    goal.set_allow_erasing(True)
    transaction = goal.resolve()
    if transaction.get_problems() == libdnf5.base.GoalProblem_NO_PROBLEM:
        return transaction, None
    no_match = [getattr(libdnf5.base, "GoalProblem_" + name) for name in
                ("NOT_FOUND", "NOT_FOUND_IN_REPOSITORIES", "NOT_INSTALLED", "NOT_INSTALLED_FOR_ARCHITECTURE", "NOT_AVAILABLE", "ONLY_SRC", "EXCLUDED")]
    ignored = [libdnf5.base.GoalProblem_ALREADY_INSTALLED, libdnf5.base.GoalProblem_HINT_ICASE, libdnf5.base.GoalProblem_HINT_ALTERNATIVES]
    asked = specs_of(request["transaction"])
    missing, said = [], []
    for event in transaction.get_resolve_logs():
        if event.get_action() == libdnf5.base.GoalAction_INSTALL_BY_COMPS or event.get_problem() in ignored:
            continue
        named = [spec for spec in asked if spec["text"] == event.get_spec()] if event.get_problem() in no_match else []
        missing += [spec for spec in named if spec not in missing]
        if not named:
            said.append(event.to_string())
    return None, (missing, said)


def complain(base, problems, request):
    missing, said = problems
    if not missing:
        fail_dependency("\n".join(said), request)

    def near(text):
        query = libdnf5.rpm.PackageQuery(base)
        query.filter_available()
        query.filter_name(["*%s*" % text], libdnf5.common.QueryCmp_GLOB)
        return sorted({package.get_name() for package in query})[:5]

    fail_missing(missing, near, lambda text: is_excluded(base, text))


def is_excluded(base, text):
    """Whether an exclude hides what a spec means; libdnf5's Python has no query that looks behind excludes."""
    configs = [base.get_config()] + [repo.get_config() for repo in enabled(base)]
    patterns = [pattern for config in configs for pattern in config.get_excludepkgs_option().get_value()]
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


def with_obsoleting(base, packages):
    """The packages and those that obsolete them, directly or not."""
    found = libdnf5.rpm.PackageSet(base)
    for package in packages:
        found.add(package)
    while True:
        more, count = libdnf5.rpm.PackageQuery(base), found.size()
        more.filter_obsoletes(found)
        found.update(more)
        if found.size() == count:
            return found


def names_for(base, name, here):
    """The names of packages that stand for a group's member: by name, else by what they provide or obsolete."""
    named, providing = libdnf5.rpm.PackageQuery(base), libdnf5.rpm.PackageQuery(base)
    named.filter_name([name])
    providing.filter_provides([name])
    for packages in (lambda: named, lambda: providing, lambda: with_obsoleting(base, named)):
        names = sorted({package.get_name() for package in packages() if package.get_full_nevra() in here})
        if names:
            return names
    return []


def describe(base, transaction, request, groups, files=()):
    incoming, outgoing = [], []
    for item in transaction.get_transaction_packages():
        if libdnf5.transaction.transaction_item_action_is_inbound(item.get_action()):
            incoming.append(item)
        elif libdnf5.transaction.transaction_item_action_is_outbound(item.get_action()):
            outgoing.append(item.get_package().get_full_nevra())
    incoming.sort(key=lambda item: item.get_package().get_full_nevra())
    for item in incoming:
        package = item.get_package()
        checksum = package.get_checksum()
        tell("planned", package=dict(
            nevra=package.get_full_nevra(), name=package.get_name(), epoch=int(package.get_epoch() or 0), version=package.get_version(),
            release=package.get_release(), arch=package.get_arch(), repo=package.get_repo_id(), location=package.get_location(),
            size=package.get_download_size(), installed=package.get_install_size(), built=package.get_build_time(),
            checksum="%s:%s" % (checksum.get_type_str(), checksum.get_checksum()) if checksum.get_checksum() else None,
            reason=REASONS.get(item.get_reason(), "unknown"), path=package.get_package_path()))
    installed = libdnf5.rpm.PackageQuery(base)
    installed.filter_installed()
    here = {package.get_full_nevra() for package in installed} | {item.get_package().get_full_nevra() for item in incoming}
    here -= set(outgoing) - {item.get_package().get_full_nevra() for item in incoming}
    for spec in request["transaction"]["install"]:
        query = [files[spec["text"]]] if spec["text"] in files else libdnf5.rpm.PackageQuery(base)
        if spec["text"] not in files:
            query.resolve_pkg_spec(spec["text"], strict_settings(), False)
        found = ({package.get_full_nevra() for package in query} & here
                 or {package.get_full_nevra() for package in with_obsoleting(base, query)} & here)
        tell("spec", spec=dict(text=spec["text"], line=spec["line"], packages=sorted(found)))
    groups = satisfied_members(groups, lambda name: names_for(base, name, here), lambda name: is_excluded(base, name))
    repositories = [dict(id=repo.get_id(), name=repo.get_config().get_name_option().get_value(), revision=repo.get_revision(),
                         repomd=repomd(repo.get_cachedir())) for repo in enabled(base)]
    tell("plan", remove=sorted(outgoing), groups=groups, repositories=repositories, rpm=rpm.__version__)
    return [item.get_package() for item in incoming]


def carry_out(transaction, request):
    keys = rpm.TransactionSet(request["installroot"])
    import_keys(keys, request)
    # rpm locks its database; the set that wrote the keys must let go of it first.
    keys.closeDB()
    callbacks = Transaction(transaction)
    transaction.set_callbacks(libdnf5.rpm.TransactionCallbacksUniquePtr(callbacks))
    result = transaction.run()
    if result == libdnf5.base.Transaction.TransactionRunResult_SUCCESS:
        return
    said = list(dict.fromkeys(list(transaction.get_transaction_problems()) + callbacks.broken))
    if result == libdnf5.base.Transaction.TransactionRunResult_ERROR_GPG_CHECK:
        fail_rpm("\n".join(transaction.get_gpg_signature_problems()))
    # rpm 6 reports a scriptlet that only warns as a failed transaction; what that means is for the verdict to say.
    if callbacks.warned and not said and result == libdnf5.base.Transaction.TransactionRunResult_ERROR_RPM_RUN:
        return
    said += list(transaction.get_rpm_messages())
    fail_rpm("\n".join(said) or libdnf5.base.Transaction.transaction_result_to_string(result))


def choose_streams(request):
    """Enables, disables or resets modules in transactions of their own: libdnf5 hides other streams only as it loads repositories."""
    # Nor does it take a stream that is enabled after a reset of the same module, unless each has a transaction of its own.
    for change in request["transaction"]["modules"]:
        base, downloads = make_base(request, False), Download()
        base.set_download_callbacks(libdnf5.repo.DownloadCallbacksUniquePtr(downloads))
        add_repositories(base, request)
        load(base, downloads)
        goal = libdnf5.base.Goal(base)
        add = {"enable": goal.add_module_enable, "disable": goal.add_module_disable, "reset": goal.add_module_reset}[change["action"]]
        for spec in change["specs"]:
            add(spec["text"], strict_settings())
        try:
            transaction = goal.resolve()
        except libdnf5.exception.Error as error:
            fail("spec", error, line=change["specs"][0]["line"])
        if transaction.get_problems() != libdnf5.base.GoalProblem_NO_PROBLEM:
            fail("spec", "\n".join(transaction.get_resolve_logs_as_strings()), line=change["specs"][0]["line"])
        result = transaction.run()
        if result != libdnf5.base.Transaction.TransactionRunResult_SUCCESS:
            fail("transaction", libdnf5.base.Transaction.transaction_result_to_string(result))
    if request["transaction"]["modules"] and request["phase"] == "install":
        tell("note", message="the streams of modules are written down for dnf 5; an image whose own dnf is dnf 4 does not know of them")


def solve(request, downloads, filelists):
    base = make_base(request, filelists)
    base.set_download_callbacks(libdnf5.repo.DownloadCallbacksUniquePtr(downloads))
    add_repositories(base, request)
    load(base, downloads)
    restrict(base, request)
    goal = libdnf5.base.Goal(base)
    files = add_files(base, request)
    groups = mark(base, goal, request, files)
    transaction, problems = resolve(base, goal, request)
    return base, groups, transaction, problems, files


def main(request):
    downloads = Download()
    if request["phase"] == "fetch":
        base = make_base(request, False)
        base.set_download_callbacks(libdnf5.repo.DownloadCallbacksUniquePtr(downloads))
        add_repositories(base, request)
        return fetch(base, request, {repo.get_id(): repo for repo in enabled(base)}, downloads)
    if request["phase"] == "install-files":
        return install_files(request)
    choose_streams(request)
    # The lists of all files are large and rarely needed; dnf 4 has them always, so what fails without is tried with them.
    paths = any(spec["text"].startswith(("/", "*/")) and spec["text"] not in request["files"] for spec in specs_of(request["transaction"]))
    kept = solve(request, downloads, paths)
    if kept[3] and not paths:
        downloads = Download()
        kept = solve(request, downloads, True)
    base, groups, transaction, problems, files = kept
    if problems:
        complain(base, problems, request)
    incoming = describe(base, transaction, request, groups, files)
    if request["phase"] == "resolve":
        return
    urls = [url for package in incoming if package.get_repo().is_local() for url in list(package.get_remote_locations())[:1]]
    local = [of_files("", base.get_vars().substitute(url)) for url in urls]
    refuse_outside([path for path in local if path])
    try:
        downloads.begin([package for package in incoming if not package.is_available_locally()])
        transaction.download()
    except Exception as error:
        fail_download(error, downloads.heard)
    if request["phase"] == "download":
        return
    carry_out(transaction, request)


def install_files(request):
    base = make_base(dict(request, exclude=[]), False)
    goal = mark_files(base, request, strict_settings)
    goal.set_allow_erasing(True)
    transaction = goal.resolve()
    if transaction.get_problems() != libdnf5.base.GoalProblem_NO_PROBLEM:
        fail("dependency", "\n".join(transaction.get_resolve_logs_as_strings()))
    describe(base, transaction, dict(request, transaction={"install": []}), [])
    carry_out(transaction, request)


run(main)
