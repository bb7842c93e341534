# Drives dnf 5 through its Python API for osimg: one transaction, described by /osimg/request.json, in one of two phases.
# Why the API and not the command: `dnf5` has no shell, `do` has no environments, and the callbacks give codes and progress.
import os
import sys

sys.path.insert(0, "/osimg")
from dnf5_files import fetch, mark_files
from dnf5_jobs import add_files, mark, specs_of, strict_settings
from dnf5_progress import Download, Transaction
from driver import advisories, among, fail, fail_missing, fail_network, import_keys, repomd, run, tell

try:
    import libdnf5.base
    import libdnf5.common
    import libdnf5.conf
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
            fail("spec", "no repository matches '%s'" % change["glob"], line=change["line"])
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


def said(error, downloads):
    return "\n  - ".join([str(error)] + sorted("%s: %s" % reason for reason in downloads.reasons))


def load(base, downloads):
    tell("loading", repositories=[repo.get_id() for repo in enabled(base)])
    try:
        base.get_repo_sack().load_repos()
    except Exception as error:
        # What became of each address is known to the callbacks alone.
        fail_network("repository", said(error, downloads))


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


def complain(base, problems):
    missing, said = problems
    if not missing:
        fail("dependency", "\n".join(said))

    def near(text):
        query = libdnf5.rpm.PackageQuery(base)
        query.filter_available()
        query.filter_name(["*%s*" % text], libdnf5.common.QueryCmp_GLOB)
        return sorted({package.get_name() for package in query})[:5]

    fail_missing(missing, near)


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
    specs = []
    for spec in request["transaction"]["install"]:
        query = [files[spec["text"]]] if spec["text"] in files else libdnf5.rpm.PackageQuery(base)
        if spec["text"] not in files:
            query.resolve_pkg_spec(spec["text"], strict_settings(), False)
        specs.append(dict(text=spec["text"], line=spec["line"], packages=sorted({package.get_full_nevra() for package in query} & here)))
    repositories = [dict(id=repo.get_id(), name=repo.get_config().get_name_option().get_value(), revision=repo.get_revision(),
                         repomd=repomd(repo.get_cachedir())) for repo in enabled(base)]
    tell("plan", remove=sorted(outgoing), specs=specs, groups=groups, repositories=repositories, rpm=rpm.__version__)
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
        fail("transaction", "\n".join(transaction.get_gpg_signature_problems()))
    # rpm 6 reports a scriptlet that only warns as a failed transaction; what that means is for the verdict to say.
    if callbacks.warned and not said and result == libdnf5.base.Transaction.TransactionRunResult_ERROR_RPM_RUN:
        return
    said += list(transaction.get_rpm_messages())
    fail("transaction", "\n".join(said) or libdnf5.base.Transaction.transaction_result_to_string(result))


def choose_streams(request, downloads):
    """Enables, disables or resets modules in a transaction of its own: libdnf5 hides other streams only as it loads repositories."""
    modules = request["transaction"]["modules"]
    if not modules:
        return
    base = make_base(request, False)
    base.set_download_callbacks(libdnf5.repo.DownloadCallbacksUniquePtr(downloads))
    add_repositories(base, request)
    load(base, downloads)
    goal = libdnf5.base.Goal(base)
    for module in modules:
        add = {"enable": goal.add_module_enable, "disable": goal.add_module_disable, "reset": goal.add_module_reset}[module["action"]]
        for spec in module["specs"]:
            add(spec["text"], strict_settings())
    transaction = goal.resolve()
    if transaction.get_problems() != libdnf5.base.GoalProblem_NO_PROBLEM:
        fail("spec", "\n".join(transaction.get_resolve_logs_as_strings()), line=modules[0]["specs"][0]["line"])
    result = transaction.run()
    if request["phase"] == "install":
        tell("note", message="the streams of modules are written down for dnf 5; an image whose own dnf is dnf 4 does not know of them")
    if result != libdnf5.base.Transaction.TransactionRunResult_SUCCESS:
        fail("transaction", libdnf5.base.Transaction.transaction_result_to_string(result))


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
        return fetch(base, request, {repo.get_id(): repo for repo in enabled(base)}, downloads, said)
    if request["phase"] == "install-files":
        return install_files(request)
    choose_streams(request, downloads)
    downloads = Download()
    # The lists of all files are large and rarely needed; dnf 4 has them always, so what fails without is tried with them.
    paths = any(spec["text"].startswith(("/", "*/")) and spec["text"] not in request["files"] for spec in specs_of(request["transaction"]))
    kept = solve(request, downloads, paths)
    if kept[3] and not paths:
        downloads = Download()
        kept = solve(request, downloads, True)
    base, groups, transaction, problems, files = kept
    if problems:
        complain(base, problems)
    incoming = describe(base, transaction, request, groups, files)
    if request["phase"] == "resolve":
        return
    try:
        downloads.begin([package for package in incoming if not package.is_available_locally()])
        transaction.download()
    except Exception as error:
        changed = sorted(os.path.basename(url) for url, why in downloads.reasons if url.startswith("file://") and "checksum" in why)
        if changed:
            fail("trust", "%s: not what the repository's metadata say" % ", ".join(changed))
        fail_network("download", said(error, downloads))
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
