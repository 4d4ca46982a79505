#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "archive/losses.h"
#include "archive/minimal_wal.h"
#include "archive/segment_writer.h"
#include "receive/alarms.h"
#include "receive/background_compression.h"
#include "receive/connection_secrets.h"
#include "receive/first_wal.h"
#include "receive/habits.h"
#include "receive/inspection.h"
#include "receive/intake.h"
#include "receive/memory_plan.h"
#include "receive/preferred_moves.h"
#include "receive/server.h"
#include "receive/session.h"
#include "receive/session_state.h"
#include "receive/shutdown_watch.h"
#include "receive/slot_guard.h"
#include "receive/slot_keeper.h"
#include "receive/spare.h"
#include "receive/stream_loop.h"
#include "wal/record_verifier.h"

namespace weir::receive {

/// Runs one stream after the other: creates its components, and removes them when it has ended.
/// Keeps what the next stream needs. The session's thread.
class Streaming {
 public:
  /// All must outlive this object.
  struct World {
    const Options& options;
    const Environment& environment;
    const Habits& habits;
    Inspection& inspection;
    Alarms& alarms;
    PreferredMoves& moves;
    ConnectionSecrets& secrets;
  };
  explicit Streaming(const World& world);

  /// The archive's end as read for a comparison: a following stream starts there.
  struct Border {
    wal::TimelineId timeline;
    wal::Lsn end;
    wal::RecordVerifier verifier;
  };
  void set_border(std::optional<Border> border) { border_ = std::move(border); }
  /// The observer for the verifier of a boundary.
  [[nodiscard]] wal::RecordObserver& observer() { return minimal_wal_; }

  /// The server of a stream, and its recipients.
  struct Partners {
    Server& server;
    const ServerParameters& parameters;
    std::optional<wal::TimelineHistory> history;  ///< of the server's newest timeline
    const MemoryPlan& memory;
    BackgroundCompression* compression;  ///< nullptr, as for the next two: there is none
    SlotKeeper* slot_keeper;
    SlotGuard* slot_guard;
    std::vector<archive::Loss> losses;  ///< recorded
    /// A loss was recorded while WAL streams; called by the leader, without a lock.
    std::function<void(const archive::Loss&)> lost;
  };
  /// Runs to its end, for any reason. Throws only net::Interrupted.
  [[nodiscard]] StreamOutcome run(const step::Stream& step, const Partners& partners);

  /// The last stream's connection accepts no command before that has ended.
  [[nodiscard]] bool holds_connection() const { return holds_connection_; }
  void on_connected() { holds_connection_ = false; }

  /// Compresses partial segments as requested. Their content is durable in one form or the other
  /// at any time. Throws as archive::compress_partial().
  void compress_unfinished();

 private:
  /// Components of a stream that exist before the loop.
  struct Carriers {
    WalStream& stream;
    archive::SegmentWriter& writer;
    Intake& intake;
    Spare& spare;
    ShutdownWatch& shutdown_watch;
    StreamLoop::Hooks hooks;
    std::optional<SlotKeeper::Line> line;  ///< nullopt: there are no slots on other servers
    std::optional<bool> standby;           ///< the server's role; nullopt: unknown
  };

  [[nodiscard]] StreamOutcome stream(const step::Stream& step, const Partners& partners);
  [[nodiscard]] StreamOutcome carry(const step::Stream& step, const Partners& partners,
                                    Carriers carriers);
  [[nodiscard]] archive::SegmentWriter::Options writer_options(const step::Stream& step,
                                                               const MemoryPlan& memory) const;
  [[nodiscard]] codec::Compression quick_compression(const MemoryPlan& memory) const;
  void prepare_first_segment(const step::Stream& step, archive::SegmentWriter& writer);
  [[nodiscard]] wal::RecordVerifier verifier_for(const step::Stream& step, const Server& server);
  [[nodiscard]] StreamState::Options state_options(const step::Stream& step,
                                                   const Partners& partners) const;
  [[nodiscard]] bool may_release_xmin() const;
  [[nodiscard]] StreamPolicy::Options policy_options(const step::Stream& step) const;
  [[nodiscard]] std::optional<SlotKeeper::Line> kept_line(const step::Stream& step,
                                                          const Partners& partners, Intake& intake,
                                                          std::optional<FirstWal>& begins);
  [[nodiscard]] std::unique_ptr<PreferWatch> watch_for_preferred(const step::Stream& step,
                                                                 const Partners& partners,
                                                                 std::optional<bool> standby,
                                                                 StreamLoop& loop);
  [[nodiscard]] std::unique_ptr<SuccessorWatch> watch_for_successor(const step::Stream& step,
                                                                    const Partners& partners,
                                                                    StreamLoop& loop);
  [[nodiscard]] std::unique_ptr<StallWatch> watch_for_stall(const step::Stream& step,
                                                            const Partners& partners,
                                                            std::optional<bool> standby,
                                                            StreamLoop& loop);
  void announce(const step::Stream& step, const Partners& partners);
  void warn_of_unchecked(int major);
  void publish_end(const step::Stream& step, const StreamOutcome& outcome);
  void note_unfinished(const step::Stream& step, const StreamOutcome& outcome);

  const World world_;
  const Options& options_;
  const Environment& environment_;
  io::Directory& directory_;
  Log& log_;
  Feed& feed_;
  Machine& machine_;
  std::optional<Border> border_;
  archive::MinimalWal minimal_wal_;
  bool holds_connection_ = false;
  bool told_unchecked_ = false;
  bool first_segment_prepared_ = false;
  bool releases_xmin_ = false;                ///< the stream, of the server's slot
  std::chrono::nanoseconds longest_pause_{};  ///< of the disk
  struct LeftUnfinished {
    wal::SegmentSize size;
    std::uint64_t written = 0;
  };
  std::map<wal::SegmentName, LeftUnfinished> unfinished_;
};

}  // namespace weir::receive
