// Change data capture: appends every committed change of a database to a file, each exactly once,
// whatever is killed meanwhile.
//
//   cdc CONNINFO SLOT FILE [TRANSACTIONS]
//
// One line for each message of test_decoding: its position, a tab, its text with newlines written
// as \n. The slot is made if there is none. Ends after so many transactions, else by a signal.
//
// How exactly once comes about: the file itself says how far it goes. A position is confirmed only
// when everything before it is synced; what a crash leaves behind the last COMMIT line is cut off
// at the next start; and streaming goes on behind that COMMIT, wherever the slot itself is.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>

#include "pgweir/replication_stream.h"

namespace {

using Stream = weir::ReplicationStream;

volatile std::sig_atomic_t stopped = 0;

weir::Error failed(const std::string& what) {
  return {weir::ErrorKind::io, what + ": " + std::strerror(errno)};
}

/// The file of changes: whole transactions, and behind them what is not committed yet.
class Changes {
 public:
  explicit Changes(const std::string& path)
      : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (fd_ < 0) throw failed("could not open " + path);
    cut_behind_last_commit();
  }
  ~Changes() { close(fd_); }
  Changes(const Changes&) = delete;
  Changes& operator=(const Changes&) = delete;

  /// The end of the last transaction that is whole in the file; none: 0/0.
  weir::Lsn end() const { return end_; }

  void add(weir::Lsn position, std::string_view text) {
    waiting_ += position.to_string() + '\t';
    for (const char c : text) {
      if (c == '\n')
        waiting_ += "\\n";
      else if (c == '\\')
        waiting_ += "\\\\";
      else
        waiting_ += c;
    }
    waiting_ += '\n';
  }

  /// Returns when everything added is durable.
  void sync() {
    for (std::string_view left = waiting_; !left.empty();) {
      const auto written = write(fd_, left.data(), left.size());
      if (written < 0) throw failed("could not write");
      left.remove_prefix(static_cast<std::size_t>(written));
    }
    waiting_.clear();
    if (fdatasync(fd_) != 0) throw failed("could not sync");
  }

 private:
  void cut_behind_last_commit() {
    std::string text;
    char piece[65536];
    for (ssize_t got; (got = read(fd_, piece, sizeof piece)) != 0;) {
      if (got < 0) throw failed("could not read");
      text.append(piece, static_cast<std::size_t>(got));
    }
    std::size_t whole = 0;
    for (std::size_t at = 0, next; (next = text.find('\n', at)) != std::string::npos;
         at = next + 1) {
      const auto line = std::string_view(text).substr(at, next - at);
      const auto tab = line.find('\t');
      if (tab == std::string_view::npos || !line.substr(tab + 1).starts_with("COMMIT")) continue;
      const auto position = weir::Lsn::parse(line.substr(0, tab));
      if (!position) continue;
      end_ = *position;
      whole = next + 1;
    }
    if (ftruncate(fd_, static_cast<off_t>(whole)) != 0) throw failed("could not cut the file");
    lseek(fd_, 0, SEEK_END);
  }

  int fd_;
  weir::Lsn end_;
  std::string waiting_;
};

/// Streams until stopped, or until `left` transactions are there.
void capture(const std::string& conninfo, const std::string& slot, const std::string& path,
             long& left) {
  Changes changes(path);
  Stream stream({.conninfo = conninfo, .kind = Stream::Kind::logical});
  try {
    stream.create_slot(slot, {.plugin = "test_decoding"});
  } catch (const weir::Error& error) {
    if (error.sqlstate() != "42710") throw;  // 42710: it is there already
  }
  stream.start({.slot = slot,
                .start = changes.end(),
                .plugin_options = {{"include-xids", "0"}, {"skip-empty-xacts", "1"}}});
  while (!stopped && left != 0) {
    const auto message = stream.read(std::chrono::milliseconds(200));
    if (!message) continue;
    changes.add(message->end, message->text());
    if (!message->text().starts_with("COMMIT")) continue;
    changes.sync();                // the whole transaction is durable …
    stream.confirm(message->end);  // … so the server may forget it
    if (left > 0) --left;
  }
  stream.stop();
}

}  // namespace

int main(int count, char** words) {
  if (count < 4 || count > 5) {
    std::cerr << "usage: cdc CONNINFO SLOT FILE [TRANSACTIONS]\n";
    return 2;
  }
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { stopped = 1; });
  long left = count > 4 ? std::atol(words[4]) : -1;
  while (!stopped && left != 0) {
    try {
      capture(words[1], words[2], words[3], left);
    } catch (const weir::Error& error) {
      std::cerr << error.what() << "\n" << error.hint() << std::endl;
      if (error.kind() != weir::ErrorKind::retry) return 1;
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
  }
  return 0;
}
