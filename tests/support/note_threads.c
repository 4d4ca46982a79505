// To be preloaded: makes the file that PGWEIR_NOTE_THREADS names when the process makes a thread.
// scripts/test runs under the thread sanitizer what did. What the process starts is not asked: the
// threads of another program, say of age, are no thread of the test.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*Create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

static const char* path;

__attribute__((constructor)) static void take_path(void) {
  const char* name = getenv("PGWEIR_NOTE_THREADS");
  path = name ? strdup(name) : NULL;
  unsetenv("PGWEIR_NOTE_THREADS");
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) {
  const int file = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;
  if (file >= 0) close(file);
  const Create real = (Create)dlsym(RTLD_NEXT, "pthread_create");
  return real(thread, attributes, run, argument);
}
