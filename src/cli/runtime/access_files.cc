#include "cli/runtime/access_files.h"

#include "base/error.h"
#include "io/small_file.h"
#include "relay/tls_stream.h"

namespace weir::cli {

namespace {

constexpr std::uint64_t kLargestFile = 1 << 20;

std::string read(const std::string& path) {
  try {
    return io::read_small_file(path, kLargestFile);
  } catch (const Error& error) {
    throw Error(ErrorKind::usage, error.what());
  }
}

/// As check_ssl_key_file_permissions() in libpq/be-secure-common.c.
void check_key(const std::string& path) {
  const auto file = io::look_at_access(path);
  const auto wrong = [&](const char* what) {
    return Error(ErrorKind::usage, what).with("path", path);
  };
  if (!file) throw wrong("could not access the private key");
  if (!file->own && !file->of_root)
    throw wrong("the private key belongs to another user")
        .hint(
            "Run chown to make this user or "
            "root its owner.");
  if (!file->is_secret())
    throw wrong("others have access to the private key")
        .hint("Run chmod 600, or chmod 640 if root owns it and this user is not root.");
}

/// A rule that can never match would reject all clients, without an apparent reason.
void check_rules(const relay::Rules& rules, const ServeRequest& request) {
  const auto unmet = [&](std::size_t line, const std::string& what, const char* option) {
    return Error(ErrorKind::usage, "the HBA file is invalid: " + what + option)
        .with("path", request.hba.value_or(""))
        .with("line", line);
  };
  if (const auto line = rules.needs_tls(); line && !request.tls)
    throw unmet(*line, "hostssl needs TLS, so specify ", "--serve-tls-cert and --serve-tls-key");
  if (const auto line = rules.needs_certificates(); line && !request.tls->authorities)
    throw unmet(*line, "cert needs the CA of the clients' certificates: ", "--serve-tls-ca");
}

}  // namespace

std::shared_ptr<const relay::Access> read_access(const ServeRequest& request) {
  auto access = std::make_shared<relay::Access>();
  access->rules = read_rules(request);
  access->users = read_users(request);
  if (request.tls) access->tls = read_tls(*request.tls);
  return access;
}

relay::Rules read_rules(const ServeRequest& request) {
  if (!request.hba) return {};
  auto rules = relay::Rules::parse(read(*request.hba), *request.hba);
  check_rules(rules, request);
  return rules;
}

relay::Users read_users(const ServeRequest& request) {
  return request.users ? relay::Users::parse(read(*request.users), *request.users) : relay::Users();
}

std::shared_ptr<const crypto::TlsServer> read_tls(const TlsRequest& request) {
  check_key(request.key);
  crypto::TlsServer::Files files{{request.certificate, read(request.certificate)},
                                 {request.key, read(request.key)},
                                 std::nullopt};
  if (request.authorities)
    files.authorities = crypto::PemFile{*request.authorities, read(*request.authorities)};
  return std::make_shared<const crypto::TlsServer>(files, std::string(relay::kTlsProtocol));
}

bool open_to_others(const std::string& path) {
  constexpr unsigned kOthersMayRead = 04;
  const auto file = io::look_at_access(path);
  return file && (file->mode & kOthersMayRead) != 0;
}

}  // namespace weir::cli
