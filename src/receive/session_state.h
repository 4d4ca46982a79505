#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "archive/losses.h"
#include "archive/resume.h"
#include "base/backoff.h"
#include "base/log.h"
#include "pq/commands.h"
#include "pq/replication_stream.h"
#include "receive/choose_host.h"
#include "receive/choose_start.h"
#include "receive/gap_search.h"
#include "receive/habits.h"
#include "receive/known_losses.h"
#include "receive/options.h"
#include "receive/refusals.h"
#include "receive/slot_creation.h"
#include "wal/timeline_history.h"

namespace weir::receive {

/// The next action. Each is performed by the session, which then calls the named event, or
/// failed().
namespace step {

/// Query all hosts of the connection string at once; afterwards there is no connection →
/// on_hosts_asked()
struct AskHosts {};
struct Connect {  ///< → on_connected()
  int first_host = 0;
};
struct Identify {};        ///< IDENTIFY_SYSTEM → on_identified()
struct ReadParameters {};  ///< SHOW … → on_parameters()
struct CreateSlot {};      ///< → on_slot_created()
struct DropSlot {};        ///< the slot created on this connection → on_slot_dropped()
struct ReadSlot {};        ///< READ_REPLICATION_SLOT → on_slot()
struct FetchHistory {      ///< TIMELINE_HISTORY → on_history(), on_history_absent()
  wal::TimelineId timeline = 0;
};
/// Check the archive against the server (P4), find its end → on_archive()
struct InspectArchive {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
};
struct StoreHistory {  ///< durably → on_history_stored()
  wal::TimelineId timeline = 0;
  std::string content;
};
/// Find the exact end of the archive's WAL, which ends on this timeline and is to be continued at
/// `from` → on_end_found()
struct FindEnd {
  wal::TimelineId timeline = 0;
  wal::Lsn from;
};
/// Record it durably, before streaming continues after it → on_loss_recorded()
struct RecordLoss {
  archive::Loss loss;
};
struct Probe {  ///< does the server still have the segment that starts here? → on_probed()
  wal::TimelineId timeline = 0;
  wal::Lsn lsn;
};
/// Read the start of the oldest WAL that the server has → on_oldest_read()
struct ReadOldest {
  wal::TimelineId timeline = 0;
  wal::Lsn lsn;
  std::size_t bytes = 0;
};
/// Compare the server's WAL before `end` with the archive's → on_tail_compared()
struct CompareTail {
  wal::TimelineId timeline = 0;  ///< of the archive; a segment before its first belongs to an
                                 ///< ancestor
  wal::Lsn end;                  ///< as for archive::tail_before()
  wal::SegmentSize segment_size;
  std::uint64_t system_identifier = 0;
};
struct Stream {  ///< START_REPLICATION and the stream → on_stream_ended()
  wal::TimelineId timeline = 0;
  wal::Lsn start;
  std::vector<archive::OpenSegment> open;
  /// The archive has durable WAL of this timeline from `start` up to there, which is received
  /// again.
  wal::Lsn held_end{};
  wal::SegmentSize segment_size;
  std::uint64_t system_identifier = 0;
  wal::Lsn server_end;  ///< from IDENTIFY_SYSTEM: how much there is to catch up
  /// Position of the server's slot, if it is known and after `start`; else 0/0.
  wal::Lsn slot_position{};
  /// Records of holes that are filled, since streaming resumes before them.
  std::vector<std::string> void_losses;
};
struct Disconnect {};  ///< → on_disconnected()
struct Wait {          ///< → on_waited()
  std::chrono::milliseconds time{};
};
struct Stop {
  std::optional<Error> error;  ///< unset: done, or stopped as requested
};

}  // namespace step

using Step = std::variant<step::AskHosts, step::Connect, step::Identify, step::ReadParameters,
                          step::CreateSlot, step::DropSlot, step::ReadSlot, step::FetchHistory,
                          step::InspectArchive, step::StoreHistory, step::FindEnd, step::RecordLoss,
                          step::Probe, step::ReadOldest, step::CompareTail, step::Stream,
                          step::Disconnect, step::Wait, step::Stop>;

/// The connected server.
struct Upstream {
  std::string name;  ///< for messages
  int host_index = 0;
  int host_count = 1;
  int major = 0;
  std::optional<bool> standby;
};

struct ServerParameters {
  wal::SegmentSize segment_size;
  std::chrono::milliseconds wal_sender_timeout{};  ///< zero: none
};

struct ArchiveFacts {
  std::optional<archive::ResumePoint> resume;
  std::optional<wal::Lsn> sound_end;                 ///< of its last record; unset: not requested
  std::map<wal::TimelineId, std::string> histories;  ///< content of the history files
  bool losses_known = true;           ///< false: reading failed; earlier known losses still count
  std::vector<archive::Loss> losses;  ///< recorded
  std::vector<archive::Loss> found;   ///< found in the archive, not recorded
};

/// Comparison of the archive's end with the server's WAL.
struct TailComparison {
  enum class How {
    nothing,  ///< the archive has no complete segment before that position
    same,
    differs,
    not_there,  ///< the server has removed that WAL, or does not serve that timeline
  };
  How how = How::nothing;
  std::string file;     ///< of the archive
  wal::Lsn at;          ///< the first byte that differs, or was requested
  std::string archive;  ///< the archive's content there, for messages
  std::string server;   ///< the server's content there, or its error message
};

/// How a stream ended; everything received before is durable, unless an Error says otherwise.
struct StreamOutcome {
  enum class How {
    stopped,         ///< by a signal or at endpos
    timeline_ended,  ///< `next` is set
    dropped,         ///< WAL after `reached` was dropped, and must be requested again at once
    left,            ///< by StreamLoop::leave(): another host is preferred
    failed,          ///< `error` is set
  };
  How how = How::stopped;
  std::optional<pq::EndOfStream::Next> next;
  std::optional<Error> error;
  bool heard_anything = false;  ///< the server sent at least one message
  bool stop_asked = false;      ///< by a signal
  wal::Lsn reached;             ///< write position
};

/// The engine around the stream: which query to send next, where to stream from, when to retry,
/// when to give up. Pure: no I/O, no clock and no threads; messages go to the given log. The
/// session loop only performs its steps.
///
/// It works from facts: a missing fact is queried, a disconnect discards those of the connection,
/// and when all are known choose_start() decides.
///
/// A slot to be created (`create_slot`) is created last, when only the stream itself remains: on a
/// rejected server it would retain WAL for no client until that server's disk is full. The WAL it
/// reserves is one more fact, so the decision is then repeated. If the server is rejected after
/// all, the slot is dropped again.
class SessionState {
 public:
  /// `habits` and `log` must outlive it.
  SessionState(const Options& options, Habits& habits, Log& log, std::uint64_t seed);

  [[nodiscard]] Step next();

  /// The hosts of the connection string. Before the first step; if it is not called, hosts are
  /// tried in turn.
  void on_hosts(int count, bool prefers_standby);
  /// Their answers; `archive` is the archive's own state.
  void on_hosts_asked(std::vector<HostWord> hosts, std::optional<ArchivedSoFar> archive, Time now);
  void on_connected(Upstream upstream);
  void on_identified(const pq::SystemIdentity& identity);
  void on_parameters(const ServerParameters& parameters);
  void on_slot_created(bool created);
  void on_slot_dropped();
  void on_slot(const pq::SlotState& slot);
  void on_history(wal::TimelineId timeline, std::string content);
  /// True if the error means that the server does not have that file, or cannot read it and
  /// archiving does not need it: it is of a timeline that the server did not follow.
  [[nodiscard]] bool lacks_history(wal::TimelineId timeline, std::string_view sqlstate) const;
  void on_history_absent(wal::TimelineId timeline, const std::string& server_text);
  void on_archive(ArchiveFacts facts);
  void on_history_stored(wal::TimelineId timeline);
  void on_end_found(wal::Lsn end);
  /// `loss` as recorded, with the details found.
  void on_loss_recorded(archive::Loss loss);
  /// A loss was recorded while WAL streams.
  void on_loss_noticed(archive::Loss loss) { losses_.on_noticed(std::move(loss)); }
  void on_probed(bool available);
  void on_oldest_read(const std::string& wal);
  void on_tail_compared(const TailComparison& comparison);
  void on_stream_ended(const StreamOutcome& outcome, Time now);
  void on_disconnected();
  void on_waited();
  /// The step last returned by next() failed.
  void failed(const Error& error, Time now);
  /// A signal: the next step is Stop.
  void request_stop();

  [[nodiscard]] const std::optional<ServerParameters>& parameters() const { return parameters_; }
  [[nodiscard]] const std::optional<Upstream>& upstream() const { return upstream_; }
  /// The next host to connect to, among the queried ones.
  [[nodiscard]] std::optional<int> chosen_host() const { return chosen_host_; }
  /// The verdict about each host after the last query.
  [[nodiscard]] const std::vector<HostVerdict>& verdicts() const { return verdicts_; }
  /// nullopt if not available.
  [[nodiscard]] std::optional<wal::TimelineHistory> server_history() const;
  /// All known losses, including those about to be recorded.
  [[nodiscard]] std::vector<archive::Loss> losses() const { return losses_.all(); }
  /// The archive's records were read.
  [[nodiscard]] bool knows_losses() const { return knows_losses_; }

 private:
  std::optional<Step> missing_fact();
  std::optional<Step> decide();
  Step stream_from(const StartAt& at);
  [[nodiscard]] wal::Lsn slot_position(const step::Stream& stream) const;
  std::optional<Step> compare_tail(const StartAt& at);
  [[nodiscard]] bool compared_as_it_comes() const;
  void on_nothing_to_compare(const TailComparison& comparison);
  [[nodiscard]] bool slot_is_at_the_end() const;
  void tell_of_a_missing_tail();
  void refuse_uncompared(const TailComparison& comparison);
  [[nodiscard]] bool slot_is_to_be_made() const;
  /// The server has a command to read a slot's position.
  [[nodiscard]] bool tells_of_its_slots() const;
  void slot_is_there_already();
  void remember_lost_slot(const pq::SlotState& slot);
  /// The position that the server gives for the slot, if the slot retains WAL from there on.
  [[nodiscard]] std::optional<wal::Lsn> retained_from() const;
  [[nodiscard]] std::string gap_hint(wal::Lsn missing) const;
  std::optional<Step> history_step(wal::TimelineId timeline);
  [[nodiscard]] std::optional<Step> ancestor_step(wal::TimelineId timeline,
                                                  const std::string& content) const;
  std::optional<Step> skipped_step(wal::TimelineId timeline);
  std::optional<Step> search_gap();
  void gap_found(const GapSearch::Found& found);
  [[nodiscard]] Error was_reset(wal::Lsn missing, wal::Lsn held) const;
  std::optional<Step> find_lost_branch(const StartFacts& facts);
  void add_pending(archive::Loss loss);
  [[nodiscard]] archive::Loss hole(const StartAt& begin, const StartAt& end) const;
  wal::TimelineId server_timeline_at(wal::Lsn lsn) const;
  [[nodiscard]] bool asks_hosts() const { return hosts_ > 1 && habits_.asks_all_hosts(); }
  void tell_verdicts(std::vector<HostVerdict> verdicts);
  void wait_for_other_hosts(const AskAgain& reason);
  void no_host_will_do(const Error& error);
  void wait_for_wal(const std::string& why);
  void refuse(const Error& error);
  void refused_by_all(const Error& error);
  void slow_down_switches(Time now);
  void try_again(const Error& error, std::chrono::milliseconds pause);
  [[nodiscard]] std::chrono::milliseconds soon_enough(std::chrono::milliseconds pause) const;
  void stop(std::optional<Error> error);
  void forget_connection();

  Options options_;
  Habits& habits_;
  Log& log_;
  Backoff backoff_;
  Backoff behind_backoff_;
  KnownLosses losses_;
  bool knows_losses_ = false;
  SlotCreation slots_;

  // Facts of the connection, discarded with it.
  std::optional<Upstream> upstream_;
  std::optional<pq::SystemIdentity> identity_;
  std::optional<ServerParameters> parameters_;
  std::optional<pq::SlotState> slot_;
  std::map<wal::TimelineId, std::optional<std::string>>
      server_histories_;        ///< nullopt: not on the server
  bool tail_compared_ = false;  ///< or has streamed: then it continues what it sent
  std::optional<TailComparison> tail_differed_;  ///< the last comparison, if it differed
  std::optional<StartAt> tail_before_;           ///< the position before which it was last compared
  /// Nothing shows that the server's WAL continues the archive. Does it have the next WAL at all?
  std::optional<TailComparison> uncompared_;
  std::set<int> asked_anew_;  ///< hosts queried twice because of that
  // Facts of the archive, discarded when something was written.
  std::optional<ArchiveFacts> archive_;
  wal::TimelineId skipped_ = 0;  ///< requested last by skipped_step()
  /// By host, its timeline, and the skipped one. Each server's log has an error for such a request:
  /// none is repeated. Behind a virtual address, another server has usually been promoted.
  std::set<std::tuple<int, wal::TimelineId, wal::TimelineId>> skipped_absent_;
  std::set<wal::TimelineId> stored_histories_;
  // A position that is already decided: after a timeline's end or a gap.
  std::optional<StartAt> place_;

  std::optional<GapSearch> gap_;
  std::optional<wal::Lsn> found_again_;  ///< was missing, and the server of another connection has
                                         ///< it
  StartAt streaming_from_;               ///< the last Stream step
  /// Its position if the archive was empty. As long as that is so, the next connection starts there
  /// too: what the server has written since then is not left out.
  std::optional<wal::Lsn> begun_;
  bool begins_again_ = false;  ///< the last Stream step does

  bool ready_once_ = false;  ///< a server has answered the first queries
  bool streamed_ = false;    ///< this process has streamed before
  bool told_behind_ = false;
  bool told_disk_full_ = false;
  bool told_ready_ = false;
  bool told_slot_ = false;
  /// Hosts whose slot reserved no WAL although the archive has some, and was not created again
  /// since. The server may have invalidated it, and then a later position means nothing.
  std::set<int> slot_lost_on_;
  std::set<int> told_tail_;  ///< hosts with which it could not be compared
  int first_host_ = 0;
  Time hosts_asked_at_{};
  /// A failover may be in progress: one of several hosts may be promoted at any moment.
  std::optional<Time> failover_since_;
  int hosts_ = 1;
  bool prefers_standby_ = false;
  std::optional<int> chosen_host_;
  std::optional<int> streamed_host_;  ///< the last one
  std::vector<HostVerdict> verdicts_;
  std::string told_waiting_;
  Refusals refusals_;
  bool disconnect_ = false;
  std::optional<std::chrono::milliseconds> wait_;
  /// Timeline switches followed since `switches_since_`.
  int switches_ = 0;
  Time switches_since_{};
  wal::Lsn damage_at_;
  int damage_count_ = 0;
  std::optional<step::Stop> stop_;
};

}  // namespace weir::receive
