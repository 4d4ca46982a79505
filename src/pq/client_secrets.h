#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "pq/conninfo.h"

namespace weir::pq {

// Files for authentication of client and server, which libpq reads for each connection. They may be
// replaced while a receiver runs (by cert-manager, a Kubernetes volume, an administrator).

struct SecretFile {
  enum class Kind { certificate, key, authorities, passwords };
  Kind kind = Kind::certificate;
  std::string path;
};
/// The files that these values name, and existing files in libpq's default locations.
[[nodiscard]] std::vector<SecretFile> secret_files(const ConninfoValues& values);

/// The current state of the files. A value.
struct SecretsLook {
  std::vector<std::string> paths{};  ///< of the files, existing or not
  std::string content{};             ///< changes if a file is replaced; contains no secret
  std::vector<std::string> gone{};   ///< named, but missing, each as "the client's key FILE"
  /// Why no connection can be made with the current files, such as a file that is half written;
  /// empty: none found.
  std::string problem{};
  std::string certificate{};                          ///< the client certificate's file
  std::optional<std::chrono::sys_seconds> expires{};  ///< the client certificate's
  bool operator==(const SecretsLook&) const = default;
};
[[nodiscard]] SecretsLook look_at_secrets(const std::vector<SecretFile>& files);

/// A problem of the files that may explain a failed connection; empty: none.
[[nodiscard]] std::string trouble_with_secrets(const SecretsLook& look);

}  // namespace weir::pq
