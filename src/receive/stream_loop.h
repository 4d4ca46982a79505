#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "archive/segment_writer.h"
#include "base/log.h"
#include "net/wake.h"
#include "pq/replication_stream.h"
#include "receive/intake.h"
#include "receive/session_state.h"
#include "receive/stream_state.h"
#include "receive/stream_turns.h"
#include "wire/copy_messages.h"

namespace weir::receive {

/// Carries one stream of WAL to the disk, with threads that take turns (leader/followers):
///
/// - The *leader* reads the connection, checks, writes. When a sync is due it takes the job, and
///   where syncs are slow lets a follower lead before it syncs; having synced, it reports the new
///   position itself and follows. So the quick case has no hand-off between threads, and on a slow
///   disk up to kMaxSyncs syncs overlap. The last free thread never syncs, it goes on reading.
/// - The *guardian* is the thread that called run(). It never touches the disk: whatever hangs
///   there, it sends the status the server waits for, watches for silence and for signals (P8), and
///   takes from the connection what nobody else takes any more (P13).
///
/// What they do, and what an error means, StreamTurns decides; who does it and when to wake whom is
/// decided here.
///
/// One mutex guards the engine's state and the connection; verifying, writing and syncing happen
/// outside of it. The writer and the intake belong to the leader.
class StreamLoop {
 public:
  struct Hooks {
    /// Segments that just got their final names; any thread, no lock held. Must not block.
    std::function<void(const std::vector<wal::SegmentName>&)> segments_finished;
    /// WAL came, for the first time in this stream; no lock held. Must not block.
    std::function<void()> first_wal;
    /// The position lies well inside a segment and no spare is ready; no lock held. Must not block.
    std::function<void()> want_spare;
    /// What was written cannot be made durable: must end the process without returning (P6). Any
    /// thread.
    std::function<void(const Error&)> durability_lost;
    /// Once true, nothing is sent to the server any more.
    const std::atomic<bool>* mute = nullptr;
    /// Called by the guardian at the start and then every `tick_interval`; no lock held.
    std::function<void(const StreamSnapshot&)> tick;
    std::chrono::milliseconds tick_interval{10'000};
    /// Called by the guardian every few seconds while the disk is stuck and the stream would not
    /// tell that the server shuts down, and once more with false when it would; the lock is held:
    /// must not block. True if the server shuts down.
    std::function<bool(bool wanted)> server_shuts_down;
    /// Disk full began or ended; any thread.
    std::function<void(bool full)> disk_full;
  };

  StreamLoop(pq::ReplicationStream& stream, StreamState& state, archive::SegmentWriter& writer,
             Intake& intake, const Options& options, wal::SegmentSize segment_size,
             std::chrono::nanoseconds longest_pause, net::Wake& interrupt, Log& log, Hooks hooks);
  ~StreamLoop();
  StreamLoop(const StreamLoop&) = delete;
  StreamLoop& operator=(const StreamLoop&) = delete;

  /// Streams until the stream ends, fails, or is stopped (by the Wake, or at endpos). When it
  /// returns, everything that was received is durable and no thread of it runs.
  [[nodiscard]] StreamOutcome run();

  /// For the next stream (StreamTurns::Options). After run().
  [[nodiscard]] std::chrono::nanoseconds longest_pause() const { return turns_.longest_pause(); }

  /// Where it stands. Any thread; waits for no disk.
  [[nodiscard]] StreamSnapshot snapshot();

 private:
  using Lock = std::unique_lock<std::mutex>;

  void guard(Lock& lock);
  void release_memory(Lock& lock);
  [[nodiscard]] Time guardian_deadline(Time next_tick);
  void care(Lock& lock);
  void begin_discarding();
  void discard_what_comes();
  void ask_whether_the_server_leaves();
  void let_go_of_a_leaving_server();
  void wake_guardian();
  void work();
  void lead(Lock& lock, std::uint64_t term);
  bool take_message(Lock& lock);
  void accept(const wire::XLogData& data, Lock& lock);
  [[nodiscard]] StreamTurns::Held held() const;
  void write_held(Lock& lock);
  void ask_for_spare();
  bool sync_if_due(Lock& lock, std::uint64_t term);
  std::unique_ptr<archive::SyncJob> take_sync_job(Lock& lock);
  void sync(std::unique_ptr<archive::SyncJob> job, StreamTurns::Sync sync, Lock& lock);
  template <typename Function>
  StreamTurns::What with_patience(StreamTurns::Sync& sync, std::optional<Error>& error,
                                  Function&& function);
  void give_up(std::unique_ptr<archive::SyncJob> job, const StreamTurns::Sync& sync,
               const Error& full, Lock& lock);
  void tell_of_writing(StreamTurns::News news, const std::optional<Error>& full);
  void tell_of_syncs(StreamTurns::News news, const std::optional<Error>& full);
  [[noreturn]] void durability_lost(const Error& error);
  void wait_for_events(Lock& lock);
  void hand_over();
  void send_due_status();
  void fail(const Error& error);
  void finish_if_done();
  void wake_leader();
  template <typename Function>
  void guarded(Lock& lock, Function&& function);

  pq::ReplicationStream& stream_;
  StreamState& state_;
  StreamTurns turns_;
  archive::SegmentWriter& writer_;
  Intake& intake_;
  const Options& options_;
  const wal::SegmentSize segment_size_;
  net::Wake& interrupt_;
  Log& log_;
  Hooks hooks_;

  std::mutex mutex_;
  std::condition_variable followers_;  ///< leadership is free, or all is over
  std::condition_variable sync_ended_;
  net::Wake leader_wake_;
  net::Wake guardian_wake_;
  std::vector<std::thread> threads_;

  std::atomic<bool> guardian_waits_ = false;  ///< for the mutex: the leader lets it in
  bool leading_ = false;
  std::uint64_t term_ = 0;  ///< counts leaders; a leader whose term is over must not lead
  std::size_t idle_followers_ = 0;
  bool leader_needs_syncs_ = false;  ///< the leader waits for a sync of another thread to end
  bool leader_inline_sync_ = false;
  Time inline_sync_since_{};
  bool unsent_ = false;  ///< libpq still holds output that the socket did not take
  bool over_ = false;
  wal::Lsn spare_asked_;    ///< start of the segment during which a spare was asked for
  wal::Lsn seen_position_;  ///< by the guardian
  Time quiet_since_{};      ///< it saw the same position since
  bool memory_released_ = false;
  bool guardian_rests_ = false;  ///< the guardian sleeps as if nothing were to be done
  bool disk_used_ = false;       ///< since the guardian's last round
  bool asking_ = false;          ///< as told to Hooks::server_shuts_down
  bool let_go_ = false;
  std::chrono::milliseconds gather_time_{5};  ///< how long WAL may gather on the socket
};

}  // namespace weir::receive
