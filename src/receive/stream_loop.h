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
#include "receive/alarms.h"
#include "receive/background_compression.h"
#include "receive/feed.h"
#include "receive/intake.h"
#include "receive/machine.h"
#include "receive/mailbox.h"
#include "receive/server.h"
#include "receive/shutdown_watch.h"
#include "receive/spare.h"
#include "receive/status_sender.h"
#include "receive/stream_policy.h"
#include "receive/stream_state.h"
#include "receive/workers.h"
#include "wire/copy_messages.h"

namespace weir::receive {

/// Writes one stream of WAL to the disk, with threads that take turns (leader/followers):
/// - The *leader* reads the connection, verifies, writes. When a sync is due it takes the job, and
///   if syncs are slow lets a follower lead before it syncs; then it reports the new position
///   itself and becomes a follower. So the fast case has no hand-off between threads, and on a slow
///   disk up to kMaxSyncs syncs overlap. The last free thread never syncs but continues reading.
/// - The *guardian* is the thread that called run(). It never accesses the disk: even if the disk
///   hangs, it sends the status the server waits for, watches for silence and for signals (P8), and
///   reads from the connection if no other thread does (P13).
///
/// StreamPolicy decides what they do, when, and what an error means; which thread does it and which
/// to wake is decided here. The simulation in tests/sim runs this class unchanged: the machine, the
/// stream and the disk are interfaces.
///
/// One mutex guards the engine's state and the connection; verifying, writing and syncing happen
/// outside of it. The writer and the intake belong to the leader. Every private function is called
/// with the mutex held, and returns with it held (except work(), which locks it, part(),
/// with_patience() and report_sync_disk()); a function that unlocks it meanwhile uses an Unlocked.
class StreamLoop {
 public:
  /// Callbacks at certain moments of the stream.
  struct Hooks {
    /// The first WAL of this stream has arrived; called by the leader before it is verified,
    /// without a lock. Must not block.
    std::function<void()> first_wal;
    /// Once: the received WAL is of a newer version than this program knows.
    std::function<void()> unchecked;
    /// Called by the leader before each write of WAL, without a lock. It may wait for the disk; its
    /// exceptions count as write errors.
    std::function<void()> before_writing;
  };
  /// All must outlive the loop.
  struct Parts {
    WalStream& stream;
    StreamState& state;
    StreamPolicy& policy;
    archive::SegmentWriter& writer;
    Intake& intake;
    Spare& spare;
    ShutdownWatch& shutdown_watch;
    Machine& machine;
    const net::Wake& stop;
    Feed& feed;
    Alarms& alarms;
    Log& log;
    /// Gets complete segments; nullptr: none.
    BackgroundCompression* compression;
    /// Reports of downstream clients; nullptr: there are none.
    Downstream* downstream;
    /// The store's state (StreamState::Options::confirm_stored); nullptr: there is none.
    StoreWords* store;
  };

  StreamLoop(const Parts& parts, Hooks hooks);
  ~StreamLoop();
  StreamLoop(const StreamLoop&) = delete;
  StreamLoop& operator=(const StreamLoop&) = delete;

  /// Streams until the stream ends, fails, or is stopped (by the Wake, or at endpos). On return,
  /// everything received is durable and all its threads have ended.
  [[nodiscard]] StreamOutcome run();

  /// Ends the stream between two records, when everything is durable: the outcome is `left`. Any
  /// thread; the loop may have ended.
  void leave();

  /// Time since the server's last message. Any thread; does not wait for a disk.
  [[nodiscard]] std::chrono::milliseconds silent_for();
  /// Ends the stream with this error, if the server has sent nothing for this time. Any thread; the
  /// loop may have ended.
  void abandon_if_silent_for(std::chrono::milliseconds least, const Error& error);
  /// The same, for StreamState::idle_for(). Returns whether it ends.
  [[nodiscard]] std::chrono::milliseconds idle_for();
  bool abandon_if_idle_for(std::chrono::milliseconds least, const Error& error);

  /// Its positions. Any thread; does not wait for a disk.
  [[nodiscard]] StreamSnapshot snapshot();

 private:
  using Lock = Threads::Lock;
  class Unlocked;

  [[nodiscard]] Time now() { return machine_.now(); }
  void part();
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
  void lead(Workers::Term term);
  void let_guardian_in();
  bool take_turn();
  bool take_message();
  void accept(const wire::XLogData& data);
  void leave_behind_a_record(wal::Lsn begin);
  [[nodiscard]] StreamPolicy::Pending pending() const;
  void write_pending();
  bool sync_if_due(bool idle, Workers::Term term);
  std::unique_ptr<archive::SyncJob> take_sync_job();
  void sync(std::unique_ptr<archive::SyncJob> job, StreamPolicy::Sync sync);
  template <typename Function>
  StreamPolicy::Decision with_patience(StreamPolicy::Sync& sync, const archive::SyncJob& job,
                                       std::optional<Error>& error, Function&& function);
  void give_up(std::unique_ptr<archive::SyncJob> job, const StreamPolicy::Sync& sync,
               const Error& full);
  void report_write_disk(StreamPolicy::DiskChange news, const std::optional<Error>& full);
  void report_sync_disk(StreamPolicy::DiskChange news, const std::optional<Error>& full);
  void report_finished();
  void wait_for_events();
  void send_due_status();
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
  Spare& spare_;
  ShutdownWatch& shutdown_watch_;
  Machine& machine_;
  const net::Wake& stop_;
  Feed& feed_;
  Alarms& alarms_;
  Log& log_;
  BackgroundCompression* const compression_;
  Hooks hooks_;

  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> sync_ended_;
  const std::unique_ptr<WakeUp> leader_wake_;
  const std::unique_ptr<WakeUp> guardian_wake_;
  StatusSender statuses_;

  std::atomic<bool> guardian_waits_ = false;  ///< for the mutex: the leader yields it
  bool leader_needs_syncs_ = false;           ///< the leader waits for another thread's sync to end
  std::vector<wal::SegmentName> finished_;    ///< renamed into place, and not yet reported
  bool reports_finished_ = false;             ///< a thread does that
  Workers workers_;                           ///< the last member: its threads use all others
};

}  // namespace weir::receive
