#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "store/age_keys.h"
#include "store/answer_watch.h"
#include "store/credential_chain.h"
#include "store/curl_transport.h"
#include "store/layout.h"
#include "store/s3_store.h"
#include "store/signify.h"
#include "store/url.h"

namespace weir::store {

/// What says which store it is, and how it is spoken to: the options of section [store].
struct StoreOptions {
  Place place{};
  std::optional<Endpoint> endpoint{};
  std::string region{};  ///< empty: AWS_REGION, AWS_DEFAULT_REGION, else us-east-1
  S3Store::Style style = S3Store::Style::automatic;
  std::string ca_file{};
  std::optional<std::string> proxy{};
  Layout::Form layout = Layout::Form::barman;
  std::string name{};  ///< Barman's server name
  std::string credentials_file{};
  std::string credential_command{};
  std::string storage_class{};
  std::string encryption{};
  std::optional<S3Store::Settings::Lock> lock{};
  std::uint64_t bytes_per_second = 0;  ///< of all connections together; 0: any
  std::size_t jobs = 4;
  /// No request that got no good answer for this long is continued, nor repeated: for commands
  /// whose caller does not wait. nullopt: `silent` and the caller's patience alone.
  std::optional<std::chrono::seconds> answer_within{};
  std::chrono::seconds silent{
      30};  ///< a request that moves next to nothing for so long is given up
  std::vector<AgeRecipient> recipients{};  ///< to whom what is sent is encrypted; empty: it is not
  std::vector<AgeIdentity> identities{};   ///< that read what is encrypted
  /// Who reads takes nothing but what lines that are signed by one of these prove; empty: anything.
  std::vector<SignifyPublic> public_keys{};
  std::shared_ptr<const SignifyKey> manifest_key{};  ///< nullptr: manifests are not signed
};

/// A store with all that it is made of. The module with libcurl is loaded by this. Throws
/// Error{usage} if it is not there.
class OpenStore {
 public:
  OpenStore(const StoreOptions& options, std::function<bool()> stop, Log& log);

  [[nodiscard]] ObjectStore& store() { return *store_; }
  [[nodiscard]] const Layout& layout() const { return layout_; }
  [[nodiscard]] CredentialSource& credentials() { return *credentials_; }
  [[nodiscard]] const std::string& region() const { return region_; }
  /// Which store, and where in it: what makes two of them the same.
  [[nodiscard]] std::string identity() const;

 private:
  const StoreOptions options_;
  std::string region_;
  Layout layout_;
  std::unique_ptr<AnswerWatch> watch_;  ///< nullptr: without answer_within
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Transport> local_;
  std::unique_ptr<Transport> web_;
  std::unique_ptr<CredentialChain> credentials_;
  std::unique_ptr<S3Store> store_;
};

}  // namespace weir::store
