/* A disk that fails on demand: preloaded into a process, it fails the calls on write-ahead logs
 * (files named *.log) while the file that FSYNC_SHIM_TRIGGER names exists.  Its first byte says
 * which: 's' fails fsync and fdatasync with EIO, 'w' fails writes with ENOSPC. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_log(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return length > 4 && length < (ssize_t)sizeof path && !memcmp(path + length - 4, ".log", 4);
}

static int fails(int fd, char call)
{
    const char *trigger = getenv("FSYNC_SHIM_TRIGGER");
    if (trigger == NULL)
        return 0;
    int file = open(trigger, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    char asked = 0;
    ssize_t got = read(file, &asked, 1);
    close(file);
    return got == 1 && asked == call && is_log(fd);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(fd, call, number) \
    do { \
        if (fails(fd, call)) { \
            errno = number; \
            return -1; \
        } \
        errno = 0; \
    } while (0)

int fsync(int fd)
{
    FAIL(fd, 's', EIO);
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    FAIL(fd, 's', EIO);
    return REAL(fdatasync)(fd);
}

ssize_t write(int fd, const void *data, size_t count)
{
    FAIL(fd, 'w', ENOSPC);
    return REAL(write)(fd, data, count);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset)
{
    FAIL(fd, 'w', ENOSPC);
    return REAL(pwrite)(fd, data, count, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset)
{
    FAIL(fd, 'w', ENOSPC);
    return REAL(pwrite64)(fd, data, count, offset);
}
