#include "store/http/credential_chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "io/small_file.h"
#include "store/http/credential_texts.h"
#include "store/http/secret_command.h"
#include "store/http/url.h"
#include "store/memory_bytes.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

constexpr auto kRenewBefore = 5min;
constexpr std::uint64_t kLargestAnswer = std::uint64_t{1} << 20;
constexpr std::string_view kWays =
    "Name a file with --store-credentials or a command with --store-credential-command, or set "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; docs/store-providers.md has all ways.";

Error wrong_file(const std::string& path, const std::string& what) {
  return Error(ErrorKind::usage, what).with("file", path);
}

}  // namespace

CredentialChain::CredentialChain(Settings settings, Transport& local, Transport& web, Clock clock)
    : settings_(std::move(settings)), local_(local), web_(web), clock_(std::move(clock)) {}

std::string CredentialChain::text(const char* name) const {
  const char* const value = settings_.variable ? settings_.variable(name) : nullptr;
  return value != nullptr ? value : "";
}

/// Under mutex_.
bool CredentialChain::fresh(const std::string& files) const {
  return known_ && files == files_ &&
         (!known_->expires || clock_() + kRenewBefore < *known_->expires);
}

Credentials CredentialChain::get() {
  const auto files = state_of_files();
  std::unique_lock turn(looking_, std::defer_lock);
  std::uint64_t seen = 0;
  {
    const std::lock_guard lock(mutex_);
    if (fresh(files)) return *known_;
    seen = failures_;
    // Renewal may take time.
    const bool good =
        known_ && files == files_ && (!known_->expires || clock_() < *known_->expires);
    if (good && !turn.try_lock()) return *known_;
  }
  if (!turn) turn.lock();
  {
    const std::lock_guard lock(mutex_);
    if (fresh(files)) return *known_;
    if (failures_ != seen && failure_) throw StoreError(*failure_);
  }
  try {
    auto found = look();
    const std::lock_guard lock(mutex_);
    files_ = files;
    told_.clear();
    known_ = std::move(found);
    return *known_;
  } catch (const Error& error) {
    const std::lock_guard lock(mutex_);
    // These remain valid for some minutes, or until the store rejects them: the next request tries
    // again.
    if (known_ && (!known_->expires || clock_() < *known_->expires)) {
      if (files != files_ && settings_.tell && std::exchange(told_, error.what()) != error.what())
        settings_.tell(
            fmt::format("{}; the credentials that were read before are used until this is "
                        "corrected",
                        error.what()));
      return *known_;
    }
    ++failures_;
    const auto* const passes = dynamic_cast<const StoreError*>(&error);
    failure_ = passes != nullptr ? std::optional(*passes) : std::nullopt;
    throw;
  }
}

void CredentialChain::refused(const Credentials& stale) {
  const std::lock_guard lock(mutex_);
  if (known_ && known_->access_key == stale.access_key &&
      known_->session_token == stale.session_token)
    known_.reset();
}

Credentials CredentialChain::look() {
  if (settings_.kind == StoreKind::azure) return look_of_azure();
  if (settings_.kind == StoreKind::gs) return look_of_google();
  if (!settings_.command.empty()) return of_command(settings_.command);
  if (!settings_.file.empty())
    if (auto found = of_file(settings_.file, true)) return std::move(*found);
  if (auto found = of_environment()) return std::move(*found);
  if (auto found = of_shared_files()) return std::move(*found);
  if (auto found = of_web_identity()) return std::move(*found);
  if (auto found = of_container()) return std::move(*found);
  if (auto found = of_machine()) return std::move(*found);
  throw Error(ErrorKind::usage, "there are no credentials for the store").hint(kWays);
}

std::optional<Credentials> CredentialChain::of_environment() const {
  Credentials found;
  found.access_key = text("AWS_ACCESS_KEY_ID");
  found.secret_key = Secret(text("AWS_SECRET_ACCESS_KEY"));
  found.session_token = Secret(text("AWS_SESSION_TOKEN"));
  found.source = "the environment";
  if (found.access_key.empty() || found.secret_key.empty()) return std::nullopt;
  return found;
}

std::optional<Credentials> CredentialChain::of_file(const std::string& path, bool named) const {
  const auto access = io::look_at_access(path);
  if (!access || !access->readable) {
    if (!named) return std::nullopt;
    throw wrong_file(path, "the file of the store's credentials cannot be read");
  }
  if (!access->is_secret() && named)
    throw wrong_file(path, "others have access to the store's credentials")
        .with("mode", fmt::format("{:04o}", access->mode))
        .hint(fmt::format("Run chmod 600 {}; a file of root may be 0640.", shell_word(path)));
  auto name = text("AWS_PROFILE");
  if (name.empty()) name = "default";
  const Secret content(io::read_small_file(path, kLargestAnswer));
  if (settings_.kind == StoreKind::azure) {
    const auto section = read_profile(content.reveal(), "storage");
    auto found = section ? azure_credentials_of(*section) : std::nullopt;
    if (!found)
      throw wrong_file(path, "the file of the store's credentials has no key of [storage]")
          .hint("It must have a line key = … or sas_token = … in that section.");
    found->source = path;
    return found;
  }
  const auto profile = read_profile(content.reveal(), name);
  if (profile) {
    if (auto found = credentials_of(*profile)) {
      found->source = path;
      return found;
    }
    const auto command = profile->find("credential_process");
    if (command != profile->end()) return of_command(command->second);
  }
  if (named)
    throw wrong_file(path,
                     fmt::format("the file of the store's credentials has no keys of [{}]", name))
        .hint(
            "It must have lines aws_access_key_id = … and aws_secret_access_key = … in that "
            "section.");
  return std::nullopt;
}

std::optional<Credentials> CredentialChain::of_shared_files() const {
  for (const auto& path : shared_files())
    if (auto found = of_file(path, false)) return found;
  return std::nullopt;
}

std::vector<std::string> CredentialChain::shared_files() const {
  const auto home = text("HOME");
  std::vector<std::string> files;
  for (const auto& [variable, file] :
       {std::pair("AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials"),
        std::pair("AWS_CONFIG_FILE", "/.aws/config")}) {
    auto path = text(variable);
    if (path.empty() && !home.empty()) path = home + file;
    if (!path.empty()) files.push_back(std::move(path));
  }
  return files;
}

/// State of the files that may contain credentials.
std::string CredentialChain::state_of_files() const {
  if (!settings_.command.empty()) return {};
  if (!settings_.file.empty()) return io::state_of_file(settings_.file);
  if (settings_.kind != StoreKind::s3) return {};
  std::string state;
  for (const auto& path : shared_files()) state += io::state_of_file(path) + ";";
  return state;
}

Credentials CredentialChain::of_command(const std::string& command) const {
  const auto [text, end, cut] =
      run_for_secret(command, kLargestAnswer, SecretBound{settings_.command_time, settings_.stop});
  if (cut == io::Captured::Cut::stopped) throw StoreError(Trouble::stopped, "asked to stop");
  if (cut == io::Captured::Cut::too_late)
    throw StoreError(Trouble::no_keys,
                     fmt::format("the command for the store's credentials did not finish within "
                                 "{}, and was terminated",
                                 format_duration(settings_.command_time)))
        .hint("Run it by hand as pgweir's user. It may prompt for input, or wait for a service.");
  if (!end.success())
    throw StoreError(Trouble::no_keys, "the command for the store's credentials has failed")
        .with("reason", end.to_string())
        .hint("See its standard error output above.");
  auto found = read_output(text.reveal());
  if (!found)
    throw Error(ErrorKind::usage, "the command for the store's credentials printed invalid output")
        .hint(settings_.kind == StoreKind::azure
                  ? "It must print a token, as \"az account get-access-token --resource "
                    "https://storage.azure.com\" does, or a shared access signature."
              : settings_.kind == StoreKind::gs
                  ? "It must print a token, as \"gcloud auth print-access-token\" does, or the "
                    "JSON of AWS's credential_process with HMAC keys."
                  : "It must print the JSON of AWS's credential_process, Version 1.");
  found->source = "the command for credentials";
  return std::move(*found);
}

std::optional<Credentials> CredentialChain::read_output(std::string_view text) const {
  if (settings_.kind == StoreKind::s3) return parse_credentials(text);
  if (auto token = parse_token(text, std::chrono::floor<std::chrono::seconds>(clock_())))
    return token;
  if (settings_.kind == StoreKind::azure) return parse_sas(text);
  if (auto keys = parse_credentials(text)) return keys;
  const auto token = trimmed(text);
  const bool good = !token.empty() && std::all_of(token.begin(), token.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7f && c != '{';
  });
  if (!good) return std::nullopt;
  Credentials found;
  found.kind = Credentials::Kind::token;
  found.session_token = Secret(std::string(token));
  return found;
}

/// A service's answer of 200.
std::string CredentialChain::fetch(Transport& by, const Request& request, const char* who) {
  const auto failed = [&](const std::string& what) {
    return StoreError(
        Trouble::no_keys,
        fmt::format("could not get credentials for the store from {}: {}", who, what));
  };
  try {
    auto answer = by.perform(request);
    if (answer.status == 200) return std::move(answer.body);
    throw failed(refusal_of(answer));
  } catch (const NoAnswer& failure) {
    if (failure.why() == NoAnswer::Why::given_up)
      throw StoreError(Trouble::stopped, "asked to stop");
    throw failed(failure.message());
  }
}

/// Read each time: it is replaced before it expires. If it is missing, the error must not be taken
/// for that of a missing file of the archive.
Secret CredentialChain::token_of_file(const std::string& path) {
  try {
    return Secret(std::string(trimmed(io::read_small_file(path, kLargestAnswer))));
  } catch (const Error& error) {
    throw StoreError(
        Trouble::no_keys,
        fmt::format("could not read the token for the store's credentials: {}", error.what()));
  }
}

std::optional<Credentials> CredentialChain::of_web_identity() {
  constexpr const char* kWho = "STS";
  const auto file = text("AWS_WEB_IDENTITY_TOKEN_FILE");
  const auto role = text("AWS_ROLE_ARN");
  if (file.empty() || role.empty()) return std::nullopt;
  const auto token = token_of_file(file);
  auto session = text("AWS_ROLE_SESSION_NAME");
  if (session.empty()) session = "pgweir";
  auto endpoint = text("AWS_ENDPOINT_URL_STS");
  if (endpoint.empty()) endpoint = fmt::format("https://sts.{}.amazonaws.com", settings_.region);
  const Secret form(to_text({{"Action", "AssumeRoleWithWebIdentity"},
                             {"RoleArn", role},
                             {"RoleSessionName", session},
                             {"Version", "2011-06-15"},
                             {"WebIdentityToken", token.reveal()}}));
  MemoryBytes body(std::as_bytes(std::span(form.reveal())));
  const Secret answer(fetch(web_,
                            {.method = "POST",
                             .url = endpoint + "/",
                             .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                             .body = &body},
                            kWho));
  auto found = parse_assumed_role(answer.reveal());
  if (!found) throw StoreError(Trouble::no_keys, "STS gave no credentials for the store");
  found->source = kWho;
  return found;
}

std::optional<Credentials> CredentialChain::of_container() {
  constexpr const char* kWho = "the container's service";
  auto url = text("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (const auto relative = text("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); !relative.empty())
    url = "http://169.254.170.2" + relative;
  if (url.empty()) return std::nullopt;
  auto token = text("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  if (const auto file = text("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !file.empty())
    token = token_of_file(file).reveal();
  Request request{.method = "GET", .url = url};
  if (!token.empty()) request.headers.push_back({"Authorization", token});
  const Secret answer(fetch(local_, request, kWho));
  auto found = parse_credentials(answer.reveal());
  if (!found)
    throw StoreError(Trouble::no_keys, "the container's service gave no credentials for the store");
  found->source = kWho;
  return found;
}

/// Returns nullopt if nothing listens at the address of EC2's metadata service, or another service
/// does (other clouds have services of their own there); of one that is known to be EC2's, only if
/// it has no such item.
std::optional<std::string> CredentialChain::ask_machine(const Request& request, bool known) {
  constexpr long kNotFound = 404;
  constexpr long kTooManyRequests = 429;
  const auto failed = [](const std::string& what) {
    return StoreError(Trouble::no_keys,
                      "no credentials for the store are configured, and the machine's metadata "
                      "service gave none: " +
                          what)
        .hint(kWays);
  };
  try {
    auto answer = local_.perform(request);
    if (answer.status == 200) return std::move(answer.body);
    if (known ? answer.status == kNotFound
              : answer.status < 500 && answer.status != kTooManyRequests)
      return std::nullopt;
    throw failed(refusal_of(answer));
  } catch (const NoAnswer& failure) {
    if (!known && failure.why() == NoAnswer::Why::not_reached) return std::nullopt;
    if (failure.why() == NoAnswer::Why::given_up)
      throw StoreError(Trouble::stopped, "asked to stop");
    throw failed(failure.message());
  }
}

std::optional<Credentials> CredentialChain::of_machine() {
  constexpr const char* kWho = "the machine's metadata service";
  if (text("AWS_EC2_METADATA_DISABLED") == "true") return std::nullopt;
  auto endpoint = text("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  const bool named = !endpoint.empty();
  if (!named) endpoint = "http://169.254.169.254";
  while (endpoint.ends_with('/')) endpoint.pop_back();
  MemoryBytes nothing({});
  // Version 2 only: version 1 gives credentials to anyone who makes a machine send a GET.
  const Request asked{.method = "PUT",
                      .url = endpoint + "/latest/api/token",
                      .headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}},
                      .body = &nothing};
  const auto token = named ? std::optional(fetch(local_, asked, kWho)) : ask_machine(asked, false);
  if (!token) return std::nullopt;
  const auto request_of = [&](const std::string& path) -> Request {
    return {.method = "GET",
            .url = endpoint + "/latest/meta-data/iam/security-credentials/" + path,
            .headers = {{"X-aws-ec2-metadata-token", *token}}};
  };
  // 404: the machine has no role.
  const auto names = ask_machine(request_of(""), true).value_or("");
  const auto role = std::string(trimmed(names.substr(0, names.find('\n'))));
  if (role.empty()) return std::nullopt;
  const Secret answer(fetch(local_, request_of(percent_encoded(role, Slashes::are_encoded)), kWho));
  auto found = parse_credentials(answer.reveal());
  if (!found)
    throw StoreError(Trouble::no_keys, "the machine's metadata service gave no credentials");
  found->source = kWho;
  return found;
}

}  // namespace weir::store
