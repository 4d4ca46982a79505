/*
 * A process that is held up just before it listens on a TCP socket: preloaded into the process under
 * test, listen() on one takes a second.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

int listen(int socket, int backlog) {
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  if (getsockname(socket, (struct sockaddr *)&address, &size) == 0 && address.ss_family == AF_INET) sleep(1);
  int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "listen");
  return real(socket, backlog);
}
