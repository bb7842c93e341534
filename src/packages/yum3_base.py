# The part of yum 3's driver that sets yum up: nothing of the host's or the image's configuration, and the repositories of the request.
import hashlib
import json
import os
import subprocess

from driver import fail, key_packets

try:
    import rpm
    import yum
    import yum.config
    import yum.rpmsack
    import yum.yumRepo
    from urlgrabber.grabber import URLGrabError
except ImportError as error:
    fail("host", error)


def plain(value):
    """What came as JSON in the byte strings that yum and rpm know."""
    if isinstance(value, unicode):
        return value.encode("utf-8")
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return dict((plain(key), plain(item)) for key, item in value.items())
    return value


class Nothing(object):
    """In the place of yum's history, which would be written into the image."""

    def __getattr__(self, name):
        return lambda *words, **more: None


class Repository(yum.yumRepo.YumRepository):
    """A repository whose index may have to be signed: gpgv looks at that, for yum's own way takes a module that not every yum has."""

    keyring = None

    def _checkRepoXML(self, file):
        if self.keyring:
            self.check_index(getattr(file, "filename", file))
        return yum.yumRepo.YumRepository._checkRepoXML(self, file)

    def check_index(self, path):
        try:
            signature = self._getFile(relative="repodata/repomd.xml.asc", local=self.cachedir + "/repomd.xml.asc", copy_local=1,
                                      text=self.id, reget=None, size=102400)
        except yum.Errors.RepoError as error:
            raise URLGrabError(14, "GPG signature verification of repomd.xml: %s" % error)
        gpgv = [program for program in ("/usr/bin/gpgv", "/usr/bin/gpgv2") if os.path.exists(program)]
        if not gpgv:
            fail("host", "there is no gpgv, with which signed_metadata is checked")
        command = [gpgv[0], "--keyring", self.keyring, signature, path]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=True)
        said = process.communicate()[0]
        if process.returncode != 0:
            raise URLGrabError(14, "GPG signature verification of repomd.xml: %s" % (said.strip().splitlines() or [""])[-1])


def write_keyring(request):
    """The pinned keys as gpgv reads them."""
    path = request["scratch"] + "/keys.gpg"
    with open(path, "wb") as file:
        for key in request["keys"]:
            file.write(key_packets(key))
    return path


def make_base(request):
    base = yum.YumBase()
    # It would ask the rpmdb of these tools for a release.
    yum.config._getsysver = lambda root, package: request["releasever"] or "$releasever"
    if not os.path.isdir(request["scratch"]):
        os.makedirs(request["scratch"])
    base.preconf.fn = request["scratch"] + "/yum.conf"
    with open(base.preconf.fn, "w") as file:
        file.write("[main]\nplugins=0\nreposdir=\n")
    # Nothing is read from the install root, where packages could have put it: while yum looks for files, its root is this sandbox.
    base.preconf.root = "/"
    base.preconf.init_plugins = False
    base.preconf.debuglevel = 0
    base.preconf.releasever = request["releasever"]
    if request["arch"]:
        base.preconf.arch = request["arch"]
    base.doFileLogSetup = lambda *words: None
    base._history = Nothing()
    base.save_ts = lambda *words, **more: None
    conf = base.conf
    conf.installroot = request["installroot"]
    conf.cachedir, conf.persistdir, conf._repos_persistdir = request["cachedir"], request["state"], request["state"] + "/repos"
    conf.reposdir = []
    conf.cache = int(request["offline"])
    conf.keepcache = True
    conf.history_record = False
    conf.protected_packages = []  # the kernel that runs is the build host's
    conf.installonly_limit = 0
    conf.skip_broken = False
    conf.gpgcheck = conf.localpkg_gpgcheck = conf.repo_gpgcheck = False  # osimg and rpm look at all of them, see yum3_rpm.py
    conf.clean_requirements_on_remove = True
    conf.multilib_policy = "best"
    conf.retries, conf.timeout = 3, 30
    conf.exclude = request["exclude"]
    conf.yumvar["releasever"] = request["releasever"] or ""
    conf.yumvar.update(request["vars"])
    # What yum remembers of an rpmdb is kept beside the image; by itself it is put into it.
    sack = yum.rpmsack.RPMDBPackageSack(root="/", releasever=conf.yumvar["releasever"], persistdir=request["state"])
    sack.root = conf.installroot
    sack._rpmdbpath = os.path.normpath(conf.installroot + rpm.expandMacro("%_dbpath"))
    sack.__cache_rpmdb__ = False
    base.rpmdb = sack
    return base


def configure(base, request):
    """The recipe's own `config` lines."""
    for key, value in request["transaction"]["config"]:
        repo, _, option = key.rpartition(".")
        option = {"excludepkgs": "exclude"}.get(option, option)
        try:
            for target in base.repos.findRepos(repo) if repo else [base.conf]:
                setattr(target, option, value)
        except Exception as error:
            fail("spec", "config %s %s: %s" % (key, value, error), line=request["transaction"]["line"])


def add_repositories(base, request):
    if request["host_repositories"]:
        for folder in ("/etc/yum.repos.d", "/etc/yum/repos.d"):
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
                if name.endswith(".repo"):
                    base.getReposFromConfigFile(folder + "/" + name, 0)
    names = {"excludepkgs": "exclude"}
    for wanted in request["repositories"]:
        repo = Repository(wanted["id"])
        for key, value in wanted.items():
            if key not in ("id", "signed_metadata", "module_hotfixes") and value not in (None, [], ""):
                setattr(repo, names.get(key, key), value)
        repo.yumvar.update(base.conf.yumvar)
        repo.keyring = write_keyring(request) if wanted["signed_metadata"] else None
        base.repos.add(repo)
    for change in (request["transaction"] or {"repos": []})["repos"]:
        matched = base.repos.findRepos(change["glob"])
        if not matched:
            fail("spec", "no repository matches '%s'" % change["glob"], line=change["line"])
        for repo in matched:
            (repo.enable if change["action"] == "enable" else repo.disable)()
    if request["transaction"]:
        configure(base, request)
    base.repos.setCache(base.conf.cache)
    for repo in base.repos.listEnabled():
        repo.skip_if_unavailable = repo.gpgcheck = False
        repo.failovermethod = "priority"
        # A build asks every repository whether its metadata is still the newest; the install phase takes what that gave.
        repo.metadata_expire = repo.mirrorlist_expire = -1 if request["offline"] else 0
        place(repo, request)
    if not base.repos.listEnabled():
        fail("settings", "no repository is enabled")


def place(repo, request):
    """A folder of the repository's own in the cache, named by its addresses too: the next build's of that id may be another."""
    known = json.dumps([repo.baseurl, repo.mirrorlist, repo.metalink, repo.yumvar["releasever"], repo.yumvar["basearch"]])
    folder = "%s/%s-%s" % (request["cachedir"], repo.id, hashlib.sha256(known).hexdigest()[:16])
    places = dict(cachedir=folder, pkgdir=folder + "/packages", hdrdir=folder + "/headers", metadata_cookie=folder + "/cachecookie",
                  persistdir=request["state"] + "/repos/" + repo.id)
    for name, path in places.items():
        setattr(repo, "_dir_setup_" + name, path)
    # Later releases unpack what they download into the last of them.
    for path in (repo.cachedir, repo.pkgdir, repo.cachedir + "/gen"):
        if not os.path.isdir(path):
            os.makedirs(path)
    # With an old index at hand yum takes that, without a word, when the new one cannot be had.
    for name in ("repomd.xml", "cachecookie", "repomd.xml.asc", "mirrorlist.txt", "metalink.xml"):
        if not request["offline"] and os.path.exists(folder + "/" + name):
            os.unlink(folder + "/" + name)
