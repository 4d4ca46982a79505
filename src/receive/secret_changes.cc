#include "receive/secret_changes.h"

#include <algorithm>

namespace weir::receive {

SecretChanges::Change SecretChanges::on_look(const pq::SecretsLook& look) {
  const auto before = std::exchange(problem_, problem_of(look));
  if (!problem_.empty()) return problem_ == before ? Change::none : Change::broken;
  // Two files are replaced one after the other: both are needed for something new.
  if (look.content != known_) {
    known_ = look.content;
    return Change::replaced;
  }
  return before.empty() ? Change::none : Change::mended;
}

/// A file that was not there for the connection that lives is none that is missing.
std::string SecretChanges::problem_of(const pq::SecretsLook& look) const {
  if (!look.problem.empty()) return look.problem;
  for (const auto& gone : look.gone)
    if (std::find(used_.gone.begin(), used_.gone.end(), gone) == used_.gone.end())
      return gone + " is gone";
  return {};
}

}  // namespace weir::receive
