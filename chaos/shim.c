/* Loaded before the C library into the processes that are tested (LD_PRELOAD). What it does is in a file of eight
 * numbers that all of them share with the program that tests: the clock's offset, how long a sync takes, which error
 * writes below a folder end in; and counts of how often each came to pass. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CLOCK_OFFSET, SYNC_DELAY, WRITE_ERROR, CLOCK_READS, SLOW_SYNCS, FAILED_WRITES, NUMBERS = 8 };

static volatile int64_t nothing[NUMBERS];
static volatile int64_t *told = nothing;
static char folder[4096];
static size_t folder_length;

#define REAL(name) ((__typeof__(&name))real(#name))
#define CACHED(name) \
    static __typeof__(&name) next; \
    if (!next) next = REAL(name)

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CHAOS_SHIM_FILE"), *below = getenv("CHAOS_SHIM_FOLDER");
    if (!path || !below || strlen(below) >= sizeof folder)
        return;
    strcpy(folder, below); /* PostgreSQL writes its title over the environment. */
    folder_length = strlen(folder);
    int file = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    void *shared = mmap(NULL, NUMBERS * sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared != MAP_FAILED)
        told = shared;
}

static void count(int number) { __atomic_add_fetch(&told[number], 1, __ATOMIC_RELAXED); }

static int is_below(const char *path)
{
    char whole[8192];
    if (!folder_length)
        return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, 4096))
            return 0;
        strcat(whole, "/");
        strncat(whole, path, 4000);
        path = whole;
    }
    return strncmp(path, folder, folder_length) == 0 && (path[folder_length] == '/' || !path[folder_length]);
}

static int is_ours(int file)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

/* 1: fails, as told. */
static int fails(int file)
{
    if (!told[WRITE_ERROR])
        return 0;
    int before = errno;
    if (!is_ours(file)) {
        errno = before;
        return 0;
    }
    count(FAILED_WRITES);
    errno = (int)told[WRITE_ERROR];
    return 1;
}

/* A disk that is full or not writable by itself counts too. */
static ssize_t seen(ssize_t result)
{
    if (result < 0 && (errno == ENOSPC || errno == EROFS || errno == EDQUOT))
        count(FAILED_WRITES);
    return result;
}

/* Time */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    CACHED(clock_gettime);
    int result = next(clock, now);
    int64_t offset = told[CLOCK_OFFSET];
    if (result == 0 && clock == CLOCK_REALTIME && offset) {
        int64_t all = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + offset;
        now->tv_sec = all / 1000000000;
        now->tv_nsec = all % 1000000000;
        count(CLOCK_READS);
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec moment;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &moment) != 0)
        return -1;
    now->tv_sec = moment.tv_sec;
    now->tv_usec = moment.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *kept)
{
    struct timespec moment;
    clock_gettime(CLOCK_REALTIME, &moment);
    if (kept)
        *kept = moment.tv_sec;
    return moment.tv_sec;
}

/* Syncs */

static void wait_for_disk(int file)
{
    int64_t milliseconds = told[SYNC_DELAY];
    int before = errno;
    if (milliseconds && is_ours(file)) {
        struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
        count(SLOW_SYNCS);
        while (nanosleep(&left, &left) != 0)
            ;
    }
    errno = before;
}

int fsync(int file)
{
    CACHED(fsync);
    wait_for_disk(file);
    return fails(file) ? -1 : (int)seen(next(file));
}

int fdatasync(int file)
{
    CACHED(fdatasync);
    wait_for_disk(file);
    return fails(file) ? -1 : (int)seen(next(file));
}

/* Writes */

ssize_t write(int file, const void *data, size_t size)
{
    CACHED(write);
    return fails(file) ? -1 : seen(next(file, data, size));
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    CACHED(pwrite);
    return fails(file) ? -1 : seen(next(file, data, size, at));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    CACHED(pwrite64);
    return fails(file) ? -1 : seen(next(file, data, size, at));
}

ssize_t writev(int file, const struct iovec *parts, int number)
{
    CACHED(writev);
    return fails(file) ? -1 : seen(next(file, parts, number));
}

ssize_t pwritev(int file, const struct iovec *parts, int number, off_t at)
{
    CACHED(pwritev);
    return fails(file) ? -1 : seen(next(file, parts, number, at));
}

ssize_t pwritev64(int file, const struct iovec *parts, int number, off64_t at)
{
    CACHED(pwritev64);
    return fails(file) ? -1 : seen(next(file, parts, number, at));
}

int ftruncate(int file, off_t size)
{
    CACHED(ftruncate);
    return fails(file) ? -1 : (int)seen(next(file, size));
}

int ftruncate64(int file, off64_t size)
{
    CACHED(ftruncate64);
    return fails(file) ? -1 : (int)seen(next(file, size));
}

int posix_fallocate(int file, off_t at, off_t size)
{
    CACHED(posix_fallocate);
    if (fails(file))
        return errno;
    int result = next(file, at, size);
    if (result == ENOSPC)
        count(FAILED_WRITES);
    return result;
}

int fallocate(int file, int mode, off_t at, off_t size)
{
    CACHED(fallocate);
    return fails(file) ? -1 : (int)seen(next(file, mode, at, size));
}

/* Opening for writing: what a disk refuses that is mounted read-only. A full one opens what is there. */

static int refused(const char *path, int flags)
{
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    if (told[WRITE_ERROR] != EROFS || !writes || !is_below(path))
        return 0;
    count(FAILED_WRITES);
    errno = EROFS;
    return 1;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...)
{
    CACHED(open);
    MODE(flags)
    return refused(path, flags) ? -1 : next(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    CACHED(open64);
    MODE(flags)
    return refused(path, flags) ? -1 : next(path, flags, mode);
}

int openat(int place, const char *path, int flags, ...)
{
    CACHED(openat);
    MODE(flags)
    return refused(path, flags) ? -1 : next(place, path, flags, mode);
}
