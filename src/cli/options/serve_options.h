#pragma once

#include <optional>
#include <string>

#include "cli/arguments.h"
#include "cli/options/common_options.h"
#include "relay/feedback.h"
#include "relay/server.h"

namespace weir::cli {

// Options of those who serve WAL: `pgweir serve`, and `pgweir receive --serve`.

/// "5433", "192.0.2.7:5433", "[::1]:5433", "*:5433".
struct ListenAddress {
  std::string host;  ///< empty: this machine alone; "*": all
  std::string port;
};
/// As a slot is named, with '*' and '?' for any characters.
[[nodiscard]] std::string slot_pattern_value(const std::string& text);
[[nodiscard]] ListenAddress listen_value(const std::string& text);

inline constexpr auto kServeSocket = option_of<any_text>(
    "serve-socket", "DIR", "listen on a Unix socket in DIR, for the listen port or 5432");
inline constexpr auto kServeHba =
    option_of<any_text>("serve-hba", "FILE",
                        "client authentication rules, in pg_hba.conf format (default: connections "
                        "from this host only, with a password)");
inline constexpr auto kServeUsers = option_of<any_text>(
    "serve-users", "FILE",
    "users with a password, in lines \"name\" \"SCRAM-SHA-256$...\", copied from "
    "pg_authid.rolpassword (default: password authentication always fails)");
inline constexpr Relation kWithTlsKey{.others = {{"serve-tls-key"}}};
inline constexpr auto kServeTlsCert = option_of<any_text>(
    "serve-tls-cert", "FILE", "certificate chain for TLS, in PEM format", {.needs = &kWithTlsKey});
inline constexpr Relation kWithTlsCert{.others = {{kServeTlsCert}}};
inline constexpr auto kServeTlsKey = option_of<any_text>(
    "serve-tls-key", "FILE",
    "private key of the certificate, without a passphrase; must be readable only by its owner",
    {.needs = &kWithTlsCert});
inline constexpr auto kServeTlsCa =
    option_of<any_text>("serve-tls-ca", "FILE",
                        "CA certificates for verifying client certificates, for the cert method",
                        {.needs = &kWithTlsCert});
inline constexpr auto kServeMaxClients = option_of<count_value<1, 10000>>(
    "serve-max-clients", "N", "maximum number of clients (default: 100)");
inline constexpr auto kServeAuthTimeout = option_of<time_value<kSecond, kDay>>(
    "serve-auth-timeout", "TIME",
    "disconnect clients that do not authenticate within TIME (default: 60s)");

inline constexpr auto kServeSynchronizedStandbys = option_of<relay::StandbyNames::parse>(
    "serve-synchronized-standbys", "'ANY K (NAMES)'",
    "send other clients WAL only up to the position flushed by K of the named standbys");
inline constexpr auto kServeMaxSlotWalKeepSize = option_of<size_value>(
    "serve-max-slot-wal-keep-size", "SIZE",
    "invalidate a slot that retains more than SIZE of WAL, such as 100GB (default: no limit)");
inline constexpr auto kServeAutoSlot = option_of<slot_pattern_value>(
    "serve-auto-slot", "PATTERN",
    "create a slot on request if its name matches PATTERN, such as 'standby_*'");

inline constexpr auto kServeBaseBackup = connection_string(
    option_of<conninfo_value>("serve-base-backup", "CONNINFO",
                              "take base backups requested by clients from this server of the "
                              "cluster, as a dedicated role with REPLICATION"));
inline constexpr Relation kWithBaseBackup{.others = {{kServeBaseBackup}}};
inline constexpr auto kServeMaxBaseBackups = option_of<count_value<1, 100>>(
    "serve-max-base-backups", "N", "maximum number of concurrent base backups (default: 2)",
    {.needs = &kWithBaseBackup});

struct TlsRequest {
  std::string certificate;
  std::string key;
  std::optional<std::string> authorities;
};

struct ServeRequest {
  std::optional<ListenAddress> listen;
  std::optional<std::string> socket;
  std::optional<std::string> hba;
  std::optional<std::string> users;
  std::optional<TlsRequest> tls;
  relay::Server::Options server;
  relay::Waiting waiting;
  relay::Slots::Options slots;
  bool password_on_command_line = false;

  [[nodiscard]] bool somewhere() const { return listen || socket; }
};
/// `listen`: by whatever option the command has for it.
[[nodiscard]] ServeRequest read_serve(const Arguments& arguments,
                                      std::optional<ListenAddress> listen);

}  // namespace weir::cli
