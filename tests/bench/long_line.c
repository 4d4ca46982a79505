/* A long line, for TCP as it is: unlike a proxy, whose two connections each have a neighbour, this lets the
 * two ends see the line's time and bandwidth, so that windows, buffers and the slow start are what they would
 * be. A network device of its own (tun) is at both ends of it: what is sent to FAR comes back as if FAR had
 * sent it to NEAR, and so a server that listens on NEAR is reached by FAR.
 *
 *     long_line DELAY_MS MB_S BUFFER_MS       prints "NEAR FAR" once it is there; until it is killed
 *
 * Each packet arrives DELAY_MS later, and not faster than so many megabytes a second in each direction; what
 * would have to wait for longer than BUFFER_MS before the line is dropped, as a router does. Needs a network
 * namespace in which it may make a device (unshare -n). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { kMtu = 1500, kPackets = 1 << 14, kAddresses = 12 };
static const char *const kNear = "10.99.0.1", *const kFar = "10.99.0.2";

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int make_device(void) {
  const int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) die("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strcpy(request.ifr_name, "longline");
  if (ioctl(device, TUNSETIFF, &request) != 0) die("could not make a network device");
  const int socket_ = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET};
  inet_pton(AF_INET, kNear, &address.sin_addr);
  memcpy(&request.ifr_addr, &address, sizeof address);
  if (ioctl(socket_, SIOCSIFADDR, &request) != 0) die("address");
  inet_pton(AF_INET, "255.255.255.0", &address.sin_addr);
  memcpy(&request.ifr_netmask, &address, sizeof address);
  if (ioctl(socket_, SIOCSIFNETMASK, &request) != 0) die("netmask");
  request.ifr_mtu = kMtu;
  if (ioctl(socket_, SIOCSIFMTU, &request) != 0) die("MTU");
  request.ifr_qlen = 10000;
  if (ioctl(socket_, SIOCSIFTXQLEN, &request) != 0) die("queue");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(socket_, SIOCSIFFLAGS, &request) != 0) die("up");
  struct ifreq loopback = {.ifr_flags = IFF_UP | IFF_RUNNING}; /* a new namespace has it down */
  strcpy(loopback.ifr_name, "lo");
  if (ioctl(socket_, SIOCSIFFLAGS, &loopback) != 0) die("lo");
  close(socket_);
  return device;
}

struct packet {
  int64_t arrives;
  size_t size;
  unsigned char bytes[kMtu];
};

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: long_line DELAY_MS MB_S BUFFER_MS\n");
    return 2;
  }
  prctl(PR_SET_TIMERSLACK, 1UL);
  const int64_t delay = (int64_t)(atof(argv[1]) * 1e6), buffer = (int64_t)(atof(argv[3]) * 1e6);
  const double nanoseconds_a_byte = 1000 / atof(argv[2]);
  const int device = make_device();
  /* Both directions arrive in the order they were sent in, with the same delay; only the line's end is
   * each one's own. So one queue for each. */
  static struct packet queues[2][kPackets];
  size_t begin[2] = {0, 0}, end[2] = {0, 0};
  int64_t free_at[2] = {0, 0};
  unsigned long dropped = 0;
  printf("%s %s\n", kNear, kFar);
  fflush(stdout);
  for (;;) {
    int64_t time = now(), next = INT64_MAX;
    for (int way = 0; way < 2; ++way) {
      while (begin[way] != end[way] && queues[way][begin[way] % kPackets].arrives <= time) {
        const struct packet *packet = &queues[way][begin[way]++ % kPackets];
        if (write(device, packet->bytes, packet->size) < 0 && errno != EAGAIN && errno != ENOBUFS) die("write");
      }
      if (begin[way] != end[way] && queues[way][begin[way] % kPackets].arrives < next)
        next = queues[way][begin[way] % kPackets].arrives;
    }
    struct pollfd fd = {device, POLLIN, 0};
    const int64_t wait = next == INT64_MAX ? 1000000000 : next > time ? next - time : 0;
    const struct timespec timeout = {wait / 1000000000, wait % 1000000000};
    if (ppoll(&fd, 1, &timeout, NULL) <= 0) continue;
    for (int i = 0; i < 64; ++i) {
      unsigned char bytes[kMtu];
      const ssize_t size = read(device, bytes, sizeof bytes);
      if (size < 0) break;
      if (size < 20 || bytes[0] >> 4 != 4) continue; /* IPv6 wants to find neighbours */
      /* Large packets one way, their confirmations the other: told apart by the lower port, the server's. */
      const size_t head = (size_t)(bytes[0] & 15) * 4;
      const int way = (size_t)size > head + 4 && memcmp(bytes + head, bytes + head + 2, 2) < 0;
      time = now();
      if (free_at[way] < time) free_at[way] = time;
      if (free_at[way] - time > buffer || end[way] - begin[way] == kPackets) {
        if (++dropped % 1000 == 1) fprintf(stderr, "%lu packets dropped\n", dropped);
        continue;
      }
      free_at[way] += (int64_t)((double)size * nanoseconds_a_byte);
      struct packet *packet = &queues[way][end[way]++ % kPackets];
      packet->arrives = free_at[way] + delay;
      packet->size = (size_t)size;
      memcpy(packet->bytes, bytes, (size_t)size);
      /* The sums of IP and TCP stay right: they don't mind the order. */
      memcpy(packet->bytes + kAddresses, bytes + kAddresses + 4, 4);
      memcpy(packet->bytes + kAddresses + 4, bytes + kAddresses, 4);
    }
  }
}
