#!/usr/bin/env python3
"""hardtree.py TREE [--no-big] [--deep]

Makes a tree of every hard case that an archiver of OS trees must handle: types, modes, owners,
names, times, hard links, holes, extended attributes, ACLs, large directories. Needs root and
setfacl.

Every case is tried separately. If the file system or the kernel refuses one, it is printed as
SKIP with the reason, so that no case is missing silently.
"""
import argparse, errno, os, socket, stat, struct, subprocess, sys

ap = argparse.ArgumentParser()
ap.add_argument("tree")
ap.add_argument("--no-big", action="store_true", help="no files of 8 GiB or more (sparse)")
ap.add_argument("--deep", action="store_true", help="also a path longer than PATH_MAX")
A = ap.parse_args()
if os.geteuid() != 0:
    sys.exit("hardtree.py: needs root")
os.umask(0o022)
ROOT = os.fsencode(os.path.abspath(A.tree))
os.makedirs(ROOT, exist_ok=True)
made, skipped, late = [], [], []

def p(*c):
    return b"/".join((ROOT,) + tuple(os.fsencode(x) for x in c))

def case(name):
    def deco(f):
        try:
            f(); made.append(name)
        except OSError as e:
            skipped.append(
                (name, errno.errorcode.get(e.errno, str(e.errno)), (e.strerror or "")[:60])
            )
        return f
    return deco

def reg(path, data=b"data\n", mode=0o644):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    while data:
        n = os.write(fd, data); data = data[n:]
    os.close(fd); os.chmod(path, mode)
    return path

def d(*c):
    x = p(*c); os.makedirs(x, exist_ok=True); return x

def sx(path, name, val):
    os.setxattr(path, name, val, follow_symlinks=False)

def ns(path, t):
    os.utime(path, ns=(t, t), follow_symlinks=False)

def sparse(path, size, segs):
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o644)
    try:
        os.ftruncate(fd, size)
        for off, data in segs:
            os.pwrite(fd, data, off)
    finally:
        os.close(fd)

def sock(path):
    s = socket.socket(socket.AF_UNIX)
    here = os.getcwd(); os.chdir(os.path.dirname(path))
    try: s.bind(os.path.basename(path))
    finally: s.close(); os.chdir(here)

SEL = b"system_u:object_r:%s:s0"

# ---------------------------------------------------------------- types
d("types")
@case("types/regular")
def _(): reg(p("types", "regular"), b"hello\n")
@case("types/empty")
def _(): reg(p("types", "empty"), b"")
@case("types/exactly-512,10240")
def _():
    reg(p("types", "s512"), b"a" * 512)
    reg(p("types", "s10240"), b"b" * 10240)
    reg(p("types", "s1"), b"c")


@case("types/emptydir")
def _(): d("types", "emptydir")
@case("types/symlinks")
def _():
    os.symlink(b"regular", p("types", "sl-rel"))
    os.symlink(b"/nonexistent/abs", p("types", "sl-dangling"))
    os.symlink(b"../../../../../../etc/passwd", p("types", "sl-escape"))
    os.symlink(b"emptydir", p("types", "sl-dir"))
    os.symlink(b"x" * 100, p("types", "sl-100"))
    os.symlink(b"x" * 101, p("types", "sl-101"))
@case("types/symlink-1023")
def _(): os.symlink(b"/".join([b"y" * 200] * 5)[:1023], p("types", "sl-1023"))
@case("types/symlink-target-4095")
def _(): os.symlink((b"/".join([b"y" * 200] * 21))[:4095], p("types", "sl-4095"))
@case("types/fifo")
def _(): os.mkfifo(p("types", "fifo"), 0o640)
@case("types/socket")
def _(): sock(p("types", "socket"))
@case("types/dev-null")
def _():
    os.mknod(p("types", "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(p("types", "null"), 0o666)


@case("types/blk-big-minor")
def _(): os.mknod(p("types", "blk"), stat.S_IFBLK | 0o660, os.makedev(259, 1048575))
@case("types/chr-big-major-minor")
def _(): os.mknod(p("types", "chrbig"), stat.S_IFCHR | 0o600, os.makedev(4095, 1048575))
@case("types/overlay-whiteout-0:0")
def _(): os.mknod(p("types", "whiteout"), stat.S_IFCHR | 0o000, os.makedev(0, 0))
@case("types/docker-whiteout-names")
def _(): reg(p("types", ".wh.foo"), b""); reg(p("types", ".wh..wh..opq"), b"")

# ---------------------------------------------------------------- modes
d("modes")
for m in (0o4755, 0o2755, 0o6755, 0o1755, 0o7777, 0o0000, 0o0444, 0o0200, 0o4711, 0o6000):
    @case("modes/file-%04o" % m)
    def _(m=m): reg(p("modes", "f%04o" % m), b"x", m)
for m in (0o1777, 0o2775, 0o7777, 0o0000, 0o0555, 0o0700, 0o3770):
    @case("modes/dir-%04o" % m)
    def _(m=m):
        x = d("modes", "d%04o" % m); reg(x + b"/child", b"x"); late.append(lambda: os.chmod(x, m))
@case("modes/setuid-owner-1000")
def _():
    x = reg(p("modes", "suid1000"), b"x"); os.chown(x, 1000, 1000); os.chmod(x, 0o6755)

# ---------------------------------------------------------------- owners
d("owners")
for u in (0, 1, 1000, 65534, 65535, 65536, 262143, 2097151, 2097152, 2**31 - 1, 2**31, 4294967294):
    @case("owners/uid-%d" % u)
    def _(u=u):
        for k, mk in (
            ("f", lambda x: reg(x)),
            ("d", lambda x: os.mkdir(x)),
            ("l", lambda x: os.symlink(b"t", x)),
        ):
            x = p("owners", "%s%d" % (k, u))
            mk(x)
            os.chown(x, u, 4294967294 - u if u > 2 else u, follow_symlinks=False)


@case("owners/name-not-matching-number")  # uid 13=proxy here, 13 elsewhere means another user
def _(): x = reg(p("owners", "uid13gid33")); os.chown(x, 13, 33)

# ---------------------------------------------------------------- names
d("names")
odd = {
    "space": b"a b", "trail-space": b"a ", "lead-space": b" a", "newline": b"a\nb", "tab": b"a\tb",
    "cr": b"a\rb",
    "backslash": b"a\\b", "octal-like": b"a\\012b", "quote": b"a\"b'c`d", "glob": b"*?[a]",
    "dash": b"-rf", "dots": b"...",
    "dotdot-pfx": b"..foo", "colon": b"host:file", "at": b"@archive", "eq": b"a=b",
    "pct": b"a%b%3D%25", "hash": b"#x",
    "ctrl": b"a\x01\x1b[31m\x7f", "latin1": b"caf\xe9", "ff-fe": b"\xff\xfe",
    "trunc-utf8": b"x\xe2\x82", "surrogate": b"\xed\xa0\x80",
    "overlong": b"\xc0\xaf", "nfc": "caf\u00e9".encode(), "nfd": "cafe\u0301".encode(),
    "emoji": "\U0001f4a9".encode(),
    "bom": b"\xef\xbb\xbfbom", "case-A": b"CaSe", "case-a": b"case",
    "pax-global": b"pax_global_header", "paxheaders": b"PaxHeaders.0",
    "longlink": b"@LongLink", "sparse0": b"GNUSparseFile.0", "comment": b";semi",
    "n100": b"n" * 100, "n101": b"n" * 101, "n255": b"n" * 255,
    "n155": b"p" * 155, "trailing-dot": b"foo.",
}
for k, v in odd.items():
    @case("names/file-" + k)
    def _(k=k, v=v): reg(p("names", v), k.encode())
for k in ("newline", "ff-fe", "latin1", "n255", "pct", "backslash"):
    @case("names/dir-" + k)
    def _(k=k):
        x = d("names", b"dir-" + odd[k][:251]); reg(x + b"/" + odd[k], b"in " + k.encode())
        os.symlink(odd[k], x + b"/link"); os.link(x + b"/" + odd[k], x + b"/hard")
@case("names/symlink-target-nonutf8-newline")
def _(): os.symlink(b"\xff\xfe\n=\\", p("names", "sl-odd-target"))
@case("names/ustar-split-edges")
def _():
    base = d("names", "split")
    for total in (98, 99, 100, 101, 153, 154, 155, 156, 157, 253, 254, 255, 256, 257):
        # member name as tar sees it: ./names/split/<dir>/<file>; choose the total length
        pre = len(b"./names/split/")
        rest = total - pre
        dn = min(rest // 2, 150); fn = rest - dn - 1
        if fn > 0:
            x = base + b"/" + b"d" * dn
            os.makedirs(x, exist_ok=True)
            reg(x + b"/" + b"f" * fn, b"%d" % total)


if A.deep:
    @case("names/path-over-PATH_MAX")
    def _():
        fd = os.open(d("names", "deep"), os.O_RDONLY | os.O_DIRECTORY)
        for i in range(24):
            nm = b"%02d" % i + b"z" * 198
            os.mkdir(nm, dir_fd=fd)
            nfd = os.open(nm, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = nfd
        f = os.open(b"leaf", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd)
        os.write(f, b"deep leaf\n")
        os.close(f)
        os.close(fd)


@case("names/path-1000..4000")
def _():
    x = d("names", "long")
    for i in range(18):
        x = x + b"/" + b"L" * 200; os.mkdir(x)
        if len(x) - len(ROOT) < 3900: reg(x + b"/f", b"%d" % i)

# ---------------------------------------------------------------- times
d("times")
G = 10**9
for k, t in {"zero": 0, "ns1": 1, "ns999999999": 1700000000 * G + 999999999,
             "ns100": 1700000000 * G + 100,
             "ns-trailing0": 1700000000 * G + 120000000, "neg-half": -G - G // 2, "neg-ns1": -1,
             "neg-whole": -86400 * G,
             "y1901": -(2**31) * G, "y2038-1": (2**31 - 1) * G, "y2038": 2**31 * G,
             "y2106": 2**32 * G + 7,
             "oct11-1": (8**11 - 1) * G + 5, "oct11": 8**11 * G + 5,
             "y2446": 15032385535 * G}.items():
    @case("times/" + k)
    def _(k=k, t=t):
        for kind in "fld":
            x = p("times", kind + "-" + k)
            {
                "f": lambda: reg(x),
                "l": lambda: os.symlink(b"t", x),
                "d": lambda: (os.mkdir(x), reg(x + b"/child")),
            }[kind]()
            late.append(lambda x=x, t=t: ns(x, t))
            if kind == "f":
                ns(x, t)
                if os.lstat(x).st_mtime_ns != t:
                    raise OSError(errno.ERANGE, "clamped to %d" % os.lstat(x).st_mtime_ns)


# ---------------------------------------------------------------- hard links
d("links", "b"); d("links", "a")
@case("links/pair")
def _(): x = reg(p("links", "a", "1"), b"pair"); os.link(x, p("links", "b", "2"))
@case("links/triple-order")  # last name in sort order was made first
def _():
    x = reg(p("links", "z"), b"triple")
    os.link(x, p("links", "m"))
    os.link(x, p("links", "a", "c"))


@case("links/empty")
def _(): x = reg(p("links", "e1"), b""); os.link(x, p("links", "e2"))
@case("links/symlink")
def _():
    os.symlink(b"tgt", p("links", "s1"))
    os.link(p("links", "s1"), p("links", "s2"), follow_symlinks=False)


@case("links/fifo")
def _(): os.mkfifo(p("links", "p1")); os.link(p("links", "p1"), p("links", "p2"))
@case("links/chr")
def _():
    os.mknod(p("links", "c1"), stat.S_IFCHR | 0o600, os.makedev(5, 0))
    os.link(p("links", "c1"), p("links", "c2"))


@case("links/socket")
def _(): sock(p("links", "k1")); os.link(p("links", "k1"), p("links", "k2"))
@case("links/setuid-cap-selinux")
def _():
    x = reg(p("links", "su1"), b"su"); os.link(x, p("links", "su2")); os.chmod(x, 0o4755)
    sx(x, "security.selinux", SEL % b"su_exec_t" + b"\0")
    sx(x, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    sx(x, "user.note", b"linked")
@case("links/long-first-name")
def _(): x = reg(p("links", b"A" * 250), b"long"); os.link(x, p("links", "y-short"))
@case("links/nonutf8-first-name")
def _(): x = reg(p("links", b"B\xff\n"), b"odd"); os.link(x, p("links", "y-odd"))
@case("links/acl")
def _():
    x = reg(p("links", "acl1"), b"acl")
    os.link(x, p("links", "acl2"))
    subprocess.run([b"setfacl", b"-m", b"u:1234:r", x], check=True)


@case("links/mtime-neg")
def _():
    x = reg(p("links", "mt1"), b"mt")
    os.link(x, p("links", "mt2"))
    late.append(lambda: ns(x, -1))


@case("links/nlink2-other-name-outside-tree")
def _():
    out = os.path.dirname(ROOT) + b"/.outside-" + os.path.basename(ROOT)
    if os.path.exists(out): os.unlink(out)
    x = reg(p("links", "inside"), b"x"); os.link(x, out); os.unlink(out); os.link(x, out)

# ---------------------------------------------------------------- sparse
d("sparse")
K, M, GI = 1 << 10, 1 << 20, 1 << 30
D4 = b"D" * 4096
@case("sparse/hole-at-end")
def _(): sparse(p("sparse", "end"), 1 * M, [(0, D4)])
@case("sparse/hole-at-start")
def _(): sparse(p("sparse", "start"), 1 * M, [(M - 4096, D4)])
@case("sparse/hole-in-middle")
def _(): sparse(p("sparse", "mid"), 4 * M, [(0, D4), (4 * M - 4096, D4)])
@case("sparse/all-hole")
def _(): sparse(p("sparse", "allhole"), 64 * M, [])
@case("sparse/odd-size-tail")
def _(): sparse(p("sparse", "oddtail"), 1 * M + 17, [(8192, D4)])
@case("sparse/data-odd-end")
def _(): sparse(p("sparse", "oddend"), 3 * M + 1, [(3 * M, b"e")])
@case("sparse/1000-extents")
def _(): sparse(p("sparse", "many"), 8 * M, [(i * 8192, D4) for i in range(1000)])
@case("sparse/small-hole-300-bytes")
def _(): sparse(p("sparse", "s300"), 300, [])
@case("sparse/long-name")
def _(): sparse(p("sparse", b"S" * 200), 1 * M, [(0, D4)])
@case("sparse/nonutf8-name")
def _(): sparse(p("sparse", b"S\xff"), 1 * M, [(0, D4)])
@case("sparse/hardlinked+xattr")
def _():
    x = p("sparse", "hx")
    sparse(x, 2 * M, [(M, D4)])
    os.link(x, p("sparse", "hx2"))
    sx(x, "security.selinux", SEL % b"var_t" + b"\0")
    sx(x, "user.s", b"1")


@case("sparse/acl-mode")
def _():
    x = p("sparse", "sacl")
    sparse(x, 2 * M, [(M, D4)])
    os.chmod(x, 0o640)
    subprocess.run([b"setfacl", b"-m", b"u:7:rw", x], check=True)


@case("sparse/fallocated-unwritten")
def _():
    x = p("sparse", "falloc")
    fd = os.open(x, os.O_CREAT | os.O_RDWR, 0o644)
    os.posix_fallocate(fd, 0, M)
    os.close(fd)


@case("sparse/dense-zeros")
def _(): reg(p("sparse", "densezero"), b"\0" * M)
@case("sparse/lastlog-like-1GiB")
def _(): sparse(p("sparse", "lastlog"), GI, [(292 * 1000, b"L" * 292)])
if not A.no_big:
    @case("sparse/8GiB-1")
    def _(): sparse(p("sparse", "8g-1"), 8 * GI - 1, [(0, D4)])
    @case("sparse/8GiB")
    def _(): sparse(p("sparse", "8g"), 8 * GI, [(8 * GI - 4096, D4)])
    @case("sparse/70GiB")
    def _(): sparse(p("sparse", "70g"), 70 * GI + 5, [(0, D4), (69 * GI, D4)])

# ---------------------------------------------------------------- xattrs
d("xattr")
def xf(name): return reg(p("xattr", name), b"x")
for k, n, v in [
    ("empty", b"user.empty", b""), ("nul", b"user.nul", b"a\0b\0"), ("only-nul", b"user.n", b"\0"),
    ("newline", b"user.nl", b"a\nb\n"),
    ("eq", b"user.eq", b"k=v=w"), ("pax-injection", b"user.inj", b"x\n20 path=../../evil\n"),
    ("binary", b"user.bin", bytes(range(256))),
    ("name-eq", b"user.a=b", b"v"), ("name-pct", b"user.a%b", b"v"),
    ("name-pct3D", b"user.a%3Db", b"v"), ("name-pct25", b"user.a%25b", b"v"),
    ("name-space", b"user.a b", b"v"), ("name-newline", b"user.a\nb", b"v"),
    ("name-utf8", "user.\u00e9".encode(), b"v"), ("name-nonutf8", b"user.\xff\xfe", b"v"),
    ("name-250", b"user." + b"n" * 250, b"v"), ("val-3k", b"user.v3k", b"V" * 3000),
    ("val-64k", b"user.v64k", b"V" * 65536),
    ("trusted", b"trusted.foo", b"t\0"), ("ovl-opaque", b"trusted.overlay.opaque", b"y"),
    ("ovl-metacopy", b"trusted.overlay.metacopy", b""),
    ("ovl-redirect", b"trusted.overlay.redirect", b"/a/b"),
    ("ovl-origin", b"trusted.overlay.origin", bytes([0, 0xfb, 0x1d, 0, 1]) + bytes(16)),
    ("ima", b"security.ima", b"\x03\x02\x04" + bytes(range(64))),
    ("evm", b"security.evm", b"\x05\x02" + bytes(range(200, 240))),
    ("smack", b"security.SMACK64", b"_"), ("sec-foo", b"security.foo", b"bar"),
    ("apparmor", b"security.apparmor", b"a"),
    ("sel-nul", b"security.selinux", SEL % b"etc_t" + b"\0"),
    ("sel-nonul", b"security.selinux", SEL % b"etc_t"),
    ("sel-mls-cats", b"security.selinux", b"system_u:object_r:svirt_image_t:s0:c1,c2.c99\0"),
    ("sel-unknown", b"security.selinux", b"foo_u:bar_r:no_such_t:s0\0"),
    ("cap-v2", b"security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)),
    ("cap-v2-inh", b"security.capability", struct.pack("<IIIII", 0x02000000, 0x3000, 0x3000, 0, 0)),
    ("cap-v3-root0", b"security.capability",
    struct.pack("<IIIIII", 0x03000001, 1 << 10, 0, 0, 0, 0)),
]:
    @case("xattr/" + k)
    def _(k=k, n=n, v=v): sx(xf(k), n, v)
@case("xattr/cap+suid+owner")   # chown clears caps and suid: order matters
def _():
    x = xf("capsuid")
    os.chown(x, 81, 81)
    os.chmod(x, 0o4750)
    sx(x, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 7, 0, 0, 0))
    sx(x, "security.selinux", SEL % b"ping_exec_t" + b"\0")
    sx(x, "security.ima", b"\x03\x02\x04" + bytes(70))


@case("xattr/many-60")
def _():
    x = xf("many")
    for i in range(60): sx(x, "user.k%03d" % i, b"%d" % i)
for k in ("dir", "symlink", "fifo", "socket", "chr", "blk"):
    @case("xattr/selinux-on-" + k)
    def _(k=k):
        x = p("xattr", "on-" + k)
        {"dir": lambda: os.mkdir(x), "symlink": lambda: os.symlink(b"t", x),
         "fifo": lambda: os.mkfifo(x), "socket": lambda: sock(x),
         "chr": lambda: os.mknod(x, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
         "blk": lambda: os.mknod(x, stat.S_IFBLK | 0o600, os.makedev(7, 0))}[k]()
        sx(x, "security.selinux", SEL % b"tmp_t" + b"\0"); sx(x, "trusted.t", k.encode())
@case("xattr/dangling-symlink-selinux")
def _():
    x = p("xattr", "dangl")
    os.symlink(b"/no/such", x)
    sx(x, "security.selinux", SEL % b"bin_t" + b"\0")


@case("xattr/opaque-dir")
def _(): x = d("xattr", "opaquedir"); sx(x, "trusted.overlay.opaque", b"y"); reg(x + b"/c")
@case("xattr/readonly-0400-file-user-xattr")
def _(): x = xf("ro"); sx(x, "user.a", b"1"); os.chmod(x, 0o400)
@case("xattr/sticky-dir-user-xattr")
def _(): x = d("xattr", "sticky"); sx(x, "user.a", b"1"); os.chmod(x, 0o1777)

# ---------------------------------------------------------------- ACLs
d("acl")
def facl(*a): subprocess.run([b"setfacl"] + [os.fsencode(x) for x in a], check=True)
@case("acl/access")
def _(): x = reg(p("acl", "access")); facl("-m", "u:1234:rwx,g:99:r-x", x)
@case("acl/mask-narrows")
def _(): x = reg(p("acl", "mask")); facl("-m", "u:1234:rwx,g:99:rwx,m::r--", x)
@case("acl/named-known-users")
def _(): x = reg(p("acl", "known")); facl("-m", "u:13:rw,g:33:r", x)
@case("acl/uid-over-2^31")
def _(): x = reg(p("acl", "biguid")); facl("-m", "u:4000000000:r", x)
@case("acl/40-entries")
def _():
    x = reg(p("acl", "forty"))
    facl("-m", ",".join("u:%d:r" % (3000 + i) for i in range(40)), x)


@case("acl/mode-000")
def _(): x = reg(p("acl", "m000")); os.chmod(x, 0); facl("-m", "u:1:r", x)
@case("acl/setuid+acl")
def _(): x = reg(p("acl", "suid")); os.chown(x, 5, 5); facl("-m", "u:1:rx", x); os.chmod(x, 0o4755)
@case("acl/default-only-dir")
def _():
    x = d("acl", "defonly"); facl("-d", "-m", "u:1234:rwx", x)
@case("acl/default-dir-children-without-acl")   # children must NOT inherit at extraction
def _():
    x = d("acl", "defdir")
    reg(x + b"/plain")
    os.mkdir(x + b"/sub")
    reg(x + b"/sub/plain2")
    os.mkfifo(x + b"/fifo")
    os.symlink(b"plain", x + b"/sl")
    facl("-m", "u:55:rwx", x); facl("-d", "-m", "u:1234:rwx,g::-,o::-", x)
@case("acl/default-dir-child-with-own")
def _():
    x = d("acl", "defdir2")
    y = reg(x + b"/own")
    facl("-m", "g:7:r", y)
    facl("-d", "-m", "u:1:rwx", x)


@case("acl/setgid-dir")
def _():
    x = d("acl", "sgid")
    os.chown(x, 0, 100)
    facl("-m", "g:100:rwx", x)
    facl("-d", "-m", "g:100:rwx", x)
    os.chmod(x, 0o2770)


@case("acl/journal-like")  # /var/log/journal: g:adm, g:wheel + defaults + selinux
def _():
    x = d("acl", "journal")
    os.chown(x, 0, 190)
    facl("-m", "g:4:r-x,g:10:r-x", x)
    facl("-d", "-m", "g:4:r-x,g:10:r-x", x)
    os.chmod(x, 0o2755)
    sx(x, "security.selinux", SEL % b"var_log_t" + b"\0")


@case("acl/fifo")
def _(): x = p("acl", "fifo"); os.mkfifo(x); facl("-m", "u:9:rw", x)
@case("acl/chr")
def _():
    x = p("acl", "chr")
    os.mknod(x, stat.S_IFCHR | 0o600, os.makedev(1, 9))
    facl("-m", "u:9:rw", x)


# ---------------------------------------------------------------- directories
@case("dirs/3000-entries")
def _():
    x = d("dirs", "many")
    for i in range(3000): os.close(os.open(x + b"/%05d" % i, os.O_CREAT | os.O_WRONLY, 0o644))
@case("dirs/empty-boot-proc-sys-run-dev")
def _():
    for n in ("boot", "proc", "sys", "run", "dev", "tmp"): d("dirs", "os", n)

for f in reversed(late):
    try: f()
    except OSError as e: skipped.append(("late", errno.errorcode.get(e.errno), str(e)))
# Set the times of directories last, deepest first: creating files in them changes the times.
def settimes(fd, rel, t=1600000000 * G):
    for e in sorted(os.listdir(fd), key=os.fsencode):
        st = os.stat(os.fsencode(e), dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(st.st_mode):
            c = os.open(os.fsencode(e), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            settimes(c, rel + b"/" + os.fsencode(e)); os.close(c)
            if not rel.startswith(b"/times"):
                os.utime(os.fsencode(e), ns=(t, t + len(rel)), dir_fd=fd)


rfd = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY)
settimes(rfd, b"")
os.utime(ROOT, ns=(1500000000 * G, 1500000000 * G + 123456789))
for n, c, m in skipped: print("SKIP %-40s %s %s" % (n, c, m))
print("hardtree: %d cases made, %d skipped, in %s" % (len(made), len(skipped), A.tree))
