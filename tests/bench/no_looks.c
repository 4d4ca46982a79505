/*
 * What looking whether a file is still found under its name costs: preloaded into the receiver, statx() asks the
 * kernel once for each name, and answers from memory from then on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/stat.h>

enum { kNames = 16, kLength = 128 };
static __thread struct {
  int directory;
  char name[kLength];
  struct statx status;
} known[kNames];
static __thread unsigned next;

int statx(int directory, const char *name, int flags, unsigned mask, struct statx *status) {
  for (unsigned i = 0; i < kNames; ++i)
    if (known[i].name[0] != '\0' && known[i].directory == directory && strcmp(known[i].name, name) == 0) {
      *status = known[i].status;
      return 0;
    }
  const int result = ((int (*)(int, const char *, int, unsigned, struct statx *))dlsym(RTLD_NEXT, "statx"))(
      directory, name, flags, mask, status);
  if (result == 0 && name[0] != '\0' && strlen(name) < kLength) {
    known[next % kNames].directory = directory;
    strcpy(known[next % kNames].name, name);
    known[next++ % kNames].status = *status;
  }
  return result;
}
