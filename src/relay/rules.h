#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "net/ip.h"

namespace weir::relay {

/// Where a client connects from.
struct Peer {
  std::optional<net::Ip> address;         ///< unset: over a Unix socket
  std::optional<std::string> local_user;  ///< its user, according to the kernel
  bool encrypted = false;
  std::vector<net::Network> own_networks;  ///< of this host now, if the rules need them
};
/// "192.0.2.7", or "[local]" as PostgreSQL calls a Unix socket.
[[nodiscard]] std::string to_string(const Peer& peer);

/// How a user must authenticate.
enum class Method { trust, reject, scram, peer, cert };

/// Which users may replicate from where, and how they must authenticate: the format and meaning of
/// pg_hba.conf; the part for replication is supported, and everything else is rejected. The first
/// rule that matches counts. Value type; pure.
class Rules {
 public:
  /// Without a file: this machine alone, by Unix socket or loopback, with a password.
  Rules();
  /// Throws Error{usage} that names the file and the line of the error.
  [[nodiscard]] static Rules parse(std::string_view content, const std::string& path);

  struct Match {
    Method method = Method::reject;
    std::size_t line = 0;  ///< in the file; 0: there is none
  };
  /// Returns the matching rule. `own`: net::own_networks(), for rules that require it. nullopt: no
  /// rule matches, so the client is rejected.
  [[nodiscard]] std::optional<Match> find(const Peer& peer, std::string_view user,
                                          const std::vector<net::Network>& own) const;
  /// True if a rule refers to the networks of this host.
  [[nodiscard]] bool needs_own_networks() const;
  /// True if a rule requires the user on the other side of a Unix socket.
  [[nodiscard]] bool needs_local_users() const;
  /// The line of the first rule for TLS only (hostssl); of the first one that requires a client's
  /// certificate (cert).
  [[nodiscard]] std::optional<std::size_t> needs_tls() const;
  [[nodiscard]] std::optional<std::size_t> needs_certificates() const;
  /// True if a rule requires a password.
  [[nodiscard]] bool needs_passwords() const;

 private:
  enum class Where { all, samehost, samenet, network };
  struct Rule {
    std::size_t line = 0;
    bool local = false;
    bool plain_only = false;         ///< hostnossl
    bool tls_only = false;           ///< hostssl
    std::vector<std::string> users;  ///< empty: all
    Where where = Where::all;
    net::Network network{};
    Method method = Method::reject;
  };
  static Rule read_rule(const struct AuthLine& line);

  std::vector<Rule> rules_;
};

}  // namespace weir::relay
