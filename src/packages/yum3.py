# Drives yum 3 through its Python API for osimg: one transaction, described by /osimg/request.json, in one of two phases.
# yum resolves and downloads; the transaction itself is rpm's, without yum's history, plugins, locks and questions.
# Python 2.7, as EL 7 has it.
import os
import sys
import urllib

sys.path.insert(0, "/osimg")
from driver import among, fail, fail_network, repomd, run, tell
from yum3_base import add_repositories, make_base, plain
from yum3_files import fetch, install_files
from yum3_groups import Memory, nevra
from yum3_jobs import add_files, clean, mark, satisfying
from yum3_progress import Heard, Meter
from yum3_rpm import Incoming, transact

try:
    import rpm
    import yum.constants
    import yum.Errors
    import yum.packages
except ImportError as error:
    fail("host", error)


def load(base, request, heard):
    for repo in base.repos.listEnabled():
        repo.setFailureObj(heard)
        repo.setMirrorFailureObj(heard)
    tell("loading", repositories=[repo.id for repo in sorted(base.repos.listEnabled())])
    try:
        for repo in sorted(base.repos.listEnabled()):
            repo.repoXML  # the index of each; packages' come with the sack
        packages = base.pkgSack.returnPackages()
    except (yum.Errors.YumBaseError, EnvironmentError) as error:
        fail_network("repository", heard.told(error))
    only = request["detail"] and request["detail"].get("only")
    hidden = set()
    if only:
        allowed = among(only)
        hidden.update(p for p in packages if not allowed(p.name, p.version, p.release, p.arch))
    hidden.update(outranked(base, packages))
    for package in hidden:
        base.pkgSack.delPackage(package)


def outranked(base, packages):
    """Packages that a repository of a better priority has too, by whatever version: what a plugin does in yum."""
    ranks = dict((repo.id, int(getattr(repo, "priority", 99) or 99)) for repo in base.repos.listEnabled())
    if len(set(ranks.values())) < 2:
        return []
    best = {}
    for package in packages:
        best[package.name] = min(best.get(package.name, 99), ranks[package.repoid])
    return [package for package in packages if ranks[package.repoid] > best[package.name]]


def resolve(base):
    try:
        code, said = base.buildTransaction(unfinished_transactions_check=False)
    except yum.Errors.YumBaseError as error:
        code, said = 1, [str(error)]
    if code == 1:
        # Since rpm 4.13 a dependency can be an expression, of which yum says only that it does not know a word in it.
        said = list(said) + ["%s needs '%s', which yum 3 does not understand" % (nevra(member.po), name)
                             for member in incoming(base) for name, _, _ in member.po.requires if name.startswith("(")]
        fail("dependency", "\n".join(plain(line) if isinstance(line, unicode) else str(line) for line in said))


def settle(base):
    """Packages of repositories that are folders of this host are used where they are."""
    for member in incoming(base):
        po = member.po
        if isinstance(po, yum.packages.YumLocalPackage) or not [url for url in po.repo.urls if url.startswith("file://")]:
            continue
        places = [urllib.unquote(url[len("file://"):]) + po.relativepath for url in po.repo.urls if url.startswith("file://")]
        po.localpath = ([path for path in places if os.path.exists(path)] + places)[0]


def is_elsewhere(po):
    return not po.localPkg().startswith(po.repo.cachedir)


def incoming(base):
    members = [member for member in base.tsInfo.getMembers() if member.output_state in yum.constants.TS_INSTALL_STATES]
    return sorted(members, key=lambda member: nevra(member.po))


def outgoing(base):
    """What leaves, by upgrades too; what is installed anew stays."""
    stay = set(nevra(member.po) for member in incoming(base))
    members = [member for member in base.tsInfo.getMembers() if member.output_state in yum.constants.TS_REMOVE_STATES]
    return sorted(set(nevra(member.po) for member in members) - stay)


def describe(base, request, memory, groups, files):
    for member in incoming(base):
        po = member.po
        given = po.localPkg() in files.values()
        digest = None if given else po.returnIdSum()
        tell("planned", package=dict(
            nevra=nevra(po), name=po.name, epoch=int(po.epoch or 0), version=po.version, release=po.release, arch=po.arch,
            repo="@commandline" if given else po.repoid, location=os.path.basename(po.localPkg()) if given else po.relativepath,
            size=int(po.packagesize), installed=int(po.size if given else po.installedsize), built=int(po.buildtime),
            checksum="%s:%s" % tuple(digest) if digest else None, reason=memory.reason(member), path=po.localPkg()))
    here = set(nevra(member.po) for member in incoming(base))
    here |= set(nevra(po) for po in base.rpmdb.returnPackages())
    here -= set(outgoing(base))
    specs = []
    for spec in request["transaction"]["install"]:
        found = satisfying(base, files, spec["text"])
        specs.append(dict(text=spec["text"], line=spec["line"], packages=sorted(set(nevra(po) for po in found) & here)))
    repositories = [dict(id=repo.id, name=repo.name or repo.id, revision=str(repo.repoXML.revision or ""),
                         repomd=repomd(repo.cachedir, "/repomd.xml")) for repo in sorted(base.repos.listEnabled())]
    tell("plan", remove=outgoing(base), specs=specs, groups=groups, repositories=repositories, rpm=rpm.__version__)


def download(base, heard):
    pos = [member.po for member in incoming(base) if not isinstance(member.po, yum.packages.YumLocalPackage)]
    # yum would remove what is wrong, in the repository itself.
    gone = sorted(os.path.basename(po.localPkg()) for po in pos if is_elsewhere(po) and not os.path.exists(po.localPkg()))
    if gone:
        fail("download", "%s: no longer in the repository's folder" % ", ".join(gone))
    changed = sorted(os.path.basename(po.localPkg()) for po in pos if is_elsewhere(po) and not po.verifyLocalPkg())
    if changed:
        fail("trust", "%s: not what the repository's metadata say" % ", ".join(changed))
    pos = [po for po in pos if not is_elsewhere(po)]
    meter = Meter(len(pos), sum(int(po.packagesize) for po in pos))
    for repo in base.repos.listEnabled():
        repo.setCallback(meter)
    try:
        wrong = base.downloadPkgs(pos)
    except (yum.Errors.YumBaseError, EnvironmentError) as error:
        fail_network("download", heard.told(error))
    if wrong:
        fail_network("download", heard.told("\n".join(sorted("%s: %s" % (po, "; ".join(map(str, why))) for po, why in wrong.items()))))


def main(request):
    request = plain(request)
    if request["phase"] == "install-files":
        return install_files(request)
    base, heard = make_base(request), Heard()
    add_repositories(base, request)
    if request["phase"] == "fetch":
        return fetch(base, request, heard)
    load(base, request, heard)
    memory = Memory(request["state"])
    files = add_files(base, request)
    groups = mark(base, request, memory, files, heard)
    resolve(base)
    if clean(base, memory, request["transaction"]["autoremove"] == []):
        resolve(base)
    settle(base)
    describe(base, request, memory, groups, files)
    if request["phase"] == "resolve":
        return
    download(base, heard)
    if request["phase"] == "download":
        return
    carry_out(base, request, memory)


def carry_out(base, request, memory):
    """Hands to rpm what yum resolved."""
    coming, members = [], incoming(base)
    for member in members:
        upgrade = member.ts_state == "u" and not base.allowedMultipleInstalls(member.po)
        coming.append(Incoming(member.po.name, member.po.localPkg(), upgrade))
    going = [member.po.idx for member in base.tsInfo.getMembers() if member.ts_state == "e"]
    flags = set(base.conf.tsflags) | set(request["tsflags"])
    filters = list(base.tsInfo.probFilterFlags)
    later = memory.after(base, members)
    base.closeRpmDB()
    transact(request, coming, going, flags, filters)
    later.keep()


run(main)
