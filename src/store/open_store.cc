#include "store/open_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "store/http/azure_account.h"
#include "store/http/azure_dialect.h"
#include "store/http/s3_dialect.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

const char* of_environment(const char* name) { return std::getenv(name); }

std::string region_of(const StoreOptions& options) {
  if (!options.region.empty()) return options.region;
  for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"})
    if (const char* const region = of_environment(name); region != nullptr && *region != '\0')
      return region;
  return "us-east-1";
}

std::string environment(const char* name) {
  const char* const value = of_environment(name);
  return value != nullptr ? value : "";
}

/// Azure's endpoint is completed by the account.
std::unique_ptr<const Dialect> dialect_of(const StoreOptions& options, const std::string& region,
                                          std::optional<Endpoint>& endpoint) {
  constexpr std::string_view kGoogleHost = "storage.googleapis.com";
  BucketSettings settings{.bucket = options.place.bucket,
                          .endpoint = endpoint.value_or(Endpoint{}),
                          .region = region,
                          .style = options.style,
                          .storage_class = options.storage_class,
                          .lock = options.lock,
                          .encryption = options.encryption,
                          .version = options.api_version};
  const auto kind = options.place.kind;
  if (kind != StoreKind::azure) {
    const bool google = kind == StoreKind::gs || settings.endpoint.host == kGoogleHost;
    if (google && (options.lock || !options.encryption.empty()))
      throw Error(ErrorKind::usage,
                  "--store-lock and --store-sse do not apply to Google Cloud Storage")
          .hint("Set a retention policy, or a key, of the bucket instead.");
    return std::make_unique<S3Dialect>(
        std::move(settings), kind, google ? S3Dialect::Provider::google : S3Dialect::Provider::any);
  }
  auto account = azure_account({.endpoint = options.endpoint,
                                .style = options.style,
                                .account = environment("AZURE_STORAGE_ACCOUNT"),
                                .connection = environment("AZURE_STORAGE_CONNECTION_STRING")});
  endpoint = account.endpoint;
  settings.endpoint = std::move(account.endpoint);
  settings.account = std::move(account.name);
  return std::make_unique<AzureDialect>(std::move(settings));
}

}  // namespace

OpenStore::OpenStore(const StoreOptions& options, std::function<bool()> stop, Log& log)
    : options_(options),
      region_(region_of(options)),
      endpoint_(options.endpoint),
      layout_(options.layout, options.place, options.name) {
  auto dialect = dialect_of(options, region_, endpoint_);
  // A low share of the rate limit must not count as a stalled connection.
  const auto least = options.bytes_per_second > 0
                         ? std::clamp<std::uint64_t>(options.bytes_per_second / options.jobs / 2, 1,
                                                     CurlTransport::kLeast)
                         : CurlTransport::kLeast;
  const auto clock = [] { return std::chrono::system_clock::now(); };
  if (options.answer_within) {
    watch_ = std::make_unique<AnswerWatch>(*options.answer_within,
                                           [] { return std::chrono::steady_clock::now(); });
    stop = [stop, watch = watch_.get()] { return (stop && stop()) || watch->over(); };
  }
  const auto watched = [this](std::unique_ptr<Transport> transport) -> std::unique_ptr<Transport> {
    if (!watch_) return transport;
    return std::make_unique<WatchedTransport>(std::move(transport), *watch_);
  };
  transport_ = watched(std::make_unique<CurlTransport>(
      CurlTransport::Settings{.ca_file = options.ca_file,
                              .proxy = options.proxy,
                              .bytes_per_second = options.bytes_per_second,
                              .silent = options.silent,
                              .least = least,
                              .stop = stop}));
  // Local services answer at once, or do not exist; they are not reached by a proxy.
  local_ = watched(std::make_unique<CurlTransport>(CurlTransport::Settings{
      .proxy = "", .connect = 2s, .silent = 5s, .total = 10s, .stop = stop}));
  web_ = watched(std::make_unique<CurlTransport>(
      CurlTransport::Settings{.proxy = options.proxy, .total = 1min, .stop = stop}));
  credentials_ = std::make_unique<CredentialChain>(
      CredentialChain::Settings{
          .command = options.credential_command,
          .file = options.credentials_file,
          .kind = options.place.kind,
          .region = region_,
          .variable = of_environment,
          .stop = stop,
          .tell = [&log](const std::string& text) { log.warning("{}", text); }},
      *local_, *web_, clock);
  store_ = std::make_unique<HttpStore>(std::move(dialect), *transport_, *credentials_, clock, log);
}

std::string OpenStore::identity() const {
  return fmt::format("{}{}{} {}", endpoint_ ? endpoint_->to_string() + " " : "",
                     options_.place.to_string(),
                     options_.layout == Layout::Form::barman ? "/" + options_.name : "",
                     to_string(options_.layout));
}

}  // namespace weir::store
