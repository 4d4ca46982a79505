#pragma once

#include <chrono>
#include <optional>
#include <string>

struct ssl_st;  // OpenSSL's SSL

namespace weir::crypto {

/// A file that has been read, and its name for messages.
struct PemFile {
  std::string path;
  std::string content;
};

// Facts about certificates, without using them. Error{usage} names the file that is invalid, for
// example one that is only half written.

/// Until when the first certificate of the file is valid.
[[nodiscard]] std::chrono::sys_seconds expiry_of_certificate(const PemFile& file);
/// A certificate that expires sooner than this is reported: automatic renewal would have renewed it
/// by then.
inline constexpr std::chrono::seconds kExpiresSoon = std::chrono::days(14);
/// All of the authorities' certificates can be read.
void check_authorities(const PemFile& file);
/// Checks that the key belongs to the certificate. A key with a passphrase is assumed to match.
void check_pair(const PemFile& certificate, const PemFile& key);

/// Until when the certificate of the other side is valid; nullopt: it has shown none.
[[nodiscard]] std::optional<std::chrono::sys_seconds> expiry_of_other_side(ssl_st* session);

}  // namespace weir::crypto
