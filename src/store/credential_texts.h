#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "store/credentials.h"

// What credentials look like where they are kept or given out. Pure. None of these says in an error
// what it has read.

namespace weir::store {

/// A profile of AWS's shared files ("~/.aws/credentials", where it is "[NAME]", and
/// "~/.aws/config", where it is "[profile NAME]" but for "[default]"): names and values. nullopt:
/// it is not there.
using Profile = std::map<std::string, std::string>;
[[nodiscard]] std::optional<Profile> read_profile(std::string_view text, std::string_view name);
/// nullopt: it has no keys.
[[nodiscard]] std::optional<Credentials> credentials_of(const Profile& profile);

/// What `credential_process` prints ({"Version": 1, "AccessKeyId": …, "SecretAccessKey": …,
/// "SessionToken": …, "Expiration": …}), and what the metadata services of EC2, ECS and EKS answer
/// ("Token" instead of "SessionToken"). nullopt: it is something else.
[[nodiscard]] std::optional<Credentials> parse_credentials(std::string_view json);

/// The answer of STS to AssumeRoleWithWebIdentity (XML).
[[nodiscard]] std::optional<Credentials> parse_assumed_role(std::string_view xml);

/// "2026-11-22T00:00:00Z", with or without fractions.
[[nodiscard]] std::optional<std::chrono::sys_seconds> parse_expiration(const std::string& text);

}  // namespace weir::store
