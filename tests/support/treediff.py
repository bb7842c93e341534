#!/usr/bin/env python3
"""treediff.py A B [--ignore FIELD,...] [--json]

Compares two trees completely: presence, type, mode with all 12 bits, owner, size, content,
modification time to the nanosecond, hard links, device numbers, link targets, every extended
attribute as raw bytes (including ACLs as the kernel stores them), and the layout of holes.
Prints a line, or a JSON object, for each difference. Exit status: 0 no differences,
1 differences, 2 error. Uses directory descriptors: paths can have any length and bytes.

Fields to ignore: mode uid gid size content target rdev sparse link mtime dirmtime socket root.
"""
import argparse, collections, errno, hashlib, json, os, stat, struct, sys
ap = argparse.ArgumentParser()
ap.add_argument("a")
ap.add_argument("b")
ap.add_argument("--ignore", default="")
ap.add_argument("--json", action="store_true")
O = ap.parse_args(); IGN = set(O.ignore.split(",")) - {""}
BLK = 4096
ZERO = b"\0" * BLK

def data_extents(fd, size):
    out, off = [], 0
    while off < size:
        try: s = os.lseek(fd, off, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO: break
            raise
        e = os.lseek(fd, s, os.SEEK_HOLE); out.append((s, min(e, size))); off = e
    return out

def content(fd, size, ext):
    """Hash of the logical content: (offset, block) of every block that is not all zero"""
    h = hashlib.sha256()
    for s, e in ext:
        off = s - s % BLK
        while off < e:
            b = os.pread(fd, min(1 << 20, -(-e // BLK) * BLK - off), off)
            if not b: break
            for i in range(0, len(b), BLK):
                c = b[i:i + BLK]
                if c != ZERO[:len(c)]: h.update(struct.pack("<QI", off + i, len(c)) + c)
            off += len(b)
    return h.hexdigest()[:32]

def xattrs(dirfd, name):
    pth = b"/proc/self/fd/%d/" % dirfd + name if name else b"/proc/self/fd/%d" % dirfd
    fs = bool(not name)
    out = {}
    try: names = os.listxattr(pth, follow_symlinks=fs)
    except OSError as e: return {"!list": e.errno}
    for n in names:
        nb = os.fsencode(n)
        try: out[nb] = os.getxattr(pth, nb, follow_symlinks=fs)
        except OSError as e: out[nb] = b"!errno %d" % e.errno
    return out

TYPES = {
    stat.S_IFREG: "reg",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "sym",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "sock",
    stat.S_IFCHR: "chr",
    stat.S_IFBLK: "blk",
}


def scan(root):
    ents, links = {}, collections.defaultdict(list)
    def one(dirfd, name, rel, st):
        t = TYPES[stat.S_IFMT(st.st_mode)]
        e = {
            "type": t,
            "mode": "%04o" % stat.S_IMODE(st.st_mode),
            "uid": st.st_uid,
            "gid": st.st_gid,
            "mtime": st.st_mtime_ns,
        }
        if t == "sym": e["target"] = os.readlink(name, dir_fd=dirfd)
        if t in ("chr", "blk"): e["rdev"] = "%d:%d" % (os.major(st.st_rdev), os.minor(st.st_rdev))
        e["xattr"] = xattrs(dirfd, name)
        if t != "dir" and st.st_nlink > 1: links[(st.st_dev, st.st_ino)].append(rel)
        if t in ("reg", "dir"):
            fd = os.open(name or b".", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=dirfd)
            try:
                if t == "reg":
                    e["size"] = st.st_size
                    ext = data_extents(fd, st.st_size)
                    e["sparse"] = ext if ext != [(0, st.st_size)] else []
                    if not st.st_size: e["sparse"] = []
                    if ext == [] and st.st_size: e["sparse"] = "all-hole"
                    e["content"] = content(fd, st.st_size, ext)
            finally: os.close(fd)
        ents[rel] = e
    def walk(fd, rel):
        for n in sorted(os.fsencode(x) for x in os.listdir(fd)):
            st = os.stat(n, dir_fd=fd, follow_symlinks=False); r = rel + b"/" + n if rel else n
            one(fd, n, r, st)
            if stat.S_ISDIR(st.st_mode):
                c = os.open(n, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                try: walk(c, r)
                finally: os.close(c)
    sys.setrecursionlimit(10000)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    one(fd, b"", b"", os.fstat(fd)); walk(fd, b""); os.close(fd)
    for g in links.values():
        g.sort()
        if len(g) < 2: continue
        for x in g: ents[x]["link"] = g
    return ents

def show(v):
    if isinstance(v, bytes):
        return v[:60].decode("utf-8", "backslashreplace").encode("unicode_escape").decode() + (
            "...(%d bytes)" % len(v) if len(v) > 60 else ""
        )
    if isinstance(v, list):
        return (
            "["
            + ",".join(show(x) if isinstance(x, bytes) else str(x) for x in v[:4])
            + (",...%d" % len(v) if len(v) > 4 else "")
            + "]"
        )
    return str(v)
NF = collections.Counter(); bad = False
def diff(rel, field, a, b):
    global bad; bad = True
    NF[field] += 1
    if O.json:
        print(
            json.dumps({"path": rel.decode("latin1"), "field": field, "a": show(a), "b": show(b)})
        )
    else:
        pth = (
            show(rel)
            if len(rel) < 120
            else rel[:50].decode("utf-8", "backslashreplace")
            + "..(%d).." % len(rel)
            + rel[-30:].decode("utf-8", "backslashreplace")
        )
        print("%-9s %s: %s -> %s" % (field, pth, show(a), show(b)))
try: ea, eb = scan(os.fsencode(O.a)), scan(os.fsencode(O.b))
except OSError as e: print("treediff: %s" % e, file=sys.stderr); sys.exit(2)
for rel in sorted(set(ea) | set(eb)):
    if rel == b"" and "root" in IGN: continue
    x, y = ea.get(rel), eb.get(rel)
    if x is None: diff(rel, "extra", None, y["type"]); continue
    if y is None:
        if x["type"] == "sock" and "socket" in IGN: continue
        diff(rel, "missing", x["type"], None); continue
    if x["type"] != y["type"]: diff(rel, "type", x["type"], y["type"]); continue
    for f in ("mode", "uid", "gid", "size", "content", "target", "rdev", "sparse", "link"):
        if f in IGN: continue
        if x.get(f) != y.get(f): diff(rel, f, x.get(f), y.get(f))
    if (
        x["mtime"] != y["mtime"]
        and "mtime" not in IGN
        and not (x["type"] == "dir" and "dirmtime" in IGN)
    ):
        diff(rel, "mtime", x["mtime"], y["mtime"])
    for n in sorted(set(x["xattr"]) | set(y["xattr"]), key=str):
        va, vb = x["xattr"].get(n), y["xattr"].get(n)
        if va == vb: continue
        nn = n if isinstance(n, bytes) else str(n).encode()
        fam = {
            b"security.selinux": "selinux",
            b"security.capability": "caps",
            b"system.posix_acl_access": "acl",
            b"system.posix_acl_default": "dacl",
        }.get(nn) or "x:" + nn.split(b".")[0].decode("latin1")
        diff(
            rel,
            fam,
            nn + b"=" + (va if va is not None else b"(none)"),
            vb if vb is not None else b"(none)",
        )
print(
    "treediff: %d entries / %d entries, %d differences: %s"
    % (
        len(ea),
        len(eb),
        sum(NF.values()),
        ", ".join("%s %d" % kv for kv in sorted(NF.items())) or "none",
    ),
    file=sys.stderr,
)
sys.exit(1 if bad else 0)
