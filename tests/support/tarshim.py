#!/usr/bin/env python3
"""Replaces `tar` in GNU tar's own tests. A call that creates an archive which `osimg pack` can
write goes to osimg. Every other call goes to GNU tar. Environment: SHIM_OSIMG and SHIM_TAR (the
programs), SHIM_STAGE (a directory on the tests' file system), SHIM_LOG (one line per creation).

osimg packs whole trees with names that begin with `./`. So the named files are linked into a
stage, and the stage is packed. Only two things in the archive are changed: members that were not
requested (the stage itself, directories above the files) are removed, and the two bytes `./` are
removed from the names.
"""
import itertools
import mmap
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile

# Options without effect for osimg: it keeps all attributes and detects holes anyway.
EXPRESSED = {
    "--xattrs",
    "--acls",
    "--selinux",
    "--sparse",
    "--posix",
    "--format=posix",
    "--format=pax",
    "--sparse-version=1.0",
    "--sort=name",
    "--numeric-owner",
    "--preserve-permissions",
    "--hole-detection=raw",
    "--hole-detection=seek",
}


class GnuOnly(Exception):
    """Why osimg cannot replace tar in this call."""


def creation(argv):
    """(archive, directory, names, record length) of a call that creates an archive, else None.

    GnuOnly if osimg lacks an option.
    """
    if not argv:
        return None
    first = argv[0]
    words = (["-" + first] if re.fullmatch(r"[A-Za-z]+", first) else [first]) + argv[1:]
    bundled = len(first) > 0 and not first.startswith("-")
    # Find out whether it creates an archive before reasons why osimg cannot.
    clusters = [w for w in words if re.fullmatch(r"-[A-Za-z]+", w)]
    if (
        not any(
            "c" in re.split("[CfTXgKNVbLFI]", w, maxsplit=1)[0]
            or (bundled and w == words[0] and "c" in w)
            for w in clusters
        )
        and "--create" not in words
    ):
        return None
    archive, directory, names, record = None, ".", [], 10240
    style = (os.environ.get("TAR_OPTIONS") or "").split()
    format = style[style.index("-H") + 1] if "-H" in style else None
    if [word for word in style if word not in ("-H", format) and word not in EXPRESSED]:
        raise GnuOnly("TAR_OPTIONS " + " ".join(style))
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--create" or word in EXPRESSED:
            continue
        if word.startswith("--file="):
            archive = word[7:]
        elif word.startswith("--warning="):
            continue
        elif word in ("--file", "--directory", "--format"):
            value = queue.pop(0)
            if word == "--file":
                archive = value
            elif word == "--directory":
                directory = os.path.join(directory, value)
            else:
                format = value
        elif word.startswith("--format="):
            format = word[9:]
        elif word.startswith("--"):
            raise GnuOnly(word.split("=")[0])
        elif word.startswith("-") and word != "-":
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter in "cpSP":
                    continue
                if letter in "fCHb":
                    # In a bundle without a dash the values follow as separate words.
                    value, letters = (
                        (queue.pop(0), letters)
                        if not letters or (bundled and word == words[0])
                        else (letters, "")
                    )
                    if letter == "f":
                        archive = value
                    elif letter == "H":
                        format = value
                    elif letter == "b":
                        record = 512 * int(value)
                    elif names:
                        raise GnuOnly("-C between names")
                    else:
                        directory = os.path.join(directory, value)
                else:
                    raise GnuOnly("-" + letter)
        else:
            names.append(word)
    # Test groups about the limits of a format expect these calls to be refused.
    if (
        format == "v7"
        or format == "ustar"
        and any(len(name) > 99 for name in names)
        or format == "gnu"
        and "--acls" in words
    ):
        raise GnuOnly("format " + format)
    if archive is None or archive == "/dev/null" or ":" in archive:
        raise GnuOnly("archive " + str(archive))
    if not names:
        raise GnuOnly("no names")
    for name in names:
        parts = name.rstrip("/").split("/")
        if name.startswith("/") or ".." in parts or ("." in parts and names != ["."]):
            raise GnuOnly("name " + name)
        if not os.path.lexists(os.path.join(directory, name)):
            raise GnuOnly("a missing file")
    plain = [os.fsencode(name.rstrip("/")) for name in names]
    if len(set(plain)) != len(plain):
        raise GnuOnly("a name twice")
    if plain != sorted(plain) and any(
        has_links(os.path.join(os.fsencode(directory), name)) for name in plain
    ):
        raise GnuOnly("hard links in another order than that of the bytes")
    if os.path.realpath(archive).startswith(os.path.realpath(directory) + "/") and names == ["."]:
        raise GnuOnly("an archive inside the tree")
    return archive, directory, plain, record


def has_links(path):
    """Whether a file at or below the path has hard links."""
    def more(path):
        about = os.lstat(path)
        return about.st_nlink > 1 and not stat.S_ISDIR(about.st_mode)

    return more(path) or any(
        more(os.path.join(top, file)) for top, _, files in os.walk(path) for file in files
    )


def rewritten(data, names):
    """The parts of the archive with only the requested members and without `./`.

    The content of a large file comes in pieces.
    """
    at = 0

    def cut(name):
        return name[2:] if name.startswith(b"./") else name

    def wanted(name):
        name = cut(name).rstrip(b"/")
        return any(name == n or name.startswith(n + b"/") for n in names)

    def text(field):
        return field.split(b"\0")[0]

    while data[at:at + 512] != bytes(512):
        begin, records = at, {}
        if data[at + 156:at + 157] == b"x":
            size = int(text(data[at + 124:at + 136]), 8)
            rest = data[at + 512:at + 512 + size]
            while rest:
                length = int(rest.split(b" ", 1)[0])
                key, value = rest[:length - 1].split(b" ", 1)[1].split(b"=", 1)
                records[key] = value
                rest = rest[length:]
            extended = bytearray(data[at:at + 512])
            at += 512 + (size + 511) // 512 * 512
        header = bytearray(data[at:at + 512])
        kind = header[156:157]
        size = (
            int(records[b"size"]) if b"size" in records else int(text(header[124:136]) or b"0", 8)
        )
        body = at + 512
        at = body + (size + 511) // 512 * 512
        prefix, short = text(header[345:500]), text(header[0:100])
        name = (
            records.get(b"GNU.sparse.name")
            or records.get(b"path")
            or (prefix + b"/" + short if prefix else short)
        )
        if names == [b"."]:
            yield from pieces(data, begin, at)
            continue
        if not wanted(name):
            continue
        for key in (b"path", b"GNU.sparse.name") + ((b"linkpath",) if kind == b"1" else ()):
            if key in records:
                records[key] = cut(records[key])
        if prefix == b".":
            header[345:500] = bytes(155)
        elif prefix.startswith(b"./"):
            header[345:500] = cut(prefix).ljust(155, b"\0")
        else:
            header[0:100] = cut(short).ljust(100, b"\0")
        if kind == b"1":
            header[157:257] = cut(text(header[157:257])).ljust(100, b"\0")
        if records:
            lines = b""
            for key, value in records.items():
                bare = len(key) + len(value) + 3
                length = bare + 1
                while len(str(length)) + bare != length:
                    length = bare + len(str(length))
                lines += b"%d %s=%s\n" % (length, key, value)
            extended[124:136] = b"%011o\0" % len(lines)
            yield summed(extended) + lines.ljust((len(lines) + 511) // 512 * 512, b"\0")
        yield summed(header)
        yield from pieces(data, body, at)


def pieces(data, start, end):
    for at in range(start, end, 1 << 20):
        yield data[at:min(at + (1 << 20), end)]


def summed(header):
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return header


def packed(directory, names):
    """The parts of the archive that `osimg pack` makes of the names, in byte order, without end.

    Exits with osimg's exit code if it fails.
    """
    with tempfile.TemporaryDirectory(
        prefix="stage-", dir=os.environ["SHIM_STAGE"], ignore_cleanup_errors=True
    ) as stage:
        tree, made = directory, os.path.join(stage, "made.tar")
        if names != [b"."]:
            tree = os.path.join(stage, "tree")
            os.mkdir(tree)
            for name in names:
                target = os.path.join(os.fsencode(tree), name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                subprocess.run(
                    ["cp", "-al", "--", os.path.join(os.fsencode(directory), name), target],
                    check=True,
                )
        command = [
            os.environ["SHIM_OSIMG"],
            "pack",
            "-q",
            "--selinux",
            "from-tree",
            "--level",
            "fast",
            tree,
            "-o",
            made,
        ]
        code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
        if code != 0:
            sys.exit(code)
        with open(made, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield from rewritten(data, names)


def pack(archive, directory, names, record):
    # Names that are not sorted are packed as separate archives, one after the other.
    groups = [names] if names == sorted(names) else [[name] for name in names]
    parts = (part for group in groups for part in packed(directory, group))
    first = next(parts)
    length = 0
    with sys.stdout.buffer if archive == "-" else open(archive, "wb") as file:
        for part in itertools.chain([first], parts):
            file.write(part)
            length += len(part)
        file.write(bytes(1024 + -(length + 1024) % record))


def main():
    argv = sys.argv[1:]
    # Python ignores the signal, and programs that it starts would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        asked = creation(argv)
        entry = "osimg" if asked else None
    except GnuOnly as why:
        asked, entry = None, f"gnu\t{why}"
    if entry:
        with open(os.environ["SHIM_LOG"], "a") as log:
            log.write(f"{os.getcwd()}\t{entry}\t{' '.join(argv)}\n")
    if asked:
        pack(*asked)
        return
    os.execv(os.environ["SHIM_TAR"], ["tar"] + argv)


if __name__ == "__main__":
    main()
