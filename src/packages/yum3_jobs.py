# The part of yum 3's driver that marks what a transaction asks for: packages, files, groups, and what nothing needs any more.
from driver import fail, fail_missing, package_files
from yum3_groups import Groups, nevra, read_groups

try:
    import yum.constants
    import yum.Errors
    import yum.packages
    import yum.packageSack
except ImportError as error:
    fail("host", error)


def add_files(base, request):
    """The paths of the files that the transaction names, by spec; each is a package."""
    paths = package_files(request)
    for spec, path in paths.items():
        try:
            yum.packages.YumLocalPackage(base.rpmdb.readOnlyTS(), path)
        except Exception as error:
            lines = [asked["line"] for asked in request["transaction"]["install"] if asked["text"] == spec]
            fail("spec", "%s is no package file: %s" % (spec, str(error).replace(path, "the file")), line=(lines or [request["transaction"]["line"]])[0])
    return paths


def installed(base, spec):
    return base.rpmdb.returnPackages(patterns=[spec], ignore_case=False) or base.returnInstalledPackagesByDep(spec)


def satisfying(base, files, spec):
    """Every package that the spec can mean."""
    if spec in files:
        return [yum.packages.YumLocalPackage(base.rpmdb.readOnlyTS(), files[spec])]
    found = base.pkgSack.returnPackages(patterns=[spec], ignore_case=False) or base.returnPackagesByDep(spec)
    return list(found) + list(installed(base, spec))


def mark(base, request, memory, files, heard):
    """Marks what the transaction asks for; returns the groups it names."""
    wanted = request["transaction"]
    missing = []
    # What goes comes first: a package that replaces it must not find it there.
    for spec in wanted["remove"] + [swap["remove"] for swap in wanted["swap"]]:
        if not base.remove(pattern=spec["text"]):
            missing.append(spec)
    told = []
    if wanted["groups"] or wanted["group_changes"] or wanted["mark"]:
        groups = Groups(base, memory, read_groups(base, heard))
        told = [groups.install(group) for group in wanted["groups"]]
        for change in wanted["group_changes"]:
            groups.change(change)
    for spec in wanted["install"] + [swap["install"] for swap in wanted["swap"]]:
        try:
            members = install(base, files, spec["text"])
        except yum.Errors.YumBaseError:
            missing.append(spec)
            continue
        memory.asked.update("%s.%s" % (member.po.name, member.po.arch) for member in members)
        memory.asked.update("%s.%s" % (po.name, po.arch) for po in installed(base, spec["text"]) if spec["text"] not in files)
    for job, specs in ((upgrade, [s for change in wanted["upgrade"] for s in change["specs"]]), (downgrade, wanted["downgrade"]),
                       (reinstall, wanted["reinstall"]), (synchronize, wanted["distro_sync"] or []), (give_up, wanted["autoremove"] or [])):
        for spec in specs:
            here = installed(base, spec["text"])
            # A version to go down to is not the one that is here.
            if not (here or job is downgrade) or not job(base, spec["text"], here):
                missing.append(spec)
    if any(not change["specs"] for change in wanted["upgrade"]):
        base.update()
    if wanted["distro_sync"] == []:
        synchronize(base, "*", base.rpmdb.returnPackages())
    for change in wanted["mark"]:
        missing += [spec for spec in change["specs"] if not change_reason(base, memory, change["action"], spec)]
    if missing:
        fail_missing(missing, lambda name: sorted(set(po.name for po in base.pkgSack.returnPackages(patterns=["*%s*" % name])))[:5])
    return told


def install(base, files, spec):
    if spec not in files:
        return base.install(pattern=spec)
    po = yum.packages.YumLocalPackage(base.rpmdb.readOnlyTS(), files[spec])
    return base.installLocal(files[spec], po=po)


def upgrade(base, spec, here):
    base.update(pattern=spec)
    return True


def downgrade(base, spec, here):
    names = set(po.name for po in base.pkgSack.returnPackages(patterns=[spec], ignore_case=False) or here)
    if not names or not base.rpmdb.searchNames(sorted(names)):
        return False
    try:
        base.downgrade(pattern=spec)
    except yum.Errors.DowngradeError:
        return False
    return True


def reinstall(base, spec, here):
    for po in here:
        try:
            base.reinstall(name=po.name, arch=po.arch, epoch=po.epoch, version=po.version, release=po.release)
        except yum.Errors.YumBaseError:
            return False
    return True


def synchronize(base, spec, here):
    """Brings installed packages to the newest versions that the repositories have, upwards or downwards."""
    for po in here:
        if base.allowedMultipleInstalls(po):
            continue
        found = base.pkgSack.searchNevra(name=po.name, arch=po.arch) or base.pkgSack.searchNevra(name=po.name)
        newest = sorted(yum.packageSack.packagesNewestByName(found), key=lambda other: other.arch != po.arch)[:1]
        for other in newest:
            if other.verGT(po):
                base.update(po=other)
            elif other.verLT(po):
                base.downgrade(po=other)
    return True


def give_up(base, spec, here):
    return [base.remove(po=po) for po in here]


def change_reason(base, memory, action, spec):
    """Remembers why the packages are there; nothing is installed."""
    here = installed(base, spec["text"])
    if action == "group" and here:
        names = set(po.name for po in here)
        if not any(names & set(str(name) for name in group.get("packages", [])) for group in memory.groups.values()):
            fail("spec", "'%s' is in no installed group" % spec["text"], line=spec["line"])
    for po in here:
        memory.set(po, {"install": "user", "remove": "dependency", "group": "group"}[action])
    return here


def clean(base, memory, everything):
    """Gives up what only removed packages needed, or all that nothing needs; returns whether there was any."""
    states = yum.constants
    members = base.tsInfo.getMembers()
    going = set(member.po for member in members if member.output_state in states.TS_REMOVE_STATES)
    staying = set(base.rpmdb.returnPackages()) - going
    spare = set(po for po in staying if memory.because(po) == "dependency")
    if not everything:
        erased = [member.po for member in members if member.ts_state == "e"] if base.conf.clean_requirements_on_remove else []
        spare &= closure(base, erased, spare)
    if not spare:
        return False
    coming = [member.po for member in members if member.output_state in states.TS_INSTALL_STATES]
    unneeded = spare - closure(base, coming + list(staying - spare), spare)
    for po in sorted(unneeded, key=nevra):
        base.remove(po=po)
    return bool(unneeded)


def closure(base, packages, among):
    """Those of `among` that the packages need, and those that these need."""
    found, left = set(), list(packages)
    while left:
        for name, flags, version in left.pop().requires:
            if name.startswith("rpmlib("):
                continue
            for po in base.rpmdb.getProvides(name, flags, version):
                if po in among and po not in found:
                    found.add(po)
                    left.append(po)
    return found
