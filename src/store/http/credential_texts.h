#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "store/http/credentials.h"
#include "store/http/transport.h"

// Formats of credentials as stored or returned by services. Pure. No error message contains the
// text that was parsed.

namespace weir::store {

/// A profile of AWS's shared files ("[NAME]" in "~/.aws/credentials", "[profile NAME]" in
/// "~/.aws/config", except "[default]"): names and values. nullopt: it does not exist.
using Profile = std::map<std::string, std::string>;
[[nodiscard]] std::optional<Profile> read_profile(std::string_view text, std::string_view name);
/// Returns nullopt if it has no keys.
[[nodiscard]] std::optional<Credentials> credentials_of(const Profile& profile);

/// Output of `credential_process` ({"Version": 1, "AccessKeyId": …, "SecretAccessKey": …,
/// "SessionToken": …, "Expiration": …}), and the answers of the metadata services of EC2, ECS and
/// EKS ("Token" instead of "SessionToken"). Returns nullopt for anything else.
[[nodiscard]] std::optional<Credentials> parse_credentials(std::string_view json);

/// The answer of STS to AssumeRoleWithWebIdentity (XML).
[[nodiscard]] std::optional<Credentials> parse_assumed_role(std::string_view xml);
/// "it answered 403 AccessDenied: …", with the reason if there is one: STS's XML, or JSON of
/// OAuth 2.0 (RFC 6749, 5.2) or of a container's service.
[[nodiscard]] std::string refusal_of(const Answer& answer);

/// A bearer token: {"access_token": …, "expires_in": seconds} (RFC 6749, 5.1; the metadata services
/// of Azure, which write numbers as strings, and of Google), or "expires_on" (Azure), since 1970;
/// "accessToken" of "az account get-access-token". Returns nullopt for anything else.
[[nodiscard]] std::optional<Credentials> parse_token(std::string_view json,
                                                     std::chrono::sys_seconds now);
/// A shared access signature of Azure, with or without a question mark before it. Returns nullopt
/// for anything else.
[[nodiscard]] std::optional<Credentials> parse_sas(std::string_view text);
/// "NAME=VALUE;…" ("Configure Azure Storage connection strings"); values may contain "=".
[[nodiscard]] Profile parse_connection_string(std::string_view text);
/// Values `key` or `sas_token` of a profile (section [storage] of ~/.azure/config). Returns
/// nullopt if it has neither key nor signature.
[[nodiscard]] std::optional<Credentials> azure_credentials_of(const Profile& profile);

/// "2026-11-22T00:00:00Z", with or without fractions.
[[nodiscard]] std::optional<std::chrono::sys_seconds> parse_expiration(const std::string& text);

}  // namespace weir::store
