#pragma once

#include <string_view>

namespace weir::cli {

// Texts of at most 80 columns.
[[nodiscard]] std::string_view version_text();
[[nodiscard]] std::string_view pg_receivewal_help();
[[nodiscard]] std::string_view pg_receivewal_version();
[[nodiscard]] std::string_view general_help();
[[nodiscard]] std::string_view receive_help();
[[nodiscard]] std::string_view restore_help();
[[nodiscard]] std::string_view verify_help();
[[nodiscard]] std::string_view ack_help();
[[nodiscard]] std::string_view prune_help();
[[nodiscard]] std::string_view compress_help();
[[nodiscard]] std::string_view slot_help();
[[nodiscard]] std::string_view logical_help();
[[nodiscard]] std::string_view pg_recvlogical_help();
/// "pg_recvlogical (PostgreSQL) 18.0 (pgweir …)"
[[nodiscard]] std::string_view pg_recvlogical_version();
[[nodiscard]] std::string_view status_help();
[[nodiscard]] std::string_view config_help();
[[nodiscard]] std::string_view doctor_help();
[[nodiscard]] std::string_view listen_help();
[[nodiscard]] std::string_view notify_help();

/// To stdout. Throws Error{io} if that fails.
void print(std::string_view text);

}  // namespace weir::cli
