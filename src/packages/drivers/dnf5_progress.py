# The part of dnf 5's driver that reports the progress of downloads and transactions.
from driver import fail, send
from failures import DownloadErrors

try:
    import libdnf5.repo
    import libdnf5.rpm
except ImportError as error:
    fail("host", error)

# rpm's names for libdnf5's types of scriptlets: messages are the same for both versions of dnf.
CALLBACKS = libdnf5.rpm.TransactionCallbacks
SCRIPTLETS = {
    CALLBACKS.ScriptType_PRE_INSTALL: "PREIN",
    CALLBACKS.ScriptType_POST_INSTALL: "POSTIN",
    CALLBACKS.ScriptType_PRE_UNINSTALL: "PREUN",
    CALLBACKS.ScriptType_POST_UNINSTALL: "POSTUN",
    CALLBACKS.ScriptType_PRE_TRANSACTION: "PRETRANS",
    CALLBACKS.ScriptType_POST_TRANSACTION: "POSTTRANS",
    CALLBACKS.ScriptType_TRIGGER_PRE_INSTALL: "TRIGGERPREIN",
    CALLBACKS.ScriptType_TRIGGER_INSTALL: "TRIGGERIN",
    CALLBACKS.ScriptType_TRIGGER_UNINSTALL: "TRIGGERUN",
    CALLBACKS.ScriptType_TRIGGER_POST_UNINSTALL: "TRIGGERPOSTUN",
    CALLBACKS.ScriptType_SYSUSERS: "SYSUSERS",
}
RPMRC_FAIL = 2


class Download(libdnf5.repo.DownloadCallbacks):
    """The bytes of all files together, and the end of each file."""

    def __init__(self):
        super().__init__()
        self.size, self.names, self.parts, self.ended, self.files, self.errors = (
            0,
            [],
            [],
            0,
            0,
            DownloadErrors(),
        )

    def begin(self, packages):
        self.size, self.files, self.ended = (
            sum(package.get_download_size() for package in packages),
            len(packages),
            0,
        )
        self.names, self.parts = [], []

    def report(self, index):
        if self.files:  # the size of metadata is not known in advance
            send(
                "download",
                done=int(sum(self.parts)),
                total=self.size,
                item=self.names[index],
                files=self.ended,
                of=self.files,
            )

    def add_new_download(self, user_data, description, total_to_download):
        self.names.append(description or "")
        self.parts.append(0)
        return len(self.names) - 1

    def progress(self, index, total_to_download, downloaded):
        self.parts[index] = downloaded
        self.report(index)
        return 0

    def end(self, index, status, message):
        if status == libdnf5.repo.DownloadCallbacks.TransferStatus_ERROR:
            send("retry", item=self.names[index], message=message or "failed")
        else:
            self.errors.arrived(self.names[index])
        self.ended += 1
        self.report(index)
        return 0

    def mirror_failure(self, index, message, url, metadata):
        self.errors.failed(self.names[index], "%s: %s" % (url, message) if url else message)
        send("retry", item=self.names[index], message=message or "failed")
        return 0


class Transaction(libdnf5.rpm.TransactionCallbacks):
    """Packages as they are unpacked, running scriptlets, and their output."""

    def __init__(self, transaction):
        super().__init__()
        self.transaction = transaction
        self.warned, self.broken = [], []

    def elem_progress(self, item, amount, total):
        send("package", package=item.get_package().get_nevra(), index=amount + 1, total=total)

    def script_start(self, item, nevra, kind):
        if kind == CALLBACKS.ScriptType_POST_TRANSACTION:
            send("posttrans")
        send(
            "scriptlet",
            package="%s-%s-%s.%s"
            % (nevra.get_name(), nevra.get_version(), nevra.get_release(), nevra.get_arch()),
        )

    def script_stop(self, item, nevra, kind, return_code):
        for line in self.transaction.get_last_script_output().splitlines():
            send("output", line=line[:4000])
        if return_code != 0:
            message = "Error in %s scriptlet in rpm package %s" % (
                SCRIPTLETS.get(kind, "UNKNOWN"),
                nevra.get_name(),
            )
            if return_code == RPMRC_FAIL:
                self.broken.append(message)
            else:
                self.warned.append(message)
            send("scriptlet-failed", message=message)

    def unpack_error(self, item):
        self.broken.append("unpacking of %s failed" % item.get_package().get_nevra())
