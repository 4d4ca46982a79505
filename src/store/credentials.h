#pragma once

#include <string.h>  // explicit_bzero

#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace weir::store {

/// A text that is wiped when it goes: a core file of later has none of it.
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

/// Who asks, and what proves it.
struct Credentials {
  std::string access_key{};
  Secret secret_key{};
  Secret session_token{};  ///< empty: they are not for a session
  /// They are no use any more then. nullopt: they stay good.
  std::optional<std::chrono::sys_seconds> expires{};
  std::string source{};  ///< for messages: where they came from
};

/// Where they come from. Any thread.
class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  CredentialSource() = default;
  CredentialSource(const CredentialSource&) = delete;
  CredentialSource& operator=(const CredentialSource&) = delete;

  /// Those that are good now. Throws Error{usage} if there are none, StoreError if they cannot be
  /// had now.
  [[nodiscard]] virtual Credentials get() = 0;
  /// The store does not take `stale` any more: get() is to look for others.
  virtual void refused(const Credentials& stale) = 0;
};

}  // namespace weir::store
