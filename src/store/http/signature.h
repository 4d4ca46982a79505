#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "store/http/credentials.h"
#include "store/http/transport.h"
#include "store/http/url.h"

// AWS Signature Version 4, in the Authorization header ("Signature Version 4 signing process"), and
// Google's form of it (Google Cloud Storage, "Signatures", GOOG4-HMAC-SHA256), which differs in
// names.

namespace weir::store {

struct Signing {
  std::string method;
  std::string host;
  std::string path = "/";  ///< encoded, as sent
  Query query{};
  /// All of them are signed, and Host as well.
  std::vector<Request::Header> headers{};
  std::string body_sha256{};  ///< hexadecimal
  std::string region{};
  std::string service = "s3";
  std::chrono::sys_seconds time{};
  /// S3 also requires the body's digest as a header; other services do not.
  bool names_digest = true;
  enum class Form { aws, google } form = Form::aws;
};

/// The headers to send: the given ones, X-Amz-Date, x-amz-content-sha256 if requested,
/// X-Amz-Security-Token if there is one, and Authorization. Pure except for libcrypto, which it
/// loads.
[[nodiscard]] std::vector<Request::Header> signed_headers(const Signing& what,
                                                          const Credentials& credentials);

/// Of ASCII only, as names of headers are compared.
[[nodiscard]] std::string lower_case(std::string text);

}  // namespace weir::store
