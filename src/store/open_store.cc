#include "store/open_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

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

}  // namespace

OpenStore::OpenStore(const StoreOptions& options, std::function<bool()> stop, Log& log)
    : options_(options),
      region_(region_of(options)),
      layout_(options.layout, options.place, options.name) {
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
          .region = region_,
          .variable = of_environment,
          .stop = stop,
          .tell = [&log](const std::string& text) { log.warning("{}", text); }},
      *local_, *web_, clock);
  store_ =
      std::make_unique<S3Store>(S3Store::Settings{.bucket = options.place.bucket,
                                                  .endpoint = options.endpoint.value_or(Endpoint{}),
                                                  .region = region_,
                                                  .style = options.style,
                                                  .storage_class = options.storage_class,
                                                  .lock = options.lock,
                                                  .encryption = options.encryption},
                                *transport_, *credentials_, clock, log);
}

std::string OpenStore::identity() const {
  return fmt::format("{}{}{} {}", options_.endpoint ? options_.endpoint->to_string() + " " : "",
                     options_.place.to_string(),
                     options_.layout == Layout::Form::barman ? "/" + options_.name : "",
                     to_string(options_.layout));
}

}  // namespace weir::store
