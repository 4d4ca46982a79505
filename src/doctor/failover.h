#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/branch.h"
#include "archive/identity.h"
#include "doctor/checks.h"
#include "doctor/facts.h"
#include "pq/commands.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::doctor {

/// One host of the connection string, as a candidate for promotion.
struct HostFacts {
  std::string host;
  std::optional<Trouble> trouble;  ///< unset: it answered
  int major = 0;
  bool relay = false;           ///< it cannot be promoted
  std::optional<bool> standby;  ///< unset: not reported (before 14)
  pq::SystemIdentity identity;
  std::optional<wal::TimelineHistory> history;  ///< of its timeline
  /// Unset: no slot was named, or it could not be read.
  std::optional<pq::SlotState> slot;
  /// It has the next WAL now; unset: that could not be queried.
  std::optional<bool> has_wal;
  /// Before this position its WAL differs from the archive's; unset: it does not, or that is
  /// unknown.
  std::optional<wal::Lsn> differs_before{};
};

/// The facts that the hosts are compared with.
struct FailoverFacts {
  std::optional<std::string> slot;
  archive::Identity identity;
  archive::Timelines timelines;
  archive::TimelineEnds ends;  ///< of the durable WAL
};

/// Transactions that the archive has of `timeline` between two positions; nullopt: not to be known.
struct CommitCount {
  std::uint64_t commits = 0;
  bool all = true;             ///< false: there may be more
  std::uint64_t prepared = 0;  ///< PREPARE TRANSACTION, and not ended there
};

/// Up to here both have WAL, of one history; nullopt if they have no common history. Pure.
[[nodiscard]] std::optional<wal::Lsn> common_end(const FailoverFacts& archive,
                                                 const HostFacts& host);
/// Position at which the archive would have to continue if that host were promoted now; nullopt if
/// it could not continue at all. Pure.
[[nodiscard]] std::optional<wal::Lsn> would_go_on_at(const FailoverFacts& archive,
                                                     const HostFacts& host);
/// WAL that the archive has and that host lacks, [from, to); nullopt if there is none. Pure.
struct LeftBehind {
  wal::TimelineId timeline = 0;
  wal::Lsn from;
  wal::Lsn to;
};
[[nodiscard]] std::optional<LeftBehind> would_leave_behind(const FailoverFacts& archive,
                                                           const HostFacts& host);
/// Judges the consequences of promoting it now. Pure.
[[nodiscard]] Check judge_failover(const FailoverFacts& archive, const HostFacts& host,
                                   const std::optional<CommitCount>& left_behind);

/// A host, and the commits that its promotion would abandon, if there are any.
struct Candidate {
  HostFacts host;
  std::optional<CommitCount> commits = std::nullopt;
};
/// Primaries on one timeline: a failure that names them; nullopt if there are not two of one. Pure.
[[nodiscard]] std::optional<Check> judge_primaries(const std::vector<Candidate>& candidates);
/// The hosts to which a failover would lose nothing, or least. Pure.
struct Conclusion {
  bool known = false;  ///< of one of them at least
  std::string text;    ///< one line
};
[[nodiscard]] Conclusion conclude_failover(const FailoverFacts& archive,
                                           const std::vector<Candidate>& candidates);

/// The archive's WAL from that position on, at most as much; fewer bytes, or none, if it is not
/// there any more.
using ReadArchive = std::function<std::string(wal::Lsn at, std::size_t most)>;
/// Queries each host of the connection string, regardless of its role; a host that does not respond
/// takes some seconds. Changes nothing. Throws Error{usage}.
[[nodiscard]] std::vector<HostFacts> inspect_hosts(const std::string& conninfo,
                                                   const FailoverFacts& archive,
                                                   const ReadArchive& read);

}  // namespace weir::doctor
