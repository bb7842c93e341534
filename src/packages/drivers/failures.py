# Failures of downloads, metadata and rpm: each gets the kind that decides osimg's exit status. The libraries give exceptions with
# types where they can. Where librepo and rpm give only text, the words that tell the kinds apart are here and nowhere else.
import re

from driver import fail

# Kinds of failed downloads. The first of them that any address has is the kind of the whole: what waiting may help goes before
# what only another repository helps.
KINDS = ("cache-full", "network", "certificate", "refused", "unsigned-metadata", "checksum", "no-repository", "gone")
# curl's numbers: https://curl.se/libcurl/c/libcurl-errors.html
CURL = {"23": "cache-full", "51": "certificate", "58": "certificate", "60": "certificate", "77": "certificate", "83": "certificate",
        "37": "gone", "78": "gone"}
STATUS = {"401": "refused", "403": "refused", "407": "refused", "404": "gone", "410": "gone"}


class Heard:
    """The reasons why downloads failed, by file. A file that came in the end has no reasons left."""

    def __init__(self):
        self.reasons = {}

    def failed(self, item, reason):
        self.reasons.setdefault(item, set()).add(str(reason or "failed"))

    def came(self, item):
        self.reasons.pop(item, None)

    def texts(self):
        return sorted(set().union(*self.reasons.values()))


def kind_of_download(text):
    """The kind of one failed download, by librepo's words; nothing for what is not about a download."""
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


def fail_download(error, heard, otherwise="network"):
    """Gives up over files that did not come, with what became of each address."""
    said = "\n  - ".join([str(error)] + [text for text in heard.texts() if text not in str(error)])
    found = {kind_of_download(text) for text in heard.texts() or [str(error)]}
    kind = next((kind for kind in KINDS if kind in found), otherwise)
    fail(kind, said, retry_after=retry_after(said) if kind == "network" else None)


def fail_metadata(error, heard):
    """Gives up over metadata: they did not come, or they came and cannot be read."""
    if "GPG signature verification" in str(error):
        fail("unsigned-metadata", error)
    fail_download(error, heard, otherwise="metadata")


def retry_after(message):
    """Seconds that a busy server asks to be left alone for; dnf's libraries keep its answer to themselves."""
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


# rpm's words, for libdnf5, which passes on only those.
RPM = (("no-space", ("disk is full", "No space left", "more space needed", "needs more inodes", "more space", "more inodes")),
       ("damaged-package", ("digest: BAD", "Problem occurred when opening the package")),
       ("unsigned-package", ("does not verify", "NOKEY", "signature", "OpenPGP check")))


def fail_rpm(said, kinds=()):
    """Gives up over rpm. `kinds` are those of its problems' own types; its words decide where there are none."""
    found = list(kinds) or [kind for kind, words in RPM if any(word in str(said) for word in words)]
    fail(found[0] if found else "transaction", said)


def listen_to_rpm(rpm, transaction_set):
    """Keeps the kinds of the problems that rpm finds, of which dnf 4 passes on only the words."""
    kinds, run = [], transaction_set.run

    def heard(*words):
        problems = run(*words)
        for text, (number, _, _) in problems or []:
            if number in (rpm.RPMPROB_DISKSPACE, rpm.RPMPROB_DISKNODES):
                kinds.append("no-space")
            # Of a signature and of a digest rpm says only by words which of them does not hold.
            elif number == rpm.RPMPROB_VERIFY:
                kinds.append("damaged-package" if "digest: BAD" in text else "unsigned-package")
            else:
                kinds.append("transaction")
        return problems

    transaction_set.run = heard
    return kinds
