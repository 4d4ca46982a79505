/*
 * A disk that hangs or fails, for tests: preloaded into the receiver, it makes each sync of a file
 * take as long as the file named by PGWEIR_TEST_SYNC says while that file exists:
 *
 *   "sleep 2500"  milliseconds before the sync is passed on
 *   "fail 0"      the sync returns EIO
 *   "fail 1"      only the first sync does, as with a kernel that has dropped the pages; or more
 *   "hang 0"      nothing comes back before the file says something else
 *   "hold 0"      as "hang", and writes do so, too, instead of syncs
 *   "open 0"      nothing comes back of an open of a file whose name ends in ".gz"
 *
 * With PGWEIR_TEST_SYNC_OF, only syncs of the file or directory with this path are treated.
 * Each sync so treated adds a line to the same name with ".log" appended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long read_control(const char *control, char what[16]) {
  FILE *file = control ? fopen(control, "re") : NULL;
  long milliseconds = 0;
  what[0] = '\0';
  if (file) {
    if (fscanf(file, "%15s %ld", what, &milliseconds) != 2) what[0] = '\0';
    fclose(file);
  }
  return milliseconds;
}

static void hang_while(const char *control, const char *wanted) {
  const struct timespec moment = {0, 10000000};
  char what[16];
  for (read_control(control, what); strcmp(what, wanted) == 0; read_control(control, what))
    nanosleep(&moment, NULL);
}

static void note(const char *control, const char *call, const char *what) {
  char name[4096];
  snprintf(name, sizeof name, "%s.log", control);
  FILE *log = fopen(name, "ae");
  if (log) {
    fprintf(log, "%s %s\n", call, what);
    fclose(log);
  }
}

static int is_meant(int fd) {
  const char *only = getenv("PGWEIR_TEST_SYNC_OF");
  char link[64], path[4096];
  if (!only) return 1;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = '\0';
  return strcmp(path, only) == 0;
}

static int treated(const char *call, int fd, int (*real)(int)) {
  const char *control = is_meant(fd) ? getenv("PGWEIR_TEST_SYNC") : NULL;
  char what[16];
  const long milliseconds = read_control(control, what);
  if (what[0] && strcmp(what, "hold") != 0 && strcmp(what, "open") != 0) note(control, call, what);
  if (strcmp(what, "sleep") == 0) {
    struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
  }
  if (strcmp(what, "hang") == 0) hang_while(control, "hang");
  static long failed;
  if (strcmp(what, "fail") == 0 &&
      (milliseconds == 0 || __sync_fetch_and_add(&failed, 1) < milliseconds)) {
    errno = EIO;
    return -1;
  }
  return real(fd);
}

int fsync(int fd) {
  return treated("fsync", fd, (int (*)(int))dlsym(RTLD_NEXT, "fsync"));
}

int fdatasync(int fd) {
  return treated("fdatasync", fd, (int (*)(int))dlsym(RTLD_NEXT, "fdatasync"));
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  hang_while(getenv("PGWEIR_TEST_SYNC"), "hold");
  return ((ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64"))(fd, bytes,
                                                                                        count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  return pwrite64(fd, bytes, count, at);
}

static int opened(const char *call, int directory, const char *path, int flags, mode_t mode) {
  const char *control = getenv("PGWEIR_TEST_SYNC");
  const size_t length = strlen(path);
  const int fd =
      ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, call))(directory, path, flags, mode);
  char what[16];
  read_control(control, what);
  if (fd >= 0 && strcmp(what, "open") == 0 && length > 3 && strcmp(path + length - 3, ".gz") == 0) {
    note(control, call, what);
    hang_while(control, "open");
  }
  return fd;
}

int openat(int directory, const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
  va_end(more);
  return opened("openat", directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
  va_end(more);
  return opened("openat64", directory, path, flags, mode);
}
