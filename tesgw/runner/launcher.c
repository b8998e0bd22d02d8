/* The first program in every executor's container, and a helper for what executors leave behind.
 *
 *   launch exec [-i PATH] [-o PATH] [-e PATH] -- ARGV...
 *       Open the streams inside the container, as the image's user, and become ARGV. 127: no such program;
 *       126: it cannot be run, or a stream cannot be opened.
 *   launch own UID GID DIR
 *       Give everything below DIR to UID:GID, readable and writable for it, no longer setuid or setgid.
 *       1: something could not be changed; the rest was.
 *
 * Static, so that an image needs nothing. scripts/build_launcher.py builds what is in launcher/.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CANNOT_RUN = 126, NOT_FOUND = 127 };

static void say(const char *subject, const char *problem) {
    struct iovec line[] = {
        {"tesgw: ", 7}, {(char *)subject, strlen(subject)}, {": ", 2}, {(char *)problem, strlen(problem)}, {"\n", 1},
    };
    ssize_t ignored = writev(STDERR_FILENO, line, 5);
    (void)ignored;
}

static _Noreturn void fail(int status, const char *subject, int error) {
    say(subject, strerror(error));
    _exit(status);
}

/* ---- exec ---- */

struct streams {
    const char *in, *out, *err;
};

static int open_output(const char *path) {
    const int flags = O_WRONLY | O_TRUNC | O_APPEND | O_CLOEXEC;
    int fd = open(path, flags);
    /* O_CREAT only when needed: with fs.protected_regular (proc(5)) it fails on another user's file in a sticky directory. */
    if (fd < 0 && errno == ENOENT) fd = open(path, flags | O_CREAT, 0666);
    if (fd < 0) fail(CANNOT_RUN, path, errno);
    return fd;
}

static int open_input(const char *path) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0) fail(CANNOT_RUN, path, errno);
    if (S_ISDIR(status.st_mode)) fail(CANNOT_RUN, path, EISDIR);
    return fd;
}

static void redirect(int fd, int stream, const char *path) {
    if (dup2(fd, stream) < 0) fail(CANNOT_RUN, path, errno);
}

/* stderr first: what goes wrong with the others is then found where the task looks for its errors. */
static void redirect_all(const struct streams *paths) {
    if (paths->err) redirect(open_output(paths->err), STDERR_FILENO, paths->err);
    if (paths->out) {
        int is_shared = paths->err && strcmp(paths->out, paths->err) == 0;
        redirect(is_shared ? STDERR_FILENO : open_output(paths->out), STDOUT_FILENO, paths->out);
    }
    if (paths->in) redirect(open_input(paths->in), STDIN_FILENO, paths->in);
}

static char **parse(char **argv, struct streams *paths) {
    for (; argv[0]; argv += 2) {
        if (strcmp(argv[0], "--") == 0 && argv[1]) return argv + 1;
        if (!argv[1]) break;
        if (strcmp(argv[0], "-i") == 0) paths->in = argv[1];
        else if (strcmp(argv[0], "-o") == 0) paths->out = argv[1];
        else if (strcmp(argv[0], "-e") == 0) paths->err = argv[1];
        else break;
    }
    fail(CANNOT_RUN, "launch exec", EINVAL);
}

static _Noreturn void run(char **arguments) {
    struct streams paths = {0};
    char **argv = parse(arguments, &paths);
    redirect_all(&paths);
    execvp(argv[0], argv);
    fail(errno == ENOENT || errno == ENOTDIR ? NOT_FOUND : CANNOT_RUN, argv[0], errno);
}

/* ---- own ---- */

/* A directory on the way down: names of its subdirectories, each ended by NUL, those from `next` on still to be done. */
struct level {
    struct level *above;
    dev_t device;
    ino_t inode;
    char *names;
    size_t length, next;
};

struct owner {
    uid_t user;
    gid_t group;
    int failed;
};

static void note(struct owner *owner, const char *name) {
    if (!owner->failed) say(name, strerror(errno));
    owner->failed = 1;
}

static void *checked(void *memory) {
    if (!memory) fail(1, "launch own", ENOMEM);
    return memory;
}

static void remember(struct level *level, const char *name) {
    size_t size = strlen(name) + 1;
    level->names = checked(realloc(level->names, level->length + size));
    memcpy(level->names + level->length, name, size);
    level->length += size;
}

static void set_mode(int directory, const char *name, mode_t mode, int flags, struct owner *owner) {
    int fd = openat(directory, name, flags | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, mode) < 0) note(owner, name);
    if (fd >= 0) close(fd);
}

static void own_entry(int directory, const char *name, struct level *level, struct owner *owner) {
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchownat(directory, name, owner->user, owner->group, AT_SYMLINK_NOFOLLOW) < 0) {
        note(owner, name);
    } else if (S_ISDIR(status.st_mode)) {
        set_mode(directory, name, (status.st_mode & 01777) | 0700, O_DIRECTORY, owner);
        remember(level, name);
    } else if (S_ISREG(status.st_mode)) {
        set_mode(directory, name, (status.st_mode & 0777) | 0600, 0, owner);
    }
}

static void own_entries(int directory, struct level *level, struct owner *owner) {
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd < 0 ? NULL : fdopendir(fd);
    if (!listing) {
        note(owner, ".");
        return;
    }
    for (struct dirent *entry; (entry = readdir(listing));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            own_entry(directory, entry->d_name, level, owner);
    }
    closedir(listing);
}

/* Go into `directory`, closing nothing; its entries are done when this returns. */
static struct level *enter(int directory, struct level *above, struct owner *owner) {
    struct stat status;
    struct level *level = checked(calloc(1, sizeof *level));
    if (fstat(directory, &status) < 0) fail(1, "launch own", errno);
    level->above = above;
    level->device = status.st_dev;
    level->inode = status.st_ino;
    own_entries(directory, level, owner);
    return level;
}

static struct level *leave(struct level *level) {
    struct level *above = level->above;
    free(level->names);
    free(level);
    return above;
}

/* By ".." and not by a descriptor for each level, of which there are too few. It has to lead where we came from. */
static int ascend(int directory, const struct level *above) {
    struct stat status;
    int fd = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0) fail(1, "launch own: ..", errno);
    if (status.st_dev != above->device || status.st_ino != above->inode) fail(1, "launch own: ..", ESTALE);
    close(directory);
    return fd;
}

static void own_tree(int directory, struct owner *owner) {
    struct level *level = enter(directory, NULL, owner);
    while (level) {
        if (level->next == level->length) {
            level = leave(level);
            if (level) directory = ascend(directory, level);
            continue;
        }
        const char *name = level->names + level->next;
        level->next += strlen(name) + 1;
        int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
            note(owner, name);
            continue;
        }
        close(directory);
        directory = fd;
        level = enter(directory, level, owner);
    }
}

static int own(const char *user, const char *group, const char *path) {
    struct owner owner = {.user = strtoul(user, NULL, 10), .group = strtoul(group, NULL, 10)};
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0) fail(1, path, errno);
    own_tree(directory, &owner);
    return owner.failed;
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "exec") == 0) run(argv + 2);
    if (argc == 5 && strcmp(argv[1], "own") == 0) return own(argv[2], argv[3], argv[4]);
    fail(CANNOT_RUN, "launch", EINVAL);
}
