// pgweir signs requests to a store itself (`store/http/signature`): libcurl's own signing sends
// X-Amz-Date twice up to 8.3, signs queries as they are written and cannot handle a clock that
// differs. libcurl transfers the requests, in a module as above (`store/module`): it loads 30
// libraries, and would make each start take six times as long. Whether a store supports
// `If-None-Match` is tested in the bucket itself, because products do not reveal it (Ceph 16
// supports it, but not with versioning).

#include "store/http/signature.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <string_view>

#include "base/text.h"
#include "crypto/digest.h"
#include "crypto/primitives.h"

namespace weir::store {

namespace {

crypto::Sha256 hmac(const crypto::Sha256& key, std::string_view text) {
  return crypto::hmac_sha256(key, text);
}

std::string sha256_hex(std::string_view text) {
  return crypto::to_hex(crypto::sha256(std::as_bytes(std::span(text))));
}

/// Collapses runs of spaces.
std::string one_spaced(std::string_view value) {
  std::string text;
  for (const char c : trimmed(value))
    if (c != ' ' || text.empty() || text.back() != ' ') text += c;
  return text;
}

struct SigningNames {
  std::string prefix;  ///< of the algorithm, and of the key
  std::string date;
  std::string digest;
  std::string end;  ///< of the scope
};
const SigningNames kAwsNames{"AWS4", "X-Amz-Date", "x-amz-content-sha256", "aws4_request"};
const SigningNames kGoogleNames{"GOOG4", "x-goog-date", "x-goog-content-sha256", "goog4_request"};

}  // namespace

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

std::vector<Request::Header> signed_headers(const Signing& what, const Credentials& credentials) {
  const auto moment = fmt::format("{:%Y%m%dT%H%M%SZ}",
                                  fmt::gmtime(std::chrono::system_clock::to_time_t(what.time)));
  const auto day = moment.substr(0, 8);
  const auto& names_of_form = what.form == Signing::Form::google ? kGoogleNames : kAwsNames;
  auto headers = what.headers;
  headers.push_back({names_of_form.date, moment});
  if (what.names_digest) headers.push_back({names_of_form.digest, what.body_sha256});
  if (!credentials.session_token.empty())
    headers.push_back({"X-Amz-Security-Token", credentials.session_token.reveal()});

  std::map<std::string, std::string> canonical;
  canonical["host"] = what.host;
  for (const auto& header : headers) canonical[lower_case(header.name)] = one_spaced(header.value);
  std::string lines;
  std::string names;
  for (const auto& [name, value] : canonical) {
    lines += fmt::format("{}:{}\n", name, value);
    names += (names.empty() ? "" : ";") + name;
  }
  const auto request = fmt::format("{}\n{}\n{}\n{}\n{}\n{}", what.method, what.path,
                                   to_text(what.query), lines, names, what.body_sha256);
  const auto scope = fmt::format("{}/{}/{}/{}", day, what.region, what.service, names_of_form.end);
  const auto to_sign = fmt::format("{}-HMAC-SHA256\n{}\n{}\n{}", names_of_form.prefix, moment,
                                   scope, sha256_hex(request));

  const Secret key(names_of_form.prefix + credentials.secret_key.reveal());
  auto step = crypto::hmac_sha256(std::as_bytes(std::span(key.reveal())), day);
  step = hmac(step, what.region);
  step = hmac(step, what.service);
  step = hmac(step, names_of_form.end);
  const auto signature = crypto::to_hex(hmac(step, to_sign));
  ::explicit_bzero(step.data(), step.size());
  headers.push_back(
      {"Authorization",
       fmt::format("{}-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}",
                   names_of_form.prefix, credentials.access_key, scope, names, signature)});
  return headers;
}

}  // namespace weir::store
