#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/http/credentials.h"
#include "store/http/transport.h"
#include "store/http/url.h"
#include "store/object_store.h"

namespace weir::store {

/// Looks for credentials where the provider's own programs do. Keeps them until five minutes before
/// they expire, or until a file that may contain them is replaced; while that file is missing or
/// half written, the previous ones stay in use. The first source that exists, in this order:
///   1. the command in the settings     2. the file in the settings
///   3. AWS_ACCESS_KEY_ID …             4. the shared files (~/.aws), keys or credential_process
///   5. AWS_WEB_IDENTITY_TOKEN_FILE and STS (EKS)   6. the container's URI (ECS, EKS)
///   7. EC2's metadata service, version 2
/// Azure: 1, 2 (section [storage] of ~/.azure/config); AZURE_STORAGE_CONNECTION_STRING, _KEY,
/// _ACCESS_KEY, _SAS_TOKEN; workload identity (AZURE_FEDERATED_TOKEN_FILE); the services of
/// IDENTITY_ENDPOINT and of the machine (managed identity).
/// Google: 1 (a token, or HMAC keys), 2 and 3 (HMAC keys); the machine's metadata service.
/// Any thread.
class CredentialChain final : public CredentialSource {
 public:
  static constexpr std::chrono::milliseconds kCommandTime{60'000};
  struct Settings {
    std::string command{};  ///< prints credential_process's JSON
    std::string file{};     ///< an AWS credentials file
    StoreKind kind = StoreKind::s3;
    std::string region = "us-east-1";
    /// Reads the environment; nullptr: the variable is not set.
    std::function<const char*(const char*)> variable = nullptr;
    /// Timeout of the command; all threads wait for it.
    std::chrono::milliseconds command_time = kCommandTime;
    /// Checked while a command runs: true ends it. May be empty.
    std::function<bool()> stop = nullptr;
    /// Called once when a file was replaced by an invalid one. May be empty.
    std::function<void(const std::string&)> tell = nullptr;
  };
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  /// `web` is for 5; `local`, which uses no proxy, is for 6 and 7. Not owned.
  CredentialChain(Settings settings, Transport& local, Transport& web, Clock clock);

  /// Throws Error{usage} if no source has credentials, or a file cannot be used;
  /// StoreError{no_keys} if a service or command did not return any, StoreError{stopped}. The
  /// result of one thread also applies to those that waited for it.
  [[nodiscard]] Credentials get() override;
  void refused(const Credentials& stale) override;

 private:
  [[nodiscard]] bool fresh(const std::string& files) const;
  [[nodiscard]] Credentials look();
  [[nodiscard]] std::optional<Credentials> of_file(const std::string& path, bool named) const;
  [[nodiscard]] std::optional<Credentials> of_environment() const;
  [[nodiscard]] std::optional<Credentials> of_shared_files() const;
  // credential_chain_clouds.cc
  [[nodiscard]] Credentials look_of_azure();
  [[nodiscard]] std::optional<Credentials> of_azure_environment() const;
  [[nodiscard]] std::optional<Credentials> of_azure_workload();
  [[nodiscard]] Credentials token_from(const Request& request, Transport& by, const char* who);
  /// The machine's metadata service; nullopt if there is none.
  [[nodiscard]] std::optional<Credentials> of_service(const Request& request, bool named);
  [[nodiscard]] Credentials look_of_google();
  [[nodiscard]] std::optional<Credentials> read_output(std::string_view text) const;
  [[nodiscard]] Credentials of_command(const std::string& command) const;
  [[nodiscard]] static Secret token_of_file(const std::string& path);
  [[nodiscard]] std::optional<Credentials> of_web_identity();
  [[nodiscard]] std::optional<Credentials> of_container();
  [[nodiscard]] std::optional<Credentials> of_machine();
  [[nodiscard]] std::optional<std::string> ask_machine(const Request& request, bool known);
  [[nodiscard]] std::string text(const char* name) const;
  [[nodiscard]] std::vector<std::string> shared_files() const;
  [[nodiscard]] std::string state_of_files() const;
  [[nodiscard]] std::string fetch(Transport& by, const Request& request, const char* who);

  const Settings settings_;
  Transport& local_;
  Transport& web_;
  const Clock clock_;
  std::mutex looking_;  ///< held while looking for credentials; locked before mutex_
  std::string told_;    ///< last message by Settings::tell about the current files

  std::mutex mutex_;
  std::optional<Credentials> known_;
  std::string files_;                  ///< state of the files when known_ was read
  std::optional<StoreError> failure_;  ///< the last one
  std::uint64_t failures_ = 0;
};

}  // namespace weir::store
