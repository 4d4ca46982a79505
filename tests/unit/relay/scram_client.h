#pragma once

#include <cstring>
#include <string>

#include "base/base64.h"
#include "crypto/primitives.h"
#include "relay/scram.h"
#include "support/bytes.h"

namespace weir::relay {

/// The client's side of the exchange, from its own password.
class ScramClient {
 public:
  /// `head`: how it binds to the channel, "n,," not at all.
  explicit ScramClient(std::string password, std::string head = "n,,")
      : password_(std::move(password)), head_(std::move(head)) {}

  std::string first() const { return head_ + bare_; }
  std::string last(const std::string& server_first) {
    const auto salt_at = server_first.find(",s=") + 3;
    const auto count_at = server_first.find(",i=") + 3;
    const auto salt = *from_base64(server_first.substr(salt_at, count_at - 3 - salt_at));
    const auto salted =
        crypto::pbkdf2_sha256(password_, test::as_bytes(salt),
                              static_cast<unsigned>(std::stoul(server_first.substr(count_at))));
    const auto without_proof = "c=" + to_base64(test::as_bytes(head_ + binding_)) + "," +
                               server_first.substr(0, salt_at - 3);
    const auto auth = bare_ + "," + server_first + "," + without_proof;
    const auto client_key = crypto::hmac_sha256(salted, "Client Key");
    const auto signature = crypto::hmac_sha256(crypto::sha256(client_key), auth);
    auto proof = client_key;
    for (std::size_t i = 0; i < proof.size(); ++i) proof[i] ^= signature[i];
    verifier_ =
        "v=" + to_base64(crypto::hmac_sha256(crypto::hmac_sha256(salted, "Server Key"), auth));
    return without_proof + ",p=" + to_base64(proof);
  }
  /// What a server that knows the secret says in the end.
  const std::string& verifier() const { return verifier_; }

  /// As PostgreSQL keeps it.
  static std::string secret_of(const std::string& password, const std::string& salt,
                               unsigned iterations) {
    const auto salted = crypto::pbkdf2_sha256(password, test::as_bytes(salt), iterations);
    const auto stored = crypto::sha256(crypto::hmac_sha256(salted, "Client Key"));
    return "SCRAM-SHA-256$" + std::to_string(iterations) + ":" + to_base64(test::as_bytes(salt)) +
           "$" + to_base64(stored) + ":" + to_base64(crypto::hmac_sha256(salted, "Server Key"));
  }

  std::string bare_ = "n=,r=client+nonce";
  std::string binding_;  ///< what it knows of the channel

 private:
  std::string password_;
  std::string head_;
  std::string verifier_;
};

}  // namespace weir::relay
