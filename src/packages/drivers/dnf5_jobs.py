# The part of dnf 5's driver that marks a transaction's packages, files, groups, and the reasons of
# packages.
from comps import check_comps, choose_group, refuse_odd_members
from driver import advisories, fail, package_files, send

try:
    import libdnf5.advisory
    import libdnf5.base
    import libdnf5.comps
    import libdnf5.repo
    import libdnf5.rpm
    import libdnf5.transaction
except ImportError as error:
    fail("host", error)

PACKAGE_TYPES = {
    "mandatory": libdnf5.comps.PackageType_MANDATORY,
    "default": libdnf5.comps.PackageType_DEFAULT,
    "conditional": libdnf5.comps.PackageType_CONDITIONAL,
    "optional": libdnf5.comps.PackageType_OPTIONAL,
}


def strict_settings():
    """Specs have the same meaning as for dnf 4: programs are not guessed, and nothing is
    ignored."""
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
    known = {
        ("group", g.get_groupid()): ("group", g.get_groupid(), g.get_name(), g) for g in groups
    }
    known.update(
        {
            ("environment", e.get_environmentid()): (
                "environment",
                e.get_environmentid(),
                e.get_name(),
                e,
            )
            for e in environments
        }
    )
    return known


def group_settings(base, with_optional=False):
    settings = strict_settings()
    types = [
        name.strip()
        for name in base.get_config()
        .opt_binds()
        .at("group_package_types")
        .get_value_string()
        .split(",")
    ]
    bits = 0
    for name in types + (["optional"] if with_optional else []):
        bits |= PACKAGE_TYPES.get(name, 0)
    settings.set_group_package_types(bits)
    settings.set_group_search_environments(False)
    return settings


def add_environment_alone(goal, ident):
    """Adds an environment without its groups: dnf 5 would add optional ones, dnf 4 installs the
    listed ones."""
    settings = strict_settings()
    settings.set_group_search_groups(False)
    settings.set_environment_no_groups(True)
    goal.add_group_install(ident, libdnf5.transaction.TransactionItemReason_USER, settings)


def check_groups(base):
    """Refuses damaged group files; returns the members that dnf does not understand."""
    repositories, files = libdnf5.repo.RepoQuery(base), []
    repositories.filter_type(libdnf5.repo.Repo.Type_AVAILABLE)
    repositories.filter_enabled(True)
    for repo in repositories:
        paths = [
            repo.get_metadata_path(kind) for kind in ("group", "group_gz", "group_xz", "group_zck")
        ]
        files += [(repo.get_id(), path) for path in paths if path][:1]
    return check_comps(files)[1]


def mark_group(base, goal, known, wanted, odd):
    """Installs the one group or environment that matches the name, by its id."""
    kind, ident, _, found = choose_group(wanted, list(known.values()))
    refuse_odd_members(odd, found.get_groups() if kind == "environment" else [ident])
    settings = group_settings(base, wanted["with_optional"])
    user, dependency = (
        libdnf5.transaction.TransactionItemReason_USER,
        libdnf5.transaction.TransactionItemReason_DEPENDENCY,
    )
    groups = []
    if kind == "environment":
        add_environment_alone(goal, ident)
        for name in found.get_groups():
            if ("group", name) in known:
                goal.add_group_install(name, dependency, settings)
                groups.append(known["group", name][3])
            else:
                send(
                    "note",
                    message="the environment '%s' lists a group that is in no repository: %s"
                    % (ident, name),
                )
    else:
        goal.add_group_install(ident, user, settings)
        groups.append(found)
    need = {
        p.get_name()
        for group in groups
        for p in group.get_packages_of_type(libdnf5.comps.PackageType_MANDATORY)
    }
    others = {
        p.get_name()
        for group in groups
        for p in group.get_packages_of_type(libdnf5.comps.PackageType_DEFAULT)
    }
    return dict(
        name=wanted["name"],
        id=ident,
        kind=kind,
        line=wanted["line"],
        mandatory=sorted(need),
        members=sorted(need | others),
    )


def mark_installed(base, goal, known, wanted):
    """Records a group or environment as installed, without its packages."""
    kind, ident, _, found = choose_group(wanted, list(known.values()))
    settings = group_settings(base)
    settings.set_group_no_packages(True)
    user, dependency = (
        libdnf5.transaction.TransactionItemReason_USER,
        libdnf5.transaction.TransactionItemReason_DEPENDENCY,
    )
    names = [ident]
    if kind == "environment":
        add_environment_alone(goal, ident)
        names = [name for name in found.get_groups() if ("group", name) in known]
    for name in names:
        goal.add_group_install(name, dependency if kind == "environment" else user, settings)


def change_group(base, goal, change):
    if change["action"] == "mark-install":
        return mark_installed(base, goal, comps(base, False), change["group"])
    kind, ident, _, found = choose_group(change["group"], list(comps(base, True).values()))
    user = libdnf5.transaction.TransactionItemReason_USER
    settings = strict_settings()
    settings.set_group_search_environments(kind == "environment")
    settings.set_group_search_groups(kind == "group")
    if change["action"] == "upgrade":
        goal.add_group_upgrade(ident, settings)
    else:
        settings.set_group_no_packages(change["action"] == "mark-remove")
        goal.add_group_remove(ident, user, settings)


def add_files(base, request):
    """The packages of the transaction's package files, by spec."""
    packages = {}
    for text, path in package_files(request).items():
        try:
            base.get_repo_sack().add_cmdline_packages([path])
            query = libdnf5.rpm.PackageQuery(base)
            query.filter_repo_id(["@commandline"])
            # The call returns an object that Python cannot inspect.
            packages[text], = [package for package in query if package.get_package_path() == path]
        except Exception as error:
            lines = [
                spec["line"] for spec in request["transaction"]["install"] if spec["text"] == text
            ]
            fail(
                "spec",
                "%s is not a package file: %s" % (text, str(error).replace(path, "the file")),
                line=(lines or [request["transaction"]["line"]])[0],
            )
    return packages


def mark(base, goal, request, files):
    """Adds everything that the transaction requests to the goal; returns its groups."""
    wanted = request["transaction"]
    odd = check_groups(base) if wanted["groups"] or wanted["group_changes"] else {}
    known = comps(base, False)
    groups = [mark_group(base, goal, known, group, odd) for group in wanted["groups"]]
    for change in wanted["group_changes"]:
        change_group(base, goal, change)
    settings = strict_settings()
    jobs = [
        (goal.add_rpm_install, spec)
        for spec in wanted["install"] + [swap["install"] for swap in wanted["swap"]]
    ]
    remove = strict_settings()
    # By default, dnf 4 also removes dependencies that only a removed package needed.
    remove.set_clean_requirements_on_remove(libdnf5.base.GoalSetting_AUTO)
    for spec in wanted["remove"] + [swap["remove"] for swap in wanted["swap"]]:
        goal.add_rpm_remove(spec["text"], remove)
    jobs += [(goal.add_rpm_downgrade, spec) for spec in wanted["downgrade"]]
    jobs += [(goal.add_rpm_reinstall, spec) for spec in wanted["reinstall"]]
    for upgrade in wanted["upgrade"]:
        for spec in upgrade["specs"]:
            goal.add_rpm_upgrade(spec["text"], upgrade_settings(base, upgrade), upgrade["minimal"])
        if not upgrade["specs"]:
            goal.add_rpm_upgrade(upgrade_settings(base, upgrade), upgrade["minimal"])
    if wanted["distro_sync"] is not None:
        jobs += [(goal.add_rpm_distro_sync, spec) for spec in wanted["distro_sync"]]
        if not wanted["distro_sync"]:
            goal.add_rpm_distro_sync(settings)
    for add, spec in jobs:
        add(files.get(spec["text"], spec["text"]), settings)
    reasons = {
        "install": libdnf5.transaction.TransactionItemReason_USER,
        "remove": libdnf5.transaction.TransactionItemReason_DEPENDENCY,
        "group": libdnf5.transaction.TransactionItemReason_GROUP,
    }
    for change in wanted["mark"]:
        for spec in change["specs"]:
            group = group_of(base, spec) if change["action"] == "group" else ""
            goal.add_rpm_reason_change(spec["text"], reasons[change["action"]], group, settings)
    if wanted["autoremove"] is not None:
        autoremove(base, goal, wanted["autoremove"], remove)
    return groups


def upgrade_settings(base, upgrade):
    """Settings that limit an upgrade to its advisories."""
    settings = strict_settings()
    narrowed = advisories(upgrade)
    if not narrowed:
        return settings
    chosen = libdnf5.advisory.AdvisoryQuery(base)
    chosen.clear()
    filters = {
        "types": lambda query, words: query.filter_type(words),
        "advisory": lambda query, words: query.filter_name(words),
        "severity": lambda query, words: query.filter_severity(words),
        "bugzilla": lambda query, words: query.filter_reference(words, ["bugzilla"]),
        "cves": lambda query, words: query.filter_reference(words, ["cve"]),
    }
    for kind, words in narrowed.items():
        query = libdnf5.advisory.AdvisoryQuery(base)
        filters[kind](query, words)
        chosen.update(query)
    settings.set_advisory_filter(chosen)
    return settings


def group_of(base, spec):
    """The installed group of a package, which dnf 5 records with the package; empty if it is not
    installed."""
    query = libdnf5.rpm.PackageQuery(base)
    query.filter_installed()
    query.resolve_pkg_spec(spec["text"], strict_settings(), False)
    names = {package.get_name() for package in query}
    for (kind, ident), (_, _, _, group) in sorted(
        comps(base, True).items(), key=lambda entry: entry[0]
    ):
        if kind == "group" and names & {package.get_name() for package in group.get_packages()}:
            return ident
    if names:
        fail("spec", "'%s' is in no installed group" % spec["text"], line=spec["line"])
    return ""


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
    """All package specs with their lines."""
    specs = wanted["install"] + wanted["remove"] + wanted["downgrade"] + wanted["reinstall"]
    specs += [swap[part] for swap in wanted["swap"] for part in ("remove", "install")]
    specs += [spec for upgrade in wanted["upgrade"] for spec in upgrade["specs"]]
    specs += [spec for change in wanted["mark"] for spec in change["specs"]]
    specs += (wanted["distro_sync"] or []) + (wanted["autoremove"] or [])
    return specs
