#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "receive/options.h"
#include "receive/stream_state.h"

namespace weir::receive {

/// What pgweir and pg_receivewal decide differently with the same server and the same archive
/// (Options::stock_habits). Chosen once, when a session begins. Pure but for the log. One thread.
class Habits {
 public:
  virtual ~Habits() = default;

  // --- When a step has failed.

  struct Failure {
    const Error& error;
    Time now;
    bool connected = false;
    bool answered_once = false;  ///< a server has answered the first questions, of this process
    bool streamed = false;       ///< this process has streamed before
    int hosts = 1;
    std::optional<std::chrono::milliseconds> wal_sender_timeout = std::nullopt;
  };
  struct Reaction {
    enum class Kind {
      try_again,       ///< on a new connection, after a pause
      wait_for_space,  ///< the same step again, on the same connection
      next_host,       ///< of the connection string
      stop,
    };
    Kind kind = Kind::stop;
    std::chrono::milliseconds longest_pause = std::chrono::milliseconds::max();
  };
  [[nodiscard]] virtual Reaction after(const Failure& failure) = 0;
  /// Of several hosts all are asked at once before one is chosen. Else they are tried in turn.
  [[nodiscard]] virtual bool asks_all_hosts() const = 0;
  /// What every host refuses is asked for again, as if it might pass.
  [[nodiscard]] virtual bool waits_out_refusal(const Error& error) const = 0;
  /// Tells the error after which it is tried again. `pause` is the session's, which grows; returns
  /// for how long to wait.
  [[nodiscard]] virtual std::chrono::milliseconds pause_after(const Error& error,
                                                              std::chrono::milliseconds pause,
                                                              Log& log) = 0;
  /// A stream has brought a message of the server.
  virtual void on_message() = 0;
  /// And more than that its WAL is gone: what fails from now on fails anew.
  virtual void on_progress() = 0;

  // --- Where to begin, and what is said of it.

  /// An end position before the place where an empty archive would begin is an error.
  [[nodiscard]] virtual bool wants_all_up_to_the_end() const = 0;
  /// That it streams is said when the server says so. Else when WAL has come: only then it is
  /// certain that the server still has it.
  [[nodiscard]] virtual bool believes_that_it_streams() const = 0;

  /// The files that a connection is made with are looked at, before it and while it lasts; what is
  /// the matter with them is told.
  [[nodiscard]] virtual bool watches_secrets() const = 0;

  // --- The files.

  /// The sizes of all finished files are looked at before streaming begins; one of a wrong size
  /// counts as not there, and is replaced. Else they are looked at later, and one of a wrong size
  /// is a hole.
  [[nodiscard]] virtual bool replaces_wrong_sizes() const = 0;
  /// A segment gets its final name before the next one is begun: who finds two unfinished segments
  /// may take the newer one for the end.
  [[nodiscard]] virtual bool one_segment_at_a_time() const = 0;
  /// Finished segments that an earlier run left raw are compressed, too.
  [[nodiscard]] virtual bool compresses_older_segments() const = 0;
  /// At the end what is unfinished gets the form that the user asked for.
  [[nodiscard]] virtual bool compresses_unfinished() const = 0;
  /// How long what is finished may take to be compressed at the end; nullopt: the next start does
  /// it. `well`: at the end position, or by a signal, and not by an error.
  [[nodiscard]] virtual std::optional<std::chrono::milliseconds> time_to_compress(
      bool well) const = 0;
};

/// As `options.stock_habits` says.
[[nodiscard]] std::unique_ptr<Habits> make_habits(const Options& options);

}  // namespace weir::receive
