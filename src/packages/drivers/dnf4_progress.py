# The part of dnf 4's driver that reports the progress of downloads and transactions.
from driver import fail, send
from failures import DownloadErrors

try:
    import dnf.callback
    import dnf.transaction
except ImportError as error:
    fail("host", error)


class Download(dnf.callback.DownloadProgress):
    """The bytes of all files together, and the end of each file."""

    def __init__(self):
        self.files = self.size = self.ended = self.failed = 0
        self.parts, self.errors = {}, DownloadErrors()

    def start(self, total_files, total_size, total_drpms=0):
        self.files, self.size, self.ended, self.parts = total_files, total_size, 0, {}

    def progress(self, payload, done):
        self.parts[str(payload)] = done
        send("download", done=sum(self.parts.values()), total=self.size, item=str(payload))

    def end(self, payload, status, msg):
        if status == dnf.callback.STATUS_OK or status == dnf.callback.STATUS_ALREADY_EXISTS:
            self.parts[str(payload)] = payload.download_size
            self.errors.arrived(str(payload))
        if status == dnf.callback.STATUS_MIRROR:
            send("retry", item=str(payload), message=str(msg or ""))
            self.errors.failed(str(payload), msg)
            return
        self.ended += 1
        if status == dnf.callback.STATUS_FAILED:
            send("retry", item=str(payload), message=str(msg or "failed"))
        send(
            "download",
            done=sum(self.parts.values()),
            total=self.size,
            item=str(payload),
            files=self.ended,
            of=self.files,
        )


class Transaction(dnf.callback.TransactionProgress):
    """Packages as they are unpacked, running scriptlets, and their output."""

    def __init__(self):
        super().__init__()
        self.last = None

    def progress(self, package, action, ti_done, ti_total, ts_done, ts_total):
        if action == dnf.transaction.PKG_SCRIPTLET:
            send("scriptlet", package=str(package))
        elif action == dnf.transaction.TRANS_POST:
            send("posttrans")
        elif (
            package and action != dnf.transaction.PKG_VERIFY and self.last != (str(package), action)
        ):
            self.last = (str(package), action)
            send("package", package=str(package), index=ts_done, total=ts_total)

    def scriptout(self, msgs):
        text = msgs.decode("utf-8", "replace") if isinstance(msgs, bytes) else msgs or ""
        for line in text.splitlines():
            send("output", line=line[:4000])

    def error(self, message):
        send("scriptlet-failed", message=str(message))

    def verify_tsi_package(self, pkg, count, total):
        pass
