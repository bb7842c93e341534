# Failures of downloads, metadata and rpm, with the kind that determines osimg's exit status. Where
# the libraries have typed exceptions, those are used. librepo and rpm often provide only text; all
# matching of such text is in this file.
import re

from driver import fail

# The kinds of failed downloads. If addresses fail in different ways, the first kind in this list
# counts: failures that may pass come before those that only another repository can fix.
KINDS = (
    "cache-full",
    "network",
    "certificate",
    "refused",
    "unsigned-metadata",
    "checksum",
    "no-repository",
    "gone",
)
# curl's error codes: https://curl.se/libcurl/c/libcurl-errors.html
CURL = {
    "23": "cache-full",
    "51": "certificate",
    "58": "certificate",
    "60": "certificate",
    "77": "certificate",
    "83": "certificate",
    "37": "gone",
    "78": "gone",
}
STATUS = {"401": "refused", "403": "refused", "407": "refused", "404": "gone", "410": "gone"}


class DownloadErrors:
    """The reasons of failed downloads, by file. They are dropped if the file arrives after all."""

    def __init__(self):
        self.reasons = {}

    def failed(self, item, reason):
        self.reasons.setdefault(item, set()).add(str(reason or "failed"))

    def arrived(self, item):
        self.reasons.pop(item, None)

    def texts(self):
        return sorted(set().union(*self.reasons.values()))


def kind_of_download(text):
    """The kind of one failed download, from librepo's text; empty if the text is not about a
    download."""
    if "No space left on device" in text:
        return "cache-full"
    if "checksum doesn't match" in text:
        return "checksum"
    found = re.search(r"Status code: (\d+) for (\S+)", text)
    curl = re.search(r"Curl error \((\d+)\)", text)
    if not found and not curl:
        return None
    kind = STATUS.get(found.group(1), "network") if found else CURL.get(curl.group(1), "network")
    if kind == "gone" and re.search(r"repomd\.xml\.asc\b", text):
        return "unsigned-metadata"
    # Without an index there is no repository.
    return "no-repository" if kind == "gone" and re.search(r"repomd\.xml\b", text) else kind


def fail_download(error, errors, otherwise="network"):
    """Fails for files that were not downloaded, with the error of each address."""
    output = "\n  - ".join(
        [str(error)] + [text for text in errors.texts() if text not in str(error)]
    )
    found = {kind_of_download(text) for text in errors.texts() or [str(error)]}
    kind = next((kind for kind in KINDS if kind in found), otherwise)
    fail(kind, output, retry_after=retry_after(output) if kind == "network" else None)


def fail_metadata(error, errors):
    """Fails for metadata that were not downloaded or cannot be read."""
    if "GPG signature verification" in str(error):
        fail("unsigned-metadata", error)
    fail_download(error, errors, otherwise="metadata")


def retry_after(message):
    """The seconds that a busy server asks to wait; dnf's libraries do not pass on its answer."""
    found = re.search(r"Status code: (?:429|503) for (https?://[^ ]+)", message)
    if not found:
        return None
    import calendar
    import email.utils
    import time
    from urllib.request import Request, urlopen

    try:
        urlopen(Request(found.group(1), method="HEAD"), timeout=10).close()
    except OSError as answer:
        headers = getattr(answer, "headers", None)
        value = ((headers and headers.get("Retry-After")) or "").strip()
        if value.isdigit():
            return int(value)
        date = email.utils.parsedate(value) if value.endswith("GMT") else None
        return max(0, int(calendar.timegm(date) - time.time())) if date else None
    return None


# Phrases of rpm, for libdnf5, which passes on only text.
RPM = (
    (
        "no-space",
        (
            "disk is full",
            "No space left",
            "more space needed",
            "needs more inodes",
            "more space",
            "more inodes",
        ),
    ),
    ("damaged-package", ("digest: BAD", "Problem occurred when opening the package")),
    ("unsigned-package", ("does not verify", "NOKEY", "signature", "OpenPGP check")),
)


def fail_rpm(output, kinds=()):
    """Fails for rpm. `kinds` are the types of its problems; without any, its text decides."""
    found = list(kinds) or [
        kind for kind, words in RPM if any(word in str(output) for word in words)
    ]
    fail(found[0] if found else "transaction", output)


def record_rpm_problems(rpm, transaction_set):
    """Records the types of rpm's problems; dnf 4 passes on only their text."""
    kinds, run = [], transaction_set.run

    def recorded(*words):
        problems = run(*words)
        for text, (number, _, _) in problems or []:
            if number in (rpm.RPMPROB_DISKSPACE, rpm.RPMPROB_DISKNODES):
                kinds.append("no-space")
            # For signatures and digests, only rpm's text shows which of them is wrong.
            elif number == rpm.RPMPROB_VERIFY:
                kinds.append("damaged-package" if "digest: BAD" in text else "unsigned-package")
            else:
                kinds.append("transaction")
        return problems

    transaction_set.run = recorded
    return kinds
