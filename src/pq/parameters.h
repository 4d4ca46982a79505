#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "pq/connection.h"
#include "wal/segment.h"

namespace weir::pq {

// A server's configuration parameters, by SHOW, and how their values are written (documentation,
// "Parameter Names and Values").

/// SHOW; the value as the server prints it. The server's Error if the parameter does not exist.
/// Throws Error{usage} for what cannot be a parameter's name.
[[nodiscard]] std::string show(Connection& connection, const std::string& parameter);
/// "16MB" → the size. Throws Error{protocol} for what is no wal_segment_size.
[[nodiscard]] wal::SegmentSize show_wal_segment_size(Connection& connection);
/// The same without a server: "16MB", "1GB"; a bare number is in bytes.
[[nodiscard]] std::optional<wal::SegmentSize> parse_segment_size(std::string_view text);
/// The mode that files with the cluster's content get: 0640 where data_directory_mode allows the
/// group to read (initdb --allow-group-access), else 0600.
[[nodiscard]] unsigned show_file_mode(Connection& connection);
/// wal_sender_timeout for this session; zero: no timeout.
[[nodiscard]] std::chrono::milliseconds show_wal_sender_timeout(Connection& connection);

/// Whether it is a standby. From 14 on it says so by itself. An older one is asked what only a
/// recovery makes of a transaction; nullopt where somebody has set that for all of them.
[[nodiscard]] std::optional<bool> show_if_standby(Connection& connection);

/// "2min", "500ms", "30s", "1h", "0" as SHOW prints times; a bare number is in `base_unit` ("us",
/// "ms", "s", "min", "h" or "d"). Parts of a millisecond are rounded up: 0 often means "never".
/// nullopt for anything else, negative numbers and those too large included.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_guc_time(const std::string& text,
                                                                      const std::string& base_unit);

}  // namespace weir::pq
