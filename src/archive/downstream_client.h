#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// How a connection is encrypted, in the words of pg_stat_ssl.
struct ConnectionSsl {
  std::string version;  ///< "TLSv1.3"
  std::string cipher;
  int bits = 0;
};

/// Somebody to whom the archive's WAL is served, in the words of pg_stat_replication. A value: who
/// serves and who tells of it share it.
struct DownstreamClient {
  std::uint32_t pid = 0;  ///< a number that no other session has
  std::string user;
  std::string application_name;
  std::string client_address;
  std::optional<ConnectionSsl> ssl{};  ///< nullopt: it is not encrypted
  std::optional<std::string> slot;
  std::chrono::system_clock::time_point backend_start{};
  std::string state = "startup";  ///< startup, catchup, streaming
  wal::TimelineId timeline = 0;   ///< 0: it has not asked for WAL
  wal::Lsn sent;
  wal::Lsn write;
  wal::Lsn flush;
  wal::Lsn replay;
  /// From when WAL was sent to when the client said so of it; nullopt: not known, or all is said.
  std::optional<std::chrono::microseconds> write_lag;
  std::optional<std::chrono::microseconds> flush_lag;
  std::optional<std::chrono::microseconds> replay_lag;
  /// How far it is behind what is served, at the moment of a ServingView; unset: it does not
  /// stream.
  std::optional<std::uint64_t> behind{};
  std::string sync_state =
      "async";  ///< async, potential, sync, quorum: by --serve-synchronous-standby-names
  std::optional<std::chrono::system_clock::time_point> reply_time;
  std::uint64_t xmin = 0;  ///< epoch << 32 | xid, of hot_standby_feedback; 0: none
};

}  // namespace weir::archive
