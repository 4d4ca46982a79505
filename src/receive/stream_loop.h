#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "archive/segment_writer.h"
#include "base/log.h"
#include "base/threads.h"
#include "net/wake.h"
#include "receive/downstream.h"
#include "receive/feed.h"
#include "receive/intake.h"
#include "receive/machine.h"
#include "receive/server.h"
#include "receive/store_words.h"
#include "receive/stream_policy.h"
#include "receive/stream_state.h"
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
/// What they do, when, and what an error means, StreamPolicy decides; who does it and whom to wake
/// is decided here. The simulation in tests/sim runs this class as it is: the machine, the stream
/// and the disk are interfaces.
///
/// One mutex guards the engine's state and the connection; verifying, writing and syncing happen
/// outside of it. The writer and the intake belong to the leader. Every private function is called
/// with the mutex held, and returns with it held (but work(), which takes it, with_patience(),
/// report_sync_disk() and durability_lost()); where it is free meanwhile, an Unlocked stands in the
/// function.
class StreamLoop {
 public:
  struct Hooks {
    /// Segments that just got their final names; any thread, no lock held. Must not block.
    std::function<void(const std::vector<wal::SegmentName>&)> segments_finished;
    /// WAL came, for the first time in this stream; no lock held. Must not block.
    std::function<void()> first_wal;
    /// Called by the leader before the first WAL is written, and again if it throws; no lock held.
    /// It may wait for the disk, and what it throws counts as an error of writing.
    std::function<void()> before_writing;
    /// The position lies well inside a segment and no spare is ready; the lock is held. Must not
    /// block.
    std::function<void()> want_spare;
    /// What was written cannot be made durable: must end the process without returning (P6). Any
    /// thread.
    std::function<void(const Error&)> durability_lost;
    /// Once true, nothing is sent to the server any more.
    const std::atomic<bool>* mute = nullptr;
    /// Whose word is passed on; nullptr: there is nobody downstream.
    Downstream* downstream = nullptr;
    /// What a store has (StreamState::Options::confirm_stored); nullptr: there is none.
    StoreWords* store = nullptr;
    /// Called by the guardian every few seconds while the disk is stuck and the stream would not
    /// tell that the server shuts down, and with false when that is over; the lock is held: must
    /// not block. True if the server shuts down.
    std::function<bool(bool wanted)> server_shuts_down;
    /// Disk full began or ended; any thread.
    std::function<void(bool full)> disk_full;
  };
  /// All of it outlives the loop.
  struct Parts {
    WalStream& stream;
    StreamState& state;
    StreamPolicy& policy;
    archive::SegmentWriter& writer;
    Intake& intake;
    Machine& machine;
    const net::Wake& stop;
    Feed& feed;
    Log& log;
  };

  StreamLoop(const Parts& parts, Hooks hooks);
  ~StreamLoop();
  StreamLoop(const StreamLoop&) = delete;
  StreamLoop& operator=(const StreamLoop&) = delete;

  /// Streams until the stream ends, fails, or is stopped (by the Wake, or at endpos). When it
  /// returns, everything that was received is durable and no thread of it runs.
  [[nodiscard]] StreamOutcome run();

  /// Ends the stream between two records, when everything is durable: the outcome is `left`. Any
  /// thread; the loop may already be over.
  void leave();

  /// Where it stands. Any thread; waits for no disk.
  [[nodiscard]] StreamSnapshot snapshot();

 private:
  using Lock = Threads::Lock;
  class Unlocked;
  template <typename Word>
  class Listening;

  [[nodiscard]] Time now() { return machine_.now(); }
  void part();
  void start_worker();
  void guard();
  void report_progress();
  void release_memory();
  void care_for_server();
  void begin_discarding();
  void discard_what_comes();
  void ask_whether_the_server_leaves();
  void let_go_of_a_leaving_server();
  void wake_guardian();
  void work();
  void lead(std::uint64_t term);
  void let_guardian_in();
  bool take_turn();
  bool take_message();
  void accept(const wire::XLogData& data);
  void leave_behind_a_record(wal::Lsn begin);
  [[nodiscard]] StreamPolicy::Pending pending() const;
  void write_pending();
  bool sync_if_due(bool idle, std::uint64_t term);
  std::unique_ptr<archive::SyncJob> take_sync_job();
  void sync(std::unique_ptr<archive::SyncJob> job, StreamPolicy::Sync sync);
  template <typename Function>
  StreamPolicy::Decision with_patience(StreamPolicy::Sync& sync, std::optional<Error>& error,
                                       Function&& function);
  void give_up(std::unique_ptr<archive::SyncJob> job, const StreamPolicy::Sync& sync,
               const Error& full);
  void report_write_disk(StreamPolicy::DiskChange news, const std::optional<Error>& full);
  void report_sync_disk(StreamPolicy::DiskChange news, const std::optional<Error>& full);
  [[noreturn]] void durability_lost(const Error& error);
  void wait_for_events();
  void hand_over();
  void send_due_status();
  void hear_others();
  void on_reported(const wire::StandbyStatus& status);
  void fail(const Error& error);
  void finish_if_done();
  void wake_leader();
  template <typename Predicate>
  void wait_for(Threads::Condition& condition, Predicate over);
  template <typename Function>
  void guarded(Function&& function);

  WalStream& stream_;
  StreamState& state_;
  StreamPolicy& policy_;
  archive::SegmentWriter& writer_;
  Intake& intake_;
  Machine& machine_;
  const net::Wake& stop_;
  Feed& feed_;
  Log& log_;
  Hooks hooks_;

  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> followers_;  ///< leadership is free, or all is over
  const std::unique_ptr<Threads::Condition> sync_ended_;
  const std::unique_ptr<WakeUp> leader_wake_;
  const std::unique_ptr<WakeUp> guardian_wake_;
  std::vector<std::unique_ptr<Threads::Thread>> threads_;

  std::atomic<bool> guardian_waits_ = false;  ///< for the mutex: the leader lets it in
  bool leading_ = false;
  std::uint64_t term_ = 0;  ///< counts leaders; a leader whose term is over must not lead
  std::size_t idle_followers_ = 0;
  bool leader_needs_syncs_ = false;  ///< the leader waits for a sync of another thread to end
  bool unsent_ = false;              ///< libpq still holds output that the socket did not take
  bool over_ = false;
  std::uint64_t heard_downstream_ = 0;  ///< Downstream::version()
  std::uint64_t heard_store_ = 0;       ///< likewise
  wal::Lsn confirmed_;                  ///< as it was published
  bool told_leaving_ = false;           ///< that the server leaves without the store
};

}  // namespace weir::receive
