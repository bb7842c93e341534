# Runs dnf 5 through its Python API for osimg: one transaction from /osimg/request.json, in one of
# two phases.
# The API is used because `dnf5` has no shell, `do` has no environments, and the callbacks report
# codes and progress.
import fnmatch
import os
import sys

sys.path.insert(0, "/osimg")
from dnf5_files import fetch, mark_files
from dnf5_jobs import add_files, mark, specs_of, strict_settings
from dnf5_progress import Download, Transaction
from driver import (
    advisories,
    allow_list,
    fail,
    fail_dependency,
    fail_missing,
    import_keys,
    local_path,
    refuse_outside,
    repomd,
    run,
    satisfied_members,
    send,
)
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
    libdnf5.transaction.TransactionItemReason_DEPENDENCY: "dependency",
    libdnf5.transaction.TransactionItemReason_USER: "user",
    libdnf5.transaction.TransactionItemReason_CLEAN: "clean",
    libdnf5.transaction.TransactionItemReason_GROUP: "group",
    libdnf5.transaction.TransactionItemReason_WEAK_DEPENDENCY: "weak-dependency",
}


def set_option(config, key, value):
    """Sets an option by its text in a configuration file, with the highest priority."""
    if isinstance(value, bool):
        value = "1" if value else "0"
    elif isinstance(value, (list, tuple)):
        value = ",".join(value)
    config.opt_binds().at(key).new_string(libdnf5.conf.Option.Priority_RUNTIME, str(value))


def make_base(request, filelists):
    base = libdnf5.base.Base()
    conf = base.get_config()
    # Nothing is read from the install root, where packages may have written, or from the host
    # unless requested.
    set_option(conf, "use_host_config", True)
    set_option(conf, "installroot", request["installroot"])
    if request["host_repositories"]:
        set_option(
            conf, "reposdir", ["/etc/yum.repos.d", "/etc/distro.repos.d", "/usr/share/dnf5/repos.d"]
        )
        base.load_config()
    else:
        set_option(conf, "reposdir", [])
        set_option(conf, "varsdir", [])
    set_option(conf, "cachedir", request["cachedir"])
    set_option(conf, "system_cachedir", request["cachedir"])
    set_option(conf, "logdir", request["scratch"])
    set_option(conf, "plugins", False)
    set_option(conf, "assumeyes", True)
    set_option(conf, "best", True)
    set_option(conf, "skip_broken", False)
    set_option(conf, "skip_unavailable", False)
    set_option(conf, "keepcache", True)
    set_option(conf, "skip_if_unavailable", False)
    set_option(conf, "check_config_file_age", False)
    set_option(conf, "exclude_from_weak_autodetect", False)
    # The running kernel is the build host's.
    set_option(conf, "protect_running_kernel", False)
    set_option(conf, "protected_packages", [])
    set_option(conf, "install_weak_deps", request["install_weak_deps"])
    # If dnf 5's check is off, it reduces rpm's own required level from signatures to digests.
    set_option(conf, "pkg_gpgcheck", request["signatures"])
    set_option(conf, "localpkg_gpgcheck", request["signatures"])
    set_option(conf, "repo_gpgcheck", False)
    set_option(conf, "max_parallel_downloads", 20)
    set_option(conf, "max_downloads_per_mirror", 20)
    set_option(conf, "retries", 10)
    set_option(conf, "timeout", 30)
    set_option(conf, "minrate", 1000)
    set_option(conf, "tsflags", request["tsflags"])
    set_option(conf, "excludepkgs", request["exclude"])
    narrowed = any(
        advisories(upgrade) for upgrade in (request["transaction"] or {"upgrade": []})["upgrade"]
    )
    set_option(
        conf,
        "optional_metadata_types",
        ["comps"] + (["filelists"] if filelists else []) + (["updateinfo"] if narrowed else []),
    )
    if request["offline"]:
        set_option(conf, "cacheonly", "all")
    variables = base.get_vars()
    if request.get("arch"):
        variables.set("arch", request["arch"])
        variables.set("basearch", libdnf5.rpm.get_base_arch(request["arch"]))
        set_option(
            conf, "ignorearch", True
        )  # otherwise rpm refuses packages for a foreign processor
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
    """Applies the recipe's `config` lines."""
    for key, value in request["transaction"]["config"]:
        repo, _, option = key.rpartition(".")
        # osimg has already set their only allowed value, or a stricter one.
        if option in ("gpgcheck", "strict"):
            continue
        try:
            for target in (
                [r.get_config() for r in matching(base, repo)] if repo else [base.get_config()]
            ):
                set_option(target, option, value)
        except Exception as error:
            fail(
                "spec",
                "config %s %s: %s" % (key, value, error),
                line=request["transaction"]["line"],
            )


def add_repositories(base, request):
    sack = base.get_repo_sack()
    if request["host_repositories"]:
        # As dnf itself, and dnf 4.
        if os.path.exists("/etc/dnf/dnf.conf"):
            sack.create_repos_from_file("/etc/dnf/dnf.conf")
        sack.create_repos_from_reposdir()
    for wanted in request["repositories"]:
        conf = sack.create_repo(wanted["id"]).get_config()
        for key, value in wanted.items():
            if key not in ("id", "signed_metadata") and value not in (None, [], ""):
                set_option(conf, key, value)
        set_option(conf, "repo_gpgcheck", wanted.get("signed_metadata", False))
        set_option(
            conf,
            "gpgkey",
            ["file://" + key for key in request["keys"]] if wanted.get("signed_metadata") else [],
        )
    for change in (request["transaction"] or {"repos": []})["repos"]:
        matched = matching(base, change["glob"])
        if not matched:
            fail(
                "unknown-repository",
                "no repository matches '%s'" % change["glob"],
                line=change["line"],
                known=sorted(repo.get_id() for repo in matching(base, "*")),
            )
        for repo in matched:
            (repo.enable if change["action"] == "enable" else repo.disable)()
    if request["transaction"]:
        configure(base, request)
    # Both phases must choose the same repository for a package that several have; the default order
    # depends on loading.
    order = [wanted["id"] for wanted in request["repositories"]]
    for repo in enabled(base):
        conf = repo.get_config()
        place = order.index(repo.get_id()) if repo.get_id() in order else len(order)
        set_option(conf, "cost", conf.get_cost_option().get_value() * 1000 + place)
        set_option(conf, "skip_if_unavailable", False)
        set_option(conf, "pkg_gpgcheck", request["signatures"])
        # Each build checks every repository for newer metadata; the install phase uses the result.
        if request["offline"]:
            set_option(conf, "metadata_expire", -1)
        else:
            repo.expire()
    if not enabled(base):
        fail("settings", "no repository is enabled")


def load(base, downloads):
    send("loading", repositories=[repo.get_id() for repo in enabled(base)])
    try:
        base.get_repo_sack().load_repos()
    except libdnf5.exception.Error as error:
        # Only the callbacks receive the error of each address, and not every error contains its
        # repository.
        text = ": ".join(
            line.strip()
            for line in error.format(libdnf5.exception.FormatDetailLevel_Plain).splitlines()
            if line.strip()
        )
        names = [repo.get_id() for repo in enabled(base)]
        if not any('"%s"' % name in text for name in names):
            text = "reading the metadata of %s: %s" % (
                ", ".join("'%s'" % name for name in names),
                text,
            )
        fail_metadata(text, downloads.errors)


def restrict(base, request):
    """Excludes all packages that are not on the list, if there is one."""
    only = request["detail"] and request["detail"].get("only")
    if not only:
        return
    allowed = allow_list(only)
    available, others = libdnf5.rpm.PackageQuery(base), libdnf5.rpm.PackageSet(base)
    available.filter_available()
    for package in available:
        if not allowed(
            package.get_name(), package.get_version(), package.get_release(), package.get_arch()
        ):
            others.add(package)
    base.get_rpm_package_sack().add_user_excludes(others)


def resolve(base, goal, request):
    """Resolves the goal; distinguishes unmatched specs from unavailable dependencies."""
    goal.set_allow_erasing(True)
    transaction = goal.resolve()
    if transaction.get_problems() == libdnf5.base.GoalProblem_NO_PROBLEM:
        return transaction, None
    no_match = [
        getattr(libdnf5.base, "GoalProblem_" + name)
        for name in (
            "NOT_FOUND",
            "NOT_FOUND_IN_REPOSITORIES",
            "NOT_INSTALLED",
            "NOT_INSTALLED_FOR_ARCHITECTURE",
            "NOT_AVAILABLE",
            "ONLY_SRC",
            "EXCLUDED",
        )
    ]
    ignored = [
        libdnf5.base.GoalProblem_ALREADY_INSTALLED,
        libdnf5.base.GoalProblem_HINT_ICASE,
        libdnf5.base.GoalProblem_HINT_ALTERNATIVES,
    ]
    asked = specs_of(request["transaction"])
    missing, output = [], []
    for event in transaction.get_resolve_logs():
        if (
            event.get_action() == libdnf5.base.GoalAction_INSTALL_BY_COMPS
            or event.get_problem() in ignored
        ):
            continue
        named = (
            [spec for spec in asked if spec["text"] == event.get_spec()]
            if event.get_problem() in no_match
            else []
        )
        missing += [spec for spec in named if spec not in missing]
        if not named:
            output.append(event.to_string())
    return None, (missing, output)


def fail_unresolved(base, problems, request):
    missing, output = problems
    if not missing:
        fail_dependency("\n".join(output), request)

    def near(text):
        query = libdnf5.rpm.PackageQuery(base)
        query.filter_available()
        query.filter_name(["*%s*" % text], libdnf5.common.QueryCmp_GLOB)
        return sorted({package.get_name() for package in query})[:5]

    fail_missing(missing, near, lambda text: is_excluded(base, text))


def is_excluded(base, text):
    """Whether an exclude hides the matches of a spec; libdnf5's Python cannot query excluded
    packages."""
    configs = [base.get_config()] + [repo.get_config() for repo in enabled(base)]
    patterns = [
        pattern for config in configs for pattern in config.get_excludepkgs_option().get_value()
    ]
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


def with_obsoleting(base, packages):
    """The packages and those that obsolete them, directly or indirectly."""
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
    """The names of the packages for a group's member: by name, or else those that provide or
    obsolete it."""
    named, providing = libdnf5.rpm.PackageQuery(base), libdnf5.rpm.PackageQuery(base)
    named.filter_name([name])
    providing.filter_provides([name])
    for packages in (lambda: named, lambda: providing, lambda: with_obsoleting(base, named)):
        names = sorted(
            {package.get_name() for package in packages() if package.get_full_nevra() in here}
        )
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
        send(
            "planned",
            package=dict(
                nevra=package.get_full_nevra(),
                name=package.get_name(),
                epoch=int(package.get_epoch() or 0),
                version=package.get_version(),
                release=package.get_release(),
                arch=package.get_arch(),
                repo=package.get_repo_id(),
                location=package.get_location(),
                size=package.get_download_size(),
                installed=package.get_install_size(),
                built=package.get_build_time(),
                checksum="%s:%s" % (checksum.get_type_str(), checksum.get_checksum())
                if checksum.get_checksum()
                else None,
                reason=REASONS.get(item.get_reason(), "unknown"),
                path=package.get_package_path(),
            ),
        )
    installed = libdnf5.rpm.PackageQuery(base)
    installed.filter_installed()
    here = {package.get_full_nevra() for package in installed} | {
        item.get_package().get_full_nevra() for item in incoming
    }
    here -= set(outgoing) - {item.get_package().get_full_nevra() for item in incoming}
    for spec in request["transaction"]["install"]:
        query = [files[spec["text"]]] if spec["text"] in files else libdnf5.rpm.PackageQuery(base)
        if spec["text"] not in files:
            query.resolve_pkg_spec(spec["text"], strict_settings(), False)
        found = ({package.get_full_nevra() for package in query} & here
                 or {package.get_full_nevra() for package in with_obsoleting(base, query)} & here)
        send("spec", spec=dict(text=spec["text"], line=spec["line"], packages=sorted(found)))
    groups = satisfied_members(
        groups, lambda name: names_for(base, name, here), lambda name: is_excluded(base, name)
    )
    repositories = [
        dict(
            id=repo.get_id(),
            name=repo.get_config().get_name_option().get_value(),
            revision=repo.get_revision(),
            repomd=repomd(repo.get_cachedir()),
        )
        for repo in enabled(base)
    ]
    send(
        "plan",
        remove=sorted(outgoing),
        groups=groups,
        repositories=repositories,
        rpm=rpm.__version__,
    )
    return [item.get_package() for item in incoming]


def run_transaction(transaction, request):
    keys = rpm.TransactionSet(request["installroot"])
    import_keys(keys, request)
    # rpm locks its database; the set that imported the keys must release it first.
    keys.closeDB()
    callbacks = Transaction(transaction)
    transaction.set_callbacks(libdnf5.rpm.TransactionCallbacksUniquePtr(callbacks))
    result = transaction.run()
    if result == libdnf5.base.Transaction.TransactionRunResult_SUCCESS:
        return
    output = list(dict.fromkeys(list(transaction.get_transaction_problems()) + callbacks.broken))
    if result == libdnf5.base.Transaction.TransactionRunResult_ERROR_GPG_CHECK:
        fail_rpm("\n".join(transaction.get_gpg_signature_problems()))
    # rpm 6 reports a scriptlet that only warns as a failed transaction; osimg decides about it
    # later.
    if (
        callbacks.warned
        and not output
        and result == libdnf5.base.Transaction.TransactionRunResult_ERROR_RPM_RUN
    ):
        return
    output += list(transaction.get_rpm_messages())
    fail_rpm("\n".join(output) or libdnf5.base.Transaction.transaction_result_to_string(result))


def choose_streams(request):
    """Enables, disables or resets modules in separate transactions: libdnf5 hides other streams
    only while loading repositories."""
    # It also accepts a stream after a reset of the same module only in a separate transaction.
    for change in request["transaction"]["modules"]:
        base, downloads = make_base(request, False), Download()
        base.set_download_callbacks(libdnf5.repo.DownloadCallbacksUniquePtr(downloads))
        add_repositories(base, request)
        load(base, downloads)
        goal = libdnf5.base.Goal(base)
        add = {
            "enable": goal.add_module_enable,
            "disable": goal.add_module_disable,
            "reset": goal.add_module_reset,
        }[change["action"]]
        for spec in change["specs"]:
            add(spec["text"], strict_settings())
        try:
            transaction = goal.resolve()
        except libdnf5.exception.Error as error:
            fail("spec", error, line=change["specs"][0]["line"])
        if transaction.get_problems() != libdnf5.base.GoalProblem_NO_PROBLEM:
            fail(
                "spec",
                "\n".join(transaction.get_resolve_logs_as_strings()),
                line=change["specs"][0]["line"],
            )
        result = transaction.run()
        if result != libdnf5.base.Transaction.TransactionRunResult_SUCCESS:
            fail("transaction", libdnf5.base.Transaction.transaction_result_to_string(result))
    if request["transaction"]["modules"] and request["phase"] == "install":
        send(
            "note",
            message="module streams are recorded for dnf 5; "
            "if the image has dnf 4, that does not see them",
        )


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
    # File lists are large and rarely needed. dnf 4 always loads them, so a failure without them is
    # retried with them.
    paths = any(
        spec["text"].startswith(("/", "*/")) and spec["text"] not in request["files"]
        for spec in specs_of(request["transaction"])
    )
    kept = solve(request, downloads, paths)
    if kept[3] and not paths:
        downloads = Download()
        kept = solve(request, downloads, True)
    base, groups, transaction, problems, files = kept
    if problems:
        fail_unresolved(base, problems, request)
    incoming = describe(base, transaction, request, groups, files)
    if request["phase"] == "resolve":
        return
    urls = [
        url
        for package in incoming
        if package.get_repo().is_local()
        for url in list(package.get_remote_locations())[:1]
    ]
    local = [local_path("", base.get_vars().substitute(url)) for url in urls]
    refuse_outside([path for path in local if path])
    try:
        downloads.begin([package for package in incoming if not package.is_available_locally()])
        transaction.download()
    except Exception as error:
        fail_download(error, downloads.errors)
    if request["phase"] == "download":
        return
    run_transaction(transaction, request)


def install_files(request):
    base = make_base(dict(request, exclude=[]), False)
    goal = mark_files(base, request, strict_settings)
    goal.set_allow_erasing(True)
    transaction = goal.resolve()
    if transaction.get_problems() != libdnf5.base.GoalProblem_NO_PROBLEM:
        fail("dependency", "\n".join(transaction.get_resolve_logs_as_strings()))
    describe(base, transaction, dict(request, transaction={"install": []}), [])
    run_transaction(transaction, request)


run(main)
