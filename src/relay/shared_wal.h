#pragma once

#include <chrono>
#include <cstddef>
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

/// The WAL of the archive for all clients: those who are at the same place get what was read,
/// unpacked and checked once. One of them reads, on its own thread, for all who want the bytes
/// behind the same place; these wait for it, and nobody else does. Where there is much to read, the
/// first who comes to the last piece reads the next one before it sends: the others send
/// meanwhile. The last of what was read stays in memory for those who come a little later. Who
/// falls behind that reads for itself, until it comes to a place that somebody else has in memory.
/// Who is in front lets those go first who are some way behind and only wait for a processor: else
/// each would read for itself again after its first turn. Who waits for its client is not waited
/// for.
///
/// What is in memory was durable and checked when it was read (P10, P11), and does not change: so
/// it is right even where its file is gone or spoiled meanwhile. An error is of one client: the
/// next one that comes to that place looks at the files anew.
///
/// Thread-safe. The shelf and the threads outlive it.
class SharedWal {
 public:
  struct Options {
    /// So much is kept of what was read last at one place, and in all.
    std::size_t window = std::size_t{4} << 20;
    std::size_t memory = std::size_t{16} << 20;
    /// Who is in front lets others go first then: what is sent soon after it was read is still in
    /// the processor's cache.
    std::size_t apart = std::size_t{512} << 10;
    /// And so long at most: a few turns of a busy processor.
    std::chrono::milliseconds patience{20};
    /// So much is read at a time, at most, where there is more, and makes one piece: each piece
    /// costs every client a call of the kernel, and most often an awakening.
    std::size_t ahead = std::size_t{512} << 10;
  };
  SharedWal(io::Shelf& archive, const Cluster& cluster, Threads& threads)
      : SharedWal(archive, cluster, threads, Options()) {}
  SharedWal(io::Shelf& archive, const Cluster& cluster, Threads& threads, const Options& options);
  ~SharedWal();
  SharedWal(const SharedWal&) = delete;
  SharedWal& operator=(const SharedWal&) = delete;

  /// One client's place. One thread.
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

  // All of these with the lock held.
  std::optional<WalPiece> find(Reader& reader, const wal::TimelineHistory& history, wal::Lsn from,
                               wal::Lsn limit, Flows& unused);
  static void wait(Flow& flow, Threads::Lock& lock, std::optional<Threads::Time> until);
  void has_moved(Flow& flow) const;
  [[nodiscard]] bool is_to_be_read_ahead(const Flow& flow, wal::Lsn from, wal::Lsn limit) const;
  Next read_next(Flow& flow, wal::Lsn limit, Threads::Lock& lock);
  [[nodiscard]] std::size_t ahead() const;
  std::vector<WalPiece> keep(Flow& flow, const WalPiece& piece);
  void forget(Reader& reader);
  void end(Flow& flow);
  // And these without.
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
  // Guarded by SharedWal::mutex_ but for its own thread's looks at them.
  std::shared_ptr<Flow> flow_;
  wal::Lsn at_;
  bool active_ = false;
};

}  // namespace weir::relay
