# The part of yum 3's driver that is rpm's: keys, checks of every package, and the transaction.
# rpm before 4.14.2 has no %_pkgverify_level: it installs what nobody signed, so nothing comes this far unless all of it was checked.
import os
import subprocess

from driver import fail, import_keys
from yum3_progress import Transaction

try:
    import rpm
except ImportError as error:
    fail("host", error)

# Since rpm 4.14; older ones do not know it by name.
RPMTAG_PAYLOADDIGEST = 5092
TR_REMOVED = 2


class Incoming(object):
    """A package file of a transaction; rpm's callbacks know it again."""

    def __init__(self, name, path, upgrade):
        self.name, self.path, self.upgrade = name, path, upgrade


def header(transaction_set, path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return transaction_set.hdrFromFdno(descriptor)
    finally:
        os.close(descriptor)


def check_signature(transaction_set, path):
    """Fails unless a key that was imported signed the header, and the payload is in what was signed."""
    name = os.path.basename(path)
    try:
        read = header(transaction_set, path)
    except rpm.error as error:
        fail("trust", "%s: %s; no pinned key signed it" % (name, error))
    if not any(read[tag] for tag in (rpm.RPMTAG_DSAHEADER, rpm.RPMTAG_RSAHEADER, rpm.RPMTAG_SIGGPG, rpm.RPMTAG_SIGPGP)):
        fail("trust", "%s: no pinned key signed it, nobody did" % name)
    knows = [int(part) for part in rpm.__version__.split(".")[:2]] >= [4, 14]
    if not (read[rpm.RPMTAG_SIGGPG] or read[rpm.RPMTAG_SIGPGP] or (knows and read[RPMTAG_PAYLOADDIGEST])):
        fail("trust", "%s: its signature is not over its payload" % name)


def check_all(request, paths):
    """Digests of headers and payloads, and signatures, by rpm's own program: its library looks at headers alone."""
    for start in range(0, len(paths), 100):
        part = paths[start:start + 100]
        unsigned = [] if request["signatures"] else ["--nosignature"]
        command = ["rpmkeys", "--root", request["installroot"], "--checksig"] + unsigned + part
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=True)
        except EnvironmentError as error:
            fail("host", "rpmkeys: %s" % error)
        said = process.communicate()[0]
        if process.returncode != 0:
            wrong = [line.strip() for line in said.splitlines() if " OK" not in line or "NOT OK" in line]
            fail("trust", "packages do not verify, they are not as they were signed: %s" % "; ".join(line.rsplit("/", 1)[-1] for line in wrong[:20]))


def transact(request, incoming, going, flags, filters):
    """Imports the keys, checks all packages, tries the transaction, and runs it."""
    keys = rpm.TransactionSet(request["installroot"])
    import_keys(keys, request)
    # rpm locks its database: the set that wrote the keys must let go of it first.
    keys.closeDB()
    check_all(request, [package.path for package in incoming])
    transaction_set = rpm.TransactionSet(request["installroot"])
    transaction_set.setVSFlags(0)
    for package in incoming:
        if request["signatures"]:
            check_signature(transaction_set, package.path)
        transaction_set.addInstall(header(transaction_set, package.path), package, "u" if package.upgrade else "i")
    for instance in going:
        transaction_set.addErase(instance)
    known = {"nodocs": rpm.RPMTRANS_FLAG_NODOCS, "justdb": rpm.RPMTRANS_FLAG_JUSTDB}
    chosen = sum(known[flag] for flag in flags)
    # rpm would refuse what this machine's processor cannot run by itself; yum has chosen the architecture.
    probable = rpm.RPMPROB_FILTER_IGNOREARCH if request["arch"] else 0
    for flag in filters:
        probable |= flag
    transaction_set.setProbFilter(probable)
    transaction_set.check()
    refuse([str(problem) for problem in transaction_set.problems()])
    transaction_set.order()
    callback = Transaction(transaction_set, len(incoming) + len(going))
    transaction_set.setFlags(chosen | rpm.RPMTRANS_FLAG_TEST)
    tried = transaction_set.run(callback, "")
    refuse([problem[0] for problem in tried or []])
    transaction_set.setFlags(chosen)
    done = transaction_set.run(callback, "")
    callback.close()
    removed = going_out(transaction_set)
    transaction_set.closeDB()
    refuse([problem[0] for problem in done or []])
    # An empty list says that something failed; what only warns is for the verdict.
    if callback.broken:
        fail("transaction", "packages failed to install: %s" % ", ".join(sorted(set(callback.broken))))
    return removed


def going_out(transaction_set):
    """Everything that the transaction takes away, upgraded packages too."""
    return sorted("%s-%s:%s-%s.%s" % (element.N(), element.E() or 0, element.V(), element.R(), element.A())
                  for element in transaction_set if element.Type() == TR_REMOVED)


def refuse(problems):
    if problems:
        fail("transaction", "\n".join(problems))
