#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "io/directory.h"
#include "logical/format.h"
#include "logical/output.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/replication_stream.h"

namespace weir::logical {

/// Requests to a stream from outside, for example by signals: to stop, and to reopen its output.
/// Any thread may make a request, the rest is for the stream's thread.
class Requests {
 public:
  void stop() {
    stop_.raise();
    any_.raise();
  }
  void reopen() {
    reopen_ = true;
    any_.raise();
  }

  /// Raised once a stop was requested.
  [[nodiscard]] const net::Wake& stop_wake() const { return stop_; }
  /// Raised for either.
  [[nodiscard]] const net::Wake& any() const { return any_; }
  [[nodiscard]] bool stopped() const { return stop_.raised(); }
  /// Returns whether the output must be reopened; clears the request.
  [[nodiscard]] bool take_reopen() {
    // Cleared first: a request made meanwhile is seen now or at the next call.
    any_.clear();
    if (stop_.raised()) any_.raise();
    return reopen_.exchange(false);
  }

 private:
  net::Wake stop_;
  net::Wake any_;
  std::atomic<bool> reopen_ = false;
};

struct Options {
  std::string conninfo;
  std::string slot;
  pq::PluginOptions plugin_options;
  std::string fallback_application_name = "pgweir";

  std::optional<pq::LogicalSlotOptions> create;  ///< create the slot first
  bool if_not_exists = false;                    ///< it may exist already
  /// Runs while the snapshot of the slot just created is held; the stream starts after it. Returns
  /// false if it failed, and the slot is dropped again.
  std::function<bool(const std::string& snapshot, wal::Lsn position)> with_snapshot = {};

  /// Destination: a file with its state, if `directory` is set; else `path`, "-" for standard
  /// output.
  io::Directory* directory = nullptr;
  std::string path;
  ExactOutput::Rotation rotation;
  Form form = Form::plugin;

  std::optional<wal::Lsn> startpos;  ///< without a state only
  std::optional<wal::Lsn> endpos;
  std::chrono::milliseconds status_interval{10'000};  ///< 0: only at the server's request
  std::chrono::milliseconds fsync_interval{1'000};    ///< 0: never but at the end
  bool loop = true;                                   ///< connect again

  /// As pg_recvlogical (habits.h). Its output is a plain one, too: positions are those of the
  /// messages, transactions may be torn at the end position and repeated after a restart.
  bool stock_habits = false;
};

/// Progress reports: when the stream starts, with each confirmed position, and while an error is
/// retried.
struct Progress {
  bool streaming = false;
  std::string_view plugin;
  std::string_view server;
  wal::Lsn durable;
  std::string_view error;  ///< the error that is retried
};

struct Environment {
  Requests& requests;
  Log& log;
  std::uint64_t seed = 0;
  /// Told in pg_recvlogical's words, at its times; may be empty.
  std::function<void(const std::string&)> verbose = {};
  /// Before each attempt to start the stream, on a connection; may be empty.
  std::function<void()> begins = {};
  std::function<void(const Progress&)> progress = {};  ///< may be empty
  /// For a watchdog; may be empty. `alive` is called at least every `alive_interval` between
  /// busy(false) and busy(true): while it streams, and does not wait for a reader of the output.
  std::function<void()> alive = {};
  std::function<void(bool)> busy = {};
  std::optional<std::chrono::milliseconds> alive_interval = {};
};

struct Summary {
  wal::Lsn position;  ///< the last border that is durable
  std::uint64_t messages = 0;
};

/// Adds the newest protocol version that the server knows unless there is one. Throws Error{usage}
/// without publication_names.
void complete_pgoutput_options(int server_major, pq::PluginOptions& options);

/// Creates the slot if requested, and streams until it is stopped, the end position is reached or
/// an error is not retryable. When stopped, the file ends at its last whole transaction, which is
/// durable and confirmed to the server. Throws Error; Interrupted only before the first stream.
Summary stream(const Options& options, const Environment& environment);

}  // namespace weir::logical
