# Drives dnf 5 through its Python API for osimg: one transaction, described by /osimg/request.json, in one of two phases.
# Why the API and not the command: `dnf5` has no shell, `do` has no environments, and the callbacks give codes and progress.
import os
import sys

sys.path.insert(0, "/osimg")
from dnf5_files import fetch, mark_files
from driver import among, choose_group, fail, fail_missing, fail_network, import_keys, package_files, repomd, run, tell

try:
    import libdnf5.base
    import libdnf5.common
    import libdnf5.comps
    import libdnf5.conf
    import libdnf5.repo
    import libdnf5.rpm
    import libdnf5.transaction
    import rpm
except ImportError as error:
    fail("host", error)

# rpm's names for what libdnf5 names its own way; messages are the same whichever dnf runs.
CALLBACKS = libdnf5.rpm.TransactionCallbacks
SCRIPTLETS = {
    CALLBACKS.ScriptType_PRE_INSTALL: "PREIN", CALLBACKS.ScriptType_POST_INSTALL: "POSTIN",
    CALLBACKS.ScriptType_PRE_UNINSTALL: "PREUN", CALLBACKS.ScriptType_POST_UNINSTALL: "POSTUN",
    CALLBACKS.ScriptType_PRE_TRANSACTION: "PRETRANS", CALLBACKS.ScriptType_POST_TRANSACTION: "POSTTRANS",
    CALLBACKS.ScriptType_TRIGGER_PRE_INSTALL: "TRIGGERPREIN", CALLBACKS.ScriptType_TRIGGER_INSTALL: "TRIGGERIN",
    CALLBACKS.ScriptType_TRIGGER_UNINSTALL: "TRIGGERUN", CALLBACKS.ScriptType_TRIGGER_POST_UNINSTALL: "TRIGGERPOSTUN",
    CALLBACKS.ScriptType_SYSUSERS: "SYSUSERS",
}
REASONS = {
    libdnf5.transaction.TransactionItemReason_DEPENDENCY: "dependency", libdnf5.transaction.TransactionItemReason_USER: "user",
    libdnf5.transaction.TransactionItemReason_CLEAN: "clean", libdnf5.transaction.TransactionItemReason_GROUP: "group",
    libdnf5.transaction.TransactionItemReason_WEAK_DEPENDENCY: "weak-dependency",
}
PACKAGE_TYPES = {
    "mandatory": libdnf5.comps.PackageType_MANDATORY, "default": libdnf5.comps.PackageType_DEFAULT,
    "conditional": libdnf5.comps.PackageType_CONDITIONAL, "optional": libdnf5.comps.PackageType_OPTIONAL,
}
RPMRC_FAIL = 2


class Download(libdnf5.repo.DownloadCallbacks):
    """Bytes of all files together, and each file as it ends."""

    def __init__(self):
        super().__init__()
        self.size, self.names, self.parts, self.ended, self.files, self.reasons = 0, [], [], 0, 0, set()

    def begin(self, packages):
        self.size, self.files, self.ended = sum(package.get_download_size() for package in packages), len(packages), 0
        self.names, self.parts = [], []

    def told(self, index):
        if self.files:  # metadata has no size that is known beforehand
            tell("download", done=int(sum(self.parts)), total=self.size, item=self.names[index], files=self.ended, of=self.files)

    def add_new_download(self, user_data, description, total_to_download):
        self.names.append(description or "")
        self.parts.append(0)
        return len(self.names) - 1

    def progress(self, index, total_to_download, downloaded):
        self.parts[index] = downloaded
        self.told(index)
        return 0

    def end(self, index, status, message):
        if status == libdnf5.repo.DownloadCallbacks.TransferStatus_ERROR:
            tell("retry", item=self.names[index], message=message or "failed")
        self.ended += 1
        self.told(index)
        return 0

    def mirror_failure(self, index, message, url, metadata):
        self.reasons.add((url or "", message or "failed"))
        tell("retry", item=self.names[index], message=message or "failed")
        return 0


class Transaction(libdnf5.rpm.TransactionCallbacks):
    """Packages as they are unpacked, scriptlets as they run, and what they say."""

    def __init__(self, transaction):
        super().__init__()
        self.transaction = transaction
        self.warned, self.broken = [], []

    def elem_progress(self, item, amount, total):
        tell("package", package=item.get_package().get_nevra(), index=amount + 1, total=total)

    def script_start(self, item, nevra, kind):
        if kind == CALLBACKS.ScriptType_POST_TRANSACTION:
            tell("posttrans")
        tell("scriptlet", package="%s-%s-%s.%s" % (nevra.get_name(), nevra.get_version(), nevra.get_release(), nevra.get_arch()))

    def script_stop(self, item, nevra, kind, return_code):
        for line in self.transaction.get_last_script_output().splitlines():
            tell("output", line=line[:4000])
        if return_code != 0:
            message = "Error in %s scriptlet in rpm package %s" % (SCRIPTLETS.get(kind, "UNKNOWN"), nevra.get_name())
            if return_code == RPMRC_FAIL:
                self.broken.append(message)
            else:
                self.warned.append(message)
            tell("scriptlet-failed", message=message)

    def unpack_error(self, item):
        self.broken.append("unpacking of %s failed" % item.get_package().get_nevra())


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
    put(conf, "optional_metadata_types", ["comps"] + (["filelists"] if filelists else []))
    if request["offline"]:
        put(conf, "cacheonly", "all")
        put(conf, "metadata_expire", -1)
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
    for repo in enabled(base):
        conf = repo.get_config()
        put(conf, "skip_if_unavailable", False)
        put(conf, "pkg_gpgcheck", request["signatures"])
        # A build asks every repository whether its metadata is still the newest; the install phase takes what that gave.
        put(conf, "metadata_expire", -1 if request["offline"] else 0)
        if not request["offline"]:
            repo.expire()  # an age of 0 s is not over a limit of 0 s
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


def strict_settings():
    """What a spec can mean is what it means to dnf 4: no guesses at programs, and nothing is passed over."""
    settings = libdnf5.base.GoalJobSettings()
    settings.set_with_binaries(False)
    settings.set_report_hint(False)
    settings.set_skip_unavailable(libdnf5.base.GoalSetting_SET_FALSE)
    settings.set_skip_broken(libdnf5.base.GoalSetting_SET_FALSE)
    return settings


def comps(base, installed):
    groups, environments = libdnf5.comps.GroupQuery(base), libdnf5.comps.EnvironmentQuery(base)
    groups.filter_installed(installed)
    environments.filter_installed(installed)
    known = {("group", g.get_groupid()): ("group", g.get_groupid(), g.get_name(), g) for g in groups}
    known.update({("environment", e.get_environmentid()): ("environment", e.get_environmentid(), e.get_name(), e) for e in environments})
    return known


def group_settings(base, with_optional=False):
    settings = strict_settings()
    types = [name.strip() for name in base.get_config().opt_binds().at("group_package_types").get_value_string().split(",")]
    bits = 0
    for name in types + (["optional"] if with_optional else []):
        bits |= PACKAGE_TYPES.get(name, 0)
    settings.set_group_package_types(bits)
    settings.set_group_search_environments(False)
    return settings


def mark_group(base, goal, known, wanted):
    """Installs the one group or environment that a name means, by its id."""
    kind, ident, _, found = choose_group(wanted, list(known.values()))
    settings = group_settings(base, wanted["with_optional"])
    user, dependency = libdnf5.transaction.TransactionItemReason_USER, libdnf5.transaction.TransactionItemReason_DEPENDENCY
    groups = []
    if kind == "environment":
        # dnf 4 installs the groups that an environment lists, and none of its options; dnf 5 would add default options.
        shell = strict_settings()
        shell.set_group_search_groups(False)
        shell.set_environment_no_groups(True)
        goal.add_group_install(ident, user, shell)
        for name in found.get_groups():
            if ("group", name) in known:
                goal.add_group_install(name, dependency, settings)
                groups.append(known["group", name][3])
            else:
                tell("note", message="the environment '%s' lists a group that no repository has: %s" % (ident, name))
    else:
        goal.add_group_install(ident, user, settings)
        groups.append(found)
    need = {p.get_name() for group in groups for p in group.get_packages_of_type(libdnf5.comps.PackageType_MANDATORY)}
    return dict(name=wanted["name"], id=ident, kind=kind, line=wanted["line"], mandatory=sorted(need))


def change_group(base, goal, change):
    kind, ident, _, found = choose_group(change["group"], list(comps(base, True).values()))
    user = libdnf5.transaction.TransactionItemReason_USER
    settings = strict_settings()
    settings.set_group_search_environments(kind == "environment")
    settings.set_group_search_groups(kind == "group")
    if change["action"] == "remove":
        goal.add_group_remove(ident, user, settings)
    else:
        goal.add_group_upgrade(ident, settings)


def add_files(base, request):
    """The packages of the files that the transaction names, by spec."""
    packages = {}
    for text, path in package_files(request).items():
        try:
            base.get_repo_sack().add_cmdline_packages([path])
            query = libdnf5.rpm.PackageQuery(base)
            query.filter_repo_id(["@commandline"])
            # What the call returns is opaque to Python.
            packages[text], = [package for package in query if package.get_package_path() == path]
        except Exception as error:
            lines = [spec["line"] for spec in request["transaction"]["install"] if spec["text"] == text]
            fail("spec", "%s is no package file: %s" % (text, str(error).replace(path, "the file")), line=(lines or [request["transaction"]["line"]])[0])
    return packages


def mark(base, goal, request, files):
    """Puts all that the transaction asks for into the goal; returns the groups it names."""
    wanted = request["transaction"]
    known = comps(base, False)
    groups = [mark_group(base, goal, known, group) for group in wanted["groups"]]
    for change in wanted["group_changes"]:
        change_group(base, goal, change)
    settings = strict_settings()
    jobs = [(goal.add_rpm_install, spec) for spec in wanted["install"] + [swap["install"] for swap in wanted["swap"]]]
    remove = strict_settings()
    # dnf 4 gives up what only a removed package needed, unless the recipe says otherwise.
    remove.set_clean_requirements_on_remove(libdnf5.base.GoalSetting_AUTO)
    for spec in wanted["remove"] + [swap["remove"] for swap in wanted["swap"]]:
        goal.add_rpm_remove(spec["text"], remove)
    jobs += [(goal.add_rpm_downgrade, spec) for spec in wanted["downgrade"]]
    jobs += [(goal.add_rpm_reinstall, spec) for spec in wanted["reinstall"]]
    for upgrade in wanted["upgrade"]:
        jobs += [(goal.add_rpm_upgrade, spec) for spec in upgrade["specs"]]
        if not upgrade["specs"]:
            goal.add_rpm_upgrade(settings)
    if wanted["distro_sync"] is not None:
        jobs += [(goal.add_rpm_distro_sync, spec) for spec in wanted["distro_sync"]]
        if not wanted["distro_sync"]:
            goal.add_rpm_distro_sync(settings)
    for add, spec in jobs:
        add(files.get(spec["text"], spec["text"]), settings)
    reasons = {"install": libdnf5.transaction.TransactionItemReason_USER, "remove": libdnf5.transaction.TransactionItemReason_DEPENDENCY}
    for change in wanted["mark"]:
        for spec in change["specs"]:
            goal.add_rpm_reason_change(spec["text"], reasons[change["action"]], "", settings)
    if wanted["autoremove"] is not None:
        autoremove(base, goal, wanted["autoremove"], remove)
    return groups


def autoremove(base, goal, specs, settings):
    for spec in specs:
        goal.add_rpm_remove(spec["text"], settings)
    if not specs:
        unneeded = libdnf5.rpm.PackageQuery(base)
        unneeded.filter_installed()
        unneeded.filter_unneeded()
        for package in unneeded:
            goal.add_rpm_remove(package, settings)


def specs_of(wanted):
    """Every spec of packages with its line."""
    specs = wanted["install"] + wanted["remove"] + wanted["downgrade"] + wanted["reinstall"]
    specs += [swap[part] for swap in wanted["swap"] for part in ("remove", "install")]
    specs += [spec for upgrade in wanted["upgrade"] for spec in upgrade["specs"]]
    specs += [spec for change in wanted["mark"] for spec in change["specs"]]
    specs += (wanted["distro_sync"] or []) + (wanted["autoremove"] or [])
    return specs


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
