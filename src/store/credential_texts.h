#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "store/credentials.h"

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

/// "2026-11-22T00:00:00Z", with or without fractions.
[[nodiscard]] std::optional<std::chrono::sys_seconds> parse_expiration(const std::string& text);

}  // namespace weir::store
