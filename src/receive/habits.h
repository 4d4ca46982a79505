#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "receive/options.h"
#include "receive/stream_state.h"

namespace weir::receive {

/// Decisions that differ between pgweir and pg_receivewal for the same server and archive
/// (Options::stock_habits). Chosen once, when a session starts. Pure except for the log. One
/// thread.
class Habits {
 public:
  virtual ~Habits() = default;

  // --- Failed steps.

  struct Failure {
    const Error& error;
    Time now;
    bool connected = false;
    bool answered_once = false;  ///< a server has answered this process's first queries
    bool streamed = false;       ///< this process has streamed before
    int hosts = 1;
    std::optional<std::chrono::milliseconds> wal_sender_timeout = std::nullopt;
  };
  struct Reaction {
    enum class Kind {
      try_again,       ///< with a new connection, after a delay
      wait_for_space,  ///< the same step again, on the same connection
      next_host,       ///< of the connection string
      stop,
    };
    Kind kind = Kind::stop;
    std::chrono::milliseconds longest_pause = std::chrono::milliseconds::max();
  };
  [[nodiscard]] virtual Reaction after(const Failure& failure) = 0;
  /// All hosts are queried at once before one is chosen. Otherwise they are tried in turn.
  [[nodiscard]] virtual bool asks_all_hosts() const = 0;
  /// If all hosts reject the connection, it is retried as if that were temporary.
  [[nodiscard]] virtual bool waits_out_refusal(const Error& error) const = 0;
  /// Reports the error before a retry. `pause` is the session's, which grows; returns the delay.
  [[nodiscard]] virtual std::chrono::milliseconds pause_after(const Error& error,
                                                              std::chrono::milliseconds pause,
                                                              Log& log) = 0;
  /// A message of the server has arrived.
  virtual void on_message() = 0;
  /// The stream has made progress: a later failure is a new one.
  virtual void on_progress() = 0;

  // --- The start position, and reports about it.

  /// An end position before an empty archive's start position is an error.
  [[nodiscard]] virtual bool wants_all_up_to_the_end() const = 0;
  /// Streaming is reported when the server confirms it; otherwise when WAL has arrived: only then
  /// it is certain that the server still has it.
  [[nodiscard]] virtual bool believes_that_it_streams() const = 0;

  /// A slot that reserves no WAL yet is reported even if the archive is empty. (The stock program's
  /// --create-slot makes one that does not.)
  [[nodiscard]] virtual bool tells_of_new_slots() const = 0;

  /// The files used for connections are checked, before a connection and during it; problems are
  /// logged.
  [[nodiscard]] virtual bool watches_secrets() const = 0;

  // --- The files.

  /// The sizes of all complete files are checked before streaming starts; a file of the wrong size
  /// is ignored, and replaced. Otherwise they are checked later, and one of the wrong size is a
  /// hole.
  [[nodiscard]] virtual bool replaces_wrong_sizes() const = 0;
  /// A segment is renamed into place before the next one is started: other programs that find two
  /// partial segments may take the newer one for the end.
  [[nodiscard]] virtual bool one_segment_at_a_time() const = 0;
  /// Complete segments that an earlier run left raw are compressed, too.
  [[nodiscard]] virtual bool compresses_older_segments() const = 0;
  /// At the end partial segments are compressed as requested.
  [[nodiscard]] virtual bool compresses_unfinished() const = 0;
  /// Time limit for compressing complete segments at the end; nullopt: the next start does it.
  /// `well`: at the end position, or by a signal, and not by an error.
  [[nodiscard]] virtual std::optional<std::chrono::milliseconds> time_to_compress(
      bool well) const = 0;
};

/// According to `options.stock_habits`.
[[nodiscard]] std::unique_ptr<Habits> make_habits(const Options& options);

}  // namespace weir::receive
