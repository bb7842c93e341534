/* A program in a package. It leaves rpm's chroot, as CAP_SYS_CHROOT allows, and tries to change
 * every mount that it sees. Usage: breakout REPORT COUNT. Each line of REPORT is
 * "mount POINT ROOT TYPE OPTIONS" or "OPERATION POINT PATH RESULT". */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MOUNTS 4096
static struct { int id; char *point; } mounts[MOUNTS];
static int mount_count, left, serial;
static FILE *report;

static int is_mount(const char *path) {
    for (int i = 0; i < mount_count; i++)
        if (!strcmp(mounts[i].point, path)) return 1;
    return 0;
}

static void record(const char *what, const char *point, const char *path, int result) {
    fprintf(report, "%s %s %s %s\n", what, point, path, result < 0 ? strerrorname_np(errno) : "DONE");
}

/* Changes the file at the path, through the path and through descriptors of it. */
static void attack(const char *point, const char *path) {
    struct stat s;
    char other[4096];
    int fd;
    if (lstat(path, &s) || S_ISLNK(s.st_mode)) return;
    record("chmod", point, path, chmod(path, (s.st_mode & 07777) ^ 04000));
    record("utimes", point, path, utimensat(AT_FDCWD, path, NULL, 0));
    record("setxattr", point, path, setxattr(path, "user.osimg", "1", 1, 0));
    record("setxattr", point, path, setxattr(path, "security.osimg", "1", 1, 0));
    snprintf(other, sizeof other, "/buildroot/var/linked-%d", serial++);
    if (!S_ISDIR(s.st_mode)) {
        record("link", point, path, link(path, other));
        fd = open(path, O_PATH);
        record("link-descriptor", point, path, linkat(fd, "", AT_FDCWD, other, AT_EMPTY_PATH));
        close(fd);
    }
    if (S_ISREG(s.st_mode)) {
        record("truncate", point, path, truncate(path, s.st_size));
        record("open", point, path, fd = open(path, O_WRONLY | O_APPEND | O_NONBLOCK));
        if (fd >= 0) close(fd);
    }
    if (S_ISDIR(s.st_mode)) {
        snprintf(other, sizeof other, "%s/.breakout", path);
        record("create", point, path, fd = open(other, O_CREAT | O_EXCL | O_WRONLY, 0644));
        if (fd >= 0) close(fd);
        unlink(other);
        record("mkdir", point, path, mkdir(other, 0755));
        rmdir(other);
        record("symlink", point, path, symlink("/", other));
        unlink(other);
    }
    if (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode)) {
        fd = open(path, O_RDONLY | O_NONBLOCK);
        if (fd < 0) return;
        record("fchmod", point, path, fchmod(fd, (s.st_mode & 07777) ^ 04000));
        record("futimens", point, path, futimens(fd, NULL));
        record("fsetxattr", point, path, fsetxattr(fd, "user.osimg", "1", 1, 0));
        snprintf(other, sizeof other, "/proc/self/fd/%d", fd);
        int again = S_ISREG(s.st_mode) ? open(other, O_RDWR | O_NONBLOCK) : chmod(other, s.st_mode ^ 04000);
        record("reopen", point, path, again);
        if (again > 0) close(again);
        close(fd);
    }
}

/* The mount point of the mount that a descriptor refers to. */
static const char *mount_of(int fd) {
    char name[64], line[256];
    int id = -1, i;
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    FILE *info = fopen(name, "r");
    while (info && fgets(line, sizeof line, info)) sscanf(line, "mnt_id: %d", &id);
    if (info) fclose(info);
    for (i = 0; i < mount_count; i++)
        if (mounts[i].id == id) return mounts[i].point;
    return "elsewhere";
}

static void walk(const char *point, const char *path, int depth) {
    struct dirent *entry;
    struct stat s;
    DIR *dir;
    if (left-- <= 0) return;
    attack(point, path);
    if (depth == 0 || lstat(path, &s) || !S_ISDIR(s.st_mode) || !(dir = opendir(path))) return;
    while (left > 0 && (entry = readdir(dir))) {
        char below[4096];
        /* A process owns the files below its number in /proc. */
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || strspn(entry->d_name, "0123456789") == strlen(entry->d_name)) continue;
        snprintf(below, sizeof below, "%s/%s", strcmp(path, "/") ? path : "", entry->d_name);
        if (!is_mount(below)) walk(point, below, depth - 1);
    }
    closedir(dir);
}

int main(int argc, char **argv) {
    static char line[16384], word[4][4096];
    int i, outside = open("/", O_RDONLY);
    if (argc != 3 || !(report = fopen(argv[1], "w"))) return 2;
    mkdir("/var/jail", 0755);
    if (outside < 0 || chroot("/var/jail") || fchdir(outside)) return 3;
    for (i = 0; i < 64; i++) if (chdir("..")) return 4;
    if (chroot(".") || access("/buildroot", F_OK)) return 5;
    FILE *table = fopen("/proc/self/mountinfo", "r");
    if (!table) return 6;
    while (mount_count < MOUNTS && fgets(line, sizeof line, table)) {
        char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%d %*d %*s %4095s %4095s %4095s", &mounts[mount_count].id, word[0], word[1], word[2]) != 4) continue;
        sscanf(rest, " - %4095s", word[3]);
        mounts[mount_count++].point = strdup(word[1]);
        fprintf(report, "mount %s %s %s %s\n", word[1], word[0], word[3], word[2]);
    }
    fclose(table);
    for (i = 0; i < mount_count; i++) {
        left = atoi(argv[2]);
        walk(mounts[i].point, mounts[i].point, 4);
    }
    /* Descriptors that a scriptlet inherits. */
    for (i = 0; i < 1024; i++) {
        struct stat s;
        if (i == outside || i == fileno(report) || fstat(i, &s) || !(S_ISREG(s.st_mode) || S_ISDIR(s.st_mode))) continue;
        snprintf(line, sizeof line, "%d", i);
        record("descriptor", mount_of(i), line, futimens(i, NULL));
    }
    return fclose(report) ? 7 : 0;
}
