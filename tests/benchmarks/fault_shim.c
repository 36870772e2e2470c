/* Loaded in front of libc (LD_PRELOAD): counts the calls that change files below one folder, and fails the N-th, or
   sends a signal before it. The count lies in memory that forked processes share; which call is struck is set in each
   process by `fault_arm` and inherited by its children. Calls within glibc itself (fwrite) do not pass here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, FULL, ONCE, SHORT, STRIKE, STRIKE_COMMAND, STRIKE_GROUP }; /* STRIKE: whoever calls, often a worker */
static struct { long count, struck; } *seen;
static char folder[4096];
static int mode, number;
static long at;

__attribute__((constructor)) static void start(void) {
    seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}
void fault_arm(const char *path, int how, long nth, int signal_number) {
    strncpy(folder, path, sizeof folder - 1);
    mode = how, at = nth, number = signal_number, seen->count = seen->struck = 0;
}
long fault_count(void) { return seen->count; }
long fault_struck(void) { return seen->struck; }

static int below(int base, const char *path) { /* whether the path, or with none the file `base`, lies in the folder */
    char link[64], found[4096];
    if (!folder[0]) return 0;
    if (path && path[0] == '/') return !strncmp(path, folder, strlen(folder));
    if (base == AT_FDCWD) return getcwd(found, sizeof found) && !strncmp(found, folder, strlen(folder));
    snprintf(link, sizeof link, "/proc/self/fd/%d", base);
    ssize_t size = readlink(link, found, sizeof found - 1);
    found[size < 0 ? 0 : size] = 0;
    return !strncmp(found, folder, strlen(folder));
}
/* Whether this call fails, with what errno; 0: it goes on. `size`: bytes to write, halved for a short write. */
static int fault(int base, const char *path, size_t *size) {
    int before = errno;
    if (!below(base, path)) return errno = before, 0;
    long call = __sync_add_and_fetch(&seen->count, 1);
    errno = before;
    if (mode == COUNT || call < at || (mode != FULL && call > at)) return 0;
    if (mode == SHORT && (!size || *size < 2)) return 0;
    seen->struck++;
    if (mode == SHORT) return *size /= 2, 0;
    if (mode >= STRIKE) {
        kill(mode == STRIKE ? getpid() : mode == STRIKE_COMMAND ? getsid(0) : 0, number);
        return errno = before, 0;
    }
    return errno = mode == FULL ? ENOSPC : EIO;
}
static int gone(int base, const char *path) { /* before something is removed: a moment for a signal, never an error */
    return mode >= STRIKE || mode == COUNT ? fault(base, path, NULL) : 0;
}
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP(type, name, declared, given, failing)                                                                     \
    type name declared {                                                                                               \
        static __typeof__(&name) real;                                                                                 \
        if (!real) real = REAL(name);                                                                                  \
        if (failing) return -1;                                                                                        \
        return real given;                                                                                             \
    }
WRAP(ssize_t, write, (int f, const void *b, size_t n), (f, b, n), fault(f, NULL, &n))
WRAP(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o), fault(f, NULL, &n))
WRAP(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o), fault(f, NULL, &n))
WRAP(ssize_t, writev, (int f, const struct iovec *v, int n), (f, v, n), fault(f, NULL, NULL))
WRAP(ssize_t, sendfile, (int f, int g, off_t *o, size_t n), (f, g, o, n), fault(f, NULL, &n))
WRAP(ssize_t, sendfile64, (int f, int g, off64_t *o, size_t n), (f, g, o, n), fault(f, NULL, &n))
WRAP(int, ftruncate, (int f, off_t n), (f, n), fault(f, NULL, NULL))
WRAP(int, ftruncate64, (int f, off64_t n), (f, n), fault(f, NULL, NULL))
WRAP(int, fsync, (int f), (f), fault(f, NULL, NULL))
WRAP(int, fdatasync, (int f), (f), fault(f, NULL, NULL))
WRAP(int, rename, (const char *a, const char *b), (a, b), fault(AT_FDCWD, b, NULL))
WRAP(int, renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), fault(e, b, NULL))
WRAP(int, mkdir, (const char *a, mode_t m), (a, m), fault(AT_FDCWD, a, NULL))
WRAP(int, mkdirat, (int d, const char *a, mode_t m), (d, a, m), fault(d, a, NULL))
WRAP(int, unlink, (const char *a), (a), gone(AT_FDCWD, a))
WRAP(int, unlinkat, (int d, const char *a, int m), (d, a, m), gone(d, a))
WRAP(int, rmdir, (const char *a), (a), gone(AT_FDCWD, a))

#define ALLOCATE(name)                                                                                                 \
    int name(int f, off_t o, off_t n) {                                                                                \
        int error = fault(f, NULL, NULL);                                                                              \
        return error ? error : REAL(name)(f, o, n);                                                                    \
    }
ALLOCATE(posix_fallocate)
ALLOCATE(posix_fallocate64)

#define OPEN(name, declared, given, base)                                                                              \
    int name declared {                                                                                                \
        static int (*real)();                                                                                          \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t m = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                         \
        va_end(rest);                                                                                                  \
        if (!real) real = (int (*)())dlsym(RTLD_NEXT, #name);                                                          \
        if ((flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) && fault(base, path, NULL)) return -1;               \
        return real given;                                                                                             \
    }
OPEN(open, (const char *path, int flags, ...), (path, flags, m), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), (path, flags, m), AT_FDCWD)
OPEN(openat, (int base, const char *path, int flags, ...), (base, path, flags, m), base)
OPEN(openat64, (int base, const char *path, int flags, ...), (base, path, flags, m), base)
