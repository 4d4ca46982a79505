/*
 * Who waits on a condition for half a minute waits for half a second: preloaded into the receiver, for the watch of the slot.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *until) {
  int (*const real)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *) =
      (int (*)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *))dlsym(
          RTLD_NEXT, "pthread_cond_clockwait");
  struct timespec now;
  clock_gettime(clock, &now);
  if (until->tv_sec - now.tv_sec < 29 || until->tv_sec - now.tv_sec > 30) return real(condition, mutex, clock, until);
  now.tv_nsec += 500 * 1000 * 1000;
  if (now.tv_nsec >= 1000 * 1000 * 1000) {
    now.tv_nsec -= 1000 * 1000 * 1000;
    now.tv_sec += 1;
  }
  return real(condition, mutex, clock, &now);
}
