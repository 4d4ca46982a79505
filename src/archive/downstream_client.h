#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// The encryption of a connection, in the terms of pg_stat_ssl.
struct ConnectionSsl {
  std::string version;  ///< "TLSv1.3"
  std::string cipher;
  int bits = 0;
};

/// A client to which the archive's WAL is served, in the terms of pg_stat_replication. Value type,
/// shared by the server and the code that reports it.
struct DownstreamClient {
  std::uint32_t pid = 0;  ///< a number that no other session has
  std::string user;
  std::string application_name;
  std::string client_address;
  std::optional<ConnectionSsl> ssl{};  ///< nullopt: it is not encrypted
  std::optional<std::string> slot;
  std::chrono::system_clock::time_point backend_start{};
  std::string state = "startup";  ///< startup, catchup, streaming
  wal::TimelineId timeline = 0;   ///< 0: it has not requested WAL
  wal::Lsn sent;
  wal::Lsn write;
  wal::Lsn flush;
  wal::Lsn replay;
  /// Time from sending WAL until the client confirmed it; nullopt if unknown, or if everything is
  /// confirmed.
  std::optional<std::chrono::microseconds> write_lag;
  std::optional<std::chrono::microseconds> flush_lag;
  std::optional<std::chrono::microseconds> replay_lag;
  /// Distance from the end of the served WAL, at the time of a ServingView; unset if the client
  /// does not stream.
  std::optional<std::uint64_t> behind{};
  std::string sync_state =
      "async";  ///< async, potential, sync, quorum: by --serve-synchronous-standby-names
  std::optional<std::chrono::system_clock::time_point> reply_time;
  std::uint64_t xmin = 0;  ///< epoch << 32 | xid, of hot_standby_feedback; 0: none
};

}  // namespace weir::archive
