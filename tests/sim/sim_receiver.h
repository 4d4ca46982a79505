#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "actors.h"
#include "archive/listing.h"
#include "archive/segment_writer.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "ledger.h"
#include "mutant.h"
#include "receive/intake.h"
#include "receive/session_state.h"
#include "receive/stream_turns.h"
#include "sim_upstream.h"

namespace weir::sim {

/// Thrown where the real program ends its process at once: a sync failed (P6).
struct ProcessDied {
  Error error;
};

/// What surrounds a receiver in the simulation.
struct Surroundings {
  SimUpstream& upstream;
  SimDisk& disk;
  Ledger& ledger;
  Random& random;
  Story& story;
  Actors& actors;
  Mutant mutant = Mutant::none;
  /// Time passes and the world moves; to be called before each step. True: a signal asks to stop.
  std::function<bool()> tick;
  /// While set, a sync of a file has begun when it is called and takes effect at complete(): the
  /// hook of the disk adds its call here.
  std::vector<std::uint64_t>* deferring = nullptr;
  /// Until then nothing that was begun on the disk comes to an end.
  receive::Time disk_hangs_until{};
  std::uint64_t dropped = 0;  ///< messages with WAL
};

/// What may be received and not durable; far less than the real limit, so that it is met.
inline constexpr std::uint64_t kUnsyncedLimit = 3 * kSegmentBytes / 2;
inline constexpr std::uint64_t kLargestMessage = 16 * 1024;

/// One process of the receiver: the real SessionState, StreamState, StreamTurns, Intake and
/// SegmentWriter. What they say is to be done session.cc and stream_loop.cc do with threads; here
/// it is done in one, step by step in an order that chance decides. So overlapping syncs begin and
/// end in any order, with writes between. The compressor and the preparer of spares are actors of
/// their own.
class SimReceiver {
 public:
  SimReceiver(const receive::Options& options, Surroundings& surroundings, std::uint64_t seed);

  /// Until it ends by itself; the error it ends with, nullopt after a signal or at endpos. Throws
  /// MachineDown, ProcessDied, Violation.
  std::optional<Error> run();

  /// The lock and what comes right behind it; also what a second process tries.
  static void take_archive(io::Directory& directory);

 private:
  struct Compressor;

  struct Sync {
    std::unique_ptr<archive::SyncJob> job;
    receive::StreamTurns::Sync turn;
    receive::Time began{};
    receive::Time retry_at{};         ///< it found no space
    std::optional<Error> given_up{};  ///< as soon as it is the oldest
    enum class Phase { taken, syncing, synced, finished } phase = Phase::taken;
    std::vector<std::uint64_t> deferred;  ///< calls of the disk that take effect when it ends
    bool counted = false;                 ///< the engine was told (too early, by a mutant)
  };
  struct Streaming;

  void perform(const receive::Step& step);
  void run_to_the_end();
  void inspect(const receive::step::InspectArchive& step);
  void inspect(const receive::step::InspectArchive& step, const archive::Listing& listing);
  void compress(const std::vector<wal::SegmentName>& segments);
  void look_for_losses(const archive::Listing& listing, receive::ArchiveFacts& facts);
  void record_loss(const receive::step::RecordLoss& step);
  void store_late_losses();
  void store_history(const receive::step::StoreHistory& step);
  void compare_tail(const receive::step::CompareTail& step);
  void stream(const receive::step::Stream& step);
  receive::StreamOutcome stream_wal(const receive::step::Stream& step);
  void sleep(Streaming& streaming);
  void take_message(Streaming& streaming, bool write);
  void care(Streaming& streaming);
  void discard(Streaming& streaming);
  static std::span<const std::byte> at_its_place(Streaming& streaming,
                                                 std::span<const std::byte> wal);
  void accept(Streaming& streaming, std::span<const std::byte> wal);
  void write_held(Streaming& streaming);
  void begin_sync(Streaming& streaming);
  void move_sync(Streaming& streaming, std::size_t index);
  void do_part(Streaming& streaming, std::size_t index);
  void tell(receive::StreamTurns::News news);
  void count(Streaming& streaming, Sync& sync);
  void report(Streaming& streaming);
  void fail(Streaming& streaming, const Error& error);
  bool skip_old_timeline(const receive::step::Stream& step);

  const receive::Options options_;
  Surroundings& world_;
  // Shared with the actors, which may find out after us that the machine is gone.
  std::shared_ptr<io::Directory> directory_;
  std::shared_ptr<Compressor> compressor_;
  receive::SessionState state_;
  std::optional<receive::step::StoreHistory> late_history_;
  std::vector<archive::Loss> late_losses_;
  std::optional<Error> result_;
  const bool stock_habits_;  ///< a segment is begun when the one before it has its name
  const bool collects_;      ///< segments in memory
  std::chrono::nanoseconds longest_pause_{};  ///< of the disk
  std::optional<wal::Lsn> over_dropped_;      ///< a mutant's next start
  bool stop_ = false;
};

}  // namespace weir::sim
