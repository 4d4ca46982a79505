#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "pq/connection.h"
#include "wal/segment.h"

namespace weir::pq {

// A server's configuration parameters, read with SHOW, and the format of their values
// (documentation, "Parameter Names and Values").

/// SHOW; returns the value as the server prints it. Throws the server's Error if the parameter does
/// not exist, Error{usage} for an invalid name.
[[nodiscard]] std::string show(Connection& connection, const std::string& parameter);
/// "16MB" → the size. Throws Error{protocol} for an invalid wal_segment_size.
[[nodiscard]] wal::SegmentSize show_wal_segment_size(Connection& connection);
/// The same without a server: "16MB", "1GB"; a bare number is in bytes.
[[nodiscard]] std::optional<wal::SegmentSize> parse_segment_size(std::string_view text);
/// The mode of files with the cluster's content: 0640 if data_directory_mode allows the group to
/// read (initdb --allow-group-access), else 0600.
[[nodiscard]] unsigned show_file_mode(Connection& connection);
/// wal_sender_timeout for this session; zero: no timeout.
[[nodiscard]] std::chrono::milliseconds show_wal_sender_timeout(Connection& connection);

/// Whether the server is a standby. Servers from 14 on report it. Older ones are asked for a
/// transaction setting that only recovery forces; nullopt if the setting is also configured for all
/// transactions.
[[nodiscard]] std::optional<bool> show_if_standby(Connection& connection);

/// "2min", "500ms", "30s", "1h", "0" as SHOW prints times; a bare number is in `base_unit` ("us",
/// "ms", "s", "min", "h" or "d"). Fractions of a millisecond are rounded up, since 0 often means
/// "never". Returns nullopt for anything else, including negative and too large numbers.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_guc_time(const std::string& text,
                                                                      const std::string& base_unit);

}  // namespace weir::pq
