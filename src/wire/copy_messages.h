#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "base/error.h"
#include "wal/lsn.h"

namespace weir::wire {

// The messages inside a replication stream's CopyData, without the envelope, in both directions:
// PostgreSQL documentation, chapter "Streaming Replication Protocol", START_REPLICATION. Pure:
// accepts any bytes, never reads past their end. Clocks are microseconds since 2000-01-01 UTC.

enum class StreamKind { physical, logical };

// --- From the server -----------------------------------------------------------------------------

/// Message 'w'. In a logical stream `wal` is one piece of the output plugin's output, and `start`
/// the position of its callback (WalSndPrepareWrite in walsender.c): for a commit the end of its
/// record, for a change its start, for the start of a transaction that of its first record, so it
/// can go back; 0/0 if more of the same follows, according to the plugin. `server_end` is equal to
/// `start` and the clock may be 0 there. `wal` points into the decoded message.
struct XLogData {
  wal::Lsn start;
  wal::Lsn server_end;
  std::int64_t server_clock = 0;
  std::span<const std::byte> wal;
};

/// Message 'k'.
struct Keepalive {
  wal::Lsn server_end;
  std::int64_t server_clock = 0;
  bool reply_requested = false;
  bool operator==(const Keepalive&) const = default;
};

/// The bytes of an XLogData before its WAL.
inline constexpr std::size_t kXLogDataHead = 1 + 8 + 8 + 8;
/// Maximum size of an XLogData in a physical stream. A walsender sends up to 16 WAL blocks at once
/// (MAX_SEND_SIZE in walsender.c), which is 1 MB with the largest block size. A plugin may write up
/// to 1 GB.
inline constexpr std::size_t kMaxXLogData = 16 * 1024 * 1024;

/// Error{protocol} for an invalid message.
using FromServer = std::variant<XLogData, Keepalive, Error>;
[[nodiscard]] FromServer decode_from_server(std::span<const std::byte> message,
                                            StreamKind kind = StreamKind::physical);
/// The same for a message in two parts; the first has kXLogDataHead bytes of it, or all.
[[nodiscard]] FromServer decode_from_server(std::span<const std::byte> head,
                                            std::span<const std::byte> rest, StreamKind kind);

/// The bytes before `data.wal`; the WAL itself is not copied.
[[nodiscard]] std::string encode_head(const XLogData& data);
[[nodiscard]] std::string encode(const Keepalive& keepalive);

// --- To the server -------------------------------------------------------------------------------

/// Message 'r'.
struct StandbyStatus {
  wal::Lsn write;
  wal::Lsn flush;
  wal::Lsn apply;
  bool reply_requested = false;
  bool operator==(const StandbyStatus&) const = default;
};

/// Message 'h'. An xmin of 0 releases an earlier one.
struct HotStandbyFeedback {
  std::uint32_t xmin = 0;
  std::uint32_t xmin_epoch = 0;
  std::uint32_t catalog_xmin = 0;
  std::uint32_t catalog_xmin_epoch = 0;
  bool operator==(const HotStandbyFeedback&) const = default;
};

/// Error{protocol} for an invalid message.
using FromClient = std::variant<StandbyStatus, HotStandbyFeedback, Error>;
[[nodiscard]] FromClient decode_from_client(std::span<const std::byte> message);

[[nodiscard]] std::string encode(const StandbyStatus& status, std::int64_t clock);
[[nodiscard]] std::string encode(const HotStandbyFeedback& feedback, std::int64_t clock);

}  // namespace weir::wire
