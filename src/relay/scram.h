#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "crypto/primitives.h"
#include "wire/backend_messages.h"

namespace weir::relay {

/// The secret that a server stores for a password:
/// "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>", as in pg_authid.rolpassword
/// (scram_build_secret() in common/scram-common.c).
struct ScramSecret {
  unsigned iterations = 0;
  std::string salt;  ///< as stored, in base64
  crypto::Sha256 stored_key{};
  crypto::Sha256 server_key{};

  [[nodiscard]] static std::optional<ScramSecret> parse(std::string_view text);
  bool operator==(const ScramSecret&) const = default;
};

inline constexpr std::string_view kScramMechanism = "SCRAM-SHA-256";
/// The same, with channel binding.
inline constexpr std::string_view kScramPlusMechanism = "SCRAM-SHA-256-PLUS";
/// PG_MAX_SASL_MESSAGE_LENGTH (libpq/auth-sasl.c)
inline constexpr std::size_t kMaxSaslMessage = 1024;
/// SCRAM_RAW_NONCE_LEN (common/scram-common.h)
inline constexpr std::size_t kScramNonceSize = 18;

/// The server's side of one SCRAM-SHA-256 exchange (RFC 5802, RFC 7677, as in libpq/auth-scram.c),
/// with or without channel binding: both sides include the server's certificate, as they know it,
/// in the proof, so that a man in the middle cannot forward it. Bytes in, bytes out: no I/O, and
/// random bytes are passed in. Messages of a client may have any content.
class ScramExchange {
 public:
  /// `secret` is the user's, or a made-up one if the user has none: then `doomed` is set, and the
  /// exchange fails as with a wrong password, in the same time. `nonce`: printable, without a
  /// comma, never used before. `end_point`: of the server's certificate (crypto::TlsServer), if the
  /// client was offered channel binding.
  ScramExchange(ScramSecret secret, bool doomed, std::string nonce,
                std::optional<std::string> end_point = std::nullopt)
      : secret_(std::move(secret)),
        doomed_(doomed),
        server_nonce_(std::move(nonce)),
        end_point_(std::move(end_point)) {}

  [[nodiscard]] bool can_bind() const { return end_point_.has_value(); }
  /// The client has chosen to bind it. Before its first message; can_bind().
  void bind() { bound_ = true; }

  struct Challenge {
    std::string data;
  };
  struct Proved {
    std::string data;  ///< by which the server proves that it knows the secret, too
  };
  struct Refused {};  ///< wrong password, or doomed
  using Answer = std::variant<Challenge, Proved, Refused, wire::ErrorReport>;
  /// The client's first message, then its last one.
  [[nodiscard]] Answer on_message(std::string_view message);

 private:
  Answer first(std::string_view message);
  Answer last(std::string_view message);
  void check_binding(std::string_view data) const;
  [[nodiscard]] bool proves(std::string_view auth_message, std::string_view proof) const;

  const ScramSecret secret_;
  const bool doomed_;
  const std::string server_nonce_;
  const std::optional<std::string> end_point_;
  bool bound_ = false;

  enum class State { begun, challenged, over } state_ = State::begun;
  char binding_flag_ = '\0';
  std::string client_first_bare_;
  std::string nonce_;  ///< the client's, then both
  std::string server_first_;
};

/// The secret of a user without one: always the same for one name, so that clients cannot detect
/// this.
[[nodiscard]] ScramSecret made_up_secret(std::string_view user, const crypto::Sha256& key,
                                         unsigned iterations);

}  // namespace weir::relay
