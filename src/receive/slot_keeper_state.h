#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/error.h"
#include "pq/commands.h"
#include "pq/slot_view.h"
#include "receive/candidate.h"
#include "receive/record_ends.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/server_version.h"
#include "wal/timeline_history.h"

namespace weir::receive {

/// The archive's current end.
struct OurEnd {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
  wal::TimelineHistory history{1};  ///< of the streaming timeline
  wal::Lsn durable;                 ///< everything before it is
  /// WAL that servers do not have to retain, if that is less (Confirm::stored); 0/0: none.
  std::optional<wal::Lsn> confirmed = {};
  RecordEnds record_ends;  ///< of that history; also after `durable`
  /// The first bytes of timelines of that history, if known.
  std::map<wal::TimelineId, std::string> first_wal = {};
  /// Another host that is a primary on that timeline: the one that streams, or a candidate.
  std::optional<std::string> primary = {};
};

/// Why the WAL of a server is not of the archive's history; nullopt if its history includes the
/// archive's end, or the archive's history includes its end. Pure.
[[nodiscard]] std::optional<std::string> left_our_history(const OurEnd& ours,
                                                          const wal::TimelineHistory& theirs,
                                                          wal::Lsn end);

/// Queries to a server.
namespace keep {

struct Identify {};    ///< → on_identified()
struct FetchHistory {  ///< → on_history()
  wal::TimelineId timeline = 0;
};
struct ReadFirstWal {  ///< its WAL, as much as exists → on_first_wal()
  wal::TimelineId timeline = 0;
  wal::Lsn begin;
  std::size_t bytes = 0;
};
struct ReadSlot {};    ///< → on_slot(), on_logical_slot()
struct CreateSlot {};  ///< → on_slot_created()
struct UseSlot {       ///< Server::use_slot() → on_slot_used()
  wal::Lsn position;
  wal::TimelineId timeline = 0;
  std::optional<wal::Lsn> flush;
};
struct CheckSlot {};  ///< its validity, over an ordinary connection → on_slot_checked()
struct Done {};       ///< the result is in candidate()

}  // namespace keep

using KeepStep =
    std::variant<keep::Identify, keep::FetchHistory, keep::ReadFirstWal, keep::ReadSlot,
                 keep::CreateSlot, keep::UseSlot, keep::CheckSlot, keep::Done>;

/// Advances the slot of one server with the archive: one visit after the other, each a short
/// dialogue. Pure: no I/O, no clock, no threads.
///
/// The slot is only moved forward, to the end of a record that is durable in the archive and that
/// the server has as well, and only on a server of our history. The protocol itself would move it
/// anywhere. Two servers that were promoted to the same timeline ID at the same position have equal
/// histories: then the first WAL of the timeline is compared as well. A second primary on the
/// archive's timeline is left alone, since its slot would release WAL of its own that is not
/// archived. The slot's position is queried (PostgreSQL 15 and later). On an older server it is
/// unknown, but never after the end of the server's WAL: so the slot is not moved until both the
/// archive's end and the server's are past the server's end at the time the slot was first seen.
/// That a slot has a position does not always mean that it is valid (pq::unseen_invalidation()).
class SlotKeeperState {
 public:
  using WallTime = std::chrono::system_clock::time_point;

  /// `create`: create the slot if it is missing.
  SlotKeeperState(std::string host, std::size_t index, bool create) : create_(create) {
    candidate_.host = std::move(host);
    candidate_.index = index;
  }

  /// A visit starts: the server has just been connected. `major`: its version; `standby`: its role,
  /// nullopt if unknown.
  void begin(OurEnd ours, int major, std::optional<bool> standby = {});
  [[nodiscard]] KeepStep next() const;
  void on_identified(const pq::SystemIdentity& identity, WallTime now);
  /// nullopt: the server does not have the file, or it is invalid.
  void on_history(std::optional<wal::TimelineHistory> history);
  void on_first_wal(const std::string& wal);
  /// `unseen_invalidation`: as pq::setting_of_unseen_invalidation() returns it.
  void on_slot(const pq::SlotState& slot, std::string unseen_invalidation = {});
  void on_logical_slot();
  void on_slot_created();
  /// `flush` as requested; `done`: as returned by Server::use_slot().
  void on_slot_used(std::optional<wal::Lsn> flush, bool done);
  void on_slot_checked(const pq::SlotView& slot);
  /// The server allows no ordinary connection.
  void on_slot_not_checked(const Error& error);
  /// The server rejected a query.
  void on_refused(const Error& error);
  /// It does not answer.
  void on_no_answer(const Error& error, WallTime now);

  /// Others may move the slot from now on: its known position is invalid.
  void forget_slot();

  [[nodiscard]] const Candidate& candidate() const { return candidate_; }
  /// The slot was missing in this visit, and existed in the previous one.
  [[nodiscard]] bool found_gone() const { return found_gone_; }
  /// The timeline of our history on which it was a primary in this visit.
  [[nodiscard]] std::optional<wal::TimelineId> primary_on() const;

 private:
  void leave_second_primary();
  void on_missing();
  [[nodiscard]] std::optional<wal::Lsn> target() const;
  [[nodiscard]] std::optional<keep::ReadFirstWal> first_wal_to_compare() const;
  [[nodiscard]] bool can_be_asked() const {
    return wal::ServerVersion(major_).has_read_replication_slot();
  }
  void found(Cover cover, std::string reason = {});
  void found_invalidated(const std::optional<std::string>& reason);
  void judge();

  const bool create_;
  Candidate candidate_;

  // State of the visit:
  OurEnd ours_;
  int major_ = 0;
  bool primary_ = false;
  std::optional<pq::SystemIdentity> identity_;
  std::optional<wal::TimelineHistory> history_;
  bool ours_is_theirs_ = false;
  bool first_wal_read_ = false;
  std::optional<pq::SlotState> slot_;
  std::string unseen_invalidation_;
  bool to_check_ = false;
  bool missing_ = false;  ///< before 15: found missing when it was used
  bool created_ = false;
  bool found_gone_ = false;
  bool done_ = false;

  bool was_there_ = false;  ///< the slot, at the last visit that could check it
  /// Kept between visits: the timeline whose start is equal to our WAL, or has been removed (the
  /// server would log an error for each query).
  std::optional<wal::TimelineId> begins_as_ours_;
  // Also kept, for the slot of a server that cannot be queried:
  std::optional<wal::Lsn> set_to_;      ///< by us
  std::optional<wal::Lsn> not_behind_;  ///< the server's end when the slot was first seen
};

}  // namespace weir::receive
