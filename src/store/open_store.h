#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "codec/codec.h"
#include "store/http/answer_watch.h"
#include "store/http/credential_chain.h"
#include "store/http/curl_transport.h"
#include "store/http/dialect.h"
#include "store/http/http_store.h"
#include "store/http/url.h"
#include "store/layout.h"
#include "store/ledger/signify.h"
#include "store/sealed/age_keys.h"

namespace weir::store {

/// Which store, and how to connect to it: the options of section [store].
struct StoreOptions {
  Place place{};
  std::optional<Endpoint> endpoint{};
  std::string region{};  ///< empty: AWS_REGION, AWS_DEFAULT_REGION, else us-east-1
  Style style = Style::automatic;
  std::string ca_file{};
  std::optional<std::string> proxy{};
  Layout::Form layout = Layout::Form::barman;
  std::string name{};  ///< Barman's server name
  std::string credentials_file{};
  std::string credential_command{};
  std::string storage_class{};
  std::string encryption{};
  std::string api_version{};  ///< Azure's x-ms-version; empty: kAzureVersion
  std::optional<Lock> lock{};
  std::uint64_t bytes_per_second = 0;  ///< of all connections together; 0: no limit
  std::size_t jobs = 4;
  /// Maximum time without a successful answer before a request is abandoned: for commands whose
  /// caller does not wait. nullopt: `silent` and the caller's patience alone.
  std::optional<std::chrono::seconds> answer_within{};
  std::chrono::seconds silent{
      30};  ///< a request that transfers almost nothing for this long is aborted
  std::optional<codec::Compression> compression{};  ///< of uploaded segments; nullopt: as the files
  std::vector<AgeRecipient> recipients{};  ///< recipients of uploaded files; empty: not encrypted
  std::vector<AgeIdentity> identities{};   ///< for decryption
  /// Readers accept only what lines signed by one of these prove; empty: anything.
  std::vector<SignifyPublic> public_keys{};
  std::shared_ptr<const SignifyKey> manifest_key{};  ///< nullptr: manifests are not signed
};

/// A store with everything it needs. The constructor loads the module with libcurl. Throws
/// Error{usage} if it is not installed.
class OpenStore {
 public:
  OpenStore(const StoreOptions& options, std::function<bool()> stop, Log& log);

  [[nodiscard]] ObjectStore& store() { return *store_; }
  [[nodiscard]] const Layout& layout() const { return layout_; }
  [[nodiscard]] CredentialSource& credentials() { return *credentials_; }
  [[nodiscard]] const std::string& region() const { return region_; }
  /// Identifies the store and the place in it.
  [[nodiscard]] std::string identity() const;

 private:
  const StoreOptions options_;
  std::string region_;
  std::optional<Endpoint> endpoint_;  ///< as far as it is known
  Layout layout_;
  std::unique_ptr<AnswerWatch> watch_;  ///< nullptr: without answer_within
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Transport> local_;
  std::unique_ptr<Transport> web_;
  std::unique_ptr<CredentialChain> credentials_;
  std::unique_ptr<HttpStore> store_;
};

}  // namespace weir::store
