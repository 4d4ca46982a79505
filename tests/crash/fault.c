/*
 * Faults at the N-th call, for tests: preloaded into a program, it counts the calls that change or
 * open files through a directory (openat, pwrite, fallocate, fdatasync, fsync, renameat2, unlinkat,
 * and the close of what openat opened for writing). The call number FAULT_AT is treated as
 * FAULT_WHAT says:
 *
 *   count        nothing happens
 *   ENOSPC, EIO, EINTR   the call fails so, without effect
 *   short        half of a pwrite is done; another call is left alone
 *   kill         the process kills itself before the call
 *   killed       the same, after the call
 *   lie          every call of the name FAULT_AT (fdatasync, fsync) returns 0 and has done nothing
 *
 * With FAULT_FOREVER=1 so is every later call of the same name. FAULT_LOG gets a line for each call
 * ("fault" behind the treated ones) and one for each flush position that is sent to a server, with the
 * monotonic clock's nanoseconds just before.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long count;
static char first_name[32];
static char opened[4096];

static void say(const char *text) {
  static int fd = -1;
  if (fd < 0) fd = (int)syscall(SYS_openat, AT_FDCWD, getenv("FAULT_LOG"),
                                O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (syscall(SYS_write, fd, text, strlen(text)) < 0) abort();
}

/* 0: go on; else what to do. */
static const char *treat(const char *name, const char *detail) {
  const char *what = getenv("FAULT_WHAT");
  const char *at = getenv("FAULT_AT");
  char line[512];
  if (!what || !at) return NULL;
  pthread_mutex_lock(&mutex);
  ++count;
  int hit = count == atol(at);
  if (hit) snprintf(first_name, sizeof first_name, "%s", name);
  if (count > atol(at) && getenv("FAULT_FOREVER") && strcmp(first_name, name) == 0) hit = 1;
  snprintf(line, sizeof line, "%ld %s %s%s\n", count, name, detail ? detail : "",
           hit ? " fault" : "");
  say(line);
  if (hit && strcmp(what, "kill") == 0) syscall(SYS_kill, getpid(), SIGKILL);
  pthread_mutex_unlock(&mutex);
  if (!hit || strcmp(what, "count") == 0) return NULL;
  return what;
}

/* The last part of the name of what is open there. */
static const char *name_of(int fd, char *buffer, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, buffer, size - 1);
  if (length <= 0) return NULL;
  buffer[length] = 0;
  const char *last = strrchr(buffer, '/');
  return last ? last + 1 : buffer;
}

static int lies(const char *name) {
  const char *what = getenv("FAULT_WHAT");
  const char *at = getenv("FAULT_AT");
  return what && at && strcmp(what, "lie") == 0 && strcmp(at, name) == 0;
}

static int error_of(const char *what) {
  if (!what) return 0;
  if (strcmp(what, "ENOSPC") == 0) return ENOSPC;
  if (strcmp(what, "EIO") == 0) return EIO;
  if (strcmp(what, "EINTR") == 0) return EINTR;
  return 0;
}

#define AFTER(what) \
  if ((what) && strcmp((what), "killed") == 0) syscall(SYS_kill, getpid(), SIGKILL)
#define FAIL(what) \
  if (error_of(what)) { errno = error_of(what); return -1; }

int openat(int directory, const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  mode_t mode = (flags & O_CREAT) ? va_arg(list, mode_t) : 0;
  va_end(list);
  const char *what = treat("openat", path);
  FAIL(what);
  int fd = (int)syscall(SYS_openat, directory, path, flags, mode);
  if (fd >= 0 && fd < (int)sizeof opened) opened[fd] = (flags & O_ACCMODE) != O_RDONLY;
  AFTER(what);
  return fd;
}
int openat64(int directory, const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  mode_t mode = (flags & O_CREAT) ? va_arg(list, mode_t) : 0;
  va_end(list);
  return openat(directory, path, flags, mode);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
  const char *what = treat("pwrite", NULL);
  FAIL(what);
  if (what && strcmp(what, "short") == 0 && size > 1) size /= 2;
  ssize_t done = syscall(SYS_pwrite64, fd, bytes, size, offset);
  AFTER(what);
  return done;
}
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset) {
  return pwrite(fd, bytes, size, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t size) {
  const char *what = treat("fallocate", NULL);
  FAIL(what);
  int done = (int)syscall(SYS_fallocate, fd, mode, offset, size);
  AFTER(what);
  return done;
}
int fallocate64(int fd, int mode, off_t offset, off_t size) {
  return fallocate(fd, mode, offset, size);
}

int fdatasync(int fd) {
  if (lies("fdatasync")) return 0;
  char name[4096];
  const char *what = treat("fdatasync", name_of(fd, name, sizeof name));
  FAIL(what);
  int done = (int)syscall(SYS_fdatasync, fd);
  AFTER(what);
  return done;
}

int fsync(int fd) {
  if (lies("fsync")) return 0;
  char name[4096];
  const char *what = treat("fsync", name_of(fd, name, sizeof name));
  FAIL(what);
  int done = (int)syscall(SYS_fsync, fd);
  AFTER(what);
  return done;
}

int renameat2(int from_directory, const char *from, int to_directory, const char *to,
              unsigned flags) {
  const char *what = treat("renameat2", to);
  FAIL(what);
  int done = (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);
  AFTER(what);
  return done;
}

int unlinkat(int directory, const char *path, int flags) {
  const char *what = treat("unlinkat", path);
  FAIL(what);
  int done = (int)syscall(SYS_unlinkat, directory, path, flags);
  AFTER(what);
  return done;
}

int close(int fd) {
  const char *what = NULL;
  if (fd >= 0 && fd < (int)sizeof opened && opened[fd]) {
    opened[fd] = 0;
    what = treat("close", NULL);
  }
  /* Not by syscall(): the thread sanitizer would take the next file with this number for this one. */
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "close");
  int done = real(fd); /* Linux lets go of it whatever it returns */
  AFTER(what);
  FAIL(what);
  return done;
}

/* A status update: 'd', length, 'r', write, flush, apply, ... */
ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  const unsigned char *at = bytes;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  ssize_t done = syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0);
  for (size_t i = 0; i + 39 <= size; ++i) {
    if (at[i] != 'd' || at[i + 1] || at[i + 2] || at[i + 3] || at[i + 4] != 38 || at[i + 5] != 'r')
      continue;
    uint64_t flush = 0;
    char line[64];
    for (int j = 0; j < 8; ++j) flush = flush << 8 | at[i + 14 + j];
    snprintf(line, sizeof line, "flush %llu %lld\n", (unsigned long long)flush,
             now.tv_sec * 1000000000LL + now.tv_nsec);
    say(line);
  }
  return done;
}
