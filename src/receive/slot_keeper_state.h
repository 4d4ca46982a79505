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
#include "receive/candidate.h"
#include "receive/record_ends.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/server_version.h"
#include "wal/timeline_history.h"

namespace weir::receive {

/// Where the archive is at the moment.
struct OurEnd {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
  wal::TimelineHistory history{1};  ///< of the timeline that streams
  wal::Lsn durable;                 ///< everything before it is
  /// What no server need keep any more, where that is less (Confirm::stored); 0/0: nothing.
  std::optional<wal::Lsn> confirmed = {};
  RecordEnds record_ends;  ///< of that history; also behind `durable`
  /// The first bytes of timelines of that history, as far as they are known.
  std::map<wal::TimelineId, std::string> first_wal = {};
};

/// Why the WAL of a server is none of the archive's history; nullopt if its history leads to the
/// archive's end, or the archive's to its own. Pure.
[[nodiscard]] std::optional<std::string> left_our_history(const OurEnd& ours,
                                                          const wal::TimelineHistory& theirs,
                                                          wal::Lsn end);

/// What to ask a server for.
namespace keep {

struct Identify {};    ///< → on_identified()
struct FetchHistory {  ///< → on_history()
  wal::TimelineId timeline = 0;
};
struct ReadFirstWal {  ///< its WAL, so much of it as there is → on_first_wal()
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
struct Done {};  ///< candidate() says what came of it

}  // namespace keep

using KeepStep = std::variant<keep::Identify, keep::FetchHistory, keep::ReadFirstWal,
                              keep::ReadSlot, keep::CreateSlot, keep::UseSlot, keep::Done>;

/// Keeps the slot of one server up with the archive: one visit after the other, each a short
/// dialogue. Pure: no I/O, no clock, no threads.
///
/// The slot is moved to the end of a record that is durable in the archive and that the server has,
/// too; forward only; and on a server whose history is ours. The protocol itself would move it
/// anywhere. Two servers that were promoted to one number in one place have equal histories: of
/// these the first WAL of the timeline is compared, too. Where the slot stands is asked (PostgreSQL
/// 15 and later). Of an older server it is not known: but a slot never begins behind the end that
/// its server has, so it is left alone until the archive's end and the server's have come past the
/// end that the server had when the slot was seen first.
class SlotKeeperState {
 public:
  using WallTime = std::chrono::system_clock::time_point;

  /// `create`: make the slot where it is missing.
  SlotKeeperState(std::string host, std::size_t index, bool create) : create_(create) {
    candidate_.host = std::move(host);
    candidate_.index = index;
  }

  /// A visit begins: the server has just been connected to. `major`: its version.
  void begin(OurEnd ours, int major);
  [[nodiscard]] KeepStep next() const;
  void on_identified(const pq::SystemIdentity& identity, WallTime now);
  /// nullopt: the server has no such file, or one that cannot be read.
  void on_history(std::optional<wal::TimelineHistory> history);
  void on_first_wal(const std::string& wal);
  void on_slot(const pq::SlotState& slot);
  void on_logical_slot();
  void on_slot_created();
  /// `flush` as it was asked for; `done`: as Server::use_slot() returns it.
  void on_slot_used(std::optional<wal::Lsn> flush, bool done);
  /// The server did not let us, whatever was asked.
  void on_refused(const Error& error);
  /// It does not answer.
  void on_no_answer(const Error& error, WallTime now);

  /// Somebody else may move the slot from now on: what is known of it does not count any more.
  void forget_slot();

  [[nodiscard]] const Candidate& candidate() const { return candidate_; }
  /// In this visit the slot was not there, and in the one before it was.
  [[nodiscard]] bool found_gone() const { return found_gone_; }

 private:
  void on_missing();
  [[nodiscard]] std::optional<wal::Lsn> target() const;
  [[nodiscard]] std::optional<keep::ReadFirstWal> first_wal_to_compare() const;
  [[nodiscard]] bool can_be_asked() const {
    return wal::ServerVersion(major_).has_read_replication_slot();
  }
  void found(Cover cover, std::string reason = {});
  void judge();

  const bool create_;
  Candidate candidate_;

  // Of the visit.
  OurEnd ours_;
  int major_ = 0;
  std::optional<pq::SystemIdentity> identity_;
  std::optional<wal::TimelineHistory> history_;
  bool ours_is_theirs_ = false;
  bool first_wal_read_ = false;
  std::optional<pq::SlotState> slot_;
  bool missing_ = false;  ///< before 15: using it showed that it is not there
  bool created_ = false;
  bool found_gone_ = false;
  bool done_ = false;

  bool was_there_ = false;  ///< the slot, at the last visit that could tell
  /// From visit to visit: the timeline of which it began with our WAL, or does not have it any more
  /// (which it would log each time it is asked).
  std::optional<wal::TimelineId> begins_as_ours_;
  // Of the slot of a server that cannot be asked, likewise.
  std::optional<wal::Lsn> set_to_;      ///< by us
  std::optional<wal::Lsn> not_behind_;  ///< the server's end when it was seen first
};

}  // namespace weir::receive
