#include <fmt/format.h>

#include <chrono>
#include <span>
#include <string>
#include <utility>

#include "base/error.h"
#include "store/http/credential_chain.h"
#include "store/http/credential_texts.h"
#include "store/http/url.h"
#include "store/memory_bytes.h"

// Credentials of Azure ("Authorize requests to Azure Storage") and Google Cloud Storage.

namespace weir::store {

namespace {

constexpr const char* kAzureResource = "https://storage.azure.com/";
constexpr std::string_view kAzureWays =
    "Name a file with --store-credentials or a command with --store-credential-command, set "
    "AZURE_STORAGE_KEY, or give the machine an identity; docs/store-providers.md has all ways.";
constexpr std::string_view kGoogleWays =
    "Name a file of HMAC keys with --store-credentials or a command that prints a token with "
    "--store-credential-command, or give the machine a service account; "
    "docs/store-providers.md has all ways.";

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

}  // namespace

Credentials CredentialChain::token_from(const Request& request, Transport& by, const char* who) {
  const Secret answer(fetch(by, request, who));
  auto found = parse_token(answer.reveal(), std::chrono::floor<std::chrono::seconds>(clock_()));
  if (!found)
    throw StoreError(Trouble::no_keys, fmt::format("{} gave no token for the store", who));
  found->source = who;
  return std::move(*found);
}

std::optional<Credentials> CredentialChain::of_service(const Request& request, bool named) {
  constexpr const char* kWho = "the machine's metadata service";
  if (named) return token_from(request, local_, kWho);
  const auto failed = [&](const std::string& what) {
    return StoreError(Trouble::no_keys,
                      fmt::format("no credentials for the store are configured, and {} gave none: "
                                  "{}",
                                  kWho, what))
        .hint(settings_.kind == StoreKind::azure ? kAzureWays : kGoogleWays);
  };
  try {
    auto answer = local_.perform(request);
    if (answer.status != 200) throw failed(refusal_of(answer));
    const Secret body(std::move(answer.body));
    auto found = parse_token(body.reveal(), std::chrono::floor<std::chrono::seconds>(clock_()));
    if (!found) throw failed("its answer has no token");
    found->source = kWho;
    return found;
  } catch (const NoAnswer& failure) {
    if (failure.why() == NoAnswer::Why::not_reached) return std::nullopt;
    if (failure.why() == NoAnswer::Why::given_up)
      throw StoreError(Trouble::stopped, "asked to stop");
    throw failed(failure.message());
  }
}

Credentials CredentialChain::look_of_azure() {
  if (!settings_.command.empty()) return of_command(settings_.command);
  if (!settings_.file.empty())
    if (auto found = of_file(settings_.file, true)) return std::move(*found);
  if (auto found = of_azure_environment()) return std::move(*found);
  if (auto found = of_azure_workload()) return std::move(*found);
  const auto client = text("AZURE_CLIENT_ID");
  // App Service, Container Apps
  if (const auto endpoint = text("IDENTITY_ENDPOINT"), header = text("IDENTITY_HEADER");
      !endpoint.empty() && !header.empty()) {
    Query query = {{"api-version", "2019-08-01"}, {"resource", kAzureResource}};
    if (!client.empty()) query["client_id"] = client;
    return token_from({.method = "GET",
                       .url = endpoint + "?" + to_text(query),
                       .headers = {{"X-IDENTITY-HEADER", header}}},
                      local_, "the identity service");
  }
  auto host = text("AZURE_POD_IDENTITY_AUTHORITY_HOST");
  const bool named = !host.empty();
  if (!named) host = "http://169.254.169.254";
  Query query = {{"api-version", "2018-02-01"}, {"resource", kAzureResource}};
  if (!client.empty()) query["client_id"] = client;
  if (auto found = of_service(
          {.method = "GET",
           .url = without_slash(host) + "/metadata/identity/oauth2/token?" + to_text(query),
           .headers = {{"Metadata", "true"}}},
          named))
    return std::move(*found);
  throw Error(ErrorKind::usage, "there are no credentials for the store").hint(kAzureWays);
}

std::optional<Credentials> CredentialChain::of_azure_environment() const {
  const auto connection = parse_connection_string(text("AZURE_STORAGE_CONNECTION_STRING"));
  const auto value = [&](const char* name) {
    const auto found = connection.find(name);
    return found == connection.end() ? std::string() : found->second;
  };
  const auto first = [](std::string one, std::string other) {
    return one.empty() ? std::move(other) : std::move(one);
  };
  const auto key = first(value("AccountKey"),
                         first(text("AZURE_STORAGE_KEY"), text("AZURE_STORAGE_ACCESS_KEY")));
  const auto sas = first(value("SharedAccessSignature"), text("AZURE_STORAGE_SAS_TOKEN"));
  // What is in the connection string goes before.
  const bool by_sas =
      key.empty() || (value("AccountKey").empty() && !value("SharedAccessSignature").empty());
  if (by_sas && sas.empty()) return std::nullopt;
  auto found = azure_credentials_of({{by_sas ? "sas_token" : "key", by_sas ? sas : key}});
  if (!found)
    throw Error(ErrorKind::usage, "invalid shared access signature in the environment")
        .hint("It is a query string with sig=…");
  found->source = "the environment";
  return found;
}

std::optional<Credentials> CredentialChain::of_azure_workload() {
  const auto file = text("AZURE_FEDERATED_TOKEN_FILE");
  const auto client = text("AZURE_CLIENT_ID");
  const auto tenant = text("AZURE_TENANT_ID");
  if (file.empty() || client.empty() || tenant.empty()) return std::nullopt;
  const auto assertion = token_of_file(file);
  auto authority = text("AZURE_AUTHORITY_HOST");
  if (authority.empty()) authority = "https://login.microsoftonline.com";
  const Secret form(
      to_text({{"client_assertion", assertion.reveal()},
               {"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
               {"client_id", client},
               {"grant_type", "client_credentials"},
               {"scope", std::string(kAzureResource) + ".default"}}));
  MemoryBytes body(std::as_bytes(std::span(form.reveal())));
  return token_from({.method = "POST",
                     .url = fmt::format("{}/{}/oauth2/v2.0/token", without_slash(authority),
                                        percent_encoded(tenant, Slashes::are_encoded)),
                     .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                     .body = &body},
                    web_, "Microsoft Entra");
}

Credentials CredentialChain::look_of_google() {
  if (!settings_.command.empty()) return of_command(settings_.command);
  if (!settings_.file.empty())
    if (auto found = of_file(settings_.file, true)) return std::move(*found);
  if (auto found = of_environment()) return std::move(*found);
  if (!text("GOOGLE_APPLICATION_CREDENTIALS").empty())
    throw Error(ErrorKind::usage, "GOOGLE_APPLICATION_CREDENTIALS is set, and is not supported")
        .hint(
            "Use HMAC keys of the service account (--store-credentials), or a command that prints "
            "a token: --store-credential-command \"gcloud auth application-default "
            "print-access-token\".");
  auto host = text("GCE_METADATA_HOST");
  const bool named = !host.empty();
  if (!named) host = "metadata.google.internal";
  if (auto found = of_service(
          {.method = "GET",
           .url = fmt::format(
               "http://{}/computeMetadata/v1/instance/service-accounts/default/token", host),
           .headers = {{"Metadata-Flavor", "Google"}}},
          named))
    return std::move(*found);
  throw Error(ErrorKind::usage, "there are no credentials for the store").hint(kGoogleWays);
}

}  // namespace weir::store
