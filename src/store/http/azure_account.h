#pragma once

#include <optional>
#include <string>

#include "store/http/dialect.h"
#include "store/http/url.h"

namespace weir::store {

/// A storage account of Azure, and its address.
struct AzureAccount {
  std::string name;
  /// "https://NAME.blob.core.windows.net", or "http://127.0.0.1:10000/NAME" (an emulator): a
  /// container's name is appended.
  Endpoint endpoint;
};
struct AzureNaming {
  /// A whole endpoint, or that of a cloud ("https://blob.core.usgovcloudapi.net"), to which the
  /// account is added.
  std::optional<Endpoint> endpoint{};
  Style style = Style::automatic;  ///< automatic: path, if the host is an address or has no dot
  std::string account{};           ///< AZURE_STORAGE_ACCOUNT; empty: the endpoint names it
  std::string connection{};        ///< AZURE_STORAGE_CONNECTION_STRING, if no endpoint is given
};
/// Throws Error{usage} if nothing names the account. Pure.
[[nodiscard]] AzureAccount azure_account(const AzureNaming& naming);

}  // namespace weir::store
