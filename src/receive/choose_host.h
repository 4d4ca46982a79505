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

/// What one host of the connection string said when all of them were asked.
struct HostWord {
  int index = 0;
  std::string name;
  /// Why nothing is known of it; unset: it answered.
  std::optional<Error> failure;
  pq::SystemIdentity identity;
  wal::SegmentSize segment_size;
  std::optional<wal::TimelineHistory> history;  ///< nullopt: it could not be had
  std::optional<bool> standby;                  ///< nullopt: it does not say
  /// Of the WAL that comes next; nullopt: there is none yet, or it could not be asked.
  std::optional<bool> has_wal;
  std::optional<bool> has_slot;  ///< ours, which nobody would make there; nullopt: it was not asked
  /// The first bytes of timelines of its history that the archive has finished no segment of: two
  /// servers may have been promoted to the same number, in the same place.
  std::map<wal::TimelineId, std::string> first_wal;
};

/// What the archive says of itself, before any server is known.
struct ArchivedSoFar {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
  StartFacts::ArchiveEnd end;
  /// Behind the last complete record, or where that does not matter the place to go on at.
  wal::Lsn position;
  /// The first bytes of the timeline that it ends on; empty where what it has finished of that
  /// tells branches apart anyway.
  std::string first_wal = {};
};

/// So much of a timeline's first WAL is looked at. The record of a promotion has the time in it,
/// and the checkpoint behind it, too.
inline constexpr std::size_t kFirstWalBytes = 256;

/// What the operator says of where to begin.
struct StartWish {
  std::optional<wal::Lsn> start;
  std::optional<wal::SegmentName> segment;
  OnGap on_gap = OnGap::stop;
};

[[nodiscard]] StartWish wish_of(const Options& options);

/// Where a stream from that host would begin, by its answer alone.
[[nodiscard]] StartDecision start_on(const HostWord& host,
                                     const std::optional<ArchivedSoFar>& archive,
                                     const StartWish& wish);

/// Its role is the one that is preferred.
[[nodiscard]] bool has_role(const HostWord& host, Prefer prefer);

/// The history of that host leads through all that the archive has.
[[nodiscard]] bool leads_through(const HostWord& host, const ArchivedSoFar& archive);

/// Everything the choice of a host rests on.
struct HostFacts {
  std::vector<HostWord> hosts;  ///< in the order of the connection string
  std::optional<ArchivedSoFar> archive;
  StartWish wish;
  Prefer prefer = Prefer::any;
  std::optional<int> streamed;  ///< the host that this process streamed from last
  /// Hosts that were looked at more closely since the last stream and would not do.
  std::set<int> refused;
  std::set<int> refused_for_gap;     ///< of these, those that lack the WAL that comes next
  std::optional<Error> refused_for;  ///< the last one of them
  /// Hosts that have had nothing to say for --gap-patience.
  std::set<int> given_up;
};

/// Stream from that one.
struct TakeHost {
  int index = 0;
};
/// The best that there is does not have the WAL that comes next yet.
struct HostsBehind {
  std::string why;
};
/// None answers. The error has the reasons of all.
struct NoAnswer {
  Error error;
};
/// What is to be had now is not good enough to decide: another host may know better.
struct AskAgain {
  std::string why;
};
/// Nobody else has anything to say: it needs a person, or none will do.
struct NoHost {
  Error error;
};

/// What a host is, by its own answer.
enum class Standing {
  silent,   ///< nothing is known of it
  foreign,  ///< its WAL does not go on with the archive
  refused,  ///< was looked at, and would not do
  behind,   ///< may have what comes next later
  able,
};

/// "silent", "foreign", …
[[nodiscard]] std::string_view to_string(Standing standing);

struct HostVerdict {
  int index = 0;
  std::string name;
  Standing standing = Standing::silent;
  bool taken = false;
  std::string why;
  bool alarming = false;  ///< a person has to look at it, though another one was taken
  /// What it says is all that it will say. Else it may know better later.
  [[nodiscard]] bool settled() const {
    return standing != Standing::silent && standing != Standing::behind;
  }
};

struct HostChoice {
  std::variant<TakeHost, HostsBehind, NoAnswer, AskAgain, NoHost> decision;
  std::vector<HostVerdict> verdicts;  ///< one for each host
};

/// Which host to archive from. Pure. In this order:
///
/// 1. One that leads on from the archive (choose_start()).
/// 2. One line of descent: each history contains the one before it. Where hosts are on siblings
///    (children of one timeline, be their numbers unlike or the same) it is the one that was being
///    streamed, else nobody: only a person knows which one counts.
/// 3. One that has what the archive has, unless a primary leads a newer timeline: then that one
///    counts, and what the archive has behind its switchpoint is a lost branch. So a server that
///    would begin to send behind that switchpoint does not count, also where that primary lacks the
///    WAL that comes next, or was refused for that.
/// 4. One that still has the WAL that comes next: a hole is worse than a late switch of timelines.
/// 5. The newest timeline. 6. The preferred role. 7. The order of the connection string.
///
/// To ask is bounded, a verdict is not: that WAL is gone, that all are foreign, that there are
/// siblings counts once every host has answered, or has had nothing to say for --gap-patience.
[[nodiscard]] HostChoice choose_host(const HostFacts& facts);

}  // namespace weir::receive
