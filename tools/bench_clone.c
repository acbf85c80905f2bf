/* The least that linking a tree anew can cost: getdents64, linkat, mkdirat, and nothing else.
 *
 * No metadata, no error that is not fatal, no other file system than one that tells types. Made by
 * tools/bench_driver to compare with; prints nothing. Usage: bench_clone SOURCE TARGET, where
 * TARGET is an empty directory.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct entry {
    unsigned long inode;
    long offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static int opened(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        err(1, "%s", name);
    return fd;
}

static void clone_below(int source, int target)
{
    char buffer[32768];
    long size;
    while ((size = syscall(SYS_getdents64, source, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < size;) {
            struct entry *entry = (struct entry *)(buffer + at);
            at += entry->length;
            if (!strcmp(entry->name, ".") || !strcmp(entry->name, ".."))
                continue;
            if (entry->type != DT_DIR) {
                if (linkat(source, entry->name, target, entry->name, 0) < 0)
                    err(1, "%s", entry->name);
                continue;
            }
            if (mkdirat(target, entry->name, 0700) < 0)
                err(1, "%s", entry->name);
            int from = opened(source, entry->name), to = opened(target, entry->name);
            clone_below(from, to);
            close(from);
            close(to);
        }
    if (size < 0)
        err(1, "getdents64");
}

int main(int count, char **arguments)
{
    if (count != 3)
        errx(2, "usage: bench_clone SOURCE TARGET");
    clone_below(opened(AT_FDCWD, arguments[1]), opened(AT_FDCWD, arguments[2]));
    return 0;
}
