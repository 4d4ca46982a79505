#include "store/http/azure_account.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "base/error.h"
#include "store/http/credential_texts.h"

namespace weir::store {

namespace {

/// Without a first label that could be an account.
bool is_bare(std::string_view host) {
  host = host.substr(0, host.starts_with('[') ? host.size() : host.find(':'));
  return host.starts_with('[') || host.find('.') == std::string_view::npos ||
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

Error no_account() {
  return Error(ErrorKind::usage, "no Azure storage account is specified")
      .hint(
          "Give --store-endpoint https://ACCOUNT.blob.core.windows.net, or set "
          "AZURE_STORAGE_ACCOUNT.");
}

}  // namespace

AzureAccount azure_account(const AzureNaming& naming) {
  auto name = naming.account;
  auto endpoint = naming.endpoint;
  if (!endpoint && !naming.connection.empty()) {
    const auto values = parse_connection_string(naming.connection);
    const auto value = [&](const char* which, const char* otherwise) {
      const auto found = values.find(which);
      return found == values.end() || found->second.empty() ? std::string(otherwise)
                                                            : found->second;
    };
    if (auto told = value("AccountName", ""); !told.empty()) name = std::move(told);
    const auto url = value("BlobEndpoint", "");
    endpoint = Endpoint::parse(
        !url.empty() ? url
                     : fmt::format("{}://blob.{}", value("DefaultEndpointsProtocol", "https"),
                                   value("EndpointSuffix", "core.windows.net")));
    if (!endpoint)
      throw Error(ErrorKind::usage, "invalid endpoint in AZURE_STORAGE_CONNECTION_STRING");
  }
  if (!endpoint) endpoint = Endpoint{.host = "blob.core.windows.net"};
  if (!endpoint->path.empty()) {
    if (name.empty()) name = endpoint->path.substr(endpoint->path.rfind('/') + 1);
    return {std::move(name), std::move(*endpoint)};
  }
  const bool bare = is_bare(endpoint->host);
  const bool of_a_cloud = endpoint->host.starts_with("blob.");
  if (name.empty() && !bare && !of_a_cloud && naming.style != Style::path)
    name = endpoint->host.substr(0, endpoint->host.find('.'));
  if (name.empty()) throw no_account();
  if (of_a_cloud && naming.style != Style::path)
    endpoint->host = name + "." + endpoint->host;
  else if (naming.style == Style::path || (naming.style == Style::automatic && bare))
    endpoint->path = "/" + name;
  return {std::move(name), std::move(*endpoint)};
}

}  // namespace weir::store
