#pragma once

#include <string>
#include <utility>

#include "pq/client_secrets.h"

namespace weir::receive {

/// Decides what to log about the files used for connections, check by check. Pure.
class SecretChanges {
 public:
  /// `used`: those of the current connection.
  explicit SecretChanges(pq::SecretsLook used)
      : used_(std::move(used)), known_(used_.content), problem_(problem_of(used_)) {}

  enum class Change {
    none,
    broken,    ///< problem() says why the next connection could not be made
    mended,    ///< it could again, with the known files
    replaced,  ///< there are new files, and they are complete
  };
  [[nodiscard]] Change on_look(const pq::SecretsLook& look);
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  [[nodiscard]] std::string problem_of(const pq::SecretsLook& look) const;

  const pq::SecretsLook used_;
  std::string known_;  ///< the content last logged
  std::string problem_;
};

}  // namespace weir::receive
