#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "relay/scram.h"

namespace weir::relay {

/// Users that can authenticate with a password: lines `"name" "SCRAM-SHA-256$…"`, the second as in
/// pg_authid.rolpassword. Value type.
class Users {
 public:
  Users() = default;
  /// Throws Error{usage} that names the file and the line of the error.
  [[nodiscard]] static Users parse(std::string_view content, const std::string& path);

  /// nullptr if there is no such user.
  [[nodiscard]] const ScramSecret* find(const std::string& name) const;
  [[nodiscard]] std::size_t size() const { return users_.size(); }
  /// The secret of a user that is not in the file; clients cannot distinguish it from a real one.
  [[nodiscard]] ScramSecret made_up(std::string_view name) const;

 private:
  std::map<std::string, ScramSecret, std::less<>> users_;
};

}  // namespace weir::relay
