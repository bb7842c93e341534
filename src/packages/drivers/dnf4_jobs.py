# The part of dnf 4's driver that marks a transaction's packages, files, groups, modules, and the
# reasons of packages.
from comps import choose_group, refuse_odd_members
from driver import advisories, fail, fail_missing, package_files, send

try:
    import dnf.exceptions
    import dnf.module.module_base
    import dnf.subject
    import hawkey
    import libdnf.module
    import libdnf.transaction
except ImportError as error:
    fail("host", error)


def available_groups(base):
    known = [("environment", e.id, e.name, e) for e in base.comps.environments]
    return known + [("group", g.id, g.name, g) for g in base.comps.groups]


def mark_group(base, wanted, kinds):
    """Installs the one group or environment that matches the name."""
    kind, ident, _, group = choose_group(wanted, available_groups(base))
    refuse_odd_members(
        base.odd_members,
        [inside.id for inside in group.mandatory_groups] if kind == "environment" else [ident],
    )
    types = list(kinds) + (
        ["optional"] if wanted["with_optional"] and "optional" not in kinds else []
    )
    if kind == "environment":
        base.environment_install(ident, types, strict=True)
        inner = list(group.mandatory_groups)
    else:
        base.group_install(ident, types, strict=True)
        inner = [group]
    need = {package.name for inside in inner for package in inside.mandatory_packages}
    others = {package.name for inside in inner for package in inside.default_packages}
    return dict(
        name=wanted["name"],
        id=ident,
        kind=kind,
        line=wanted["line"],
        mandatory=sorted(need),
        members=sorted(need | others),
    )


def change_group(base, change, kinds):
    kind, ident, _, _ = choose_group(change["group"], available_groups(base))
    jobs = {
        ("group", "remove"): base.group_remove,
        ("group", "upgrade"): base.group_upgrade,
        ("environment", "remove"): base.environment_remove,
        ("environment", "upgrade"): base.environment_upgrade,
    }
    # Only the record is changed, as by dnf's `group mark`; the solver's changes to packages are
    # discarded.
    solver, types = (
        base._build_comps_solver(),
        libdnf.transaction.listToCompsPackageType(tuple(kinds)),
    )
    jobs.update(
        {
            ("group", "mark-install"): lambda name: solver._group_install(name, types),
            ("group", "mark-remove"): solver._group_remove,
            ("environment", "mark-install"): lambda name: solver._environment_install(name, types),
            ("environment", "mark-remove"): solver._environment_remove,
        }
    )
    try:
        jobs[kind, change["action"]](ident)
    except dnf.exceptions.Error as error:
        fail("spec", error, line=change["group"]["line"])


def change_module(base, change):
    module = dnf.module.module_base.ModuleBase(base)
    specs = [spec["text"] for spec in change["specs"]]
    try:
        getattr(module, change["action"].replace("-", "_"))(specs)
    except dnf.exceptions.MarkingErrors as error:
        # As dnf's command does: ignores a conflict with another module's default stream, which was
        # not requested.
        defaults = libdnf.module.ModulePackageContainer.ModuleErrorType_ERROR_IN_DEFAULTS
        problems = error.module_depsolv_errors
        if (
            error.no_match_group_specs
            or error.error_group_specs
            or not problems
            or problems[1] != defaults
        ):
            fail("spec", error, line=change["specs"][0]["line"])
        send("note", message=str(error))
    except dnf.exceptions.Error as error:
        fail("spec", error, line=change["specs"][0]["line"])


def add_files(base, request):
    """The packages of the transaction's package files, by spec."""
    packages = {}
    for text, path in package_files(request).items():
        try:
            packages[text], = base.add_remote_rpms([path], strict=True)
        except (dnf.exceptions.Error, OSError) as error:
            lines = [
                spec["line"] for spec in request["transaction"]["install"] if spec["text"] == text
            ]
            fail(
                "spec",
                "%s is not a package file: %s" % (text, str(error).replace(path, "the file")),
                line=(lines or [request["transaction"]["line"]])[0],
            )
    return packages


def mark(base, request, files):
    """Marks everything that the transaction requests; returns its groups."""
    wanted = request["transaction"]
    kinds = list(base.conf.group_package_types)
    for change in wanted["modules"]:
        change_module(base, change)
    groups = [mark_group(base, group, kinds) for group in wanted["groups"]]
    for change in wanted["group_changes"]:
        change_group(base, change, kinds)
    missing = []
    for spec in wanted["install"] + [swap["install"] for swap in wanted["swap"]]:
        try:
            if spec["text"] in files:
                base.package_install(files[spec["text"]], strict=True)
            elif not base.install(spec["text"], strict=True) and not list(
                dnf.subject.Subject(spec["text"]).get_best_query(base.sack).installed()
            ):
                missing.append(spec)
        except dnf.exceptions.MarkingError:
            missing.append(spec)
        except dnf.exceptions.Error as error:
            fail("spec", error, line=spec["line"])
    removed = (
        wanted["remove"]
        + [swap["remove"] for swap in wanted["swap"]]
        + (wanted["autoremove"] or [])
    )
    jobs = [(base.remove, spec) for spec in removed]
    jobs += [(base.downgrade, spec) for spec in wanted["downgrade"]]
    jobs += [(base.reinstall, spec) for spec in wanted["reinstall"]]
    for upgrade in wanted["upgrade"]:
        jobs += [(narrowed(base, upgrade, base.upgrade), spec) for spec in upgrade["specs"]]
        if not upgrade["specs"]:
            narrowed(base, upgrade, base.upgrade_all)()
    if wanted["distro_sync"] is not None:
        jobs += [(base.distro_sync, spec) for spec in wanted["distro_sync"]]
        if not wanted["distro_sync"]:
            base.distro_sync()
    if wanted["autoremove"] == []:
        base.autoremove()
    for job, spec in jobs:
        try:
            job(spec["text"])
        except dnf.exceptions.MarkingError:
            missing.append(spec)
        except dnf.exceptions.Error as error:
            fail("spec", error, line=spec["line"])
    # dnf itself ignores packages of a `distro-sync` that are not installed.
    missing += [spec for spec in wanted["distro_sync"] or [] if not marked(base, spec)]
    missing += [
        spec for change in wanted["mark"] for spec in change["specs"] if not marked(base, spec)
    ]
    for spec in [
        spec
        for change in wanted["mark"]
        if change["action"] == "group"
        for spec in change["specs"]
        if spec not in missing
    ]:
        names = {package.name for package in marked(base, spec)}
        known = [base.history.group.get(group.id) for group in base.comps.groups]
        if not any(
            names & {member.getName() for member in group.getPackages()} for group in known if group
        ):
            fail("spec", "'%s' is in no installed group" % spec["text"], line=spec["line"])
    if missing:
        fail_missing(
            missing,
            lambda text: sorted(
                {p.name for p in base.sack.query().available().filter(name__glob="*%s*" % text)}
            )[:5],
            lambda text: is_excluded(base, text),
        )
    return groups


def is_excluded(base, text):
    """Whether repositories have matches for a spec that an exclude hides."""
    whole = base.sack.query(flags=hawkey.IGNORE_EXCLUDES).available()
    return bool(whole.filter(name__glob=text)) and not base.sack.query().available().filter(
        name__glob=text
    )


def narrowed(base, upgrade, job):
    """The job limited to the upgrade's advisories; dnf would keep the limits for later jobs."""
    def run(*words):
        base.add_security_filters("eq" if upgrade["minimal"] else "gte", **advisories(upgrade))
        try:
            return job(*words)
        finally:
            base._update_security_options = {}

    return run if advisories(upgrade) else job


def change_reasons(base, marks):
    """Changes the reasons why packages are installed, as dnf's `mark` does; nothing is
    installed."""
    reasons = {
        "install": libdnf.transaction.TransactionItemReason_USER,
        "remove": libdnf.transaction.TransactionItemReason_DEPENDENCY,
        "group": libdnf.transaction.TransactionItemReason_GROUP,
    }
    last = base.history.last()
    version = last.end_rpmdb_version if last else base.sack._rpmdb_version()
    for change in marks:
        for spec in change["specs"]:
            for package in marked(base, spec):
                base.history.set_reason(package, reasons[change["action"]])
    base.history.beg(version, [], [])
    base.history.end(version)


def marked(base, spec):
    return list(dnf.subject.Subject(spec["text"]).get_best_query(base.sack).installed())
