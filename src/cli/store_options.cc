#include "cli/store_options.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/error.h"
#include "cli/common_options.h"

namespace weir::cli {

namespace {

store::Place place_value(const std::string& text) {
  auto place = store::Place::parse(text);
  if (!place) throw Error(ErrorKind::usage, "").hint("Give it as in s3://BUCKET/PREFIX.");
  return std::move(*place);
}

store::Endpoint endpoint_value(const std::string& text) {
  auto endpoint = store::Endpoint::parse(text);
  if (!endpoint)
    throw Error(ErrorKind::usage, "")
        .hint("Give it as in https://s3.example.org or http://127.0.0.1:9000, without a path.");
  return std::move(*endpoint);
}

/// Also Barman's server name: part of a key.
std::string name_value(const std::string& text) {
  const bool good = !text.empty() && text != "." && text != ".." &&
                    std::all_of(text.begin(), text.end(), [](char c) {
                      return static_cast<unsigned char>(c) > 0x20 && c != 0x7f && c != '/';
                    });
  if (!good) throw Error(ErrorKind::usage, "").hint("It has no slash and no space.");
  return text;
}

std::string encryption_value(const std::string& text) {
  if (text == "AES256" || text == "aws:kms" || (text.starts_with("aws:kms:") && text.size() > 8))
    return text;
  throw Error(ErrorKind::usage, "").hint("It can be AES256, aws:kms or aws:kms:KEY.");
}

using Style = store::S3Store::Style;
constexpr Choice<Style> kStyles[] = {
    {"auto", Style::automatic}, {"path", Style::path}, {"host", Style::host}};
using Form = store::Layout::Form;
constexpr Choice<Form> kLayouts[] = {{"barman", Form::barman}, {"wal-g", Form::wal_g}};

constexpr auto kStore =
    option_of<place_value>("store", "s3://BUCKET[/PREFIX]", "the store, and where in it");
constexpr auto kEndpoint =
    option_of<endpoint_value>("store-endpoint", "URL", "whose it is (default: AWS)");
constexpr auto kRegion =
    option_of<any_text>("store-region", "R", "its region (default: AWS_REGION, us-east-1)");
constexpr auto kCa = option_of<any_text>("store-ca", "FILE",
                                         "authorities of its certificate (default: the system's)");
constexpr auto kLayout = option_of<choice_value<kLayouts>>("store-layout", "FORM",
                                                           "whose keys: barman (default) or wal-g");
constexpr auto kName = option_of<name_value>(
    "store-name", "NAME", "Barman's server name (default: the slot's, or the directory's)");
constexpr auto kCredentials =
    option_of<any_text>("store-credentials", "FILE", "keys, in the form of ~/.aws/credentials");
constexpr auto kCommand = option_of<any_text>("store-credential-command", "CMD",
                                              "prints them as a credential_process does");
constexpr auto kPathStyle = option_of<choice_value<kStyles>>(
    "store-path-style", "STYLE",
    "where the bucket's name stands in URLs: auto (default), path or host");
constexpr auto kProxy =
    option_of<any_text>("store-proxy", "URL", "ask through this one (default: the environment's)");
constexpr auto kJobsOfStore =
    option_of<count_value<1, 64>>("store-jobs", "N", "requests at once (default: 4)");
constexpr auto kRate =
    option_of<some_size_value>("store-rate", "SIZE", "send at most so much a second");
constexpr auto kClass = option_of<any_text>("store-class", "NAME", "storage class of what is sent");
constexpr auto kEncryption =
    option_of<encryption_value>("store-sse", "HOW", "let the store encrypt: AES256, aws:kms[:KEY]");

/// The last part of a path.
std::string base_name(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

std::string name_of(const Arguments& arguments) {
  if (auto name = arguments.get(kName)) return std::move(*name);
  if (auto slot = arguments.get(kSlot)) return std::move(*slot);
  const auto directory = base_name(arguments.get(kDirectory, ""));
  if (!directory.empty() && directory != "." && directory != "..") return name_value(directory);
  throw Error(ErrorKind::usage, "which archive of the store?")
      .hint("Name it with --store-name (Barman's server name).");
}

}  // namespace

constinit const Option kStoreOptions[15] = {
    kStore,       kEndpoint,
    kRegion,      kCa,
    kCredentials, kCommand,
    kLayout,      kSlot.says("what names the archive in the store, without --store-name"),
    kName,        kPathStyle,
    kProxy,       kJobsOfStore,
    kRate,        kClass,
    kEncryption};

store::StoreOptions store_options_of(const Arguments& arguments) {
  auto place = arguments.get(kStore);
  if (!place)
    throw Error(ErrorKind::usage, "which store? --store is missing")
        .hint("Give --store s3://BUCKET/PREFIX, and --store-endpoint URL if it is not AWS.");
  store::StoreOptions options;
  options.place = std::move(*place);
  options.endpoint = arguments.get(kEndpoint);
  options.region = arguments.get(kRegion, "");
  options.style = arguments.get(kPathStyle, Style::automatic);
  options.ca_file = arguments.get(kCa, "");
  options.proxy = arguments.get(kProxy);
  options.layout = arguments.get(kLayout, Form::barman);
  if (options.layout == Form::barman) options.name = name_of(arguments);
  options.credentials_file = arguments.get(kCredentials, "");
  options.credential_command = arguments.get(kCommand, "");
  options.storage_class = arguments.get(kClass, "");
  options.encryption = arguments.get(kEncryption, "");
  options.bytes_per_second = arguments.get(kRate, 0);
  options.jobs = arguments.get(kJobsOfStore, 4);
  return options;
}

}  // namespace weir::cli
