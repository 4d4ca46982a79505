#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/downstream_client.h"
#include "archive/durable_end.h"
#include "archive/kept_slots.h"

namespace weir::archive {

/// A replication slot of the relay, as reported. Value type.
struct ServedSlot {
  KeptSlot kept;
  bool temporary = false;
  std::optional<std::uint32_t> active_pid{};  ///< of the session that uses it
  std::uint64_t retained = 0;                 ///< from restart_lsn to the end of the served WAL
};
[[nodiscard]] std::uint64_t retained_by(const KeptSlot& slot, wal::Lsn end);

/// The problem of the slot, in words that say what to do; nullopt if there is none. An unused slot
/// counts if it retains 1 GB or more.
[[nodiscard]] std::optional<std::string> warning_of(const ServedSlot& slot);

/// The certificate that a server presents.
struct ServedCertificate {
  std::string file;
  std::chrono::sys_seconds expires{};
};

/// Why the archive is not served now, although it should be. It is tried again.
struct ServingProblem {
  std::string text;
  bool needs_person = false;  ///< trying again does not help
  std::chrono::system_clock::time_point since{};
};

/// The state of a process that serves an archive, at one moment. Value type.
struct ServingView {
  std::vector<std::string> listens;  ///< addresses
  std::optional<DurableEnd> end;     ///< end of the served WAL; nullopt if there is no WAL yet
  std::vector<DownstreamClient> clients;
  /// By name; nullopt: this process does not have the archive's slots.
  std::optional<std::vector<ServedSlot>> slots;
  std::optional<ServedCertificate> certificate{};  ///< nullopt: there is no TLS
  std::optional<ServingProblem> problem{};         ///< nullopt: none, or unknown
};

/// Number of bytes by which the client lags behind the served WAL's end: by its replay
/// position or, for a client that does not replay, by its flush position. nullopt if it does not
/// stream.
[[nodiscard]] std::optional<std::uint64_t> bytes_behind(const DownstreamClient& client,
                                                        wal::Lsn end);

/// Sorted by lag, largest first.
[[nodiscard]] std::vector<DownstreamClient> furthest_behind_first(
    std::vector<DownstreamClient> clients);

/// A `pgweir serve` of the archive. A value.
struct Relay {
  std::chrono::system_clock::time_point taken{};  ///< the moment of this
  std::int64_t pid = 0;
  std::string version{};
  std::chrono::system_clock::time_point started{};
  ServingView serving{};
};

}  // namespace weir::archive
