#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "archive/durable_end.h"
#include "confirmed_wal.h"
#include "io/directory.h"
#include "ledger.h"
#include "receive/mailbox.h"
#include "receive/options.h"
#include "receive/status_board.h"
#include "scheduler.h"
#include "sim_machine.h"
#include "sim_servers.h"
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
  Scheduler& scheduler;
  /// Time passes and the world moves, as Scheduler::Tick says. True: a signal asks to stop.
  std::function<bool(std::optional<receive::Time> idle_until)> tick;
  /// hot_standby_feedback of all downstream.
  std::function<void(const wire::HotStandbyFeedback& feedback)> feedback = {};
  std::uint64_t dropped = 0;          ///< messages with WAL
  ConfirmedWal* confirmed = nullptr;  ///< of a process that confirms what is stored
  /// A store had this segment, and has lost it. Empty without a store.
  std::function<bool(wal::SegmentName segment)> lost_by_store = {};
  /// The store had the only copy of this segment, and has lost it.
  std::function<bool(wal::SegmentName)> store_lost = {};
  /// In the process, when the receiver has ended.
  std::function<void()> ended = {};
};

/// One process of the receiver: receive::receive(), all of it, on a simulated machine with
/// simulated servers and a simulated disk. To be kept until Scheduler::end() has ended its threads.
class SimReceiver {
 public:
  SimReceiver(const receive::Options& options, Surroundings& surroundings, std::uint64_t seed);

  ~SimReceiver();

  /// Until it ends by itself; the error it ends with, nullopt after a signal or at endpos. Throws
  /// MachineDown, ProcessDied, Violation, std::bad_alloc.
  std::optional<Error> run();
  /// What the user sees of holes goes into the ledger: before they are recorded. (Of a hole that is
  /// found later nobody can say that it was accepted.)
  void tell_of_holes();
  /// The host that it streamed from last would have done when all were asked last.
  [[nodiscard]] bool could_stay() const;
  /// No host that answered was taken when all were asked last, and one did not answer: that one is
  /// waited for, for --gap-timeout at most.
  [[nodiscard]] bool waits_for_silent_host();
  [[nodiscard]] bool has_archive() const { return has_archive_; }
  /// Its stream ends with std::bad_alloc when it has been idle for a while, and so does run().
  void exhaust_memory() { machine_.exhaust_memory(); }
  /// For who serves downstream in this process.
  [[nodiscard]] receive::Feed& feed() { return feed_; }
  [[nodiscard]] receive::Downstream& downstream() { return downstream_; }
  /// For who sends to a store in it.
  [[nodiscard]] receive::StoreWords& store_word() { return store_word_; }
  [[nodiscard]] const receive::StatusBoard& board() const { return board_; }
  [[nodiscard]] receive::StatusBoard& board() { return board_; }
  /// What its status told last, of a stream that had just begun or ran; timeline 0: nothing yet.
  [[nodiscard]] archive::DurableEnd told_durable() const { return told_durable_; }
  /// What it would answer to who asks what is durable; nullopt while none streams. (The board waits
  /// for the stream with a lock of the real world, which no other thread of this one may then
  /// want.)
  [[nodiscard]] std::optional<archive::DurableEnd> streams() const { return streams_; }

 private:
  class Stop;
  class ReceiverLog;

  void receive();
  void trouble(const Error& error) const;
  void hear_durable(const receive::StreamSnapshot& told);

  const receive::Options options_;
  Surroundings& world_;
  const std::uint64_t seed_;
  SimMachine machine_;
  receive::Feed feed_;
  receive::Downstream downstream_;
  receive::StoreWords store_word_;
  receive::StatusBoard board_{&feed_};
  SimServers servers_;
  const std::unique_ptr<io::Directory> directory_;
  const std::unique_ptr<ReceiverLog> log_;
  const std::unique_ptr<Stop> stop_;
  std::optional<Error> result_;
  bool has_archive_ = false;
  archive::DurableEnd told_durable_;
  std::optional<archive::DurableEnd> streams_;
};

}  // namespace weir::sim
