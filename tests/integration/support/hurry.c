/*
 * Who waits for half a minute by poll() waits for half a second: preloaded into the receiver, for the watch of the slot.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>

int poll(struct pollfd *fds, nfds_t count, int timeout) {
  int (*const real)(struct pollfd *, nfds_t, int) = (int (*)(struct pollfd *, nfds_t, int))dlsym(RTLD_NEXT, "poll");
  return real(fds, count, timeout == 30000 ? 500 : timeout);
}
