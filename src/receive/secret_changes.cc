#include "receive/secret_changes.h"

#include <algorithm>

namespace weir::receive {

SecretChanges::Change SecretChanges::on_look(const pq::SecretsLook& look) {
  const auto before = std::exchange(problem_, problem_of(look));
  if (!problem_.empty()) return problem_ == before ? Change::none : Change::broken;
  // Two files may be replaced in succession: both are needed for a new connection.
  if (look.content != known_) {
    known_ = look.content;
    return Change::replaced;
  }
  return before.empty() ? Change::none : Change::mended;
}

/// A file that did not exist for the current connection is not missing.
std::string SecretChanges::problem_of(const pq::SecretsLook& look) const {
  if (!look.problem.empty()) return look.problem;
  for (const auto& gone : look.gone)
    if (std::find(used_.gone.begin(), used_.gone.end(), gone) == used_.gone.end())
      return gone + " is gone";
  return {};
}

}  // namespace weir::receive
