// Prints notifications, and sends what is typed: an event loop of one's own around a Listener.
//
//   listen CONNINFO CHANNEL...
//
// A line on standard input is sent to the first channel. Ends with standard input.

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "pgweir/listener.h"

namespace {

void print(const weir::Notification& notification) {
  std::cout << notification.channel << ": " << notification.payload << std::endl;
}

/// Everything that has arrived. Without a connection, tries for a moment to get one.
void print_all(weir::Listener& listener) {
  try {
    if (!listener.connected()) {
      if (const auto first = listener.read(std::chrono::milliseconds(500))) print(*first);
    }
    while (listener.connected()) {
      const auto notification = listener.read();
      if (!notification) return;
      print(*notification);
    }
  } catch (const weir::Error& error) {
    if (error.kind() != weir::ErrorKind::retry) throw;
    std::cerr << error.what() << std::endl;
  }
}

void run(weir::Listener& listener, const std::string& own_channel) {
  for (;;) {
    pollfd fds[] = {{listener.fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    poll(fds, 2, listener.connected() ? -1 : 0);
    print_all(listener);
    if (fds[1].revents != 0) {
      std::string line;
      if (!std::getline(std::cin, line)) return;
      if (listener.connected()) listener.notify(own_channel, line);
    }
  }
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) {
    std::fprintf(stderr, "usage: listen CONNINFO CHANNEL...\n");
    return 2;
  }
  try {
    weir::Listener::Options options{.conninfo = words[1], .channels = {words + 2, words + count}};
    options.on_listening = [](const weir::Listener::Listening& listening) {
      std::cerr << "listening (" << listening.server << ")" << std::endl;
      if (listening.missed_since) std::cerr << "something may have been missed" << std::endl;
    };
    weir::Listener listener(options);
    run(listener, words[2]);
    return 0;
  } catch (const weir::Error& error) {
    std::cerr << error.what() << "\n" << error.hint() << std::endl;
    return 1;
  }
}
