/*
 * A disk that hangs or fails, for tests: preloaded into the receiver, it makes each sync of a file
 * take as long as the file named by PGWEIR_TEST_SYNC says while that file exists:
 *
 *   "sleep 2500"  milliseconds before the sync is passed on
 *   "fail 0"      the sync returns EIO
 *
 * Each sync so treated adds a line to the same name with ".log" appended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int treated(const char *call, int fd, int (*real)(int)) {
  const char *control = getenv("PGWEIR_TEST_SYNC");
  FILE *file = control ? fopen(control, "re") : NULL;
  char what[16] = "";
  long milliseconds = 0;
  if (file) {
    if (fscanf(file, "%15s %ld", what, &milliseconds) != 2) what[0] = '\0';
    fclose(file);
  }
  if (what[0]) {
    char name[4096];
    snprintf(name, sizeof name, "%s.log", control);
    FILE *log = fopen(name, "ae");
    if (log) {
      fprintf(log, "%s %s\n", call, what);
      fclose(log);
    }
  }
  if (strcmp(what, "sleep") == 0) {
    struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
  }
  if (strcmp(what, "fail") == 0) {
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
