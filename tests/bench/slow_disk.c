/*
 * A slower disk than the machine has, preloaded into a receiver:
 *
 *   BENCH_SYNC_US=2000   fsync and fdatasync take so many microseconds more
 *   BENCH_DISK_MBS=20    the disk takes so many MB a second: a sync waits for what was written since
 *                        the last one, all files together; a writer far ahead of the disk waits,
 *                        too, as the kernel's own limit on dirty pages would have it
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const int64_t kMostDirty = 64 << 20;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t busy_until; /* ns: when the disk is done with all it was given */
static int64_t dirty;      /* bytes written and not yet given to it */

static long setting(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : 0;
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void sleep_until(int64_t when) {
  struct timespec then = {when / 1000000000, when % 1000000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == EINTR) {
  }
}

/* Gives the disk all that is dirty; returns when it will have it. */
static int64_t give(long rate) {
  const int64_t now = now_ns();
  if (busy_until < now) busy_until = now;
  busy_until += dirty * 1000 / rate;
  dirty = 0;
  return busy_until;
}

static void before_sync(void) {
  const long us = setting("BENCH_SYNC_US"), rate = setting("BENCH_DISK_MBS");
  if (us) sleep_until(now_ns() + us * 1000);
  if (!rate) return;
  pthread_mutex_lock(&lock);
  const int64_t when = give(rate);
  pthread_mutex_unlock(&lock);
  sleep_until(when);
}

static void after_write(ssize_t bytes) {
  const long rate = setting("BENCH_DISK_MBS");
  if (!rate || bytes <= 0) return;
  int64_t when = 0;
  pthread_mutex_lock(&lock);
  dirty += bytes;
  if (dirty > kMostDirty) when = give(rate);
  pthread_mutex_unlock(&lock);
  if (when) sleep_until(when);
}

int fsync(int fd) {
  before_sync();
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
  before_sync();
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

/* Sockets and pipes are written to with send() or are small. */
ssize_t write(int fd, const void *bytes, size_t count) {
  const ssize_t written =
      ((ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"))(fd, bytes, count);
  if (written >= 4096) after_write(written);
  return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  const ssize_t written =
      ((ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite"))(fd, bytes, count, at);
  after_write(written);
  return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  return pwrite(fd, bytes, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
  const ssize_t written = ((ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(
      RTLD_NEXT, "pwritev"))(fd, parts, count, at);
  after_write(written);
  return written;
}
