#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "pq/conninfo.h"

namespace weir::pq {

// The files that show a server who we are, and us who it is: libpq reads them at each connection.
// Whoever renews them (cert-manager, a Kubernetes volume, a person) replaces them while one lives.

struct SecretFile {
  enum class Kind { certificate, key, authorities, passwords };
  Kind kind = Kind::certificate;
  std::string path;
};
/// Those that these values name, and those in libpq's own places that are there.
[[nodiscard]] std::vector<SecretFile> secret_files(const ConninfoValues& values);

/// What is there now. A value.
struct SecretsLook {
  std::vector<std::string> paths{};  ///< of the files, there or not
  std::string content{};             ///< the same as long as nothing is replaced; no secret itself
  std::vector<std::string> gone{};   ///< named, and not there, each as "the client's key FILE"
  /// Why a connection cannot be made with what is there, a file that is half written, say; empty:
  /// it can, as far as that can be seen from here.
  std::string problem{};
  std::string certificate{};                          ///< the file of the client's own
  std::optional<std::chrono::sys_seconds> expires{};  ///< that one
  bool operator==(const SecretsLook&) const = default;
};
[[nodiscard]] SecretsLook look_at_secrets(const std::vector<SecretFile>& files);

/// What is the matter with them that a connection may have failed for; empty: nothing.
[[nodiscard]] std::string trouble_with_secrets(const SecretsLook& look);

}  // namespace weir::pq
