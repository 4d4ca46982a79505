#pragma once

#include <string.h>  // explicit_bzero

#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace weir::store {

/// A string that is wiped on destruction, so a later core file does not contain it.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}
  Secret(const Secret&) = default;
  Secret(Secret&& other) noexcept : text_(other.text_) { other.wipe(); }
  Secret& operator=(const Secret& other) {
    if (this != &other) {
      wipe();
      text_ = other.text_;
    }
    return *this;
  }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      wipe();
      text_ = other.text_;
      other.wipe();
    }
    return *this;
  }
  ~Secret() { wipe(); }

  [[nodiscard]] const std::string& reveal() const { return text_; }
  [[nodiscard]] bool empty() const { return text_.empty(); }
  bool operator==(const Secret&) const = default;

 private:
  void wipe() noexcept {
    ::explicit_bzero(text_.data(), text_.size());
    text_.clear();
  }
  std::string text_;
};

/// What requests are signed with.
struct Credentials {
  enum class Kind {
    keys,   ///< access key and secret key; Azure: account and its key, base64
    token,  ///< session_token is a bearer token (RFC 6750)
    sas,    ///< session_token is a shared access signature, a query string
  };
  std::string access_key{};
  Secret secret_key{};
  Secret session_token{};  ///< of keys: empty: not temporary credentials
  /// Expiry time; nullopt: they do not expire.
  std::optional<std::chrono::sys_seconds> expires{};
  std::string source{};  ///< for messages: the source
  Kind kind = Kind::keys;
};

/// A source of credentials. Any thread.
class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  CredentialSource() = default;
  CredentialSource(const CredentialSource&) = delete;
  CredentialSource& operator=(const CredentialSource&) = delete;

  /// Returns valid credentials. Throws Error{usage} if there are none, StoreError if they are
  /// temporarily unavailable.
  [[nodiscard]] virtual Credentials get() = 0;
  /// The store rejected `stale`: get() must look for others.
  virtual void refused(const Credentials& stale) = 0;
};

}  // namespace weir::store
