/*
 * A machine that can take no connection: preloaded into the process under test, accept4() fails while
 * the file named by PGWEIR_TEST_ACCEPT exists, with the error number in it. Each failure adds a
 * character to the same name with ".log" appended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int accept4(int socket, struct sockaddr *address, socklen_t *size, int flags) {
  const char *control = getenv("PGWEIR_TEST_ACCEPT");
  FILE *file = control ? fopen(control, "re") : NULL;
  int error = 0;
  if (file) {
    if (fscanf(file, "%d", &error) != 1) error = 0;
    fclose(file);
  }
  if (error != 0) {
    char name[4096];
    snprintf(name, sizeof name, "%s.log", control);
    FILE *log = fopen(name, "ae");
    if (log) {
      fputc('x', log);
      fclose(log);
    }
    errno = error;
    return -1;
  }
  int (*real)(int, struct sockaddr *, socklen_t *, int) =
      (int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");
  return real(socket, address, size, flags);
}
