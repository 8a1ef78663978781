/* Counts the writes of a process below a folder; makes the n-th fail, or the process get a signal at it.

For LD_PRELOAD: TensorFlow, SQLite and HDF5 write from C, where nothing in Python can stand in between. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, CREATE = 2, OPEN = 4, NAME = 8, FLUSH = 16 };

static char below[PATH_MAX], part[PATH_MAX];
static size_t length;
static int journal = -1, kinds, code, lasting, signum;
static long at;
static atomic_long done;

/* From now on count the calls of these `kinds_` below `folder` on a path that contains `part_`, each a line in the file
   `log`. At call `at_`, from 1: raise `signum_`, if any; fail with `code_`, if any, and with `lasting_` let all later
   ones fail too. */
void arm(const char *folder, const char *part_, const char *log, int kinds_, long at_, int code_, int lasting_,
         int signum_) {
    strcpy(part, part_);
    journal = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    kinds = kinds_, at = at_, code = code_, lasting = lasting_, signum = signum_;
    length = strlen(folder);
    memcpy(below, folder, length + 1);
}

static int fails(int kind, const char *call, const char *path) {
    char line[PATH_MAX + 64];
    if (!(kinds & kind) || strncmp(path, below, length) || path[length] != '/' || !strstr(path + length, part))
        return 0;
    long number = atomic_fetch_add(&done, 1) + 1;
    int size = snprintf(line, sizeof line, "%s %s\n", call, path + length + 1);
    syscall(SYS_write, journal, line, size < (int)sizeof line ? size : (int)sizeof line - 1);
    if (number == at && signum) kill(getpid(), signum);
    if (!code || !at || (lasting ? number < at : number != at)) return 0;
    errno = code;
    return 1;
}

static int fails_file(int kind, const char *call, int file) {
    char link[64], path[PATH_MAX];
    if (!kinds) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long size = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = before;
    if (size < 0) return 0;
    path[size] = 0;
    return fails(kind, call, path);
}

static int fails_path(int kind, const char *call, int folder, const char *path) {
    char whole[PATH_MAX], link[64] = "/proc/self/cwd";
    if (!kinds) return 0;
    if (path[0] == '/') return fails(kind, call, path);
    int before = errno;
    if (folder != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    long size = syscall(SYS_readlinkat, AT_FDCWD, link, whole, sizeof whole - 1);
    errno = before;
    if (size < 0) return 0;
    snprintf(whole + size, sizeof whole - size, "/%s", path);
    return fails(kind, call, whole);
}

static int fails_open(int folder, const char *path, int flags) {
    int before = errno;
    if (!kinds || (flags & O_ACCMODE) == O_RDONLY) return 0;
    int exists = !syscall(SYS_faccessat, folder, path, F_OK);
    errno = before;
    return fails_path(exists ? OPEN : CREATE, exists ? "open" : "create", folder, path);
}

#define NEXT(type, name, ...) \
    static type (*next)(__VA_ARGS__); \
    if (!next) next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name);

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        NEXT(int, name, const char *, int, ...) \
        return fails_open(AT_FDCWD, path, flags) ? -1 : next(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        NEXT(int, name, int, const char *, int, ...) \
        return fails_open(folder, path, flags) ? -1 : next(folder, path, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

#define STREAMS(name) \
    FILE *name(const char *path, const char *mode) { \
        NEXT(FILE *, name, const char *, const char *) \
        return fails_open(AT_FDCWD, path, strpbrk(mode, "wa+") ? O_WRONLY : O_RDONLY) ? NULL : next(path, mode); \
    }
STREAMS(fopen)
STREAMS(fopen64)

size_t fwrite(const void *data, size_t size, size_t count, FILE *stream) {
    NEXT(size_t, fwrite, const void *, size_t, size_t, FILE *)
    return fails_file(WRITE, "fwrite", fileno(stream)) ? 0 : next(data, size, count, stream);
}

/* A call on a file, given as its first argument. */
#define ON_FILE(type, name, kind, parameters, arguments, ...) \
    type name parameters { \
        NEXT(type, name, __VA_ARGS__) \
        return fails_file(kind, #name, file) ? -1 : next arguments; \
    }
ON_FILE(ssize_t, write, WRITE, (int file, const void *data, size_t size), (file, data, size), int, const void *, size_t)
ON_FILE(ssize_t, pwrite, WRITE, (int file, const void *data, size_t size, off_t offset), (file, data, size, offset),
        int, const void *, size_t, off_t)
ON_FILE(ssize_t, pwrite64, WRITE, (int file, const void *data, size_t size, off64_t offset),
        (file, data, size, offset), int, const void *, size_t, off64_t)
ON_FILE(ssize_t, writev, WRITE, (int file, const struct iovec *parts, int count), (file, parts, count), int,
        const struct iovec *, int)
ON_FILE(ssize_t, sendfile, WRITE, (int file, int from, off_t *offset, size_t size), (file, from, offset, size), int,
        int, off_t *, size_t)
ON_FILE(ssize_t, sendfile64, WRITE, (int file, int from, off64_t *offset, size_t size), (file, from, offset, size),
        int, int, off64_t *, size_t)
ON_FILE(int, ftruncate, WRITE, (int file, off_t size), (file, size), int, off_t)
ON_FILE(int, ftruncate64, WRITE, (int file, off64_t size), (file, size), int, off64_t)
ON_FILE(int, fallocate, WRITE, (int file, int mode, off_t offset, off_t size), (file, mode, offset, size), int, int,
        off_t, off_t)
ON_FILE(int, fsync, FLUSH, (int file), (file), int)
ON_FILE(int, fdatasync, FLUSH, (int file), (file), int)

/* A call on a path, relative to `folder`. */
#define ON_PATH(name, kind, folder, parameters, arguments, ...) \
    int name parameters { \
        NEXT(int, name, __VA_ARGS__) \
        return fails_path(kind, #name, folder, path) ? -1 : next arguments; \
    }
ON_PATH(mkdir, CREATE, AT_FDCWD, (const char *path, mode_t mode), (path, mode), const char *, mode_t)
ON_PATH(mkdirat, CREATE, at_folder, (int at_folder, const char *path, mode_t mode), (at_folder, path, mode), int,
        const char *, mode_t)
ON_PATH(unlink, NAME, AT_FDCWD, (const char *path), (path), const char *)
ON_PATH(unlinkat, NAME, at_folder, (int at_folder, const char *path, int flags), (at_folder, path, flags), int,
        const char *, int)
ON_PATH(rmdir, NAME, AT_FDCWD, (const char *path), (path), const char *)
ON_PATH(truncate, WRITE, AT_FDCWD, (const char *path, off_t size), (path, size), const char *, off_t)

int rename(const char *path, const char *to) {
    NEXT(int, rename, const char *, const char *)
    return fails_path(NAME, "rename", AT_FDCWD, to) ? -1 : next(path, to);
}

int renameat(int from, const char *path, int folder, const char *to) {
    NEXT(int, renameat, int, const char *, int, const char *)
    return fails_path(NAME, "rename", folder, to) ? -1 : next(from, path, folder, to);
}

int link(const char *path, const char *to) {
    NEXT(int, link, const char *, const char *)
    return fails_path(CREATE, "link", AT_FDCWD, to) ? -1 : next(path, to);
}
