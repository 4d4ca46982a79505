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
    "serve-socket", "DIR",
    "listen on a Unix socket in DIR, for the port that is listened on, else 5432");
inline constexpr auto kServeHba = option_of<any_text>(
    "serve-hba", "FILE",
    "who may connect from where, in the form of pg_hba.conf; without it this machine alone, with "
    "a password");
inline constexpr auto kServeUsers = option_of<any_text>(
    "serve-users", "FILE",
    "the users with a password, as lines \"name\" \"SCRAM-SHA-256$...\" with what "
    "pg_authid.rolpassword has; without it no password is right");
inline constexpr auto kServeTlsCert = option_of<any_text>(
    "serve-tls-cert", "FILE",
    "offer TLS, with this certificate (and those between it and an authority), in PEM form");
inline constexpr auto kServeTlsKey = option_of<any_text>(
    "serve-tls-key", "FILE", "its private key, without a passphrase, readable for its owner alone");
inline constexpr auto kServeTlsCa = option_of<any_text>(
    "serve-tls-ca", "FILE",
    "authorities whose certificates clients may show, for the method cert of the rules");
inline constexpr auto kServeMaxClients = option_of<count_value<1, 10000>>(
    "serve-max-clients", "N", "so many clients at once (default: 100)");
inline constexpr auto kServeAuthTimeout = option_of<time_value<kSecond, kDay>>(
    "serve-auth-timeout", "TIME", "who has not shown who it is within TIME is left (default: 60s)");

inline constexpr auto kServeSynchronizedStandbys = option_of<relay::StandbyNames::parse>(
    "serve-synchronized-standbys", "'ANY K (NAMES)'",
    "send others nothing beyond what so many of these standbys have flushed");
inline constexpr auto kServeMaxSlotWalKeepSize = option_of<size_value>(
    "serve-max-slot-wal-keep-size", "SIZE",
    "a replication slot that lies back by more than SIZE is lost, such as 100GB (default: none)");
inline constexpr auto kServeAutoSlot = option_of<slot_pattern_value>(
    "serve-auto-slot", "PATTERN",
    "make slots of such names when a client comes with one, such as 'standby_*'");

inline constexpr auto kServeBaseBackup = connection_string(option_of<conninfo_value>(
    "serve-base-backup", "CONNINFO",
    "base backups (pg_basebackup) are asked for there: a server of this cluster, and a user of its "
    "own that may replicate"));
inline constexpr auto kServeMaxBaseBackups = option_of<count_value<1, 100>>(
    "serve-max-base-backups", "N", "so many of them at once (default: 2)");

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
