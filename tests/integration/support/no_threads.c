/*
 * A machine that has no thread left: preloaded into the receiver, pthread_create() fails while the
 * file named by PGWEIR_TEST_NO_THREADS exists. Each failure adds a line to the same name with ".log"
 * appended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument) {
  const char *control = getenv("PGWEIR_TEST_NO_THREADS");
  if (control && access(control, F_OK) == 0) {
    char name[4096];
    snprintf(name, sizeof name, "%s.log", control);
    FILE *log = fopen(name, "ae");
    if (log) {
      fputs("pthread_create\n", log);
      fclose(log);
    }
    return EAGAIN;
  }
  int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
      (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(
          RTLD_NEXT, "pthread_create");
  return real(thread, attributes, start, argument);
}
