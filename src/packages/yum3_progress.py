# The part of yum 3's driver that listens: downloads and transactions, told as they go.
import os
import re
import sys
import tempfile

from driver import fail, tell

try:
    import rpm
    from urlgrabber.progress import BaseMeter
except ImportError as error:
    fail("host", error)


def known(error, url=""):
    """An error of the network in the words of the library that dnf uses, which osimg knows."""
    text = re.sub(r"HTTP Error (\d+)[^\"]*", lambda match: "Status code: %s for %s" % (match.group(1), url), str(error))
    text = re.sub(r"curl#(\d+)", r"Curl error (\1)", text)
    return text.replace("Could not open/read file://", "Couldn't read a file://")


class Heard(object):
    """What became of each address; yum's own errors say merely that none was left."""

    def __init__(self):
        self.reasons = set()

    def __call__(self, failure):
        url = str(getattr(failure, "url", None) or "%s/%s" % (getattr(failure, "mirror", ""), getattr(failure, "relative_url", "")))
        text = known(failure.exception, url)
        self.reasons.add(text if url in text else "%s for %s" % (text, url))
        tell("retry", item=os.path.basename(url), message=text)
        return {}  # later releases of yum merge it with their own choice of what to do about the mirror

    def told(self, error):
        text = known(error)
        return "\n  - ".join([text] + sorted(reason for reason in self.reasons if reason not in text))


class Meter(BaseMeter):
    """Bytes of all files together, and each file as it ends."""

    def __init__(self, files, size):
        BaseMeter.__init__(self)
        self.files, self.size, self.ended, self.before, self.now_done, self.item = files, size, 0, 0, 0, ""

    def start(self, filename=None, url=None, basename=None, size=None, now=None, text=None):
        self.item, self.now_done = str(basename or filename or ""), 0
        self.told()

    def update(self, amount_read, now=None):
        self.now_done = amount_read
        self.told()

    def end(self, amount_read, now=None):
        self.before += amount_read
        self.now_done = 0
        self.ended += 1
        self.told()

    def told(self):
        tell("download", done=int(self.before + self.now_done), total=self.size, item=os.path.basename(self.item), files=self.ended, of=self.files)


class Transaction(object):
    """Packages as they are unpacked, scriptlets as they run, and what they say."""

    def __init__(self, transaction_set, count):
        self.count, self.done = count, 0
        self.open, self.broken, self.rest = None, [], ""
        self.said = tempfile.NamedTemporaryFile(dir="/var/tmp")
        self.writer = open(self.said.name, "ab", 0)
        transaction_set.scriptFd = self.writer.fileno()
        rpm.setVerbosity(rpm.RPMLOG_INFO)  # with less rpm sends what scriptlets say to /dev/null
        rpm.setLogFile(self.writer)
        # Known by no name before rpm 4.10.
        self.script_start, self.script_error = getattr(rpm, "RPMCALLBACK_SCRIPT_START", -1), getattr(rpm, "RPMCALLBACK_SCRIPT_ERROR", -1)

    def __call__(self, what, amount, total, key, data):
        name = key.name if hasattr(key, "name") else str(key or "")
        if what == rpm.RPMCALLBACK_INST_OPEN_FILE:
            self.open = os.open(key.path, os.O_RDONLY)
            return self.open
        self.output()
        if what == rpm.RPMCALLBACK_INST_CLOSE_FILE:
            os.close(self.open)
        elif what in (rpm.RPMCALLBACK_INST_START, rpm.RPMCALLBACK_UNINST_START):
            self.done += 1
            tell("package", package=name, index=self.done, total=self.count)
        elif what == self.script_start:
            tell("scriptlet", package=name)
        elif what == self.script_error:
            message = "Error in %s scriptlet in rpm package %s" % (str(rpm.tagnames.get(amount, "unknown")).upper(), name)
            tell("scriptlet-failed", message=message)
            if total:
                self.broken.append(name)
        elif what in (rpm.RPMCALLBACK_UNPACK_ERROR, rpm.RPMCALLBACK_CPIO_ERROR):
            self.broken.append(name)

    def output(self, last=False):
        """Tells the lines that rpm and scriptlets have printed since."""
        lines = (self.rest + self.said.read()).split("\n")
        self.rest = lines.pop()
        if last and self.rest:
            lines.append(self.rest)
        for line in lines:
            tell("output", line=line[:4000].decode("utf-8", "replace"))

    def close(self):
        self.output(True)
        rpm.setLogFile(sys.stderr)
        self.writer.close()
