#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "base/threads.h"
#include "io/shelf.h"
#include "relay/checked_wal.h"
#include "relay/piece_memory.h"
#include "relay/wal_piece.h"

namespace weir::relay {

/// The WAL of the archive for all clients: those at the same position share what was read,
/// decompressed and verified once. One session reads, on its own thread, for all that request the
/// bytes after the same position; only these wait for it. If there is much to read, a thread of
/// this object reads the next piece while the sessions send the last one. The most recent bytes
/// stay in memory for sessions that come a little later. A session that falls behind them reads for
/// itself, until it reaches a position that another one has in memory. The session in front waits
/// for sessions that are some way behind and only wait for a CPU: otherwise each would read for
/// itself again after its first turn. Sessions that wait for their client are not waited for.
///
/// The bytes in memory were durable and verified when they were read (P10, P11), and do not change:
/// they are right even if their file is gone or corrupted meanwhile. An error affects one client:
/// the next one that reaches that position reads the files again.
///
/// Thread-safe. The shelf and the threads must outlive it.
class SharedWal {
 public:
  struct Options {
    /// Maximum number of recent bytes kept at one position, and in total.
    std::size_t window = std::size_t{4} << 20;
    std::size_t memory = std::size_t{16} << 20;
    /// At this distance the session in front lets others continue first: bytes sent soon after they
    /// were read are still in the CPU's cache.
    std::size_t apart = std::size_t{512} << 10;
    /// Maximum wait: a few time slices of a busy CPU.
    std::chrono::milliseconds patience{20};
    /// Maximum number of bytes read at once, which make one piece: each piece costs every client a
    /// system call, and usually a wakeup.
    std::size_t ahead = std::size_t{512} << 10;
  };
  SharedWal(io::Shelf& archive, const Cluster& cluster, Threads& threads)
      : SharedWal(archive, cluster, threads, Options()) {}
  SharedWal(io::Shelf& archive, const Cluster& cluster, Threads& threads, const Options& options);
  ~SharedWal();
  SharedWal(const SharedWal&) = delete;
  SharedWal& operator=(const SharedWal&) = delete;

  /// One client's position. One thread.
  class Reader;

 private:
  struct Flow;
  struct Read {
    WalPiece piece{};  ///< empty: no more, as yet
    std::optional<CheckedWal::Trouble> trouble = std::nullopt;
    std::optional<Error> passed_over = std::nullopt;
  };

  using Flows = std::list<std::shared_ptr<Flow>>;
  struct Next : Read {
    std::exception_ptr failure = nullptr;
  };
  struct Ahead {
    std::shared_ptr<Flow> flow;
    wal::Lsn limit;
  };

  // All of these must be called under the lock.
  std::optional<WalPiece> find(Reader& reader, const wal::TimelineHistory& history, wal::Lsn from,
                               wal::Lsn limit, Flows& unused);
  static void wait(Flow& flow, Threads::Lock& lock, std::optional<Threads::Time> until);
  void has_moved(Flow& flow) const;
  [[nodiscard]] bool is_to_be_read_ahead(const Flow& flow, wal::Lsn limit) const;
  void ask_ahead(const std::shared_ptr<Flow>& flow, wal::Lsn limit);
  Next read_next(Flow& flow, wal::Lsn limit, Threads::Lock& lock);
  [[nodiscard]] std::size_t ahead() const;
  std::vector<WalPiece> keep(Flow& flow, const WalPiece& piece);
  void forget(Reader& reader);
  void end(Flow& flow);
  // And these without.
  void read_ahead();
  Read read(Reader& reader, const wal::TimelineHistory& history, wal::Lsn from, wal::Lsn limit);
  Read read_once(Reader& reader, const wal::TimelineHistory& history, wal::Lsn from,
                 wal::Lsn limit);
  Next read_on(Flow& flow, wal::Lsn limit, std::size_t most);
  void pause(Reader& reader);
  void leave(Reader& reader);

  io::Shelf& archive_;
  const Cluster cluster_;
  Threads& threads_;
  const Options options_;
  PieceMemory memory_;
  const std::unique_ptr<Threads::Mutex> mutex_;  ///< nothing that blocks is done under it
  Flows flows_;
  std::deque<Ahead> asked_;
  const std::unique_ptr<Threads::Condition> has_asked_;
  bool stopping_ = false;
  std::unique_ptr<Threads::Thread> thread_;  ///< once there is much to read
};

class SharedWal::Reader {
 public:
  explicit Reader(SharedWal& shared) : shared_(shared) {}
  ~Reader() { leave(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// As CheckedWal::read(), from any place on, along this history. Throws Error{io}.
  using Read = SharedWal::Read;
  [[nodiscard]] Read read(const wal::TimelineHistory& history, wal::Lsn from, wal::Lsn limit) {
    return shared_.read(*this, history, from, limit);
  }
  /// It waits for its client, or for more to read.
  void pause() { shared_.pause(*this); }
  /// Holds nothing any more.
  void leave() { shared_.leave(*this); }

 private:
  friend class SharedWal;
  SharedWal& shared_;
  // Guarded by SharedWal::mutex_, except for its own thread's reads.
  std::shared_ptr<Flow> flow_;
  wal::Lsn at_;
  bool active_ = false;
};

}  // namespace weir::relay
