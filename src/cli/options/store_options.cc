#include "cli/options/store_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/options/common_options.h"
#include "cli/options/manifest_options.h"
#include "cli/shared/restore_setting.h"
#include "io/owner.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "store/http/secret_command.h"
#include "store/sealed/age_keys.h"
#include "store/sealed/compare_key.h"

namespace weir::cli {

namespace {

store::Place place_value(const std::string& text) {
  auto place = store::Place::parse(text);
  if (!place)
    throw Error(ErrorKind::usage, "")
        .hint(
            text.starts_with("s3://") || text.starts_with("gs://")
                ? "In s3://BUCKET/PREFIX the bucket has 3 to 63 characters: letters, digits, "
                  "\"-\", "
                  "\"_\" and \".\"; the prefix has no empty part (//), no \".\" and no \"..\"."
            : text.starts_with("azure://")
                ? "In azure://CONTAINER/PREFIX the container has 3 to 63 characters: lower-case "
                  "letters, digits, and single \"-\"; the prefix has no empty part (//), no \".\" "
                  "and no \"..\"."
                : "Give it as in s3://BUCKET/PREFIX, azure://CONTAINER/PREFIX or "
                  "gs://BUCKET/PREFIX.");
  return std::move(*place);
}

store::Endpoint endpoint_value(const std::string& text) {
  auto endpoint = store::Endpoint::parse(text);
  if (!endpoint)
    throw Error(ErrorKind::usage, "")
        .hint(
            "Give it as in https://s3.example.org, http://127.0.0.1:9000 or "
            "https://example.org/s3.");
  return std::move(*endpoint);
}

/// Also Barman's server name, which is part of a key.
std::string name_value(const std::string& text) {
  const bool good = !text.empty() && text != "." && text != ".." &&
                    std::all_of(text.begin(), text.end(), [](char c) {
                      return static_cast<unsigned char>(c) > 0x20 && c != 0x7f && c != '/';
                    });
  if (!good) throw Error(ErrorKind::usage, "").hint("It must not contain a slash or a space.");
  return text;
}

/// It would be in the process list, and in the restore_command that "recover" writes.
std::string proxy_value(const std::string& text) {
  if (text.find('@') == std::string::npos) return text;
  throw Error(ErrorKind::usage, "it must not contain a user and a password")
      .hint(
          "Set https_proxy in the environment instead, also in that of the server that runs "
          "restore_command.");
}

std::string encryption_value(const std::string& text) {
  if (text == "AES256" || text == "aws:kms" || (text.starts_with("aws:kms:") && text.size() > 8))
    return text;
  throw Error(ErrorKind::usage, "").hint("It can be AES256, aws:kms or aws:kms:KEY.");
}

std::string api_version_value(const std::string& text) {
  const bool good = text.size() == 10 && text[4] == '-' && text[7] == '-' &&
                    text.find_first_not_of("0123456789-") == std::string::npos;
  if (!good) throw Error(ErrorKind::usage, "").hint("Give it as in 2021-12-02.");
  return text;
}

/// Less is a slip: a segment would take hours.
std::uint64_t rate_value(const std::string& text) {
  const auto rate = size_value(text);
  if (rate < 1024) throw Error(ErrorKind::usage, "").hint("It must be at least 1kB.");
  return rate;
}

/// "30d", "30d:compliance"
store::Lock lock_value(const std::string& text) {
  const auto colon = text.find(':');
  const auto mode = colon == std::string::npos ? "governance" : text.substr(colon + 1);
  if (mode != "governance" && mode != "compliance")
    throw Error(ErrorKind::usage, "").hint("Give it as in 30d, 30d:governance or 30d:compliance.");
  return {time_value<kSecond>(text.substr(0, colon)), mode == "compliance"};
}

using Style = store::Style;
constexpr Choice<Style> kStyles[] = {
    {"auto", Style::automatic}, {"path", Style::path}, {"host", Style::host}};
using Form = store::Layout::Form;
constexpr Choice<Form> kLayouts[] = {{"barman", Form::barman}, {"wal-g", Form::wal_g}};

constexpr auto kStore = option_of<place_value>(
    "store", "URL",
    "object store: s3://BUCKET[/PREFIX], azure://CONTAINER[/PREFIX], or gs://BUCKET[/PREFIX]");
constexpr auto kEndpoint =
    option_of<endpoint_value>("store-endpoint", "URL", "endpoint URL (default: the provider's)");
constexpr auto kRegion =
    option_of<any_text>("store-region", "R", "region (default: AWS_REGION, us-east-1)");
constexpr auto kCa = option_of<any_text>("store-ca", "FILE",
                                         "CA certificates of the endpoint (default: the system's)");
constexpr auto kLayout = option_of<choice_value<kLayouts>>(
    "store-layout", "FORM", "object keys: barman (default) or wal-g");
constexpr auto kName = option_of<name_value>("store-name", "NAME",
                                             "Barman server name (default: the slot's name, or "
                                             "that of the archive directory; restore, recover "
                                             "and drill: not of a -D on the command line)");
constexpr auto kCredentials = option_of<any_text>(
    "store-credentials", "FILE",
    "credentials, in ~/.aws/credentials format (Azure: in ~/.azure/config format)");
constexpr auto kCommand =
    option_of<any_text>("store-credential-command", "CMD",
                        "command that prints credentials, in AWS credential_process format, or a "
                        "token (Azure, Google)");
constexpr auto kPathStyle = option_of<choice_value<kStyles>>(
    "store-path-style", "STYLE", "bucket in the URL: auto (default), path, or host");
constexpr auto kProxy = connection_string(
    option_of<proxy_value>("store-proxy", "URL", "HTTP proxy (default: from the environment)"));
constexpr auto kJobsOfStore = option_of<count_value<1, 64>>(
    "store-jobs", "N", "maximum number of concurrent requests (default: 4)");
constexpr auto kSilence = option_of<time_value<kSecond, kDay>>(
    "store-timeout", "TIME",
    "abort and retry a request that transfers less than 1 kB/s for TIME (default: 30s)");
constexpr auto kRate =
    option_of<rate_value>("store-rate", "SIZE", "maximum upload rate per second");
constexpr auto kClass = option_of<any_text>("store-class", "NAME", "storage class for uploads");
constexpr auto kLock =
    option_of<lock_value>("store-lock", "TIME[:MODE]",
                          "lock uploads for TIME (S3 Object Lock, Azure: immutability policy); "
                          "MODE is governance (default) or compliance");
constexpr auto kApiVersion = option_of<api_version_value>(
    "store-api-version", "DATE", "Azure: version of the protocol (default: 2023-11-03)");
constexpr auto kEncryption = option_of<encryption_value>(
    "store-sse", "HOW", "server-side encryption: AES256 or aws:kms[:KEY]");

/// The last part of a path.
std::string base_name(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

std::string name_of(const Arguments& arguments, StoreName from) {
  if (auto name = arguments.get(kName)) return std::move(*name);
  if (auto slot = arguments.get(kSlot)) return std::move(*slot);
  // In a configuration file the directory is the one that receive uses, too.
  if (from == StoreName::said && arguments.on_command_line(kDirectory))
    throw Error(ErrorKind::usage, "--store-name is missing")
        .hint(
            "Specify --store-name: that of receive or store push, or by default their slot's name "
            "or the last part of their directory. With the right one, \"pgweir store ls\" lists "
            "segments.");
  const auto directory = base_name(arguments.get(kDirectory, ""));
  if (!directory.empty() && directory != "." && directory != "..") return name_value(directory);
  throw Error(ErrorKind::usage, "no archive of the store specified")
      .hint("Specify it with --store-name (Barman's server name).");
}

constexpr Option of_store(const Option& option) { return option.of_section("store"); }

}  // namespace

constinit const Option kStoreOptions[18] = {
    of_store(kStore),       of_store(kEndpoint),
    of_store(kRegion),      of_store(kCa),
    of_store(kCredentials), of_store(kCommand),
    of_store(kLayout),      of_store(kName),
    of_store(kPathStyle),   of_store(kProxy),
    of_store(kJobsOfStore), of_store(kSilence),
    of_store(kRate),        of_store(kClass),
    of_store(kLock),        of_store(kEncryption),
    of_store(kApiVersion),  kSlot.says("name of the archive in the store, without --store-name")};

bool names_store(const Arguments& arguments) { return arguments.has(kStore); }

codec::Compression store_compression_value(const std::string& text) {
  return hinted_value<codec::Compression::parse>(text);
}

store::KeepLocal keep_local_value(const std::string& text) {
  if (const auto size = parse_size(text); size && *size > 0) return {.bytes = size};
  if (const auto time = parse_duration(text); time && time->count() > 0)
    return {.age = time_value<1>(text)};
  throw Error(ErrorKind::usage, "neither a size nor a time").hint("Give it as in 64GB, or 7d.");
}

namespace {

constexpr auto kIdentity = repeated(option_of<any_text>(
    "identity", "FILE", "age private keys for encrypted objects; can be repeated"));
constexpr auto kIdentityCommand =
    option_of<any_text>("identity-command", "CMD", "command that prints such keys");
constexpr std::uint64_t kLargestKeys = 1 << 20;

std::vector<store::AgeIdentity> identities_of(const Arguments& arguments) {
  std::vector<store::AgeIdentity> identities;
  const auto add = [&](std::vector<store::AgeIdentity> more) {
    identities.insert(identities.end(), more.begin(), more.end());
  };
  for (const auto& path : arguments.texts(kIdentity)) {
    const auto access = io::look_at_access(path);
    if (access && !access->is_secret())
      throw Error(ErrorKind::usage, "others have access to the private key")
          .with("file", path)
          .with("mode", fmt::format("{:04o}", access->mode))
          .hint(fmt::format("Run chmod 600 {}; a file owned by root can have mode 0640.",
                            shell_word(path)));
    const store::Secret text(io::read_small_file(path, kLargestKeys));
    add(store::parse_identities(text.reveal(), path));
  }
  if (const auto command = arguments.get(kIdentityCommand)) {
    // Without a time limit: it may prompt for a passphrase.
    const auto output = store::run_for_secret(*command, kLargestKeys);
    if (!output.end.success())
      throw Error(ErrorKind::retry, "the command for the private key has failed")
          .with("reason", output.end.to_string())
          .hint("See its standard error output above.");
    add(store::parse_identities(output.text.reveal(), "--identity-command"));
  }
  return identities;
}

std::vector<store::AgeRecipient> recipients_of(const Arguments& arguments) {
  std::vector<store::AgeRecipient> recipients;
  for (const auto& text : arguments.texts(kEncryptTo)) {
    if (const auto recipient = store::AgeRecipient::parse(text)) {
      recipients.push_back(*recipient);
      continue;
    }
    if (text.starts_with("age1"))
      throw Error(ErrorKind::usage, "--encrypt-to: invalid age recipient")
          .with("recipient", text)
          .hint("\"age-keygen -y FILE\" prints the recipient of a private key.");
    if (io::type_of(text) != io::PathType::file)
      throw Error(ErrorKind::usage, "--encrypt-to: neither an age recipient nor a file")
          .with("path", text)
          .hint("Recipients start with age1; a file contains one per line.");
    const store::Secret lines(io::read_small_file(text, kLargestKeys));
    for (const auto& recipient : store::parse_recipients(lines.reveal(), text))
      recipients.push_back(recipient);
  }
  return recipients;
}

}  // namespace

store::Sealing sealing_for(const store::StoreOptions& options, const std::string& archive) {
  store::Sealing sealing{.recipients = options.recipients};
  if (sealing.recipients.empty()) return sealing;
  const auto directory = io::open_existing_directory(archive);
  io::keep_owner(*directory);
  if (!options.manifest_key) {
    sealing.compare_key = store::compare_key(*directory);
    return sealing;
  }
  sealing.compare_key = store::compare_key_of(*options.manifest_key);
  if (auto former = store::former_compare_key(*directory))
    sealing.former_keys.push_back(std::move(*former));
  return sealing;
}

constinit const Option kIdentityOptions[2] = {kIdentity, kIdentityCommand};

std::vector<std::string> warnings_of_private_keys(const Arguments& arguments) {
  const auto path = arguments.text(kConfig);
  if (!path) return {};
  // As the commands that decrypt read the file: most others do not have the option.
  auto of_store = Arguments::parse(kStoreCommand, {"--config", *path});
  add_config(of_store);
  std::vector<std::string> warnings;
  for (const auto& key : of_store.texts(kIdentity))
    if (const auto access = io::look_at_access(key); access && access->readable)
      warnings.push_back(fmt::format(
          "the private key {} ({}) can be read on this machine, which only needs public "
          "keys: anyone who takes it over can decrypt the objects in the store",
          key, of_store.source(kIdentity)));
  return warnings;
}

namespace {

/// Options that a kind of store does not have.
void require_known(const store::StoreOptions& options) {
  const auto refuse = [&](const Option& option, const char* why) {
    throw Error(ErrorKind::usage, fmt::format("--{} does not apply to {}://", option.name,
                                              store::to_string(options.place.kind)))
        .hint(why);
  };
  using store::StoreKind;
  const auto kind = options.place.kind;
  if (kind != StoreKind::s3 && !options.encryption.empty())
    refuse(kEncryption, "This store encrypts all objects; the key is configured there.");
  if (kind != StoreKind::azure && !options.api_version.empty())
    refuse(kApiVersion, "The option sets the version of Azure's protocol.");
}

}  // namespace

store::StoreOptions store_options_of(const Arguments& arguments, StoreName from, PrivateKeys keys) {
  auto place = arguments.get(kStore);
  if (!place)
    throw Error(ErrorKind::usage, "--store is missing")
        .hint(
            "Give --store s3://BUCKET/PREFIX, and --store-endpoint URL if it is not AWS; or "
            "azure://CONTAINER/PREFIX or gs://BUCKET/PREFIX.");
  store::StoreOptions options;
  options.place = std::move(*place);
  options.endpoint = arguments.get(kEndpoint);
  options.region = arguments.get(kRegion, "");
  options.style = arguments.get(kPathStyle, Style::automatic);
  // Absolute: restore's helper has another working directory.
  const auto file = [](std::optional<std::string> path) {
    return path && !path->empty() ? absolute_path(*path) : std::string();
  };
  options.ca_file = file(arguments.get(kCa));
  options.proxy = arguments.get(kProxy);
  options.layout = arguments.get(kLayout, Form::barman);
  if (options.layout == Form::barman) options.name = name_of(arguments, from);
  options.credentials_file = file(arguments.get(kCredentials));
  options.credential_command = arguments.get(kCommand, "");
  options.storage_class = arguments.get(kClass, "");
  options.lock = arguments.get(kLock);
  options.encryption = arguments.get(kEncryption, "");
  options.api_version = arguments.get(kApiVersion, "");
  require_known(options);
  options.bytes_per_second = arguments.get(kRate, 0);
  options.jobs = arguments.get(kJobsOfStore, 4);
  options.silent = std::chrono::ceil<std::chrono::seconds>(
      arguments.get(kSilence, std::chrono::milliseconds(options.silent)));
  options.compression = arguments.get(kStoreCompression);
  options.recipients = recipients_of(arguments);
  if (keys == PrivateKeys::read) options.identities = identities_of(arguments);
  options.manifest_key = manifest_key_of(arguments);
  options.public_keys = manifest_public_keys_of(arguments);
  return options;
}

std::vector<std::string> store_words(const Arguments& arguments) {
  std::vector<std::string> words;
  if (!arguments.has(kStore)) return words;
  const auto options = store_options_of(arguments);
  const auto add = [&](const Option& option, const std::string& value) {
    words.push_back("--" + std::string(option.name));
    words.push_back(value);
  };
  for (const Option& option : {Option(kStore), Option(kEndpoint), Option(kRegion), Option(kCa),
                               Option(kCredentials), Option(kCommand), Option(kLayout)})
    if (const auto value = arguments.text(option)) {
      const bool file = option.name == kCa.name || option.name == kCredentials.name;
      add(option, file ? absolute_path(*value) : *value);
    }
  if (!options.name.empty()) add(kName, options.name);  // however it came to it
  for (const Option& option : {Option(kPathStyle), Option(kApiVersion), Option(kProxy),
                               Option(kSilence), Option(kIdentityCommand)})
    if (const auto value = arguments.text(option)) add(option, *value);
  for (const auto& path : arguments.texts(kIdentity)) add(kIdentity, absolute_path(path));
  for (const auto& path : arguments.texts(kManifestPublicKey))
    add(kManifestPublicKey, absolute_path(path));
  return words;
}

}  // namespace weir::cli
