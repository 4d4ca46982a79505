#pragma once

namespace weir::relay {

// The characters of an identifier without quotes, and of a number, in a replication command
// (repl_scanner.l) and in synchronous_standby_names (syncrep_scanner.l).

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
/// Bytes of characters that are not ASCII count.
constexpr bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
constexpr bool continues_name(char c) { return begins_name(c) || is_digit(c) || c == '$'; }

}  // namespace weir::relay
