#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "archive/timelines.h"
#include "io/shelf.h"
#include "verify/plan.h"
#include "verify/report.h"
#include "wal/record_verifier.h"

namespace weir::verify {

/// What all segments of the archive are compared with.
struct Cluster {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
  std::optional<int> server_major = std::nullopt;
};

/// What became of one segment.
struct Outcome {
  enum class State {
    pending,
    sound,    ///< to its end
    partial,  ///< of a .partial: up to `end`, and nothing speaks of WAL behind it
    damaged,
    vanished,  ///< removed while we were at work
  };
  State state = State::pending;
  wal::Lsn end;  ///< sound WAL ends here; of a damaged one perhaps 0/0
  std::string file{};
};

/// Reads the chunks of a plan and checks them, each on any thread. Findings, outcomes and counts
/// are collected under a lock. Asked to stop, a check ends early; what was found is then no answer.
class SegmentCheck {
 public:
  SegmentCheck(io::Shelf& directory, const Plan& plan, const archive::Timelines& timelines,
               Cluster cluster, std::optional<wal::Lsn> backup_start,
               std::function<void(std::uint64_t)> advance, std::function<bool()> stop);

  void check_chunk(const std::vector<std::size_t>& chunk);
  void check_lone_partial(std::size_t node);
  void check_switch_copy(const SwitchCopy& copy);

  /// It was asked to stop, and did.
  [[nodiscard]] bool stopped() const { return stopped_; }

  // After all threads are done.
  [[nodiscard]] std::vector<Finding>& findings() { return findings_; }
  [[nodiscard]] std::vector<std::string>& notes() { return notes_; }
  [[nodiscard]] Outcome outcome(std::size_t node) const;
  [[nodiscard]] std::uint64_t records() const { return records_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t files() const { return files_; }
  /// Ends of XLOG_BACKUP_END records of the backup, by timeline of the segment.
  [[nodiscard]] const std::vector<std::pair<wal::TimelineId, wal::Lsn>>& backup_ends() const {
    return backup_ends_;
  }

 private:
  class Observer;
  struct Reading;
  using Verifier = wal::RecordVerifier;

  [[nodiscard]] Verifier new_verifier(const Node& node, wal::RecordObserver* observer) const;
  [[nodiscard]] std::unique_ptr<Observer> new_observer(std::size_t node);
  [[nodiscard]] const wal::TimelineHistory* history(wal::TimelineId timeline) const;
  [[nodiscard]] wal::SegmentName segment_of(wal::TimelineId timeline, wal::Lsn lsn) const;

  bool check_finished(std::size_t node, std::optional<Verifier>& verifier);
  Reading read_form(const archive::SegmentFileName& file, Verifier& verifier, bool count);
  void check_other_forms(const Node& node, const archive::SegmentFileName& sound,
                         const std::set<std::string>& tried);
  void check_partial_beside(const Node& node, const archive::SegmentFileName& sound);
  void check_border(const Node& parent, Verifier verifier, std::size_t child);
  void check_partial(std::size_t node, std::optional<Verifier> verifier, Observer* observer);
  void check_finished_meanwhile(std::size_t node, const Verifier& before, Observer* observer);
  bool check_switch_copy(const SwitchCopy& copy, const archive::SegmentFileName& old_file,
                         const archive::SegmentFileName& new_file, wal::Lsn start);
  [[nodiscard]] bool still_being_written(const archive::SegmentFileName& file, const Node& node);
  void follow_children(std::size_t node, const std::optional<Verifier>& verifier,
                       std::optional<std::size_t> next, Observer* observer);
  [[nodiscard]] bool ends_at_switchpoint(const Node& node, const wal::Damage& damage) const;
  [[nodiscard]] bool replay_filler(const Node& node, const archive::SegmentFileName& file,
                                   std::uint64_t offset);

  Finding damage_finding(const Node& node, const std::string& file, const wal::Damage& damage,
                         const std::optional<wal::PageHeader>& first_page) const;
  Finding error_finding(const Node& node, const std::string& file, const Error& error,
                        std::uint64_t given) const;
  void add(Finding finding);
  void note(std::string text);
  void settle(std::size_t node, Outcome outcome);
  /// Whether to go on.
  bool moved(std::uint64_t bytes);

  io::Shelf& directory_;
  const Plan& plan_;
  const Cluster cluster_;
  const std::optional<wal::Lsn> backup_start_;
  const std::function<void(std::uint64_t)> advance_;
  const std::function<bool()> stop_;
  std::atomic<bool> stopped_ = false;
  std::map<wal::TimelineId, wal::TimelineHistory> histories_;

  std::mutex mutex_;
  std::vector<Finding> findings_;
  std::vector<std::string> notes_;
  std::vector<Outcome> outcomes_;
  std::map<std::size_t, wal::Lsn> broken_borders_;  ///< by the segment behind; where it ends
  std::uint64_t records_ = 0;
  std::uint64_t bytes_ = 0;
  std::size_t files_ = 0;
  std::vector<std::pair<wal::TimelineId, wal::Lsn>> backup_ends_;
};

}  // namespace weir::verify
