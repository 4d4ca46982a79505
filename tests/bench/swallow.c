/* Clients of a walsender, real or not, that throw the WAL away: what comes is counted by the kernel and
 * never copied (MSG_TRUNC), so that what is measured is who sends.
 *
 *   swallow PORT USER CLIENTS TIMELINE START MEGABYTES [tls]    until each has so much; prints the seconds
 *   swallow PORT USER CLIENTS TIMELINE START 0 [tls]            stays, and prints a line once all stream
 *   swallow PORT USER CLIENTS TIMELINE START 0 answers          the same, and says something to all that comes, as
 *                                                               a standby does, but of no position
 *
 * PORT of 127.0.0.1, where USER needs no password. START: a position as text. With `tls` what comes is
 * counted as it comes, and not decrypted. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

struct client {
  int socket;
  SSL *tls; /* NULL: none */
};

static void put_all(struct client client, const void *bytes, size_t size) {
  const char *at = bytes;
  while (size > 0) {
    const ssize_t sent = client.tls != NULL ? SSL_write(client.tls, at, (int)size)
                                            : send(client.socket, at, size, 0);
    if (sent <= 0) die("send");
    at += sent;
    size -= (size_t)sent;
  }
}

static void get_all(struct client client, void *bytes, size_t size) {
  char *at = bytes;
  while (size > 0) {
    const ssize_t got = client.tls != NULL ? SSL_read(client.tls, at, (int)size)
                                           : recv(client.socket, at, size, 0);
    if (got <= 0) die("recv");
    at += got;
    size -= (size_t)got;
  }
}

/* Messages up to one of this type; an error ends the program. */
static void until(struct client client, char type) {
  char body[65536];
  for (;;) {
    char kind;
    uint32_t length;
    get_all(client, &kind, 1);
    get_all(client, &length, 4);
    length = ntohl(length) - 4;
    if (length > sizeof body) exit(1);
    get_all(client, body, length);
    if (kind == 'E') {
      fwrite(body, 1, length, stderr);
      exit(1);
    }
    if (kind == type) return;
  }
}

static struct client connect_to(int port, const char *user, int number, SSL_CTX *tls) {
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  struct client client = {descriptor, NULL};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
  if (tls != NULL) {
    const uint32_t request[2] = {htonl(8), htonl(80877103)};
    put_all(client, request, sizeof request);
    char answer;
    get_all(client, &answer, 1);
    SSL *const session = SSL_new(tls);
    if (answer != 'S' || session == NULL || SSL_set_fd(session, descriptor) != 1 || SSL_connect(session) != 1) {
      fprintf(stderr, "no TLS\n");
      exit(1);
    }
    client.tls = session;
  }
  char packet[512];
  size_t size = 8;
  const uint32_t version = htonl(3u << 16);
  memcpy(packet + 4, &version, 4);
  size += (size_t)snprintf(packet + size, sizeof packet - size, "user%c%s%creplication%ctrue%capplication_name%cswallow%d%c",
                           0, user, 0, 0, 0, 0, number, 0);
  packet[size++] = 0;
  const uint32_t length = htonl((uint32_t)size);
  memcpy(packet, &length, 4);
  put_all(client, packet, size);
  until(client, 'Z');
  return client;
}

/* A reply as a standby sends it: nothing is written, flushed or applied. */
static void answer(struct client client) {
  char reply[1 + 4 + 34] = {'d', 0, 0, 0, 38, 'r'};
  put_all(client, reply, sizeof reply);
}

static void start(struct client client, const char *timeline, const char *position) {
  char query[256] = "Q";
  const size_t text = (size_t)snprintf(query + 5, sizeof query - 5,
                                       "START_REPLICATION %s TIMELINE %s", position, timeline);
  const uint32_t length = htonl((uint32_t)(text + 1 + 4));
  memcpy(query + 1, &length, 4);
  put_all(client, query, text + 6);
}

int main(int argc, char **argv) {
  if (argc != 7 && argc != 8) {
    fprintf(stderr, "usage: swallow PORT USER CLIENTS TIMELINE START MEGABYTES [tls|answers]\n");
    return 2;
  }
  const int clients = atoi(argv[3]);
  const uint64_t wanted = strtoull(argv[6], NULL, 10) << 20;
  const int answers = argc == 8 && strcmp(argv[7], "answers") == 0;
  SSL_CTX *const tls = argc == 8 && !answers ? SSL_CTX_new(TLS_client_method()) : NULL;
  struct client *all = calloc((size_t)clients, sizeof *all);
  struct pollfd *polls = calloc((size_t)clients, sizeof *polls);
  uint64_t *got = calloc((size_t)clients, sizeof *got);
  if (all == NULL || polls == NULL || got == NULL) die("calloc");
  for (int i = 0; i < clients; ++i) {
    all[i] = connect_to(atoi(argv[1]), argv[2], i, tls);
    polls[i] = (struct pollfd){all[i].socket, POLLIN, 0};
  }
  const double begin = now();
  for (int i = 0; i < clients; ++i) start(all[i], argv[4], argv[5]);
  for (int i = 0; i < clients; ++i) until(all[i], 'W');
  if (wanted == 0) {
    printf("streaming\n");
    fflush(stdout);
  }
  for (int left = clients; left > 0;) {
    if (poll(polls, (nfds_t)clients, -1) < 0) die("poll");
    for (int i = 0; i < clients; ++i) {
      if (polls[i].revents == 0 || polls[i].fd < 0) continue;
      static char unused[1 << 20];
      const ssize_t count = recv(polls[i].fd, unused, sizeof unused, MSG_TRUNC | MSG_DONTWAIT);
      if (count <= 0) die("recv");
      got[i] += (uint64_t)count;
      if (answers) answer(all[i]);
      if (wanted != 0 && got[i] >= wanted) {
        close(polls[i].fd);
        polls[i].fd = -1;
        --left;
      }
    }
  }
  printf("%.6f\n", now() - begin);
  return 0;
}
