#pragma once

#include <string>
#include <utility>

#include "pq/client_secrets.h"

namespace weir::receive {

/// What to tell of the files that a connection is made with, look by look. Pure.
class SecretChanges {
 public:
  /// `used`: what the connection that lives was made with.
  explicit SecretChanges(pq::SecretsLook used)
      : used_(std::move(used)), known_(used_.content), problem_(problem_of(used_)) {}

  enum class Change {
    none,
    broken,    ///< problem() says why the next connection could not be made
    mended,    ///< it could be again, with what was known
    replaced,  ///< there is something new, and it is whole
  };
  [[nodiscard]] Change on_look(const pq::SecretsLook& look);
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  [[nodiscard]] std::string problem_of(const pq::SecretsLook& look) const;

  const pq::SecretsLook used_;
  std::string known_;  ///< the content that was told last
  std::string problem_;
};

}  // namespace weir::receive
