#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/threads.h"
#include "net/wake.h"
#include "receive/feed.h"
#include "receive/machine.h"
#include "receive/options.h"
#include "receive/server.h"
#include "receive/slot_keeper_state.h"
#include "receive/status_board.h"

namespace weir::receive {

/// Name of its connections, in pg_stat_activity and for synchronous_standby_names.
inline constexpr std::string_view kKeeperName = "pgweir slot keeper";

/// Maintains our slot on every server of the connection string except the streaming one, so that
/// each of them, if promoted, has the next WAL. A thread for each server, which queries it every
/// --slot-interval while a stream runs, over a connection that is closed at once: a hanging one
/// delays neither the others nor the stream. SlotKeeperState decides what to do; results go to the
/// board and the feed.
class SlotKeeper {
 public:
  /// The stream that extends the archive.
  struct Line {
    std::size_t host = 0;  ///< the streaming one, by its index in the connection string
    bool primary = false;  ///< it is one; false also if unknown
    std::uint64_t system_identifier = 0;
    wal::SegmentSize segment_size;
    wal::TimelineHistory history{1};
    wal::Lsn start;  ///< everything before it is durable
    /// The first bytes of timelines of that history, as far as they precede the start.
    std::map<wal::TimelineId, std::string> first_wal;
    /// End of the last completely received record; any thread, until end_line().
    std::function<wal::Lsn()> records_end;
    /// The first bytes of its timeline, if the stream contains them; likewise. May be empty.
    std::function<std::string()> first_of_timeline;
  };

  /// The feed must outlive it, and everything else.
  SlotKeeper(const Options& options, Servers& servers, Machine& machine, Log& log, Feed& feed,
             StatusBoard& board, std::uint64_t seed);
  /// Waits at most a few seconds for the servers' answers.
  ~SlotKeeper();
  SlotKeeper(const SlotKeeper&) = delete;
  SlotKeeper& operator=(const SlotKeeper&) = delete;

  /// A stream starts; all servers are queried at once.
  void begin_line(Line line);
  void end_line();

 private:
  struct Host;

  void work(Host& host);
  void visit(Host& host, OurEnd ours);
  std::unique_ptr<Server> connect(const Host& host);
  void check_slot(Host& host);
  void perform(Host& host, std::unique_ptr<Server>& connected, const KeepStep& step);
  void show(Host& host);
  [[nodiscard]] std::optional<OurEnd> our_end(const Host& host);
  [[nodiscard]] std::optional<std::string> primary_besides(const Host& host) const;

  const Options options_;
  Servers& servers_;
  Machine& machine_;
  Log& log_;
  Feed& feed_;
  StatusBoard& board_;
  net::Wake stop_;
  std::atomic<std::uint64_t> durable_ = 0;    ///< of the stream
  std::atomic<std::uint64_t> confirmed_ = 0;  ///< to its server

  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  bool stopped_ = false;
  std::uint64_t lines_ = 0;   ///< started
  std::optional<Line> line_;  ///< while one streams
  RecordEnds record_ends_;
  wal::TimelineId timeline_ = 0;  ///< of these positions

  Feed::Subscription subscription_;
  std::vector<std::unique_ptr<Host>> hosts_;
};

}  // namespace weir::receive
