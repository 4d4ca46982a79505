#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/tls.h"
#include "net/ip.h"
#include "relay/rules.h"
#include "relay/scram.h"
#include "relay/users.h"
#include "wire/client_messages.h"

namespace weir::relay {

/// Error text for clients that request a regular SQL session.
inline constexpr std::string_view kReplicationOnly = "only physical replication is served here";

/// Access rules. Must not change while a client is authenticating.
struct Access {
  Rules rules;
  Users users;
  std::shared_ptr<const crypto::TlsServer> tls;  ///< nullptr: there is no TLS
};

/// The TLS properties of a connection.
struct Encryption {
  bool protocol_named = false;             ///< ALPN
  bool certificate = false;                ///< the client has a valid one
  std::optional<std::string> common_name;  ///< its name
  std::optional<std::string> end_point;    ///< crypto::TlsServer::end_point()
};

/// The beginning of a connection: from the first byte until the client has authenticated
/// (ProcessStartupPacket() in postmaster.c, ClientAuthentication() in libpq/auth.c). Bytes in,
/// bytes out; no I/O, no clock. The memory that a client can occupy is bounded by the largest
/// startup packet. Its messages reveal nothing about the archive.
class EntranceState {
 public:
  /// `nonce`: see ScramExchange. `offers_tls`: TLS is available on this connection. `access` must
  /// outlive this.
  EntranceState(const Access& access, Peer peer, std::string nonce, bool offers_tls)
      : access_(access),
        peer_(std::move(peer)),
        nonce_(std::move(nonce)),
        offers_tls_(offers_tls) {}

  enum class State {
    open,      ///< more bytes are needed
    encrypts,  ///< output(), unchanged, then a TLS handshake that starts with rest():
               ///< on_encrypted()
    admitted,  ///< rest() belongs to the session, which sends the first message itself
    left,      ///< to be closed once output() is sent
  };
  State on_bytes(std::span<const std::byte> bytes);
  /// The handshake is complete; the following bytes are decrypted ones.
  State on_encrypted(Encryption encryption);
  [[nodiscard]] State state() const { return state_; }
  /// To be sent, and removed by the sender.
  [[nodiscard]] std::string& output() { return output_; }

  [[nodiscard]] const std::string& user() const { return user_; }
  [[nodiscard]] const std::string& application_name() const { return application_name_; }
  [[nodiscard]] const Peer& peer() const { return peer_; }
  /// Bytes after the last message.
  [[nodiscard]] const std::string& rest() const { return input_; }
  /// Set if the client requests to cancel another session's command.
  [[nodiscard]] const std::optional<wire::CancelRequest>& cancel() const { return cancel_; }
  /// Why it was rejected, for the log; unset if there is nothing to log: a cancel request, a client
  /// that disconnects silently.
  [[nodiscard]] const std::optional<std::string>& refusal() const { return refusal_; }

 private:
  bool step();
  bool take_startup();
  bool take_password();
  bool take_startup(const wire::Startup& startup);
  void take_answer(const ScramExchange::Answer& answer);
  void authenticate();
  void answer(bool& asked, bool yes, std::string_view what, std::uint32_t code);
  void check_certificate();
  void admit() { state_ = State::admitted; }
  void refuse(const wire::ErrorReport& report, std::string why = {});
  void leave(std::optional<std::string> why);

  const Access& access_;
  Peer peer_;
  const std::string nonce_;
  const bool offers_tls_;

  State state_ = State::open;
  std::string input_;
  std::string output_;
  bool asked_for_tls_ = false;
  bool asked_for_gss_ = false;
  std::optional<Encryption> encryption_;
  std::string user_;
  std::string application_name_;
  std::optional<ScramExchange> scram_;
  bool mechanism_chosen_ = false;
  std::size_t rule_line_ = 0;
  std::optional<wire::CancelRequest> cancel_;
  std::optional<std::string> refusal_;
};

}  // namespace weir::relay
