#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "pq/commands.h"
#include "receive/choose_start.h"
#include "receive/options.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::receive {

/// The answer of one host of the connection string when all were queried.
struct HostWord {
  int index = 0;
  std::string name;
  /// Why nothing is known about it; unset: it answered.
  std::optional<Error> failure;
  pq::SystemIdentity identity;
  wal::SegmentSize segment_size;
  std::optional<wal::TimelineHistory> history;  ///< nullopt: not available
  std::optional<bool> standby;                  ///< nullopt: unknown
  /// Whether it has the next WAL; nullopt: there is none yet, or it could not be queried.
  std::optional<bool> has_wal;
  std::optional<bool> has_slot;  ///< our slot, if pgweir would not create it; nullopt: not checked
  /// The first bytes of those timelines of its history of which the archive has no finished
  /// segment: two servers may have been promoted to the same timeline ID at the same position.
  std::map<wal::TimelineId, std::string> first_wal;
  /// It has nothing after the position at which a stream was left because another host had more.
  bool stalled = false;
};

/// The archive's own state, before any server is known.
struct ArchivedSoFar {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
  StartFacts::ArchiveEnd end;
  /// End of the last complete record or, if that does not matter, the position to resume at.
  wal::Lsn position;
  /// The first bytes of its last timeline; empty if its complete segments of that timeline
  /// distinguish branches anyway.
  std::string first_wal = {};
};

/// Number of bytes of a timeline's first WAL to compare. A promotion's record, and the checkpoint
/// after it, contain the time.
inline constexpr std::size_t kFirstWalBytes = 256;

/// The operator's choice of the start.
struct StartWish {
  std::optional<wal::Lsn> start;
  std::optional<wal::SegmentName> segment;
  OnGap on_gap = OnGap::stop;
};

[[nodiscard]] StartWish wish_of(const Options& options);

/// Where a stream from that host would start, by its answer alone.
[[nodiscard]] StartDecision start_on(const HostWord& host,
                                     const std::optional<ArchivedSoFar>& archive,
                                     const StartWish& wish);

/// The host has the preferred role.
[[nodiscard]] bool has_role(const HostWord& host, Prefer prefer);

/// The history of that host contains everything in the archive.
[[nodiscard]] bool leads_through(const HostWord& host, const ArchivedSoFar& archive);

/// All input for the choice of a host.
struct HostFacts {
  std::vector<HostWord> hosts;  ///< in the order of the connection string
  std::optional<ArchivedSoFar> archive;
  StartWish wish;
  Prefer prefer = Prefer::any;
  std::optional<int> streamed;  ///< the host last streamed from by this process
  /// Hosts rejected after a closer check since the last stream.
  std::set<int> refused;
  std::set<int> refused_for_gap;     ///< of these, the hosts that lack the next WAL
  std::optional<Error> refused_for;  ///< the last rejection
  /// Hosts that have not given a usable answer for --gap-timeout.
  std::set<int> given_up;
};

/// Stream from this host.
struct TakeHost {
  int index = 0;
};
/// The best host does not have the next WAL yet.
struct HostsBehind {
  std::string why;
};
/// No host answers. The error has the reasons of all.
struct NoAnswer {
  Error error;
};
/// The present answers are not sufficient for a decision: another host may have a better one.
struct AskAgain {
  std::string why;
};
/// No further answers are expected: no host qualifies, or manual intervention is required.
struct NoHost {
  Error error;
};

/// Eligibility of a host, by its own answer.
enum class Eligibility {
  unresponsive,  ///< nothing is known about it
  mismatch,      ///< its WAL does not continue the archive
  rejected,      ///< rejected after a closer check
  behind,        ///< may have the next WAL later
  eligible,
};

/// "unresponsive", "mismatch", …
[[nodiscard]] std::string_view to_string(Eligibility eligibility);

struct HostVerdict {
  int index = 0;
  std::string name;
  Eligibility eligibility = Eligibility::unresponsive;
  bool taken = false;
  std::string why;
  bool alarming = false;  ///< requires manual intervention, though another host was chosen
  /// Its answer is final. Otherwise it may change later.
  [[nodiscard]] bool settled() const {
    return eligibility != Eligibility::unresponsive && eligibility != Eligibility::behind;
  }
};

struct HostChoice {
  std::variant<TakeHost, HostsBehind, NoAnswer, AskAgain, NoHost> decision;
  std::vector<HostVerdict> verdicts;  ///< one for each host
};

/// Chooses the host to archive from. Pure. In this order:
///
/// 1. A host that continues the archive (choose_start()).
/// 2. A single history: each one contains the one before it. If hosts are on sibling timelines
///    (children of one timeline, with different IDs or the same) the one being streamed is chosen,
///    else none: manual intervention is required.
/// 3. A host that has what the archive has, unless a primary leads a newer timeline: then that
///    one counts, and the archive's WAL after its switchpoint is a lost branch. So a server that
///    would start to send after that switchpoint does not count, even if that primary lacks the
///    next WAL, or was rejected for that.
/// 4. A host that still has the next WAL: a hole is worse than a late timeline switch.
/// 5. A host that has not stalled. 6. The newest timeline. 7. The preferred role. 8. The order of
/// the connection string.
///
/// Queries are time-limited, verdicts are not: that WAL is gone, that all hosts are foreign, or
/// that there are siblings counts once every host has answered, or has not given a usable answer
/// for --gap-timeout.
[[nodiscard]] HostChoice choose_host(const HostFacts& facts);

}  // namespace weir::receive
