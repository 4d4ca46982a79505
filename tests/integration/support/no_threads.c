/*
 * A machine that has no thread left: preloaded into the receiver, pthread_create() fails while the
 * file named by PGWEIR_TEST_NO_THREADS exists; if there is a number in it, only that call fails, counted
 * from the first one that sees this number. Each failure adds a line to the same name with ".log" appended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static int fails(const char *control) {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static int number, calls;
  FILE *file = fopen(control, "re");
  if (!file) return 0;
  int wanted;
  int only_one = fscanf(file, "%d", &wanted) == 1;
  fclose(file);
  if (!only_one) return 1;
  pthread_mutex_lock(&mutex);
  if (wanted != number) calls = 0;
  number = wanted;
  int failing = ++calls == number;
  pthread_mutex_unlock(&mutex);
  return failing;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument) {
  const char *control = getenv("PGWEIR_TEST_NO_THREADS");
  if (control && fails(control)) {
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
