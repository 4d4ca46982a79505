#include "relay/users.h"

#include "base/error.h"
#include "relay/auth_file.h"

namespace weir::relay {

namespace {

constexpr unsigned kUsualIterations = 4096;  // SCRAM_DEFAULT_ITERATIONS

}  // namespace

Users Users::parse(std::string_view content, const std::string& path) {
  Users users;
  for (const auto& line : read_auth_file(content)) {
    const auto wrong = [&](const std::string& what) {
      return Error(ErrorKind::usage, "the users file is invalid: " + what)
          .with("path", path)
          .with("line", line.number)
          .hint(
              "Each line must be \"name\" \"SCRAM-SHA-256$…\", the latter as in "
              "pg_authid.rolpassword.");
    };
    if (line.wrong) throw wrong(*line.wrong);
    if (line.fields.size() != 2 || line.fields[0].size() != 1 || line.fields[1].size() != 1)
      throw wrong("expected a name and a SCRAM-SHA-256 secret");
    const auto& name = line.fields[0][0].text;
    const auto secret = ScramSecret::parse(line.fields[1][0].text);
    if (name.empty()) throw wrong("the name is empty");
    // The text of it is never shown.
    if (!secret) throw wrong("the name is not followed by a SCRAM-SHA-256 secret");
    if (!users.users_.emplace(name, *secret).second) throw wrong("duplicate user");
  }
  return users;
}

const ScramSecret* Users::find(const std::string& name) const {
  const auto found = users_.find(name);
  return found == users_.end() ? nullptr : &found->second;
}

/// By what is secret in the file, so that it is the same after a restart, too.
ScramSecret Users::made_up(std::string_view name) const {
  std::string secrets;
  for (const auto& [user, secret] : users_)
    secrets.append(reinterpret_cast<const char*>(secret.server_key.data()),
                   secret.server_key.size());
  const auto key = crypto::sha256(std::as_bytes(std::span(secrets)));
  return made_up_secret(name, key,
                        users_.empty() ? kUsualIterations : users_.begin()->second.iterations);
}

}  // namespace weir::relay
