// Follows a server's WAL, byte for byte, over promotions: WAL to standard output, what happens to
// standard error.
//
//   waltail CONNINFO [START [END]]        positions such as 16/B374D848
//
// Without a START it begins at the server's end of WAL, without an END it goes on until it is
// stopped. It uses no slot: a server keeps WAL for it only as long as it would anyway.

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iostream>

#include "pgweir/replication_stream.h"

namespace {

using Stream = weir::ReplicationStream;

Stream* running = nullptr;  // for the signal handler

weir::Lsn position(const char* text) {
  const auto lsn = weir::Lsn::parse(text);
  if (!lsn) throw weir::Error(weir::ErrorKind::usage, std::string("no position: ") + text);
  return *lsn;
}

void tail(Stream& stream, weir::Lsn start, weir::Lsn end) {
  Stream::StartOptions from{.start = start};
  weir::Lsn reached = start;
  for (;;) {
    stream.start(from);
    const auto ended = stream.consume([&](const Stream::Message& message) {
      auto wal = message.text();
      if (end.valid() && message.end > end) wal = wal.substr(0, end - message.data_start);
      std::cout.write(wal.data(), static_cast<std::streamsize>(wal.size()));
      reached = message.data_start + wal.size();
      // Written, not synced: nothing is claimed to be durable.
      stream.send_feedback({.write = reached});
      return !end.valid() || reached < end;
    });
    if (ended != Stream::Ended::timeline_over) break;
    const auto next = *stream.next_timeline();
    std::cerr << "timeline " << next.timeline << " at " << next.switchpoint.to_string() << "\n";
    from = {.start = next.switchpoint, .timeline = next.timeline};
  }
  stream.stop();
  std::cerr << "up to " << reached.to_string() << "\n";
}

}  // namespace

int main(int count, char** words) {
  if (count < 2 || count > 4) {
    std::fprintf(stderr, "usage: waltail CONNINFO [START [END]]\n");
    return 2;
  }
  try {
    Stream stream({.conninfo = words[1]});
    running = &stream;
    for (const int number : {SIGINT, SIGTERM})
      std::signal(number, [](int) { running->interrupt(); });
    const auto server = stream.identify();
    std::cerr << server.name << ", timeline " << server.timeline << "\n";
    tail(stream, count > 2 ? position(words[2]) : server.flush_lsn,
         count > 3 ? position(words[3]) : weir::Lsn());
    std::cout.flush();
    return 0;
  } catch (const weir::Error& error) {
    std::cerr << error.what() << "\n" << error.hint() << std::endl;
    return 1;
  }
}
