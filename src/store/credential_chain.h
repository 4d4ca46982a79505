#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "store/credentials.h"
#include "store/object_store.h"
#include "store/transport.h"

namespace weir::store {

/// Looks for credentials where AWS's own programs look, and keeps them until five minutes before
/// their end, or until a file that they could be in is replaced: what is half written, or not there
/// for a moment, is waited out with what was known. In this order, the first that is there:
///   1. a command that was named      2. a file that was named
///   3. AWS_ACCESS_KEY_ID …           4. the shared files (~/.aws), keys or credential_process
///   5. AWS_WEB_IDENTITY_TOKEN_FILE and STS (EKS)   6. the container's URI (ECS, EKS)
///   7. EC2's metadata service, version 2
/// Any thread.
class CredentialChain final : public CredentialSource {
 public:
  static constexpr std::chrono::milliseconds kCommandTime{60'000};
  struct Settings {
    std::string command{};  ///< prints credential_process's JSON
    std::string file{};     ///< an AWS credentials file
    std::string region = "us-east-1";
    /// Of the environment; nullptr: it is not set.
    std::function<const char*(const char*)> variable = nullptr;
    /// That is how long a command may take, and everybody waits for it.
    std::chrono::milliseconds command_time = kCommandTime;
    /// Asked while a command runs: true, and it is ended. May be empty.
    std::function<bool()> stop = nullptr;
    /// A file was replaced by one that is of no use: said once. May be empty.
    std::function<void(const std::string&)> tell = nullptr;
  };
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  /// `web` is for 5; `local`, which uses no proxy, for 6 and 7. Not owned.
  CredentialChain(Settings settings, Transport& local, Transport& web, Clock clock);

  /// Throws Error{usage} if nobody has any, or a file cannot be used; StoreError{no_keys} if a
  /// service or command did not give any, StoreError{stopped}. What one thread is told holds for
  /// those that have waited for it.
  [[nodiscard]] Credentials get() override;
  void refused(const Credentials& stale) override;

 private:
  [[nodiscard]] bool fresh(const std::string& files) const;
  [[nodiscard]] Credentials look();
  [[nodiscard]] std::optional<Credentials> of_file(const std::string& path, bool named) const;
  [[nodiscard]] std::optional<Credentials> of_environment() const;
  [[nodiscard]] std::optional<Credentials> of_shared_files() const;
  [[nodiscard]] Credentials of_command(const std::string& command) const;
  [[nodiscard]] std::optional<Credentials> of_web_identity();
  [[nodiscard]] std::optional<Credentials> of_container();
  [[nodiscard]] std::optional<Credentials> of_machine();
  [[nodiscard]] std::optional<std::string> token_of_machine(const Request& request);
  [[nodiscard]] std::string text(const char* name) const;
  [[nodiscard]] std::vector<std::string> shared_files() const;
  [[nodiscard]] std::string state_of_files() const;
  [[nodiscard]] std::string fetch(Transport& by, const Request& request, const char* who);

  const Settings settings_;
  Transport& local_;
  Transport& web_;
  const Clock clock_;
  std::mutex looking_;  ///< whose turn it is to look for others; taken before mutex_
  std::string told_;    ///< by Settings::tell, of those that are there now; its

  std::mutex mutex_;
  std::optional<Credentials> known_;
  std::string files_;                  ///< as they were when known_ was looked for
  std::optional<StoreError> failure_;  ///< the last one
  std::uint64_t failures_ = 0;
};

}  // namespace weir::store
