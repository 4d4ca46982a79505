#include "pq/client_secrets.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "crypto/certificates.h"
#include "io/small_file.h"

namespace weir::pq {

namespace {

constexpr std::uint64_t kLargest = std::uint64_t{1} << 20;
using Kind = SecretFile::Kind;

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::certificate:
      return "the client's certificate";
    case Kind::key:
      return "the client's key";
    case Kind::authorities:
      return "the CA certificates";
    case Kind::passwords:
      break;
  }
  return "the password file";
}

/// As check_private_key_permissions in initialize_SSL(), libpq/fe-secure-openssl.c.
bool open_to_others(const io::FileAccess& file) {
  constexpr unsigned kGroupAndOthers = 077;
  constexpr unsigned kGroupWritesOrOthers = 037;
  return (file.mode & (file.of_root ? kGroupWritesOrOthers : kGroupAndOthers)) != 0;
}

/// The data read from the files.
struct Read {
  std::optional<crypto::PemFile> certificate{};
  std::optional<crypto::PemFile> key{};
};

void check(const SecretFile& file, const crypto::PemFile& read, Read& pair, SecretsLook& look) {
  switch (file.kind) {
    case Kind::certificate:
      look.certificate = file.path;
      look.expires = crypto::expiry_of_certificate(read);
      pair.certificate = read;
      break;
    case Kind::key:
      pair.key = read;
      break;
    case Kind::authorities:
      crypto::check_authorities(read);
      break;
    case Kind::passwords:
      break;
  }
}

}  // namespace

std::vector<SecretFile> secret_files(const ConninfoValues& values) {
  std::vector<SecretFile> files;
  const char* const home = std::getenv("HOME");
  const bool tls = value_of(values, "sslmode") != "disable";
  const auto add = [&](Kind kind, const char* keyword, const char* usual) {
    auto path = value_of(values, keyword);
    if (path.empty()) {
      // libpq uses it if it exists.
      if (home == nullptr || usual == nullptr) return;
      path = fmt::format("{}/.postgresql/{}", home, usual);
      if (!io::look_at_access(path)) return;
    }
    // An engine's key is not a file, and neither are the system's CA certificates.
    if (path.find('/') == std::string::npos &&
        (path.find(':') != std::string::npos || path == "system"))
      return;
    files.push_back({kind, std::move(path)});
  };
  if (tls) {
    add(Kind::certificate, "sslcert", "postgresql.crt");
    add(Kind::key, "sslkey", "postgresql.key");
    add(Kind::authorities, "sslrootcert", "root.crt");
  }
  if (const auto path = value_of(values, "passfile"); !path.empty() && io::look_at_access(path))
    files.push_back({Kind::passwords, path});
  return files;
}

SecretsLook look_at_secrets(const std::vector<SecretFile>& files) {
  SecretsLook look;
  Read pair;
  const auto wrong = [&](std::string text) {
    if (look.problem.empty()) look.problem = std::move(text);
  };
  for (const auto& file : files) {
    look.paths.push_back(file.path);
    const auto what = fmt::format("{} {}", name_of(file.kind), file.path);
    const auto access = io::look_at_access(file.path);
    if (!access) {
      look.gone.push_back(what);
      look.content += "-";
      continue;
    }
    try {
      const crypto::PemFile read{file.path, io::read_small_file(file.path, kLargest)};
      // A hash shows that it has changed without revealing it.
      look.content += fmt::format("{:x} ", std::hash<std::string>()(read.content));
      if (file.kind == Kind::key && open_to_others(*access))
        wrong(fmt::format("{} is accessible to others (mode {:04o}), so libpq does not use it",
                          what, access->mode));
      check(file, read, pair, look);
    } catch (const Error& error) {
      look.content += "? ";
      wrong(fmt::format("{}: {}", what, error.message()));
    }
  }
  if (look.problem.empty() && pair.certificate && pair.key) try {
      crypto::check_pair(*pair.certificate, *pair.key);
    } catch (const Error& error) {
      wrong(fmt::format("{} {}: {}", name_of(Kind::key), pair.key->path, error.message()));
    }
  return look;
}

std::string trouble_with_secrets(const SecretsLook& look) {
  if (!look.problem.empty()) return look.problem;
  return look.gone.empty() ? std::string() : look.gone.front() + " does not exist";
}

}  // namespace weir::pq
