#pragma once

#include <optional>
#include <string>
#include <vector>

#include "doctor/checks.h"
#include "doctor/facts.h"

namespace weir::doctor {

/// One host of the connection string, among which --prefer chooses.
struct HostRole {
  std::string host;
  std::optional<Trouble> trouble;  ///< unset: it answered
  std::optional<bool> standby;     ///< unset: not reported
  /// Has the slot of the plan; unset: no slot was named, or it cannot be queried (before 15).
  std::optional<bool> has_slot;
};

/// Judges --prefer for the current hosts. Pure. `session_attrs`: of the connection string.
[[nodiscard]] Check judge_preferred(const Plan& plan, const std::string& session_attrs,
                                    const std::vector<HostRole>& hosts);

/// Queries each host of the connection string; a host that does not respond takes some seconds.
/// Changes nothing. Throws Error{usage}.
[[nodiscard]] std::vector<HostRole> inspect_roles(const std::string& conninfo,
                                                  const std::optional<std::string>& slot);

}  // namespace weir::doctor
