#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir::wire {

// A server's messages, except for the CopyData of a stream: PostgreSQL documentation, chapter
// "Frontend/Backend Protocol", "Message Formats". Each function appends one complete message. Pure.

/// The parts of an ErrorResponse that clients show or use. Empty parts are omitted.
struct ErrorReport {
  std::string sqlstate;  ///< appendix "PostgreSQL Error Codes"
  std::string message;
  std::string detail{};
  std::string hint{};
  bool operator==(const ErrorReport&) const = default;
};
enum class Severity {
  error,  ///< ends the command
  fatal,  ///< ends the connection
};
void append_error(std::string& out, Severity severity, const ErrorReport& report);
/// One part of an ErrorResponse or a NoticeResponse, by its letter ("Error and Notice Message
/// Fields").
struct ReportField {
  char letter;
  std::string_view text;
};
/// `type`: 'E' or 'N'.
void append_report(std::string& out, char type, std::span<const ReportField> fields);

void append_authentication_ok(std::string& out);
void append_sasl_mechanisms(std::string& out, std::span<const std::string_view> mechanisms);
void append_sasl_continue(std::string& out, std::string_view data);
void append_sasl_final(std::string& out, std::string_view data);

/// Answers a client that requested a newer minor version, or unknown options. `version` is the
/// complete one, 0x00030000: libpq 18 interprets 0 as a version before 3.0.
void append_negotiate_version(std::string& out, std::uint32_t version,
                              const std::vector<std::string>& unknown_options);
void append_parameter_status(std::string& out, std::string_view name, std::string_view value);
void append_backend_key(std::string& out, std::uint32_t process, std::uint32_t secret);
/// ReadyForQuery, outside of a transaction: a walsender never has one.
void append_ready(std::string& out);

struct Column {
  std::string_view name;
  std::uint32_t type;  ///< OID (catalog/pg_type.dat)
  std::int16_t size;   ///< -1: variable length
  std::uint32_t table = 0;
  std::uint16_t attribute = 0;
  std::uint32_t modifier = 0xffffffff;  ///< typmod: none
  std::uint16_t format = 0;             ///< text
};
[[nodiscard]] constexpr Column text_column(std::string_view name) { return {name, 25, -1}; }
[[nodiscard]] constexpr Column int4_column(std::string_view name) { return {name, 23, 4}; }
[[nodiscard]] constexpr Column int8_column(std::string_view name) { return {name, 20, 8}; }
void append_row_description(std::string& out, std::span<const Column> columns);
/// Values in text format; nullopt is NULL.
void append_data_row(std::string& out, std::span<const std::optional<std::string>> values);
void append_command_complete(std::string& out, std::string_view tag);

void append_copy_both(std::string& out);
/// CopyOutResponse. `format`: 0 is text, 1 binary; likewise for each column.
void append_copy_out(std::string& out, char format, std::span<const std::uint16_t> columns);
void append_copy_done(std::string& out);
void append_copy_data(std::string& out, std::string_view payload);
/// The header of a CopyData message with this payload size.
void append_copy_data_head(std::string& out, std::size_t payload);

}  // namespace weir::wire
